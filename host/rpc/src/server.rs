//! HTTP and WebSocket on one port.

use crate::batch::BatchLayer;
use crate::chain::Chain;
use crate::methods::module;
use crate::routes::{Route, RoutesLayer};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::server::Methods;
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, IdProvider, PingConfig, Server, ServerConfig as JsonRpcConfig, ServerHandle,
};
use jsonrpsee::types::SubscriptionId;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// [`ServerConfig::max_proof_changes`] unless told otherwise: about a second of work.
pub const MAX_PROOF_CHANGES: usize = 100_000;

/// Where the server listens and what it bears.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Use a loopback address unless a proxy stands in front; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Bytes of a request.
    pub max_request: u32,
    /// Bytes of a response.
    pub max_response: u32,
    pub max_connections: u32,
    pub max_subscriptions_per_connection: u32,
    /// Calls in one batch.
    pub max_batch: u32,
    /// Accounts and slots that may have changed since the block of an `eth_getProof`: undoing them is what it costs.
    pub max_proof_changes: usize,
}

impl ServerConfig {
    /// The limits of spec/rpc.md.
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            max_request: 5 << 20,
            max_response: 64 << 20,
            max_connections: 1024,
            max_subscriptions_per_connection: 64,
            max_batch: 2048,
            max_proof_changes: MAX_PROOF_CHANGES,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    /// `extra` names a method that exists already.
    #[error(transparent)]
    Methods(#[from] RegisterMethodError),
}

/// A running server. It runs until [`Handle::stop`], or until the handle is dropped.
#[derive(Debug)]
pub struct Handle {
    pub addr: SocketAddr,
    server: ServerHandle,
}

impl Handle {
    /// Takes no more requests, answers those it has and waits until all connections are closed.
    pub async fn stop(self) {
        // An error says that it had stopped already.
        if self.server.stop().is_ok() {
            self.server.stopped().await;
        }
    }
}

/// Subscription ids count up: they mean something on their own connection only.
#[derive(Debug, Default)]
struct SubscriptionIds(AtomicU64);

impl IdProvider for SubscriptionIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let id = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{id:#x}").into())
    }
}

/// Serves a chain's methods, `extra` ones and plain GET `routes`.
pub async fn serve<C: Chain>(
    config: ServerConfig,
    chain: Arc<C>,
    extra: impl Into<Methods>,
    routes: Vec<Route>,
) -> Result<Handle, ServeError> {
    let mut methods: Methods = module(chain.clone(), config.max_proof_changes).into();
    methods.merge(extra)?;
    let limits = JsonRpcConfig::builder()
        .max_request_body_size(config.max_request)
        .max_response_body_size(config.max_response)
        .max_connections(config.max_connections)
        .max_subscriptions_per_connection(config.max_subscriptions_per_connection)
        .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
        .set_id_provider(SubscriptionIds::default())
        .set_tcp_no_delay(true)
        .enable_ws_ping(PingConfig::default())
        .build();
    let batches = BatchLayer { chain, max_response: config.max_response as usize };
    let listen = |source| ServeError::Listen { addr: config.addr, source };
    let server = Server::builder()
        .set_config(limits)
        .set_rpc_middleware(RpcServiceBuilder::new().layer(batches))
        .set_http_middleware(tower::ServiceBuilder::new().layer(RoutesLayer::new(routes)))
        .build(config.addr)
        .await
        .map_err(listen)?;
    let addr = server.local_addr().map_err(listen)?;
    Ok(Handle { addr, server: server.start(methods) })
}
