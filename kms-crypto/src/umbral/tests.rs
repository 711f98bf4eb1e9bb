//! What owner, node and recipient would notice; the vectors try what others made.

use super::*;
use crate::error::FragError;
use crate::key::{EcDelegatingKey, IdentitySecret, LedgerKey};
use crate::policy::Threshold;

fn rng() -> impl rand_core::CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

struct World {
    alice: EcDelegatingKey,
    bob: IdentitySecret,
    signer: LedgerKey,
    parties: Parties,
    capsule: Capsule,
    sealed: Vec<u8>,
    frags: Vec<VerifiedKeyFrag>,
}

const TEXT: &[u8] = b"what alice keeps";

impl World {
    fn new(needed: u8, total: u8) -> Self {
        let rng = &mut rng();
        let (alice, signer) = (EcDelegatingKey::generate(rng), LedgerKey::generate(rng));
        let bob = IdentitySecret::generate(rng);
        let parties = Parties {
            verifying: signer.public(),
            delegating: alice.public(),
            receiving: bob.public(),
        };
        let (capsule, sealed) = encrypt(rng, &alice.public(), TEXT);
        let mut world = Self {
            alice,
            bob,
            signer,
            parties,
            capsule,
            sealed,
            frags: Vec::new(),
        };
        world.frags = world.split(Threshold::new(needed, total).unwrap(), SignedKeys::BOTH);
        world
    }

    fn split(&self, threshold: Threshold, signed: SignedKeys) -> Vec<VerifiedKeyFrag> {
        let bob = &self.parties.receiving;
        let (alice, signer) = (&self.alice, &self.signer);
        let made = generate_key_frags(&mut rng(), alice, bob, signer, threshold, signed).unwrap();
        let made = made.into_iter();
        made.map(|frag| {
            let frag = KeyFrag::from_bytes(&frag.to_bytes()).unwrap();
            let delegating = Some(&self.parties.delegating);
            frag.verify(&self.parties.verifying, delegating, Some(bob))
                .unwrap()
        })
        .collect()
    }

    fn answers(&self, capsule: &Capsule) -> Vec<CapsuleFrag> {
        let frags = self.frags.iter();
        frags.map(|it| it.reencrypt(&mut rng(), capsule)).collect()
    }

    fn checked(&self, capsule: &Capsule) -> Vec<VerifiedCapsuleFrag> {
        let checked = CapsuleFrag::verify_all(self.answers(capsule), capsule, &self.parties);
        checked.into_iter().map(Result::unwrap).collect()
    }

    fn decrypt(&self, frags: &[VerifiedCapsuleFrag]) -> Result<Vec<u8>, UmbralError> {
        let (bob, parties) = (&self.bob, &self.parties);
        let opened = decrypt_reencrypted(bob, parties, &self.capsule, frags, &self.sealed)?;
        Ok(opened.to_vec())
    }
}

#[test]
fn whatever_the_signature_for_the_node_covers_the_recipient_opens() {
    let mut world = World::new(2, 3);
    let opened = decrypt_original(&world.alice, &world.capsule, &world.sealed);
    assert_eq!(*opened.unwrap(), TEXT);
    for (delegating, receiving) in [(true, true), (true, false), (false, true), (false, false)] {
        let signed = SignedKeys {
            delegating,
            receiving,
        };
        world.frags = world.split(Threshold::new(2, 3).unwrap(), signed);
        let frags = world.checked(&world.capsule);
        assert_eq!(world.decrypt(&frags[1..]).unwrap(), TEXT);
    }
}

