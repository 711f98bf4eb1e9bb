//! Every message of `spec/vectors/wire` is taken, or refused for the stated reason (WIRE §9).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::HashMap, fs, path::Path};

use kms_proto::{
    codec::{self, DecodeError, Kind},
    message::{Query, Refusal, Response},
    signed::{Gate, SignedRequest},
};

struct Vector {
    fields: HashMap<String, String>,
    payload: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let field = |line: &str| {
            line.split_once(": ")
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .unwrap()
        };
        let payload = data_encoding::HEXLOWER
            .decode(body.trim().as_bytes())
            .unwrap();
        Self {
            fields: head.lines().map(field).collect(),
            payload,
        }
    }

    fn get(&self, key: &str) -> &str {
        &self.fields[key]
    }
}

fn decode_reason(err: &DecodeError) -> &'static str {
    match err {
        DecodeError::TooLarge { .. } => "too-large",
        DecodeError::Truncated => "truncated",
        DecodeError::BadMagic => "bad-magic",
        DecodeError::UnknownVersion { .. } => "unknown-version",
        DecodeError::UnknownKind(_) => "unknown-kind",
        DecodeError::Malformed => "malformed",
        DecodeError::NotCanonical => "not-canonical",
        _ => "unnamed",
    }
}

/// Why the encoding is refused: a node only says `bad_request`.
fn request_encoding(bytes: &[u8]) -> Result<(), DecodeError> {
    match codec::open_envelope(bytes)? {
        (Kind::Query, body) => codec::decode::<Query>(body, codec::MAX_REQUEST_BYTES).map(drop),
        (Kind::Command, body) => {
            codec::decode::<SignedRequest>(body, codec::MAX_REQUEST_BYTES).map(drop)
        }
        (Kind::Response, _) => Ok(()),
    }
}

fn request(vector: &Vector) -> &'static str {
    let gate = Gate::new(vector.get("network"), vector.get("node").parse().unwrap());
    let opened = gate.open(&vector.payload, vector.get("now").parse().unwrap());
    if let Err(err) = request_encoding(&vector.payload) {
        assert_eq!(opened.unwrap_err(), Refusal::BadRequest);
        return decode_reason(&err);
    }
    match opened {
        Ok(_) => "ok",
        Err(Refusal::BadRequest) => "bad-request",
        Err(Refusal::BadSignature) => "bad-signature",
        Err(Refusal::NotForMe) => "not-for-me",
        Err(Refusal::TooLate { .. }) => "too-late",
        Err(_) => "unnamed",
    }
}

fn response(vector: &Vector) -> &'static str {
    match Response::from_bytes(&vector.payload) {
        Err(err) => decode_reason(&err),
        Ok(Response::Removed(receipt)) if receipt.clone().verify().is_err() => "bad-signature",
        Ok(Response::Taken(receipt)) if receipt.clone().verify().is_err() => "bad-signature",
        Ok(response) => {
            assert_eq!(response.to_bytes(), vector.payload);
            "ok"
        }
    }
}

#[test]
fn every_wire_vector_has_its_outcome() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/wire");
    let mut refused = 0;
    let paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for path in &paths {
        let vector = Vector::read(path);
        let outcome = match vector.get("type") {
            "request" => request(&vector),
            "response" => response(&vector),
            other => panic!("{}: unknown type {other}", path.display()),
        };
        assert_eq!(outcome, vector.get("expect"), "{}", path.display());
        refused += usize::from(outcome != "ok");
    }
    assert!(refused * 2 > paths.len(), "most vectors are to be refused");
}
