//! Walks `spec/vectors/schemes`: what another implementation of SCHEMES made is read, opened and
//! refused here for the stated reasons.
#![expect(
    clippy::unwrap_used,
    reason = "tests say what they expect by unwrapping it"
)]

#[path = "support/vector.rs"]
#[allow(dead_code, reason = "not every test uses all of it")]
mod vector;

use data_encoding::HEXLOWER;
use kms_crypto::error::{
    DecodeError, FragError, IdentityError, KeyError, KeyTextError, OpenError, SealError,
};
use kms_crypto::id::{DirId, LabelId, SchemeId, StoreId};
use kms_crypto::identity::IdentityFile;
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelPublicKey, PublicKey, StoreKey};
use kms_crypto::policy::{self, PolicyParams};
use kms_crypto::scheme::{Capsule, CapsuleFrag, KeyFrag, LabelContext};
use kms_crypto::sign::Signature;
use vector::{Vector, check};

impl Vector {
    fn policy(&self) -> PolicyParams {
        PolicyParams::new(
            self.public("ledger-key"),
            LabelPublicKey::from_bytes(&self.hex("label-key")).unwrap(),
            self.public("recipient"),
            self.array("salt"),
        )
    }

    fn context(&self) -> LabelContext {
        LabelContext {
            store: StoreId(self.array("store")),
            label: LabelId(self.array("label")),
            epoch: self.number("epoch"),
        }
    }

    /// What happened, in the words of `expect`.
    fn outcome(&self) -> Result<(), String> {
        match self.field("kind") {
            "public-key" => self.public_key(),
            "secret-key" => self.secret_key(),
            "identity" => self.identity(),
            "store-key" => self.store_key(),
            "signature" => self.signature(),
            "sealed-box" => self.sealed_box(),
            "shared" => self.shared(),
            "policy" => self.policy_id(),
            "capsule" => self.capsule(),
            "key-frag" => self.key_frag(),
            "capsule-frag" => self.capsule_frag(),
            "open" => self.open(),
            other => panic!("an unknown kind {other}"),
        }
    }

    fn public_key(&self) -> Result<(), String> {
        let key: PublicKey = self.line().parse().map_err(|error| key_text(&error))?;
        assert_eq!(key, self.public("key"));
        assert_eq!(key.to_string(), self.line().to_lowercase());
        Ok(())
    }

    fn secret_key(&self) -> Result<(), String> {
        let key: IdentitySecret = self.line().parse().map_err(|error| key_text(&error))?;
        assert_eq!(*key.to_bytes(), self.array("key"));
        assert_eq!(*key.to_text(), self.line());
        Ok(())
    }

    fn identity(&self) -> Result<(), String> {
        let reason = |error| match error {
            IdentityError::Malformed => "malformed".to_owned(),
            IdentityError::Unsupported { what, id } => format!("{what} {id}"),
            IdentityError::Parameters { .. } => "parameters".to_owned(),
            IdentityError::CommentDiffers => "comment".to_owned(),
            IdentityError::Passphrase => "passphrase".to_owned(),
            other => panic!("{other}"),
        };
        let file = IdentityFile::parse(self.line()).map_err(reason)?;
        let secret = file
            .open(self.field("passphrase").as_bytes())
            .map_err(reason)?;
        assert_eq!(*secret.to_bytes(), self.array("key"));
        assert_eq!(secret.public(), file.public());
        Ok(())
    }

    fn store_key(&self) -> Result<(), String> {
        let store = StoreKey::from_bytes(&self.bytes().try_into().unwrap());
        let dir = store.dir_key(&DirId(self.array("dir")), self.number("epoch"));
        assert_eq!(*dir.as_bytes(), self.array("dir-key"));
        assert_eq!(*store.owner_mac_key(), self.array("owner-mac"));
        assert_eq!(*store.records_key(), self.array("records"));
        assert_eq!(*store.config_key(), self.array("config"));
        let label = LabelId(self.array("label"));
        let delegating = store.delegating_key(&label, self.number("generation"));
        assert_eq!(*delegating.to_bytes(), self.array("delegating"));
        let ledger = store.ledger_key(&self.array("salt"));
        assert_eq!(*ledger.to_bytes(), self.array("ledger"));
        Ok(())
    }

    fn signature(&self) -> Result<(), String> {
        let signature = Signature::from_bytes(&self.bytes()).map_err(|_| "form")?;
        let message = self.hex("message");
        let checked = self
            .public("signer")
            .verify(self.field("domain"), &message, &signature);
        checked.map_err(|_| "mismatch".to_owned())
    }

    fn sealed_box(&self) -> Result<(), String> {
        let secret = IdentitySecret::from_bytes(&self.array("secret")).unwrap();
        let ad: Vec<Vec<u8>> = self
            .field("ad")
            .split(' ')
            .map(|part| HEXLOWER.decode(part.as_bytes()).unwrap())
            .collect();
        let ad: Vec<&[u8]> = ad.iter().map(Vec::as_slice).collect();
        let opened = secret.open_sealed(self.field("domain"), &ad, &self.bytes());
        let opened = opened.map_err(|error| match error {
            SealError::Malformed => "malformed".to_owned(),
            SealError::Unsupported { what, id } => format!("{what} {id}"),
            SealError::Refused => "refused".to_owned(),
            other => panic!("{other}"),
        })?;
        assert_eq!(*opened, self.hex("plaintext"));
        Ok(())
    }

