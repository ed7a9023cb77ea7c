//! Blobs from other nodes of the chain, which keep what they derived from (spec/rpc.md, `annex_blobs`).

use crate::beacon::match_blobs;
use crate::error::L1Error;
use crate::transport::{BodyError, read_body};
use alloy_eips::eip4844::Blob;
use alloy_primitives::B256;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use url::Url;

/// Bytes of an answer: six blobs in hex, and what is around them.
const ANSWER_LIMIT: usize = 2 << 20;

/// A node that may have kept blobs.
#[derive(Clone, Debug)]
pub(crate) struct BatchSource {
    client: Client,
    url: Url,
}

#[derive(Deserialize)]
struct Answer {
    /// In the order in which they were asked for.
    result: Vec<Option<Box<Blob>>>,
}

impl BatchSource {
    pub fn new(client: Client, url: Url) -> Self {
        Self { client, url }
    }

    /// Where it is, without what may be secret in its URL.
    pub fn host(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.url.host_str().unwrap_or("?"))
    }

    /// Fills the gaps of `found` with what the node has. Whatever is not what its hash says is left out; returns whether there
    /// was such a thing.
    pub async fn collect(
        &self,
        hashes: &[B256],
        found: &mut Vec<Option<Box<Blob>>>,
    ) -> Result<bool, L1Error> {
        let gaps = hashes.iter().zip(found.iter()).filter(|(_, blob)| blob.is_none());
        let wanted: Vec<B256> = gaps.map(|(hash, _)| *hash).collect();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "annex_blobs", "params": [wanted]});
        let unavailable = |error: reqwest::Error| L1Error::BatchSource(error.without_url());
        let response = self.client.post(self.url.clone()).json(&body).send().await;
        let response = response.and_then(|response| response.error_for_status());
        let body = read_body(response.map_err(unavailable)?, ANSWER_LIMIT).await;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => L1Error::TooLarge,
            BodyError::Http(error) => unavailable(error),
        })?;
        let answer: Answer = serde_json::from_slice(&body).map_err(L1Error::Malformed)?;
        let given: Vec<Box<Blob>> =
            answer.result.into_iter().take(wanted.len()).flatten().collect();
        let (count, before) = (given.len(), found.iter().flatten().count());
        *found = match_blobs(given, hashes.to_vec(), std::mem::take(found)).await;
        Ok(found.iter().flatten().count() - before < count)
    }
}
