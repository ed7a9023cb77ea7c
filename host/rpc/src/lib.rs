//! JSON-RPC of the L2 and of the embedded L1 (spec/rpc.md): one implementation over [`Chain`].

mod api;
mod batch;
mod call;
pub mod chain;
mod error;
mod fees;
mod filters;
mod json;
mod logs;
mod methods;
mod routes;
mod send;
mod server;
mod subscribe;

pub use chain::{
    Accepted, Arrival, Chain, Executed, Finality, MiniBlock, Pending, PendingState, Pool, Rejected,
    Unsealed, decode_all, decode_raw,
};
pub use json::{PromiseJson, PromiseJsonError};
pub use routes::{Reply, Route};
pub use server::{Handle, MAX_PROOF_CHANGES, ServeError, ServerConfig, serve};

#[cfg(test)]
mod tests;
