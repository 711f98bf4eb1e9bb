//! Encodings: one for each thing, and an error for everything else.

use k256::ProjectivePoint;

use super::*;
use crate::scheme::{Capsule, CapsuleFrag, KeyFrag, VerifiedKeyFrag};

struct Encoded {
    capsule: Vec<u8>,
    key_frag: Vec<u8>,
    stored: Vec<u8>,
    answer: Vec<u8>,
}

fn encoded() -> Encoded {
    let world = World::new(2, 3);
    let threshold = Threshold::new(2, 3).unwrap();
    let frags = world
        .label()
        .split(&mut rng(), &world.policy, &world.signer, threshold)
        .unwrap();
    Encoded {
        capsule: world.capsule.to_bytes(),
        key_frag: frags[0].to_bytes().to_vec(),
        stored: world.frags[0].to_bytes().to_vec(),
        answer: world.answer(0).to_bytes(),
    }
}

type Reader = fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

fn readers(encoded: &Encoded) -> [(&'static str, &[u8], Reader); 4] {
    [
        ("capsule", &encoded.capsule, |b| {
            Capsule::from_bytes(b).map(|c| c.to_bytes())
        }),
        ("key fragment", &encoded.key_frag, |b| {
            KeyFrag::from_bytes(b).map(|f| f.to_bytes().to_vec())
        }),
        ("stored key fragment", &encoded.stored, |b| {
            VerifiedKeyFrag::from_bytes_trusted(b).map(|f| f.to_bytes().to_vec())
        }),
        ("capsule fragment", &encoded.answer, |b| {
            CapsuleFrag::from_bytes(b).map(|f| f.to_bytes())
        }),
    ]
}

#[test]
fn the_lengths_are_those_of_the_specification() {
    let encoded = encoded();
    let lengths = [
        &encoded.capsule,
        &encoded.key_frag,
        &encoded.stored,
        &encoded.answer,
    ]
    .map(Vec::len);
    assert_eq!(lengths, [104, 202, 234, 367]);
}

#[test]
fn everything_survives_its_encoding_and_nothing_else_is_read() {
    let encoded = encoded();
    for (what, bytes, read) in readers(&encoded) {
        assert_eq!(read(bytes).as_deref(), Ok(bytes), "{what}");
        for length in 0..bytes.len() {
            assert_eq!(
                read(&bytes[..length]),
                Err(DecodeError::Malformed { what }),
                "{length}"
            );
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(read(&longer), Err(DecodeError::Malformed { what }));
        for (other, foreign, _) in readers(&encoded).iter().filter(|(name, ..)| *name != what) {
            assert_eq!(
                read(foreign),
                Err(DecodeError::Malformed { what }),
                "{other} as {what}"
            );
        }
    }
}

#[test]
fn unknown_versions_schemes_and_curves_are_named() {
    let encoded = encoded();
    for (_, bytes, read) in readers(&encoded) {
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            read(&bytes)
        };
        assert_eq!(with(1, 2), Err(DecodeError::Version(2)));
        assert_eq!(with(3, 9), Err(DecodeError::Scheme(SchemeId(9))));
        assert_eq!(with(2, 1), Err(DecodeError::Scheme(SchemeId(0x101))));
        assert_eq!(with(5, 2), Err(DecodeError::Curve(CurveId::BLS12_381)));
    }
}

/// A name and where it stands.
type Field = (&'static str, usize);

/// Where the points and scalars of each encoding stand, after the prefix.
fn fields(what: &str) -> (Vec<Field>, Vec<Field>) {
    match what {
        "capsule" => (vec![("E", 0), ("V", 33)], vec![("s", 66)]),
        "key fragment" => (vec![("X", 64), ("U1", 97)], vec![("rk", 32)]),
        "stored key fragment" => (vec![("X", 96), ("U1", 129)], vec![("rk", 64)]),
        _ => (
            vec![
                ("X", 32),
                ("U1", 65),
                ("E1", 164),
                ("V1", 197),
                ("E2", 230),
                ("V2", 263),
                ("U2", 296),
            ],
            vec![("rho", 329)],
        ),
    }
}

#[test]
fn every_point_and_scalar_slot_refuses_what_is_none() {
    let encoded = encoded();
    let mut not_on_curve = [0; 33];
    (not_on_curve[0], not_on_curve[32]) = (2, 5);
    let mut too_large = [0xff; 33];
    too_large[0] = 3;
    for (what, bytes, read) in readers(&encoded) {
        let with = |at: usize, value: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[6 + at..6 + at + value.len()].copy_from_slice(value);
            read(&bytes)
        };
        let (points, scalars) = fields(what);
        for (field, at) in points {
            let refused = Err(DecodeError::Point { field });
            assert_eq!(with(at, &[0; 33]), refused, "identity in {field}");
            assert_eq!(with(at, &not_on_curve), refused, "off the curve in {field}");
            assert_eq!(with(at, &too_large), refused, "x above p in {field}");
            for prefix in [0, 1, 4, 5, 6, 7] {
                assert_eq!(with(at, &[prefix]), refused, "prefix {prefix} in {field}");
            }
        }
        for (field, at) in scalars {
            let refused = Err(DecodeError::Scalar { field });
            assert_eq!(with(at, &[0; 32]), refused, "zero in {field}");
            assert_eq!(with(at, &[0xff; 32]), refused, "above n in {field}");
            assert_eq!(with(at, &ORDER), refused, "n in {field}");
        }
    }
}

/// The group order.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

#[test]
fn impossible_thresholds_and_malformed_signatures_are_refused() {
    let encoded = encoded();
    for (bytes, read, at) in [
        (&encoded.key_frag, readers(&encoded)[1].2, 6 + 130),
        (&encoded.answer, readers(&encoded)[3].2, 6 + 98),
    ] {
        for (needed, total) in [(0, 0), (0, 3), (4, 3), (255, 254)] {
            let mut altered = bytes.clone();
            altered[at..at + 2].copy_from_slice(&[needed, total]);
            assert_eq!(
                read(&altered),
                Err(DecodeError::Threshold { needed, total })
            );
        }
        for half in [at + 2, at + 34] {
            for byte in [0, 0xff] {
                let mut altered = bytes.clone();
                altered[half..half + 32].fill(byte);
                assert_eq!(read(&altered), Err(DecodeError::Signature));
            }
        }
    }
    assert_eq!(
        Threshold::new(0, 3),
        Err(SplitError::Threshold {
            needed: 0,
            total: 3
        })
    );
    assert_eq!(
        Threshold::new(4, 3),
        Err(SplitError::Threshold {
            needed: 4,
            total: 3
        })
    );
    assert!(Threshold::new(255, 255).is_ok());
}

#[test]
fn an_altered_capsule_fails_its_own_check() {
    let world = World::new(1, 1);
    let good = world.capsule.to_bytes();
    let refused = Err(DecodeError::CapsuleCheck);
    let mut swapped = good.clone();
    swapped[6..72].rotate_left(33);
    assert_eq!(Capsule::from_bytes(&swapped), refused, "E and V exchanged");
    for at in [6, 39] {
        let mut negated = good.clone();
        negated[at] ^= 1;
        assert_eq!(Capsule::from_bytes(&negated), refused, "a point negated");
    }
    let mut doubled = good.clone();
    doubled.copy_within(6..39, 39);
    assert_eq!(Capsule::from_bytes(&doubled), refused, "E in place of V");
    for step in [Scalar::ONE, -Scalar::ONE] {
        let mut shifted = good.clone();
        shifted[72..].copy_from_slice(&(world.capsule.core.s + step).to_bytes());
        assert_eq!(Capsule::from_bytes(&shifted), refused, "s moved by one");
    }
}

/// V = −E passes the equation for whoever makes it so, and then everybody knows the secret.
#[test]
fn a_capsule_whose_secret_is_a_constant_is_refused() {
    let r = crate::curve::random_scalar(&mut rng());
    let e = ProjectivePoint::mul_by_generator(&r);
    let points = [
        encode_point(&e.to_affine()),
        encode_point(&(-e).to_affine()),
    ]
    .concat();
    let h = hash_to_scalar("kms/split/capsule/1", &[&points]);
    let s = r * h - r;
    let bytes = [
        &[0xc1, 1, 0, 1, 0, 1],
        points.as_slice(),
        s.to_bytes().as_slice(),
    ]
    .concat();
    assert_eq!(Capsule::from_bytes(&bytes), Err(DecodeError::CapsuleCheck));
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_panic(
        kind in 0xc0u8..0xc6,
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [&[kind, 1, 0, 1, 0, 1], body.as_slice()].concat();
        let _ = Capsule::from_bytes(&bytes);
        let _ = KeyFrag::from_bytes(&bytes);
        let _ = VerifiedKeyFrag::from_bytes_trusted(&bytes);
        let _ = CapsuleFrag::from_bytes(&bytes);
    }

    #[test]
    fn one_altered_byte_is_never_accepted(at in any::<prop::sample::Index>(), with in 1u8..) {
        let world = World::new(1, 2);
        let alter = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            bytes
        };
        prop_assert!(Capsule::from_bytes(&alter(&world.capsule.to_bytes())).is_err());

        let capsule = Capsule::Split(world.capsule.clone());
        let answer = CapsuleFrag::from_bytes(&alter(&world.answer(0).to_bytes()));
        prop_assert!(answer.is_err() || answer.unwrap().verify(&capsule, &world.policy).is_err());

        let threshold = Threshold::new(1, 2).unwrap();
        let frags = world.label().split(&mut rng(), &world.policy, &world.signer, threshold).unwrap();
        let frag = KeyFrag::from_bytes(&alter(&frags[0].to_bytes()));
        prop_assert!(frag.is_err() || frag.unwrap().verify(&world.policy).is_err());
    }
}
