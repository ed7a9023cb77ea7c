//! `debug_*`: blocks as they are encoded, and what their transactions did, executed again on the state before them.

use crate::api::{Api, State};
use crate::call::{Overrides, prepare};
use crate::chain::{Chain, Opening, Unsealed};
use crate::error::RpcError;
use crate::limits::Deadline;
use alloy_consensus::TxReceipt as _;
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::common::TraceResult;
use alloy_rpc_types_trace::geth::{
    GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace,
};
use annex_evm::{Evm, TracedAt, Tracer, Watchdog};
use annex_store::{Snapshot, StoreError, StoredBlock};
use std::time::Duration;

/// How long a trace waits for the seal of an acknowledged transaction's block.
const SEAL_PATIENCE: Duration = Duration::from_secs(5);
const SEAL_POLL: Duration = Duration::from_millis(20);

pub(crate) type BlockTrace = Vec<TraceResult<GethTrace, String>>;

impl<C: Chain> Api<C> {
    /// `debug_traceTransaction`.
    pub fn trace_transaction(
        &self,
        hash: B256,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<GethTrace, RpcError> {
        let options = options.unwrap_or_default();
        let deadline = self.trace_deadline(&options);
        let mut tracer = Tracer::new(options)?;
        self.await_seal(hash)?;
        let (snapshot, number, index) = self.position(hash)?.ok_or(RpcError::UnknownTransaction)?;
        let (mut evm, block) = self.replay(&snapshot, number)?;
        execute_before(&mut evm, &block, index, &deadline)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: self.limits.max_trace };
        trace_at(&mut evm, &block, index, &mut tracer, &mut watchdog, &deadline)
    }

