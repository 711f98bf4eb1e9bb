//! The storage key kept by other nodes: the node is owner and recipient of a policy about its own key (NODE §4).
//!
//! The delegating key is forgotten as soon as it is split. Who takes the disk can ask the nodes as this node does, until
//! the operator revokes the policy; after that the disk is worth nothing.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use kms_client::connect::DhtName;
use kms_client::{
    Client, ClientError, GrantRequest, KeyRequest, NetworkConfig, NodeAddress, RevokeRequest,
};
use kms_crypto::aead::{WRAPPED_LEN, unwrap_key, wrap_key};
use kms_crypto::id::{LabelId, StoreId};
use kms_crypto::kdf::derive32;
use kms_crypto::key::{
    DelegatingKey, IdentitySecret, LabelSecret, LedgerKey, NodeSecret, PublicKey,
};
use kms_crypto::policy::{PolicyParams, Threshold};
use kms_crypto::scheme::{LabelContext, encapsulate};
use kms_ledger::dht::Quorum;
use kms_ledger::{LedgerUrl, parse_url};
use kms_proto::codec;
use kms_proto::ledger::PolicyState;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use super::{Source, SourceError, replace};
use crate::config::Config;
use crate::keyfile::StorageKey;
use crate::rng;

/// What is known of a key that others keep: the file `storage.kms`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Kept {
    version: u16,
    params: PolicyParams,
    needed: u8,
    total: u8,
    made: u64,
    /// When the policy ends, Unix seconds.
    pub expiry: u64,
    nodes: Vec<NodeAddress>,
    capsule: ByteBuf,
    store: StoreId,
    label: LabelId,
    ledger_key: ByteArray<32>,
    wrapped: ByteArray<WRAPPED_LEN>,
}

const VERSION: u16 = 1;
const MAX_BYTES: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const ASKED_AT_ONCE: usize = 16;
/// Nodes may stop serving a moment before they have promised; this much is kept from their promise.
const MARGIN_SECONDS: u64 = 60;

impl Kept {
    /// Reads the file.
    pub fn read(config: &Config) -> Result<Self, SourceError> {
        let path = Source::Kms.path(config);
        let bytes = std::fs::read(&path).map_err(SourceError::io(&path))?;
        match codec::decode::<Self>(&bytes, MAX_BYTES) {
            Ok(kept) if kept.version == VERSION => Ok(kept),
            _ => Err(SourceError::Damaged(path)),
        }
    }

    /// How many nodes of how many.
    pub fn threshold(&self) -> Option<Threshold> {
        Threshold::new(self.needed, self.total).ok()
    }

    /// Whether half of its time is over.
    pub const fn wants_renewal(&self, now: u64) -> bool {
        now >= self
            .made
            .saturating_add(self.expiry.saturating_sub(self.made) / 2)
    }

    fn context(&self) -> LabelContext {
        LabelContext {
            store: self.store,
            label: self.label,
            epoch: FIRST_EPOCH,
        }
    }

    /// What to ask the nodes for.
    pub fn request(&self) -> Option<KeyRequest> {
        Some(KeyRequest {
            params: self.params,
            threshold: self.threshold()?,
            nodes: self.nodes.clone(),
            capsule: KeyRequest::parse_capsule(&self.capsule).ok()?,
            context: self.context(),
        })
    }
}

const FIRST_EPOCH: u32 = 1;

/// A client of the node's own network.
pub async fn client(config: &Config) -> Result<Client, SourceError> {
    let network = NetworkConfig {
        network: config.network.clone(),
        ledger: config.ledger.clone(),
        bootstrap: config.bootstrap.clone(),
        ..NetworkConfig::default()
    };
    Ok(Client::connect(&network).await?)
}

/// Fetches the key. Waits as long as too few nodes answer; each try says why in the log.
pub(super) async fn fetch(config: &Config, secret: &NodeSecret) -> Result<StorageKey, SourceError> {
    let path = Source::Kms.path(config);
    let damaged = || SourceError::Damaged(path.clone());
    let kept = Kept::read(config)?;
    let request = kept.request().ok_or_else(damaged)?;
    let identity = IdentitySecret::from_bytes(&secret.to_bytes()).map_err(|_| damaged())?;
    let client = client(config).await?;
    let mut pause = FIRST_PAUSE;
    let label = loop {
        match client.decrypt_key(&request, &identity).await {
            Ok(label) => break label,
            Err(error) if is_final(&error) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "waiting for the nodes that keep the storage key");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    };
    let kek = kek(&label);
    let key = unwrap_key(&kek, &ad(&secret.public()), &kept.wrapped).map_err(|_| damaged())?;
    Ok(StorageKey::from_bytes(&key))
}

