//! JSON-RPC of the L2 and of the embedded L1 (spec/rpc.md): one implementation over [`Chain`].

mod api;
mod batch;
mod call;
pub mod chain;
mod config;
mod connection;
mod debug;
mod error;
mod fair;
mod fees;
mod filters;
mod json;
mod limits;
mod logs;
mod methods;
mod routes;
mod send;
mod server;
mod simulate;
mod subscribe;
mod txpool;

pub use chain::{
    Accepted, Arrival, Chain, Executed, Finality, MiniBlock, Opening, Pending, PendingState, Pool,
    Rejected, Unsealed, decode_all, decode_raw,
};
pub use json::{PromiseJson, PromiseJsonError};
pub use limits::{Limits, MAX_PROOF_CHANGES};
pub use routes::{Reply, Route};
pub use server::{Handle, Local, ServeError, ServerConfig, serve};

#[cfg(test)]
mod tests;
