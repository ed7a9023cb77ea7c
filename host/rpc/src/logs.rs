//! `eth_getLogs`.

use crate::api::{Api, sealed_block};
use crate::chain::Chain;
use crate::error::RpcError;
use crate::json::{self, Block};
use crate::limits::Deadline;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

/// The logs of a block that pass the filter, whatever block range it names.
pub(crate) fn matching_logs<'a>(
    block: &'a Block,
    filter: &'a Filter,
) -> impl Iterator<Item = Log> + 'a {
    let logs = block.transactions.iter().flat_map(|tx| json::logs(tx, block.hash));
    logs.filter(|log| filter.matches(&log.inner))
}

impl<C: Chain> Api<C> {
    pub fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let snapshot = self.snapshot()?;
                let number = snapshot.number(hash)?.ok_or(RpcError::UnknownBlock)?;
                self.logs_between(filter, number, number)
            }
            FilterBlockOption::Range { from_block, to_block } => {
                let from = from_block.unwrap_or(BlockNumberOrTag::Latest);
                let to = to_block.unwrap_or(BlockNumberOrTag::Latest);
                let start = match from {
                    BlockNumberOrTag::Pending => self.head()?.saturating_add(1),
                    from => self.sealed_number(from)?,
                };
                let mut logs = match to {
                    BlockNumberOrTag::Number(to) if to < start => {
                        return Err(RpcError::BadRequest("invalid block range params"));
                    }
                    to => self.logs_between(filter, start, self.sealed_number(to)?)?,
                };
                if to == BlockNumberOrTag::Pending {
                    logs.extend(self.pending_logs(filter)?);
                }
                self.check_logs(&logs)?;
                Ok(logs)
            }
        }
    }

    fn check_logs(&self, logs: &[Log]) -> Result<(), RpcError> {
        let most = self.limits.max_logs;
        if logs.len() > most { Err(RpcError::TooManyLogs(most)) } else { Ok(()) }
    }

    fn pending_logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        let pending = self.chain.pending()?;
        let (header, transactions) = (pending.header, pending.transactions);
        let block = Block { hash: B256::ZERO, header, transactions };
        Ok(matching_logs(&block, filter).collect())
    }

    /// Of sealed blocks `from` to `to`.
    pub fn logs_between(&self, filter: &Filter, from: u64, to: u64) -> Result<Vec<Log>, RpcError> {
        let to = to.min(self.head()?);
        if from > to {
            return Ok(Vec::new());
        }
        let most = self.limits.max_log_blocks;
        if to - from >= most {
            return Err(RpcError::TooManyBlocks(most));
        }
        let snapshot = self.snapshot()?;
        let candidates = snapshot
            .blocks_with_logs(from..=to, usize::MAX, |bloom| filter.matches_bloom(*bloom))?;
        let deadline = Deadline::after(self.limits.call_timeout);
        let mut logs = Vec::new();
        for number in candidates {
            deadline.check()?;
            let Some(block) = sealed_block(&snapshot, number)? else { continue };
            logs.extend(matching_logs(&block, filter));
            self.check_logs(&logs)?;
        }
        Ok(logs)
    }
}
