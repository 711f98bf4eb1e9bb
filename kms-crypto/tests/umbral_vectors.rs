//! Walks `spec/vectors/umbral`: what umbral-pre made is read and opened here, and what was altered in it
//! is refused for the stated reasons.
#![expect(
    clippy::unwrap_used,
    reason = "tests say what they expect by unwrapping it"
)]

#[path = "support/vector.rs"]
#[allow(dead_code, reason = "not every test uses all of it")]
mod vector;

use data_encoding::HEXLOWER;
use kms_crypto::error::{DecodeError, FragError, OpenError};
use kms_crypto::key::{EcDelegatingKey, IdentitySecret, LedgerKey, PublicKey};
use kms_crypto::umbral::{
    Capsule, CapsuleFrag, KeyFrag, Parties, Reader, SecretKeyFactory, UmbralError,
    VerifiedCapsuleFrag, decrypt_original, decrypt_reencrypted,
};
use vector::{Vector, check};

impl Vector {
    /// A fragment a line.
    fn frags(&self) -> Vec<Vec<u8>> {
        let lines = self.text().lines();
        lines
            .map(|line| HEXLOWER.decode(line.as_bytes()).unwrap())
            .collect()
    }

    fn public_if_given(&self, name: &str) -> Option<PublicKey> {
        (self.field(name) != "-").then(|| self.public(name))
    }

    fn parties(&self) -> Parties {
        Parties {
            verifying: self.public("verifying"),
            delegating: self.public("delegating"),
            receiving: self.public("receiving"),
        }
    }

    fn capsule(&self) -> Capsule {
        Capsule::from_bytes(&self.hex("capsule")).unwrap()
    }

    /// What happened, in the words of `expect`.
    fn outcome(&self) -> Result<(), String> {
        let frags = self.frags();
        let bytes = frags.first().map_or(&[][..], Vec::as_slice);
        match self.field("kind") {
            "capsule" => Capsule::from_bytes(bytes).map(|_| ()).map_err(decode),
            "key-frag" => self.key_frag(bytes),
            "capsule-frag" => self.capsule_frag(bytes),
            "open" => self.open(),
            "transcript" => self.transcript(),
            "key" => {
                let factory = SecretKeyFactory::from_bytes(&self.array("seed"));
                assert_eq!(*factory.make_key(&self.hex("label")).to_bytes(), bytes);
                Ok(())
            }
            other => panic!("an unknown kind {other}"),
        }
    }

    fn key_frag(&self, bytes: &[u8]) -> Result<(), String> {
        let frag = KeyFrag::from_bytes(bytes).map_err(decode)?;
        assert_eq!(*frag.to_bytes(), bytes);
        let delegating = self.public_if_given("delegating");
        let receiving = self.public_if_given("receiving");
        frag.verify(
            &self.public("verifying"),
            delegating.as_ref(),
            receiving.as_ref(),
        )
        .map(|_| ())
        .map_err(frag_error)
    }

    fn capsule_frag(&self, bytes: &[u8]) -> Result<(), String> {
        let frag = CapsuleFrag::from_bytes(bytes).map_err(decode)?;
        assert_eq!(frag.to_bytes(), bytes);
        let (capsule, parties) = (self.capsule(), self.parties());
        let alone = frag.clone().verify(&capsule, &parties);
        let [together] = CapsuleFrag::verify_all(vec![frag], &capsule, &parties)
            .try_into()
            .unwrap();
        let (alone, together) = (alone.map(|_| ()), together.map(|_| ()));
        assert_eq!(alone, together);
        alone.map_err(frag_error)
    }

