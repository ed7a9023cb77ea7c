//! The chain as a running service: mining at its interval, and its endpoints.

use crate::accounts::{DevAccount, dev_accounts};
use crate::chain::DevChain;
use crate::engine::Engine;
use crate::{DevL1Config, DevL1Error, beacon, blobs, methods};
use alloy_primitives::Address;
use annex_rpc::{Handle, Reply, Route, ServerConfig};
use annex_types::Header;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// A running development L1. It stops when this is dropped, but see [`Self::stop`].
#[derive(Debug)]
pub struct DevL1 {
    engine: Arc<Engine>,
    server: Handle,
    miner: JoinHandle<()>,
}

impl DevL1 {
    /// Opens the chain, or makes it, and serves JSON-RPC and the Beacon API on one loopback port.
    pub async fn start(config: DevL1Config) -> Result<Self, DevL1Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let server = ServerConfig { addr, limits: config.limits };
        let open = move || Engine::open(&config, dev_accounts()?);
        let engine =
            Arc::new(tokio::task::spawn_blocking(open).await.expect("opening does not panic")?);
        // The first blob transaction need not wait for the trusted setup.
        std::thread::spawn(blobs::kzg);
        let routes = vec![route(engine.clone(), "/eth/v1/")];
        let chain = Arc::new(DevChain(engine.clone()));
        let methods = methods::module(engine.clone());
        let server = annex_rpc::serve(server, chain, methods, routes).await?;
        let miner = tokio::spawn(mine_at_interval(engine.clone(), engine.block_time()));
        Ok(Self { engine, server, miner })
    }

    /// Where JSON-RPC (HTTP and WebSocket) and the Beacon API are.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    pub fn chain_id(&self) -> u64 {
        self.engine.chain_id()
    }

    /// The funded accounts.
    pub fn accounts(&self) -> &[DevAccount] {
        &self.engine.accounts
    }

    /// Whether block 0 is the newest one, so that nothing was deployed yet.
    pub fn is_new(&self) -> Result<bool, DevL1Error> {
        Ok(self.engine.head()?.number == 0)
    }

    /// The chain itself, for callers in this process.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// `Some`: from now on a block at this interval. `None`: a block as soon as a transaction can be mined, which is
    /// how contracts are deployed in milliseconds.
    pub fn set_block_time(&self, block_time: Option<Duration>) -> Result<(), DevL1Error> {
        match block_time {
            Some(_) => self.engine.set_interval(block_time),
            None => {
                self.engine.set_interval(None);
                self.engine.set_automine(true)?;
            }
        }
        Ok(())
    }

    /// `Some`: from now on a block's timestamp is its parent's and this many seconds, whatever the time of day. `None`: it is
    /// the time of day again.
    pub fn set_timestamp_interval(&self, seconds: Option<u64>) {
        self.engine.lock().clock.set_interval(seconds);
    }

    /// Mines one block with what the pool has, even if that is nothing.
    pub fn mine_now(&self) -> Result<Header, DevL1Error> {
        self.engine.mine()
    }

    /// Wei of an account after the newest block.
    pub fn balance(&self, address: Address) -> Result<alloy_primitives::U256, DevL1Error> {
        use annex_state::StateReader;
        let account = self.engine.store().latest()?.account(address)?;
        Ok(account.unwrap_or_default().balance)
    }

    /// Stops mining and serving. The chain resumes from its data directory.
    pub async fn stop(self) {
        self.miner.abort();
        self.server.stop().await;
        // Cancelled, or ended on its own.
        let _ = self.miner.await;
    }
}

/// Beacon requests read files and compute proofs, so not on the runtime.
fn route(engine: Arc<Engine>, path: &'static str) -> Route {
    Route::new(path, move |target: String| {
        let engine = engine.clone();
        let answer = move || {
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            beacon::answer(&engine, path, query)
        };
        async move {
            let not_found = || (404, serde_json::json!({"code": 404, "message": "Not found"}));
            let (status, body) = match tokio::task::spawn_blocking(answer).await {
                Ok(answer) => answer.unwrap_or_else(not_found),
                Err(error) => {
                    tracing::error!(%error, "beacon request failed");
                    (500, serde_json::json!({"code": 500, "message": "Internal error"}))
                }
            };
            Reply::json(status, body.to_string())
        }
    })
}

async fn mine_at_interval(engine: Arc<Engine>, mut block_time: watch::Receiver<Option<Duration>>) {
    loop {
        let Some(period) = *block_time.borrow_and_update() else {
            match block_time.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = block_time.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = ticks.tick() => {}
            }
            let engine = engine.clone();
            match tokio::task::spawn_blocking(move || engine.mine()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "mining failed"),
                Err(error) => tracing::error!(%error, "mining failed"),
            }
        }
    }
}
