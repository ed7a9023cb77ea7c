use std::collections::BTreeMap;

use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use annex_state::{KECCAK_EMPTY, StateReader};
use revm::bytecode::Bytecode;
use revm::context::TxEnv;
use revm::inspector::{Inspector, NoOpInspector};
use revm::primitives::eip3860::MAX_INITCODE_SIZE;
use revm_inspectors::access_list::AccessListInspector;
use revm_inspectors::transfer::TransferInspector;

use crate::evm::outcome;
use crate::handler::{Charges, RevmContext};
use crate::inspect::{Guard, Recording, Started};
use crate::validate::{authorizations, intrinsic_gas, least_gas};
use crate::{BlockEnv, Evm, InvalidTransaction, Outcome, Rules, WatchResult, Watchdog};

const DYNAMIC_FEE_TYPE: u8 = 2;
const BLOB_TYPE: u8 = 3;
const SET_CODE_TYPE: u8 = 4;

/// A call without a signature, as `eth_call` and `eth_estimateGas` make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    pub from: Address,
    pub to: TxKind,
    /// For the execution alone; may exceed the block's limit.
    pub gas_limit: u64,
    /// Wei; with zero nothing is charged and the base fee need not be met.
    pub max_fee_per_gas: u128,
    /// Wei; `None`: the whole of `max_fee_per_gas` is paid.
    pub max_priority_fee_per_gas: Option<u128>,
    pub value: U256,
    pub input: Bytes,
    pub access_list: AccessList,
    pub authorization_list: Vec<SignedAuthorization>,
    /// What `BLOBHASH` reads; nothing is charged for them beyond `max_fee_per_blob_gas`.
    pub blob_hashes: Vec<B256>,
    /// Wei.
    pub max_fee_per_blob_gas: u128,
}

/// What an account is to be instead (the state overrides of `eth_call`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOverride {
    pub nonce: Option<u64>,
    pub balance: Option<U256>,
    pub code: Option<Bytes>,
    /// Instead of the whole storage.
    pub storage: Option<BTreeMap<U256, U256>>,
    /// On top of the storage.
    pub storage_diff: BTreeMap<U256, U256>,
}

/// How strict [`Evm::simulate`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// As a block would, though the sender may have code: the nonce must be the account's next, and the base fee must be
    /// met even where nothing is offered.
    pub validation: bool,
    /// The request's nonce, where it names one.
    pub nonce: Option<u64>,
    /// Log every transfer of ether as `Transfer(address,address,uint256)` of `0xeeee…ee`.
    pub transfers: bool,
}

/// What a simulated transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    pub outcome: Outcome,
    /// Gas before refunds.
    pub max_used_gas: u64,
}

/// Runs of [`Evm::access_list`] until its list no longer grows.
const ACCESS_LIST_RUNS: usize = 16;

type Checked<T> = Result<T, InvalidTransaction>;

impl<R: StateReader> Evm<R> {
    /// Makes a call and drops what it changed. Of what is checked for a transaction, only these are: gas for the
    /// intrinsic cost, fees where any are given, and the balance they and the value need.
    pub fn call(&mut self, request: &CallRequest) -> Result<Checked<Outcome>, R::Error> {
        let Started { intrinsic, charges, .. } = match self.start_call(request, None)? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let outcome = self.run(intrinsic, charges)?;
        self.discard();
        Ok(Ok(outcome))
    }

