//! Every scheme as bytes: what is read is what was written, everything else is refused by name, and no
//! flipped bit opens anything.

use super::{CONTEXT, rng};
use crate::error::{DecodeError, FragError, OpenError, SplitError};
use crate::id::{CurveId, SchemeId};
use crate::key::{DelegatingKey, IdentitySecret, LabelPublicKey, LabelSecret, LedgerKey};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::{
    Capsule, CapsuleFrag, KeyFrag, SchemeKind, VerifiedCapsuleFrag, VerifiedKeyFrag, encapsulate,
};

/// One label shared with Bob over two nodes, or one where that is the rule, as bytes.
struct World {
    kind: SchemeKind,
    label: DelegatingKey,
    bob: IdentitySecret,
    policy: PolicyParams,
    capsule: Vec<u8>,
    secret: LabelSecret,
    key_frags: Vec<Vec<u8>>,
    stored: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
}

impl World {
    fn new(kind: SchemeKind) -> Self {
        let rng = &mut rng();
        let label = DelegatingKey::generate_for(kind.id(), rng).unwrap();
        let (signer, bob) = (LedgerKey::generate(rng), IdentitySecret::generate(rng));
        let policy = PolicyParams::new(signer.public(), label.public(), bob.public(), [7; 32]);
        let (capsule, secret) = encapsulate(rng, kind.id(), &label.public(), &CONTEXT).unwrap();
        let threshold = kind.rule().adapt(Threshold::new(2, 2).unwrap());
        let frags = label.split(rng, &policy, &signer, threshold).unwrap();
        let (mut key_frags, mut stored, mut answers) = (vec![], vec![], vec![]);
        for frag in frags {
            key_frags.push(frag.to_bytes().to_vec());
            let frag = frag.verify(&policy).unwrap();
            stored.push(frag.to_bytes().to_vec());
            answers.push(frag.reencrypt(rng, &capsule).unwrap().to_bytes());
        }
        Self {
            kind,
            label,
            bob,
            policy,
            capsule: capsule.to_bytes(),
            secret,
            key_frags,
            stored,
            answers,
        }
    }

    fn capsule(&self) -> Capsule {
        Capsule::from_bytes(&self.capsule).unwrap()
    }

    fn verified(&self, node: usize) -> VerifiedCapsuleFrag {
        let answer = CapsuleFrag::from_bytes(&self.answers[node]).unwrap();
        answer.verify(&self.capsule(), &self.policy).unwrap()
    }

    fn all(&self) -> Vec<VerifiedCapsuleFrag> {
        (0..self.answers.len())
            .map(|node| self.verified(node))
            .collect()
    }
}

type Read = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

