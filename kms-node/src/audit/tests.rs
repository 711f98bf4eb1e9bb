use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kms_crypto::key::IdentitySecret;
use kms_proto::message::{Audited, Continued};

use super::*;
use crate::rng;
use crate::store::power::{Dice, Disk, Event, ROWS, Recorded, cut as power_cut, seeds};

const ONE: PolicyId = PolicyId([1; 32]);
const OTHER: PolicyId = PolicyId([2; 32]);

/// Always the same one.
fn bob() -> PublicKey {
    static BOB: std::sync::LazyLock<PublicKey> = std::sync::LazyLock::new(person);
    *BOB
}

fn person() -> PublicKey {
    IdentitySecret::generate(&mut rng()).public()
}

fn note(at: u64, outcome: &'static str, recipient: PublicKey) -> AuditNote {
    AuditNote {
        at,
        recipient,
        outcome,
        capsules: 1,
        content: None,
    }
}

/// What an owner makes of an extract from entry `from` on, who knew the hash before it.
fn read(log: &AuditLog, policy: &PolicyId, from: u64, known: &[u8; 32]) -> Option<Continued> {
    let extract = log.extract(policy, from).unwrap();
    let report = Audited {
        network: "test".to_owned(),
        node: person(),
        policy: *policy,
        at: 0,
        from,
        total: extract.total,
        first: extract.first,
        lost: extract.lost,
        prev: extract.prev,
        entries: extract.entries.iter().cloned().map(Into::into).collect(),
    };
    report.entries_after(known).ok()
}

fn told(log: &AuditLog, policy: &PolicyId) -> Vec<(u64, String, u64)> {
    let all = read(log, policy, 0, &[0; 32]).unwrap();
    let entries = all.entries.into_iter();
    entries.map(|it| (it.at, it.outcome, it.before)).collect()
}

#[test]
fn entries_are_chained_and_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.redb");
    let bob = person();
    let log = AuditLog::open(&path).unwrap();
    log.note(&ONE, &note(0, "ok", bob));
    log.note(&OTHER, &note(1, "ok", bob));
    log.note(&ONE, &note(2, "ok", bob));
    log.note(&ONE, &note(3, "ok", bob));
    log.note(&ONE, &note(60, "revoked", bob));
    log.sync(60);
    drop(log);
    let log = AuditLog::open(&path).unwrap();
    assert_eq!(log.fill().entries, 3);
    log.note(&ONE, &note(120, "ok", bob));
    let expected = [(0, "ok", 0), (60, "revoked", 2), (120, "ok", 0)];
    let expected = expected.map(|(at, outcome, before)| (at, outcome.to_owned(), before));
    assert_eq!(told(&log, &ONE), expected);
    // Who has seen the first one can tell that the rest goes on from it.
    let first = log.extract(&ONE, 0).unwrap().entries[0].clone();
    let first = audit_hash(&[0; 32], &first);
    let all = read(&log, &ONE, 0, &[0; 32]).unwrap();
    let rest = read(&log, &ONE, 1, &first).unwrap();
    assert_eq!((rest.hash, rest.next, rest.dropped), (all.hash, 3, 0));
    assert_eq!(read(&log, &ONE, 1, &all.hash), None, "another history");
    assert_eq!(read(&log, &ONE, 3, &all.hash).unwrap().entries, []);
    assert_eq!(read(&log, &ONE, 4, &all.hash), None, "less than before");
}

/// How often somebody had repeated a request was told with the next entry, and forgotten when the node stopped.
#[test]
fn what_was_only_counted_has_an_entry_when_its_minute_is_over_or_the_node_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.redb");
    let bob = person();
    let log = AuditLog::open(&path).unwrap();
    let times = |log: &AuditLog| -> Vec<_> {
        let told = told(log, &ONE).into_iter();
        told.map(|(at, _, before)| (at, before)).collect()
    };
    for at in [0, 1, 2, 5] {
        log.note(&ONE, &note(at, "ok", bob));
    }
    log.sync(59);
    assert_eq!(times(&log), [(0, 0)]);
    log.sync(66);
    assert_eq!(times(&log), [(0, 0), (5, 2)]);
    for at in [60, 61, 62] {
        log.note(&ONE, &note(at, "ok", bob));
    }
    log.finish();
    drop(log);
    let log = AuditLog::open(&path).unwrap();
    assert_eq!(times(&log), [(0, 0), (5, 2), (60, 0), (62, 1)]);
}

