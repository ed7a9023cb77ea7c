//! A plain JSON-RPC client over HTTP: the commands below speak to any Ethereum node.

use serde_json::{Value, json};
use std::time::Duration;

/// Bytes of the longest answer that is read: as long as a node's may be (spec/rpc.md, "Limits").
const MAX_ANSWER: usize = 64 << 20;
/// A node that builds a witness may be silent for a while.
const MAX_SILENCE: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    #[error("no answer from {url}: {source}; is the node running there?")]
    Http { url: String, source: reqwest::Error },
    #[error("{url} sends more than {limit} bytes in one answer")]
    TooLong { url: String, limit: usize },
    #[error("{url} answers with something else than JSON: {source}")]
    Json { url: String, source: serde_json::Error },
    #[error("{method}: {message} (code {code})")]
    Call { method: String, code: i64, message: String },
    #[error("{method}: the answer has no {field}")]
    Shape { method: String, field: &'static str },
}

#[derive(Clone, Debug)]
pub struct RpcClient {
    http: reqwest::Client,
    url: String,
}

impl RpcClient {
    /// Each client keeps its own connection.
    pub fn new(url: &str) -> Self {
        let http = annex_l1::http_client_with(|builder| {
            builder.tcp_nodelay(true).pool_max_idle_per_host(1).read_timeout(MAX_SILENCE)
        });
        Self { http: http.expect("nothing in this configuration can fail"), url: url.to_owned() }
    }

    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        result_of(method, self.post(&body).await?)
    }

    /// One HTTP request for all; the results in the order of the calls.
    pub async fn batch(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Result<Value, RpcError>>, RpcError> {
        let calls = params.into_iter().enumerate();
        let body: Vec<Value> = calls
            .map(|(id, params)| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .collect();
        let Value::Array(mut answers) = self.post(&json!(body)).await? else {
            return Err(RpcError::Shape { method: method.to_owned(), field: "array" });
        };
        answers.sort_by_key(|answer| answer["id"].as_u64());
        Ok(answers.into_iter().map(|answer| result_of(method, answer)).collect())
    }

    pub async fn quantity(&self, method: &str, params: Value) -> Result<u128, RpcError> {
        let value = self.call(method, params).await?;
        parse_quantity(&value)
            .ok_or(RpcError::Shape { method: method.to_owned(), field: "quantity" })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    async fn post(&self, body: &Value) -> Result<Value, RpcError> {
        let bytes = self.post_raw(body.to_string().into_bytes()).await?;
        serde_json::from_slice(&bytes)
            .map_err(|source| RpcError::Json { url: self.url.clone(), source })
    }

    /// Sends JSON as it is and returns the answer as it comes.
    pub async fn post_raw(&self, body: Vec<u8>) -> Result<Vec<u8>, RpcError> {
        let url = || self.url.clone();
        let http = |source| RpcError::Http { url: url(), source };
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let mut answer = request.body(body).send().await.map_err(http)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(http)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(RpcError::TooLong { url: url(), limit: MAX_ANSWER });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// A hex quantity.
pub fn parse_quantity(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn result_of(method: &str, mut answer: Value) -> Result<Value, RpcError> {
    if let Some(error) = answer.get("error").filter(|e| !e.is_null()) {
        return Err(RpcError::Call {
            method: method.to_owned(),
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
        });
    }
    Ok(answer["result"].take())
}
