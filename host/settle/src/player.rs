//! Decides.

use crate::{Book, Plan, View};
use alloy_primitives::Address;

/// A party with one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Player {
    /// Its account on L1.
    pub address: Address,
    /// Whether it opens ranges and joins those in which nothing is claimed yet.
    pub claims: bool,
    pub conduct: Conduct,
}

/// How a party plays what it has staked on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    #[default]
    AtOnce,
    /// Joins, then does nothing: a liar's.
    Never,
    /// Moves when its clock has at most so many seconds left: a liar's.
    AtLast { seconds: u64 },
}

impl Player {
    /// Claims what is true and defends it.
    pub fn claimer(address: Address) -> Self {
        Self { address, claims: true, conduct: Conduct::AtOnce }
    }

    /// Joins where something false is claimed.
    pub fn challenger(address: Address) -> Self {
        Self { address, claims: false, conduct: Conduct::AtOnce }
    }

    /// What to do and to compute now.
    pub fn act(&self, view: &View, book: &Book) -> Plan {
        let _ = (view, book);
        Plan::default()
    }
}
