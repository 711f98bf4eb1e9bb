//! Files that hold no bytes: FIFOs, sockets and device nodes (FORMAT §3.6).

use super::State;

/// What a file is that holds no bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Special {
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device with this number.
    CharDevice(u32),
    /// A block device with this number.
    BlockDevice(u32),
}

impl Special {
    /// The bits 12 to 15 of the mode.
    #[must_use]
    pub const fn type_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice(_) => 0o020_000,
            Self::BlockDevice(_) => 0o060_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The number of a device; 0 of anything else.
    #[must_use]
    pub const fn device(self) -> u32 {
        match self {
            Self::CharDevice(number) | Self::BlockDevice(number) => number,
            Self::Fifo | Self::Socket => 0,
        }
    }

    /// From a mode's type bits, and a number that only a device may have.
    #[must_use]
    pub const fn from_parts(type_bits: u32, number: u32) -> Option<Self> {
        match (type_bits, number) {
            (0o010_000, 0) => Some(Self::Fifo),
            (0o140_000, 0) => Some(Self::Socket),
            (0o020_000, number) => Some(Self::CharDevice(number)),
            (0o060_000, number) => Some(Self::BlockDevice(number)),
            _ => None,
        }
    }
}

impl State {
    /// The mode as it stands in the header.
    #[must_use]
    pub const fn full_mode(&self) -> u32 {
        match self.special {
            None => self.mode,
            Some(special) => self.mode | special.type_bits(),
        }
    }
}

/// What a mode has for permissions.
pub(super) const PERMISSIONS: u32 = 0o7777;
