use core::marker::PhantomData;

use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{Bytes, U256};
use annex_state::{AccountInfo, Overlay, OverlayReader, StateReader};
use annex_types::{RecoveredTransaction, Transaction};
use op_alloy_consensus::TxDeposit;
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context::{BlockEnv as RevmBlockEnv, CfgEnv, JournalTr, TxEnv};
use revm::handler::Handler;
use revm::interpreter::InitialAndFloorGas;
use revm::primitives::hardfork::SpecId;
use revm::state::TransactionId;
use revm::{Context, Journal, MainBuilder};

use crate::database::{Interrupted, StateDb};
use crate::handler::{Charges, RevmEvm, Runner};
use crate::validate::{Prepared, deposit_env, deposit_starts, intrinsic_gas, prepare};
use crate::{BlockEnv, CodeCache, Halt, InvalidTransaction, Outcome, Rules, Status};

/// Above this many accounts the journal's table is not kept for the next transaction: emptying it takes time in
/// proportion to its size.
const KEPT_ACCOUNTS: usize = 1024;

/// Executes the transactions of one block, each on what the ones before it left.
#[derive(Debug)]
pub struct Evm<R: StateReader> {
    rules: Rules,
    pub(crate) block: BlockEnv,
    pub(crate) inner: RevmEvm<R>,
}

impl<R: StateReader> Evm<R> {
    pub fn new(rules: Rules, block: BlockEnv, reader: R) -> Self {
        Self::with_codes(rules, block, reader, CodeCache::default())
    }

    /// Starts with codes that an earlier block has used.
    pub fn with_codes(rules: Rules, block: BlockEnv, reader: R, codes: CodeCache) -> Self {
        #[cfg(not(feature = "host"))]
        crate::crypto::install();
        let mut config = CfgEnv::new_with_spec(SpecId::OSAKA).with_chain_id(block.chain_id);
        // Limits are checked before execution, where a call without transaction may exceed them.
        config.tx_gas_limit_cap = Some(u64::MAX);
        let database = StateDb {
            reader,
            overlay: Overlay::default(),
            delta: None,
            codes,
            cleared: Default::default(),
            history_of: (rules == Rules::L2).then_some(block.number),
            failure: None,
        };
        let context = Context::<RevmBlockEnv, TxEnv, CfgEnv, _, Journal<StateDb<R>>, ()>::new(
            database,
            SpecId::OSAKA,
        )
        .with_cfg(config)
        .with_block(block.to_revm());
        Self { rules, block, inner: context.build_mainnet() }
    }

    pub fn block(&self) -> &BlockEnv {
        &self.block
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Everything that was changed so far.
    pub fn overlay(&self) -> &Overlay {
        &self.database().overlay
    }

    /// The state as the next transaction finds it.
    pub fn state(&self) -> OverlayReader<'_, &R> {
        self.database().overlay.over(&self.database().reader)
    }

    /// From now on changes are kept for [`Self::take_delta`], too.
    pub fn track_delta(&mut self) {
        self.database_mut().delta = Some(Overlay::default());
    }

    /// What was changed since the last call, or since [`Self::track_delta`].
    pub fn take_delta(&mut self) -> Overlay {
        self.database_mut().delta.as_mut().map(core::mem::take).unwrap_or_default()
    }

    pub fn into_parts(self) -> (Overlay, CodeCache) {
        let database = self.inner.ctx.journaled_state.database;
        (database.overlay, database.codes)
    }

    /// Writes a slot without a transaction, for what protocols write at a block's start. The account must exist.
    pub fn set_storage(&mut self, address: alloy_primitives::Address, slot: U256, value: U256) {
        self.database_mut().set_storage(address, slot, value);
    }

    /// Writes an account without a transaction; its storage stays.
    pub fn set_account(&mut self, address: alloy_primitives::Address, account: AccountInfo) {
        self.database_mut().set_account(address, Some(account));
    }

