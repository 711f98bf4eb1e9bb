use super::*;
use crate::error::FragError;
use crate::key::{DelegatingKey, IdentitySecret, LabelPublicKey};
use crate::policy::PolicyParams;
use crate::scheme;

const MESSAGE: &[u8] = b"pay the ferryman";

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

struct Group {
    policy: PolicyParams,
    key: PublicKey,
    nodes: Vec<VerifiedKeyFrag>,
}

impl Group {
    fn new(needed: u8, total: u8) -> Self {
        let signer = crate::key::LedgerKey::generate(&mut rng());
        let secret = DelegatingKey::generate_for(ID, &mut rng()).unwrap();
        let owner = IdentitySecret::generate(&mut rng()).public();
        let policy = PolicyParams::new(signer.public(), secret.public(), owner, [3; 32]);
        let threshold = Threshold::new(needed, total).unwrap();
        let frags = secret
            .split(&mut rng(), &policy, &signer, threshold)
            .unwrap();
        let nodes = frags.into_iter().map(|frag| match frag.verify(&policy) {
            Ok(scheme::VerifiedKeyFrag::Signing(frag)) => frag,
            _ => panic!("a share that was dealt is refused"),
        });
        let LabelPublicKey::Signing(key) = policy.label_key else {
            panic!("the key of a group is none")
        };
        Self {
            policy,
            key,
            nodes: nodes.collect(),
        }
    }

    fn split(&self) -> VerifiedSplit {
        self.nodes[0].split().clone().verify(&self.policy).unwrap()
    }

    fn commit(&self, by: &[u8]) -> (Vec<Nonces>, Vec<(u8, Commitment)>) {
        let committed = by.iter().map(|index| {
            let (nonces, commitment) = self.nodes[usize::from(*index)].commit(&mut rng());
            (nonces, (*index, commitment))
        });
        committed.unzip()
    }

    fn sign(&self, by: &[u8]) -> GroupSignature {
        let (nonces, signers) = self.commit(by);
        let ceremony = Ceremony::new(&self.split(), MESSAGE, &signers).unwrap();
        let shares = by.iter().zip(nonces).map(|(index, nonces)| {
            let share = self.nodes[usize::from(*index)].sign(nonces, MESSAGE, &signers);
            (*index, ceremony.check(*index, &share.unwrap()).unwrap())
        });
        ceremony.finish(&shares.collect::<Vec<_>>()).unwrap()
    }
}

#[test]
fn any_m_of_n_sign_for_the_group_and_nobody_can_tell_who_it_was() {
    for (needed, total) in [(2, 2), (2, 3), (3, 5)] {
        let group = Group::new(needed, total);
        let first: Vec<u8> = (0..needed).collect();
        let last: Vec<u8> = (total - needed..total).collect();
        for by in [first, last] {
            verify(&group.key, MESSAGE, &group.sign(&by)).unwrap();
        }
    }
}

