//! `eth_simulateV1`: calls in blocks that do not exist, each on what the ones before it left.

use crate::api::{Api, At, State};
use crate::call::{override_block, override_state, prepare};
use crate::chain::{Chain, Executed};
use crate::error::{self, RpcError};
use crate::json::{self, Block};
use crate::limits::Deadline;
use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, TxReceipt as _,
    proofs,
};
use alloy_eips::BlockId;
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bloom, Bytes, Signature, TxKind, U64, U256, address};
use alloy_rpc_types_eth::simulate::{MAX_SIMULATE_BLOCKS, SimBlock, SimulatePayload};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest};
use annex_evm::{
    BlockEnv, CallRequest, Evm, InvalidTransaction, Outcome, Simulation, Status, Watchdog,
};
use annex_types::predeploys::{BLOCK_HASH_HISTORY, history_slot};
use annex_types::{Header, Receipt, RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction, TxType};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Whose logs transfers of ether are (execution-apis, `traceTransfers`).
const TRANSFERS: Address = address!("eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// Seconds between simulated blocks, as in go-ethereum and on L2.
const SECONDS_L1: u64 = 12;
const SECONDS_L2: u64 = 1;
/// A call that ended exceptionally.
const VM_ERROR: i32 = -32015;

/// Why there are no results; the codes are execution-apis'.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error("empty input")]
    Empty,
    #[error("too many blocks")]
    TooManyBlocks,
    #[error("block numbers must be in order: {number} <= {previous}")]
    BlockNumber { number: U256, previous: u64 },
    #[error("block timestamps must be in order: {timestamp} <= {previous}")]
    BlockTimestamp { timestamp: u64, previous: u64 },
    #[error("block gas limit reached: {used} >= {limit}")]
    BlockGasLimit { used: u64, limit: u64 },
    #[error("the calls need more gas in all than the {0} that this node gives")]
    GasPool(u64),
    #[error("{0}")]
    Invalid(InvalidTransaction),
    #[error("execution aborted (timeout = {}s)", .0.as_secs_f64())]
    Timeout(Duration),
}

impl SimulationError {
    pub fn code(&self) -> i32 {
        match self {
            Self::Empty => -32602,
            Self::Timeout(_) => -32016,
            Self::BlockGasLimit { .. } => -38015,
            Self::BlockNumber { .. } => -38020,
            Self::BlockTimestamp { .. } => -38021,
            Self::TooManyBlocks | Self::GasPool(_) => -38026,
            Self::Invalid(invalid) => match invalid {
                InvalidTransaction::NonceTooLow { .. } => -38010,
                InvalidTransaction::NonceTooHigh { .. } => -38011,
                InvalidTransaction::FeeCapBelowBaseFee { .. } => -38012,
                InvalidTransaction::IntrinsicGas { .. } => -38013,
                InvalidTransaction::InsufficientFunds { .. } => -38014,
                InvalidTransaction::GasLimitAboveBlock { .. } => -38015,
                InvalidTransaction::SenderHasCode(_) => -38024,
                InvalidTransaction::InitCodeTooLarge { .. } => -38025,
                _ => -32000,
            },
        }
    }
}

impl<C: Chain> Api<C> {
    pub fn simulate(
        &self,
        payload: SimulatePayload<TransactionRequest>,
        at: BlockId,
    ) -> Result<Vec<Value>, RpcError> {
        let SimulatePayload {
            block_state_calls,
            trace_transfers: transfers,
            validation,
            return_full_transactions,
        } = payload;
        let deadline = Deadline::after(self.limits.trace_timeout);
        let (base, hash, env, state) = self.base(at)?;
        let seconds = if self.is_l2() { SECONDS_L2 } else { SECONDS_L1 };
        let blocks = in_order(&base, block_state_calls, seconds)?;
        let expired = || deadline.passed();
        let mut simulator = Simulator {
            evm: Evm::new(self.chain.rules(), env, state),
            is_l2: self.is_l2(),
            parent: base,
            parent_hash: hash,
            gas_left: self.limits.call_gas,
            gas_pool: self.limits.call_gas,
            validation,
            transfers,
            full: return_full_transactions,
            deadline,
            watchdog: Watchdog { expired: &expired, bytes: self.limits.max_trace },
        };
        let results: Result<_, _> =
            blocks.into_iter().map(|block| simulator.block(block)).collect();
        results.map_err(|error| match error {
            RpcError::Timeout(allowed) => SimulationError::Timeout(allowed).into(),
            other => other,
        })
    }

