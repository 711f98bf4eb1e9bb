//! What a recipient believes, and what he does not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use kms_crypto::key::{LabelPublicKey, LedgerKey};
use kms_crypto::policy::PolicyParams;
use kms_crypto::seal;
use kms_proto::codec;
use kms_proto::signed::Signed;

use super::*;
use crate::client::rng;
use crate::place::{Kind, NodeAddress, Step};

struct Scene {
    root: tempfile::TempDir,
    store: StoreId,
    alice: IdentitySecret,
    bob: IdentitySecret,
}

fn identity() -> IdentitySecret {
    IdentitySecret::generate(&mut rng())
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self {
            root,
            store: StoreId::random(&mut rng()),
            alice: identity(),
            bob: identity(),
        }
    }

    fn ticket(&self) -> Ticket {
        let key = || LedgerKey::generate(&mut rng()).public();
        let node = || NodeAddress {
            key: key(),
            addrs: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        };
        let step = |plain: &str| Step {
            plain: plain.into(),
            backing: format!("{plain}-sealed"),
        };
        Ticket {
            version: TICKET_VERSION,
            owner: self.alice.public(),
            store: self.store,
            label: LabelId::random(&mut rng()),
            kind: Kind::File,
            params: PolicyParams::new(
                key(),
                LabelPublicKey::Split(key()),
                self.bob.public(),
                [1; 32],
            ),
            needed: 1,
            total: 2,
            expiry: 2_000_000_000,
            nodes: vec![node(), node()],
            sequence: 1,
            path: vec![step("letters"), step("plan.txt")],
            revoked: None,
        }
    }

    fn write(&self, ticket: &Ticket) {
        write_ticket(self.root.path(), &self.alice, ticket, &mut rng()).unwrap();
    }

    fn inbox(&self) -> Inbox {
        Inbox::new(
            self.root.path(),
            &self.bob,
            &self.alice.public(),
            self.store,
        )
    }

    fn read(&self) -> Listing {
        read_tickets(
            self.root.path(),
            &self.bob,
            &self.alice.public(),
            self.store,
        )
        .unwrap()
    }

    fn file(&self, ticket: &Ticket) -> PathBuf {
        let mailbox = Mailbox::outgoing(&self.alice, &self.bob.public(), self.store);
        shelf(&mailbox, self.root.path())
            .path()
            .join(mailbox.file_name(&ticket.label))
    }

    /// What the recipient says to a ticket that somebody signed and sealed without checking it.
    fn forged(&self, signer: &IdentitySecret, ticket: &Ticket) -> TicketError {
        let mailbox = Mailbox::incoming(&self.bob, &self.alice.public(), self.store);
        let name = mailbox.file_name(&ticket.label);
        let signed = Signed::sign(ticket.clone(), signer, &mut rng()).unwrap();
        let bytes = codec::encode(signed.signed());
        let ad: [&[u8]; 2] = [self.store.as_bytes(), name.as_bytes()];
        let sealed = seal::seal_to(
            &self.bob.public(),
            "kms/ticket-seal/1",
            &ad,
            &bytes,
            &mut rng(),
        );
        mailbox.open(&self.bob, &name, &sealed).unwrap_err()
    }
}

#[test]
fn the_recipient_reads_what_the_owner_wrote() {
    let scene = Scene::new();
    let (one, two) = (scene.ticket(), scene.ticket());
    scene.write(&one);
    scene.write(&two);
    let listing = scene.read();
    assert!(listing.refused.is_empty());
    assert_eq!(listing.tickets.len(), 2);
    assert!(listing.tickets.iter().any(|it| **it == one));
    assert!(listing.tickets.iter().any(|it| **it == two));
}

