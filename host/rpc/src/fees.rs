//! `eth_gasPrice` and its kin.

use crate::api::{Api, sealed_block};
use crate::chain::Chain;
use crate::error::RpcError;
use crate::json;
use alloy_consensus::Transaction as _;
use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::FeeHistory;

/// Percentiles one `eth_feeHistory` may ask for, as in go-ethereum.
const MAX_PERCENTILES: usize = 100;
/// Suggested tip on L1: 1 gwei, as Anvil's.
const TIP_L1: u128 = 1_000_000_000;
/// Suggested tip on L2: 0.001 gwei. The order is first come, first served, so no more is needed.
const TIP_L2: u128 = 1_000_000;

impl<C: Chain> Api<C> {
    /// What wallets should pay: an eighth over the least that is taken, for it may rise until they send.
    pub fn tip(&self) -> u128 {
        let usual = if self.is_l2() { TIP_L2 } else { TIP_L1 };
        usual.max(self.asked_tip())
    }

    /// Zero unless the chain asks for a tip.
    fn asked_tip(&self) -> u128 {
        let least = self.chain.min_tip();
        least + least.div_ceil(8)
    }

    pub fn gas_price(&self) -> Result<u128, RpcError> {
        Ok(u128::from(self.chain.pending()?.env.base_fee) + self.tip())
    }

    pub fn fee_history(
        &self,
        count: u64,
        newest: BlockNumberOrTag,
        percentiles: Option<Vec<f64>>,
    ) -> Result<FeeHistory, RpcError> {
        let percentiles = percentiles.unwrap_or_default();
        let ascending = percentiles.windows(2).all(|pair| pair[0] <= pair[1]);
        let in_range = percentiles.iter().all(|p| (0.0..=100.0).contains(p));
        if !ascending || !in_range || percentiles.len() > MAX_PERCENTILES {
            return Err(RpcError::BadRequest("invalid reward percentile"));
        }
        let snapshot = self.snapshot()?;
        let head = self.head()?;
        let newest = self.sealed_number(newest)?;
        if newest > head {
            return Err(RpcError::UnknownBlock);
        }
        let count = count.min(self.limits.max_fee_history).min(newest + 1);
        let mut history = FeeHistory { oldest_block: newest + 1 - count, ..Default::default() };
        if count == 0 {
            return Ok(history);
        }
        // Wallets take rewards of the newest blocks for what to pay next.
        let asked = if newest == head { self.asked_tip() } else { 0 };
        let mut rewards = Vec::new();
        for number in history.oldest_block..=newest {
            let (header, _) = snapshot.header(number)?.ok_or(RpcError::UnknownBlock)?;
            history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or_default().into());
            history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit.max(1) as f64);
            history.base_fee_per_blob_gas.push(json::blob_fee(&header).unwrap_or(1));
            history.blob_gas_used_ratio.push(blob_ratio(header.blob_gas_used));
            if !percentiles.is_empty() {
                let paid = self.rewards(number, &percentiles)?;
                rewards.push(paid.into_iter().map(|tip| tip.max(asked)).collect());
            }
        }
        let (next_base_fee, next_blob_fee) = if newest == head {
            let env = self.chain.pending()?.env;
            (env.base_fee, env.blob_base_fee)
        } else {
            let (next, _) = snapshot.header(newest + 1)?.ok_or(RpcError::UnknownBlock)?;
            (next.base_fee_per_gas.unwrap_or_default(), json::blob_fee(&next).unwrap_or(1))
        };
        history.base_fee_per_gas.push(next_base_fee.into());
        history.base_fee_per_blob_gas.push(next_blob_fee);
        history.reward = (!percentiles.is_empty()).then_some(rewards);
        Ok(history)
    }

    /// Tips at percentiles of a block's gas.
    fn rewards(&self, number: u64, percentiles: &[f64]) -> Result<Vec<u128>, RpcError> {
        let block = sealed_block(&self.snapshot()?, number)?.ok_or(RpcError::UnknownBlock)?;
        let mut tips: Vec<(u128, u64)> = block
            .transactions
            .iter()
            .map(|tx| {
                let tip = tx.transaction.transaction.effective_tip_per_gas(tx.base_fee);
                (tip.unwrap_or_default(), tx.gas_used)
            })
            .collect();
        tips.sort_unstable();
        let total: u64 = tips.iter().map(|(_, gas)| gas).sum();
        let mut tips = tips.into_iter();
        let (mut tip, mut gas) = tips.next().unwrap_or_default();
        let at = |percentile: &f64| {
            let threshold = (total as f64 * percentile / 100.0) as u64;
            while gas < threshold {
                let Some((next, used)) = tips.next() else { break };
                (tip, gas) = (next, gas + used);
            }
            tip
        };
        Ok(percentiles.iter().map(at).collect())
    }
}

fn blob_ratio(used: Option<u64>) -> f64 {
    let limit = alloy_eips::eip7840::BlobParams::osaka().max_blob_gas_per_block();
    used.unwrap_or_default() as f64 / limit as f64
}
