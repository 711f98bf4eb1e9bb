//! Writing: an entry becomes a transaction, which is sent until the chain shows it (LEDGER §5.4.3).
//!
//! Whether it was written is never taken from a receipt but read from the chain, as everybody else reads it. So sending
//! twice, by this node or by another, is harmless: the contract takes an entry once. It is not free, though, so what was
//! sent is remembered, and replaced rather than sent beside.

mod deploy;
mod mend;
mod pace;

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use kms_proto::ledger::{
    Cost, Entry, LedgerError, Prepared, Receipt, SignedEntry, VerifiedEntry, entry_hash,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    Account, EvmLedger,
    account::{Transaction, keccak},
    contract,
    entry::{self, Promise},
    follow::{FollowError, Source},
    hex,
    rpc::Fault,
};

pub use deploy::{DeployError, Deployed, deploy};
pub(crate) use mend::Mending;
pub(crate) use pace::Pace;

/// After which time a transaction that was not even taken is sent again: another of this account had its number.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How often to look whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a revocation waits for others that are to be written with it.
const GATHER: Duration = Duration::from_millis(50);
/// How many revocations one transaction carries.
const TOGETHER: usize = 100;
/// How many transactions are remembered, and for how long at least.
const REMEMBERED: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
const MAX_GAS: u64 = 15_000_000;
const GWEI: u64 = 1_000_000_000;

/// An entry did not get into the chain in time.
#[derive(Debug, thiserror::Error)]
#[error("the chain has not taken and confirmed the entry in time; repeating it is safe")]
struct NotInTime;

/// A transaction on its way.
#[derive(Clone)]
struct Sent {
    nonce: u64,
    hash: [u8; 32],
    /// What it carries, by its hash, and the most gas that may take.
    carries: [u8; 32],
    gas: u64,
    /// How many times its fee was raised.
    raised: u32,
    at: Instant,
    /// Whether the provider has it.
    taken: bool,
}

/// A revocation by the secret that is to be written, and the transaction that somebody has sent for it.
pub(crate) struct Waiting {
    call: Vec<u8>,
    sent: Arc<Mutex<Option<Sent>>>,
}

/// Transactions that were sent lately, by the entry they carry.
#[derive(Default)]
pub(crate) struct SentLately(HashMap<[u8; 32], Sent>);

impl SentLately {
    fn get(&self, entry: &VerifiedEntry) -> Option<Sent> {
        self.0.get(&entry_hash(entry.signed().claim())).cloned()
    }

    fn note(&mut self, entry: &VerifiedEntry, sent: Sent) {
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, it| it.at.elapsed() < REMEMBERED_FOR);
        }
        self.0.insert(entry_hash(entry.signed().claim()), sent);
    }
}

enum Standing {
    Absent,
    Unconfirmed,
    There(u64),
}

impl EvmLedger {
    pub(crate) fn send_entry(&self, entry: &SignedEntry) -> Result<Receipt, LedgerError> {
        let account = self.account.as_ref().ok_or(LedgerError::ReadOnly)?;
        let entry = entry.admit(&self.network)?;
        let mut standing = self.standing(&entry, Duration::ZERO)?;
        if let Standing::There(height) = standing {
            return Ok(Receipt { height });
        }
        let pace = self.pace();
        let deadline = Instant::now() + pace.patience(&entry.entry);
        // An earlier call may have given up on one that is still on its way.
        let mut sent = self.sent.lock().get(&entry);
        let mut was_there = false;
        let mut refused = None;
        loop {
            match standing {
                Standing::There(height) => return Ok(Receipt { height }),
                Standing::Unconfirmed => was_there = true,
                Standing::Absent
                    if !was_there && sent.as_ref().is_some_and(|it| !self.is_over(it, pace)) => {}
                Standing::Absent => match self.send(account, &entry, sent.clone()) {
                    Ok(it) => {
                        self.sent.lock().note(&entry, it.clone());
                        (sent, was_there) = (Some(it), false);
                    }
                    // Somebody else may have carried the very same entry meanwhile.
                    Err(LedgerError::Refused(refusal)) => {
                        // What the provider had in mind when it refused may be in no block yet.
                        let first = *refused.get_or_insert_with(Instant::now);
                        let there =
                            !matches!(self.standing(&entry, Duration::ZERO)?, Standing::Absent);
                        if !there && first.elapsed() >= pace.seen_within() {
                            return Err(refusal.into());
                        }
                    }
                    Err(error) => return Err(error),
                },
            }
            if Instant::now() >= deadline {
                return Err(LedgerError::Unavailable(Box::new(NotInTime)));
            }
            thread::sleep(pace.look_again());
            standing = match self.standing(&entry, pace.look_again() / 2) {
                // It is on its way: whether it arrived is known when somebody answers again.
                Err(LedgerError::Unavailable(_)) if sent.is_some() => Standing::Unconfirmed,
                standing => standing?,
            };
        }
    }

