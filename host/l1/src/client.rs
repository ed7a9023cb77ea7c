//! Questions to an L1 execution endpoint.

use crate::batch_source::BatchSource;
use crate::beacon::{Beacon, BlobLocation};
use crate::contracts::Inbox;
use crate::error::L1Error;
use crate::records::{L1Record, LogPosition, decode_record};
use crate::transport::{BoundedHttp, http_client, retry};
use alloy_eips::{BlockId, eip4844::Blob};
use alloy_json_rpc::{RpcRecv, RpcSend};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_client::RpcClient;
use alloy_rpc_types_eth::{Block, Filter, Header, Log, TransactionReceipt, TransactionRequest};
use alloy_sol_types::SolEvent;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use url::Url;

/// Blocks asked for at once before an endpoint has refused.
pub const MAX_LOG_RANGE: u64 = 4_096;

/// Time that one of several blob sources gets before the next is asked.
const BLOB_SOURCE_TURN: Duration = Duration::from_secs(10);

/// An L1 block by number and hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    pub number: u64,
    pub hash: B256,
}

/// What Annex reads of an L1 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Block {
    pub number: u64,
    pub hash: B256,
    pub parent_hash: B256,
    /// Seconds.
    pub timestamp: u64,
    /// Wei.
    pub base_fee: u64,
    /// None where L1 has no blobs (EIP-4844).
    pub excess_blob_gas: Option<u64>,
    /// None or zero where L1 has no beacon chain (EIP-4788).
    pub parent_beacon_root: Option<B256>,
}

impl L1Block {
    pub fn reference(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }

    /// Whether L1 takes blob transactions.
    pub fn has_blobs(&self) -> bool {
        self.excess_blob_gas.is_some()
    }
}

impl From<Header> for L1Block {
    fn from(header: Header) -> Self {
        Self {
            number: header.inner.number,
            hash: header.hash,
            parent_hash: header.inner.parent_hash,
            timestamp: header.inner.timestamp,
            base_fee: header.inner.base_fee_per_gas.unwrap_or_default(),
            excess_blob_gas: header.inner.excess_blob_gas,
            parent_beacon_root: header.inner.parent_beacon_block_root,
        }
    }
}

/// A connection to L1. Clones share it.
///
/// Every call has a timeout and a bounded answer, and is repeated a bounded number of times while the endpoint is unavailable.
#[derive(Clone, Debug)]
pub struct L1Client {
    rpc: RpcClient,
    beacons: Arc<[Beacon]>,
    /// Nodes that are asked for blobs which no beacon endpoint has.
    sources: Arc<[BatchSource]>,
    /// The one that delivered last, which is asked first.
    beacon: Arc<AtomicUsize>,
    chain_id: u64,
    /// When the newest block was asked for last, and what was answered.
    head: Arc<Mutex<Option<(Instant, L1Block)>>>,
}

impl L1Client {
    /// Connects to a JSON-RPC endpoint (`http` or `https`) and reads its chain id. Blobs come from `beacons`, asked in
    /// turn, the one that delivered last first; with none, from the JSON-RPC endpoint's own host, where Anvil and `annex dev` serve them.
    pub async fn connect(url: &str, beacons: &[String]) -> Result<Self, L1Error> {
        let client = http_client().map_err(L1Error::Client)?;
        let url = Url::parse(url)?;
        let beacons = if beacons.is_empty() {
            vec![Beacon::new(client.clone(), url.clone())]
        } else {
            beacons
                .iter()
                .map(|beacon| Ok(Beacon::new(client.clone(), Url::parse(beacon)?)))
                .collect::<Result<Vec<_>, L1Error>>()?
        };
        let rpc = RpcClient::new(BoundedHttp { client, url }, false);
        let (beacons, sources, beacon) = (beacons.into(), Arc::new([]), Arc::default());
        let mut this = Self { rpc, beacons, sources, beacon, chain_id: 0, head: Arc::default() };
        this.chain_id = this.request::<_, U64>("eth_chainId", ()).await?.to();
        Ok(this)
    }

