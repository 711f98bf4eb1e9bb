//! The calls that `index.mjs` makes, by number; what it holds on to between them; how arguments and results are written.
//!
//! Arguments are bytes: of each, its length as u32le and then itself. A result is JSON, or plaintext. Times are
//! milliseconds since 1970, as u64le.

use std::rc::Rc;
use std::time::Duration;

use data_encoding::BASE64;
use kms_crypto::format::Header;
use kms_crypto::identity::IdentityFile;
use kms_crypto::key::{IdentitySecret, PublicKey};
use kms_proto::transport::TransportError;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::content::Content;
use crate::entropy::Entropy;
use crate::failure::Failure;
use crate::fetch::{Fetch, Wanted};

/// What a page holds on to, by the numbers that it was given.
#[derive(Default)]
pub struct Table {
    held: Vec<Option<Held>>,
}

enum Held {
    Identity(Rc<IdentitySecret>),
    Opening(Box<Opening>),
    Content(Box<Content>),
}

struct Opening {
    fetch: Fetch,
    header: Option<Header>,
}

/// The calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
enum Call {
    IdentityFile = 1,
    IdentitySecret = 2,
    IdentityWords = 3,
    Open = 4,
    Poll = 5,
    Answer = 6,
    Next = 7,
    Piece = 8,
    CheckLen = 9,
    Drop = 10,
}

impl Call {
    const ALL: [Self; 10] = [
        Self::IdentityFile,
        Self::IdentitySecret,
        Self::IdentityWords,
        Self::Open,
        Self::Poll,
        Self::Answer,
        Self::Next,
        Self::Piece,
        Self::CheckLen,
        Self::Drop,
    ];
}

impl Table {
    /// Makes a call. `on` is the number of what it is about.
    ///
    /// # Errors
    /// Those of API §3.
    pub fn call(
        &mut self,
        call: u32,
        on: u32,
        arguments: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let known = Call::ALL.into_iter().find(|it| *it as u32 == call);
        let call = known.ok_or_else(misuse)?;
        let mut args = Arguments(arguments);
        let result = match call {
            Call::IdentityFile => {
                let (text, passphrase) = (args.text()?, args.next()?);
                let secret = IdentityFile::parse(text)?.open(passphrase)?;
                self.hold_identity(secret)
            }
            Call::IdentitySecret => {
                self.hold_identity(args.text()?.trim().parse::<IdentitySecret>()?)
            }
            Call::IdentityWords => self.hold_identity(IdentitySecret::from_words(args.text()?)?),
            Call::Open => self.open(on, &mut args)?,
            Call::Poll => self.poll(on, &mut args)?,
            Call::Answer => self.answer(on, &mut args)?,
            Call::Next => {
                let extents = self.content(on)?.next_extents().into_iter();
                extents.map(|it| json!([it.offset, it.len])).collect()
            }
            Call::Piece => return self.content(on)?.open_piece(args.next()?),
            Call::CheckLen => {
                let found = args.number()?;
                self.content(on)?.check_len(found)?;
                Value::Null
            }
            Call::Drop => {
                if let Some(held) = index(on).and_then(|it| self.held.get_mut(it)) {
                    *held = None;
                }
                Value::Null
            }
        };
        Ok(Zeroizing::new(result.to_string().into_bytes()))
    }

    fn hold_identity(&mut self, secret: IdentitySecret) -> Value {
        let public = secret.public().to_string();
        let number = self.hold(Held::Identity(Rc::new(secret)));
        json!({"held": number, "identity": public})
    }

    fn open(&mut self, on: u32, args: &mut Arguments<'_>) -> Result<Value, Failure> {
        let Some(Held::Identity(identity)) = self.get(on) else {
            return Err(misuse());
        };
        let identity = Rc::clone(identity);
        let header = Header::parse(args.next()?)?;
        let (ticket, owner, network) = (args.text()?, args.text()?, args.text()?);
        let owner = match owner {
            "" => None,
            text => Some(text.parse::<PublicKey>()?),
        };
        let wanted = Wanted::new(identity, network, &header, ticket, owner.as_ref())?;
        let (owner, label) = (wanted.owner().to_string(), wanted.label().to_string());
        let (now, timeout) = (args.time()?, args.time()?);
        let opening = Opening {
            fetch: wanted.fetch(now, timeout)?,
            header: Some(header),
        };
        let number = self.hold(Held::Opening(Box::new(opening)));
        Ok(json!({"held": number, "owner": owner, "label": label}))
    }