    /// The block that the first simulated one follows: its header, hash, environment and state.
    fn base(&self, at: BlockId) -> Result<(Header, B256, BlockEnv, State), RpcError> {
        if let At::Sealed(number) = self.at(at)? {
            let (view, env) = self.sealed(number)?;
            return Ok((view.header().clone(), view.hash(), env, State::Sealed(view)));
        }
        let pending = self.chain.pending()?;
        let state = pending.state;
        let (header, hash) = if pending.transactions.is_empty() {
            (state.base.header().clone(), state.base.hash())
        } else {
            (pending.header, B256::ZERO)
        };
        Ok((header, hash, pending.env, State::Pending(state)))
    }
}

/// A block to simulate, with its place.
struct Planned {
    number: u64,
    timestamp: u64,
    overrides: BlockOverrides,
    block: SimBlock<TransactionRequest>,
}

/// Numbers and timestamps, which must rise; gaps between numbers become empty blocks.
fn in_order(
    base: &Header,
    blocks: Vec<SimBlock<TransactionRequest>>,
    seconds: u64,
) -> Result<Vec<Planned>, SimulationError> {
    if blocks.is_empty() {
        return Err(SimulationError::Empty);
    }
    let (mut number, mut timestamp) = (base.number, base.timestamp);
    let mut planned = Vec::new();
    for mut block in blocks {
        let overrides = block.block_overrides.take().unwrap_or_default();
        let wanted = overrides.number.unwrap_or(U256::from(number) + U256::from(1));
        if wanted <= U256::from(number) {
            return Err(SimulationError::BlockNumber { number: wanted, previous: number });
        }
        if wanted - U256::from(base.number) > U256::from(MAX_SIMULATE_BLOCKS) {
            return Err(SimulationError::TooManyBlocks);
        }
        let wanted: u64 = wanted.saturating_to();
        while number + 1 < wanted {
            number += 1;
            timestamp = timestamp.saturating_add(seconds);
            let (overrides, block) = Default::default();
            planned.push(Planned { number, timestamp, overrides, block });
        }
        let later = overrides.time.unwrap_or(timestamp.saturating_add(seconds));
        if later <= timestamp {
            return Err(SimulationError::BlockTimestamp { timestamp: later, previous: timestamp });
        }
        (number, timestamp) = (wanted, later);
        planned.push(Planned { number, timestamp, overrides, block });
    }
    Ok(planned)
}

struct Simulator<'a> {
    evm: Evm<State>,
    is_l2: bool,
    parent: Header,
    parent_hash: B256,
    /// Of all calls together.
    gas_left: u64,
    gas_pool: u64,
    validation: bool,
    transfers: bool,
    full: bool,
    deadline: Deadline,
    watchdog: Watchdog<'a>,
}