/// Whether no waiting helps.
const fn is_final(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Revoked { .. }
            | ClientError::Expired { .. }
            | ClientError::NotGranted
            | ClientError::BadRequest(_)
            | ClientError::Open(_)
    )
}

/// Gives the key to other nodes, in place of whatever they had of it before.
pub(super) async fn keep(
    config: &Config,
    secret: &NodeSecret,
    key: &StorageKey,
) -> Result<(), SourceError> {
    let client = client(config).await?;
    let path = Source::Kms.path(config);
    let before = Kept::read(config).ok();
    let kept = give(&client, config, secret, key).await?;
    if let Err(error) = replace(&path, &codec::encode(&kept)) {
        // Nobody will ever know of it.
        end(&client, &kept).await;
        return Err(error);
    }
    tracing::info!(policy = ?kept.params.id(), expiry = kept.expiry, "other nodes keep the storage key");
    if let Some(before) = before {
        end(&client, &before).await;
    }
    Ok(())
}

/// Makes a policy about the key.
async fn give(
    client: &Client,
    config: &Config,
    secret: &NodeSecret,
    key: &StorageKey,
) -> Result<Kept, SourceError> {
    let threshold = config.key_threshold;
    let me = secret.public();
    let clock = kms_ledger::system_clock();
    let made = clock();
    let chosen = eligible(client, config, &me, made).await?;
    let expiry = chosen
        .until
        .min(made.saturating_add(config.key_lifetime.as_secs()));
    let delegating = DelegatingKey::generate(&mut rng());
    let ledger_key = LedgerKey::generate(&mut rng());
    let mut salt = [0; 32];
    rand_core::Rng::fill_bytes(&mut rng(), &mut salt);
    let context = LabelContext {
        store: StoreId::random(&mut rng()),
        label: LabelId::random(&mut rng()),
        epoch: FIRST_EPOCH,
    };
    let request = GrantRequest {
        delegating_key: &delegating,
        ledger_key: &ledger_key,
        recipient: me,
        salt,
        threshold,
        expiry,
        epoch: FIRST_EPOCH,
    };
    let public = delegating.public();
    let (capsule, label) = encapsulate(&mut rng(), public.scheme(), &public, &context)
        .map_err(|error| ClientError::from(kms_client::RequestError::Split(error)))?;
    let grant = client
        .grant_among(&request, |node| chosen.nodes.contains(node))
        .await?;
    Ok(Kept {
        version: VERSION,
        params: grant.params,
        needed: threshold.needed(),
        total: threshold.total(),
        made,
        expiry,
        nodes: grant.nodes,
        capsule: ByteBuf::from(capsule.to_bytes()),
        store: context.store,
        label: context.label,
        ledger_key: ByteArray::new(*ledger_key.to_bytes()),
        wrapped: ByteArray::new(wrap_key(&kek(&label), &ad(&me), key.as_bytes())),
    })
}

struct Eligible {
    nodes: HashSet<PublicKey>,
    /// Until when n of them serve.
    until: u64,
}

/// Nodes of which any n contain m that need nobody else to start.
async fn eligible(
    client: &Client,
    config: &Config,
    me: &PublicKey,
    now: u64,
) -> Result<Eligible, SourceError> {
    let threshold = config.key_threshold;
    let registered = client.nodes().await?;
    let others = registered
        .into_iter()
        .filter(|it| it.key != *me && it.available_until > now.saturating_add(MARGIN_SECONDS));
    let asked = futures::stream::iter(others).map(|record| async move {
        let until = record.available_until;
        let node = NodeAddress::from(record);
        let status = client.node_status(&node).await.ok()?;
        Some((node.key, until, status.own_key))
    });
    let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
    let (mut own, dependent): (Vec<_>, Vec<_>) =
        answers.into_iter().flatten().partition(|(_, _, own)| *own);
    let m = usize::from(threshold.needed());
    let n = usize::from(threshold.total());
    if own.len() < m {
        return Err(SourceError::Dependent {
            threshold,
            own: own.len(),
        });
    }
    check_keepers(config, me, &own.iter().map(|(key, _, _)| *key).collect())?;
    // With at most n - m of the others among them, any n nodes have m of their own.
    own.extend(dependent.into_iter().take(n - m));
    let mut ends: Vec<u64> = own.iter().map(|(_, until, _)| *until).collect();
    ends.sort_unstable_by(|a, b| b.cmp(a));
    let until = ends.get(n.saturating_sub(1)).copied();
    Ok(Eligible {
        nodes: own.into_iter().map(|(key, _, _)| key).collect(),
        until: until.unwrap_or(u64::MAX),
    })
}

