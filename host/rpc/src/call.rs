//! `eth_call`, `eth_estimateGas` and `eth_getProof`.

use crate::api::{Api, State};
use crate::chain::Chain;
use crate::error::RpcError;
use crate::limits::Deadline;
use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, Signature, TxKind, U64, U256, keccak256};
use alloy_rpc_types_eth::state::StateOverride;
use alloy_rpc_types_eth::{
    AccessListResult, BlockOverrides, EIP1186AccountProofResponse, EIP1186StorageProof,
    TransactionRequest,
};
use alloy_serde::JsonStorageKey;
use annex_evm::{AccountOverride, BlockEnv, CallRequest, Evm, Halt, Outcome, Status, Watchdog};
use annex_state::StateReader;
use annex_types::{TX_GAS_LIMIT_CAP, fees};
use std::collections::BTreeMap;

/// Storage slots of one `eth_getProof`.
pub(crate) const MAX_PROOF_SLOTS: usize = 1024;
/// Accounts and slots that overrides of one call may name.
pub(crate) const MAX_OVERRIDES: usize = 10_000;

/// What a call may replace.
#[derive(Default)]
pub(crate) struct Overrides {
    pub state: Option<StateOverride>,
    pub block: Option<BlockOverrides>,
}

impl<C: Chain> Api<C> {
    pub fn call(
        &self,
        request: TransactionRequest,
        at: BlockId,
        overrides: Overrides,
    ) -> Result<alloy_primitives::Bytes, RpcError> {
        let deadline = Deadline::after(self.limits.call_timeout);
        let mut evm = self.evm(at, overrides, 0)?;
        let gas_limit = self.call_gas(&request);
        let call = prepare(&evm, request, gas_limit)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: usize::MAX };
        let outcome = evm.watched_call(&call, &mut watchdog);
        let outcome = outcome.map_err(|error| deadline.failed(error))??;
        match outcome.status {
            Status::Success => Ok(outcome.output),
            _ => Err(failure(outcome)),
        }
    }

    pub fn call_gas(&self, request: &TransactionRequest) -> u64 {
        let most = self.limits.call_gas;
        request.gas.unwrap_or(most).min(most)
    }

    /// `eth_createAccessList`.
    pub fn create_access_list(
        &self,
        request: TransactionRequest,
        at: BlockId,
        state: Option<StateOverride>,
    ) -> Result<AccessListResult, RpcError> {
        let deadline = Deadline::after(self.limits.call_timeout);
        let mut evm = self.evm(at, Overrides { state, block: None }, 0)?;
        let cap = TX_GAS_LIMIT_CAP.min(evm.block().gas_limit);
        let gas_limit = request.gas.unwrap_or(cap).min(self.limits.call_gas);
        let call = prepare(&evm, request, gas_limit)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: usize::MAX };
        let list = evm.access_list(&call, &mut watchdog);
        let (access_list, outcome) = list.map_err(|error| deadline.failed(error))??;
        let gas_used = U256::from(outcome.gas_used());
        let error = match outcome.status {
            Status::Success => None,
            _ => Some(failure(outcome).to_string()),
        };
        Ok(AccessListResult { access_list, gas_used, error })
    }

    /// The gas limit a wallet should use; on L2 with data gas and a quarter more of that, for its price may rise.
    pub fn estimate_gas(
        &self,
        request: TransactionRequest,
        at: BlockId,
        overrides: Overrides,
    ) -> Result<U64, RpcError> {
        // On L2 the transaction may run in a later block than the open one. Code that works once per timestamp, such as
        // Uniswap's oracle, has to find a later one here, too.
        let deadline = Deadline::after(self.limits.call_timeout);
        let mut evm = self.evm(at, overrides, u64::from(self.is_l2()))?;
        let cap = TX_GAS_LIMIT_CAP.min(evm.block().gas_limit);
        let gas_limit = request.gas.unwrap_or(cap).min(cap);
        let data_gas = match self.is_l2() {
            true => self.data_gas(&request, evm.block()),
            false => 0,
        };
        let call = prepare(&evm, request, gas_limit)?;
        let expired = || deadline.passed();
        let mut watchdog = Watchdog { expired: &expired, bytes: usize::MAX };
        let estimate = evm.estimate_gas(&call, &mut watchdog);
        match estimate.map_err(|error| deadline.failed(error))?? {
            Ok(gas) => Ok(U64::from(gas.saturating_add(with_margin(data_gas)))),
            Err(outcome) if outcome.status == Status::Halt(Halt::OutOfGas) => {
                Err(RpcError::GasAllowance(call.gas_limit))
            }
            Err(outcome) => Err(failure(outcome)),
        }
    }

    /// What the request costs as a signed transaction: with a signature that does not compress.
    fn data_gas(&self, request: &TransactionRequest, block: &BlockEnv) -> u64 {
        let fee = u128::from(block.base_fee).saturating_mul(2);
        let tx = TxEip1559 {
            chain_id: self.chain.chain_id(),
            nonce: request.nonce.unwrap_or(0x00ff_ffff),
            gas_limit: TX_GAS_LIMIT_CAP - 1,
            max_fee_per_gas: request.max_fee_per_gas.or(request.gas_price).unwrap_or(fee),
            max_priority_fee_per_gas: request.max_priority_fee_per_gas.unwrap_or(fee),
            to: request.to.unwrap_or(TxKind::Create),
            value: request.value.unwrap_or_default(),
            access_list: request.access_list.clone().unwrap_or_default(),
            input: request.input.input().cloned().unwrap_or_default(),
        };
        let (r, s) = (keccak256("r"), keccak256("s"));
        let mut encoded = tx.into_signed(Signature::new(r.into(), s.into(), true)).encoded_2718();
        for authorization in request.authorization_list.iter().flatten() {
            encoded.extend(alloy_rlp::encode(authorization));
        }
        block.data_gas(fees::data_size(&encoded))
    }

    pub fn evm(
        &self,
        at: BlockId,
        overrides: Overrides,
        seconds_later: u64,
    ) -> Result<Evm<State>, RpcError> {
        let (state, mut env) = self.state(at)?;
        env.timestamp += seconds_later;
        let mut evm = Evm::new(self.chain.rules(), env, state);
        overrides.apply(&mut evm)?;
        Ok(evm)
    }

    pub fn proof(
        &self,
        address: Address,
        keys: Vec<JsonStorageKey>,
        at: BlockId,
    ) -> Result<EIP1186AccountProofResponse, RpcError> {
        if keys.len() > MAX_PROOF_SLOTS {
            return Err(RpcError::BadRequest("too many storage keys"));
        }
        let number = match at {
            BlockId::Number(BlockNumberOrTag::Pending) => self.head()?,
            at => self.number(at)?.ok_or(RpcError::UnknownBlock)?,
        };
        let slots: Vec<U256> = keys.iter().map(|key| key.as_b256().into()).collect();
        let view = self.chain.store().at(number)?;
        let limit = self.limits.max_proof_changes;
        if view.changes_since(limit)? > limit {
            return Err(RpcError::ProofTooOld { block: number, limit });
        }
        let proof = view.proof(address, &slots)?;
        let account = proof.account.unwrap_or_default();
        let storage_proof = keys
            .into_iter()
            .zip(proof.slots)
            .map(|(key, slot)| EIP1186StorageProof { key, value: slot.value, proof: slot.nodes })
            .collect();
        Ok(EIP1186AccountProofResponse {
            address,
            balance: account.balance,
            code_hash: account.code_hash,
            nonce: account.nonce,
            storage_hash: account.storage_root,
            account_proof: proof.nodes,
            storage_proof,
        })
    }
}

