use core::marker::PhantomData;

use alloy_primitives::U256;
use annex_state::StateReader;
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, HaltReason};
use revm::context::{BlockEnv as RevmBlockEnv, CfgEnv, ContextTr, JournalTr, TxEnv};
use revm::handler::{FrameResult, Handler};
use revm::interpreter::InitialAndFloorGas;
use revm::{Context, Journal, MainnetEvm};

use crate::database::{Interrupted, StateDb};

pub(crate) type RevmContext<R> =
    Context<RevmBlockEnv, TxEnv, CfgEnv, StateDb<R>, Journal<StateDb<R>>, ()>;
pub(crate) type RevmEvm<R> = MainnetEvm<RevmContext<R>>;

/// Who pays what for a transaction's gas; zero for deposits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Charges {
    /// Paid by the sender, in wei a gas.
    pub price: u128,
    /// Paid to the beneficiary, in wei a gas.
    pub reward: u128,
    /// Charged on top of execution, never refunded.
    pub data_gas: u64,
}

/// Runs a transaction that was validated and whose sender was charged for its gas limit.
pub(crate) struct Runner<R> {
    pub intrinsic: InitialAndFloorGas,
    pub charges: Charges,
    pub reader: PhantomData<R>,
}

impl<R: StateReader> Handler for Runner<R> {
    type Evm = RevmEvm<R>;
    type Error = EVMError<Interrupted>;
    type HaltReason = HaltReason;

    fn validate(&self, _: &mut Self::Evm) -> Result<InitialAndFloorGas, Self::Error> {
        Ok(self.intrinsic)
    }

    fn reimburse_caller(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        if self.charges.price == 0 {
            return Ok(());
        }
        let gas = result.gas();
        let unused = gas.remaining() + gas.reservoir() + gas.refunded().unsigned_abs();
        let refund = U256::from(self.charges.price) * U256::from(unused);
        let sender = evm.ctx.tx.caller;
        evm.ctx.journal_mut().load_account_mut(sender)?.incr_balance(refund);
        Ok(())
    }

    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        if self.charges.reward == 0 {
            return Ok(());
        }
        let gas = result.gas();
        let used = U256::from(gas.used().saturating_sub(gas.reservoir()))
            + U256::from(self.charges.data_gas);
        let reward = U256::from(self.charges.reward) * used;
        let beneficiary = evm.ctx.block.beneficiary;
        evm.ctx.journal_mut().load_account_mut(beneficiary)?.incr_balance(reward);
        Ok(())
    }
}