/// A client whose answer was lost asks once more, and its owner was told that the key was used twice.
#[test]
fn the_same_request_made_once_more_is_one_use() {
    let log = AuditLog::in_memory();
    let ask = |at, content, outcome| {
        let content = Some([content; 32]);
        log.note(
            &ONE,
            &AuditNote {
                content,
                ..note(at, outcome, bob())
            },
        );
    };
    ask(57, 1, "ok");
    ask(59, 1, "ok");
    log.sync(61);
    ask(62, 1, "ok");
    ask(63, 2, "ok");
    ask(64, 2, "expired");
    ask(64, 3, "expired");
    ask(80, 3, "expired");
    log.finish();
    let expected = [
        (57, "ok", 0),
        (63, "ok", 0),
        (64, "expired", 0),
        (80, "expired", 1),
    ];
    assert_eq!(
        told(&log, &ONE),
        expected.map(|(at, outcome, before)| (at, outcome.to_owned(), before))
    );
}

fn small(most: u64, share: u64) -> AuditLog {
    let log = AuditLog::in_memory();
    {
        let mut room = log.room.lock();
        (room.most, room.share) = (most, share);
    }
    log
}

/// One person who asked in two ways in turn filled the log of a node for all its life, and nobody was told.
#[test]
fn a_policy_has_its_share_and_its_owner_is_told_what_is_dropped() {
    let log = small(1000, 16);
    let bob = person();
    log.note(&OTHER, &note(0, "ok", bob));
    for at in 0..10 {
        log.note(&ONE, &note(60 * at, "ok", bob));
    }
    let known = read(&log, &ONE, 0, &[0; 32]).unwrap();
    assert_eq!((known.next, known.dropped), (10, 0));
    for at in 10..40 {
        log.note(&ONE, &note(60 * at, "ok", bob));
        log.sync(0);
    }
    let kept = read(&log, &ONE, known.next, &known.hash).unwrap();
    assert_eq!(kept.next, 40);
    assert!((14..=16).contains(&kept.entries.len()), "{kept:?}");
    assert_eq!(kept.dropped, 30 - kept.entries.len() as u64);
    assert_eq!(kept.entries.last().unwrap().at, 60 * 39);
    let rest = read(&log, &ONE, kept.next, &kept.hash).unwrap();
    assert_eq!((rest.dropped, rest.entries.len()), (0, 0));
    assert_eq!(told(&log, &OTHER).len(), 1, "others lose nothing");
    assert_eq!(log.fill().entries, kept.entries.len() as u64 + 1);
}

#[test]
fn a_full_log_takes_from_those_who_have_most() {
    let log = small(100, 64);
    let bob = person();
    let many: Vec<_> = (10..18).map(|it| PolicyId([it; 32])).collect();
    for at in 0..5 {
        log.note(&ONE, &note(60 * at, "ok", bob));
    }
    for at in 0..40 {
        for policy in &many {
            log.note(policy, &note(60 * at, "ok", bob));
        }
        (0..4).for_each(|_| log.sync(0));
    }
    for _ in 0..20 {
        log.sync(0);
    }
    let fill = log.fill();
    assert!(fill.entries <= 100 && fill.share == 8, "{fill:?}");
    assert_eq!(told(&log, &ONE).len(), 5, "it had less than its share");
    for policy in &many {
        let kept = read(&log, policy, 0, &[0; 32]).unwrap();
        assert!(kept.dropped > 0 && kept.next == 40, "{kept:?}");
    }
    // With one entry for each there may still be too many policies: new ones are not noted, and that is said.
    log.room.lock().most = 8;
    (0..9).for_each(|_| log.sync(0));
    assert_eq!(log.fill().entries, 9);
    log.note(&OTHER, &note(0, "ok", bob));
    log.sync(0);
    assert_eq!((log.fill().lost, log.fill().entries), (1, 9));
    assert_eq!(log.extract(&ONE, 5).unwrap().lost, 1);
    // When some are forgotten there is more room again.
    log.tend(|policy, _| *policy != ONE).unwrap();
    assert_eq!((log.fill().entries, log.fill().share), (1, 2));
    log.note(&OTHER, &note(60, "ok", bob));
    assert_eq!(told(&log, &OTHER).len(), 1);
}

#[test]
fn what_is_over_is_forgotten_and_the_rest_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.redb");
    let bob = person();
    let log = AuditLog::open(&path).unwrap();
    for at in 0..5 {
        log.note(&ONE, &note(60 * at, "ok", bob));
        log.note(&OTHER, &note(60 * at + 1, "ok", bob));
    }
    log.sync(0);
    let known = read(&log, &OTHER, 0, &[0; 32]).unwrap();
    log.tend(|policy, last| {
        assert_eq!(last, if *policy == ONE { 240 } else { 241 });
        *policy == ONE
    })
    .unwrap();
    drop(log);
    let log = AuditLog::open(&path).unwrap();
    assert_eq!(log.extract(&ONE, 0).unwrap(), Extract::default());
    assert_eq!(read(&log, &OTHER, 5, &known.hash).unwrap().next, 5);
    assert_eq!(log.fill().entries, 5);
}

