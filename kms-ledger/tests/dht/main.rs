//! A ledger that nodes keep in replicas: when some of them are away, forget, or lie.
#![expect(clippy::unwrap_used, reason = "a test")]

mod keepers;

use std::sync::Arc;

use keepers::{Conduct, Keepers};
use kms_crypto::key::NodeSecret;
use kms_ledger::conformance::{Author, START, check_ledger, registration};
use kms_proto::ledger::{EntryRefusal, Ledger, LedgerError, PolicyState};

fn is_revoked(ledger: &dyn Ledger, author: &Author) -> bool {
    matches!(
        ledger.policy(&author.policy()),
        Ok(PolicyState::Revoked { .. })
    )
}

fn is_live(ledger: &dyn Ledger, author: &Author) -> bool {
    matches!(ledger.policy(&author.policy()), Ok(PolicyState::Live(_)))
}

#[test]
fn the_dht_ledger_conforms_for_people() {
    let mut all = Vec::new();
    check_ledger(&mut |clock| {
        let keepers = Keepers::new(3, None, clock);
        let reader = keepers.reader();
        all.push(keepers);
        Arc::new(reader)
    });
}

#[test]
fn the_dht_ledger_conforms_for_keepers() {
    let mut all = Vec::new();
    check_ledger(&mut |clock| {
        let keepers = Keepers::new(3, None, clock);
        let one = keepers.ledger(0);
        all.push(keepers);
        one
    });
}

#[test]
fn what_is_written_is_seen_by_everybody_at_once_however_they_read() {
    let keepers = Keepers::started(5, None);
    let author = Author::new();
    keepers
        .reader()
        .submit(&author.grant(1, START + 100))
        .unwrap();
    for index in 0..5 {
        assert!(is_live(&keepers.ledger(index), &author), "keeper {index}");
    }
    keepers.reader().submit(&author.revoke(2)).unwrap();
    assert!(is_revoked(&keepers.reader(), &author));
    for index in 0..5 {
        assert!(
            is_revoked(&keepers.ledger(index), &author),
            "keeper {index}"
        );
    }
}

#[test]
fn of_five_keepers_any_two_may_be_away_for_everything() {
    for away in [[0, 1], [1, 3], [3, 4]] {
        let keepers = Keepers::started(5, None);
        let author = Author::new();
        keepers
            .reader()
            .submit(&author.grant(1, START + 100))
            .unwrap();
        for index in away {
            keepers.conduct(index, Conduct::Away);
        }
        assert!(is_live(&keepers.reader(), &author));
        keepers.reader().submit(&author.revoke(2)).unwrap();
        // Others may be away for the next reader: one who has it is among any three.
        for index in away {
            keepers.conduct(index, Conduct::Honest);
        }
        let others: Vec<_> = (0..5).filter(|index| !away.contains(index)).collect();
        for index in &others[..2] {
            keepers.conduct(*index, Conduct::Away);
        }
        assert!(is_revoked(&keepers.reader(), &author), "{away:?}");
    }
}

#[test]
fn with_too_few_keepers_nothing_is_read_or_written_and_the_error_says_who_is_missing() {
    let keepers = Keepers::started(3, None);
    let author = Author::new();
    keepers.conduct(1, Conduct::Away);
    keepers.conduct(2, Conduct::Away);
    for error in [
        keepers.reader().policy(&author.policy()).unwrap_err(),
        keepers.reader().submit(&author.revoke(2)).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(matches!(error, LedgerError::Unavailable(_)), "{text}");
        assert!(text.contains("2 of its 3 keepers have to"), "{text}");
        for index in [1, 2] {
            assert!(text.contains(&keepers.key(index).to_string()), "{text}");
        }
    }
}

/// One keeper is enough to read when every entry has to be taken by all: then two of three may be lost.
#[test]
fn with_a_quorum_of_one_the_last_keeper_still_answers_and_no_revocation_is_hidden() {
    let keepers = Keepers::started(3, Some(1));
    let (author, later) = (Author::new(), Author::new());
    keepers
        .reader()
        .submit(&author.grant(1, START + 100))
        .unwrap();
    keepers.conduct(0, Conduct::Away);
    keepers.conduct(2, Conduct::Away);
    assert!(is_live(&keepers.reader(), &author));
    assert!(is_live(&keepers.ledger(1), &author));
    // It is not confirmed, and the keeper that has it goes by it.
    keepers.reader().submit(&author.revoke(2)).unwrap_err();
    assert!(is_revoked(&keepers.ledger(1), &author));
    keepers
        .reader()
        .submit(&later.grant(1, START + 100))
        .unwrap_err();
    // Repeated until all have it.
    keepers.conduct(0, Conduct::Honest);
    keepers.reader().submit(&author.revoke(2)).unwrap_err();
    keepers.conduct(2, Conduct::Honest);
    keepers.reader().submit(&author.revoke(2)).unwrap();
    for index in 0..3 {
        assert!(is_revoked(
            keepers.ledger(index).replica().unwrap(),
            &author
        ));
    }
}

