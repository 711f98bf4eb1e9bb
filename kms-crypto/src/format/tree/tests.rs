use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::aead::Cipher;
use crate::format::keys::{EpochKey, KeyRing};

/// A file's pages on disk, its header as last sealed, and the tree over them.
struct World {
    layout: Layout,
    keys: FileKeys,
    disk: BTreeMap<u64, Box<[u8; PAGE_LEN]>>,
    stored: FileContent,
    file: FileContent,
    tree: Tree,
}

impl World {
    fn new() -> Self {
        let ring = KeyRing {
            current: EpochKey::new(1, &[5; 32]),
            prev: None,
        };
        Self {
            layout: Layout::new(12).unwrap(),
            keys: FileKeys::new([1; 32], Cipher::Aes256Gcm, &ring),
            disk: BTreeMap::new(),
            stored: FileContent::EMPTY,
            file: FileContent::EMPTY,
            tree: Tree::new(),
        }
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(
            &mut Tree,
            &mut FileContent,
            &mut Source<'_, BodyError>,
        ) -> Result<T, TreeError<BodyError>>,
    ) -> Result<T, BodyError> {
        let disk = &self.disk;
        let read = &mut |offset: u64, page: &mut [u8; PAGE_LEN]| {
            let bytes = disk.get(&offset).ok_or(BodyError::Truncated {
                expected: offset,
                found: 0,
            })?;
            page.copy_from_slice(bytes.as_slice());
            Ok(())
        };
        let source = &mut Source {
            layout: self.layout,
            keys: &self.keys,
            read,
        };
        act(&mut self.tree, &mut self.file, source).map_err(|err| match err {
            TreeError::Read(err) | TreeError::Body(err) => err,
        })
    }

    fn resize(&mut self, chunks: u64) {
        self.with(|tree, file, source| tree.resize(file, chunks * 4096, source))
            .unwrap();
    }

    fn set(&mut self, chunk: u64, mark: u8) {
        self.with(|tree, file, source| tree.set_leaf(file, chunk, leaf(mark), source))
            .unwrap();
    }

    fn get(&mut self, chunk: u64) -> Result<Leaf, BodyError> {
        self.with(|tree, file, source| tree.leaf(file, chunk, source))
    }

    fn commit(&mut self) {
        for page in self.tree.seal(&mut self.file, self.layout, &self.keys) {
            assert_eq!(page.offset, self.layout.page_offset(page.id));
            self.disk.insert(page.offset, page.bytes);
        }
        self.stored = self.file.clone();
        assert!(!self.tree.is_dirty());
    }

    fn reopen(&mut self) {
        self.tree.clear();
        self.file = self.stored.clone();
    }
}

fn leaf(mark: u8) -> Leaf {
    if mark == 0 {
        Leaf::HOLE
    } else {
        Leaf {
            nonce: [mark; 12],
            tag: [mark; 16],
            epoch: 1,
        }
    }
}

/// Chunk numbers around every place where something changes in the tree.
fn places() -> impl Strategy<Value = u64> {
    let edges = [
        0u64,
        1,
        15,
        16,
        17,
        141,
        142,
        143,
        16 + 126 * 2,
        16 + 126 * 126 - 1,
        16 + 126 * 126,
        16 + 126 * 127,
    ];
    prop_oneof![prop::sample::select(edges.to_vec()), 0..20_000u64]
}

#[derive(Clone, Debug)]
enum Step {
    Resize(u64),
    Set(u64, u8),
    Commit,
    CrashAndReopen,
    CommitAndReopen,
    Trim,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => places().prop_map(Step::Resize),
        6 => (places(), 0..4u8).prop_map(|(at, mark)| Step::Set(at, mark)),
        2 => Just(Step::Commit),
        1 => Just(Step::CrashAndReopen),
        1 => Just(Step::CommitAndReopen),
        1 => Just(Step::Trim),
    ]
}

