//! Hexadecimal as JSON-RPC writes it: `0x…`, bytes of two digits each, numbers without leading zeros.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;

use crate::rpc::Fault;

/// `0x` and two digits a byte.
pub(crate) fn bytes(data: &[u8]) -> String {
    format!("0x{}", HEXLOWER_PERMISSIVE.encode(data))
}

/// `0x` and as few digits as it takes.
pub(crate) fn number(value: u64) -> String {
    format!("{value:#x}")
}

/// Reads bytes from a text.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE
        .decode(text.strip_prefix("0x")?.as_bytes())
        .ok()
}

/// Reads bytes from an answer.
pub(crate) fn read(value: &Value) -> Result<Vec<u8>, Fault> {
    value.as_str().and_then(parse).ok_or(Fault::Nonsense)
}

/// Reads a number of bytes from an answer.
pub(crate) fn read_array<const N: usize>(value: &Value) -> Result<[u8; N], Fault> {
    read(value)?.try_into().map_err(|_| Fault::Nonsense)
}

/// Reads a number from an answer.
pub(crate) fn read_number(value: &Value) -> Result<u64, Fault> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(Fault::Nonsense)
}
