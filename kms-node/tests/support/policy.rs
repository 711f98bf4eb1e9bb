//! A policy as its owner and its recipient handle it: what they send, and what they make of the answers.

use kms_crypto::id::{LabelId, PolicyId, SchemeId, StoreId};
use kms_crypto::key::{DelegatingKey, IdentitySecret, LabelSecret, LedgerKey, PublicKey};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::{Capsule, CapsuleFrag, KeyFrag, LabelContext, encapsulate};
use kms_proto::ledger::{Entry, EntryStatement, Grant, Revoke};
use kms_proto::message::{
    Arrange, Audit, Canary, Command, Query, Reencrypt, RemoveRekey, Response, StoreRekey,
};
use kms_proto::secret::SecretBytes;
use kms_proto::signed::{Address, Signed, Signer};
use serde_bytes::ByteBuf;

pub type Rng = rand_core::UnwrapErr<getrandom::SysRng>;

pub fn rng() -> Rng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

pub struct Policy {
    pub network: &'static str,
    pub now: u64,
    pub params: PolicyParams,
    pub expiry: u64,
    pub threshold: Threshold,
    pub recipient: IdentitySecret,
    pub frags: Vec<KeyFrag>,
    pub capsule: Capsule,
    pub secret: LabelSecret,
    pub label: DelegatingKey,
    pub context: LabelContext,
    author: LedgerKey,
}

impl Policy {
    pub fn new(network: &'static str, now: u64, expiry: u64, m: u8, n: u8) -> Self {
        let rng = &mut rng();
        let (label, author) = (DelegatingKey::generate(rng), LedgerKey::generate(rng));
        let recipient = IdentitySecret::generate(rng);
        let params =
            PolicyParams::new(author.public(), label.public(), recipient.public(), [3; 32]);
        let threshold = Threshold::new(m, n).unwrap();
        let frags = label.split(rng, &params, &author, threshold).unwrap();
        let context = LabelContext {
            store: StoreId([1; 16]),
            label: LabelId([2; 16]),
            epoch: 1,
        };
        let (capsule, secret) =
            encapsulate(rng, SchemeId::SPLIT_ECIES, &label.public(), &context).unwrap();
        Self {
            network,
            now,
            params,
            expiry,
            threshold,
            recipient,
            frags,
            capsule,
            secret,
            label,
            context,
            author,
        }
    }

    /// Another policy for the same label and recipient.
    pub fn sibling(&self, m: u8, n: u8) -> Self {
        let rng = &mut rng();
        let author = LedgerKey::generate(rng);
        let [label, recipient] = [self.label.to_bytes(), self.recipient.to_bytes()];
        let label = DelegatingKey::from_bytes(&label).unwrap();
        let params = PolicyParams {
            ledger_key: author.public(),
            salt: [4; 32],
            ..self.params
        };
        let threshold = Threshold::new(m, n).unwrap();
        Self {
            params,
            threshold,
            recipient: IdentitySecret::from_bytes(&recipient).unwrap(),
            frags: label.split(rng, &params, &author, threshold).unwrap(),
            capsule: self.capsule.clone(),
            secret: LabelSecret::from_bytes(self.secret.as_bytes()),
            label,
            author,
            ..*self
        }
    }

    /// The same policy once more.
    pub fn twin(&self) -> Self {
        let [label, recipient] = [self.label.to_bytes(), self.recipient.to_bytes()];
        let author = LedgerKey::from_bytes(&self.author.to_bytes()).unwrap();
        Self {
            recipient: IdentitySecret::from_bytes(&recipient).unwrap(),
            frags: Vec::new(),
            capsule: self.capsule.clone(),
            secret: LabelSecret::from_bytes(self.secret.as_bytes()),
            label: DelegatingKey::from_bytes(&label).unwrap(),
            author,
            ..*self
        }
    }

    pub fn id(&self) -> PolicyId {
        self.params.id()
    }

