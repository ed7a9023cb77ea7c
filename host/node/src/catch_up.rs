//! What a leader waits for before it orders: a former process may have promised more than the data directory holds.

use crate::{
    feed::{BoxError, HeardJson, HeardSummary, connect},
    node::NodeError,
};
use alloy_primitives::{Address, U64};
use annex_l1::{L1Client, contracts::Inbox};
use annex_rpc::PromiseJsonError;
use annex_sequencer::{Engine, Heard};
use annex_store::Store;
use annex_types::promise::SignedPromise;
use jsonrpsee::{core::client::ClientT, rpc_params};
use std::sync::Arc;

/// Blocks that are asked about: many more than L1 leaves unposted.
const MAX_BLOCKS: u64 = 1 << 14;

/// What followers know.
#[derive(Debug, Default)]
struct Known {
    heard: Vec<Heard>,
    shown: Vec<Arc<SignedPromise>>,
}

#[derive(Debug)]
pub(crate) struct CatchUp {
    client: L1Client,
    inbox: Address,
    /// URLs of followers.
    sources: Vec<String>,
    /// Records that L1 had when this node began, whether confirmed or not: batches of a former process may be among them.
    records: Option<u64>,
}

impl CatchUp {
    pub fn new(client: L1Client, inbox: Address, sources: Vec<String>) -> Self {
        Self { client, inbox, sources, records: None }
    }

    /// To be called when L1 is read as far as it is confirmed, which carries blocks up to `safe`. Returns whether everything
    /// is known that a former process left.
    pub async fn attempt(
        &mut self,
        store: &Store,
        engine: &Engine,
        safe: u64,
    ) -> Result<bool, NodeError> {
        if !self.has_records(store).await? {
            return Ok(false);
        }
        let mut known = Known::default();
        for url in &self.sources {
            match ask(url, safe, &mut known).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(url, "this follower has seen more of L1; waiting for that");
                    return Ok(false);
                }
                Err(error) => {
                    let why = "nothing is ordered before this follower has told what it heard";
                    tracing::warn!(url, %error, "{why}; trying again");
                    return Ok(false);
                }
            }
        }
        if !self.sources.is_empty() {
            let adopted = engine.adopt(known.heard, known.shown).await?;
            tracing::info!(
                promises = adopted.kept,
                executed_again = adopted.again,
                "followers were asked for lost promises"
            );
        }
        Ok(true)
    }

    /// Whether every record is known that L1 had in the beginning and has not dropped.
    async fn has_records(&mut self, store: &Store) -> Result<bool, NodeError> {
        let known = store.snapshot()?.last_record()?.map_or(0, |(index, _)| index + 1);
        if self.records.is_some_and(|records| known >= records) {
            return Ok(true);
        }
        let count = match self.client.read(self.inbox, &Inbox::recordCountCall {}).await {
            Ok(count) => count.saturating_to(),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "L1 is not to be reached; trying again");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let records = *self.records.insert(self.records.map_or(count, |had| had.min(count)));
        if known < records {
            tracing::info!(known, records, "records on L1 are not confirmed yet; waiting for them");
        }
        Ok(known >= records)
    }
}

/// Asks one follower; false if L1 carries more to it.
async fn ask(url: &str, safe: u64, known: &mut Known) -> Result<bool, BoxError> {
    let client = connect(&url.replacen("http", "ws", 1)).await?;
    let summary: HeardSummary = client.request("annex_heard", rpc_params![]).await?;
    if summary.safe.to::<u64>() > safe {
        return Ok(false);
    }
    if let Some(newest) = summary.newest {
        known.shown.push(Arc::new(newest.try_into()?));
    }
    let Some(last) = summary.last else { return Ok(true) };
    for block in safe + 1..=last.to::<u64>().min(safe.saturating_add(MAX_BLOCKS)) {
        let params = rpc_params![U64::from(block)];
        let heard: Vec<HeardJson> = client.request("annex_heardPromises", params).await?;
        let heard: Result<Vec<Heard>, PromiseJsonError> =
            heard.into_iter().map(Heard::try_from).collect();
        known.heard.extend(heard?.into_iter().filter(Heard::fits));
    }
    Ok(true)
}
