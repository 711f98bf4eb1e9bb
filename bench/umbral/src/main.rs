//! Umbral operations in umbral-pre 0.11 and in kms-crypto, in one run: a Markdown table.
//!
//! Both do the same with the same bytes where bytes go in, each in its own usual encoding. Every row is measured in
//! rounds, one side after the other, in processor time of the thread; a figure is the median of the rounds.
//!
//!     umbral-bench [ROUNDS]

use std::hint::black_box;

use kms_crypto::key::{EcDelegatingKey, IdentitySecret, LedgerKey};
use kms_crypto::policy::Threshold;
use kms_crypto::umbral::{self as ours, Parties, Reader, SignedKeys};
use rustix::time::{ClockId, clock_gettime};
use umbral_pre as peer;
use umbral_pre::DefaultDeserialize as _;
use umbral_pre::DefaultSerialize as _;

/// One operation on both sides.
struct Row {
    name: &'static str,
    peer: Box<dyn FnMut()>,
    ours: Box<dyn FnMut()>,
    /// How many times as fast ours is meant to be.
    goal: f64,
    times: [Vec<f64>; 2],
}

impl Row {
    fn new(
        name: &'static str,
        goal: f64,
        peer: impl FnMut() + 'static,
        ours: impl FnMut() + 'static,
    ) -> Self {
        Self {
            name,
            peer: Box::new(peer),
            ours: Box::new(ours),
            goal,
            times: [Vec::new(), Vec::new()],
        }
    }

    fn round(&mut self) {
        for (side, times) in [&mut self.peer, &mut self.ours].into_iter().zip(&mut self.times) {
            times.push(measure(side));
        }
    }
}

/// Microseconds for one call: repeated for at least ten milliseconds of processor time.
fn measure(act: &mut dyn FnMut()) -> f64 {
    let start = clock();
    let mut count = 0u32;
    loop {
        act();
        count += 1;
        let spent = clock() - start;
        if spent > 10_000.0 {
            return spent / f64::from(count);
        }
    }
}

/// Processor time of this thread, microseconds.
fn clock() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e6 + now.tv_nsec as f64 / 1e3
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

const TEXT: [u8; 64] = [7; 64];

fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Everything made by umbral-pre for one threshold.
struct Peer {
    alice: peer::SecretKey,
    bob: peer::SecretKey,
    signer: peer::Signer,
    capsule: Vec<u8>,
    sealed: Vec<u8>,
    frags: Vec<peer::VerifiedKeyFrag>,
    answers: Vec<Vec<u8>>,
}

impl Peer {
    fn new(needed: usize, total: usize) -> Self {
        let (alice, bob) = (peer::SecretKey::random(), peer::SecretKey::random());
        let signer = peer::Signer::new(peer::SecretKey::random());
        let (capsule, sealed) = peer::encrypt(&alice.public_key(), &TEXT).unwrap();
        let to = bob.public_key();
        let frags = peer::generate_kfrags(&alice, &to, &signer, needed, total, true, true);
        let answers = frags.iter().take(needed);
        let answers = answers
            .map(|it| peer::reencrypt(&capsule, it.clone()).unverify().to_bytes().unwrap().into())
            .collect();
        Self {
            alice,
            bob,
            signer,
            capsule: capsule.to_bytes().unwrap().into(),
            sealed: sealed.into(),
            frags: frags.into(),
            answers,
        }
    }

    fn check(&self, capsule: &peer::Capsule, bytes: &[u8]) -> peer::VerifiedCapsuleFrag {
        let (from, to) = (self.alice.public_key(), self.bob.public_key());
        let frag = peer::CapsuleFrag::from_bytes(bytes).unwrap();
        frag.verify(capsule, &self.signer.verifying_key(), &from, &to).unwrap()
    }

