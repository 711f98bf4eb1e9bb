//! Reading the memory of this process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Far more than any secret; chunks overlap by it.
const OVERLAP: usize = 512;
const CHUNK: usize = 1 << 20;

/// What is looked for, masked: it must not find itself.
pub(super) struct Needle(Vec<u8>);

impl Needle {
    const MASK: u8 = 0x5a;

    pub(super) fn new<'a>(secret: impl Iterator<Item = &'a u8>) -> Self {
        let masked: Vec<u8> = secret.map(|byte| byte ^ Self::MASK).collect();
        assert!(
            (16..OVERLAP).contains(&masked.len()),
            "long enough to be no chance"
        );
        Self(masked)
    }

    fn is_at_the_start_of(&self, bytes: &[u8]) -> bool {
        let Some(window) = bytes.get(..self.0.len()) else {
            return false;
        };
        let mut both = window.iter().zip(&self.0);
        both.all(|(byte, masked)| byte ^ Self::MASK == *masked)
    }

    /// The first two bytes, in the clear: too few to be a trace.
    fn start(&self) -> usize {
        start_of(&[self.0[0] ^ Self::MASK, self.0[1] ^ Self::MASK])
    }
}

fn start_of(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// The memory of this process, read through a buffer that is no part of it.
pub(super) struct Memory {
    buffer: Vec<u8>,
}

impl Memory {
    pub(super) fn new() -> Self {
        let buffer = vec![0; CHUNK];
        Self { buffer }
    }

    /// Where each of the needles is: mapping and offset in it.
    pub(super) fn search(&mut self, needles: &[&Needle]) -> Vec<Vec<String>> {
        let mut places = vec![Vec::new(); needles.len()];
        let mut starts = vec![false; 1 << 16];
        needles
            .iter()
            .for_each(|needle| starts[needle.start()] = true);
        self.visit(|mapping, offset, bytes| {
            let pairs = bytes.windows(2).enumerate();
            for (at, _) in pairs.filter(|(_, pair)| starts[start_of(pair)]) {
                for (needle, places) in needles.iter().zip(&mut places) {
                    if needle.is_at_the_start_of(&bytes[at..]) {
                        places.push(format!("{mapping} + {:#x}", offset + at));
                    }
                }
            }
        });
        places
    }

    /// Shows every readable and writable mapping, in pieces.
    fn visit(&mut self, mut show: impl FnMut(&str, usize, &[u8])) {
        let memory = File::open("/proc/self/mem").unwrap();
        let own = self.buffer.as_ptr().addr();
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let Some((start, end)) = writable(line) else {
                continue;
            };
            let mut at = start;
            while at < end {
                let len = (end - at).min(CHUNK);
                let bytes = &mut self.buffer[..len];
                // Guard pages and the like cannot be read, nor hold anything.
                if memory.read_exact_at(bytes, at as u64).is_ok() {
                    let hidden =
                        own.clamp(at, at + len) - at..(own + CHUNK).clamp(at, at + len) - at;
                    bytes[hidden].fill(0);
                    show(line, at - start, bytes);
                }
                at += if end - at > CHUNK {
                    CHUNK - OVERLAP
                } else {
                    len
                };
            }
        }
        self.buffer.fill(0);
    }
}

fn writable(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    rest.starts_with("rw")
        .then_some((address(start)?, address(end)?))
}

#[test]
fn what_was_not_wiped_is_found() {
    let secret: Vec<u8> = (0..32).map(|at| at * 7 + 1).collect();
    let (needle, memory) = (Needle::new(secret.iter()), &mut Memory::new());
    assert!(!memory.search(&[&needle])[0].is_empty());
    let mut secret = secret;
    zeroize::Zeroize::zeroize(secret.as_mut_slice());
    assert!(memory.search(&[&needle])[0].is_empty());
}
