//! What one server bears (spec/rpc.md, "Limits").

use crate::error::RpcError;
use std::time::{Duration, Instant};

/// [`Limits::max_proof_changes`] unless told otherwise: about a second of work.
pub const MAX_PROOF_CHANGES: usize = 100_000;

/// Every limit that an operator may set; [`Limits::default`] is what spec/rpc.md names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request; of what has arrived over a WebSocket and is not answered, before no more is read from it.
    pub max_request: u32,
    /// Bytes of a response, of one call or of a batch.
    pub max_response: u32,
    /// Calls in one batch.
    pub max_batch: u32,
    /// Open sockets. Beyond, the one that is idle for longest is closed.
    pub max_connections: u32,
    pub max_subscriptions_per_connection: u32,
    /// How long a connection may stay without a request; of a WebSocket, without an answer to a ping.
    pub idle_timeout: Duration,
    /// How long a request may take to arrive.
    pub request_timeout: Duration,
    /// How long a client may take no byte of what it asked for.
    pub write_timeout: Duration,
    /// Bytes that wait for one client to read them before its further calls wait and its subscriptions end.
    pub max_unread: usize,
    /// Bytes that wait for all clients. Beyond, the connection is closed on which most waits. Likewise of all that has
    /// arrived and is not answered; beyond half of it, HTTP requests are refused.
    pub max_unread_in_all: usize,
    /// Calls of one connection that are executed at the same time; a batch is alone.
    pub max_calls_per_connection: usize,
    /// Calls, proofs, log searches and whole blocks that are answered at the same time.
    pub max_heavy: usize,
    /// Traces and simulations that run at the same time.
    pub max_traces: usize,
    /// How long a heavy call may wait for its turn.
    pub queue_timeout: Duration,
    /// Gas of one `eth_call`, and of all calls of an `eth_simulateV1` together.
    pub call_gas: u64,
    /// Time of one `eth_call`, `eth_estimateGas` or `eth_createAccessList`.
    pub call_timeout: Duration,
    /// Time of one trace or simulation.
    pub trace_timeout: Duration,
    /// Bytes that one trace or simulation may record, counted about as JSON shows them.
    pub max_trace: usize,
    /// Blocks that one `eth_getLogs` may span.
    pub max_log_blocks: u64,
    /// Logs that one `eth_getLogs` may return.
    pub max_logs: usize,
    /// Blocks that one `eth_feeHistory` may span.
    pub max_fee_history: u64,
    /// Filters at the same time.
    pub max_filters: usize,
    /// Accounts and slots that may have changed since the block of an `eth_getProof`: undoing them is what it costs.
    pub max_proof_changes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request: 5 << 20,
            max_response: 64 << 20,
            max_batch: 2048,
            max_connections: 1024,
            max_subscriptions_per_connection: 64,
            idle_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            max_unread: 16 << 20,
            max_unread_in_all: 128 << 20,
            max_calls_per_connection: 16,
            max_heavy: 16,
            max_traces: 2,
            queue_timeout: Duration::from_secs(30),
            call_gas: 50_000_000,
            call_timeout: Duration::from_secs(5),
            trace_timeout: Duration::from_secs(15),
            max_trace: 128 << 20,
            max_log_blocks: 250_000,
            max_logs: 20_000,
            max_fee_history: 1024,
            max_filters: 1024,
            max_proof_changes: MAX_PROOF_CHANGES,
        }
    }
}

impl Limits {
    /// Bytes of what has arrived and is not answered, beyond which HTTP requests are refused.
    pub(crate) fn max_http_held(&self) -> usize {
        self.max_unread_in_all / 2
    }

    /// Bytes up to which none is refused: with so many of every connection the other half is full.
    pub(crate) fn http_share(&self) -> usize {
        self.max_http_held() / (self.max_connections as usize).max(1)
    }
}

/// Until when one call may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    ends: Instant,
    allowed: Duration,
}

impl Deadline {
    pub fn after(allowed: Duration) -> Self {
        Self { ends: Instant::now() + allowed, allowed }
    }

    pub fn passed(&self) -> bool {
        Instant::now() >= self.ends
    }

    pub fn check(&self) -> Result<(), RpcError> {
        if self.passed() { Err(self.error()) } else { Ok(()) }
    }

    pub fn error(&self) -> RpcError {
        RpcError::Timeout(self.allowed)
    }

    /// A watched execution's failure as this call's.
    pub fn failed(&self, error: annex_evm::WatchError<annex_store::StoreError>) -> RpcError {
        match error {
            annex_evm::WatchError::Reader(error) => error.into(),
            annex_evm::WatchError::Expired => self.error(),
            annex_evm::WatchError::TooLarge => RpcError::TraceTooLarge,
        }
    }
}
