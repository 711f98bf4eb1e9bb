//! The arguments of a call, in their places: what JSON-RPC adds to [`Params`].

use kms_client::params::{Params, wrong_type};
use kms_client::{ApiError, Code};
use serde_json::{Map, Value};

use super::Method;

/// Puts what was given into its places, and names it.
///
/// # Errors
/// [`Code::Misc`] for too many or too few, [`Code::BadParameter`] for a name that does not exist or comes twice.
pub fn named(method: &'static Method, params: Option<Value>) -> Result<Params, ApiError> {
    let mut values = match params {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(Value::Object(map)) => in_order(method, map)?,
        Some(_) => return Err(usage(method)),
    };
    if values.len() > method.params.len() {
        return Err(usage(method));
    }
    values.resize(method.params.len(), Value::Null);
    let pairs = method.params.iter().zip(values);
    let pairs = pairs.map(|(param, value)| (param.name.to_owned(), value));
    let map: Map<String, Value> = pairs.collect();
    let is_missing = |param: &super::Param| param.default.is_none() && map[param.name].is_null();
    let is_incomplete = method.params.iter().any(is_missing);
    let params = Params::new(map);
    match is_incomplete {
        true => Err(usage(method)),
        false => Ok(params),
    }
}

/// Named arguments in the order of the parameters; `args` has leading ones.
fn in_order(method: &'static Method, mut map: Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    let mut values = match map.remove("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong_type("args", "an array")),
    };
    if values.len() > method.params.len() {
        return Err(usage(method));
    }
    let leading = values.len();
    values.resize(method.params.len(), Value::Null);
    for (name, value) in map {
        let at = method.params.iter().position(|it| it.name == name);
        let Some(slot) = at.and_then(|at| values.get_mut(at)) else {
            let why = format!("Unknown named parameter {}", shortened(&name));
            return Err(ApiError::new(Code::BadParameter, why).with("parameter", shortened(&name)));
        };
        if at.is_some_and(|at| at < leading) {
            let why =
                format!("Parameter {name} specified twice both as positional and named argument");
            return Err(ApiError::new(Code::BadParameter, why).with("parameter", name));
        }
        *slot = value;
    }
    Ok(values)
}

/// What a name is told that comes twice.
pub fn doubled(name: &str) -> ApiError {
    let name = shortened(name);
    let why = format!("Parameter {name} specified multiple times");
    ApiError::new(Code::BadParameter, why).with("parameter", name)
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn usage(method: &Method) -> ApiError {
    ApiError::new(Code::Misc, crate::help::of(method, &Default::default()))
}
