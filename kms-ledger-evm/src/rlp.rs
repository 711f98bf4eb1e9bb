//! RLP, in which a chain's transactions are written: byte strings, numbers without leading zeros, and lists of them.

/// Writes a list.
#[derive(Default)]
pub(crate) struct List(Vec<u8>);

impl List {
    /// Appends a byte string.
    pub(crate) fn bytes(mut self, data: &[u8]) -> Self {
        match data {
            [single @ 0..0x80] => self.0.push(*single),
            _ => {
                self.0.extend(head(0x80, data.len()));
                self.0.extend(data);
            }
        }
        self
    }

    /// Appends a number, big-endian and of any length.
    pub(crate) fn number(self, big_endian: &[u8]) -> Self {
        let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
        self.bytes(big_endian.get(zeros..).unwrap_or_default())
    }

    /// Appends a list without elements.
    pub(crate) fn nothing(mut self) -> Self {
        self.0.push(0xc0);
        self
    }

    /// The list.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = head(0xc0, self.0.len());
        out.extend(&self.0);
        out
    }
}

fn head(base: u8, len: usize) -> Vec<u8> {
    match u8::try_from(len) {
        Ok(short @ 0..56) => vec![base + short],
        _ => {
            let long = len.to_be_bytes();
            let digits: Vec<u8> = long.into_iter().skip_while(|byte| *byte == 0).collect();
            let count = u8::try_from(digits.len()).expect("a length has at most eight bytes");
            let mut out = vec![base + 55 + count];
            out.extend(digits);
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_yellow_paper_come_out() {
        assert_eq!(
            List::default().bytes(b"cat").bytes(b"dog").encode(),
            b"\xc8\x83cat\x83dog"
        );
        assert_eq!(
            List::default().number(&[0, 0]).number(&[0, 15]).encode(),
            [0xc2, 0x80, 0x0f]
        );
        assert_eq!(
            List::default().number(&[4, 0]).nothing().encode(),
            [0xc4, 0x82, 4, 0, 0xc0]
        );
        let long = List::default().bytes(&[7; 56]).encode();
        assert_eq!(long[..4], [0xf8, 58, 0xb8, 56]);
        assert_eq!(List::default().bytes(&[0x80]).encode(), [0xc2, 0x81, 0x80]);
    }
}