#[test]
fn a_bad_answer_in_a_batch_is_named_and_the_others_stand() {
    let world = World::new(2, 5);
    let honest = world.answers(&world.capsule);
    let mut answers = honest.clone();
    answers[1].answer.proof.rho += Scalar::ONE;
    answers[2].signature = answers[3].signature;
    let verdicts = CapsuleFrag::verify_all(answers.clone(), &world.capsule, &world.parties);
    let errors: Vec<_> = verdicts
        .iter()
        .map(|it| it.as_ref().err().copied())
        .collect();
    let expected = [
        None,
        Some(FragError::ProofE),
        Some(FragError::Signature),
        None,
        None,
    ];
    assert_eq!(errors, expected);
    let good: Vec<_> = verdicts.into_iter().flatten().collect();
    assert_eq!(world.decrypt(&good).unwrap(), TEXT);

    // Who remembers signatures finds the same, the second time too.
    let mut reader = Reader::new(world.parties);
    for _ in 0..2 {
        let verdicts = reader.verify_all(answers.clone(), &world.capsule);
        let errors: Vec<_> = verdicts
            .iter()
            .map(|it| it.as_ref().err().copied())
            .collect();
        assert_eq!(errors, expected);
    }
}

#[test]
fn answers_that_do_not_belong_together_open_nothing() {
    let world = World::new(2, 3);
    let other = World::new(2, 3);
    let frags = world.checked(&world.capsule);
    let mixed = |frags: &[VerifiedCapsuleFrag]| {
        assert_eq!(world.decrypt(frags), Err(OpenError::Mixed.into()));
    };
    mixed(&[frags[0].clone(), other.checked(&other.capsule).remove(1)]);
    let (capsule, _) = encrypt(&mut rng(), &world.alice.public(), b"");
    mixed(&[frags[0].clone(), world.checked(&capsule).remove(1)]);
    let twice = [frags[0].clone(), frags[0].clone()];
    assert_eq!(world.decrypt(&twice), Err(OpenError::Duplicate.into()));
    assert_eq!(
        world.decrypt(&frags[..1]),
        Err(OpenError::Inconsistent.into())
    );
    let eve = IdentitySecret::generate(&mut rng());
    let (parties, sealed) = (&world.parties, &world.sealed);
    let opened = decrypt_reencrypted(&eve, parties, &world.capsule, &frags, sealed);
    assert_eq!(opened, Err(OpenError::OtherRecipient.into()));
}

#[test]
fn a_reader_opens_capsule_after_capsule_with_changing_nodes() {
    let world = World::new(2, 4);
    let mut reader = Reader::new(world.parties);
    for round in 0..24 {
        let text = [round; 9];
        let (capsule, sealed) = encrypt(&mut rng(), &world.alice.public(), &text);
        let answers = world.answers(&capsule);
        let chosen = [
            (0, 1),
            (1, 0),
            (2, 3),
            (3, 1),
            (0, 3),
            (2, 0),
            (1, 2),
            (3, 2),
            (1, 3),
        ];
        let (first, second) = chosen[usize::from(round) % chosen.len()];
        let answers = vec![answers[first].clone(), answers[second].clone()];
        let checked = reader.verify_all(answers, &capsule);
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        let opened = reader.decrypt(&world.bob, &capsule, &checked, &sealed);
        assert_eq!(*opened.unwrap(), text);
    }
}

#[test]
fn a_reader_who_knows_the_nodes_still_checks_every_proof_and_message() {
    let world = World::new(2, 3);
    let mut reader = Reader::new(world.parties);
    let mut checked = reader.verify_all(world.answers(&world.capsule), &world.capsule);
    checked.truncate(2);
    let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
    let opened = reader.decrypt(&world.bob, &world.capsule, &checked, &world.sealed);
    assert_eq!(*opened.unwrap(), TEXT);

    let (capsule, sealed) = encrypt(&mut rng(), &world.alice.public(), TEXT);
    let mut replayed = world.answers(&capsule);
    replayed[0] = world.answers(&world.capsule).remove(0);
    let verdicts = reader.verify_all(replayed, &capsule);
    let refused = verdicts.first().unwrap().as_ref().unwrap_err();
    assert_eq!(*refused, FragError::ProofE, "an answer to another capsule");
    let opened = reader.decrypt(&world.bob, &capsule, &checked, &sealed);
    assert_eq!(opened, Err(OpenError::Mixed.into()));

    let fresh = reader.verify_all(world.answers(&capsule), &capsule);
    let fresh: Vec<_> = fresh.into_iter().take(2).map(Result::unwrap).collect();
    let opened = reader.decrypt(&world.bob, &capsule, &fresh, &world.sealed);
    assert_eq!(opened, Err(UmbralError::Refused), "another message");
    let eve = IdentitySecret::generate(&mut rng());
    let opened = reader.decrypt(&eve, &capsule, &fresh, &sealed);
    assert_eq!(opened, Err(OpenError::OtherRecipient.into()));
}

