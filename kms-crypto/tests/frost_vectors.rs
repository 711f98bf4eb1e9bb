//! Walks `spec/vectors/frost`: what RFC 9591 gives for secp256k1, and what another implementation of SCHEMES §14 made, is
//! computed, read and refused here for the stated reasons.
#![cfg(feature = "signing")]
#![expect(
    clippy::unwrap_used,
    reason = "tests say what they expect by unwrapping it"
)]

#[path = "support/vector.rs"]
#[allow(dead_code, reason = "not every test uses all of it")]
mod vector;

use std::convert::Infallible;

use kms_crypto::error::{DecodeError, FragError};
use kms_crypto::id::SchemeId;
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelPublicKey, LedgerKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::signing::{Ceremony, verify};
use kms_crypto::scheme::{KeyFrag, VerifiedKeyFrag};
use rand_core::{TryCryptoRng, TryRng};
use vector::{Vector, check};

impl Vector {
    fn outcome(&self) -> Result<(), String> {
        match self.field("kind") {
            "key-frag" => self.key_frag(),
            "group-signature" => {
                let checked = verify(&self.public("group"), &self.hex("message"), &self.bytes());
                checked.map_err(|_| "mismatch".to_owned())
            }
            "rfc9591" => {
                self.rfc9591();
                Ok(())
            }
            other => panic!("an unknown kind {other}"),
        }
    }

    fn key_frag(&self) -> Result<(), String> {
        let policy = PolicyParams::new(
            self.public("ledger-key"),
            LabelPublicKey::from_bytes(&self.hex("label-key")).unwrap(),
            self.public("recipient"),
            self.array("salt"),
        );
        let frag = KeyFrag::from_bytes(&self.bytes()).map_err(decode)?;
        assert_eq!(*frag.to_bytes(), self.bytes());
        let frag = frag.verify(&policy).map_err(|error| match error {
            FragError::Signature => "signature",
            FragError::Commitment => "commitment",
            other => panic!("{other}"),
        })?;
        assert_eq!(frag.policy(), policy.id());
        assert!((0..5).all(|index| frag.is_at(index) == (index == self.bytes()[6])));
        let kept = frag.to_bytes();
        let again = VerifiedKeyFrag::from_bytes_trusted(&kept).unwrap();
        assert_eq!(*again.to_bytes(), *kept);
        Ok(())
    }

    /// Through the same doors as everything else: the RFC's key is dealt with its coefficient, and nodes 1 and 3 draw its
    /// random bytes.
    fn rfc9591(&self) {
        let (owner, signer) = (
            IdentitySecret::generate(&mut rng()),
            LedgerKey::generate(&mut rng()),
        );
        let key = DelegatingKey::from_bytes_for(SchemeId::SIGNING, &self.array("secret")).unwrap();
        let policy = PolicyParams::new(signer.public(), key.public(), owner.public(), [0; 32]);
        assert_eq!(key.public(), LabelPublicKey::Signing(self.public("group")));
        let message = self.hex("message");

        // A coefficient is 1 + (64 bytes mod n − 1).
        let mut coefficient: [u8; 32] = self.array("coefficient");
        coefficient[31] -= 1;
        let mut source = Fixed([[0; 32], coefficient].concat());
        // Beyond the coefficient it is the signature's, which may be random.
        source.0.extend([7; 64]);
        let threshold = Threshold::new(2, 3).unwrap();
        let frags = key.split(&mut source, &policy, &signer, threshold).unwrap();

        let mut nodes = Vec::new();
        for (number, frag) in (1..).zip(frags) {
            assert_eq!(frag.to_bytes()[7..39], self.hex(&format!("share-{number}")));
            let Ok(VerifiedKeyFrag::Signing(frag)) = frag.verify(&policy) else {
                panic!("a share of the RFC is refused");
            };
            if number == 2 {
                continue;
            }
            let random =
                ["hiding", "binding"].map(|it| self.hex(&format!("{it}-randomness-{number}")));
            let (nonces, commitment) = frag.commit(&mut Fixed(random.concat()));
            let expected =
                ["hiding", "binding"].map(|it| self.hex(&format!("{it}-commitment-{number}")));
            assert_eq!(commitment.as_bytes().as_slice(), expected.concat());
            nodes.push((number, frag, nonces, commitment));
        }
        let signers: Vec<_> = nodes
            .iter()
            .map(|(_, frag, _, it)| (frag.index(), *it))
            .collect();
        let split = nodes[0].1.split().clone().verify(&policy).unwrap();
        let ceremony = Ceremony::new(&split, &message, &signers).unwrap();
        let shares: Vec<_> = nodes
            .into_iter()
            .map(|(number, frag, nonces, _)| {
                let share = frag.sign(nonces, &message, &signers).unwrap();
                assert_eq!(
                    share.as_slice(),
                    self.hex(&format!("signature-share-{number}"))
                );
                (frag.index(), ceremony.check(frag.index(), &share).unwrap())
            })
            .collect();
        let signature = ceremony.finish(&shares).unwrap();
        assert_eq!(signature.as_slice(), self.bytes());
        verify(&self.public("group"), &message, &signature).unwrap();
    }
}

fn decode(error: DecodeError) -> String {
    match error {
        DecodeError::Malformed { .. } => "malformed".to_owned(),
        DecodeError::Version(version) => format!("version {version}"),
        DecodeError::Scheme(scheme) => format!("scheme {scheme}"),
        DecodeError::Curve(curve) => format!("curve {curve}"),
        DecodeError::Point { field } => format!("point {field}"),
        DecodeError::Scalar { field } => format!("scalar {field}"),
        DecodeError::Threshold { .. } => "threshold".to_owned(),
        DecodeError::Signature => "signature-form".to_owned(),
        other => panic!("{other}"),
    }
}

fn rng() -> rand_core::UnwrapErr<getrandom::SysRng> {
    rand_core::UnwrapErr(getrandom::SysRng)
}

/// Gives these bytes, each once.
struct Fixed(Vec<u8>);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are asked for")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

#[test]
fn every_vector_has_the_outcome_it_states() {
    let checked = check("frost", Vector::outcome);
    assert!(
        checked.all > 50,
        "there are more vectors than {}",
        checked.all
    );
}
