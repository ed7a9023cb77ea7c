//! What JSON-RPC clients may ask for.

use annex_node::Limits;
use clap::Args;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn default() -> Limits {
    Limits::default()
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of JSON-RPC")]
pub struct LimitArgs {
    /// MiB of a request
    #[arg(long, value_name = "MIB", default_value_t = default().max_request as usize / MIB, value_parser = mib)]
    rpc_request_mib: usize,
    /// MiB of the answer to a request, be it one call or a batch
    #[arg(long, value_name = "MIB", default_value_t = default().max_response as usize / MIB, value_parser = mib)]
    rpc_response_mib: usize,
    /// Calls in one batch
    #[arg(long, value_name = "N", default_value_t = default().max_batch)]
    rpc_batch: u32,
    /// Open connections; the one that is idle for longest makes place for another
    #[arg(long, value_name = "N", default_value_t = default().max_connections)]
    rpc_connections: u32,
    /// Subscriptions of one connection
    #[arg(long, value_name = "N", default_value_t = default().max_subscriptions_per_connection)]
    rpc_subscriptions: u32,
    /// Seconds that a connection may stay without a request, a WebSocket without an answer to a ping
    #[arg(long, value_name = "SECONDS", default_value_t = default().idle_timeout.as_secs(), value_parser = seconds)]
    rpc_idle_timeout: u64,
    /// Seconds that a request may take to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = default().request_timeout.as_secs(), value_parser = seconds)]
    rpc_request_timeout: u64,
    /// Seconds that a client may take no byte of its answers
    #[arg(long, value_name = "SECONDS", default_value_t = default().write_timeout.as_secs(), value_parser = seconds)]
    rpc_write_timeout: u64,
    /// MiB of answers that one client may leave unread before its calls wait and its subscriptions end
    #[arg(long, value_name = "MIB", default_value_t = default().max_unread / MIB, value_parser = mib)]
    rpc_unread_mib: usize,
    /// MiB of answers that all clients may leave unread, and MiB of calls that wait for theirs, before the connection with most of
    /// them is closed; from half on, large HTTP requests are refused
    #[arg(long, value_name = "MIB", default_value_t = default().max_unread_in_all / MIB, value_parser = mib)]
    rpc_unread_total_mib: usize,
    /// Calls of one connection that are executed at the same time
    #[arg(long, value_name = "N", default_value_t = default().max_calls_per_connection)]
    rpc_calls_per_connection: usize,
    /// Calls, proofs, log searches and whole blocks that are answered at the same time
    #[arg(long, value_name = "N", default_value_t = default().max_heavy)]
    rpc_heavy: usize,
    /// Traces and simulations at the same time
    #[arg(long, value_name = "N", default_value_t = default().max_traces)]
    rpc_traces: usize,
    /// Seconds that a heavy call may wait for its turn
    #[arg(long, value_name = "SECONDS", default_value_t = default().queue_timeout.as_secs(), value_parser = seconds)]
    rpc_queue_timeout: u64,
    /// Gas of one eth_call, and of all calls of an eth_simulateV1 together
    #[arg(long, value_name = "GAS", default_value_t = default().call_gas)]
    rpc_call_gas: u64,
    /// Seconds of one eth_call, eth_estimateGas, eth_createAccessList or eth_getLogs
    #[arg(long, value_name = "SECONDS", default_value_t = default().call_timeout.as_secs(), value_parser = seconds)]
    rpc_call_timeout: u64,
    /// Seconds of one trace or simulation
    #[arg(long, value_name = "SECONDS", default_value_t = default().trace_timeout.as_secs(), value_parser = seconds)]
    rpc_trace_timeout: u64,
    /// MiB that one trace or simulation may record
    #[arg(long, value_name = "MIB", default_value_t = default().max_trace / MIB, value_parser = mib)]
    rpc_trace_mib: usize,
    /// Blocks that one eth_getLogs may span
    #[arg(long, value_name = "BLOCKS", default_value_t = default().max_log_blocks)]
    rpc_log_blocks: u64,
    /// Logs that one eth_getLogs may return
    #[arg(long, value_name = "N", default_value_t = default().max_logs)]
    rpc_logs: usize,
    /// Blocks that one eth_feeHistory may span
    #[arg(long, value_name = "BLOCKS", default_value_t = default().max_fee_history)]
    rpc_fee_history: u64,
    /// Filters at the same time
    #[arg(long, value_name = "N", default_value_t = default().max_filters)]
    rpc_filters: usize,
    /// Refuse eth_getProof of a block since which more accounts and slots have changed
    #[arg(long, value_name = "N", default_value_t = default().max_proof_changes)]
    max_proof_changes: usize,
}

/// From 1 to what fits 32 bits in bytes.
fn mib(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(mib @ 1..=4095) => Ok(mib),
        Ok(_) => Err("not between 1 and 4095".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        Ok(_) => Err("not between 1 and 86400".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl LimitArgs {
    pub fn limits(&self) -> Limits {
        let seconds = Duration::from_secs;
        let bytes = |mib: usize| u32::try_from(mib * MIB).unwrap_or(u32::MAX);
        Limits {
            max_request: bytes(self.rpc_request_mib),
            max_response: bytes(self.rpc_response_mib),
            max_batch: self.rpc_batch,
            max_connections: self.rpc_connections,
            max_subscriptions_per_connection: self.rpc_subscriptions,
            idle_timeout: seconds(self.rpc_idle_timeout),
            request_timeout: seconds(self.rpc_request_timeout),
            write_timeout: seconds(self.rpc_write_timeout),
            max_unread: self.rpc_unread_mib * MIB,
            max_unread_in_all: self.rpc_unread_total_mib * MIB,
            max_calls_per_connection: self.rpc_calls_per_connection,
            max_heavy: self.rpc_heavy,
            max_traces: self.rpc_traces,
            queue_timeout: seconds(self.rpc_queue_timeout),
            call_gas: self.rpc_call_gas,
            call_timeout: seconds(self.rpc_call_timeout),
            trace_timeout: seconds(self.rpc_trace_timeout),
            max_trace: self.rpc_trace_mib * MIB,
            max_log_blocks: self.rpc_log_blocks,
            max_logs: self.rpc_logs,
            max_fee_history: self.rpc_fee_history,
            max_filters: self.rpc_filters,
            max_proof_changes: self.max_proof_changes,
        }
    }
}