#[test]
fn a_share_is_refused_whichever_bit_of_it_is_wrong() {
    let group = Group::new(2, 3);
    let kept = scheme::VerifiedKeyFrag::Signing(Group::new(2, 3).nodes.remove(1));
    assert!(kept.is_at(1) && !kept.is_at(0) && !kept.is_at(2));
    let frag = &group.nodes[1];
    let mut bytes = prefix_of(frag);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let read = scheme::KeyFrag::from_bytes(&bytes);
        let refused = read.map_or(true, |it| it.verify(&group.policy).is_err());
        assert!(refused, "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    scheme::KeyFrag::from_bytes(&bytes)
        .unwrap()
        .verify(&group.policy)
        .unwrap();
}

/// The share as its owner has sent it: as it is kept, without the policy in front.
fn prefix_of(frag: &VerifiedKeyFrag) -> Vec<u8> {
    let kept = frag.to_bytes();
    [&[0xc2], &kept[1..6], &kept[38..]].concat()
}

#[test]
fn a_commitment_or_a_part_with_one_wrong_bit_spoils_nothing_but_its_own_nodes_word() {
    let group = Group::new(2, 3);
    let split = group.split();
    let by = [0, 2];
    let (nonces, signers) = group.commit(&by);
    let ceremony = Ceremony::new(&split, MESSAGE, &signers).unwrap();
    let mut parts: Vec<[u8; SHARE_LEN]> = Vec::new();
    for (index, nonces) in by.iter().zip(nonces) {
        parts.push(
            group.nodes[usize::from(*index)]
                .sign(nonces, MESSAGE, &signers)
                .unwrap(),
        );
    }
    for bit in 0..SHARE_LEN * 8 {
        let mut wrong = parts[1];
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(ceremony.check(2, &wrong).is_err(), "bit {bit}");
        // The other one's is right all the same, and is the only one that is.
        assert!(ceremony.check(0, &wrong).is_err());
    }
    assert_eq!(
        ceremony.check(0, &parts[1]).err(),
        Some(FragError::SignatureShare)
    );
    ceremony.check(0, &parts[0]).unwrap();

    for bit in 0..COMMITMENT_LEN * 8 {
        let mut wrong = *signers[1].1.as_bytes();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let Ok(wrong) = Commitment::from_bytes(&wrong) else {
            continue;
        };
        let altered = [signers[0], (2, wrong)];
        let other = Ceremony::new(&split, MESSAGE, &altered).unwrap();
        assert!(other.check(2, &parts[1]).is_err(), "bit {bit}");
    }
}

#[test]
fn a_node_signs_only_with_its_own_nonces_among_m_signers_in_their_order() {
    let group = Group::new(2, 3);
    type Chosen<'a> = &'a dyn Fn(&[(u8, Commitment)]) -> Vec<(u8, Commitment)>;
    let sign = |signers: Chosen<'_>| {
        let (mut nonces, committed) = group.commit(&[0, 1, 2]);
        group.nodes[0].sign(nonces.remove(0), MESSAGE, &signers(&committed))
    };
    sign(&|it| it[..2].to_vec()).unwrap();
    let signers = Some(SigningError::Signers);
    assert_eq!(sign(&|it| it[..1].to_vec()).err(), signers);
    assert_eq!(sign(&|it| it.to_vec()).err(), signers, "more than m");
    assert_eq!(sign(&|it| vec![it[1], it[0]]).err(), signers);
    assert_eq!(sign(&|it| vec![it[0], it[0]]).err(), signers);
    assert_eq!(
        sign(&|it| vec![it[0], (3, it[1].1)]).err(),
        signers,
        "dealt to nobody"
    );
    let other = Some(SigningError::OtherNonces);
    assert_eq!(sign(&|it| it[1..].to_vec()).err(), other, "without it");
    assert_eq!(sign(&|it| vec![(0, it[1].1), it[2]]).err(), other);

    let (mut nonces, signers) = group.commit(&[0, 1]);
    let long = vec![0; MAX_MESSAGE_LEN + 1];
    let refused = group.nodes[0].sign(nonces.remove(0), &long, &signers);
    assert_eq!(refused.err(), Some(SigningError::TooLong(long.len())));
    let outside = [(1, signers[0].1), (3, signers[1].1)];
    assert!(Ceremony::new(&group.split(), MESSAGE, &outside).is_err());
}

#[test]
fn a_part_made_for_one_message_or_set_of_signers_is_good_for_no_other() {
    let group = Group::new(2, 3);
    let split = group.split();
    let (nonces, all) = group.commit(&[0, 1, 2]);
    let (with_one, with_two) = (vec![all[0], all[1]], vec![all[0], all[2]]);
    let part = group.nodes[0]
        .sign(nonces.into_iter().next().unwrap(), MESSAGE, &with_one)
        .unwrap();
    let check = |message: &[u8], signers: &[_]| {
        Ceremony::new(&split, message, signers)
            .unwrap()
            .check(0, &part)
    };
    check(MESSAGE, &with_one).unwrap();
    assert!(check(b"pay the ferrymen", &with_one).is_err());
    assert!(check(MESSAGE, &with_two).is_err());
}

#[test]
fn nonces_differ_each_time_even_if_the_random_source_repeats_itself_for_two_nodes() {
    let group = Group::new(2, 3);
    let (_, first) = group.commit(&[0, 0, 1]);
    assert_ne!(first[0].1, first[1].1);
    // The share is hashed with the random bytes: two nodes that draw the same have different nonces.
    struct Stuck;
    impl rand_core::TryRng for Stuck {
        type Error = core::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(9)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(9)
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(9);
            Ok(())
        }
    }
    impl rand_core::TryCryptoRng for Stuck {}
    let (_, one) = group.nodes[0].commit(&mut Stuck);
    let (_, two) = group.nodes[1].commit(&mut Stuck);
    assert_ne!(one, two);
}

#[test]
fn thresholds_of_one_or_of_a_crowd_are_refused_and_the_key_is_good_for_nothing_else() {
    let signer = crate::key::LedgerKey::generate(&mut rng());
    let secret = DelegatingKey::generate_for(ID, &mut rng()).unwrap();
    let owner = IdentitySecret::generate(&mut rng()).public();
    let policy = PolicyParams::new(signer.public(), secret.public(), owner, [3; 32]);
    for (needed, total) in [(1, 1), (1, 3), (65, 70)] {
        let threshold = Threshold::new(needed, total).unwrap();
        let dealt = secret.split(&mut rng(), &policy, &signer, threshold);
        assert!(matches!(dealt, Err(SplitError::Rule { .. })));
    }
    let context = scheme::LabelContext {
        store: crate::id::StoreId([1; 16]),
        label: crate::id::LabelId([1; 16]),
        epoch: 1,
    };
    let capsule = scheme::encapsulate(&mut rng(), ID, &secret.public(), &context);
    assert_eq!(capsule.err(), Some(SplitError::Scheme(ID)));
}