impl Simulator<'_> {
    fn block(&mut self, planned: Planned) -> Result<Value, RpcError> {
        self.deadline.check()?;
        let Planned { number, timestamp, overrides, block } = planned;
        let mut header = self.header(number, timestamp);
        let base_fee_named = overrides.base_fee.is_some();
        let env = self.environment(&mut header, overrides)?;
        if !base_fee_named && !self.validation {
            header.base_fee_per_gas = Some(0);
        }
        let env = BlockEnv { base_fee: header.base_fee_per_gas.unwrap_or_default(), ..env };
        let parent = U256::from_be_bytes(self.parent_hash.0);
        self.evm.enter_block(env);
        self.evm.set_block_hash(self.parent.number, self.parent_hash);
        self.evm.set_storage(BLOCK_HASH_HISTORY, history_slot(number - 1), parent);
        override_state(&mut self.evm, block.state_overrides.unwrap_or_default())?;
        let mut calls = Vec::with_capacity(block.calls.len());
        let mut logs = 0;
        for (index, request) in block.calls.into_iter().enumerate() {
            let call = self.call(&mut header, index, logs, request)?;
            logs += call.executed.receipt.logs.len() as u64;
            calls.push(call);
        }
        Ok(self.seal(header, calls))
    }

    /// What is known before the first call.
    fn header(&self, number: u64, timestamp: u64) -> Header {
        let parent = &self.parent;
        let parent_fee = parent.base_fee_per_gas.unwrap_or_default();
        let base_fee = if self.is_l2 {
            parent_fee
        } else {
            let ethereum = BaseFeeParams::ethereum();
            calc_next_block_base_fee(parent.gas_used, parent.gas_limit, parent_fee, ethereum)
        };
        Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            state_root: B256::ZERO,
            beneficiary: parent.beneficiary,
            number,
            gas_limit: parent.gas_limit,
            timestamp,
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_WITHDRAWALS),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(parent.excess_blob_gas.unwrap_or_default()),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }

    /// What calls see of the block; the header shows the same.
    fn environment(
        &self,
        header: &mut Header,
        overrides: BlockOverrides,
    ) -> Result<BlockEnv, RpcError> {
        let mut env = BlockEnv {
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            prev_randao: B256::ZERO,
            blob_base_fee: json::blob_fee(header).unwrap_or(1),
            ..self.evm.block().clone()
        };
        if let Some(root) = overrides.beacon_root {
            header.parent_beacon_block_root = Some(root);
        }
        override_block(&mut env, &overrides)?;
        (env.number, env.timestamp) = (header.number, header.timestamp);
        header.beneficiary = env.beneficiary;
        header.gas_limit = env.gas_limit;
        header.base_fee_per_gas = Some(env.base_fee);
        header.mix_hash = env.prev_randao;
        Ok(env)
    }

    fn call(
        &mut self,
        header: &mut Header,
        index: usize,
        first_log: u64,
        request: TransactionRequest,
    ) -> Result<Called, RpcError> {
        let gas = self.gas_limit(header, &request)?;
        let named = request.nonce;
        let from = request.from.unwrap_or_default();
        let nonce = match named {
            Some(nonce) => nonce,
            None => self.nonce(from)?,
        };
        let legacy = request.gas_price.is_some();
        let call = prepare(&self.evm, request, gas).map_err(|error| match error {
            RpcError::Invalid(invalid) => SimulationError::Invalid(invalid).into(),
            other => other,
        })?;
        let how =
            Simulation { validation: self.validation, nonce: named, transfers: self.transfers };
        let done = self.evm.simulate(&call, how, &mut self.watchdog);
        let done = done.map_err(|error| self.deadline.failed(error))?;
        let simulated = done.map_err(SimulationError::Invalid)?;
        let outcome = simulated.outcome;
        let gas_used = outcome.gas_used();
        self.gas_left = self.gas_left.saturating_sub(gas_used);
        header.gas_used += gas_used;
        let blobs = call.blob_hashes.len() as u64;
        if let Some(blob_gas) = &mut header.blob_gas_used {
            *blob_gas += blobs * alloy_eips::eip4844::DATA_GAS_PER_BLOB;
        }
        let transaction = unsigned(self.evm.block().chain_id, nonce, legacy, call);
        let receipt = Receipt {
            tx_type: TxType::try_from(alloy_eips::Typed2718::ty(&transaction))
                .expect("the type of an envelope that has it"),
            success: outcome.success(),
            cumulative_gas_used: header.gas_used,
            logs: outcome.logs.clone(),
        };
        let executed = Executed {
            hash: transaction.hash(),
            transaction: RecoveredTransaction { transaction, sender: from, data_size: 0 },
            block_number: header.number,
            timestamp: header.timestamp,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            index: index as u32,
            receipt,
            gas_used,
            first_log,
            deposit_nonce: None,
            promise: OnceLock::new(),
        };
        let max_used_gas = simulated.max_used_gas;
        Ok(Called { executed: Arc::new(executed), outcome, max_used_gas })
    }

    fn nonce(&self, address: Address) -> Result<u64, RpcError> {
        use annex_state::StateReader as _;
        Ok(self.evm.state().account(address)?.unwrap_or_default().nonce)
    }

    /// What the call asks for; without that, what is left of the block and of the node's patience.
    fn gas_limit(&self, header: &Header, request: &TransactionRequest) -> Result<u64, RpcError> {
        let (used, limit) = (header.gas_used, header.gas_limit);
        let left = limit.saturating_sub(used);
        let most = match (self.validation, request.gas) {
            (true, None) => left.min(TX_GAS_LIMIT_CAP),
            _ => left,
        };
        let wanted = request.gas.unwrap_or(most);
        if wanted > left {
            return Err(SimulationError::BlockGasLimit { used, limit }.into());
        }
        if self.gas_left == 0 {
            return Err(SimulationError::GasPool(self.gas_pool).into());
        }
        if self.validation && wanted > TX_GAS_LIMIT_CAP {
            let (limit, cap) = (wanted, TX_GAS_LIMIT_CAP);
            return Err(InvalidTransaction::GasLimitAboveCap { limit, cap }.into());
        }
        Ok(wanted.min(self.gas_left))
    }

    fn seal(&mut self, mut header: Header, calls: Vec<Called>) -> Value {
        let transactions: Vec<_> = calls.iter().map(|call| call.executed.clone()).collect();
        let plain: Vec<_> = transactions.iter().map(|tx| &tx.transaction.transaction).collect();
        header.transactions_root = proofs::calculate_transaction_root(&plain);
        let receipts: Vec<_> = calls.iter().map(|call| call.receipt(self.transfers)).collect();
        let receipts: Vec<_> = receipts.iter().map(|receipt| receipt.with_bloom_ref()).collect();
        header.receipts_root = proofs::calculate_receipt_root(&receipts);
        header.logs_bloom = receipts.iter().fold(Bloom::ZERO, |all, one| all | one.logs_bloom);
        let hash = header.hash_slow();
        let block = Block { hash, header, transactions };
        let mut json = block.json(self.full);
        json["calls"] = calls.iter().map(|call| call.json(hash)).collect();
        (self.parent, self.parent_hash) = (block.header, hash);
        json
    }
}

