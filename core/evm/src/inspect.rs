//! Executions that are watched: bounded in time by whoever asks for them, and seen by an inspector.

use core::marker::PhantomData;

use annex_state::StateReader;
use op_alloy_consensus::TxDeposit;
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, ExecutionResult, HaltReason};
use revm::context::{ContextTr, FrameStack, JournalTr};
use revm::context_interface::context::ContextError;
use revm::handler::evm::{ContextDbError, FrameInitResult, FrameTr};
use revm::handler::{EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, Handler};
use revm::inspector::{Inspector, InspectorEvmTr, InspectorHandler};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_types::{Jumps, MemoryTr, ReturnData};
use revm::interpreter::{
    CallInputs, CallOutcome, CreateInputs, CreateOutcome, InitialAndFloorGas, Interpreter,
};
use revm::primitives::{Address, Log, U256};

use crate::database::Interrupted;
use crate::handler::{Charges, RevmContext, RevmEvm, Runner};
use crate::validate::{Prepared, deposit_env, deposit_starts, intrinsic_gas, prepare};
use crate::{Evm, InvalidTransaction, Rules};

/// Instructions between two looks at the clock.
const STRIDE: u32 = 4096;

/// What ends an execution that takes too long or records too much.
pub struct Watchdog<'a> {
    /// Asked every few thousand instructions: `true` ends the execution.
    pub expired: &'a dyn Fn() -> bool,
    /// Bytes that may still be recorded, counted about as JSON shows them.
    pub bytes: usize,
}

impl core::fmt::Debug for Watchdog<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Watchdog").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why a watched execution came to no end of its own. Nothing of the state has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError<E> {
    /// The state reader's error.
    #[error("{0}")]
    Reader(E),
    #[error("execution timed out")]
    Expired,
    #[error("what is recorded exceeds the limit")]
    TooLarge,
}

/// Of a watched execution: the host's or the watchdog's error, or why the transaction cannot start, or what it did.
pub type WatchResult<T, E> = Result<Result<T, InvalidTransaction>, WatchError<E>>;

impl<E> From<E> for WatchError<E> {
    fn from(error: E) -> Self {
        Self::Reader(error)
    }
}

/// What an inspector keeps of each instruction, as far as it takes memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recording {
    pub calls: bool,
    pub steps: bool,
    pub stack: bool,
    pub memory: bool,
    pub storage: bool,
    pub return_data: bool,
    /// Instructions that are kept at most.
    pub limit: u64,
}

impl Recording {
    /// Inputs, outputs and logs, and nothing of single instructions.
    pub fn calls() -> Self {
        Self { calls: true, ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Expired,
    TooLarge,
}

/// An inspector behind a watchdog.
pub(crate) struct Guard<'a, 'w, I> {
    pub inspector: I,
    recording: Recording,
    watchdog: &'a mut Watchdog<'w>,
    until_look: u32,
    /// Storage accesses so far: what a struct log repeats at each of them.
    slots: usize,
    steps: u64,
    cut: Option<Cut>,
}

impl<'a, 'w, I> Guard<'a, 'w, I> {
    pub fn new(inspector: I, recording: Recording, watchdog: &'a mut Watchdog<'w>) -> Self {
        Self { inspector, recording, watchdog, until_look: 1, slots: 0, steps: 0, cut: None }
    }

    fn take(&mut self, bytes: usize) {
        match self.watchdog.bytes.checked_sub(bytes) {
            Some(left) => self.watchdog.bytes = left,
            None => self.cut = self.cut.or(Some(Cut::TooLarge)),
        }
    }

    #[inline]
    fn look(&mut self) {
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = STRIDE;
            if (self.watchdog.expired)() {
                self.cut = self.cut.or(Some(Cut::Expired));
            }
        }
    }

    fn record(&mut self, interp: &Interpreter) {
        let Recording { stack, memory, storage, return_data, limit, .. } = self.recording;
        self.steps += 1;
        if self.steps > limit {
            return;
        }
        let mut bytes = 256;
        if stack {
            bytes += 40 * interp.stack.len();
        }
        if memory {
            bytes += 3 * interp.memory.size();
        }
        if return_data {
            bytes += 2 * interp.return_data.buffer().len();
        }
        if storage && matches!(interp.bytecode.opcode(), SLOAD | SSTORE) {
            self.slots += 1;
            bytes += 140 * self.slots;
        }
        self.take(bytes);
    }

    fn record_call(&mut self, data: usize) {
        if self.recording.calls {
            self.take(512 + 3 * data);
        }
    }
}

const SLOAD: u8 = revm::bytecode::opcode::SLOAD;
const SSTORE: u8 = revm::bytecode::opcode::SSTORE;

impl<R: StateReader, I: Inspector<RevmContext<R>>> Inspector<RevmContext<R>> for Guard<'_, '_, I> {
    fn initialize_interp(&mut self, interp: &mut Interpreter, context: &mut RevmContext<R>) {
        self.inspector.initialize_interp(interp, context);
    }