    /// [`Self::call`] behind a watchdog.
    pub fn watched_call(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Outcome, R::Error> {
        self.inspected_call(request, NoOpInspector, watchdog).map(|done| done.map(|(done, _)| done))
    }

    fn inspected_call<I: Inspector<RevmContext<R>>>(
        &mut self,
        request: &CallRequest,
        inspector: I,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, I), R::Error> {
        let Started { intrinsic, charges, .. } = match self.start_call(request, None)? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let mut guard = Guard::new(inspector, Recording::default(), watchdog);
        let result = self.watch(intrinsic, charges, &mut guard)?;
        self.discard();
        Ok(Ok((outcome(result, 0), guard.inspector)))
    }

    /// The least gas limit with which the call succeeds, up to the request's. A call that fails even with that is
    /// returned as it ended.
    pub fn estimate_gas(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Result<u64, Outcome>, R::Error> {
        let mut request = request.clone();
        let outcome = match self.watched_call(&request, watchdog)? {
            Ok(outcome) if outcome.success() => outcome,
            Ok(failed) => return Ok(Ok(Err(failed))),
            Err(invalid) => return Ok(Err(invalid)),
        };
        // Gas used is after refunds and without what nested calls must leave unused, so the limit may have to be higher.
        let (mut fails, mut works) = (outcome.execution_gas.saturating_sub(1), request.gas_limit);
        let mut attempt = outcome.execution_gas;
        while fails + 1 < works {
            request.gas_limit = attempt.clamp(fails + 1, works - 1);
            match self.watched_call(&request, watchdog)? {
                Ok(outcome) if outcome.success() => works = request.gas_limit,
                _ => fails = request.gas_limit,
            }
            // Most calls need little more than they use.
            let middle = fails + (works - fails) / 2;
            attempt = middle.min(fails.saturating_mul(2));
        }
        Ok(Ok(Ok(works)))
    }

    /// What the call touches besides its sender, its receiver and the precompiles, as an access list to send it with,
    /// and how it ends with that list.
    pub fn access_list(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(AccessList, Outcome), R::Error> {
        let mut request = request.clone();
        for _ in 1..ACCESS_LIST_RUNS {
            // What is in the list costs other gas, so that the call may touch something else.
            let (outcome, list) = match self.touched(&request, watchdog)? {
                Ok(done) => done,
                Err(invalid) => return Ok(Err(invalid)),
            };
            if list == request.access_list {
                return Ok(Ok((list, outcome)));
            }
            request.access_list = list;
        }
        let done = self.touched(&request, watchdog)?;
        Ok(done.map(|(outcome, _)| (request.access_list, outcome)))
    }

    fn touched(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, AccessList), R::Error> {
        let inspector = AccessListInspector::new(request.access_list.clone());
        let done = self.inspected_call(request, inspector, watchdog)?;
        Ok(done.map(|(outcome, inspector)| (outcome, inspector.into_access_list())))
    }

    /// Executes a call and keeps what it changed: `eth_simulateV1`.
    pub fn simulate(
        &mut self,
        request: &CallRequest,
        how: Simulation,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Simulated, R::Error> {
        let Started { intrinsic, charges, .. } = match self.start_call(request, Some(how))? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let result = if how.transfers {
            let inspector = TransferInspector::new(false).with_logs(true);
            let mut guard = Guard::new(inspector, Recording::calls(), watchdog);
            self.watch(intrinsic, charges, &mut guard)?
        } else {
            let mut guard = Guard::new(NoOpInspector, Recording::calls(), watchdog);
            self.watch(intrinsic, charges, &mut guard)?
        };
        self.keep();
        let max_used_gas = result.gas().total_gas_spent().max(result.gas().floor_gas());
        Ok(Ok(Simulated { outcome: outcome(result, 0), max_used_gas }))
    }

    /// Goes on in another block, on the state as it is.
    pub fn enter_block(&mut self, block: BlockEnv) {
        self.inner.ctx.block = block.to_revm();
        let number = block.number;
        let rules = self.rules();
        self.database_mut().history_of = (rules == Rules::L2).then_some(number);
        self.block = block;
    }

    /// Makes the hash of a block known that the state does not hold.
    pub fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.database_mut().overlay.set_block_hash(number, hash);
    }

    /// Sets a call up and charges its sender.
    pub(crate) fn start_call(
        &mut self,
        request: &CallRequest,
        simulation: Option<Simulation>,
    ) -> Result<Checked<Started>, R::Error> {
        let validation = simulation.is_some_and(|how| how.validation);
        let (env, price) = match self.call_env(request, validation) {
            Ok(prepared) => prepared,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let intrinsic = intrinsic_gas(&env);
        let (limit, required) = (request.gas_limit, least_gas(&intrinsic));
        if limit < required {
            return Ok(Err(InvalidTransaction::IntrinsicGas { limit, required, data_gas: 0 }));
        }
        if validation {
            let size = request.input.len();
            if request.to.is_create() && size > MAX_INITCODE_SIZE {
                let limit = MAX_INITCODE_SIZE;
                return Ok(Err(InvalidTransaction::InitCodeTooLarge { size, limit }));
            }
            let state = self.state().account(request.from)?.unwrap_or_default().nonce;
            let tx = simulation.and_then(|how| how.nonce).unwrap_or(state);
            if tx < state {
                return Ok(Err(InvalidTransaction::NonceTooLow { tx, state }));
            }
            if tx > state {
                return Ok(Err(InvalidTransaction::NonceTooHigh { tx, state }));
            }
        }
        let charges = Charges { price, reward: self.reward(price), data_gas: 0 };
        self.inner.ctx.tx = env;
        if let Err(invalid) = self.charge_sender(charges, false)? {
            self.discard();
            return Ok(Err(invalid));
        }
        Ok(Ok(Started { intrinsic, charges, runs: true }))
    }

    /// Makes an account another for all that follows.
    pub fn override_account(
        &mut self,
        address: Address,
        changes: AccountOverride,
    ) -> Result<(), R::Error> {
        let mut account = self.state().account(address)?.unwrap_or_default();
        account.nonce = changes.nonce.unwrap_or(account.nonce);
        account.balance = changes.balance.unwrap_or(account.balance);
        let database = self.database_mut();
        if let Some(code) = changes.code {
            account.code_hash = if code.is_empty() { KECCAK_EMPTY } else { keccak256(&code) };
            if !code.is_empty() {
                let code = Bytecode::new_raw_checked(code.clone())
                    .unwrap_or_else(|_| Bytecode::new_legacy(code));
                database.set_code(account.code_hash, code);
            }
        }
        database.set_account(address, Some(account));
        if let Some(storage) = changes.storage {
            database.cleared.insert(address);
            for (slot, value) in storage {
                database.set_storage(address, slot, value);
            }
        }
        for (slot, value) in changes.storage_diff {
            database.set_storage(address, slot, value);
        }
        Ok(())
    }

    fn call_env(
        &self,
        request: &CallRequest,
        validation: bool,
    ) -> Result<(TxEnv, u128), InvalidTransaction> {
        let (fee_cap, tip) = (request.max_fee_per_gas, request.max_priority_fee_per_gas);
        let base_fee = self.block().base_fee;
        if let Some(tip) = tip
            && tip > fee_cap
        {
            return Err(InvalidTransaction::TipAboveFeeCap { tip, fee_cap });
        }
        if (fee_cap != 0 || validation) && fee_cap < u128::from(base_fee) {
            return Err(InvalidTransaction::FeeCapBelowBaseFee { fee_cap, base_fee });
        }
        let price =
            tip.map_or(fee_cap, |tip| fee_cap.min(u128::from(base_fee).saturating_add(tip)));
        let tx_type = match request {
            CallRequest { authorization_list, .. } if !authorization_list.is_empty() => {
                SET_CODE_TYPE
            }
            CallRequest { blob_hashes, .. } if !blob_hashes.is_empty() => BLOB_TYPE,
            _ => DYNAMIC_FEE_TYPE,
        };
        let env = TxEnv {
            tx_type,
            caller: request.from,
            gas_limit: request.gas_limit,
            gas_price: fee_cap,
            kind: request.to,
            value: request.value,
            data: request.input.clone(),
            nonce: 0,
            chain_id: None,
            access_list: request.access_list.clone(),
            gas_priority_fee: tip,
            blob_hashes: request.blob_hashes.clone(),
            max_fee_per_blob_gas: request.max_fee_per_blob_gas,
            authorization_list: authorizations(&request.authorization_list),
        };
        Ok((env, price))
    }
}