/// Data gas that suffices after its price has risen by a quarter. Rounded up: cheap data takes a single gas, and soon two.
fn with_margin(data_gas: u64) -> u64 {
    data_gas.saturating_add(data_gas.div_ceil(4))
}

type B256Map<T> = alloy_primitives::map::B256HashMap<T>;

fn failure(outcome: Outcome) -> RpcError {
    match outcome.status {
        Status::Halt(halt) => RpcError::Halted(halt),
        Status::Success | Status::Revert => RpcError::Reverted(outcome.output),
    }
}

/// Makes accounts others for all that follows.
pub(crate) fn override_state(
    evm: &mut Evm<State>,
    accounts: StateOverride,
) -> Result<(), RpcError> {
    let slots = accounts.values().map(|account| {
        let count = |slots: &Option<_>| slots.as_ref().map_or(0, B256Map::len);
        1 + count(&account.state) + count(&account.state_diff)
    });
    if slots.sum::<usize>() > MAX_OVERRIDES {
        return Err(RpcError::BadRequest("too many state overrides"));
    }
    for (address, account) in accounts {
        if account.move_precompile_to.is_some() {
            return Err(RpcError::BadRequest("movePrecompileToAddress is not supported"));
        }
        if account.state.is_some() && account.state_diff.is_some() {
            return Err(RpcError::BadRequest("account has both 'state' and 'stateDiff'"));
        }
        let words = |slots: B256Map<_>| -> BTreeMap<U256, U256> {
            slots
                .into_iter()
                .map(|(k, v): (_, alloy_primitives::B256)| (k.into(), v.into()))
                .collect()
        };
        let changes = AccountOverride {
            nonce: account.nonce,
            balance: account.balance,
            code: account.code,
            storage: account.state.map(words),
            storage_diff: account.state_diff.map(words).unwrap_or_default(),
        };
        evm.override_account(address, changes)?;
    }
    Ok(())
}

