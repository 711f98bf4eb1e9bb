//! JSON as it was written: a map in which a name comes twice is still known as one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A document, maps in the order of their members.
#[derive(Debug)]
pub(super) enum Json {
    Map(Vec<(String, Self)>),
    List(Vec<Self>),
    Other(Value),
}

/// A name that comes twice in one map.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Doubled(pub(super) String);

impl Json {
    /// The same with every name once.
    pub(super) fn value(self) -> Result<Value, Doubled> {
        Ok(match self {
            Self::Map(members) => {
                let mut map = Map::new();
                for (name, value) in members {
                    if map.contains_key(&name) {
                        return Err(Doubled(name));
                    }
                    map.insert(name, value.value()?);
                }
                Value::Object(map)
            }
            Self::List(items) => {
                let items = items.into_iter().map(Self::value);
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Self::Other(value) => value,
        })
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other(Value::Null))
    }

    fn visit_bool<E>(self, it: bool) -> Result<Json, E> {
        Ok(Json::Other(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Json, E> {
        Ok(Json::Other(it.into()))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Json, E> {
        Ok(Json::Other(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Json, E> {
        Ok(Json::Other(
            Number::from_f64(it).map_or(Value::Null, Value::Number),
        ))
    }

    fn visit_str<E>(self, it: &str) -> Result<Json, E> {
        Ok(Json::Other(it.into()))
    }

    fn visit_string<E>(self, it: String) -> Result<Json, E> {
        Ok(Json::Other(it.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut map = Vec::new();
        while let Some(member) = members.next_entry()? {
            map.push(member);
        }
        Ok(Json::Map(map))
    }
}
