//! Whether promises hold together, and whether L1 says what they say.

use alloy_consensus::TxReceipt;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::Eip712Domain;
use annex_store::{Snapshot, StoreError};
use annex_types::{
    Origin, Promise,
    promise::{self, SignedPromise},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Promises that may wait for L1; a feed that sends more is cut off at the old end.
const MAX_WAITING: usize = 1 << 20;
/// Promises that later ones are compared with.
const MAX_SEEN: usize = 1 << 15;
/// Gaps that are filled one after the other; of more, the oldest are given up.
const MAX_GAPS: usize = 16;

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Breach {
    #[error("not signed by the leader")]
    Signature,
    #[error("another promise has the same sequence number")]
    Equivocation,
    #[error("does not follow the promise before it")]
    Gap,
    #[error("L1 records another environment for the block")]
    Environment,
    #[error("L1 records other transactions or receipts at that place")]
    Transactions,
}

/// A promise that was broken and, where promises contradict each other, the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub breach: Breach,
    pub promise: Arc<SignedPromise>,
    pub conflicting: Option<Arc<SignedPromise>>,
}

/// Promises that a connection to the feed has missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    lease: U256,
    /// First sequence number missed, and the one after the last.
    sequences: (u64, u64),
    /// The block to ask for next.
    pub next_block: u64,
    /// The last block that may hold some.
    pub last_block: u64,
}

/// Where a promise came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// As it was made.
    Feed,
    /// Asked for later.
    Filling,
}

#[derive(Debug)]
struct Seen {
    digest: B256,
    promise: Arc<SignedPromise>,
}

/// What a leader has promised, of which L1 has not spoken yet or which later promises must agree with.
#[derive(Debug)]
pub(crate) struct Checker {
    domain: Eip712Domain,
    /// Signed by the leader, by lease and sequence number.
    seen: BTreeMap<(U256, u64), Seen>,
    /// The newest one of the feed.
    newest: Option<Arc<SignedPromise>>,
    /// Promises may have been made since, unheard.
    missed: bool,
    gaps: VecDeque<Gap>,
    /// By block number.
    waiting: BTreeMap<u64, Vec<Arc<SignedPromise>>>,
    count: usize,
    /// Promises of the leader that its feed has brought, however often.
    heard: u64,
}

impl Checker {
    pub fn new(domain: Eip712Domain) -> Self {
        Self {
            domain,
            seen: BTreeMap::new(),
            newest: None,
            missed: false,
            gaps: VecDeque::new(),
            waiting: BTreeMap::new(),
            count: 0,
            heard: 0,
        }
    }

    /// How many promises of the leader its feed has brought.
    pub fn heard_so_far(&self) -> u64 {
        self.heard
    }

    /// The feed broke off: what comes next need not follow.
    pub fn disconnected(&mut self) {
        self.missed = true;
    }

    /// Takes a promise in; says at once what is wrong with it beside those before.
    pub fn take(
        &mut self,
        promise: Arc<SignedPromise>,
        leader: Address,
        from: Source,
    ) -> Option<Broken> {
        let broken = |breach, conflicting| {
            let promise = promise.clone();
            Some(Broken { breach, promise, conflicting })
        };
        if promise.signer(&self.domain) != Ok(leader) {
            return broken(Breach::Signature, None);
        }
        let Promise { leaseId, sequence, blockNumber, .. } = promise.promise;
        let digest = promise::digest(&promise.promise, &self.domain);
        let rival = self.seen.get(&(leaseId, sequence));
        if rival.is_some_and(|rival| rival.digest == digest) {
            self.heard(&promise, from);
            return None;
        }
        let rival = rival.map(|rival| rival.promise.clone());
        self.wait(blockNumber, promise.clone());
        if rival.is_some() {
            return broken(Breach::Equivocation, rival);
        }
        let found = self.unlinked(&promise.promise, digest).or_else(|| {
            let stray = from == Source::Feed && !self.missed && !self.follows(&promise.promise);
            stray.then(|| self.newest.clone())
        });
        self.seen.insert((leaseId, sequence), Seen { digest, promise: promise.clone() });
        while self.seen.len() > MAX_SEEN {
            self.seen.pop_first();
        }
        self.heard(&promise, from);
        found.and_then(|conflicting| broken(Breach::Gap, conflicting))
    }

    /// Keeps a promise until L1 has spoken of its block.
    fn wait(&mut self, block: u64, promise: Arc<SignedPromise>) {
        self.waiting.entry(block).or_default().push(promise);
        self.count += 1;
        while self.count > MAX_WAITING {
            let (_, oldest) = self.waiting.pop_first().expect("they are counted");
            self.count -= oldest.len();
        }
    }

    /// The neighbour that a promise does not form a chain with; the first one has none.
    fn unlinked(&self, promise: &Promise, digest: B256) -> Option<Option<Arc<SignedPromise>>> {
        let Promise { leaseId, sequence, previous, .. } = *promise;
        let Some(before) = sequence.checked_sub(1) else {
            return (!previous.is_zero()).then_some(None);
        };
        let before = self.seen.get(&(leaseId, before)).filter(|before| before.digest != previous);
        let after = sequence.checked_add(1).and_then(|after| self.seen.get(&(leaseId, after)));
        let after = after.filter(|after| after.promise.promise.previous != digest);
        before.or(after).map(|neighbour| Some(neighbour.promise.clone()))
    }

