//! Failures of calls and their JSON-RPC form: codes and wording are go-ethereum's where it has one (spec/rpc.md).

use crate::chain::Rejected;
use crate::simulate::SimulationError;
use alloy_primitives::{B256, Bytes, U64};
use alloy_sol_types::{Panic, Revert, SolError};
use annex_evm::{Halt, InvalidTransaction, TracerError};
use annex_store::StoreError;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};
use std::time::Duration;

pub(crate) const EXECUTION_ERROR: i32 = 3;
/// EIP-7966.
const SYNC_TIMEOUT: i32 = 4;
/// EIP-7966.
const SYNC_NOT_READY: i32 = 5;
/// EIP-7966.
const SYNC_NONCE_GAP: i32 = 6;
const SERVER_ERROR: i32 = -32000;
/// EIP-1474.
const RESOURCE_UNAVAILABLE: i32 = -32002;
/// EIP-1474.
const LIMIT_EXCEEDED: i32 = -32005;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcError {
    /// Parameters that do not parse.
    #[error("{}", .0.message())]
    Params(ErrorObjectOwned),
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("header not found")]
    UnknownBlock,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("execution reverted{}", reason(.0))]
    Reverted(Bytes),
    #[error("{0}")]
    Halted(Halt),
    #[error("gas required exceeds allowance ({0})")]
    GasAllowance(u64),
    #[error("{0}")]
    Invalid(#[from] InvalidTransaction),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("query returned more than {0} results")]
    TooManyLogs(usize),
    #[error(
        "block {block} is too old for a proof: more than {limit} changes of accounts and slots since; name a newer one, or ask a node with a greater --max-proof-changes"
    )]
    ProofTooOld { block: u64, limit: usize },
    #[error("block range exceeds {0} blocks")]
    TooManyBlocks(u64),
    #[error("execution aborted (timeout = {}s)", .0.as_secs_f64())]
    Timeout(Duration),
    /// Too many heavy calls, for too long.
    #[error("too many calls are being executed, try again later")]
    Busy,
    /// See [`crate::Limits::max_unread_in_all`].
    #[error(
        "too much is asked for at once: what requests hold of this node's memory is at its limit; send fewer calls in a batch, or try again later"
    )]
    Overloaded,
    #[error(
        "the trace exceeds the limit of this node; ask for less of it, or raise --rpc-trace-mib"
    )]
    TraceTooLarge,
    #[error("transaction not found")]
    UnknownTransaction,
    #[error("genesis is not traceable")]
    GenesisTrace,
    #[error("tracing on top of pending is not supported")]
    PendingTrace,
    /// The block holds what its parent's state does not allow: `anvil_setBalance` set a balance in it.
    #[error("block {0} cannot be executed again")]
    NotReplayable(u64),
    #[error(transparent)]
    Tracer(#[from] TracerError),
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    #[error("filter not found")]
    FilterNotFound,
    #[error("too many filters")]
    TooManyFilters,
    #[error("the transaction was added to the mempool but wasn't processed in {millis} ms")]
    SyncTimeout { hash: B256, millis: u64 },
    /// The node takes no transactions at the moment.
    #[error("{why}")]
    SyncNotReady { hash: B256, why: Rejected },
    #[error("the transaction waits for a lower nonce: expected nonce {0}")]
    SyncNonceGap(u64),
    /// The node stops, or a bug ended the task.
    #[error("request was not completed")]
    Cancelled,
}

impl From<ErrorObjectOwned> for RpcError {
    fn from(error: ErrorObjectOwned) -> Self {
        Self::Params(error)
    }
}

impl RpcError {
    fn code(&self) -> i32 {
        match self {
            Self::Params(error) => error.code(),
            Self::BadRequest(_) | Self::Tracer(_) | Self::Rejected(Rejected::Malformed) => {
                INVALID_PARAMS_CODE
            }
            Self::Simulation(error) => error.code(),
            Self::Store(StoreError::Pruned { .. } | StoreError::UnknownBlock(_)) => SERVER_ERROR,
            Self::Store(_) | Self::Cancelled | Self::Rejected(Rejected::Internal) => {
                INTERNAL_ERROR_CODE
            }
            Self::Reverted(_) => EXECUTION_ERROR,
            Self::Rejected(Rejected::ByLeader(error)) => error.code(),
            Self::Rejected(Rejected::Backlog | Rejected::Forwarding) => LIMIT_EXCEEDED,
            Self::Rejected(
                Rejected::StaleL1
                | Rejected::NotLeader
                | Rejected::LeaderSilent
                | Rejected::Stopping,
            ) => RESOURCE_UNAVAILABLE,
            Self::Busy
            | Self::Overloaded
            | Self::TraceTooLarge
            | Self::TooManyLogs(_)
            | Self::TooManyBlocks(_)
            | Self::TooManyFilters
            | Self::ProofTooOld { .. } => LIMIT_EXCEEDED,
            Self::SyncTimeout { .. } => SYNC_TIMEOUT,
            Self::SyncNotReady { .. } => SYNC_NOT_READY,
            Self::SyncNonceGap(_) => SYNC_NONCE_GAP,
            Self::UnknownBlock
            | Self::Timeout(_)
            | Self::UnknownTransaction
            | Self::GenesisTrace
            | Self::PendingTrace
            | Self::NotReplayable(_)
            | Self::Halted(_)
            | Self::GasAllowance(_)
            | Self::Invalid(_)
            | Self::Rejected(_)
            | Self::FilterNotFound => SERVER_ERROR,
        }
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            RpcError::Params(error) | RpcError::Rejected(Rejected::ByLeader(error)) => error,
            RpcError::Reverted(output) => Self::owned(code, message, Some(output)),
            RpcError::SyncTimeout { hash, .. } | RpcError::SyncNotReady { hash, .. } => {
                Self::owned(code, message, Some(hash))
            }
            RpcError::SyncNonceGap(expected) => {
                Self::owned(code, message, Some(U64::from(expected)))
            }
            RpcError::Store(ref cause) if code == INTERNAL_ERROR_CODE => {
                tracing::error!(%cause, "store failed to answer a request");
                Self::owned(code, "internal error", None::<()>)
            }
            _ => Self::owned(code, message, None::<()>),
        }
    }
}

/// `: reason` where revert data is an `Error(string)` or `Panic(uint256)`, as go-ethereum words it.
pub(crate) fn reason(output: &Bytes) -> String {
    if let Ok(revert) = Revert::abi_decode(output) {
        return format!(": {}", revert.reason);
    }
    match Panic::abi_decode(output) {
        Ok(panic) => format!(": {panic}"),
        Err(_) => String::new(),
    }
}
