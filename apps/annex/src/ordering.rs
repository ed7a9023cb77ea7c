//! Options of whoever orders transactions.

use annex_node::{Ordering, PoolLimits};
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// At once, in the order of arrival
    FirstCome,
    /// What arrives within a few milliseconds together, the highest priority fee per gas first
    Priority,
}

#[derive(Clone, Debug, Args)]
pub struct OrderingArgs {
    /// Order in which transactions are executed, where this node orders
    #[arg(long, value_enum, default_value_t = Policy::FirstCome)]
    ordering: Policy,
    /// With --ordering priority: milliseconds that the first of a group waits for others
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    ordering_window: u64,
    /// Transactions of one sender that may wait for a lower nonce; each 32 KiB of one count
    #[arg(long, value_name = "N", default_value_t = PoolLimits::default().per_sender)]
    pool_per_sender: usize,
    /// Transactions that may wait for a lower nonce in all, counted likewise; then those that pay least yield
    #[arg(long, value_name = "N", default_value_t = PoolLimits::default().total)]
    pool_total: usize,
    /// Seconds after which a transaction that waits is forgotten
    #[arg(long, value_name = "SECONDS", default_value_t = PoolLimits::default().lifetime.as_secs())]
    pool_lifetime: u64,
}

impl OrderingArgs {
    pub fn ordering(&self) -> Ordering {
        match self.ordering {
            Policy::FirstCome => Ordering::FirstCome,
            Policy::Priority => {
                Ordering::Priority { window: Duration::from_millis(self.ordering_window) }
            }
        }
    }

    pub fn pool(&self) -> PoolLimits {
        PoolLimits {
            per_sender: self.pool_per_sender,
            total: self.pool_total,
            lifetime: Duration::from_secs(self.pool_lifetime),
        }
    }
}