/// A share that its owner signed twice with different values: remembered weights go with the whole
/// share, not with its name.
#[test]
fn a_share_is_remembered_by_more_than_its_name() {
    let world = World::new(1, 1);
    let mut reader = Reader::new(world.parties);
    let first = world.answers(&world.capsule).remove(0);
    let checked = reader.verify_all(vec![first.clone()], &world.capsule);
    let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
    let decrypt = |reader: &mut Reader, frags: &[VerifiedCapsuleFrag]| {
        reader
            .decrypt(&world.bob, &world.capsule, frags, &world.sealed)
            .map(|text| text.to_vec())
    };
    assert_eq!(decrypt(&mut reader, &checked).unwrap(), TEXT);
    let again = World {
        frags: world.split(Threshold::new(1, 1).unwrap(), SignedKeys::BOTH),
        ..World::new(1, 1)
    };
    let mut forced = again.answers(&world.capsule).remove(0);
    forced.share.id = first.share.id;
    let verdict = reader
        .verify_all(vec![forced.clone()], &world.capsule)
        .remove(0);
    assert_eq!(verdict.unwrap_err(), FragError::Signature);
    let mut checked = checked;
    checked[0].frag = forced;
    // Past that check it is a share of another split, which opens with weights of its own.
    assert_eq!(decrypt(&mut reader, &checked).unwrap(), TEXT);
}

#[test]
fn no_flipped_bit_of_anything_opens() {
    let world = World::new(1, 1);
    let capsule = world.capsule.to_bytes();
    let answer = world.answers(&world.capsule).remove(0).to_bytes();
    let frag = world.frags[0].to_bytes();
    for bit in 0..8 * capsule.len() {
        let mut altered = capsule;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(Capsule::from_bytes(&altered).is_err(), "capsule, bit {bit}");
    }
    for bit in 0..8 * answer.len() {
        let mut altered = answer.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let read = CapsuleFrag::from_bytes(&altered).ok();
        let verdict = read.map(|it| it.verify(&world.capsule, &world.parties).is_err());
        assert!(verdict.unwrap_or(true), "answer, bit {bit}");
    }
    let (alice, bob) = (
        Some(&world.parties.delegating),
        Some(&world.parties.receiving),
    );
    for bit in 0..8 * frag.len() {
        let mut altered = frag.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let read = KeyFrag::from_bytes(&altered).ok();
        let verdict = read.map(|it| it.verify(&world.parties.verifying, alice, bob).is_err());
        assert!(verdict.unwrap_or(true), "key fragment, bit {bit}");
    }
    for bit in 0..8 * world.sealed.len() {
        let mut altered = world.sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let opened = decrypt_original(&world.alice, &world.capsule, &altered);
        assert_eq!(opened, Err(UmbralError::Refused), "message, bit {bit}");
    }
}

#[test]
fn labels_give_keys_secrets_and_factories_of_their_own() {
    let factory = SecretKeyFactory::from_bytes(&[1; 32]);
    assert_ne!(factory.make_key(b"a"), factory.make_key(b"b"));
    assert_ne!(
        factory.make_factory(b"a").make_key(b"a"),
        factory.make_key(b"a")
    );
    assert_ne!(*factory.make_secret(b"a"), *factory.make_secret(b"b"));
    let copy = SecretKeyFactory::from_bytes(&factory.to_bytes());
    assert_eq!(copy.make_key(b"a"), factory.make_key(b"a"));
}
