//! Power cuts: what was acknowledged is on every disk that one may leave behind.
//!
//! The vault works on two files that write down what they are told. Then the disk is built as a cut after any of that may
//! leave it: of what came after a file's last sync, any pieces may be there and any missing. A vault is opened on it.
//! `KMS_POWER_CUTS` says how often; `KMS_POWER_SEED` looks at one case again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kms_crypto::id::PolicyId;
use kms_crypto::key::{DelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::PolicyParams;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::slots::SlotFile;
use super::{Fragment, Memory, RedbStore, Slots, Stored, Vault};
use crate::keyfile::StorageKey;
use crate::rng;

const NOW: u64 = 1_000_000;
const CUTS: u64 = 400;
/// What a disk writes in one piece.
const PIECE: usize = 512;

/// The two files.
pub(crate) const ROWS: usize = 0;
const KEYS: usize = 1;

/// What happened, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write(usize, u64, Vec<u8>),
    Length(usize, u64),
    Sync(usize),
    /// The vault has said that it keeps this fragment.
    Kept(PolicyId),
    /// The vault was told to remove it, and may have done so.
    Leaving(PolicyId),
    /// The vault has said that it is gone.
    Gone(PolicyId),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: [Mutex<Vec<u8>>; 2],
    pub(crate) events: Mutex<Vec<Event>>,
}

impl Disk {
    fn note(&self, event: Event) {
        if let Event::Write(file, ..) | Event::Length(file, _) = &event {
            apply(&mut self.files[*file].lock(), &event);
        }
        self.events.lock().push(event);
    }
}

fn apply(file: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write(_, offset, data) => {
            let offset = usize::try_from(*offset).unwrap();
            let end = offset + data.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[offset..end].copy_from_slice(data);
        }
        Event::Length(_, length) => file.resize(usize::try_from(*length).unwrap(), 0),
        _ => {}
    }
}

/// One of the files of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Recorded(pub(crate) Arc<Disk>, pub(crate) usize);

impl redb::StorageBackend for Recorded {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.files[self.1].lock().len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = self.0.files[self.1].lock();
        let offset = usize::try_from(offset).unwrap();
        let bytes = file.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.note(Event::Length(self.1, length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.note(Event::Sync(self.1));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.note(Event::Write(self.1, offset, data.to_vec()));
        Ok(())
    }
}

impl SlotFile for Recorded {
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.note(Event::Write(self.1, offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.note(Event::Sync(self.1));
        Ok(())
    }
}

fn open(disk: &Arc<Disk>) -> Vault {
    let rows = Arc::clone(disk);
    let store = RedbStore::over(move || Recorded(Arc::clone(&rows), ROWS)).unwrap();
    let keys = disk.files[KEYS].lock().clone();
    let slots = Slots::over(Box::new(Recorded(Arc::clone(disk), KEYS)), &keys);
    let key = StorageKey::from_bytes(&[1; 32]);
    Vault::open(Box::new(store), slots, &key, NOW).unwrap()
}

fn fragment(number: usize) -> Fragment {
    let params = PolicyParams::new(
        LedgerKey::generate(&mut rng()).public(),
        DelegatingKey::generate(&mut rng()).public(),
        IdentitySecret::generate(&mut rng()).public(),
        [5; 32],
    );
    Fragment {
        params,
        expiry: NOW + 100,
        index: 0,
        frag: Zeroizing::new(vec![u8::try_from(number).unwrap(); 250]),
        given: Zeroizing::new(vec![7; 250]),
    }
}

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((it ^ (it >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Fragments come, come again and go, several at once.
async fn work(disk: &Arc<Disk>) -> BTreeMap<PolicyId, Fragment> {
    let fragments: Vec<_> = (0..48).map(fragment).collect();
    for (round, some) in fragments.chunks(8).enumerate() {
        // A node that is restarted now and then.
        let vault = open(disk);
        let store = some.iter().map(|it| async {
            assert_eq!(vault.put(it, NOW).await.unwrap(), Stored::Durable);
            disk.note(Event::Kept(it.params.id()));
        });
        futures::future::join_all(store).await;
        vault.put(&some[0], NOW).await.unwrap();
        let leaving = fragments[..=round * 8].iter().skip(round).step_by(5);
        let remove = leaving.map(|it| async {
            let policy = it.params.id();
            disk.note(Event::Leaving(policy));
            vault.remove(policy, NOW, Memory::Long).await.unwrap();
            disk.note(Event::Gone(policy));
        });
        futures::future::join_all(remove).await;
    }
    let by_policy = fragments.into_iter().map(|it| (it.params.id(), it));
    by_policy.collect()
}

/// A disk as a cut after these events may leave it.
pub(crate) fn cut(events: &[Event], dice: &mut Dice) -> Arc<Disk> {
    let disk = Disk::default();
    // Everything, nothing, or any of the pieces that no sync has made sure of.
    let mood = dice.below(3);
    for file in [ROWS, KEYS] {
        let of_it = |event: &Event| matches!(event, Event::Sync(it) if *it == file);
        let synced = events.iter().rposition(of_it).unwrap_or(0);
        let mut bytes = disk.files[file].lock();
        for (at, event) in events.iter().enumerate() {
            let (Event::Write(it, ..) | Event::Length(it, _)) = event else {
                continue;
            };
            if *it != file {
                continue;
            }
            let is_sure = at < synced;
            match event {
                _ if is_sure || mood == 0 => apply(&mut bytes, event),
                _ if mood == 1 => {}
                Event::Write(_, offset, data) => {
                    for (number, piece) in data.chunks(PIECE).enumerate() {
                        let offset = offset + u64::try_from(number * PIECE).unwrap();
                        if dice.coin() {
                            apply(&mut bytes, &Event::Write(file, offset, piece.to_vec()));
                        }
                    }
                }
                _ if dice.coin() => apply(&mut bytes, event),
                _ => {}
            }
        }
    }
    Arc::new(disk)
}

fn look(events: &[Event], fragments: &BTreeMap<PolicyId, Fragment>, seed: u64) {
    let mut dice = Dice(seed);
    let end = dice.below(events.len());
    let vault = open(&cut(&events[..end], &mut dice));
    let (mut kept, mut gone) = (BTreeMap::new(), Vec::new());
    for event in &events[..end] {
        match event {
            Event::Kept(policy) => drop(kept.insert(*policy, ())),
            Event::Leaving(policy) => drop(kept.remove(policy)),
            Event::Gone(policy) => gone.push(*policy),
            _ => {}
        }
    }
    for policy in kept.keys() {
        let found = vault.fragment(policy).unwrap();
        let found = found.unwrap_or_else(|| panic!("KMS_POWER_SEED={seed}: a fragment is lost"));
        assert!(
            found.frag == fragments[policy].frag,
            "KMS_POWER_SEED={seed}"
        );
    }
    for policy in &gone {
        assert!(
            vault.fragment(policy).unwrap().is_none() && vault.removal(policy).unwrap().is_some(),
            "KMS_POWER_SEED={seed}: what was removed is back"
        );
    }
}

/// How often the power is cut.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match number("KMS_POWER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KMS_POWER_CUTS").unwrap_or(CUTS),
    }
}

#[tokio::test]
async fn what_was_acknowledged_stands_after_a_power_cut_at_any_moment() {
    let disk = Arc::new(Disk::default());
    let fragments = work(&disk).await;
    let events = disk.events.lock().clone();
    for seed in seeds() {
        look(&events, &fragments, seed);
    }
}