    #[inline]
    fn step(&mut self, interp: &mut Interpreter, context: &mut RevmContext<R>) {
        self.look();
        if self.recording.steps {
            self.record(interp);
        }
        if self.cut.is_some() {
            if context.error().is_ok() {
                *context.error() = Err(ContextError::Custom("cut short".into()));
            }
            interp.halt_fatal();
            return;
        }
        self.inspector.step(interp, context);
    }

    #[inline]
    fn step_end(&mut self, interp: &mut Interpreter, context: &mut RevmContext<R>) {
        self.inspector.step_end(interp, context);
    }

    fn log(&mut self, context: &mut RevmContext<R>, log: Log) {
        self.record_call(log.data.data.len());
        self.inspector.log(context, log);
    }

    fn log_full(&mut self, interp: &mut Interpreter, context: &mut RevmContext<R>, log: Log) {
        self.record_call(log.data.data.len());
        self.inspector.log_full(interp, context, log);
    }

    fn call(
        &mut self,
        context: &mut RevmContext<R>,
        inputs: &mut CallInputs,
    ) -> Option<CallOutcome> {
        self.record_call(inputs.input.len());
        // What is over the limit is not copied; the next instruction ends the execution.
        if self.cut.is_some() {
            return None;
        }
        self.inspector.call(context, inputs)
    }

    fn call_end(
        &mut self,
        context: &mut RevmContext<R>,
        inputs: &CallInputs,
        outcome: &mut CallOutcome,
    ) {
        self.record_call(outcome.result.output.len());
        if self.cut.is_none() {
            self.inspector.call_end(context, inputs, outcome);
        }
    }

    fn create(
        &mut self,
        context: &mut RevmContext<R>,
        inputs: &mut CreateInputs,
    ) -> Option<CreateOutcome> {
        self.record_call(inputs.init_code().len());
        if self.cut.is_some() {
            return None;
        }
        self.inspector.create(context, inputs)
    }

    fn create_end(
        &mut self,
        context: &mut RevmContext<R>,
        inputs: &CreateInputs,
        outcome: &mut CreateOutcome,
    ) {
        self.record_call(outcome.result.output.len());
        if self.cut.is_none() {
            self.inspector.create_end(context, inputs, outcome);
        }
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.record_call(0);
        Inspector::<RevmContext<R>>::selfdestruct(&mut self.inspector, contract, target, value);
    }
}

/// The EVM with an inspector beside it.
struct Watched<'a, R: StateReader, I> {
    evm: &'a mut RevmEvm<R>,
    inspector: I,
}

type Frame = EthFrame<EthInterpreter>;

impl<R: StateReader, I> EvmTr for Watched<'_, R, I> {
    type Context = RevmContext<R>;
    type Instructions = <RevmEvm<R> as EvmTr>::Instructions;
    type Precompiles = EthPrecompiles;
    type Frame = Frame;

    fn all(&self) -> (&RevmContext<R>, &Self::Instructions, &EthPrecompiles, &FrameStack<Frame>) {
        self.evm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut RevmContext<R>, &mut Self::Instructions, &mut EthPrecompiles, &mut FrameStack<Frame>)
    {
        self.evm.all_mut()
    }

    fn frame_init(
        &mut self,
        input: <Frame as FrameTr>::FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<RevmContext<R>>> {
        self.evm.frame_init(input)
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<RevmContext<R>>> {
        self.evm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<RevmContext<R>>> {
        self.evm.frame_return_result(result)
    }
}

impl<R: StateReader, I: Inspector<RevmContext<R>>> InspectorEvmTr for Watched<'_, R, I> {
    type Inspector = I;

    fn all_inspector(
        &self,
    ) -> (&RevmContext<R>, &Self::Instructions, &EthPrecompiles, &FrameStack<Frame>, &I) {
        let (context, instructions, precompiles, frames) = self.evm.all();
        (context, instructions, precompiles, frames, &self.inspector)
    }

    fn all_mut_inspector(
        &mut self,
    ) -> (
        &mut RevmContext<R>,
        &mut Self::Instructions,
        &mut EthPrecompiles,
        &mut FrameStack<Frame>,
        &mut I,
    ) {
        let (context, instructions, precompiles, frames) = self.evm.all_mut();
        (context, instructions, precompiles, frames, &mut self.inspector)
    }
}

/// [`Runner`] for the watched EVM.
struct WatchedRunner<'a, R, I> {
    runner: Runner<R>,
    evm: PhantomData<&'a mut I>,
}

