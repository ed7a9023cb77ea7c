//! Who claims what L2 came to, and who beats false claims (spec/settlement.md), as pure functions.
//!
//! A [`Player`] is given what L1 says ([`View`]) and what its own computing came to ([`Book`]), and answers what to do and what to
//! compute ([`Plan`]). It remembers nothing: after a restart the same view and book give the same plan. The honest and the lying
//! differ in their books alone ([`Forgery`]).

// Names of the contracts are spelled as they are there.
#[allow(non_snake_case)]
mod abi;
mod action;
mod book;
mod forge;
mod machine;
#[allow(non_snake_case)]
mod oracle;
mod play;
mod player;
mod tree;
mod view;

pub use abi::Targets;
pub use action::{Action, Need, Output, Plan, Wait, Why};
pub use book::{Book, Lookup, Opening, Progress, Range, Reason, Run, Step, Traffic};
pub use forge::{FalseLeaf, Forgery, Place, forged_state};
pub use machine::{MAX_MEMORY, RunJob, Source, StrideError, StrideJob};
pub use oracle::{Part, PartError, Preimage, load_part};
pub use player::{Conduct, Player};
pub use tree::Tree;
pub use view::{
    Commitment, Match, PHASE_CHILD, PHASE_MOVE, PHASE_OVER, PHASE_PROVE, Params, RangeView,
    Settled, Tournament, View,
};