    /// Where the chain has the entry. A revocation is there as soon as it is seen.
    /// Many that wait at the same time need not all ask: what was read not longer ago than `age` will do.
    fn standing(&self, entry: &VerifiedEntry, age: Duration) -> Result<Standing, LedgerError> {
        self.with_view_of(age, |view| {
            let now = (self.clock)();
            let at_once = entry.entry.revoked().is_some();
            match view.latest().prepare(entry.clone(), now)? {
                Prepared::New(_) => Ok(Standing::Absent),
                Prepared::Known { height } => {
                    let confirmed = height <= view.confirmed().head().height;
                    Ok(if at_once || confirmed {
                        Standing::There(height)
                    } else {
                        Standing::Unconfirmed
                    })
                }
            }
        })
    }

    /// Whether waiting for a transaction is of no more use: it failed, or takes too long.
    fn is_over(&self, sent: &Sent, pace: Pace) -> bool {
        if !sent.taken {
            return sent.at.elapsed() >= TRY_AGAIN;
        }
        let failed = self.ask(|source| {
            let receipt = source.receipt(&sent.hash)?;
            Ok(receipt.get("status").and_then(Value::as_str) == Some("0x0"))
        });
        failed.unwrap_or(false) || sent.at.elapsed() >= pace.send_again()
    }

    fn send(
        &self,
        account: &Account,
        entry: &VerifiedEntry,
        before: Option<Sent>,
    ) -> Result<Sent, LedgerError> {
        let promise = self.promise(entry)?;
        let data = entry::call(entry.signed(), promise)?;
        if matches!(entry.entry, Entry::Release(_)) {
            return self.send_with_others(account, data, before);
        }
        let _turn = self.turn.lock();
        self.send_call(account, &data, before.as_ref())
    }

    /// Writes a revocation together with all that wait at the same time: one transaction costs much less than many.
    fn send_with_others(
        &self,
        account: &Account,
        call: Vec<u8>,
        before: Option<Sent>,
    ) -> Result<Sent, LedgerError> {
        let sent = Arc::default();
        self.waiting.lock().push(Waiting {
            call: call.clone(),
            sent: Arc::clone(&sent),
        });
        thread::sleep(GATHER);
        let _turn = self.turn.lock();
        // Whoever had his turn before may have taken this one along.
        if let Some(sent) = sent.lock().take() {
            return Ok(sent);
        }
        let mut all = mem::take(&mut *self.waiting.lock());
        let of_others = |it: &Waiting| !Arc::ptr_eq(&it.sent, &sent);
        all.retain(of_others);
        let later = all.split_off(all.len().min(TOGETHER - 1));
        self.waiting.lock().extend(later);
        if !all.is_empty() {
            let mut together = call.clone();
            // The function is named once.
            let others = all.iter().map(|it| it.call.get(4..).unwrap_or_default());
            others.for_each(|arguments| together.extend_from_slice(arguments));
            // The contract takes all or none. If one is no longer needed, each goes alone.
            if let Ok(sent) = self.send_call(account, &together, before.as_ref()) {
                tracing::debug!(revocations = all.len() + 1, "written together");
                all.iter()
                    .for_each(|it| *it.sent.lock() = Some(sent.clone()));
                return Ok(sent);
            }
        }
        self.send_call(account, &call, before.as_ref())
    }

    fn send_call(
        &self,
        account: &Account,
        data: &[u8],
        before: Option<&Sent>,
    ) -> Result<Sent, LedgerError> {
        self.ask(|source| {
            let outlay = Outlay {
                chain_id: self.name.chain_id,
                max_fee_gwei: self.name.max_fee_gwei,
                to: &self.name.contract,
                data,
            };
            outlay.send(source, account, before)
        })
    }

    /// What it costs to write an entry now, whoever pays.
    pub(crate) fn estimate(&self, entry: &SignedEntry) -> Result<Cost, LedgerError> {
        let data = entry::call(entry, Promise::Kept)?;
        self.ask(|source| {
            let outlay = Outlay {
                chain_id: self.name.chain_id,
                max_fee_gwei: self.name.max_fee_gwei,
                to: &self.name.contract,
                data: &data,
            };
            let gas = outlay.estimate(source, &hex::bytes(&[0; 20]))?;
            let (tip, _) = outlay.fees(source, 0)?;
            let price = u128::from(source.head()?.base_fee).saturating_add(tip);
            Ok(Cost {
                gas,
                wei: price.saturating_mul(gas.into()),
            })
        })
    }

    fn promise(&self, entry: &VerifiedEntry) -> Result<Promise, LedgerError> {
        let Entry::RegisterNode(it) = &entry.entry else {
            return Ok(Promise::Kept);
        };
        self.with_view_of(Duration::ZERO, |view| {
            let nodes = view.latest().nodes();
            let known = nodes.iter().find(|node| node.key == it.key);
            Ok(match known {
                Some(known) if it.available_until < known.available_until => Promise::Shortened,
                _ => Promise::Kept,
            })
        })
    }
}

