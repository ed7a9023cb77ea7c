//! JSON-RPC of the L2 and of the embedded L1 (spec/rpc.md): one implementation over [`Chain`].

pub mod chain;

pub use chain::{
    Accepted, Arrival, Chain, Executed, Finality, MiniBlock, Pending, PendingState, Pool, Rejected,
    Unsealed, decode_raw,
};
