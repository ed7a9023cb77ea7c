//! The L2 as JSON-RPC reads it.

use crate::{follow::unix_now, forward::Forward, progress::Progress};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bytes, Sealed, U256};
use annex_evm::{BlockEnv, Rules};
use annex_rpc::{
    Accepted, Arrival, Chain, Executed, Finality, Opening, Pending, PendingState, Pool, Rejected,
    Reply, Unsealed, decode_all,
};
use annex_sequencer::{Engine, LiveBlock, Taken};
use annex_state::AccountInfo;
use annex_stf::{ParentBlock, block_env, l1_block_slots};
use annex_store::{Snapshot, Store, StoreError};
use annex_types::predeploys::L1_BLOCK;
use annex_types::{BlockAttributes, ChainConfig, ExtraData, Header, Origin, RecordEnv, fees};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

#[derive(Debug)]
pub(crate) struct L2 {
    pub config: ChainConfig,
    pub store: Store,
    pub engine: Engine,
    pub progress: Arc<Progress>,
    /// Whether transactions may ever be ordered here.
    pub orders: bool,
    /// Where transactions go that are not ordered here.
    pub forward: Option<Forward>,
}

impl L2 {
    pub fn health(&self) -> Reply {
        let head = match self.store.head() {
            Ok(head) => head.map_or(0, |head| head.number),
            Err(error) => {
                let body = serde_json::json!({"status": "failing", "error": error.to_string()});
                return Reply::json(503, body.to_string());
            }
        };
        let ready = self.progress.caught_up();
        let troubles = self.progress.troubles();
        let status = match (ready, troubles.is_empty()) {
            (true, true) => "ok",
            (true, false) => "in trouble",
            (false, _) => "catching up",
        };
        let body = serde_json::json!({
            "status": status,
            "troubles": troubles,
            "head": head,
            "safe": self.progress.safe(),
            "l1Block": self.progress.l1_block().number,
        });
        Reply::json(if ready { 200 } else { 503 }, body.to_string())
    }

    /// The block that would be opened on the head now.
    fn next_block(&self, state: PendingState) -> Result<Pending, StoreError> {
        let parent = state.base.header();
        let corrupt = |_| StoreError::Corrupt("extraData");
        let summary = ParentBlock::try_from(parent).map_err(corrupt)?;
        let least = summary.extra.origin;
        // A record may be in the store before it serves as an origin: what is charged goes by the one that the executor names.
        let Origin { index, accumulator, env } =
            match self.engine.newest_origin().filter(|origin| origin.index >= least) {
                Some(origin) => origin,
                None => crate::progress::newest_origin(state.base.snapshot(), least)?,
            };
        let attributes = BlockAttributes {
            timestamp: unix_now().max(parent.timestamp),
            beneficiary: parent.beneficiary,
            origin: Origin { index, accumulator, env },
            blocks_in_second: 1,
        };
        let (env, excess) = block_env(&self.config, &summary, &attributes);
        let extra = ExtraData { origin: index, excess, ..summary.extra };
        let header = header(&env, extra, state.base.hash());
        Ok(Pending { header, env, transactions: Vec::new(), state })
    }
}

