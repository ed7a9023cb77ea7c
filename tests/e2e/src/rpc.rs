//! A JSON-RPC client over HTTP that hides nothing.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Why a call yielded nothing.
#[derive(Debug)]
pub enum CallError {
    /// No answer.
    Transport(reqwest::Error),
    /// A JSON-RPC error.
    Refused { code: i64, message: String, data: Value },
}

impl CallError {
    /// Code and message of a refusal; panics where there was no answer.
    #[track_caller]
    pub fn refusal(self) -> (i64, String) {
        match self {
            Self::Refused { code, message, .. } => (code, message),
            Self::Transport(error) => panic!("no answer: {error}"),
        }
    }
}

#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    client: reqwest::Client,
    url: String,
    next_id: AtomicU64,
}

impl Rpc {
    pub fn new(url: impl Into<String>) -> Self {
        // An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(30)).tcp_nodelay(true).build();
        Self {
            runtime: runtime.expect("a runtime"),
            client: client.expect("a client"),
            url: url.into(),
            next_id: AtomicU64::new(1),
        }
    }

    /// On the same node with a connection of its own.
    pub fn another(&self) -> Self {
        Self::new(&self.url)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    /// Posts any body as JSON. Returns HTTP status and body.
    pub fn post(&self, body: impl Into<reqwest::Body>) -> Result<(u16, String), reqwest::Error> {
        let request =
            self.client.post(&self.url).header("content-type", "application/json").body(body);
        self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        })
    }

    pub fn get(&self, path: &str) -> Result<(u16, String), reqwest::Error> {
        let request = self.client.get(format!("{}{path}", self.url));
        self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        })
    }

    pub fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let (status, text) = self.post(body.to_string()).map_err(CallError::Transport)?;
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{method}: HTTP {status}, not JSON: {text}"));
        assert_eq!(answer["id"], id, "{method}: {text}");
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(CallError::Refused {
                code: error["code"].as_i64().expect("a code"),
                message: error["message"].as_str().expect("a message").to_owned(),
                data: error["data"].clone(),
            }),
        }
    }

    /// The result of a call that must succeed.
    #[track_caller]
    pub fn get_result(&self, method: &str, params: Value) -> Value {
        match self.call(method, params.clone()) {
            Ok(result) => result,
            Err(error) => panic!("{method} {params}: {error:?}"),
        }
    }

    /// The results of calls in one request, in their order.
    pub fn batch(&self, method: &str, params: impl IntoIterator<Item = Value>) -> Vec<Value> {
        let calls: Vec<Value> = params
            .into_iter()
            .enumerate()
            .map(|(id, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let (_, text) = self.post(json!(calls).to_string()).expect("an answer");
        let answers: Value = serde_json::from_str(&text).expect("JSON");
        let mut answers = answers.as_array().unwrap_or_else(|| panic!("{method}: {text}")).clone();
        assert_eq!(answers.len(), calls.len());
        answers.sort_by_key(|answer| answer["id"].as_u64());
        answers.into_iter().map(|answer| answer["result"].clone()).collect()
    }

    /// A block by number or tag, without its transactions' bodies.
    #[track_caller]
    pub fn block(&self, id: impl Into<Value>) -> Value {
        self.get_result("eth_getBlockByNumber", json!([id.into(), false]))
    }

    #[track_caller]
    pub fn block_number(&self, tag: &str) -> u64 {
        number(&self.block(tag)["number"])
    }

    /// Hashes of the blocks 0 to `last`.
    pub fn block_hashes(&self, last: u64) -> Vec<Value> {
        let numbers: Vec<u64> = (0..=last).collect();
        let blocks = numbers.chunks(500).flat_map(|chunk| {
            self.batch(
                "eth_getBlockByNumber",
                chunk.iter().map(|n| json!([format!("{n:#x}"), false])),
            )
        });
        blocks.map(|block| block["hash"].clone()).collect()
    }

    #[track_caller]
    pub fn receipt(&self, hash: &str) -> Option<Value> {
        let receipt = self.get_result("eth_getTransactionReceipt", json!([hash]));
        (!receipt.is_null()).then_some(receipt)
    }
}

/// A hex quantity.
#[track_caller]
pub fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("not a quantity: {value}"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .unwrap_or_else(|_| panic!("not a quantity: {text}"))
}
