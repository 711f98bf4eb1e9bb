//! Signing at a node: the two rounds (WIRE §3.2, SCHEMES §14.3). Whether a policy is served is decided as for re-encryption.

use kms_crypto::id::PolicyId;
use kms_crypto::scheme::VerifiedKeyFrag;
use kms_crypto::scheme::signing::{self, Commitment};
use kms_proto::message::{Committed, Refusal, Response, SignCommit, SignShare};
use serde_bytes::ByteBuf;
use tokio::time::Instant;

use super::Node;
use crate::rng;
use crate::store::Fragment;

impl Node {
    /// Draws nonces, and says what may be known of them.
    pub(super) fn sign_commit(&self, request: &SignCommit) -> Result<Response, Refusal> {
        let held = self.held_for(&request.policy, &request.recipient)?;
        let share = self.signing_share(&request.policy, held)?;
        let (nonces, commitment) = share.commit(&mut rng());
        let now = Instant::now();
        if !self.nonces.keep(request.policy, commitment, nonces, now) {
            return Err(Refusal::Busy);
        }
        Ok(Response::Committed(Committed {
            commitment: ByteBuf::from(commitment.as_bytes()),
            split: ByteBuf::from(share.split().to_bytes()),
        }))
    }

    /// Gives this node's part of a signature; notes that it was asked for.
    pub(super) fn sign_share(&self, request: &SignShare) -> Result<Response, Refusal> {
        let held = self.held_for(&request.policy, &request.recipient)?;
        let his = held.is_ok();
        let answer = self.sign_with(request, held);
        if his {
            self.note_use(&request.policy, &request.recipient, &answer, (1, None));
        }
        answer
    }

    fn sign_with(
        &self,
        request: &SignShare,
        held: Result<Fragment, Refusal>,
    ) -> Result<Response, Refusal> {
        let share = self.signing_share(&request.policy, held)?;
        let signers = request.signers.iter().map(|it| {
            let (index, commitment) = it.split_first().ok_or(Refusal::BadRequest)?;
            let commitment = Commitment::from_bytes(commitment);
            Ok((*index, commitment.map_err(|_| Refusal::BadRequest)?))
        });
        let signers: Vec<_> = signers.collect::<Result<_, Refusal>>()?;
        let own = signers.iter().find(|(index, _)| *index == share.index());
        let (_, own) = own.ok_or(Refusal::BadRequest)?;
        // From here on nobody else has them, and whatever comes of this they are gone.
        let nonces = self.nonces.take(&request.policy, own, Instant::now());
        let nonces = nonces.ok_or(Refusal::UnknownNonces)?;
        let part = share
            .sign(nonces, &request.message, &signers)
            .map_err(|_| Refusal::BadRequest)?;
        tracing::debug!(policy = ?request.policy, "signed");
        Ok(Response::SignedShare {
            share: ByteBuf::from(part),
        })
    }

    /// This node's share of a group key, if the policy lives.
    fn signing_share(
        &self,
        policy: &PolicyId,
        held: Result<Fragment, Refusal>,
    ) -> Result<signing::VerifiedKeyFrag, Refusal> {
        match self.served(policy, held)? {
            VerifiedKeyFrag::Signing(share) => Ok(share),
            _ => Err(Refusal::BadRequest),
        }
    }
}