    fn read(&self) {
        let capsule = peer::Capsule::from_bytes(&self.capsule).unwrap();
        let answers: Vec<_> = self.answers.iter().map(|it| self.check(&capsule, it)).collect();
        let from = self.alice.public_key();
        let opened = peer::decrypt_reencrypted(&self.bob, &from, &capsule, answers, &self.sealed);
        assert_eq!(*opened.unwrap(), TEXT);
    }
}

/// The same made here.
struct Ours {
    alice: EcDelegatingKey,
    bob: IdentitySecret,
    signer: LedgerKey,
    parties: Parties,
    threshold: Threshold,
    capsule: Vec<u8>,
    sealed: Vec<u8>,
    frags: Vec<ours::VerifiedKeyFrag>,
    answers: Vec<Vec<u8>>,
}

impl Ours {
    fn new(needed: u8, total: u8) -> Self {
        let rng = &mut rng();
        let (alice, bob) = (EcDelegatingKey::generate(rng), IdentitySecret::generate(rng));
        let signer = LedgerKey::generate(rng);
        let parties = Parties {
            verifying: signer.public(),
            delegating: alice.public(),
            receiving: bob.public(),
        };
        let (capsule, sealed) = ours::encrypt(rng, &alice.public(), &TEXT);
        let mut made = Self {
            alice,
            bob,
            signer,
            parties,
            threshold: Threshold::new(needed, total).unwrap(),
            capsule: capsule.to_bytes().to_vec(),
            sealed,
            frags: Vec::new(),
            answers: Vec::new(),
        };
        made.frags = made.split().into_iter().map(|it| made.check_frag(&it.to_bytes())).collect();
        let answers = made.frags.iter().take(needed.into());
        made.answers = answers.map(|it| it.reencrypt(rng, &capsule).to_bytes()).collect();
        made
    }

    fn split(&self) -> Vec<ours::KeyFrag> {
        let (to, both) = (&self.parties.receiving, SignedKeys::BOTH);
        let rng = &mut rng();
        ours::generate_key_frags(rng, &self.alice, to, &self.signer, self.threshold, both).unwrap()
    }

    fn check_frag(&self, bytes: &[u8]) -> ours::VerifiedKeyFrag {
        let frag = ours::KeyFrag::from_bytes(bytes).unwrap();
        let (from, to) = (&self.parties.delegating, &self.parties.receiving);
        frag.verify(&self.parties.verifying, Some(from), Some(to)).unwrap()
    }

    fn parse(&self) -> Vec<ours::CapsuleFrag> {
        let answers = self.answers.iter();
        answers.map(|it| ours::CapsuleFrag::from_bytes(it).unwrap()).collect()
    }

    fn check(&self, capsule: &ours::Capsule) -> Vec<ours::VerifiedCapsuleFrag> {
        let checked = ours::CapsuleFrag::verify_all(self.parse(), capsule, &self.parties);
        checked.into_iter().map(Result::unwrap).collect()
    }

    fn read(&self) {
        let capsule = ours::Capsule::from_bytes(&self.capsule).unwrap();
        let answers = self.check(&capsule);
        let (bob, parties, sealed) = (&self.bob, &self.parties, &self.sealed);
        let opened = ours::decrypt_reencrypted(bob, parties, &capsule, &answers, sealed);
        assert_eq!(*opened.unwrap(), TEXT);
    }