/// A call that was simulated.
struct Called {
    executed: Arc<Executed>,
    outcome: Outcome,
    max_used_gas: u64,
}

impl Called {
    /// The receipt that the block's roots and bloom are made of: without the logs of transfers.
    fn receipt(&self, transfers: bool) -> Receipt {
        let mut receipt = self.executed.receipt.clone();
        receipt.logs.retain(|log| !transfers || log.address != TRANSFERS);
        receipt
    }

    fn json(&self, block_hash: B256) -> Value {
        let output = &self.outcome.output;
        let logs: Vec<_> = json::logs(&self.executed, block_hash).collect();
        let mut result = json!({
            "returnData": output,
            "logs": logs,
            "gasUsed": U64::from(self.executed.gas_used),
            "maxUsedGas": U64::from(self.max_used_gas),
            "status": U64::from(u64::from(self.outcome.success())),
        });
        match self.outcome.status {
            Status::Success => {}
            Status::Revert => {
                let message = format!("execution reverted{}", error::reason(output));
                let code = error::EXECUTION_ERROR;
                result["error"] = json!({ "code": code, "message": message, "data": output });
            }
            Status::Halt(halt) => {
                result["error"] = json!({ "code": VM_ERROR, "message": halt.to_string() });
            }
        }
        result
    }
}

/// The transaction that the call would be, with an empty signature.
fn unsigned(chain_id: u64, nonce: u64, legacy: bool, call: CallRequest) -> Transaction {
    let CallRequest {
        to,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        value,
        input,
        access_list,
        authorization_list,
        blob_hashes,
        max_fee_per_blob_gas,
        ..
    } = call;
    let max_priority_fee_per_gas = max_priority_fee_per_gas.unwrap_or_default();
    let signature = Signature::new(U256::ZERO, U256::ZERO, false);
    let callee = to.to().copied().unwrap_or_default();
    if !authorization_list.is_empty() {
        let tx = TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: callee,
            value,
            access_list,
            authorization_list,
            input,
        };
        return Transaction::Eip7702(tx.into_signed(signature));
    }
    if !blob_hashes.is_empty() {
        let tx = TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: callee,
            value,
            access_list,
            blob_versioned_hashes: blob_hashes,
            max_fee_per_blob_gas,
            input,
        };
        return Transaction::Eip4844(tx.into_signed(signature));
    }
    if legacy {
        let tx = (chain_id, nonce, max_fee_per_gas, gas_limit);
        return of_gas_price(tx, to, value, input, access_list);
    }
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas,
        to,
        value,
        access_list,
        input,
    };
    Transaction::Eip1559(tx.into_signed(signature))
}

/// A legacy transaction, or one of EIP-2930 if it has an access list.
fn of_gas_price(
    (chain_id, nonce, gas_price, gas_limit): (u64, u64, u128, u64),
    to: TxKind,
    value: U256,
    input: Bytes,
    access_list: AccessList,
) -> Transaction {
    let signature = Signature::new(U256::ZERO, U256::ZERO, false);
    if access_list.is_empty() {
        let chain_id = Some(chain_id);
        let tx = TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input };
        return Transaction::Legacy(tx.into_signed(signature));
    }
    let tx = TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input };
    Transaction::Eip2930(tx.into_signed(signature))
}
