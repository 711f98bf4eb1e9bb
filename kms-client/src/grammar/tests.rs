//! The grammar as people would write it, and as they would get it wrong.

use proptest::prelude::*;

use super::*;

fn grant(text: &str) -> GrantSpec {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn refused(text: &str) -> GrammarError {
    text.parse::<GrantSpec>().expect_err(text)
}

#[test]
fn a_full_line_is_understood() {
    let spec = grant("bob,@team rw ttl=7d m=3/5");
    assert_eq!(
        spec.who,
        [Who::Petname("bob".into()), Who::Group("team".into())]
    );
    assert_eq!(spec.access, Access::ReadWrite);
    assert_eq!(
        spec.expiry.unwrap().deadline(1_000).unwrap(),
        1_000 + 7 * 86_400
    );
    assert_eq!(spec.threshold, Some(Threshold::new(3, 5).unwrap()));
}

#[test]
fn a_name_alone_means_reading_with_the_defaults() {
    let spec = grant("bob");
    assert_eq!(
        (spec.access, spec.expiry, spec.threshold),
        (Access::Read, None, None)
    );
}

#[test]
fn options_come_in_any_order_and_names_in_any_case() {
    assert_eq!(
        grant("Bob m=2/3 until=2030-12-24 r"),
        grant("bob r until=2030-12-24 m=2/3")
    );
}

#[test]
fn spaces_beside_commas_do_not_matter() {
    assert_eq!(grant("bob, carol ,dave , eve r").who.len(), 4);
}

#[test]
fn somebody_named_twice_is_granted_once() {
    assert_eq!(grant("bob,BOB").who.len(), 1);
}

#[test]
fn a_date_lasts_to_the_end_of_its_day() {
    let end = grant("bob until=2030-12-24")
        .expiry
        .unwrap()
        .deadline(0)
        .unwrap();
    assert_eq!(utc(end), "2030-12-24T23:59:59Z");
    assert_eq!(date(end), "2030-12-24");
}

#[test]
fn a_time_may_have_a_zone() {
    let plus: Until = "2030-12-24T12:00:00+02:00".parse().unwrap();
    let utc: Until = "2030-12-24T10:00Z".parse().unwrap();
    assert_eq!(plus, utc);
}

#[test]
fn durations_of_every_unit_are_understood() {
    for (text, seconds) in [
        ("45s", 45),
        ("90m", 5_400),
        ("12h", 43_200),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
    ] {
        assert_eq!(text.parse::<Ttl>().unwrap().seconds(), seconds, "{text}");
    }
}

#[test]
fn what_is_no_duration_is_refused() {
    for text in [
        "",
        "7",
        "d",
        "-7d",
        "7y",
        "0d",
        "7d7d",
        "1h1d",
        "1.5h",
        "7 d",
        "99999999999999999999d",
        "９d",
    ] {
        assert!(text.parse::<Ttl>().is_err(), "{text}");
    }
}

#[test]
fn what_is_no_date_is_refused() {
    for text in [
        "",
        "tomorrow",
        "2030-13-01",
        "2030-02-30",
        "24.12.2030",
        "2030-12-24T10:00",
        "2030-12-24T10:00:00[Europe/Berlin]",
        "1960-01-01",
        "20301224",
    ] {
        assert!(text.parse::<Until>().is_err(), "{text}");
    }
}

#[test]
fn what_is_no_threshold_is_refused() {
    for text in [
        "", "3", "/", "0/5", "6/5", "3/256", "+3/5", "3/5/7", "3 /5", "-1/5",
    ] {
        assert!(parse_threshold(text).is_err(), "{text}");
    }
}

#[test]
fn a_time_that_is_over_is_refused_when_it_is_used() {
    let expiry = grant("bob until=2001-01-01").expiry.unwrap();
    assert!(matches!(
        expiry.deadline(1_700_000_000),
        Err(GrammarError::Past { .. })
    ));
    assert!(matches!(
        grant("bob ttl=7d").expiry.unwrap().deadline(u64::MAX),
        Err(GrammarError::TooFar)
    ));
}

#[test]
fn every_mistake_has_its_own_error() {
    assert!(matches!(refused(""), GrammarError::Empty));
    assert!(matches!(refused("  \n"), GrammarError::Empty));
    assert!(matches!(
        refused("ttl=7d"),
        GrammarError::NoRecipient { .. }
    ));
    assert!(matches!(
        refused("bob,,carol"),
        GrammarError::EmptyPerson { .. }
    ));
    assert!(matches!(refused("bob,"), GrammarError::EmptyPerson { .. }));
    assert!(matches!(
        refused("bob carol"),
        GrammarError::UnknownWord { .. }
    ));
    assert!(matches!(
        refused("bob tll=7d"),
        GrammarError::UnknownOption { .. }
    ));
    assert!(matches!(refused("bob r rw"), GrammarError::Twice { .. }));
    assert!(matches!(
        refused("bob ttl=7d until=2030-01-01"),
        GrammarError::Twice { .. }
    ));
    assert!(matches!(
        refused("bob m=3/5 m=3/5"),
        GrammarError::Twice { .. }
    ));
    assert!(matches!(refused("9bob"), GrammarError::Name { .. }));
    assert!(matches!(refused("@"), GrammarError::Name { .. }));
    assert!(matches!(refused("@@team"), GrammarError::Name { .. }));
    assert!(matches!(refused("../bob"), GrammarError::Name { .. }));
    assert!(matches!(refused("*"), GrammarError::Name { .. }));
    assert!(matches!(refused("kms1qqqq"), GrammarError::Key { .. }));
    assert!(matches!(
        refused(&"a,".repeat(5000)),
        GrammarError::TooLong { .. }
    ));
}

#[test]
fn a_pasted_secret_key_is_refused_and_not_repeated() {
    let error = refused("KMS-SECRET-KEY-1QQQQQQQQQQQQ");
    assert!(matches!(error, GrammarError::SecretKey));
    assert!(!format!("{error} {error:?} {}", error.advice()).contains("QQQQ"));
}

#[test]
fn a_revocation_names_people_or_everybody() {
    assert_eq!("*".parse::<RevokeSpec>().unwrap(), RevokeSpec::Everybody);
    assert_eq!(
        "bob,@team".parse::<RevokeSpec>().unwrap().to_string(),
        "bob,@team"
    );
    assert!("bob,*".parse::<RevokeSpec>().is_err());
    assert!("bob ttl=7d".parse::<RevokeSpec>().is_err());
    assert!("".parse::<RevokeSpec>().is_err());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_without_a_panic(text in ".{0,80}") {
        let _ = text.parse::<GrantSpec>();
        let _ = text.parse::<RevokeSpec>();
    }

    #[test]
    fn a_line_printed_and_read_again_means_the_same(
        people in prop::collection::vec("@?[a-z][a-z0-9._-]{0,31}", 1..5),
        write in any::<bool>(),
        seconds in prop::option::of(1u64..10_000_000),
        m in 1u8..20,
        more in 0u8..20,
    ) {
        let mut text = people.join(",");
        if write { text.push_str(" rw"); }
        if let Some(seconds) = seconds { text.push_str(&format!(" ttl={seconds}s")); }
        text.push_str(&format!(" m={m}/{}", m + more));
        prop_assume!(!text.contains("kms1") && !text.contains("kms-secret-key-"));
        let spec = grant(&text);
        prop_assert_eq!(&grant(&spec.to_string()), &spec);
    }
}
