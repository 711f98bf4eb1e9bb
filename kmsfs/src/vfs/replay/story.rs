//! What the journal tells of one file: its states, and what each relies on (JOURNAL §5).

use std::collections::{BTreeMap, HashMap};

use kms_crypto::format::{HEADER_LEN, Header};
use kms_crypto::id::MachineId;

use crate::freshness::Mark;
use crate::journal::{Action, Direct, Piece, Record};

/// One state of a file that a record describes.
pub(super) struct State<'a> {
    pub(super) base: Mark,
    pub(super) mark: Mark,
    pub(super) len: u64,
    pub(super) pieces: &'a [Piece],
    pub(super) direct: &'a [Direct],
}

impl State<'_> {
    /// Who sealed it, as its header says.
    pub(super) fn writer(&self) -> Option<(MachineId, u64)> {
        let header = self.pieces.iter().find(|piece| piece.offset == 0)?;
        Header::parse(&header.bytes).ok()?.state().writers.last()
    }
}

/// States each of which follows the one before.
pub(super) type Chain<'a> = Vec<&'a State<'a>>;

/// What there is to do about one file.
#[derive(Default)]
pub(super) struct Story<'a> {
    pub(super) paths: Vec<&'a [String]>,
    pub(super) states: Vec<State<'a>>,
    /// The file was being made.
    pub(super) is_new: bool,
}

impl<'a> Story<'a> {
    /// The states in the order in which they follow each other. Where a chain ends, the file was changed directly, or it
    /// is another file of the same id, made when two machines wrote at once.
    pub(super) fn chains(&self) -> Vec<Chain<'_>> {
        let mut chains: Vec<Chain<'_>> = Vec::new();
        for state in &self.states {
            let follows =
                |chain: &&mut Chain<'_>| chain.last().is_some_and(|last| last.mark == state.base);
            match chains.iter_mut().rev().find(follows) {
                Some(chain) => chain.push(state),
                None => chains.push(vec![state]),
            }
        }
        chains
    }
}

/// The records by object, and the order in which the objects first come.
pub(super) fn stories(records: &[Record]) -> (Vec<[u8; 16]>, HashMap<[u8; 16], Story<'_>>) {
    let mut order = Vec::new();
    let mut stories: HashMap<[u8; 16], Story<'_>> = HashMap::new();
    for record in records {
        let story = stories.entry(record.id).or_insert_with(|| {
            order.push(record.id);
            Story::default()
        });
        story.paths.extend(record.paths.iter().map(Vec::as_slice));
        story.is_new |= record.action == Action::Create;
        if let Action::Commit {
            base,
            mark,
            len,
            pieces,
            direct,
        } = &record.action
        {
            story.states.push(State {
                base: *base,
                mark: *mark,
                len: *len,
                pieces,
                direct,
            });
        }
    }
    (order, stories)
}

/// The directly appended ranges that the last of these states still relies on.
pub(super) fn live_ranges(states: &[&State<'_>]) -> Vec<Direct> {
    let mut live: Vec<Direct> = Vec::new();
    for state in states {
        // A later state that is shorter has given up what lies beyond, one that wrote there again has replaced it.
        live.retain(|range| {
            let end = range.offset + range.len;
            let is_cut = end > state.len;
            let is_rewritten = state
                .direct
                .iter()
                .any(|newer| newer.offset < end && range.offset < newer.offset + newer.len);
            let is_overwritten = state
                .pieces
                .iter()
                .any(|piece| piece.offset >= range.offset && piece.offset < end);
            !is_cut && !is_rewritten && !is_overwritten
        });
        live.extend_from_slice(state.direct);
    }
    live
}

/// All pieces of these states, later ones over earlier ones, and the length of the last state.
pub(super) fn merged<'a>(states: &[&'a State<'_>]) -> (BTreeMap<u64, &'a [u8]>, u64) {
    let mut pieces: BTreeMap<u64, &[u8]> = BTreeMap::new();
    let mut len = HEADER_LEN as u64;
    for state in states {
        for range in state.direct {
            pieces
                .retain(|offset, _| *offset < range.offset || *offset >= range.offset + range.len);
        }
        for piece in state.pieces {
            pieces.insert(piece.offset, &piece.bytes);
        }
        // What reaches past the end stood there before: what is left of it has been put again, or is a hole.
        pieces.retain(|offset, bytes| offset + bytes.len() as u64 <= state.len);
        len = state.len;
    }
    (pieces, len)
}