#[test]
fn nobody_else_finds_or_opens_anything() {
    let scene = Scene::new();
    let ticket = scene.ticket();
    scene.write(&ticket);
    let eve = identity();
    let listing =
        read_tickets(scene.root.path(), &eve, &scene.alice.public(), scene.store).unwrap();
    assert!(listing.tickets.is_empty() && listing.refused.is_empty());
    let file = scene.file(&ticket);
    let sealed = fs::read(&file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let mailbox = Mailbox::incoming(&eve, &scene.alice.public(), scene.store);
    assert!(matches!(
        mailbox.open(&eve, name, &sealed),
        Err(TicketError::Sealed(_))
    ));
    let text = b"plan.txt";
    assert!(!sealed.windows(text.len()).any(|window| window == text));
}

#[test]
fn a_store_without_shares_has_no_tickets() {
    assert!(Scene::new().read().tickets.is_empty());
}

#[test]
fn a_newer_ticket_replaces_the_older_one() {
    let scene = Scene::new();
    let mut ticket = scene.ticket();
    scene.write(&ticket);
    let mut inbox = scene.inbox();
    assert_eq!(inbox.read(&scene.bob).unwrap().tickets[0].revoked, None);
    ticket.sequence = 2;
    ticket.revoked = Some(1_900_000_000);
    scene.write(&ticket);
    let listing = inbox.read(&scene.bob).unwrap();
    assert_eq!(listing.tickets.len(), 1);
    assert_eq!(*listing.tickets[0], ticket);
}

#[test]
fn an_older_ticket_put_back_changes_nothing_for_who_saw_the_newer_one() {
    let scene = Scene::new();
    let mut ticket = scene.ticket();
    scene.write(&ticket);
    let old = fs::read(scene.file(&ticket)).unwrap();
    ticket.sequence = 2;
    ticket.revoked = Some(1_900_000_000);
    scene.write(&ticket);
    let mut inbox = scene.inbox();
    inbox.read(&scene.bob).unwrap();
    fs::write(scene.file(&ticket), old).unwrap();
    assert_eq!(inbox.read(&scene.bob).unwrap().tickets[0].sequence, 2);
}

#[test]
fn a_damaged_ticket_is_named_and_hides_no_other() {
    let scene = Scene::new();
    let (good, bad) = (scene.ticket(), scene.ticket());
    scene.write(&good);
    scene.write(&bad);
    let file = scene.file(&bad);
    let mut sealed = fs::read(&file).unwrap();
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    fs::write(&file, &sealed).unwrap();
    let listing = scene.read();
    assert_eq!(listing.tickets.len(), 1);
    assert_eq!(listing.refused.len(), 1);
    assert_eq!(listing.refused[0].path, file);
}

#[test]
fn what_is_no_plain_small_file_is_not_read() {
    let scene = Scene::new();
    let ticket = scene.ticket();
    scene.write(&ticket);
    let dir = scene.file(&ticket).parent().unwrap().to_owned();
    symlink("/dev/zero", dir.join("link.ticket")).unwrap();
    fs::create_dir(dir.join("dir.ticket")).unwrap();
    fs::write(dir.join("long.ticket"), vec![0; MAX_TICKET_BYTES + 1]).unwrap();
    fs::write(dir.join("half.ticket.tmp"), b"left behind by a crash").unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("pipe.ticket"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    );
    fifo.unwrap();
    let listing = scene.read();
    assert_eq!(listing.tickets.len(), 1);
    assert_eq!(listing.refused.len(), 4);
}

#[test]
fn a_link_in_the_place_of_a_directory_leads_nowhere() {
    for depth in [1, 2] {
        let scene = Scene::new();
        let ticket = scene.ticket();
        scene.write(&ticket);
        let place = scene
            .file(&ticket)
            .ancestors()
            .nth(depth)
            .unwrap()
            .to_owned();
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("moved");
        fs::rename(&place, &moved).unwrap();
        symlink(&moved, &place).unwrap();
        let read = read_tickets(
            scene.root.path(),
            &scene.bob,
            &scene.alice.public(),
            ticket.store,
        );
        assert!(read.is_err(), "{depth} above: {read:?}");
        let before = fs::read_dir(&moved).unwrap().count();
        let written = write_ticket(scene.root.path(), &scene.alice, &scene.ticket(), &mut rng());
        assert!(written.is_err(), "{depth} above");
        assert_eq!(fs::read_dir(&moved).unwrap().count(), before);
        // And a pipe keeps nobody waiting.
        fs::remove_file(&place).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &place, mode).unwrap();
        assert!(
            write_ticket(scene.root.path(), &scene.alice, &ticket, &mut rng()).is_err(),
            "{depth} above"
        );
    }
}

#[test]
fn a_ticket_moved_to_another_name_is_refused() {
    let scene = Scene::new();
    let (one, two) = (scene.ticket(), scene.ticket());
    scene.write(&one);
    fs::rename(scene.file(&one), scene.file(&two)).unwrap();
    let listing = scene.read();
    assert!(listing.tickets.is_empty());
    assert_eq!(listing.refused.len(), 1);
}

#[test]
fn only_the_owner_is_believed_and_only_what_makes_sense() {
    let scene = Scene::new();
    let ticket = scene.ticket();
    let change = |change: &dyn Fn(&mut Ticket)| {
        let mut ticket = ticket.clone();
        change(&mut ticket);
        ticket
    };
    let eve = identity();
    let by_eve = change(&|it| it.owner = eve.public());
    assert!(matches!(
        scene.forged(&eve, &by_eve),
        TicketError::NotByOwner
    ));
    let by_alice = |it: &dyn Fn(&mut Ticket)| scene.forged(&scene.alice, &change(it));
    let step = |plain: &[u8], backing: &str| Step {
        plain: plain.to_vec(),
        backing: backing.to_owned(),
    };
    assert!(matches!(
        by_alice(&|it| it.version = 2),
        TicketError::Version { version: 2 }
    ));
    assert!(matches!(
        by_alice(&|it| it.store = StoreId([9; 16])),
        TicketError::Elsewhere { what: "store" }
    ));
    assert!(matches!(
        by_alice(&|it| it.params.recipient = eve.public()),
        TicketError::Elsewhere { what: "recipient" }
    ));
    assert!(matches!(
        by_alice(&|it| it.needed = 3),
        TicketError::Implausible { what: "threshold" }
    ));
    assert!(matches!(
        by_alice(&|it| it.nodes.truncate(1)),
        TicketError::Implausible { .. }
    ));
    assert!(matches!(
        by_alice(&|it| it.nodes[1] = it.nodes[0].clone()),
        TicketError::Implausible { .. }
    ));
    let paths = [
        step(b"..", "x"),
        step(b"x", ".."),
        step(b"a/b", "x"),
        step(b"x", "a/b"),
        step(b"", "x"),
        step(b"x", ""),
        step(b"x\0", "x"),
        step(&[b'x'; 256], "x"),
    ];
    for bad in paths {
        let error = by_alice(&|it| it.path.push(bad.clone()));
        assert!(
            matches!(error, TicketError::Implausible { what: "path" }),
            "{bad:?}"
        );
    }
}

#[test]
fn a_path_that_does_not_fit_is_said_when_the_ticket_is_written() {
    let scene = Scene::new();
    let mut ticket = scene.ticket();
    ticket.path = vec![
        Step {
            plain: vec![b'p'; 200],
            backing: "b".repeat(255)
        };
        300
    ];
    let written = write_ticket(scene.root.path(), &scene.alice, &ticket, &mut rng());
    assert!(matches!(written, Err(TicketError::TooLong { .. })));
}
