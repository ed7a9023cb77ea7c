//! Traces of transactions and calls, with go-ethereum's tracers.

use core::cell::Cell;

use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_rpc_types_trace::geth::{
    CallFrame, GethDebugBuiltInTracerType as Builtin, GethDebugTracerType, GethDebugTracingOptions,
    GethTrace,
};
use annex_state::{AccountInfo, OverlayReader, StateReader};
use annex_types::{RecoveredTransaction, Transaction};
use revm::DatabaseRef;
use revm::bytecode::Bytecode;
use revm::context::result::{ExecutionResult, HaltReason, ResultAndState, ResultGas};
use revm::state::AccountInfo as RevmAccountInfo;
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use serde_json::{Map, Value};

use crate::database::{Interrupted, StateDb};
use crate::evm::outcome;
use crate::inspect::{Guard, Recording, Started};
use crate::{CallRequest, Evm, Halt, Outcome, Status, WatchError, WatchResult, Watchdog};

/// A tracer as a request names it.
#[derive(Debug)]
pub struct Tracer {
    inspector: DebugInspector,
    recording: Recording,
}

/// Why a request names no tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TracerError {
    #[error(
        "JavaScript tracers are not supported: use callTracer, flatCallTracer, prestateTracer, 4byteTracer, muxTracer, noopTracer or no tracer for struct logs"
    )]
    Script,
    #[error("tracer not supported")]
    Unsupported,
    #[error("invalid tracer config")]
    Config,
}

/// Where a traced transaction stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracedAt {
    pub block_hash: Option<B256>,
    pub index: Option<usize>,
    pub hash: Option<B256>,
}

impl Tracer {
    /// Of built-in tracers all but `erc7562Tracer` and `stateGasTracer`.
    pub fn new(mut options: GethDebugTracingOptions) -> Result<Self, TracerError> {
        let supported =
            |tracer: &Builtin| !matches!(tracer, Builtin::Erc7562Tracer | Builtin::StateGasTracer);
        let recording = match &options.tracer {
            Some(GethDebugTracerType::JsTracer(script)) if script.is_empty() => steps(&options),
            Some(GethDebugTracerType::JsTracer(_)) => return Err(TracerError::Script),
            Some(GethDebugTracerType::BuiltInTracer(tracer)) if !supported(tracer) => {
                return Err(TracerError::Unsupported);
            }
            Some(GethDebugTracerType::BuiltInTracer(Builtin::MuxTracer)) => {
                complete(&mut options.tracer_config.0);
                let config = options.tracer_config.clone().into_mux_config();
                let config = config.map_err(|_| TracerError::Config)?;
                let single = |tracer: &GethDebugTracerType| match tracer {
                    GethDebugTracerType::BuiltInTracer(tracer) => {
                        supported(tracer) && *tracer != Builtin::MuxTracer
                    }
                    GethDebugTracerType::JsTracer(_) => false,
                };
                if !config.0.keys().all(single) {
                    return Err(TracerError::Unsupported);
                }
                Recording::calls()
            }
            Some(GethDebugTracerType::BuiltInTracer(_)) => Recording::calls(),
            None => steps(&options),
        };
        let inspector = DebugInspector::new(options).map_err(|error| match error {
            DebugInspectorError::UnsupportedTracer => TracerError::Unsupported,
            DebugInspectorError::JsTracerNotEnabled => TracerError::Script,
            _ => TracerError::Config,
        })?;
        Ok(Self { inspector, recording })
    }

    /// Forgets the transaction before.
    fn reset(&mut self) {
        // Only a multiplexer's configuration could be refused, and it was taken before.
        let reset = self.inspector.fuse();
        reset.expect("this configuration was taken when the tracer was made");
    }
}

/// Tracers below a multiplexer, as the library wants them: with a configuration exactly if there is something to configure.
fn complete(config: &mut Value) {
    for (name, config) in config.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "4byteTracer" | "noopTracer" => *config = Value::Null,
            _ if config.is_null() => *config = Value::Object(Map::new()),
            _ => {}
        }
    }
}

fn steps(options: &GethDebugTracingOptions) -> Recording {
    let config = &options.config;
    Recording {
        calls: true,
        steps: true,
        stack: config.is_stack_enabled(),
        memory: config.is_memory_enabled(),
        storage: config.is_storage_enabled(),
        return_data: config.is_return_data_enabled(),
        limit: config.limit.filter(|limit| *limit != 0).unwrap_or(u64::MAX),
    }
}

impl<R: StateReader> Evm<R> {
    /// [`Evm::execute`] with a tracer beside it. The trace's gas is the receipt's, data gas included.
    pub fn trace(
        &mut self,
        transaction: &RecoveredTransaction,
        at: TracedAt,
        tracer: &mut Tracer,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, GethTrace), R::Error> {
        let started = match self.start(transaction)? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let gas_limit = match &transaction.transaction {
            Transaction::Deposit(deposit) => deposit.gas_limit,
            tx => alloy_consensus::Transaction::gas_limit(tx),
        };
        let traced = self.trace_started(started, gas_limit, at, tracer, watchdog)?;
        self.keep();
        Ok(Ok(traced))
    }

    /// [`Evm::call`] with a tracer beside it.
    pub fn trace_call(
        &mut self,
        request: &CallRequest,
        tracer: &mut Tracer,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, GethTrace), R::Error> {
        let started = match self.start_call(request, None)? {
            Ok((intrinsic, charges)) => Started { intrinsic, charges, runs: true },
            Err(invalid) => return Ok(Err(invalid)),
        };
        let gas_limit = request.gas_limit;
        let traced = self.trace_started(started, gas_limit, TracedAt::default(), tracer, watchdog);
        self.discard();
        traced.map(Ok)
    }

