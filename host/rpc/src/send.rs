//! `eth_sendRawTransaction` and `eth_sendRawTransactionSync` (EIP-7966).

use crate::api::Api;
use crate::chain::{Accepted, Arrival, Chain, Rejected, Unsealed};
use crate::error::RpcError;
use crate::json::ReceiptJson;
use alloy_consensus::Transaction as _;
use alloy_primitives::{B256, Bytes, keccak256};
use annex_evm::InvalidTransaction;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How long a synchronous send waits where the client says nothing.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a synchronous send waits at most.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a leader may take to answer, beyond what it waits for.
const FORWARD_PATIENCE: Duration = Duration::from_secs(10);

/// The timeout of EIP-7966 in whatever form clients send it; what makes no sense means the default.
pub(crate) fn timeout(millis: Option<Value>) -> Duration {
    let millis = match millis {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    };
    match millis {
        None | Some(0) => DEFAULT_TIMEOUT,
        Some(millis) => Duration::from_millis(millis).min(MAX_TIMEOUT),
    }
}

impl<C: Chain> Api<C> {
    async fn take_one(&self, raw: Bytes) -> Result<Accepted, Rejected> {
        let result = self.chain.send_raw(vec![raw]).await.pop();
        result.unwrap_or(Err(Rejected::Stopping))
    }

    pub async fn send_one(&self, raw: Bytes) -> Result<B256, Rejected> {
        let result = send_all(&*self.chain, vec![raw]).await.pop();
        result.unwrap_or(Err(Rejected::Stopping))
    }

    pub async fn send_sync(&self, raw: Bytes, timeout: Duration) -> Result<SyncReceipt, RpcError> {
        match self.take_sync(raw.clone(), timeout).await {
            Err(RpcError::Rejected(Rejected::NotLeader)) => {
                self.forward_sync(raw, timeout).await.map(SyncReceipt::Leaders)
            }
            answer => answer.map(|receipt| SyncReceipt::Ours(Box::new(receipt))),
        }
    }

    async fn forward_sync(&self, raw: Bytes, timeout: Duration) -> Result<Value, RpcError> {
        let params = vec![json!(raw), json!(timeout.as_millis() as u64)];
        let method = "eth_sendRawTransactionSync";
        let answers = self.chain.forward(method, vec![params], timeout + FORWARD_PATIENCE);
        match answers.await.pop().unwrap_or(Err(Rejected::Stopping)) {
            Ok(receipt) => Ok(receipt),
            Err(error @ Rejected::ByLeader(_)) => Err(error.into()),
            Err(why) => Err(RpcError::SyncNotReady { hash: keccak256(&raw), why }),
        }
    }

    async fn take_sync(&self, raw: Bytes, timeout: Duration) -> Result<ReceiptJson, RpcError> {
        // Subscribed before sending, so that the receipt cannot be missed.
        let mut news = if self.is_l2() {
            News::Arrivals(self.chain.arrivals())
        } else {
            News::Heads(self.chain.heads())
        };
        let sent = keccak256(&raw);
        let hash = match self.take_one(raw).await {
            Ok(Accepted { executed: Some(executed), .. }) => {
                let receipt = ReceiptJson::new(&executed, B256::ZERO);
                return Ok(receipt.with_promise(executed.promise.get().map(|p| &**p)));
            }
            Ok(accepted) => accepted.hash,
            // Sent again, perhaps because an earlier answer was lost.
            Err(Rejected::AlreadyKnown) => sent,
            Err(rejected @ Rejected::Invalid(InvalidTransaction::NonceTooLow { .. })) => {
                return self.sync_receipt(sent)?.ok_or(rejected.into());
            }
            Err(Rejected::Invalid(InvalidTransaction::NonceTooHigh { state, .. })) => {
                return Err(RpcError::SyncNonceGap(state));
            }
            Err(why @ (Rejected::Backlog | Rejected::StaleL1 | Rejected::Stopping)) => {
                return Err(RpcError::SyncNotReady { hash: sent, why });
            }
            Err(rejected) => return Err(rejected.into()),
        };
        if let Some(expected) = self.nonce_gap(hash)? {
            return Err(RpcError::SyncNonceGap(expected));
        }
        let wait = async {
            loop {
                if let Some(receipt) = self.sync_receipt(hash)? {
                    return Ok(receipt);
                }
                if !news.wait().await {
                    return Err(RpcError::Cancelled);
                }
            }
        };
        let millis = timeout.as_millis() as u64;
        tokio::time::timeout(timeout, wait)
            .await
            .unwrap_or(Err(RpcError::SyncTimeout { hash, millis }))
    }

    fn sync_receipt(&self, hash: B256) -> Result<Option<ReceiptJson>, RpcError> {
        if let Some(Unsealed::Acknowledged(executed)) = self.chain.unsealed(hash) {
            let receipt = ReceiptJson::new(&executed, B256::ZERO);
            return Ok(Some(receipt.with_promise(executed.promise.get().map(|p| &**p))));
        }
        self.receipt(hash)
    }

    /// The nonce that must come first, where the transaction waits behind a gap.
    fn nonce_gap(&self, hash: B256) -> Result<Option<u64>, RpcError> {
        let Some(Unsealed::Pooled(tx)) = self.chain.unsealed(hash) else { return Ok(None) };
        let next = self.chain.account(tx.sender)?.unwrap_or_default().nonce;
        Ok((next < tx.transaction.nonce()).then_some(next))
    }
}

/// Hands transactions over in order; those that are not ordered here go to the leader, if this node knows one.
pub(crate) async fn send_all<C: Chain>(chain: &C, raw: Vec<Bytes>) -> Vec<Result<B256, Rejected>> {
    let taken = chain.send_raw(raw.clone()).await;
    let mut results: Vec<_> =
        taken.into_iter().map(|result| result.map(|accepted| accepted.hash)).collect();
    let elsewhere: Vec<usize> =
        (0..results.len()).filter(|index| results[*index] == Err(Rejected::NotLeader)).collect();
    if elsewhere.is_empty() {
        return results;
    }
    let calls = elsewhere.iter().map(|index| vec![json!(raw[*index])]).collect();
    let answers = chain.forward("eth_sendRawTransaction", calls, FORWARD_PATIENCE).await;
    for (index, answer) in elsewhere.into_iter().zip(answers) {
        results[index] = answer.map(|_| keccak256(&raw[index]));
    }
    results
}

/// A receipt with its promise.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum SyncReceipt {
    Ours(Box<ReceiptJson>),
    /// As the leader sent it.
    Leaders(Value),
}

/// What tells that a receipt may be there.
enum News {
    Arrivals(Receiver<Arrival>),
    Heads(Receiver<std::sync::Arc<alloy_primitives::Sealed<annex_types::Header>>>),
}

impl News {
    /// Waits for the next event; `false` once there will be none.
    async fn wait(&mut self) -> bool {
        let closed = match self {
            Self::Arrivals(arrivals) => matches!(arrivals.recv().await, Err(RecvError::Closed)),
            Self::Heads(heads) => matches!(heads.recv().await, Err(RecvError::Closed)),
        };
        !closed
    }
}