    fn poll(&mut self, on: u32, args: &mut Arguments<'_>) -> Result<Value, Failure> {
        let now = args.time()?;
        let seed = args.next()?.try_into().map_err(|_| misuse())?;
        let opening = self.opening(on)?;
        let asks = opening.fetch.poll(now, &mut Entropy::new(seed));
        if let Some(outcome) = opening.fetch.take_outcome() {
            let wanted = opening.fetch.wanted();
            let header = opening.header.take().ok_or_else(misuse)?;
            let content = Content::open(header, wanted.label(), &outcome?, &wanted.owner())?;
            let sizes = json!({"size": content.size(), "sealedSize": content.sealed_size()});
            if let Some(held) = self.get_mut(on) {
                *held = Held::Content(Box::new(content));
            }
            return Ok(json!({"done": sizes}));
        }
        let wait = opening.fetch.wake_at().saturating_sub(now).as_millis();
        let asks = asks.into_iter().map(|it| {
            let message = BASE64.encode(&it.message);
            json!({"id": it.id, "node": it.node.to_string(), "message": message})
        });
        Ok(
            json!({"asks": asks.collect::<Vec<_>>(), "wait": u64::try_from(wait).unwrap_or(u64::MAX)}),
        )
    }

    /// An answer's name is empty if it is one; else it says why there is none.
    fn answer(&mut self, on: u32, args: &mut Arguments<'_>) -> Result<Value, Failure> {
        let (id, now) = (args.number()?, args.time()?);
        let (fault, bytes) = (args.text()?, args.next()?);
        let answer = match fault {
            "" => Ok(bytes),
            "timeout" => Err(TransportError::Timeout),
            "local" => Err(TransportError::Local),
            _ => Err(TransportError::Unreachable),
        };
        let id = u32::try_from(id).map_err(|_| misuse())?;
        self.opening(on)?.fetch.on_answer(id, answer, now);
        Ok(Value::Null)
    }

    fn hold(&mut self, held: Held) -> usize {
        let free = self.held.iter().position(Option::is_none);
        match free.and_then(|at| Some((at, self.held.get_mut(at)?))) {
            Some((at, place)) => {
                *place = Some(held);
                at
            }
            None => {
                self.held.push(Some(held));
                self.held.len() - 1
            }
        }
    }

    fn get(&self, on: u32) -> Option<&Held> {
        self.held.get(index(on)?)?.as_ref()
    }

    fn get_mut(&mut self, on: u32) -> Option<&mut Held> {
        self.held.get_mut(index(on)?)?.as_mut()
    }

    fn opening(&mut self, on: u32) -> Result<&mut Opening, Failure> {
        match self.get_mut(on) {
            Some(Held::Opening(it)) => Ok(it),
            _ => Err(misuse()),
        }
    }

    fn content(&mut self, on: u32) -> Result<&mut Content, Failure> {
        match self.get_mut(on) {
            Some(Held::Content(it)) => Ok(it),
            _ => Err(misuse()),
        }
    }
}

/// Arguments that are still to be read.
struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Result<&'a [u8], Failure> {
        let (len, rest) = self.0.split_first_chunk::<4>().ok_or_else(misuse)?;
        let len = index(u32::from_le_bytes(*len)).ok_or_else(misuse)?;
        let (argument, rest) = rest.split_at_checked(len).ok_or_else(misuse)?;
        self.0 = rest;
        Ok(argument)
    }

    fn text(&mut self) -> Result<&'a str, Failure> {
        str::from_utf8(self.next()?).map_err(|_| misuse())
    }

    fn number(&mut self) -> Result<u64, Failure> {
        let bytes = self.next()?.try_into().map_err(|_| misuse())?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn time(&mut self) -> Result<Duration, Failure> {
        self.number().map(Duration::from_millis)
    }
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn misuse() -> Failure {
    Failure::new("INTERNAL", "the module was not called as it has to be")
}