    /// Whether a promise of an unbroken feed has the number after the newest one's.
    fn follows(&self, promise: &Promise) -> bool {
        let newest = self.newest.as_ref().map(|newest| &newest.promise);
        newest.is_none_or(|newest| {
            newest.leaseId != promise.leaseId
                || newest.sequence.checked_add(1) == Some(promise.sequence)
        })
    }

    /// Notes the newest promise of the feed, and what was missed before it.
    fn heard(&mut self, promise: &Arc<SignedPromise>, from: Source) {
        if from == Source::Filling {
            return;
        }
        self.heard += 1;
        let place = |promise: &SignedPromise| (promise.promise.leaseId, promise.promise.sequence);
        // Of a replay, what comes next need not follow.
        if self.newest.as_ref().is_some_and(|newest| place(newest) >= place(promise)) {
            return;
        }
        let newest = self.newest.replace(promise.clone());
        if !std::mem::take(&mut self.missed) {
            return;
        }
        let Some(newest) = newest.map(|newest| newest.promise.clone()) else { return };
        let Promise { leaseId: lease, sequence, blockNumber, .. } = promise.promise;
        let first = newest.sequence.saturating_add(1);
        if newest.leaseId == lease && first < sequence {
            self.gaps.push_back(Gap {
                lease,
                sequences: (first, sequence),
                next_block: newest.blockNumber,
                last_block: blockNumber,
            });
            while self.gaps.len() > MAX_GAPS {
                self.gaps.pop_front();
            }
        }
    }

    /// The oldest gap that is not filled.
    pub fn gap(&mut self) -> Option<&mut Gap> {
        while let Some(gap) = self.gaps.front() {
            let missing = self.missing(gap);
            if missing && gap.next_block <= gap.last_block {
                break;
            }
            match missing {
                false => tracing::info!("the promises that the feed had missed are checked"),
                true => tracing::warn!("promises that the feed had missed are not to be had"),
            }
            self.gaps.pop_front();
        }
        self.gaps.front_mut()
    }

    /// Gives the oldest gap up.
    pub fn abandon_gap(&mut self) {
        self.gaps.pop_front();
    }

    /// Whether some of the promises between were not seen. A leader that was started anew may skip numbers, but names the
    /// digest of the promise before.
    fn missing(&self, gap: &Gap) -> bool {
        let (first, end) = gap.sequences;
        let Some(mut after) = self.seen.get(&(gap.lease, end)) else { return true };
        for (_, before) in self.seen.range((gap.lease, 0)..(gap.lease, end)).rev() {
            let (number, next) = (before.promise.promise.sequence, &after.promise.promise);
            if number.checked_add(1) != Some(next.sequence) && before.digest != next.previous {
                return true;
            }
            if number < first {
                return false;
            }
            after = before;
        }
        true
    }

    /// Compares promises about blocks that L1 carries with these blocks, and lets go of them.
    pub fn compare(&mut self, snapshot: &Snapshot, safe: u64) -> Result<Vec<Broken>, StoreError> {
        let mut broken = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > safe {
                break;
            }
            let promises = entry.remove();
            self.count -= promises.len();
            for promise in promises {
                if let Some(breach) = breach(&promise.promise, snapshot)? {
                    broken.push(Broken { breach, promise, conflicting: None });
                }
            }
        }
        Ok(broken)
    }
}

/// What the block of the chain says against a promise about it.
fn breach(promise: &Promise, snapshot: &Snapshot) -> Result<Option<Breach>, StoreError> {
    let number = promise.blockNumber;
    let unknown = StoreError::UnknownBlock(number);
    let Some(block) = snapshot.block(number)? else { return Err(unknown) };
    let header = &block.header;
    let origin = Origin { index: 0, accumulator: promise.origin, env: Default::default() };
    if header.timestamp != promise.timestamp
        || header.beneficiary != promise.beneficiary
        || header.base_fee_per_gas.map(U256::from) != Some(promise.baseFee)
        || header.mix_hash != origin.prev_randao(number)
    {
        return Ok(Some(Breach::Environment));
    }
    let receipts = snapshot.receipts(number)?.ok_or(unknown)?;
    let (first, count) = (promise.firstIndex as usize, promise.count as usize);
    let leaves: Vec<B256> = block
        .transactions
        .iter()
        .zip(&receipts)
        .skip(first)
        .take(count)
        .map(|(tx, receipt)| {
            let receipt = keccak256(receipt.with_bloom_ref().encoded_2718());
            promise::leaf(tx.transaction.hash(), receipt)
        })
        .collect();
    let kept = leaves.len() == count && promise::root(&leaves) == promise.root;
    Ok((!kept).then_some(Breach::Transactions))
}

#[cfg(test)]
mod tests;
