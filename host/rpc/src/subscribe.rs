//! `eth_subscribe`.

use crate::api::{Api, sealed_block};
use crate::chain::{Arrival, Chain, MiniBlock};
use crate::connection::Connection;
use crate::error::RpcError;
use crate::json::{self, MiniBlockJson, RawMiniBlockJson};
use crate::logs::matching_logs;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption};
use annex_store::StoreError;
use jsonrpsee::core::server::{
    PendingSubscriptionSink, SubscriptionCloseResponse, SubscriptionSink,
};
use jsonrpsee::types::Params;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Blocks a subscriber may fall behind before its subscription is closed.
const MAX_CATCH_UP: u64 = 1024;

enum Topic {
    Heads,
    /// Of sealed blocks.
    Logs(Box<Filter>),
    /// Of transactions as they are acknowledged.
    PendingLogs(Box<Filter>),
    Transactions {
        full: bool,
    },
    MiniBlocks {
        raw: bool,
    },
    Syncing,
}

/// Options of `miniBlocks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MiniBlockOptions {
    /// Whether encoded transactions and hashes of receipts are wanted, which a promise is about, and not what they say.
    raw: bool,
}

impl Topic {
    fn parse(params: &Params<'_>) -> Result<Self, RpcError> {
        let mut params = params.sequence();
        let kind: String = params.next()?;
        match kind.as_str() {
            "newHeads" => Ok(Self::Heads),
            "logs" => {
                let filter: Box<Filter> = Box::new(params.optional_next()?.unwrap_or_default());
                let pending = Some(BlockNumberOrTag::Pending);
                match filter.block_option {
                    FilterBlockOption::Range { from_block, to_block }
                        if from_block == pending || to_block == pending =>
                    {
                        Ok(Self::PendingLogs(filter))
                    }
                    _ => Ok(Self::Logs(filter)),
                }
            }
            "newPendingTransactions" => {
                Ok(Self::Transactions { full: params.optional_next()?.unwrap_or_default() })
            }
            "miniBlocks" => {
                let MiniBlockOptions { raw } = params.optional_next()?.unwrap_or_default();
                Ok(Self::MiniBlocks { raw })
            }
            "syncing" => Ok(Self::Syncing),
            _ => Err(RpcError::BadRequest("no such subscription")),
        }
    }
}

/// Why a subscription ends.
enum End {
    /// The client left, or the node stops.
    Closed,
    /// The client reads too slowly.
    Behind,
    Failed(RpcError),
}

