//! Which machines have sealed an object (FORMAT §3.6.3): tells whether one state of it follows another or two machines
//! have written at once.

use crate::id::MachineId;

/// For each of the machines that sealed the object last, the generation of the last header it sealed; the latest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Writers(Vec<(MachineId, u64)>);

impl Writers {
    /// Nobody says.
    pub const NONE: Self = Self(Vec::new());
    /// How many machines are remembered.
    pub const MAX: usize = 8;
    const ENTRY: usize = 16;

    /// The machine that sealed this state, and its generation; none where it does not say.
    #[must_use]
    pub fn last(&self) -> Option<(MachineId, u64)> {
        self.0.first().copied()
    }

    /// The generation of the last header this machine sealed, as far as it is remembered.
    #[must_use]
    pub fn generation_of(&self, machine: MachineId) -> Option<u64> {
        let found = self.0.iter().find(|(it, _)| *it == machine);
        found.map(|(_, generation)| *generation)
    }

    /// Whether what this machine sealed in this generation is in the state; `None` where that was forgotten.
    #[must_use]
    pub fn has(&self, (machine, generation): (MachineId, u64)) -> Option<bool> {
        match self.generation_of(machine) {
            Some(last) => Some(last >= generation),
            None if self.0.len() == Self::MAX => None,
            None => Some(false),
        }
    }

    /// This machine seals the next state; without one nothing is known any more.
    pub(super) fn add(&mut self, machine: Option<MachineId>, generation: u64) {
        let Some(machine) = machine else {
            self.0.clear();
            return;
        };
        self.0.retain(|(it, _)| *it != machine);
        self.0.truncate(Self::MAX - 1);
        self.0.insert(0, (machine, generation));
    }

    /// As it stands in a header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::ENTRY);
        for (machine, generation) in &self.0 {
            bytes.extend_from_slice(&machine.0);
            bytes.extend_from_slice(&generation.to_be_bytes());
        }
        bytes
    }

    /// The reverse; `None` if it is not of that form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.as_chunks::<{ Self::ENTRY }>();
        if !rest.is_empty() || entries.len() > Self::MAX {
            return None;
        }
        let mut writers = Vec::<(MachineId, u64)>::with_capacity(entries.len());
        for entry in entries {
            let (machine, generation) = entry.split_first_chunk::<8>()?;
            let generation = u64::from_be_bytes(generation.try_into().ok()?);
            let fits = writers
                .iter()
                .all(|(it, later)| it.0 != *machine && *later > generation);
            if !fits {
                return None;
            }
            writers.push((MachineId(*machine), generation));
        }
        Some(Self(writers))
    }
}
