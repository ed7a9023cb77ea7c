//! Withdrawals that can be sold, by hash, for quotes: the event names the hash in its data, where no index looks.

use crate::{chain::L2, progress};
use alloy_primitives::{Address, B256, BloomInput};
use annex_l1::{exit_market, withdrawal::Withdrawal};
use annex_store::StoreError;
use annex_types::predeploys;
use std::collections::{HashMap, VecDeque};

/// Withdrawals that are remembered; the newest.
const MAX_KNOWN: usize = 16_384;
/// Blocks whose receipts are read at once.
const PAGE: usize = 256;

/// Withdrawals of safe blocks, beginning after what was settled when it was made. What a reorganisation takes away stays:
/// whoever gets one from here asks the state whether it is true.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The next block to read; zero: none was read.
    next: u64,
    reorgs: u64,
    known: HashMap<B256, Withdrawal>,
    /// The oldest first.
    order: VecDeque<B256>,
}

impl Directory {
    pub fn get(&self, hash: B256) -> Option<Withdrawal> {
        self.known.get(&hash).cloned()
    }

    /// Reads the blocks that became safe.
    pub fn update(&mut self, l2: &L2, market: Address, settled: u64) -> Result<(), StoreError> {
        let reorgs = l2.progress.reorgs();
        if self.next == 0 || reorgs != self.reorgs {
            (self.next, self.reorgs) = (settled + 1, reorgs);
        }
        let snapshot = l2.store.snapshot()?;
        let safe = progress::derived(&snapshot)?.safe;
        let sender = predeploys::L2_TO_L1_MESSAGE_PASSER;
        while self.next <= safe {
            let blocks = snapshot.blocks_with_logs(self.next..=safe, PAGE, |bloom| {
                bloom.contains_input(BloomInput::Raw(sender.as_slice()))
                    && bloom.contains_input(BloomInput::Raw(market.into_word().as_slice()))
            })?;
            for number in &blocks {
                for receipt in snapshot.receipts(*number)?.unwrap_or_default() {
                    let found = receipt.logs.iter().filter_map(Withdrawal::from_log);
                    for withdrawal in found {
                        if exit_market::seller(&withdrawal, market).is_some() {
                            self.insert(withdrawal);
                        }
                    }
                }
            }
            self.next = match blocks.last() {
                Some(last) if blocks.len() == PAGE => last + 1,
                _ => safe + 1,
            };
        }
        Ok(())
    }

    fn insert(&mut self, withdrawal: Withdrawal) {
        let hash = withdrawal.hash();
        if self.known.insert(hash, withdrawal).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