    /// `debug_traceBlockByNumber` and `debug_traceBlockByHash`.
    pub fn trace_block(
        &self,
        id: BlockId,
        options: Option<GethDebugTracingOptions>,
    ) -> Result<BlockTrace, RpcError> {
        if id == BlockId::Number(BlockNumberOrTag::Pending) {
            return Err(RpcError::PendingTrace);
        }
        let options = options.unwrap_or_default();
        let deadline = self.trace_deadline(&options);
        let mut tracer = Tracer::new(options)?;
        let number = self.number(id)?.ok_or(RpcError::UnknownBlock)?;
        let (mut evm, block) = self.replay(&self.snapshot()?, number)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: self.limits.max_trace };
        let mut traces = Vec::with_capacity(block.transactions.len());
        for index in 0..block.transactions.len() {
            let result = trace_at(&mut evm, &block, index, &mut tracer, &mut watchdog, &deadline)?;
            let tx_hash = Some(block.transactions[index].transaction.hash());
            traces.push(TraceResult::Success { result, tx_hash });
        }
        Ok(traces)
    }

    /// `debug_traceCall`: on the state after a block, or after some of its transactions.
    pub fn trace_call(
        &self,
        request: TransactionRequest,
        at: BlockId,
        options: GethDebugTracingCallOptions,
    ) -> Result<GethTrace, RpcError> {
        let GethDebugTracingCallOptions {
            tracing_options,
            state_overrides: state,
            block_overrides: block,
            tx_index,
        } = options;
        let deadline = self.trace_deadline(&tracing_options);
        let mut tracer = Tracer::new(tracing_options)?;
        let overrides = Overrides { state, block };
        let mut evm = match tx_index {
            None => self.evm(at, overrides, 0)?,
            Some(index) => {
                let number = self.number(at)?.ok_or(RpcError::UnknownBlock)?;
                let (mut evm, block) = self.replay(&self.snapshot()?, number)?;
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                if index > block.transactions.len() {
                    return Err(RpcError::UnknownTransaction);
                }
                execute_before(&mut evm, &block, index, &deadline)?;
                overrides.apply(&mut evm)?;
                evm
            }
        };
        let gas_limit = self.call_gas(&request);
        let call = prepare(&evm, request, gas_limit)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: self.limits.max_trace };
        let traced = evm.trace_call(&call, &mut tracer, &mut watchdog);
        let (_, trace) = traced.map_err(|error| deadline.failed(error))??;
        Ok(trace)
    }

    /// The request may ask for less time than the node allows, never for more.
    fn trace_deadline(&self, options: &GethDebugTracingOptions) -> Deadline {
        let asked = options.timeout.as_deref().and_then(go_duration);
        let allowed = self.limits.trace_timeout;
        Deadline::after(asked.map_or(allowed, |asked| asked.min(allowed)))
    }

    /// What is acknowledged is traced in its sealed block, which comes at once.
    fn await_seal(&self, hash: B256) -> Result<(), RpcError> {
        let patience = Deadline::after(SEAL_PATIENCE);
        while let Some(Unsealed::Acknowledged(_)) = self.chain.unsealed(hash) {
            // The store has it before it is gone there.
            if self.position(hash)?.is_some() {
                return Ok(());
            }
            patience.check()?;
            std::thread::sleep(SEAL_POLL);
        }
        Ok(())
    }

    /// The EVM before a block's first transaction.
    fn replay(
        &self,
        snapshot: &Snapshot,
        number: u64,
    ) -> Result<(Evm<State>, StoredBlock), RpcError> {
        if number == 0 {
            return Err(RpcError::GenesisTrace);
        }
        let block = snapshot.block(number)?.ok_or(RpcError::UnknownBlock)?;
        let Opening { env, slots } = self.chain.opening(snapshot, &block.header)?;
        let mut evm = Evm::new(self.chain.rules(), env, State::Sealed(snapshot.at(number - 1)?));
        for (address, slot, value) in slots {
            evm.set_storage(address, slot, value);
        }
        Ok((evm, block))
    }

    /// `debug_getRawHeader`.
    pub fn raw_header(&self, id: BlockId) -> Result<Bytes, RpcError> {
        let number = self.number(id)?.ok_or(RpcError::UnknownBlock)?;
        Ok(alloy_rlp::encode(self.header(number)?.0).into())
    }

    /// `debug_getRawReceipts`.
    pub fn raw_receipts(&self, id: BlockId) -> Result<Vec<Bytes>, RpcError> {
        let number = self.number(id)?.ok_or(RpcError::UnknownBlock)?;
        let receipts = self.snapshot()?.receipts(number)?;
        let receipts = receipts.ok_or(StoreError::Corrupt("no receipts"))?;
        let encoded = |receipt: &annex_types::Receipt| receipt.with_bloom_ref().encoded_2718();
        Ok(receipts.iter().map(|receipt| encoded(receipt).into()).collect())
    }
}

/// Executes a block's transactions up to one.
fn execute_before(
    evm: &mut Evm<State>,
    block: &StoredBlock,
    index: usize,
    deadline: &Deadline,
) -> Result<(), RpcError> {
    for transaction in &block.transactions[..index] {
        deadline.check()?;
        evm.execute(transaction)?.map_err(|_| RpcError::NotReplayable(block.header.number))?;
    }
    Ok(())
}

fn trace_at(
    evm: &mut Evm<State>,
    block: &StoredBlock,
    index: usize,
    tracer: &mut Tracer,
    watchdog: &mut Watchdog<'_>,
    deadline: &Deadline,
) -> Result<GethTrace, RpcError> {
    deadline.check()?;
    let transaction = &block.transactions[index];
    let at = TracedAt {
        block_hash: Some(block.hash),
        index: Some(index),
        hash: Some(transaction.transaction.hash()),
    };
    let traced = evm.trace(transaction, at, tracer, watchdog);
    let traced = traced.map_err(|error| deadline.failed(error))?;
    let (_, trace) = traced.map_err(|_| RpcError::NotReplayable(block.header.number))?;
    Ok(trace)
}

/// A duration as Go writes it, such as `1m30s` or `500ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let amount: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        assert_eq!(go_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "s", "5 s", "-5s", "5x", "1e400s", "99999999999999999999h"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