impl From<RpcError> for End {
    fn from(error: RpcError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Serves one subscription until it ends.
pub(crate) async fn subscribe<C: Chain>(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    api: Arc<Api<C>>,
    connection: Option<Arc<Connection>>,
) -> SubscriptionCloseResponse {
    let topic = match Topic::parse(&params) {
        Ok(topic) => topic,
        Err(error) => {
            pending.reject(error).await;
            return SubscriptionCloseResponse::None;
        }
    };
    // Before the client hears that it is subscribed: nothing after that is missed.
    let (heads, arrivals) = (api.chain.heads(), api.chain.arrivals());
    let from = match api.head() {
        Ok(head) => head + 1,
        Err(error) => {
            pending.reject(error).await;
            return SubscriptionCloseResponse::None;
        }
    };
    let Ok(sink) = pending.accept().await.map(|sink| Sink { sink, connection }) else {
        return SubscriptionCloseResponse::None;
    };
    let stream = async {
        match topic {
            Topic::Heads | Topic::Logs(_) => {
                drop(arrivals);
                blocks(&api, &sink, heads, from, &topic).await
            }
            _ => {
                drop(heads);
                transactions(&sink, arrivals, &topic).await
            }
        }
    };
    let end = tokio::select! {
        end = stream => end,
        () = sink.sink.closed() => Err(End::Closed),
    };
    match end {
        Ok(()) | Err(End::Closed) => SubscriptionCloseResponse::None,
        Err(End::Behind) => SubscriptionCloseResponse::NotifErr("subscriber is too slow".into()),
        Err(End::Failed(error)) => SubscriptionCloseResponse::NotifErr(error.to_string().into()),
    }
}

/// Every sealed block from number `next` on, each once, also where the channel has dropped some.
async fn blocks<C: Chain>(
    api: &Api<C>,
    sink: &Sink,
    mut heads: Receiver<Arc<alloy_primitives::Sealed<annex_types::Header>>>,
    mut next: u64,
    topic: &Topic,
) -> Result<(), End> {
    loop {
        let head = match heads.recv().await {
            Ok(head) => head.number,
            // What was dropped is read from the store when the next one comes, which is at once.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Err(End::Closed),
        };
        // A lower number means that blocks were replaced: the new ones are reported again.
        next = next.min(head);
        if head - next >= MAX_CATCH_UP {
            return Err(End::Behind);
        }
        for number in next..=head {
            report_block(api, sink, number, topic).await?;
        }
        next = head + 1;
    }
}

async fn report_block<C: Chain>(
    api: &Api<C>,
    sink: &Sink,
    number: u64,
    topic: &Topic,
) -> Result<(), End> {
    match topic {
        Topic::Logs(filter) => {
            let snapshot = api.snapshot()?;
            let bloom = snapshot.header(number)?.map(|(header, _)| header.logs_bloom);
            if !bloom.is_some_and(|bloom| filter.matches_bloom(bloom)) {
                return Ok(());
            }
            let Some(block) = sealed_block(&snapshot, number)? else { return Ok(()) };
            let logs: Vec<_> = matching_logs(&block, filter).collect();
            for log in logs {
                send(sink, &log).await?;
            }
            Ok(())
        }
        _ => {
            let (header, hash) = api.header(number)?;
            send(sink, &json::head(&header, hash)).await
        }
    }
}

async fn transactions(
    sink: &Sink,
    mut arrivals: Receiver<Arrival>,
    topic: &Topic,
) -> Result<(), End> {
    if let Topic::Syncing = topic {
        send(sink, &false).await?;
    }
    loop {
        match (arrivals.recv().await, topic) {
            (Err(RecvError::Lagged(_)), _) => return Err(End::Behind),
            (Err(RecvError::Closed), _) => return Err(End::Closed),
            (Ok(Arrival::Executed(block)), topic) => report_executed(sink, &block, topic).await?,
            (Ok(Arrival::Pooled(tx)), Topic::Transactions { full: true }) => {
                send(sink, &json::pooled_transaction(&tx)).await?;
            }
            (Ok(Arrival::Pooled(tx)), Topic::Transactions { full: false }) => {
                send(sink, &tx.transaction.hash()).await?;
            }
            (Ok(Arrival::Pooled(_)), _) => {}
        }
    }
}

async fn report_executed(sink: &Sink, block: &MiniBlock, topic: &Topic) -> Result<(), End> {
    match topic {
        Topic::MiniBlocks { raw: false } => send(sink, &MiniBlockJson::from(block)).await,
        Topic::MiniBlocks { raw: true } => send(sink, &RawMiniBlockJson::from(block)).await,
        Topic::PendingLogs(filter) => {
            let logs = block.transactions.iter().flat_map(|tx| json::logs(tx, B256::ZERO));
            let logs: Vec<_> = logs.filter(|log| filter.matches(&log.inner)).collect();
            for log in logs {
                send(sink, &log).await?;
            }
            Ok(())
        }
        Topic::Transactions { full } => {
            for tx in &block.transactions {
                let json = match full {
                    true => json::executed_transaction(tx, B256::ZERO),
                    false => Value::String(tx.hash.to_string()),
                };
                send(sink, &json).await?;
            }
            Ok(())
        }
        Topic::Heads | Topic::Logs(_) | Topic::Syncing => Ok(()),
    }
}

/// A subscriber, and the connection on which what it was sent waits to be read.
struct Sink {
    sink: SubscriptionSink,
    connection: Option<Arc<Connection>>,
}

async fn send<T: Serialize>(sink: &Sink, item: &T) -> Result<(), End> {
    let json = to_raw_value(item).expect("maps have string keys");
    if let Some(connection) = &sink.connection {
        if connection.is_behind() {
            return Err(End::Behind);
        }
        connection.answered(json.get().len());
    }
    sink.sink.send(json).await.map_err(|_| End::Closed)
}
