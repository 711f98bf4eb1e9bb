//! The contract's outside: functions, events, errors, and the code it is made with (`contracts/KmsLedger.json`).

use std::sync::LazyLock;

use kms_proto::ledger::EntryRefusal;
use serde_json::Value;

use crate::{account::keccak, hex};

/// The version of LEDGER §5.4 that is spoken here.
pub(crate) const VERSION: u64 = 1;
/// The longest name of a network that the contract takes.
const MAX_NETWORK_BYTES: usize = 23;

const ARTEFACT: &str = include_str!("../../contracts/KmsLedger.json");

/// The first event topic of each kind.
pub(crate) struct Topics {
    pub(crate) registered: [u8; 32],
    pub(crate) granted: [u8; 32],
    pub(crate) revoked: [u8; 32],
    pub(crate) released: [u8; 32],
    pub(crate) handed_over: [u8; 32],
}

pub(crate) static TOPICS: LazyLock<Topics> = LazyLock::new(|| Topics {
    registered: keccak(&[b"NodeRegistered"]),
    granted: keccak(&[b"PolicyGranted"]),
    revoked: keccak(&[b"PolicyRevoked"]),
    released: keccak(&[b"PolicyReleased"]),
    handed_over: keccak(&[b"HandedOver"]),
});

/// The data of the transaction that makes a network's contract; nothing if the network's name is too long.
pub(crate) fn deployment(network: &str) -> Option<Vec<u8>> {
    if network.is_empty() || network.len() > MAX_NETWORK_BYTES {
        return None;
    }
    let artefact: Value = serde_json::from_str(ARTEFACT).ok()?;
    let code = hex::parse(artefact.get("bytecode")?.as_str()?)?;
    Some([code, argument(network.as_bytes())].concat())
}

/// A function's call.
pub(crate) fn call(signature: &str, arguments: &[u8]) -> Vec<u8> {
    let selector = keccak(&[signature.as_bytes()]);
    [selector.get(..4).unwrap_or_default(), arguments].concat()
}

/// One byte string as the constructor takes it, without padding.
fn argument(bytes: &[u8]) -> Vec<u8> {
    [&word(32)[..], &word(bytes.len()), bytes].concat()
}

fn word(value: usize) -> [u8; 32] {
    let mut word = [0; 32];
    let digits = value.to_be_bytes();
    word[32 - digits.len()..].copy_from_slice(&digits);
    word
}

/// The one byte string that an answer consists of.
pub(crate) fn unwrap_bytes(data: &[u8]) -> Option<&[u8]> {
    let number = |from: usize| {
        let word = data.get(from..from.checked_add(32)?)?;
        let (zeros, digits) = word.split_at(24);
        let value = u64::from_be_bytes(digits.try_into().ok()?);
        (zeros.iter().all(|byte| *byte == 0)).then(|| usize::try_from(value).ok())?
    };
    let at = number(0)?;
    let start = at.checked_add(32)?;
    data.get(start..start.checked_add(number(at)?)?)
}

/// The refusal that the contract's error stands for.
pub(crate) fn refusal(data: &[u8]) -> Option<EntryRefusal> {
    let (selector, argument) = data.split_at_checked(4)?;
    let number = argument.get(24..32).and_then(|it| it.try_into().ok());
    let number = number.map_or(0, u64::from_be_bytes);
    let is = |signature: &str| keccak(&[signature.as_bytes()]).starts_with(selector);
    let known = [
        ("Malformed()", EntryRefusal::Malformed),
        ("BadSignature()", EntryRefusal::BadSignature),
        ("BadThreshold()", EntryRefusal::BadThreshold),
        (
            "Outnumbered(uint256)",
            EntryRefusal::Outnumbered { latest: number },
        ),
        (
            "Shortened(uint256)",
            EntryRefusal::Shortened { until: number },
        ),
        ("Revoked(uint256)", EntryRefusal::Revoked { at: number }),
        ("AlreadyExpired()", EntryRefusal::AlreadyExpired),
        ("NotTheSecret()", EntryRefusal::NotTheSecret),
        // Only of handovers: by a node that was never registered, or of what was never granted.
        ("NotANode()", EntryRefusal::NotHolder),
        ("NotGranted()", EntryRefusal::NotHolder),
    ];
    known
        .into_iter()
        .find_map(|(signature, refusal)| is(signature).then_some(refusal))
}