    fn shared(&self) -> Result<(), String> {
        let secret = IdentitySecret::from_bytes(&self.array("secret")).unwrap();
        let context = self.hex("context");
        let shared = secret.shared(&self.public("other"), self.field("domain"), &[&context]);
        assert_eq!(shared.as_slice(), self.bytes());
        Ok(())
    }

    fn policy_id(&self) -> Result<(), String> {
        let params = self.policy();
        assert_eq!(params.scheme(), SchemeId::SPLIT_ECIES);
        assert_eq!(params.inner(), self.array("inner"));
        assert_eq!(params.id().0.as_slice(), self.bytes());
        assert_eq!(
            policy::policy_id(&params.ledger_key, &params.inner()),
            params.id()
        );
        Ok(())
    }

    fn capsule(&self) -> Result<(), String> {
        let capsule = Capsule::from_bytes(&self.bytes()).map_err(decode)?;
        assert_eq!(capsule.to_bytes(), self.bytes());
        let scheme = SchemeId(match self.has("scheme") {
            true => self.number("scheme"),
            false => 1,
        });
        let key = DelegatingKey::from_bytes_for(scheme, &self.array("delegating"));
        let key = key.unwrap();
        let secret = key.decapsulate(&capsule, &self.context()).unwrap();
        assert_eq!(*secret.as_bytes(), self.array("secret"));
        Ok(())
    }

    fn key_frag(&self) -> Result<(), String> {
        let frag = KeyFrag::from_bytes(&self.bytes()).map_err(decode)?;
        assert_eq!(*frag.to_bytes(), self.bytes());
        let frag = frag.verify(&self.policy()).map_err(frag_error)?;
        assert_eq!(frag.policy(), self.policy().id());
        Ok(())
    }

    fn capsule_frag(&self) -> Result<(), String> {
        let capsule = Capsule::from_bytes(&self.hex("capsule")).unwrap();
        let frag = CapsuleFrag::from_bytes(&self.bytes()).map_err(decode)?;
        assert_eq!(frag.to_bytes(), self.bytes());
        frag.verify(&capsule, &self.policy())
            .map(|_| ())
            .map_err(frag_error)
    }

    fn open(&self) -> Result<(), String> {
        let capsule = Capsule::from_bytes(&self.hex("capsule")).unwrap();
        let policy = self.policy();
        let bytes = self.bytes();
        let length = match policy.scheme() {
            SchemeId::SPLIT_ECIES => 367,
            SchemeId::AFGH => 899,
            _ => 325,
        };
        let frags = bytes.chunks(length).map(|bytes| {
            let frag = CapsuleFrag::from_bytes(bytes).unwrap();
            frag.verify(&capsule, &policy).unwrap()
        });
        let frags: Vec<_> = frags.collect();
        let identity = IdentitySecret::from_bytes(&self.array("identity")).unwrap();
        let opened = identity.open_reencrypted(&capsule, &frags, &policy, &self.context());
        let opened = opened.map_err(|error| match error {
            OpenError::TooFew { .. } => "too-few",
            OpenError::Duplicate => "duplicate",
            OpenError::Mixed => "mixed",
            OpenError::OtherRecipient => "other-recipient",
            OpenError::Inconsistent => "inconsistent",
            OpenError::SealedKey => "sealed-key",
            other => panic!("{other}"),
        })?;
        assert_eq!(*opened.as_bytes(), self.array("secret"));
        Ok(())
    }
}

fn key_text(error: &KeyTextError) -> String {
    match error {
        KeyTextError::Empty => "empty".to_owned(),
        KeyTextError::Prefix { .. } => "prefix".to_owned(),
        KeyTextError::SecretGiven => "secret-given".to_owned(),
        KeyTextError::PublicGiven => "public-given".to_owned(),
        KeyTextError::MixedCase { position } => format!("mixed-case {position}"),
        KeyTextError::Length { .. } => "length".to_owned(),
        KeyTextError::Character { position, .. } => format!("character {position}"),
        KeyTextError::Typo { positions } => {
            positions.iter().fold("typo".to_owned(), |text, position| {
                format!("{text} {position}")
            })
        }
        KeyTextError::Checksum => "checksum".to_owned(),
        KeyTextError::Key(KeyError::NotAPoint) => "point".to_owned(),
        KeyTextError::Key(KeyError::NotAScalar) => "scalar".to_owned(),
        other => panic!("{other}"),
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
        DecodeError::CapsuleCheck => "check".to_owned(),
        other => panic!("{other}"),
    }
}

fn frag_error(error: FragError) -> String {
    match error {
        FragError::Signature => "signature",
        FragError::Commitment => "commitment",
        FragError::ProofE => "proof-e",
        FragError::Proof => "proof",
        FragError::ProofV => "proof-v",
        FragError::ProofCommitment => "proof-commitment",
        other => panic!("{other}"),
    }
    .to_owned()
}

#[test]
fn every_vector_has_the_outcome_it_states() {
    let checked = check("schemes", Vector::outcome);
    assert!(
        checked.all > 200 && checked.accepted * 10 < checked.all,
        "most vectors are refused"
    );
}