    fn open(&self) -> Result<(), String> {
        let recipient = IdentitySecret::from_bytes(&self.array("receiver")).unwrap();
        let parties = Parties {
            verifying: self.public("verifying"),
            delegating: self.public("delegating"),
            receiving: recipient.public(),
        };
        let capsule = self.capsule();
        let frags = self.frags();
        let frags = frags.iter();
        let frags = frags.map(|bytes| CapsuleFrag::from_bytes(bytes).unwrap());
        let mut reader = Reader::new(parties);
        let frags: Result<Vec<VerifiedCapsuleFrag>, _> = reader
            .verify_all(frags.collect(), &capsule)
            .into_iter()
            .collect();
        let (frags, message) = (frags.unwrap(), self.hex("message"));
        let opened = decrypt_reencrypted(&recipient, &parties, &capsule, &frags, &message);
        // Once without and once with what the first time left.
        for _ in 0..2 {
            assert_eq!(
                reader.decrypt(&recipient, &capsule, &frags, &message),
                opened
            );
        }
        let opened = opened.map_err(|error| match error {
            UmbralError::Open(OpenError::TooFew { .. }) => "too-few",
            UmbralError::Open(OpenError::Duplicate) => "duplicate",
            UmbralError::Open(OpenError::Inconsistent) => "inconsistent",
            UmbralError::Refused => "refused",
            other => panic!("{other}"),
        })?;
        assert_eq!(*opened, self.hex("plaintext"));
        Ok(())
    }

    /// All roles of one exchange, each played here with what umbral-pre made.
    fn transcript(&self) -> Result<(), String> {
        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let parties = self.parties();
        let (capsule, message) = (self.capsule(), self.hex("message"));
        assert_eq!(capsule.to_bytes().as_slice(), self.hex("capsule"));
        let delegator = EcDelegatingKey::from_bytes(&self.array("delegator")).unwrap();
        let signer = LedgerKey::from_bytes(&self.array("signer")).unwrap();
        let recipient = IdentitySecret::from_bytes(&self.array("receiver")).unwrap();
        assert_eq!(delegator.public(), parties.delegating);
        assert_eq!(signer.public(), parties.verifying);
        assert_eq!(recipient.public(), parties.receiving);
        let plaintext = self.hex("plaintext");
        let alone = decrypt_original(&delegator, &capsule, &message).unwrap();
        assert_eq!(*alone, plaintext);

        let total: usize = self.field("total").parse().unwrap();
        let needed: usize = self.field("needed").parse().unwrap();
        let frags = self.frags();
        let (keys, answers) = frags.split_at(total);
        assert_eq!(answers.len(), total);
        // Half of the answers are umbral-pre's, half are made here.
        let mut mixed = Vec::new();
        for (index, (key, answer)) in keys.iter().zip(answers).enumerate() {
            let frag = KeyFrag::from_bytes(key).map_err(decode)?;
            assert_eq!(*frag.to_bytes(), *key);
            let (delegating, receiving) = (Some(&parties.delegating), Some(&parties.receiving));
            let frag = frag.verify(&parties.verifying, delegating, receiving);
            let frag = frag.map_err(frag_error)?;
            let answer = CapsuleFrag::from_bytes(answer).map_err(decode)?;
            let ours = frag.reencrypt(rng, &capsule);
            mixed.push(if index % 2 == 0 { answer } else { ours });
        }
        let checked = CapsuleFrag::verify_all(mixed, &capsule, &parties);
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        for chosen in [&checked[..needed], &checked[total - needed..], &checked[..]] {
            let opened = decrypt_reencrypted(&recipient, &parties, &capsule, chosen, &message);
            assert_eq!(*opened.unwrap(), plaintext);
        }
        Ok(())
    }
}

fn decode(error: DecodeError) -> String {
    match error {
        DecodeError::Malformed { .. } => "malformed".to_owned(),
        DecodeError::Point { field } => format!("point {field}"),
        DecodeError::Scalar { field } => format!("scalar {field}"),
        DecodeError::Signature => "signature-form".to_owned(),
        DecodeError::CapsuleCheck => "check".to_owned(),
        other => panic!("{other}"),
    }
}

fn frag_error(error: FragError) -> String {
    match error {
        FragError::Signature => "signature",
        FragError::Commitment => "commitment",
        FragError::ProofE => "proof-e",
        FragError::ProofV => "proof-v",
        FragError::ProofCommitment => "proof-commitment",
        other => panic!("{other}"),
    }
    .to_owned()
}

#[test]
fn every_vector_has_the_outcome_it_states() {
    let checked = check("umbral", Vector::outcome);
    assert!(checked.all > 100, "the vectors are there");
}