/// What is known of a header before its block is sealed.
fn header(env: &BlockEnv, extra: ExtraData, parent_hash: B256) -> Header {
    Header {
        parent_hash,
        beneficiary: env.beneficiary,
        number: env.number,
        gas_limit: env.gas_limit,
        timestamp: env.timestamp,
        extra_data: extra.encode(),
        mix_hash: env.prev_randao,
        base_fee_per_gas: Some(env.base_fee),
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

fn live_pending(block: LiveBlock, state: PendingState) -> Result<Pending, StoreError> {
    let parent = state.base.snapshot().hash(block.number - 1)?.unwrap_or_default();
    let extra = ExtraData {
        origin: block.attributes.origin.index,
        blocks_in_second: block.attributes.blocks_in_second,
        ..ExtraData::default()
    };
    let mut header = header(&block.env, extra, parent);
    header.gas_used = block.transactions.iter().map(|executed| executed.gas_used).sum();
    Ok(Pending { header, env: block.env, transactions: block.transactions, state })
}

impl Chain for L2 {
    fn chain_id(&self) -> u64 {
        self.config.l2_chain_id
    }

    fn rules(&self) -> Rules {
        Rules::L2
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn pending(&self) -> Result<Pending, StoreError> {
        let (mut blocks, state) = self.engine.live().snapshot()?;
        // The oldest ones may be in the store already.
        match blocks.pop().filter(|block| block.number > state.base.number()) {
            Some(block) => live_pending(block, state),
            None => self.next_block(state),
        }
    }

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        self.engine.live().account(address)
    }

    fn unsealed(&self, hash: B256) -> Option<Unsealed> {
        if let Some(executed) = self.engine.live().transaction(hash) {
            return Some(Unsealed::Acknowledged(executed));
        }
        self.engine.find_waiting(hash).map(Unsealed::Pooled)
    }

    fn pool(&self) -> Pool {
        self.engine.waiting()
    }

    async fn send_raw(&self, transactions: Vec<Bytes>) -> Vec<Result<Accepted, Rejected>> {
        let decoded = decode_all(&transactions, self.config.l2_chain_id);
        if !self.orders {
            let refused = |tx: Result<_, _>| tx.and(Err(Rejected::NotLeader));
            return decoded.into_iter().map(refused).collect();
        }
        let good = decoded.iter().filter_map(|tx| tx.as_ref().ok().cloned()).collect();
        let mut taken = self.engine.submit(good).await.into_iter();
        let mut answer = |tx| match tx {
            Ok(_) => taken.next().unwrap_or(Err(Rejected::Stopping)).map(accepted),
            Err(rejected) => Err(rejected),
        };
        decoded.into_iter().map(&mut answer).collect()
    }

    async fn forward(
        &self,
        method: &'static str,
        calls: Vec<Vec<Value>>,
        patience: Duration,
    ) -> Vec<Result<Value, Rejected>> {
        match &self.forward {
            Some(forward) => forward.call(method, calls, patience).await,
            None => calls.iter().map(|_| Err(Rejected::NotLeader)).collect(),
        }
    }

    fn opening(&self, snapshot: &Snapshot, header: &Header) -> Result<Opening, StoreError> {
        let corrupt = |_| StoreError::Corrupt("extraData");
        let index = ExtraData::decode(&header.extra_data).map_err(corrupt)?.origin;
        let (accumulator, env) = match crate::progress::record(snapshot, index)? {
            Some(stored) => (stored.record.accumulator, stored.record.env),
            None => (B256::ZERO, RecordEnv::default()),
        };
        let origin = Origin { index, accumulator, env };
        let slots = l1_block_slots(&origin).into_iter().enumerate();
        let slot = |(slot, value)| (L1_BLOCK, U256::from(slot), value);
        let (base, blob) = (self.config.base_fee_scalar, self.config.blob_base_fee_scalar);
        let env = BlockEnv {
            chain_id: self.config.l2_chain_id,
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            prev_randao: header.mix_hash,
            blob_base_fee: 1,
            byte_cost: fees::byte_cost(&origin.env, base, blob),
        };
        // Genesis was not opened.
        let slots = if header.number == 0 { Vec::new() } else { slots.map(slot).collect() };
        Ok(Opening { env, slots })
    }

    fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>> {
        self.engine.heads()
    }

    fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.engine.arrivals()
    }

    fn finality(&self) -> Finality {
        Finality { safe: self.progress.safe(), finalized: self.progress.finalized() }
    }

    fn min_tip(&self) -> u128 {
        self.engine.min_tip()
    }

    fn syncing(&self) -> Option<u64> {
        (!self.progress.caught_up()).then(|| self.progress.safe())
    }
}

fn accepted(taken: Taken) -> Accepted {
    let hash = |executed: &Arc<Executed>| executed.hash;
    match taken {
        Taken::Executed(executed) => Accepted { hash: hash(&executed), executed: Some(executed) },
        Taken::Waiting(hash) => Accepted { hash, executed: None },
    }
}