/// Every encoding with the function that reads it and writes it again.
fn encodings(world: &World) -> [(&'static str, &[u8], Read); 5] {
    let label: &'static [u8] = Vec::leak(world.label.public().to_bytes());
    [
        ("capsule", &world.capsule, |bytes| {
            Capsule::from_bytes(bytes).map(|it| it.to_bytes())
        }),
        ("key fragment", &world.key_frags[0], |bytes| {
            KeyFrag::from_bytes(bytes).map(|it| it.to_bytes().to_vec())
        }),
        ("stored key fragment", &world.stored[0], |bytes| {
            VerifiedKeyFrag::from_bytes_trusted(bytes).map(|it| it.to_bytes().to_vec())
        }),
        ("capsule fragment", &world.answers[0], |bytes| {
            CapsuleFrag::from_bytes(bytes).map(|it| it.to_bytes())
        }),
        ("label key", label, |bytes| {
            LabelPublicKey::from_bytes(bytes).map(|it| it.to_bytes())
        }),
    ]
}

#[test]
fn everything_survives_its_encoding_and_nothing_else_is_read() {
    for world in SchemeKind::ALL.map(World::new) {
        for (what, bytes, read) in encodings(&world) {
            assert_eq!(read(bytes).as_deref(), Ok(bytes), "{what}");
            for length in 0..bytes.len() {
                let refused = read(&bytes[..length]);
                assert_eq!(refused, Err(DecodeError::Malformed { what }), "{length}");
            }
            let longer = [bytes, &[0]].concat();
            assert_eq!(read(&longer), Err(DecodeError::Malformed { what }));
        }
    }
}

#[test]
fn unknown_and_mismatching_ids_are_named() {
    for world in SchemeKind::ALL.map(World::new) {
        for (what, bytes, read) in encodings(&world) {
            let at = if what == "label key" { 0 } else { 2 };
            let with = |at: usize, id: u16| {
                let mut bytes = bytes.to_vec();
                bytes[at..at + 2].copy_from_slice(&id.to_be_bytes());
                read(&bytes)
            };
            for id in [0, 6, 0x101, u16::MAX] {
                assert_eq!(with(at, id), Err(DecodeError::Scheme(SchemeId(id))));
            }
            let other = CurveId(3 - world.kind.curve().0);
            for id in [CurveId(0), other, CurveId(3), CurveId(u16::MAX)] {
                assert_eq!(with(at + 2, id.0), Err(DecodeError::Curve(id)), "{what}");
            }
        }
    }
}

/// Each bit of everything that crosses the boundary, flipped.
fn no_flipped_bit_is_accepted(kind: SchemeKind) {
    let world = World::new(kind);
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let bits = |bytes: &[u8]| 0..bytes.len() * 8;
    for bit in bits(&world.key_frags[0]) {
        if let Ok(frag) = KeyFrag::from_bytes(&flipped(&world.key_frags[0], bit)) {
            assert!(frag.verify(&world.policy).is_err(), "fragment, bit {bit}");
        }
    }
    let capsule = world.capsule();
    for bit in bits(&world.answers[0]) {
        if let Ok(frag) = CapsuleFrag::from_bytes(&flipped(&world.answers[0], bit)) {
            let refused = frag.verify(&capsule, &world.policy);
            assert!(refused.is_err(), "answer, bit {bit}");
        }
    }
    let (answer, all) = (&world.answers[0], world.all());
    for bit in bits(&world.capsule) {
        // Where a scheme's capsules have no check of their own another point may come out of it:
        // then the answers are not for it, and the owner gets a secret that opens nothing.
        if let Ok(altered) = Capsule::from_bytes(&flipped(&world.capsule, bit)) {
            assert_ne!(kind, SchemeKind::Split, "its capsules check themselves");
            let answer = CapsuleFrag::from_bytes(answer).unwrap();
            assert!(answer.verify(&altered, &world.policy).is_err());
            let opened = world
                .bob
                .open_reencrypted(&altered, &all, &world.policy, &CONTEXT);
            let refused = matches!(opened, Err(OpenError::Mixed | OpenError::Scheme(_)));
            assert!(refused, "capsule, bit {bit}");
            let own = world.label.decapsulate(&altered, &CONTEXT);
            assert_ne!(own.as_ref(), Ok(&world.secret));
        }
    }
}

#[test]
fn no_flipped_bit_is_accepted_by_split_key_ecies() {
    no_flipped_bit_is_accepted(SchemeKind::Split);
}

#[test]
fn no_flipped_bit_is_accepted_by_bbs98() {
    no_flipped_bit_is_accepted(SchemeKind::Bbs98);
}

#[test]
fn no_flipped_bit_is_accepted_by_ecies() {
    no_flipped_bit_is_accepted(SchemeKind::Ecies);
}

#[test]
fn no_flipped_bit_is_accepted_by_afgh() {
    no_flipped_bit_is_accepted(SchemeKind::Afgh);
}

/// Where an answer's proof begins, and where the capsule's multiple before it does.
const fn proof_at(kind: SchemeKind) -> [usize; 2] {
    match kind {
        SchemeKind::Split => [170, 170 + 66],
        SchemeKind::Bbs98 | SchemeKind::Ecies => [228, 228 + 33],
        SchemeKind::Afgh => [483, 483 + 288],
    }
}

/// Two honest answers, by two nodes or for two capsules, with their ends exchanged.
#[test]
fn exchanged_proofs_are_refused() {
    for kind in SchemeKind::ALL {
        let world = World::new(kind);
        let capsule = world.capsule();
        let label = world.label.public();
        let (later, _) = encapsulate(&mut rng(), kind.id(), &label, &CONTEXT).unwrap();
        let same_node = VerifiedKeyFrag::from_bytes_trusted(&world.stored[0]).unwrap();
        let for_later = same_node.reencrypt(&mut rng(), &later).unwrap().to_bytes();
        let again = same_node
            .reencrypt(&mut rng(), &capsule)
            .unwrap()
            .to_bytes();
        for other in [&world.answers[1], &for_later] {
            for cut in proof_at(kind) {
                for (one, two) in [(&world.answers[0], other), (other, &world.answers[0])] {
                    let grafted = [&one[..cut], &two[cut..]].concat();
                    if grafted == world.answers[0] {
                        continue; // one node's answers begin alike
                    }
                    let answer = CapsuleFrag::from_bytes(&grafted).unwrap();
                    let refused = answer.verify(&capsule, &world.policy).err();
                    let proof = [FragError::Proof, FragError::ProofE];
                    assert!(
                        proof.contains(&refused.unwrap()),
                        "{kind:?} {cut} {refused:?}"
                    );
                }
            }
        }
        // The same node's two answers for one capsule are as good as one: there they may be exchanged.
        let [start, _] = proof_at(kind);
        let grafted = [&world.answers[0][..start], &again[start..]].concat();
        let answer = CapsuleFrag::from_bytes(&grafted).unwrap();
        assert!(answer.verify(&capsule, &world.policy).is_ok(), "{kind:?}");
    }
}

#[test]
fn stored_fragments_answer_like_fresh_ones() {
    for world in SchemeKind::ALL.map(World::new) {
        let answers = world.stored.iter().map(|bytes| {
            let frag = VerifiedKeyFrag::from_bytes_trusted(bytes).unwrap();
            assert_eq!(frag.policy(), world.policy.id());
            assert!(world.kind.rule().permits(frag.threshold()));
            let answer = frag.reencrypt(&mut rng(), &world.capsule()).unwrap();
            answer.verify(&world.capsule(), &world.policy).unwrap()
        });
        let answers: Vec<_> = answers.collect();
        let opened =
            world
                .bob
                .open_reencrypted(&world.capsule(), &answers, &world.policy, &CONTEXT);
        assert_eq!(opened.as_ref(), Ok(&world.secret));
    }
}

#[test]
fn schemes_do_not_mix() {
    let worlds = SchemeKind::ALL.map(World::new);
    for (one, other) in worlds
        .iter()
        .flat_map(|one| worlds.iter().map(move |it| (one, it)))
    {
        if one.kind == other.kind {
            continue;
        }
        let (found, expected) = (one.kind.id(), other.kind.id());
        let mixed = FragError::Scheme { expected, found };
        let frag = KeyFrag::from_bytes(&one.key_frags[0]).unwrap();
        assert_eq!(frag.verify(&other.policy).err(), Some(mixed));
        let frag = VerifiedKeyFrag::from_bytes_trusted(&one.stored[0]).unwrap();
        let refused = frag.reencrypt(&mut rng(), &other.capsule()).err();
        assert_eq!(refused, Some(mixed), "a capsule of another scheme");
        let answer = || CapsuleFrag::from_bytes(&one.answers[0]).unwrap();
        let refused = answer().verify(&other.capsule(), &one.policy).err();
        assert_eq!(refused, Some(mixed));
        let refused = answer().verify(&one.capsule(), &other.policy).err();
        assert_eq!(refused, Some(mixed));

        let refused = one.label.decapsulate(&other.capsule(), &CONTEXT);
        assert_eq!(refused, Err(OpenError::Scheme(expected)));
        let open = |capsule: &World, answers: &World, policy: &World| {
            let (answers, policy) = (answers.all(), &policy.policy);
            one.bob
                .open_reencrypted(&capsule.capsule(), &answers, policy, &CONTEXT)
        };
        assert_eq!(open(one, other, one), Err(OpenError::Mixed));
        assert_eq!(open(other, one, one), Err(OpenError::Scheme(found)));
        let refused = encapsulate(&mut rng(), expected, &one.label.public(), &CONTEXT);
        assert_eq!(
            refused.err(),
            Some(SplitError::OtherScheme { expected, found })
        );
        let threshold = Threshold::new(1, 1).unwrap();
        let signer = LedgerKey::generate(&mut rng());
        let refused = one
            .label
            .split(&mut rng(), &other.policy, &signer, threshold);
        assert_eq!(
            refused.err(),
            Some(SplitError::OtherScheme { expected, found })
        );
    }
}

/// The id of a policy names scheme and curve through the label's key.
#[test]
fn a_policy_of_another_scheme_is_another_policy() {
    let secret = DelegatingKey::generate(&mut rng());
    let LabelPublicKey::Split(point) = secret.public() else {
        panic!("the production scheme");
    };
    let keys = [
        LabelPublicKey::Split(point),
        LabelPublicKey::Bbs98(point),
        LabelPublicKey::Ecies(point),
    ];
    let ids = keys.map(|key| PolicyParams::new(point, key, point, [1; 32]).id());
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}