/// What is sent, and what it may cost.
struct Outlay<'a> {
    chain_id: u64,
    max_fee_gwei: u64,
    to: &'a [u8],
    data: &'a [u8],
}

impl Outlay<'_> {
    fn send(
        &self,
        source: &Source<'_>,
        account: &Account,
        before: Option<&Sent>,
    ) -> Result<Sent, FollowError> {
        let address = hex::bytes(account.address());
        let count = |block: &str| {
            let count = source
                .provider
                .ask("eth_getTransactionCount", &json!([&address, block]))?;
            hex::read_number(&count)
        };
        // What was sent before and is not in the chain is replaced, unless its number has been used otherwise.
        let replaced = match before.filter(|it| it.taken) {
            Some(before) if count("latest")? <= before.nonce => Some(before),
            _ => None,
        };
        // A reorganisation may have taken those before it as well: behind a gap it would wait for ever.
        let next = count("pending")?;
        let nonce = replaced.map_or(next, |before| before.nonce.min(next));
        let carries = keccak(&[self.data]);
        // A provider may reckon with what waits, and then refuses the same again: what replaces it is not asked about.
        let gas = match replaced {
            Some(before) if before.carries == carries => before.gas,
            _ => self.gas(source, &address)?,
        };
        let raised = replaced.map_or(0, |before| before.raised.saturating_add(1));
        let (priority_fee, max_fee) = self.fees(source, raised)?;
        let transaction = Transaction {
            chain_id: self.chain_id,
            nonce,
            priority_fee,
            max_fee,
            gas,
            to: self.to,
            data: self.data,
        };
        let (bytes, hash) = account.sign(&transaction);
        let taken = match source
            .provider
            .ask("eth_sendRawTransaction", &json!([hex::bytes(&bytes)]))
        {
            Ok(_) => true,
            Err(Fault::Refused { message, .. }) if is_known(&message) => true,
            // There is one on its way, or its number was taken meanwhile: to be looked at again.
            Err(Fault::Refused { message, .. }) if is_passing(&message) => {
                tracing::debug!(message, "a transaction was not taken");
                false
            }
            Err(fault) => return Err(fault.into()),
        };
        Ok(Sent {
            nonce,
            hash,
            carries,
            gas,
            raised,
            at: Instant::now(),
            taken,
        })
    }

    /// The most gas it may take.
    fn gas(&self, source: &Source<'_>, from: &str) -> Result<u64, FollowError> {
        let gas = self.estimate(source, from)?;
        Ok(gas.saturating_add(gas / 4).min(MAX_GAS))
    }

    /// The gas it takes now. What the contract refuses is known here already, and costs nothing.
    fn estimate(&self, source: &Source<'_>, from: &str) -> Result<u64, FollowError> {
        let mut call = json!({ "from": from, "data": hex::bytes(self.data) });
        if !self.to.is_empty() {
            call["to"] = json!(hex::bytes(self.to));
        }
        match source.provider.ask("eth_estimateGas", &json!([call])) {
            Ok(gas) => Ok(hex::read_number(&gas)?),
            Err(Fault::Refused { message, data }) => match contract::refusal(&data) {
                Some(refusal) => Err(LedgerError::from(refusal).into()),
                None => Err(Fault::Refused { message, data }.into()),
            },
            Err(fault) => Err(fault.into()),
        }
    }

    fn fees(&self, source: &Source<'_>, raised: u32) -> Result<(u128, u128), Fault> {
        let base = source.head()?.base_fee;
        let limit = u128::from(self.max_fee_gwei) * u128::from(GWEI);
        if u128::from(base) > limit {
            return Err(Fault::TooDear { gwei: base / GWEI });
        }
        let tip = match source.provider.ask("eth_maxPriorityFeePerGas", &json!([])) {
            Ok(tip) => hex::read_number(&tip)?,
            Err(Fault::Refused { .. }) => GWEI,
            Err(fault) => return Err(fault),
        };
        // A replacement is taken only for clearly more.
        let scale = |fee: u128| (0..raised.min(8)).fold(fee, |fee, _| fee + fee / 4 + 1);
        let tip = scale(u128::from(tip)).min(limit);
        let max_fee = scale(u128::from(base) * 2 + tip).min(limit).max(tip);
        Ok((tip, max_fee))
    }
}

/// Whether a provider has this very transaction already.
fn is_known(message: &str) -> bool {
    says(message, &["already known", "already imported"])
}

/// Whether a provider's refusal of a transaction passes by itself.
fn is_passing(message: &str) -> bool {
    says(message, &["nonce too low", "underpriced"])
}

fn says(message: &str, any: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    any.iter().any(|words| message.contains(words))
}

impl Source<'_> {
    /// A transaction's receipt, or null.
    fn receipt(&self, hash: &[u8; 32]) -> Result<Value, Fault> {
        let hash = json!([hex::bytes(hash)]);
        self.provider.ask("eth_getTransactionReceipt", &hash)
    }
}

#[cfg(test)]
mod tests;