/// A node that waits for its key keeps no ledger meanwhile: if this one keeps it, enough others must do so without help.
fn check_keepers(
    config: &Config,
    me: &PublicKey,
    own: &HashSet<PublicKey>,
) -> Result<(), SourceError> {
    let Ok(LedgerUrl::Dht(place)) = parse_url(&config.ledger) else {
        return Ok(());
    };
    // That it parses was seen when the client connected.
    let Ok(name) = DhtName::parse(&place, &config.bootstrap) else {
        return Ok(());
    };
    let (keepers, quorum) = (name.keepers, name.quorum);
    let needed = Quorum::of(keepers.len(), quorum).map_or(keepers.len(), Quorum::read);
    let starters = keepers.iter().filter(|it| own.contains(&it.key)).count();
    if keepers.iter().any(|it| it.key == *me) && starters < needed {
        return Err(SourceError::KeepsLedger {
            needed,
            own: starters,
        });
    }
    Ok(())
}

/// Gives the key away anew when half of the policy's time is over, and, if it `looks`, when too many of those who keep it
/// are gone, or need others themselves now: when this node starts again, it may be too late.
pub async fn renew(
    config: &Config,
    secret: &NodeSecret,
    key: &StorageKey,
    looks: bool,
) -> Result<(), SourceError> {
    let kept = Kept::read(config)?;
    let in_time = !kept.wants_renewal(kms_ledger::system_clock()());
    if in_time && (!looks || is_safe(config, &kept).await?) {
        return Ok(());
    }
    keep(config, secret, key).await
}

/// Whether at least half of the nodes that may fail are still there, and enough of all could be the first to start.
async fn is_safe(config: &Config, kept: &Kept) -> Result<bool, SourceError> {
    let client = client(config).await?;
    let Some(threshold) = kept.threshold() else {
        return Ok(false);
    };
    let (needed, total) = (
        usize::from(threshold.needed()),
        usize::from(threshold.total()),
    );
    let PolicyState::Live(grant) = client.fresh_policy_state(&kept.params.id()).await? else {
        return Ok(false);
    };
    let registered = client.nodes().await?;
    let holders = registered
        .into_iter()
        .filter(|it| grant.nodes.contains(&it.key));
    let asked = futures::stream::iter(holders).map(|record| async {
        let node = NodeAddress::from(record);
        client.node_status(&node).await.ok().map(|it| it.own_key)
    });
    let there: Vec<bool> = asked
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let own = there.iter().filter(|own| **own).count();
    let spare = there.len().checked_sub(needed);
    let safe = own >= needed && spare.is_some_and(|spare| 2 * spare >= total - needed);
    if !safe {
        tracing::warn!(there = there.len(), own, %threshold, "too few nodes are left that keep the storage key");
    }
    Ok(safe)
}

/// Ends the policy that is in use, as far as that is possible now.
pub(super) async fn revoke(config: &Config) {
    match (client(config).await, Kept::read(config)) {
        (Ok(client), Ok(kept)) => end(&client, &kept).await,
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "the old policy about the storage key could not be revoked");
        }
    }
}

async fn end(client: &Client, kept: &Kept) {
    let (Ok(ledger_key), Some(threshold)) =
        (LedgerKey::from_bytes(&kept.ledger_key), kept.threshold())
    else {
        return;
    };
    let request = RevokeRequest {
        ledger_key: &ledger_key,
        params: kept.params,
        threshold,
        nodes: &kept.nodes,
        epoch: FIRST_EPOCH + 1,
    };
    if let Err(error) = client.revoke(&request).await {
        tracing::warn!(%error, "the old policy about the storage key could not be revoked");
    }
}

fn kek(label: &LabelSecret) -> zeroize::Zeroizing<[u8; 32]> {
    derive32(label.as_bytes(), "kms/node-storage-kek/1", &[])
}

fn ad(node: &PublicKey) -> [&[u8]; 2] {
    [b"kms/node-storage-key/1", node.as_bytes()]
}