#[test]
fn a_keeper_that_was_away_catches_up_and_keeps_it_across_restarts() {
    let mut keepers = Keepers::started(3, None);
    let author = Author::new();
    keepers.conduct(2, Conduct::Away);
    keepers
        .reader()
        .submit(&author.grant(1, START + 100))
        .unwrap();
    keepers.reader().submit(&author.revoke(2)).unwrap();
    keepers.restart(2);
    keepers.conduct(2, Conduct::Honest);
    assert!(
        is_revoked(&keepers.ledger(2), &author),
        "it asks the others"
    );
    keepers.restart(2);
    assert!(
        is_revoked(keepers.ledger(2).replica().unwrap(), &author),
        "it has it by itself now"
    );
}

#[test]
fn liars_withhold_a_revocation_from_nobody_who_reaches_an_honest_keeper_that_has_it() {
    let keepers = Keepers::started(3, None);
    let author = Author::new();
    keepers
        .reader()
        .submit(&author.grant(1, START + 100))
        .unwrap();
    // Both say that they took it, and show what was before.
    keepers.conduct(0, Conduct::Withholds);
    keepers.conduct(1, Conduct::Withholds);
    keepers.reader().submit(&author.revoke(2)).unwrap();
    keepers.eventually(|| is_revoked(keepers.ledger(2).replica().unwrap(), &author));
    assert!(
        is_revoked(&keepers.reader(), &author),
        "the third one shows it"
    );
    // A majority that lies, and a third that nobody reaches: the revocation is late.
    keepers.conduct(2, Conduct::Away);
    assert!(is_live(&keepers.reader(), &author));
    assert!(is_revoked(&keepers.ledger(2), &author), "it knows itself");
    keepers.conduct(2, Conduct::Honest);
    let reader = keepers.reader();
    assert!(is_revoked(&reader, &author));
    // Who has seen it needs nobody to tell it again.
    keepers.conduct(2, Conduct::Away);
    keepers.conduct(0, Conduct::Away);
    assert!(is_revoked(&reader, &author));
}

#[test]
fn a_keeper_that_forges_or_forgets_counts_no_more_and_what_it_made_up_is_not_believed() {
    for conduct in [Conduct::ForgesEntry, Conduct::BreaksChain, Conduct::Forgets] {
        let keepers = Keepers::started(3, None);
        let author = Author::new();
        let reader = keepers.reader();
        reader.submit(&author.grant(1, START + 100)).unwrap();
        assert!(is_live(&reader, &author));
        keepers.conduct(0, conduct);
        keepers
            .reader()
            .submit(&Author::new().grant(1, START + 100))
            .unwrap();
        assert!(
            is_live(&reader, &author),
            "{conduct:?}: {:?}",
            reader.report()
        );
        let report = reader.report();
        assert!(report[0].fault.is_some(), "{conduct:?}: {report:?}");
        assert!(report[1].fault.is_none() && report[2].fault.is_none());
        keepers.conduct(1, Conduct::Away);
        let error = reader.policy(&author.policy()).unwrap_err();
        assert!(error.to_string().contains("1 did"), "{conduct:?}: {error}");
        reader.policy(&author.policy()).unwrap_err();
    }
}

#[test]
fn a_slow_keeper_holds_nobody_up_and_is_heard_all_the_same() {
    let keepers = Keepers::started(3, None);
    let author = Author::new();
    let reader = keepers.reader();
    reader.submit(&author.grant(1, START + 100)).unwrap();
    keepers.conduct(2, Conduct::Slow);
    // Only the slow one has it: the two others were away when it was told.
    keepers.conduct(0, Conduct::Away);
    keepers.conduct(1, Conduct::Away);
    keepers.reader().submit(&author.revoke(2)).unwrap_err();
    keepers.conduct(0, Conduct::Honest);
    keepers.conduct(1, Conduct::Honest);
    keepers.eventually(|| is_revoked(&reader, &author));
}

#[test]
fn two_entries_that_exclude_each_other_are_not_both_written() {
    let keepers = Keepers::started(3, None);
    let (author, node) = (Author::new(), NodeSecret::generate(&mut keepers::rng()));
    let reader = keepers.reader();
    reader
        .submit(&registration(&node, 1, START + 100, &[]))
        .unwrap();
    reader.submit(&author.grant(5, START + 50)).unwrap();
    let another = reader.submit(&author.grant(5, START + 60));
    assert!(matches!(
        another,
        Err(LedgerError::Refused(EntryRefusal::Outnumbered {
            latest: 5
        }))
    ));
    reader.submit(&author.revoke(2)).unwrap();
    // A reader that knows of nothing is told by those who do.
    let grant = keepers.reader().submit(&author.grant(6, START + 50));
    assert!(matches!(
        grant,
        Err(LedgerError::Refused(EntryRefusal::Revoked { .. }))
    ));
}

#[test]
fn what_was_granted_and_revoked_is_told_with_its_time_and_its_keepers_of_fragments() {
    let keepers = Keepers::started(3, None);
    let author = Author::new();
    keepers
        .reader()
        .submit(&author.grant(1, START + 100))
        .unwrap();
    keepers.set_time(START + 30);
    keepers.reader().submit(&author.revoke(2)).unwrap();
    keepers.set_time(START + 5000);
    match keepers.reader().policy(&author.policy()).unwrap() {
        PolicyState::Revoked {
            at,
            epoch: 2,
            grant: Some(grant),
        } => {
            assert_eq!((at, grant.n()), (START + 30, 3));
        }
        other => panic!("{other:?}"),
    }
}