    fn trace_started(
        &mut self,
        started: Started,
        gas_limit: u64,
        at: TracedAt,
        tracer: &mut Tracer,
        watchdog: &mut Watchdog<'_>,
    ) -> Result<(Outcome, GethTrace), WatchError<R::Error>> {
        let Started { intrinsic, charges, runs } = started;
        tracer.reset();
        let (mut result, outcome) = if runs {
            let mut guard = Guard::new(&mut tracer.inspector, tracer.recording, watchdog);
            let result = self.watch(intrinsic, charges, &mut guard)?;
            (result.clone(), outcome(result, charges.data_gas))
        } else {
            self.inner.ctx.journaled_state.commit_tx();
            not_started(gas_limit)
        };
        add_gas(&mut result, charges.data_gas);
        // What calls and results show is the transaction's own limit, of which data gas is a part.
        self.inner.ctx.tx.gas_limit = gas_limit;
        let mut trace = self.result(result, at, tracer, watchdog)?;
        if !runs {
            self.show_not_started(&mut trace);
        }
        Ok((outcome, trace))
    }

    /// Inspectors see nothing of a deposit that cannot start.
    fn show_not_started(&self, trace: &mut GethTrace) {
        let tx = &self.inner.ctx.tx;
        match trace {
            GethTrace::Default(frame) => (frame.failed, frame.gas) = (true, tx.gas_limit),
            GethTrace::CallTracer(frame) => {
                let (typ, to) = match tx.kind {
                    TxKind::Call(to) => ("CALL", Some(to)),
                    TxKind::Create => ("CREATE", None),
                };
                *frame = CallFrame {
                    typ: typ.to_owned(),
                    from: tx.caller,
                    to,
                    gas: U256::from(tx.gas_limit),
                    gas_used: U256::from(tx.gas_limit),
                    input: tx.data.clone(),
                    value: Some(tx.value),
                    error: Some(Halt::DepositNotStarted.to_string()),
                    ..Default::default()
                };
            }
            _ => {}
        }
    }

    fn result(
        &mut self,
        result: ExecutionResult,
        at: TracedAt,
        tracer: &mut Tracer,
        watchdog: &mut Watchdog<'_>,
    ) -> Result<GethTrace, WatchError<R::Error>> {
        let state = core::mem::take(&mut self.inner.ctx.journaled_state.inner.state);
        let executed = ResultAndState { result, state };
        let context = &self.inner.ctx;
        let mut before = Before {
            database: &context.journaled_state.database,
            left: Cell::new(watchdog.bytes),
            failure: Cell::new(None),
        };
        let place =
            TransactionContext { block_hash: at.block_hash, tx_index: at.index, tx_hash: at.hash };
        let inspector = &mut tracer.inspector;
        let trace =
            inspector.get_result(Some(place), &context.tx, &context.block, &executed, &mut before);
        watchdog.bytes = before.left.get();
        let failure = before.failure.take();
        self.inner.ctx.journaled_state.inner.state = executed.state;
        trace.map_err(|_| match failure {
            Some(error) => WatchError::Reader(error),
            None => WatchError::TooLarge,
        })
    }
}

/// A deposit that could not start, as the EVM library would report it.
fn not_started(gas_limit: u64) -> (ExecutionResult, Outcome) {
    let gas = ResultGas::default().with_total_gas_spent(gas_limit);
    let reason = HaltReason::CallTooDeep;
    let result = ExecutionResult::Halt { reason, gas, logs: Vec::new() };
    let outcome = Outcome {
        status: Status::Halt(Halt::DepositNotStarted),
        execution_gas: gas_limit,
        data_gas: 0,
        logs: Vec::new(),
        output: Default::default(),
        contract_address: None,
    };
    (result, outcome)
}

fn add_gas(result: &mut ExecutionResult, data_gas: u64) {
    let (ExecutionResult::Success { gas, .. }
    | ExecutionResult::Revert { gas, .. }
    | ExecutionResult::Halt { gas, .. }) = result;
    gas.set_total_gas_spent(gas.total_gas_spent().saturating_add(data_gas));
    if gas.floor_gas() != 0 {
        gas.set_floor_gas(gas.floor_gas().saturating_add(data_gas));
    }
}

impl<R: StateReader> StateDb<R> {
    /// The state as it was before the running transaction.
    fn below(&self) -> OverlayReader<'_, &R> {
        self.overlay.over(&self.reader)
    }
}

/// The state before the transaction, as what prestates are read from; codes count as recorded.
struct Before<'a, R: StateReader> {
    database: &'a StateDb<R>,
    left: Cell<usize>,
    failure: Cell<Option<R::Error>>,
}

impl<R: StateReader> Before<'_, R> {
    fn guard<T>(&self, result: Result<T, R::Error>) -> Result<T, Interrupted> {
        result.map_err(|error| {
            self.failure.set(Some(error));
            Interrupted
        })
    }

    fn take(&self, bytes: usize) -> Result<(), Interrupted> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(Interrupted)?);
        Ok(())
    }
}

impl<R: StateReader> DatabaseRef for Before<'_, R> {
    type Error = Interrupted;

    fn basic_ref(&self, address: Address) -> Result<Option<RevmAccountInfo>, Interrupted> {
        self.take(512)?;
        let account = self.guard(self.database.below().account(address))?;
        Ok(account.map(|AccountInfo { nonce, balance, code_hash }| RevmAccountInfo {
            balance,
            nonce,
            code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Interrupted> {
        let code = self.guard(self.database.below().code(hash))?;
        self.take(3 * code.len())?;
        Ok(Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code)))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Interrupted> {
        self.guard(self.database.below().storage(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Interrupted> {
        self.guard(self.database.below().block_hash(number))
    }
}