impl Overrides {
    /// Puts a call elsewhere than where its block says.
    pub fn apply(self, evm: &mut Evm<State>) -> Result<(), RpcError> {
        if let Some(block) = self.block {
            let mut env = evm.block().clone();
            override_block(&mut env, &block)?;
            evm.enter_block(env);
            for (number, hash) in block.block_hash.iter().flatten() {
                evm.set_block_hash(*number, *hash);
            }
        }
        override_state(evm, self.state.unwrap_or_default())
    }
}

/// Changes what a block's transactions see of it.
pub(crate) fn override_block(env: &mut BlockEnv, block: &BlockOverrides) -> Result<(), RpcError> {
    let small = |value: U256| {
        u64::try_from(value).map_err(|_| RpcError::BadRequest("block override out of range"))
    };
    env.number = block.number.map_or(Ok(env.number), small)?;
    env.timestamp = block.time.unwrap_or(env.timestamp);
    env.gas_limit = block.gas_limit.unwrap_or(env.gas_limit);
    env.beneficiary = block.coinbase.unwrap_or(env.beneficiary);
    env.prev_randao = block.random.unwrap_or(env.prev_randao);
    env.base_fee = block.base_fee.map_or(Ok(env.base_fee), small)?;
    env.blob_base_fee = match block.blob_base_fee {
        Some(fee) => u128::from(small(fee)?),
        None => env.blob_base_fee,
    };
    Ok(())
}

/// A request as the EVM takes it. Where it names a fee, gas is bounded by what the sender can pay for.
pub(crate) fn prepare(
    evm: &Evm<State>,
    request: TransactionRequest,
    gas_limit: u64,
) -> Result<CallRequest, RpcError> {
    let dynamic = request.max_fee_per_gas.or(request.max_priority_fee_per_gas);
    if request.gas_price.is_some() && dynamic.is_some() {
        let message = "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified";
        return Err(RpcError::BadRequest(message));
    }
    let max_fee_per_gas = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
    let tip = request.max_priority_fee_per_gas.filter(|_| max_fee_per_gas != 0);
    let from = request.from.unwrap_or_default();
    let value = request.value.unwrap_or_default();
    let mut call = CallRequest {
        from,
        to: request.to.unwrap_or(TxKind::Create),
        gas_limit,
        max_fee_per_gas,
        max_priority_fee_per_gas: tip,
        value,
        input: request.input.into_input().unwrap_or_default(),
        access_list: request.access_list.unwrap_or_default(),
        authorization_list: request.authorization_list.unwrap_or_default(),
        blob_hashes: request.blob_versioned_hashes.unwrap_or_default(),
        max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or_default(),
    };
    if max_fee_per_gas != 0 {
        let balance = evm.state().account(from)?.unwrap_or_default().balance;
        let allowance = balance.saturating_sub(value) / U256::from(max_fee_per_gas);
        call.gas_limit = gas_limit.min(allowance.saturating_to());
        if call.gas_limit < gas_limit && call.gas_limit < INTRINSIC_GAS {
            let want = value.saturating_add(U256::from(max_fee_per_gas) * U256::from(gas_limit));
            return Err(
                annex_evm::InvalidTransaction::InsufficientFunds { have: balance, want }.into()
            );
        }
    }
    Ok(call)
}

/// No transaction needs less.
const INTRINSIC_GAS: u64 = 21_000;

#[cfg(test)]
mod tests {
    use super::with_margin;

    /// Data gas is `ceil(fee / base fee)` (spec/fees.md).
    #[test]
    fn the_margin_covers_a_price_that_is_a_quarter_higher() {
        for base_fee in 1..=100u64 {
            for fee in 0..=2_000u64 {
                let later = (fee * 5 / 4).div_ceil(base_fee);
                let limit = with_margin(fee.div_ceil(base_fee));
                assert!(later <= limit, "{later} of {limit}: {fee} wei at {base_fee}");
            }
        }
        assert_eq!(with_margin(0), 0);
        assert_eq!(with_margin(u64::MAX), u64::MAX);
    }
}
