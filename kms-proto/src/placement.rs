//! Which nodes a policy's fragments go to: those that serve long enough, nearest first (WIRE §6).
//!
//! The distance depends on the ledger's head, so that nobody can prepare a node that is near a policy which does not
//! exist yet.

use kms_crypto::{id::PolicyId, kdf, key::PublicKey};

use crate::ledger::NodeRecord;

/// The nodes that serve until `expiry`, nearest to the policy first; `head` is the hash of the ledger's head.
pub fn nearest_first(
    policy: &PolicyId,
    head: &[u8; 32],
    registered: Vec<NodeRecord>,
    expiry: u64,
) -> Vec<NodeRecord> {
    let target = kdf::hash("kms/placement/1", &[policy.as_bytes(), head]);
    let distance = |key: &PublicKey| {
        let mut distance = kdf::hash("kms/placement-node/1", &[key.as_bytes()]);
        distance
            .iter_mut()
            .zip(target)
            .for_each(|(byte, other)| *byte ^= other);
        distance
    };
    let mut nodes = registered;
    nodes.retain(|it| it.available_until >= expiry);
    nodes.sort_by_cached_key(|it| distance(&it.key));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::key::NodeSecret;

    #[test]
    fn another_head_is_another_order_and_who_leaves_early_is_not_in_it() {
        let rng = &mut rand_core::UnwrapErr(getrandom::SysRng);
        let nodes: Vec<_> = (0..30_u64)
            .map(|number| NodeRecord {
                key: NodeSecret::generate(rng).public(),
                available_until: 100 + number,
                addrs: Vec::new(),
                seq: 1,
            })
            .collect();
        let order = |head: u8| nearest_first(&PolicyId([1; 32]), &[head; 32], nodes.clone(), 110);
        let (first, second) = (order(1), order(2));
        assert_eq!(first.len(), 20);
        assert!(first.iter().all(|it| it.available_until >= 110));
        assert_ne!(first, second);
        assert_eq!(first, order(1));
    }
}
