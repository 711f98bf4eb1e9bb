//! Writes the vectors of WIRE §9 and LEDGER §7 into `DIR/wire` and `DIR/ledger`.
//!
//! `cargo run --release -p kms-ledger --example make_vectors -- spec/vectors`. Needed only when the formats change; the
//! output is the same every time.

mod ledger;
mod wire;

use std::{convert::Infallible, fmt::Write as _, fs, path::PathBuf};

use kms_crypto::key::{IdentitySecret, LedgerKey, NodeSecret};
use rand_core::{TryCryptoRng, TryRng};

/// When everything happens.
const NOW: u64 = 1_800_000_000;
const NETWORK: &str = "vectors";

/// Where the vectors of one area go.
struct Area(PathBuf);

impl Area {
    /// Writes one vector: a sentence, its fields, its bytes.
    fn write(&self, name: &str, fields: &[(&str, &str)], payloads: &[Vec<u8>]) {
        let mut text = String::new();
        for (key, value) in fields {
            writeln!(text, "{key}: {value}").expect("writing to memory cannot fail");
        }
        for payload in payloads {
            write!(text, "\n{}", data_encoding::HEXLOWER.encode(payload))
                .expect("writing to memory cannot fail");
        }
        text.push('\n');
        fs::write(self.0.join(format!("{name}.txt")), text)
            .expect("the directory can be written to");
    }
}

/// Not random at all: vectors are the same every time.
struct Counter(u8);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for byte in dst {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

fn node(number: u8) -> NodeSecret {
    NodeSecret::from_bytes(&[number; 32]).expect("small numbers are scalars")
}

fn owner(number: u8) -> LedgerKey {
    LedgerKey::from_bytes(&[100 + number; 32]).expect("small numbers are scalars")
}

fn person(number: u8) -> IdentitySecret {
    IdentitySecret::from_bytes(&[50 + number; 32]).expect("small numbers are scalars")
}

fn main() {
    let dir = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .expect("the directory of the vectors is the argument"),
    );
    let area = |name: &str| {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).expect("the directory can be made");
        Area(dir)
    };
    wire::write(&area("wire"));
    ledger::write(&area("ledger"));
}
