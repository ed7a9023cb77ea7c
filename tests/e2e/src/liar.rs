//! A node that answers as another does, but for promises, which it makes up.

use crate::Rpc;
use jsonrpsee::server::{RpcModule, Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::{self, Sender};

/// What is asked of the honest node. `eth_subscribe` is the liar's own.
const METHODS: &[&str] = &[
    "annex_deployment",
    "annex_leader",
    "eth_chainId",
    "eth_estimateGas",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_sendRawTransactionSync",
];
/// Notifications that a slow subscriber may leave waiting.
const BACKLOG: usize = 1024;

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Liar {
    address: SocketAddr,
    feed: Sender<Value>,
    subscriptions: Arc<AtomicUsize>,
    server: ServerHandle,
    /// Runs the server; the last to be dropped.
    runtime: Arc<Runtime>,
}

struct Context {
    honest: String,
    client: reqwest::Client,
    forge: fn(&mut Value),
    feed: Sender<Value>,
    subscriptions: Arc<AtomicUsize>,
}

impl Liar {
    /// In front of `honest`; `forge` changes the results of synchronous sends.
    pub fn start(honest: &Rpc, forge: fn(&mut Value)) -> Self {
        Self::start_at(honest, forge, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Ends every connection, and listens again as if it was another process.
    pub fn hang_up(self, honest: &Rpc) -> Self {
        let (address, runtime) = (self.address, self.runtime.clone());
        let stopped = self.server.clone().stopped();
        drop(self);
        runtime.block_on(stopped);
        drop(runtime);
        Self::start_at(honest, |_| {}, address)
    }

    fn start_at(honest: &Rpc, forge: fn(&mut Value), address: SocketAddr) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let (feed, _) = broadcast::channel(BACKLOG);
        let subscriptions = Arc::new(AtomicUsize::new(0));
        let context = Context {
            honest: honest.url().to_owned(),
            client: reqwest::Client::new(),
            forge,
            feed: feed.clone(),
            subscriptions: subscriptions.clone(),
        };
        let (address, server) = runtime.block_on(async {
            let server = Server::builder().build(address).await.expect("a free port");
            (server.local_addr().expect("an address"), server.start(module(context)))
        });
        Self { address, feed, subscriptions, server, runtime: Arc::new(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Subscriptions to the feed so far.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::Acquire)
    }

    /// Sends a promise to every subscriber there is now.
    #[track_caller]
    pub fn notify(&self, promise: Value) {
        let notification = json!({"promise": promise, "transactions": [], "receipts": []});
        self.feed.send(notification).expect("somebody listens");
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        // An error says that it has stopped already.
        let _ = self.server.stop();
    }
}

fn module(context: Context) -> RpcModule<Context> {
    let mut module = RpcModule::new(context);
    for method in METHODS {
        let forward = async move |params: Value, context: Arc<Context>| {
            let mut answer = ask(&context, method, &params).await;
            if let Some(error) = answer.get("error") {
                let code = error["code"].as_i64().expect("a code") as i32;
                let message = error["message"].as_str().expect("a message");
                return Err(ErrorObjectOwned::owned(code, message, None::<()>));
            }
            let mut result = answer["result"].take();
            if *method == "eth_sendRawTransactionSync" {
                (context.forge)(&mut result);
            }
            Ok(result)
        };
        let registered = module.register_async_method(method, move |params, context, _| {
            let params = params.parse::<Value>().unwrap_or(json!([]));
            async move { forward(params, context).await }
        });
        registered.expect("names differ");
    }
    subscribe(&mut module);
    module
}

async fn ask(context: &Context, method: &str, params: &Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let answer = context.client.post(&context.honest).json(&body).send().await;
    answer.expect("the honest node answers").json().await.expect("JSON")
}

fn subscribe(module: &mut RpcModule<Context>) {
    let registered = module.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |_, pending, context, _| async move {
            let mut feed = context.feed.subscribe();
            let Ok(sink) = pending.accept().await else { return };
            context.subscriptions.fetch_add(1, Ordering::Release);
            loop {
                let next = tokio::select! {
                    next = feed.recv() => next,
                    () = sink.closed() => return,
                };
                let Ok(next) = next else { return };
                let text = serde_json::value::to_raw_value(&next).expect("JSON");
                if sink.send(text).await.is_err() {
                    return;
                }
            }
        },
    );
    registered.expect("names differ");
}