impl<'a, R: StateReader + 'a, I> Handler for WatchedRunner<'a, R, I> {
    type Evm = Watched<'a, R, I>;
    type Error = EVMError<Interrupted>;
    type HaltReason = HaltReason;

    fn validate(&self, evm: &mut Self::Evm) -> Result<InitialAndFloorGas, Self::Error> {
        self.runner.validate(evm.evm)
    }

    fn reimburse_caller(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        self.runner.reimburse_caller(evm.evm, result)
    }

    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        self.runner.reward_beneficiary(evm.evm, result)
    }
}

impl<'a, R, I> InspectorHandler for WatchedRunner<'a, R, I>
where
    R: StateReader + 'a,
    I: Inspector<RevmContext<R>>,
{
    type IT = EthInterpreter;
}

/// A transaction whose sender was charged, or a deposit whose mint was paid: ready to run.
pub(crate) struct Started {
    pub intrinsic: InitialAndFloorGas,
    pub charges: Charges,
    /// `false`: a deposit that cannot start, included as failed with all its gas.
    pub runs: bool,
}

impl<R: StateReader> Evm<R> {
    /// What [`Evm::execute`] does before the execution itself, for a transaction that will be watched. Reverting what
    /// it did is the caller's, by [`Evm::discard`].
    pub(crate) fn start(
        &mut self,
        transaction: &annex_types::RecoveredTransaction,
    ) -> Result<Result<Started, InvalidTransaction>, R::Error> {
        if let (annex_types::Transaction::Deposit(deposit), Rules::L2) =
            (&transaction.transaction, self.rules())
        {
            return self.start_deposit(deposit).map(Ok);
        }
        let prepared = match prepare(self.rules(), self.block(), transaction) {
            Ok(prepared) => prepared,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let Prepared { env, intrinsic, data_gas, price } = prepared;
        let charges = Charges { price, reward: self.reward(price), data_gas };
        self.inner.ctx.tx = env;
        if let Err(invalid) = self.charge_sender(charges, true)? {
            self.discard();
            return Ok(Err(invalid));
        }
        Ok(Ok(Started { intrinsic, charges, runs: true }))
    }

    fn start_deposit(&mut self, deposit: &TxDeposit) -> Result<Started, R::Error> {
        let env = deposit_env(deposit);
        let intrinsic = intrinsic_gas(&env);
        let mut sender = match self.inner.ctx.journaled_state.load_account_mut(deposit.from) {
            Ok(sender) => sender.data,
            Err(Interrupted) => return Err(self.fail()),
        };
        sender.incr_balance(U256::from(deposit.mint));
        let runs = deposit_starts(&env, &intrinsic, *sender.balance(), sender.nonce());
        if env.kind.is_call() || !runs {
            sender.bump_nonce();
        }
        self.inner.ctx.tx = env;
        Ok(Started { intrinsic, charges: Charges::default(), runs })
    }

    /// Runs what is set up in the context; what it changed stays in the journal.
    pub(crate) fn watch<I: Inspector<RevmContext<R>>>(
        &mut self,
        intrinsic: InitialAndFloorGas,
        charges: Charges,
        guard: &mut Guard<'_, '_, I>,
    ) -> Result<ExecutionResult, WatchError<R::Error>> {
        let runner = Runner { intrinsic, charges, reader: PhantomData::<R> };
        let result = WatchedRunner { runner, evm: PhantomData }
            .inspect_run(&mut Watched { evm: &mut self.inner, inspector: &mut *guard });
        match (result, guard.cut) {
            (_, Some(cut)) => {
                self.discard();
                Err(match cut {
                    Cut::Expired => WatchError::Expired,
                    Cut::TooLarge => WatchError::TooLarge,
                })
            }
            (Ok(result), None) => Ok(result),
            (Err(EVMError::Database(Interrupted)), None) => Err(WatchError::Reader(self.fail())),
            (Err(error), None) => {
                unreachable!("execution reports only what the reader lacks: {error}")
            }
        }
    }
}