    /// Executes a transaction and keeps what it changed. An invalid one changes nothing.
    pub fn execute(
        &mut self,
        transaction: &RecoveredTransaction,
    ) -> Result<Result<Outcome, InvalidTransaction>, R::Error> {
        if let (Transaction::Deposit(deposit), Rules::L2) = (&transaction.transaction, self.rules) {
            return self.execute_deposit(deposit).map(Ok);
        }
        let prepared = match prepare(self.rules, &self.block, transaction) {
            Ok(prepared) => prepared,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let Prepared { env, intrinsic, data_gas, price } = prepared;
        let reward = match self.rules {
            Rules::L1 => price.saturating_sub(u128::from(self.block.base_fee)),
            Rules::L2 => price,
        };
        let charges = Charges { price, reward, data_gas };
        self.inner.ctx.tx = env;
        if let Err(invalid) = self.charge_sender(charges, true)? {
            self.discard();
            return Ok(Err(invalid));
        }
        let outcome = self.run(intrinsic, charges)?;
        self.keep();
        Ok(Ok(outcome))
    }

    /// Total: a deposit that cannot start is included as failed.
    fn execute_deposit(&mut self, deposit: &TxDeposit) -> Result<Outcome, R::Error> {
        let env = deposit_env(deposit);
        let intrinsic = intrinsic_gas(&env);
        let is_call = env.kind.is_call();
        let loaded = self.inner.ctx.journaled_state.load_account_mut(deposit.from);
        let mut sender = match loaded {
            Ok(sender) => sender.data,
            Err(Interrupted) => return Err(self.fail()),
        };
        sender.incr_balance(U256::from(deposit.mint));
        let starts = deposit_starts(&env, &intrinsic, *sender.balance(), sender.nonce());
        // A creation that starts bumps the nonce itself. At its maximum the nonce stays.
        if is_call || !starts {
            sender.bump_nonce();
        }
        let outcome = if starts {
            self.inner.ctx.tx = env;
            self.run(intrinsic, Charges::default())?
        } else {
            self.inner.ctx.journaled_state.commit_tx();
            Outcome {
                status: Status::Halt(Halt::DepositNotStarted),
                execution_gas: deposit.gas_limit,
                data_gas: 0,
                logs: Vec::new(),
                output: Bytes::new(),
                contract_address: None,
            }
        };
        self.keep();
        Ok(outcome)
    }

    /// Checks the sender against the state and takes the price of the whole gas limit. With `signed` unset the sender
    /// may have code and any nonce.
    pub(crate) fn charge_sender(
        &mut self,
        charges: Charges,
        signed: bool,
    ) -> Result<Result<(), InvalidTransaction>, R::Error> {
        let context = &mut self.inner.ctx;
        let tx = &context.tx;
        let mut sender = match context.journaled_state.load_account_with_code_mut(tx.caller) {
            Ok(sender) => sender.data,
            Err(Interrupted) => return Err(self.fail()),
        };
        if signed {
            let has_code = sender.code().is_some_and(|c| !c.is_empty() && !c.is_eip7702());
            if has_code {
                return Ok(Err(InvalidTransaction::SenderHasCode(tx.caller)));
            }
            let state = sender.nonce();
            if tx.nonce < state {
                return Ok(Err(InvalidTransaction::NonceTooLow { tx: tx.nonce, state }));
            }
            if tx.nonce > state {
                return Ok(Err(InvalidTransaction::NonceTooHigh { tx: tx.nonce, state }));
            }
        }
        let gas_limit = U256::from(tx.gas_limit) + U256::from(charges.data_gas);
        let blob_gas = U256::from(DATA_GAS_PER_BLOB) * U256::from(tx.blob_hashes.len());
        // At most 2^65 gas at 2^128 wei each, twice: only the value can overflow.
        let fees =
            gas_limit * U256::from(tx.gas_price) + blob_gas * U256::from(tx.max_fee_per_blob_gas);
        let have = *sender.balance();
        let want = fees.saturating_add(tx.value);
        if fees.checked_add(tx.value).is_none_or(|want| want > have) {
            return Ok(Err(InvalidTransaction::InsufficientFunds { have, want }));
        }
        let taken = gas_limit * U256::from(charges.price)
            + blob_gas * U256::from(self.block.blob_base_fee.min(tx.max_fee_per_blob_gas));
        sender.set_balance(have - taken);
        if tx.kind.is_call() {
            sender.bump_nonce();
        }
        Ok(Ok(()))
    }

    /// Executes what is set up in the context.
    pub(crate) fn run(
        &mut self,
        intrinsic: InitialAndFloorGas,
        charges: Charges,
    ) -> Result<Outcome, R::Error> {
        let mut runner = Runner { intrinsic, charges, reader: PhantomData::<R> };
        match runner.run(&mut self.inner) {
            Ok(result) => Ok(outcome(result, charges.data_gas)),
            Err(EVMError::Database(Interrupted)) => Err(self.fail()),
            // Validation is ours, no precompile fails fatally, and no instruction sets another error.
            Err(error) => unreachable!("execution reports only what the reader lacks: {error}"),
        }
    }

    /// The reader's error; what the transaction did is dropped.
    pub(crate) fn fail(&mut self) -> R::Error {
        self.discard();
        self.database_mut().failure.take().expect("set by every read that is interrupted")
    }

    /// Moves what the transaction changed from the journal to the overlay.
    pub(crate) fn keep(&mut self) {
        let journal = &mut self.inner.ctx.journaled_state;
        for (address, account) in journal.inner.state.drain() {
            journal.database.absorb(address, account);
        }
        self.reset();
    }

    pub(crate) fn discard(&mut self) {
        let journal = &mut self.inner.ctx.journaled_state;
        journal.inner.discard_tx();
        journal.inner.state.clear();
        self.reset();
    }

    fn reset(&mut self) {
        let inner = &mut self.inner.ctx.journaled_state.inner;
        if inner.state.capacity() > KEPT_ACCOUNTS {
            inner.state = Default::default();
        }
        inner.transaction_id = TransactionId::ZERO;
    }

    pub(crate) fn database(&self) -> &StateDb<R> {
        &self.inner.ctx.journaled_state.database
    }

    pub(crate) fn database_mut(&mut self) -> &mut StateDb<R> {
        &mut self.inner.ctx.journaled_state.database
    }
}

pub(crate) fn outcome(result: ExecutionResult, data_gas: u64) -> Outcome {
    let execution_gas = result.tx_gas_used();
    let contract_address = result.created_address();
    let (status, logs, output) = match result {
        ExecutionResult::Success { logs, output, .. } => {
            (Status::Success, logs, output.into_data())
        }
        ExecutionResult::Revert { logs, output, .. } => (Status::Revert, logs, output),
        ExecutionResult::Halt { reason, logs, .. } => {
            (Status::Halt(reason.into()), logs, Bytes::new())
        }
    };
    Outcome { status, execution_gas, data_gas, logs, output, contract_address }
}
