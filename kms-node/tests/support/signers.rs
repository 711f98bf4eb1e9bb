//! A signing key as its owner handles it: what she deals and sends, and what she makes of the answers.

use kms_client::grant::GrantRequest;
use kms_client::revoke::RevokeRequest;
use kms_client::signing::SignRequest;
use kms_client::{Client, NetworkConfig, NodeAddress};
use kms_crypto::id::SchemeId;
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelPublicKey, LedgerKey, PublicKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_proto::ledger::{Entry, EntryStatement, Grant};
use kms_proto::message::{Command, Query, Response, SignCommit, SignShare, StoreRekey};
use kms_proto::secret::SecretBytes;
use kms_proto::signed::{Address, Signed, Signer};
use serde_bytes::ByteBuf;

use crate::devnet::{Devnet, now};
use crate::policy::rng;

pub const MESSAGE: &[u8] = b"pay the ferryman";

/// A client as she has it.
pub async fn client(devnet: &Devnet) -> Client {
    let config = NetworkConfig {
        ledger: devnet.ledger.clone(),
        bootstrap: devnet.bootstrap.clone(),
        ..NetworkConfig::default()
    };
    Client::connect(&config).await.unwrap()
}

pub struct Signers {
    pub owner: IdentitySecret,
    pub now: u64,
    network: &'static str,
    key: DelegatingKey,
    author: LedgerKey,
    params: PolicyParams,
    threshold: Threshold,
    expiry: u64,
    fragments: Vec<Vec<u8>>,
}

impl Signers {
    pub fn new(network: &'static str, expiry: u64, m: u8, n: u8) -> Self {
        let key = DelegatingKey::generate_for(SchemeId::SIGNING, &mut rng()).unwrap();
        let author = LedgerKey::generate(&mut rng());
        let owner = IdentitySecret::generate(&mut rng());
        let params = PolicyParams::new(author.public(), key.public(), owner.public(), [3; 32]);
        let threshold = Threshold::new(m, n).unwrap();
        let fragments = key.split(&mut rng(), &params, &author, threshold).unwrap();
        Self {
            owner,
            now: now(),
            network,
            key,
            author,
            params,
            threshold,
            expiry,
            fragments: fragments.iter().map(|it| it.to_bytes().to_vec()).collect(),
        }
    }

    /// The same some seconds later.
    pub fn later(self, seconds: u64) -> Self {
        Self {
            now: self.now + seconds,
            ..self
        }
    }

    pub fn group(&self) -> PublicKey {
        match self.params.label_key {
            LabelPublicKey::Signing(key) => key,
            other => panic!("{other:?}"),
        }
    }

    pub fn grant_request(&self) -> GrantRequest<'_> {
        GrantRequest {
            delegating_key: &self.key,
            ledger_key: &self.author,
            recipient: self.owner.public(),
            salt: [3; 32],
            threshold: self.threshold,
            expiry: self.expiry,
            epoch: 1,
        }
    }

    pub fn request(&self, nodes: &[NodeAddress]) -> SignRequest {
        SignRequest {
            params: self.params,
            threshold: self.threshold,
            nodes: nodes.to_vec(),
        }
    }

    pub fn revoke_request<'a>(&'a self, nodes: &'a [NodeAddress]) -> RevokeRequest<'a> {
        RevokeRequest {
            ledger_key: &self.author,
            params: self.params,
            threshold: self.threshold,
            nodes,
            epoch: 2,
        }
    }

    pub fn fragment(&self, index: usize) -> Vec<u8> {
        self.fragments[index].clone()
    }

    pub fn store(&self, node: &PublicKey, index: u8, fragment: &[u8]) -> Vec<u8> {
        let rekey = StoreRekey {
            params: self.params,
            expiry: self.expiry,
            m: self.threshold.needed(),
            n: self.threshold.total(),
            index,
            fragment: SecretBytes::new(fragment.to_vec()),
        };
        self.sign(node, Command::StoreRekey(rekey), &self.author)
    }

    pub fn grant(&self, nodes: Vec<PublicKey>) -> Vec<u8> {
        let entry = Entry::Grant(Grant {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            expiry: self.expiry,
            m: self.threshold.needed(),
            nodes,
            seq: 1,
            revocation: None,
        });
        let statement = EntryStatement {
            network: self.network.to_owned(),
            entry,
        };
        let signed = Signed::sign(statement, &self.author, &mut rng()).unwrap();
        let entry = signed.signed().to_bytes();
        Query::LedgerSubmit { entry }.to_bytes()
    }

    pub fn commit(&self, node: &PublicKey, who: &IdentitySecret) -> Vec<u8> {
        let command = SignCommit {
            recipient: who.public(),
            policy: self.params.id(),
        };
        self.sign(node, Command::SignCommit(command), who)
    }

    pub fn share(
        &self,
        node: &PublicKey,
        who: &IdentitySecret,
        message: &[u8],
        signers: &[Vec<u8>],
    ) -> Vec<u8> {
        let command = SignShare {
            recipient: who.public(),
            policy: self.params.id(),
            message: message.to_vec(),
            signers: signers.iter().cloned().map(ByteBuf::from).collect(),
        };
        self.sign(node, Command::SignShare(command), who)
    }

    /// A node's commitment as it stands in the list of signers.
    pub fn signer(&self, index: u8, answer: Response) -> Vec<u8> {
        let Response::Committed(it) = answer else {
            panic!("{answer:?}");
        };
        [&[index], it.commitment.as_slice()].concat()
    }

    /// A signer who does not exist.
    pub fn somebody(&self, index: u8) -> Vec<u8> {
        let points = [(); 2].map(|()| *IdentitySecret::generate(&mut rng()).public().as_bytes());
        [&[index], points.as_flattened()].concat()
    }

    fn sign(&self, node: &PublicKey, command: Command, key: &impl Signer) -> Vec<u8> {
        let to = Address {
            network: self.network,
            node: *node,
            deadline: self.now + 30,
        };
        command.sign(&to, key, &mut rng()).unwrap()
    }
}
