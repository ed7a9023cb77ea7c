//! Runs the built binary as people run it, and asks it only what anybody may ask.
//!
//! - [`Dev`] is `annex dev`, [`Node`] is `annex node`, [`Anvil`] is Foundry's chain; all end with the test process, however it ends.
//! - [`Rpc`] is a JSON-RPC client, [`Wallet`] signs, [`script`] runs a client script of `tests/clients`.
//! - A [`Clock`] steers L1's time, so that disputes need not wait for it; [`settlement`] says what they cost.
//! - [`batch`] and [`promise`] write what a dishonest leader would, [`Liar`] serves it.
//! - A [`Proxy`] is an L1 endpoint that fails and lies, a [`Relay`] is a cable that can be pulled out.
//! - [`OwnChain`] is a chain whose leader and followers are processes of their own; [`Load`] sends to one and holds its answers against it.
//! - A [`Folder`] holds data directories and logs, and is kept when a test of the process fails.

pub mod batch;
mod chain;
mod clock;
mod disk;
mod folder;
mod l1;
mod liar;
mod load;
mod own_chain;
mod process;
pub mod promise;
mod proxy;
mod relay;
mod rpc;
mod script;
pub mod settlement;
mod shared;
mod usage;
mod wallet;

pub use chain::{
    Anvil, Dev, DevOptions, LeaderOptions, Node, NodeOptions, everything_safe, free_port,
};
pub use clock::{Clock, Pace};
pub use disk::Disk;
pub use folder::Folder;
pub use l1::{L1Call, record_of, reorganise};
pub use liar::Liar;
pub use load::{Load, Witnessed, full_load, place_and_result, send};
pub use own_chain::OwnChain;
pub use process::{Process, annex, run};
pub use proxy::{Fault, Proxy, Rule, View};
pub use relay::Relay;
pub use rpc::{CallError, Rpc, number};
pub use script::{script, scripts_folder};
pub use shared::Shared;
pub use usage::Usage;
pub use wallet::{DEV_MNEMONIC, ETHER, GWEI, Wallet, dev_key};

use alloy_sol_types::sol;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

sol! {
    /// What the tests call on L1 (spec/records.md).
    interface Inbox {
        function submit(uint256 forcedUpTo) external;
        function submitCalldata(uint256 forcedUpTo, bytes data) external;
        function recordCount() external view returns (uint256);
        function forcedCount() external view returns (uint256);
        function forcedConsumed() external view returns (uint256);
        function openPeriod() external view returns (bool);
    }
    interface Portal {
        function depositTransaction(address to, uint256 value, uint64 gasLimit, bool isCreation, bytes data) external payable;
    }
}

/// Polls until `probe` yields something; panics with `what` and where the logs are once `limit` has passed.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            start.elapsed() < limit,
            "{what}: not within {limit:?}; logs are in {}",
            folder::recent()
        );
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Seconds, for [`eventually`].
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Whether the long form of a test is wanted, as `cargo xtask soak` does.
pub fn soak() -> bool {
    std::env::var_os("ANNEX_SOAK").is_some()
}

/// The seed of a test: `ANNEX_SEED`, or another every time. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let given =
        std::env::var("ANNEX_SEED").ok().map(|seed| seed.parse().expect("ANNEX_SEED is a number"));
    let seed = given.unwrap_or_else(entropy);
    println!("ANNEX_SEED={seed}");
    seed
}

/// Another number every time.
fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}
