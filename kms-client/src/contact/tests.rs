use kms_crypto::key::IdentitySecret;

use super::*;

fn key() -> PublicKey {
    IdentitySecret::generate(&mut rand_core::UnwrapErr(getrandom::SysRng)).public()
}

fn name(text: &str) -> Petname {
    text.parse().unwrap()
}

fn book(names: &[&str]) -> Book {
    let mut book = Book::default();
    for text in names {
        book.add(&name(text), key(), "2026-11-22").unwrap();
    }
    book
}

#[test]
fn a_book_comes_back_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contacts.toml");
    let mut book = book(&["bob", "carol"]);
    book.set_verified("bob", "2026-11-23").unwrap();
    book.group_add(&name("team"), &["carol".into(), "bob".into()])
        .unwrap();
    book.save(&path).unwrap();
    assert_eq!(Book::load(&path).unwrap(), book);
}

#[test]
fn no_file_is_an_empty_book() {
    assert_eq!(
        Book::load(Path::new("/nonexistent/contacts.toml")).unwrap(),
        Book::default()
    );
}

#[test]
fn a_name_never_changes_its_key_silently() {
    let mut book = book(&["bob"]);
    let before = book.clone();
    let err = book.add(&name("bob"), key(), "2026-11-22").unwrap_err();
    assert!(matches!(err, BookError::KeyChanged { .. }));
    assert_eq!(book, before);
}

#[test]
fn adding_the_same_again_changes_nothing() {
    let mut book = book(&["bob"]);
    let key = book.get("bob").unwrap().key;
    assert_eq!(
        book.add(&name("bob"), key, "2027-01-01").unwrap(),
        Added::Already
    );
    assert!(matches!(
        book.add(&name("rob"), key, "2027-01-01"),
        Err(BookError::KnownAs { .. })
    ));
}

#[test]
fn a_key_swapped_in_the_file_after_it_was_compared_is_refused() {
    let mut book = book(&["bob"]);
    book.set_verified("bob", "2026-11-22").unwrap();
    assert!(book.resolve("bob").is_ok());
    book.contacts.get_mut("bob").unwrap().key = key();
    assert!(matches!(
        book.resolve("bob"),
        Err(Unresolved::KeyChanged { .. })
    ));
    assert!(!book.get("bob").unwrap().is_unchanged());
    book.set_verified("bob", "2026-11-23").unwrap();
    assert!(book.resolve("bob").is_ok(), "compared again");
}

#[test]
fn a_slip_of_the_finger_gets_a_suggestion() {
    let book = book(&["bob", "carol"]);
    let Err(Unresolved::Unknown { nearest, .. }) = book.resolve("bobb") else {
        panic!("bobb is nobody");
    };
    assert_eq!(nearest.as_deref(), Some("bob"));
    let Err(Unresolved::Unknown { nearest, .. }) = book.resolve("zacharias") else {
        panic!("zacharias is nobody");
    };
    assert_eq!(nearest, None);
}

#[test]
fn case_is_no_difference_unless_the_file_makes_it_one() {
    let mut book = book(&["bob"]);
    assert_eq!(book.resolve("Bob").unwrap(), book.get("bob").unwrap().key);
    let other = book.get("bob").unwrap().clone();
    book.contacts.insert("Bob".into(), other);
    assert!(matches!(
        book.resolve("bob"),
        Err(Unresolved::Ambiguous { .. })
    ));
}

#[test]
fn a_mistyped_key_is_refused_as_a_key() {
    let book = Book::default();
    let mut text = key().to_string();
    let last = text.pop().unwrap();
    text.push(if last == 'q' { 'p' } else { 'q' });
    assert!(matches!(
        book.resolve(&text),
        Err(Unresolved::BadKey { .. })
    ));
}

#[test]
fn a_group_stands_for_its_members_and_loses_those_removed() {
    let mut book = book(&["bob", "carol"]);
    book.group_add(&name("team"), &["bob".into(), "carol".into()])
        .unwrap();
    assert_eq!(book.resolve_all("@team").unwrap().len(), 2);
    book.remove("bob").unwrap();
    assert_eq!(book.resolve_all("@team").unwrap().len(), 1);
    book.remove("carol").unwrap();
    assert!(matches!(
        book.resolve_all("@team"),
        Err(Unresolved::NoGroup { .. })
    ));
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    let failure = Book::parse(
        "[contact.bob]\nkey = \"x\"\ncolour = 1\n",
        Path::new("c.toml"),
    )
    .unwrap_err();
    assert!(failure.to_string().contains("colour"), "{failure}");
}
