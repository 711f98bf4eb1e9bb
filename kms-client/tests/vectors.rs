//! Every ticket and record of `spec/vectors/shares` is believed, or refused for the stated reason (SHARES §4).

#![expect(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use kms_client::Records;
use kms_client::record::RecordError;
use kms_client::ticket::{Mailbox, TicketError};
use kms_crypto::key::{IdentitySecret, StoreKey};
use kms_proto::codec::DecodeError;

struct Vector {
    fields: HashMap<String, String>,
    payload: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let fields = head.lines().map(|line| line.split_once(": ").unwrap());
        Self {
            fields: fields
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            payload: HEXLOWER.decode(body.trim().as_bytes()).unwrap(),
        }
    }

    fn secret(&self, field: &str) -> [u8; 32] {
        HEXLOWER
            .decode(self.fields[field].as_bytes())
            .unwrap()
            .try_into()
            .unwrap()
    }

    fn outcome(&self) -> &'static str {
        match self.fields["type"].as_str() {
            "ticket" => self.open_ticket(),
            "record" => self.open_record(),
            other => panic!("{other}"),
        }
    }

    fn open_ticket(&self) -> &'static str {
        let bob = IdentitySecret::from_bytes(&self.secret("recipient")).unwrap();
        let (owner, store) = (
            self.fields["owner"].parse().unwrap(),
            self.fields["store"].parse().unwrap(),
        );
        match Mailbox::incoming(&bob, &owner, store).open(&bob, &self.fields["name"], &self.payload)
        {
            Ok(_) => "ok",
            Err(TicketError::Sealed(_)) => "sealed",
            Err(TicketError::Malformed(error)) => decoding(&error),
            Err(TicketError::Version { .. }) => "unknown-version",
            Err(TicketError::NotByOwner) => "not-by-owner",
            Err(TicketError::Elsewhere { .. }) => "elsewhere",
            Err(TicketError::Implausible { .. }) => "implausible",
            Err(other) => panic!("{other}"),
        }
    }

    fn open_record(&self) -> &'static str {
        let key = StoreKey::from_bytes(&self.secret("key"));
        let records = Records::new(
            Path::new("unused"),
            &key,
            self.fields["store"].parse().unwrap(),
        );
        match records.open(&self.fields["name"], &self.payload) {
            Ok(_) => "ok",
            Err(RecordError::Refused(_)) => "refused",
            Err(RecordError::Malformed(error)) => decoding(&error),
            Err(RecordError::Version { .. }) => "unknown-version",
            Err(RecordError::Implausible { .. }) => "implausible",
            Err(other) => panic!("{other}"),
        }
    }
}

fn decoding(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Malformed => "malformed",
        DecodeError::NotCanonical => "not-canonical",
        other => panic!("{other}"),
    }
}

#[test]
fn every_vector_ends_as_it_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/shares");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let vector = Vector::read(&path);
        assert_eq!(
            vector.outcome(),
            vector.fields["expect"],
            "{}",
            path.display()
        );
        count += 1;
    }
    assert!(count >= 30, "only {count} vectors");
}