    /// Also asks these nodes for blobs that no beacon endpoint has (any more).
    pub fn with_batch_sources(self, urls: &[String]) -> Result<Self, L1Error> {
        let client = http_client().map_err(L1Error::Client)?;
        let source = |url: &String| Ok(BatchSource::new(client.clone(), Url::parse(url)?));
        let sources = urls.iter().map(source).collect::<Result<Vec<_>, L1Error>>()?;
        Ok(Self { sources: sources.into(), ..self })
    }

    /// Fails unless the endpoint is of that chain.
    pub fn expect_chain(&self, expected: u64) -> Result<(), L1Error> {
        if self.chain_id == expected {
            return Ok(());
        }
        Err(L1Error::WrongChain { expected, actual: self.chain_id })
    }

    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// A JSON-RPC call, repeated while the endpoint is unavailable.
    pub async fn request<P: RpcSend + 'static, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, L1Error> {
        retry(method, || async { Ok(self.rpc.request::<P, R>(method, params.clone()).await?) })
            .await
    }

    /// The newest block.
    pub async fn head(&self) -> Result<L1Block, L1Error> {
        let asked = Instant::now();
        let block: Option<Block<B256>> =
            self.request("eth_getBlockByNumber", ("latest", false)).await?;
        let head = block.ok_or(L1Error::NotFound)?.header.into();
        let mut known = self.head.lock().expect("no holder panics");
        if known.is_none_or(|(before, _)| before <= asked) {
            *known = Some((asked, head));
        }
        Ok(head)
    }

    /// The newest block as it was not longer than `age` ago: who looks often shares the answers of others who do.
    pub async fn recent_head(&self, age: Duration) -> Result<L1Block, L1Error> {
        let known = *self.head.lock().expect("no holder panics");
        match known.filter(|(asked, _)| asked.elapsed() <= age) {
            Some((_, head)) => Ok(head),
            None => self.head().await,
        }
    }

    /// The canonical block of that number; none if there is none yet.
    pub async fn block(&self, number: u64) -> Result<Option<L1Block>, L1Error> {
        let block: Option<Block<B256>> =
            self.request("eth_getBlockByNumber", (U64::from(number), false)).await?;
        let block = block.map(|block| L1Block::from(block.header));
        // Of another number, it is not what was asked for.
        Ok(block.filter(|block| block.number == number))
    }

    /// The canonical block of that number, which the caller knows to exist.
    pub async fn existing_block(&self, number: u64) -> Result<L1Block, L1Error> {
        self.block(number).await?.ok_or(L1Error::NotFound)
    }

    pub async fn receipt(&self, tx: B256) -> Result<Option<TransactionReceipt>, L1Error> {
        self.request("eth_getTransactionReceipt", (tx,)).await
    }

    /// Transactions of an account that are in a block or before it (EIP-1898). Fails if it is not in the endpoint's chain.
    pub async fn nonce_at(&self, account: Address, block: B256) -> Result<u64, L1Error> {
        let params = (account, BlockId::hash_canonical(block));
        Ok(self.request::<_, U64>("eth_getTransactionCount", params).await?.to())
    }

    /// Transactions of an account that are in blocks.
    pub async fn nonce(&self, account: Address) -> Result<u64, L1Error> {
        Ok(self.request::<_, U64>("eth_getTransactionCount", (account, "latest")).await?.to())
    }

    /// Wei.
    pub async fn balance(&self, account: Address) -> Result<U256, L1Error> {
        self.request("eth_getBalance", (account, "latest")).await
    }

    pub async fn code(&self, account: Address) -> Result<Bytes, L1Error> {
        self.request("eth_getCode", (account, "latest")).await
    }

    /// Executes a call on the newest block's state and returns its output.
    pub async fn call(&self, call: TransactionRequest) -> Result<Bytes, L1Error> {
        self.request("eth_call", (call, "latest")).await
    }

    /// Gas that a call needs in the next block; reverts as the call does.
    pub async fn estimate_gas(&self, call: TransactionRequest) -> Result<u64, L1Error> {
        let next = self.request::<_, U64>("eth_estimateGas", (call.clone(), "pending")).await;
        let reverted = match next {
            Ok(gas) => return Ok(gas.to()),
            Err(error @ L1Error::Reverted(_)) => error,
            Err(error) => return Err(error),
        };
        // What the endpoint expects of the next block may hold the very transaction that the caller wants to replace.
        match self.request::<_, U64>("eth_estimateGas", (call, "latest")).await {
            Ok(gas) => Ok(gas.to()),
            Err(L1Error::Reverted(_)) => Err(reverted),
            Err(error) => Err(error),
        }
    }

    /// Reads a contract.
    pub async fn read<C: alloy_sol_types::SolCall>(
        &self,
        contract: Address,
        call: &C,
    ) -> Result<C::Return, L1Error> {
        decode::<C>(&self.call(request(contract, call)).await?)
    }

    /// Reads a contract in the state after a block (EIP-1898). Fails if it is not in the endpoint's chain.
    pub async fn read_at<C: alloy_sol_types::SolCall>(
        &self,
        contract: Address,
        call: &C,
        block: B256,
    ) -> Result<C::Return, L1Error> {
        self.read_in(contract, call, BlockId::hash_canonical(block)).await
    }

    /// The same of the block with that number in the endpoint's chain, whichever that is.
    pub(crate) async fn read_at_number<C: alloy_sol_types::SolCall>(
        &self,
        contract: Address,
        call: &C,
        block: u64,
    ) -> Result<C::Return, L1Error> {
        self.read_in(contract, call, BlockId::number(block)).await
    }

    async fn read_in<C: alloy_sol_types::SolCall>(
        &self,
        contract: Address,
        call: &C,
        block: BlockId,
    ) -> Result<C::Return, L1Error> {
        decode::<C>(&self.request::<_, Bytes>("eth_call", (request(contract, call), block)).await?)
    }

    /// The Inbox's records in L1 blocks `from..=to`, checked to follow `position`, which moves on. Ranges that the endpoint
    /// refuses are split.
    pub async fn records(
        &self,
        inbox: Address,
        from: u64,
        to: u64,
        position: &mut LogPosition,
    ) -> Result<Vec<L1Record>, L1Error> {
        let mut records = Vec::new();
        let (mut from, mut step) = (from, MAX_LOG_RANGE);
        while from <= to {
            let (mut found, end) =
                self.records_prefix(inbox, from, to, &mut step, position).await?;
            records.append(&mut found);
            from = end + 1;
        }
        Ok(records)
    }

    /// The records in `from..=end` for as large an `end <= to` as the endpoint answers in one piece. `step` is how many blocks it
    /// takes, learnt by halving.
    pub(crate) async fn records_prefix(
        &self,
        inbox: Address,
        from: u64,
        to: u64,
        step: &mut u64,
        position: &mut LogPosition,
    ) -> Result<(Vec<L1Record>, u64), L1Error> {
        let (logs, end) = loop {
            let end = to.min(from.saturating_add(*step - 1));
            match self.record_logs(inbox, from, end).await {
                Ok(logs) => break (logs, end),
                // Endpoints have no common way to say that a range is too large, and some time out.
                Err(error) if end > from && !matches!(error, L1Error::NotFound) => {
                    *step = (end - from).div_ceil(2).max(1);
                    tracing::debug!(%error, from, end, step, "L1 refuses a range of logs, halving");
                    if matches!(error, L1Error::Unavailable(_) | L1Error::Malformed(_)) {
                        // More likely it is nobody there.
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        };
        if end < to {
            *step = step.saturating_mul(2).min(MAX_LOG_RANGE);
        }
        let mut next = *position;
        let records =
            logs.iter().map(|log| decode_record(log, &mut next)).collect::<Result<_, _>>()?;
        *position = next;
        Ok((records, end))
    }

    async fn record_logs(&self, inbox: Address, from: u64, to: u64) -> Result<Vec<Log>, L1Error> {
        let filter = Filter::new()
            .address(inbox)
            .event_signature(Inbox::Record::SIGNATURE_HASH)
            .from_block(from)
            .to_block(to);
        let mut logs: Vec<Log> = self.request("eth_getLogs", (filter,)).await?;
        // The order is Ethereum's, but not every endpoint's.
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    /// Logs in L1 blocks `from..=to`, in order. Ranges that the endpoint refuses are split.
    pub async fn logs(&self, filter: Filter, from: u64, to: u64) -> Result<Vec<Log>, L1Error> {
        let mut found = Vec::new();
        let (mut from, mut step) = (from, MAX_LOG_RANGE);
        while from <= to {
            let end = to.min(from.saturating_add(step - 1));
            let filter = filter.clone().from_block(from).to_block(end);
            match self.request::<_, Vec<Log>>("eth_getLogs", (filter,)).await {
                Ok(mut logs) => {
                    logs.sort_by_key(|log| (log.block_number, log.log_index));
                    found.append(&mut logs);
                    from = end + 1;
                }
                Err(_) if end > from => step = (end - from).div_ceil(2).max(1),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The blobs with these versioned hashes, in that order, from L1 block `number`. Each is checked against its hash, so the
    /// sources need no trust.
    pub async fn blobs(&self, number: u64, hashes: &[B256]) -> Result<Vec<Box<Blob>>, L1Error> {
        let block = self.existing_block(number).await?;
        let child = self.block(number + 1).await?;
        let location = BlobLocation {
            number,
            hash: block.hash,
            timestamp: block.timestamp,
            beacon_root: child.and_then(|child| child.parent_beacon_root).filter(|r| !r.is_zero()),
        };
        let mut found = vec![None; hashes.len()];
        let mut failure = None;
        let first = self.beacon.load(Ordering::Relaxed);
        let order = (0..self.beacons.len()).map(|turn| (first + turn) % self.beacons.len());
        // Whoever hangs is asked again without a limit once the others had their turn.
        let one = self.beacons.len() == 1 && self.sources.is_empty();
        let patient = if one { &[true][..] } else { &[false, true] };
        let turns = patient.iter().flat_map(|p| order.clone().map(move |s| (*p, s)));
        for (turn, (patient, source)) in turns.enumerate() {
            if turn == self.beacons.len() && self.ask_batch_sources(hashes, &mut found).await {
                break;
            }
            let mut more = found.clone();
            let collect = self.beacons[source].collect(&location, hashes, &mut more);
            let collected = match patient {
                true => collect.await,
                false => match timeout(BLOB_SOURCE_TURN, collect).await {
                    Ok(collected) => collected,
                    Err(_) => continue,
                },
            };
            found = more;
            if let Err(error) = collected {
                tracing::debug!(%error, source, "a blob source failed");
                failure = Some(error);
            }
            if found.iter().all(Option::is_some) {
                self.beacon.store(source, Ordering::Relaxed);
                break;
            }
        }
        let missing = found.iter().position(Option::is_none);
        match (missing, failure) {
            (None, _) => Ok(found.into_iter().flatten().collect()),
            (Some(_), Some(error)) => Err(error),
            (Some(at), None) => Err(L1Error::MissingBlob { hash: hashes[at], block: number }),
        }
    }
}

impl L1Client {
    /// Asks other nodes for the blobs that are missing. Whether none is any more.
    async fn ask_batch_sources(&self, hashes: &[B256], found: &mut Vec<Option<Box<Blob>>>) -> bool {
        for source in self.sources.iter() {
            let mut more = found.clone();
            match timeout(BLOB_SOURCE_TURN, source.collect(hashes, &mut more)).await {
                Ok(Ok(false)) => *found = more,
                Ok(Ok(true)) => {
                    tracing::warn!(
                        source = source.host(),
                        "a batch source gave what is not the blob it was asked for; asking others"
                    );
                    *found = more;
                }
                Ok(Err(error)) => {
                    tracing::warn!(source = source.host(), %error, "a batch source failed");
                }
                Err(_) => tracing::warn!(source = source.host(), "a batch source takes too long"),
            }
            if found.iter().all(Option::is_some) {
                return true;
            }
        }
        false
    }
}

fn request<C: alloy_sol_types::SolCall>(contract: Address, call: &C) -> TransactionRequest {
    TransactionRequest::default().to(contract).input(Bytes::from(call.abi_encode()).into())
}

fn decode<C: alloy_sol_types::SolCall>(output: &Bytes) -> Result<C::Return, L1Error> {
    C::abi_decode_returns(output).map_err(L1Error::Output)
}