proptest! {
    #[test]
    fn the_tree_remembers_what_a_table_would(steps in prop::collection::vec(steps(), 1..40)) {
        let mut world = World::new();
        let (mut size, mut table) = (0, BTreeMap::new());
        let mut stored = (size, table.clone());
        for step in steps {
            match step {
                Step::Resize(chunks) => {
                    world.resize(chunks);
                    size = chunks;
                    table.retain(|at, _| *at < chunks);
                }
                Step::Set(at, mark) => {
                    world.set(at, mark);
                    if at < size {
                        table.insert(at, mark);
                    }
                }
                Step::Commit => {
                    world.commit();
                    stored = (size, table.clone());
                }
                Step::CrashAndReopen => {
                    world.reopen();
                    (size, table) = stored.clone();
                }
                Step::CommitAndReopen => {
                    world.commit();
                    world.reopen();
                    stored = (size, table.clone());
                }
                Step::Trim => world.tree.trim(2),
            }
            for (at, mark) in &table {
                prop_assert_eq!(world.get(*at), Ok(leaf(*mark)), "chunk {}", at);
            }
            for at in [0, 15, 16, 142, size.saturating_sub(1), size] {
                let mark = table.get(&at).copied().unwrap_or(0);
                prop_assert_eq!(world.get(at), Ok(leaf(mark)), "chunk {}", at);
                if at >= size {
                    continue;
                }
                let holes = world.with(|tree, file, source| tree.holes_from(file, at, source));
                let end = at + holes.unwrap();
                prop_assert_eq!(end == at, mark != 0, "chunk {}", at);
                let skipped = table.range(at..end).find(|(_, mark)| **mark != 0);
                prop_assert_eq!(skipped, None, "holes from {} to {}", at, end);
            }
        }
    }
}

#[test]
fn a_huge_hole_is_passed_in_few_steps() {
    let mut world = World::new();
    world.resize(1 << 32);
    world.set(0, 1);
    world.set((1 << 32) - 1, 1);
    world.commit();
    world.reopen();
    let (mut at, mut steps) = (1, 0);
    while world.get(at).unwrap().is_hole() {
        at += world
            .with(|tree, file, source| tree.holes_from(file, at, source))
            .unwrap();
        steps += 1;
    }
    assert_eq!(at, (1 << 32) - 1);
    assert!(steps < 1000, "{steps}");
}

#[test]
fn a_page_of_an_older_state_is_refused() {
    let mut world = World::new();
    world.resize(16 + 126 * 3);
    world.set(20, 1);
    world.set(16 + 126, 1);
    world.commit();
    let old = world.disk.clone();
    world.set(20, 2);
    world.commit();
    let offset = world.layout.page_offset(PageId { level: 1, index: 0 });
    world.disk.insert(offset, old[&offset].clone());
    world.reopen();
    assert_eq!(world.get(20), Err(BodyError::Page { level: 1, index: 0 }));
    assert_eq!(
        world.get(16 + 126),
        Ok(leaf(1)),
        "the rest of the file stays readable"
    );
}

#[test]
fn two_pages_cannot_change_places() {
    let mut world = World::new();
    world.resize(16 + 126 * 2);
    world.set(16, 1);
    world.set(16 + 126, 2);
    world.commit();
    let [a, b] = [0, 1].map(|index| world.layout.page_offset(PageId { level: 1, index }));
    let (one, two) = (world.disk[&a].clone(), world.disk[&b].clone());
    world.disk.insert(a, two);
    world.disk.insert(b, one);
    world.reopen();
    assert_eq!(world.get(16), Err(BodyError::Page { level: 1, index: 0 }));
    assert_eq!(
        world.get(16 + 126),
        Err(BodyError::Page { level: 1, index: 1 })
    );
}

#[test]
fn a_sparse_file_stores_only_the_pages_it_needs() {
    let mut world = World::new();
    world.resize(16 + 126 * 126 * 2);
    world.commit();
    assert!(world.disk.is_empty(), "nothing but holes");
    world.set(16 + 126 * 126 + 5, 1);
    world.commit();
    assert_eq!(world.disk.len(), 3, "one page on each of three levels");
    world.set(16 + 126 * 126 + 5, 0);
    world.commit();
    assert_eq!(world.file.root, [0; 32], "nothing but holes again");
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let mut world = World::new();
    world.resize(300);
    world.set(5, 1);
    world.set(150, 2);
    world.set(299, 3);
    world.commit();
    world.resize(150);
    world.commit();
    world.resize(300);
    world.commit();
    world.reopen();
    assert_eq!(
        (world.get(5), world.get(150), world.get(299)),
        (Ok(leaf(1)), Ok(Leaf::HOLE), Ok(Leaf::HOLE))
    );
}