    fn read_warm(&self, reader: &mut Reader) {
        let capsule = ours::Capsule::from_bytes(&self.capsule).unwrap();
        let answers = self.answers.iter().map(|it| reader.parse(it).unwrap()).collect();
        let checked = reader.verify_all(answers, &capsule);
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        let opened = reader.decrypt(&self.bob, &capsule, &checked, &self.sealed);
        assert_eq!(*opened.unwrap(), TEXT);
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let (theirs, mine) = (Peer::new(3, 5), Ours::new(3, 5));
    rows.push(Row::new(
        "encrypt 64 bytes",
        2.0,
        move || {
            black_box(peer::encrypt(&theirs.alice.public_key(), &TEXT).unwrap());
        },
        move || {
            black_box(ours::encrypt(&mut rng(), &mine.parties.delegating, &TEXT));
        },
    ));
    let (theirs, mine) = (Peer::new(3, 5), Ours::new(3, 5));
    rows.push(Row::new(
        "generate 3 of 5 fragments",
        2.5,
        move || {
            let Peer { alice, signer, .. } = &theirs;
            let to = theirs.bob.public_key();
            black_box(peer::generate_kfrags(alice, &to, signer, 3, 5, true, true));
        },
        move || {
            black_box(mine.split());
        },
    ));
    let (theirs, mine) = (Peer::new(1, 1), Ours::new(1, 1));
    let (their_frag, my_frag) = (
        theirs.frags[0].clone().unverify().to_bytes().unwrap(),
        mine.frags[0].to_bytes(),
    );
    rows.push(Row::new(
        "read and verify a fragment",
        1.6,
        move || {
            let (from, to) = (theirs.alice.public_key(), theirs.bob.public_key());
            let frag = peer::KeyFrag::from_bytes(&their_frag).unwrap();
            let checked = frag.verify(&theirs.signer.verifying_key(), Some(&from), Some(&to));
            black_box(checked.unwrap());
        },
        move || {
            black_box(mine.check_frag(&my_frag));
        },
    ));
    let (theirs, mine) = (Peer::new(1, 1), Ours::new(1, 1));
    let their_capsule = peer::Capsule::from_bytes(&theirs.capsule).unwrap();
    let my_capsule = ours::Capsule::from_bytes(&mine.capsule).unwrap();
    rows.push(Row::new(
        "re-encrypt",
        1.35,
        move || {
            black_box(peer::reencrypt(&their_capsule, theirs.frags[0].clone()));
        },
        move || {
            black_box(mine.frags[0].reencrypt(&mut rng(), &my_capsule));
        },
    ));
    for (needed, goal, name) in [
        (3, 2.0, "read and verify 3 answers"),
        (16, 2.4, "read and verify 16 answers"),
    ] {
        let (theirs, mine) = (Peer::new(needed, needed), Ours::new(needed as u8, needed as u8));
        let their_capsule = peer::Capsule::from_bytes(&theirs.capsule).unwrap();
        let my_capsule = ours::Capsule::from_bytes(&mine.capsule).unwrap();
        rows.push(Row::new(
            name,
            goal,
            move || {
                for answer in &theirs.answers {
                    black_box(theirs.check(&their_capsule, answer));
                }
            },
            move || {
                black_box(mine.check(&my_capsule));
            },
        ));
    }
    for (needed, total, cold, warm, names) in [
        (3u8, 5u8, 2.2, 4.0, ["recipient, 3 of 5", "the same, policy known"]),
        (16, 30, 3.2, 5.0, ["recipient, 16 of 30", "the same, policy known"]),
    ] {
        let (theirs, mine) = (Peer::new(needed.into(), total.into()), Ours::new(needed, total));
        rows.push(Row::new(names[0], cold, move || theirs.read(), move || mine.read()));
        let (theirs, mine) = (Peer::new(needed.into(), total.into()), Ours::new(needed, total));
        let mut reader = Reader::new(mine.parties);
        mine.read_warm(&mut reader);
        let ours = move || mine.read_warm(&mut reader);
        rows.push(Row::new(names[1], warm, move || theirs.read(), ours));
    }
    rows
}

fn main() {
    let rounds = std::env::args().nth(1);
    let rounds: usize = rounds.map_or(9, |text| text.parse().expect("a number of rounds"));
    let mut rows = rows();
    for _ in 0..rounds {
        rows.iter_mut().for_each(Row::round);
    }
    println!("| | umbral-pre 0.11, µs | kms-crypto, µs | times as fast | goal |");
    println!("|---|---|---|---|---|");
    for row in &mut rows {
        let [peer, ours] = row.times.each_mut().map(|times| median(times));
        let (name, goal) = (row.name, row.goal);
        println!("| {name} | {peer:.0} | {ours:.0} | {:.2} | {goal} |", peer / ours);
    }
}