#[test]
fn a_log_that_is_none_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.redb");
    fs::write(&path, [7; 9000]).unwrap();
    let log = AuditLog::open(&path).unwrap();
    log.note(&ONE, &note(0, "ok", person()));
    assert_eq!(told(&log, &ONE).len(), 1);
    assert_eq!(
        fs::read(dir.path().join("audit.damaged")).unwrap(),
        [7; 9000]
    );
}

/// A shelf that takes nothing while it is told so.
struct Broken(shelf::Memory, Arc<AtomicBool>);

impl Shelf for Broken {
    fn apply(&self, changes: &[Change], sum: u64) -> Result<(), StoreError> {
        if self.1.load(Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        self.0.apply(changes, sum)
    }

    fn chain(&self, policy: &PolicyId) -> Result<Option<Chain>, StoreError> {
        self.0.chain(policy)
    }

    fn chains(
        &self,
        after: Option<PolicyId>,
        max: usize,
    ) -> Result<Vec<(PolicyId, Chain)>, StoreError> {
        self.0.chains(after, max)
    }

    fn entries(
        &self,
        policy: &PolicyId,
        which: std::ops::Range<u64>,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        self.0.entries(policy, which)
    }

    fn sum(&self) -> Result<u64, StoreError> {
        self.0.sum()
    }
}

#[test]
fn nothing_is_told_that_the_disk_has_not_taken_and_what_was_too_much_is_counted() {
    let broken = Arc::new(AtomicBool::new(true));
    let shelf = Broken(shelf::Memory::default(), Arc::clone(&broken));
    let log = AuditLog::on(Box::new(shelf), 0);
    let bob = person();
    log.note(&ONE, &note(0, "ok", bob));
    log.note(&ONE, &note(60, "ok", bob));
    assert_eq!(told(&log, &ONE), []);
    broken.store(false, Ordering::SeqCst);
    let times: Vec<_> = told(&log, &ONE).iter().map(|it| it.0).collect();
    assert_eq!(times, [0, 60], "nothing was lost, and all is in order");
    broken.store(true, Ordering::SeqCst);
    for at in 2..WAITING as u64 + 5 {
        log.note(&ONE, &note(60 * at, "ok", bob));
    }
    log.sync(0);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(log.extract(&ONE, 0).unwrap().lost, 3);
}

/// A report was of what had been appended. A power cut took the last seconds of it away, and who had been told
/// found an honest node to have altered what it said.
#[test]
fn an_owner_is_told_nothing_that_a_power_cut_takes_back() {
    let disk = Arc::new(Disk::default());
    let open = |disk: &Arc<Disk>| {
        let disk = Arc::clone(disk);
        let handle = Handle::over(CACHE_BYTES, move || Recorded(Arc::clone(&disk), ROWS));
        let shelf = Database::on(handle.unwrap()).unwrap();
        let entries = shelf.sum().unwrap();
        let log = AuditLog::on(Box::new(shelf), entries);
        (log.room.lock().most, log.room.lock().share) = (60, 16);
        log
    };
    let bob = person();
    let policies: Vec<_> = (1..9).map(|it| PolicyId([it; 32])).collect();
    // What was told, and after how many events.
    let mut reports = Vec::new();
    let mut log = open(&disk);
    for round in 0..60_u64 {
        for (every, policy) in (1..).zip(&policies) {
            if !round.is_multiple_of(every) {
                continue;
            }
            log.note(policy, &note(60 * round, "ok", bob));
            if round % 7 == 3 {
                let next = log.extract(policy, u64::MAX).unwrap();
                reports.push((disk.events.lock().len(), *policy, next.total, next.prev));
            }
        }
        log.sync(60 * round);
        if round % 20 == 19 {
            drop(log);
            log = open(&disk);
        }
    }
    drop(log);
    let events: Vec<Event> = disk.events.lock().clone();
    for seed in seeds() {
        let mut dice = Dice(seed);
        let end = dice.below(events.len());
        let log = open(&power_cut(&events[..end], &mut dice));
        let mut latest = BTreeMap::new();
        for (at, policy, total, hash) in &reports {
            if *at <= end {
                latest.insert(*policy, (*total, *hash));
            }
        }
        for (policy, (total, hash)) in latest {
            let goes_on = read(&log, &policy, total, &hash);
            assert!(goes_on.is_some(), "KMS_POWER_SEED={seed}: altered");
        }
        let kept = policies.iter().map(|it| log.shelf.chain(it).unwrap());
        let kept: u64 = kept.flatten().map(|it| it.kept()).sum();
        assert_eq!(kept, log.fill().entries, "KMS_POWER_SEED={seed}");
    }
}