    fn sign(&self, node: &PublicKey, command: Command, key: &impl Signer) -> Vec<u8> {
        let to = Address {
            network: self.network,
            node: *node,
            deadline: self.now + 30,
        };
        command.sign(&to, key, &mut rng()).unwrap()
    }

    pub fn arrange(&self, node: &PublicKey) -> Vec<u8> {
        let arrange = Arrange {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            expiry: self.expiry,
            m: self.threshold.needed(),
            n: self.threshold.total(),
        };
        self.sign(node, Command::Arrange(arrange), &self.author)
    }

    pub fn store(&self, node: &PublicKey, index: usize) -> Vec<u8> {
        self.store_bytes(node, index, self.frags[index].to_bytes().to_vec())
    }

    pub fn store_bytes(&self, node: &PublicKey, index: usize, fragment: Vec<u8>) -> Vec<u8> {
        let rekey = StoreRekey {
            params: self.params,
            expiry: self.expiry,
            m: self.threshold.needed(),
            n: self.threshold.total(),
            index: u8::try_from(index).unwrap(),
            fragment: SecretBytes::new(fragment),
        };
        self.sign(node, Command::StoreRekey(rekey), &self.author)
    }

    pub fn reencrypt(&self, node: &PublicKey) -> Vec<u8> {
        self.reencrypt_as(node, &self.recipient, vec![self.capsule.to_bytes()])
    }

    pub fn reencrypt_as(
        &self,
        node: &PublicKey,
        who: &IdentitySecret,
        capsules: Vec<Vec<u8>>,
    ) -> Vec<u8> {
        let capsules = capsules.into_iter().map(ByteBuf::from).collect();
        let request = Reencrypt {
            recipient: who.public(),
            policy: self.id(),
            capsules,
        };
        self.sign(node, Command::Reencrypt(request), who)
    }

    pub fn remove(&self, node: &PublicKey) -> Vec<u8> {
        let remove = RemoveRekey {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
        };
        self.sign(node, Command::RemoveRekey(remove), &self.author)
    }

    pub fn canary(&self, node: &PublicKey) -> Vec<u8> {
        let canary = Canary {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            capsule: ByteBuf::from(self.capsule.to_bytes()),
        };
        self.sign(node, Command::Canary(canary), &self.author)
    }

    pub fn audit(&self, node: &PublicKey) -> Vec<u8> {
        let audit = Audit {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            from: 0,
        };
        self.sign(node, Command::Audit(audit), &self.author)
    }

    fn submit(&self, entry: Entry) -> Vec<u8> {
        let statement = EntryStatement {
            network: self.network.to_owned(),
            entry,
        };
        let signed = Signed::sign(statement, &self.author, &mut rng()).unwrap();
        Query::LedgerSubmit {
            entry: signed.signed().to_bytes(),
        }
        .to_bytes()
    }

    pub fn grant(&self, nodes: Vec<PublicKey>) -> Vec<u8> {
        self.submit(Entry::Grant(Grant {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            expiry: self.expiry,
            m: self.threshold.needed(),
            nodes,
            seq: 1,
            revocation: None,
        }))
    }

    pub fn revoke(&self, epoch: u32) -> Vec<u8> {
        self.submit(Entry::Revoke(Revoke {
            ledger_key: self.author.public(),
            inner: self.params.inner(),
            epoch,
        }))
    }

    /// What m answers are good for: the label's secret.
    pub fn open(&self, answers: &[Response]) -> Option<LabelSecret> {
        let mut frags = Vec::new();
        for answer in answers {
            let Response::Reencrypted { fragments } = answer else {
                return None;
            };
            let bytes = fragments[0].as_ref().ok()?;
            frags.push(
                CapsuleFrag::from_bytes(bytes)
                    .ok()?
                    .verify(&self.capsule, &self.params)
                    .ok()?,
            );
        }
        self.recipient
            .open_reencrypted(&self.capsule, &frags, &self.params, &self.context)
            .ok()
    }
}
