use std::collections::BTreeMap;

use alloy_eips::eip2930::AccessList;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use annex_state::{KECCAK_EMPTY, StateReader};
use revm::bytecode::Bytecode;
use revm::context::TxEnv;
use revm::interpreter::InitialAndFloorGas;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;

use crate::handler::Charges;
use crate::validate::{authorizations, intrinsic_gas, least_gas};
use crate::{Evm, InvalidTransaction, Outcome, Rules};

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

/// How strict a simulated transaction is taken.
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

pub(crate) type Checked<T> = Result<T, InvalidTransaction>;

impl<R: StateReader> Evm<R> {
    /// Makes a call and drops what it changed. Of what is checked for a transaction, only these are: gas for the
    /// intrinsic cost, fees where any are given, and the balance they and the value need.
    pub fn call(&mut self, request: &CallRequest) -> Result<Checked<Outcome>, R::Error> {
        let (intrinsic, charges) = match self.start_call(request, None)? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let outcome = self.run(intrinsic, charges)?;
        self.discard();
        Ok(Ok(outcome))
    }

    /// What the beneficiary gets of a gas price.
    pub(crate) fn reward(&self, price: u128) -> u128 {
        match self.rules() {
            Rules::L1 => price.saturating_sub(u128::from(self.block().base_fee)),
            Rules::L2 => price,
        }
    }

    /// Sets a call up and charges its sender.
    pub(crate) fn start_call(
        &mut self,
        request: &CallRequest,
        simulation: Option<Simulation>,
    ) -> Result<Checked<(InitialAndFloorGas, Charges)>, R::Error> {
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
        Ok(Ok((intrinsic, charges)))
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
        if changes.storage.is_some() {
            // All other slots go: those below, and what was written since.
            database.cleared.insert(address);
            database.set_account(address, None);
        }
        database.set_account(address, Some(account));
        let slots = changes.storage.into_iter().flatten().chain(changes.storage_diff);
        for (slot, value) in slots {
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
