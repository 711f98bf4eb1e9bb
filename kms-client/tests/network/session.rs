//! Two people at work without a filesystem, as every language has it (API §2).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kms_client::fake::{Conduct, FakeNetwork};
use kms_client::home::Home;
use kms_client::ticket::TicketText;
use kms_client::{ApiError, Code, Contacts, Keyring, Opened, Opening, Session, SessionConfig};
use kms_crypto::identity::PassphraseParams;
use tempfile::TempDir;

struct Two {
    network: Arc<FakeNetwork>,
    dir: TempDir,
    alice: Session,
    bob: Session,
}

fn keyring(home: &Path) -> Keyring {
    let params = PassphraseParams {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    Keyring::new(Home::under(home)).with_params(params)
}

fn person(home: &Path, network: Option<&Arc<FakeNetwork>>) -> Session {
    let keyring = keyring(home);
    let made = keyring.generate_key("default", "pass").unwrap();
    let client = network.map(FakeNetwork::client);
    Session::open(SessionConfig::new(keyring, client), made.secret).unwrap()
}

impl Two {
    fn new() -> Self {
        let network = FakeNetwork::new(5);
        let dir = tempfile::tempdir().unwrap();
        let alice = person(&dir.path().join("alice"), Some(&network));
        let bob = person(&dir.path().join("bob"), Some(&network));
        let contacts = Contacts::new(&dir.path().join("alice/contacts.toml"));
        contacts.add("bob", bob.identity()).unwrap();
        Self {
            network,
            dir,
            alice,
            bob,
        }
    }
}

async fn open(who: &Session, sealed: &[u8], ticket: &TicketText) -> Result<Opened, ApiError> {
    let by = Opening::Ticket {
        ticket,
        owner: None,
    };
    who.decrypt(sealed, by).await
}

fn code<T>(result: Result<T, ApiError>) -> Code {
    match result {
        Err(error) => error.code(),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test]
async fn what_is_granted_opens_until_it_is_withdrawn() {
    let two = Two::new();
    let sealed = two.alice.encrypt(b"launch", Default::default()).unwrap();
    let granted = two.alice.grant(&sealed.label, "bob ttl=7d m=3/5").await;
    let granted = granted.unwrap();
    let [grant] = granted.as_slice() else {
        panic!("one grant")
    };
    assert_eq!(grant.who.as_deref(), Some("bob"));
    let ticket = TicketText::parse(&grant.ticket.to_string()).unwrap();
    let opened = open(&two.bob, &sealed.bytes, &ticket).await.unwrap();
    assert_eq!(*opened.data, b"launch");
    assert_eq!(opened.owner, two.alice.identity());

    // The key alone opens it without the network, and for nobody else's data.
    let key = two.bob.decrypt_key(&sealed.bytes[..4096], &ticket).await;
    let key = key.unwrap();
    let again = Opened::with_key(&sealed.bytes, &key.secret, &key.owner).unwrap();
    assert_eq!(*again.data, b"launch");
    let other = two.alice.encrypt(b"other", Default::default()).unwrap();
    let refused = Opened::with_key(&other.bytes, &key.secret, &key.owner);
    assert_eq!(code(refused), Code::WrongKey);
    let refused = Opened::with_key(&sealed.bytes, &key.secret, &two.bob.identity());
    assert_eq!(code(refused), Code::Tampered);
    assert_eq!(
        code(open(&two.bob, &other.bytes, &ticket).await),
        Code::NotForYou
    );

    let listed = two.alice.list_grants(Some(&sealed.label)).unwrap();
    assert_eq!((listed.len(), listed[0].state), (1, "live"));
    let health = two.alice.policy_health(&grant.policy).await.unwrap();
    assert_eq!((health.good, health.needed), (5, 3));

    let revoked = two.alice.revoke(&sealed.label, "bob").await.unwrap();
    assert_eq!((revoked[0].removed, revoked[0].nodes), (5, 5));
    assert!(!revoked[0].quorum_left);
    let refused = open(&two.bob, &sealed.bytes, &ticket).await;
    assert_eq!(code(refused), Code::Revoked);
    assert_eq!(two.alice.list_grants(None).unwrap()[0].state, "revoked");
    assert_eq!(
        code(two.alice.revoke(&sealed.label, "bob").await),
        Code::NotFound
    );
    let own = two
        .alice
        .decrypt(&sealed.bytes, Opening::Own)
        .await
        .unwrap();
    assert_eq!(*own.data, b"launch");
}

/// Whoever withdrew access while nodes were away was told how many had deleted their part, and neither what that means nor
/// how to ask the others.
#[tokio::test]
async fn whoever_withdraws_access_learns_whether_a_quorum_is_left_and_can_ask_again() {
    let two = Two::new();
    let sealed = two.alice.encrypt(b"launch", Default::default()).unwrap();
    two.alice
        .grant(&sealed.label, "bob ttl=7d m=3/5")
        .await
        .unwrap();
    let set = |nodes: &[usize], conduct: Conduct| {
        for node in nodes {
            two.network.set(*node, conduct.clone());
        }
    };
    let left = || two.alice.list_grants(None).unwrap()[0].quorum_left;
    assert!(!left());
    set(&[0, 1, 2], Conduct::Dead);
    let revoked = two.alice.revoke(&sealed.label, "bob").await.unwrap();
    assert_eq!((revoked[0].removed, revoked[0].quorum_left), (2, true));
    assert!(left());
    // Others are away now: what they have signed counts.
    set(&[0], Conduct::Honest);
    set(&[3, 4], Conduct::Dead);
    let again = two.alice.revoke(&sealed.label, "bob").await.unwrap();
    assert_eq!((again[0].removed, again[0].quorum_left), (3, false));
    assert_eq!(again[0].at, revoked[0].at);
    assert!(!left());
    assert_eq!(
        code(two.alice.revoke(&sealed.label, "bob").await),
        Code::NotFound
    );
}

#[tokio::test]
async fn nobody_else_opens_it_and_each_is_told_why() {
    let two = Two::new();
    let eve = person(&two.dir.path().join("eve"), Some(&two.network));
    let alone = person(&two.dir.path().join("alone"), None);
    let sealed = two.alice.encrypt(b"launch", Default::default()).unwrap();
    let granted = two.alice.grant(&sealed.label, "bob").await.unwrap();
    let ticket = &granted[0].ticket;
    assert_eq!(
        code(open(&eve, &sealed.bytes, ticket).await),
        Code::NotForYou
    );
    assert_eq!(
        code(eve.decrypt(&sealed.bytes, Opening::Own).await),
        Code::NotOwner
    );
    assert_eq!(code(eve.open_ticket(ticket)), Code::NotForYou);
    let pinned = Opening::Ticket {
        ticket,
        owner: Some(&eve.identity()),
    };
    assert_eq!(
        code(two.bob.decrypt(&sealed.bytes, pinned).await),
        Code::NotOwner
    );
    assert_eq!(
        code(
            alone
                .grant(&sealed.label, &eve.identity().to_string())
                .await
        ),
        Code::NoNetwork
    );
    assert_eq!(
        code(open(&two.bob, b"not sealed", ticket).await),
        Code::BadData
    );
    let mut altered = sealed.bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(code(open(&two.bob, &altered, ticket).await), Code::Tampered);
    for text in [
        "",
        "kms-ticket-1-",
        "kms-ticket-1-AAAA",
        "kms-ticket-2-AAAA",
        "x",
    ] {
        let refused = TicketText::parse(text).map_err(ApiError::from);
        assert_eq!(code(refused), Code::BadData, "{text}");
    }
    for node in 0..3 {
        two.network.set(node, Conduct::Dead);
    }
    assert_eq!(
        code(open(&two.bob, &sealed.bytes, ticket).await),
        Code::NoQuorum
    );
}

#[tokio::test]
async fn terms_that_cannot_be_granted_are_refused_before_any_node_is_asked() {
    let two = Two::new();
    let label = two.alice.encrypt(b"", Default::default()).unwrap().label;
    let me = two.alice.identity().to_string();
    for (terms, expected) in [
        ("", Code::BadParameter),
        ("bob rw", Code::Unsupported),
        ("bob ttl=never", Code::BadParameter),
        ("bob until=2001-01-01", Code::BadParameter),
        ("bob m=6/5", Code::BadParameter),
        ("bobb", Code::UnknownRecipient),
        ("@team", Code::UnknownRecipient),
        ("kms1qqqq", Code::BadKey),
        (me.as_str(), Code::BadParameter),
        ("bob m=3/9", Code::TooFewNodes),
    ] {
        assert_eq!(
            code(two.alice.grant(&label, terms).await),
            expected,
            "{terms}"
        );
    }
    assert!(two.alice.list_grants(None).unwrap().is_empty());
}

#[tokio::test]
async fn a_file_is_whole_or_not_there() {
    let two = Two::new();
    let at = |name: &str| two.dir.path().join(name);
    let plain: Vec<u8> = (0..750_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(at("plain"), &plain).unwrap();
    let none = Default::default();
    let done = two
        .alice
        .encrypt_file(&at("plain"), &at("sealed"), none)
        .await;
    let done = done.unwrap();
    assert_eq!(done.sizes.plain, 3_000_000);
    let granted = two.alice.grant(&done.label, "bob").await.unwrap();
    let by = Opening::Ticket {
        ticket: &granted[0].ticket,
        owner: None,
    };
    two.bob
        .decrypt_file(&at("sealed"), &at("back"), by)
        .await
        .unwrap();
    assert!(fs::read(at("back")).unwrap() == plain);

    let taken = two
        .alice
        .encrypt_file(&at("plain"), &at("back"), none)
        .await;
    assert_eq!(code(taken), Code::Exists);
    let taken = two.bob.decrypt_file(&at("sealed"), &at("plain"), by).await;
    assert_eq!(code(taken), Code::Exists);
    assert_eq!(
        code(two.alice.encrypt_file(&at("nothing"), &at("x"), none).await),
        Code::Io
    );
    assert_eq!(
        code(two.alice.encrypt_file(two.dir.path(), &at("x"), none).await),
        Code::Io
    );
    let mut bytes = fs::read(at("sealed")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(at("altered"), bytes).unwrap();
    assert_eq!(
        code(two.bob.decrypt_file(&at("altered"), &at("x"), by).await),
        Code::Tampered
    );
    let left: Vec<_> = fs::read_dir(two.dir.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 6, "{left:?}");
}

#[tokio::test]
async fn a_dropped_file_operation_leaves_nothing() {
    let two = Two::new();
    let at = |name: &str| two.dir.path().join(name);
    let big = fs::File::create(at("big")).unwrap();
    big.set_len(20 << 30).unwrap();
    {
        let (source, target) = (at("big"), at("sealed"));
        let work = two.alice.encrypt_file(&source, &target, Default::default());
        tokio::select! {
            _ = work => panic!("20 GiB were encrypted at once"),
            () = async {
                // Until it has begun.
                while fs::read_dir(two.dir.path()).unwrap().count() < 4 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    while fs::read_dir(two.dir.path()).unwrap().count() > 3 {
        tokio::task::yield_now().await;
    }
    assert!(!at("sealed").exists());
}

#[tokio::test]
async fn a_new_grant_for_the_same_person_takes_the_place_of_the_old_one() {
    let two = Two::new();
    let sealed = two.alice.encrypt(b"launch", Default::default()).unwrap();
    let first = two.alice.grant(&sealed.label, "bob ttl=1d").await.unwrap();
    let second = two.alice.grant(&sealed.label, "bob ttl=2d").await.unwrap();
    assert_eq!(
        code(open(&two.bob, &sealed.bytes, &first[0].ticket).await),
        Code::Revoked
    );
    assert!(
        open(&two.bob, &sealed.bytes, &second[0].ticket)
            .await
            .is_ok()
    );
    assert_eq!(two.alice.list_grants(None).unwrap().len(), 1);
}

#[test]
fn identities_are_told_apart_by_name_and_wrong_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = keyring(dir.path());
    assert_eq!(code(keyring.open("default", "pass")), Code::NoIdentity);
    let work = keyring.generate_key("work", "one").unwrap();
    let home = keyring.generate_key("default", "two").unwrap();
    assert_eq!(code(keyring.generate_key("work", "x")), Code::Exists);
    assert_eq!(code(keyring.generate_key("x", "")), Code::BadParameter);
    for name in ["", "..", "a/b", "/etc/passwd", "Work"] {
        assert_eq!(
            code(keyring.generate_key(name, "x")),
            Code::BadParameter,
            "{name}"
        );
    }
    assert_eq!(code(keyring.open("work", "two")), Code::WrongPassphrase);
    assert!(keyring.open("work", "one").is_ok());
    let listed = keyring.identities().unwrap();
    let expected = [
        ("default".to_owned(), home.secret.public()),
        ("work".to_owned(), work.secret.public()),
    ];
    assert_eq!(listed, expected);
}
