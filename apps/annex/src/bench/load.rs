//! Many accounts that send batches over several connections, signed beforehand.

use super::{
    BenchError, Target, Terms, nonce_of, require_funds,
    workload::{Account, Kind, Recipients, Workload},
};
use crate::rpc_client::{RpcClient, RpcError, parse_quantity};
use alloy_primitives::{B256, Bytes, TxKind, U256, hex};
use clap::Args;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// After a refusal.
const PAUSE: Duration = Duration::from_millis(100);
/// Calls in one batch of the preparation.
const CHUNK: usize = 100;

#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// What the transactions do
    #[arg(long, value_enum, default_value_t = Kind::Transfers)]
    kind: Kind,
    /// Who receives ether and tokens
    #[arg(long, value_enum, default_value_t = Recipients::Own)]
    recipients: Recipients,
    /// Accounts that send
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    accounts: u32,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Transactions in one JSON-RPC batch, all of one account
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Gwei of priority fee, for nodes that ask for more the more waits; default: twice what the node suggests
    #[arg(long)]
    tip: Option<u64>,
    /// Folder with the packages @uniswap/v2-core and @uniswap/v2-periphery, for swaps and tokens
    #[arg(long, default_value = "tests/clients/node_modules")]
    artifacts: PathBuf,
}

impl LoadArgs {
    /// Wei.
    pub fn tip(&self) -> Option<u128> {
        Some(u128::from(self.tip?) * 1_000_000_000)
    }

    /// The load in words.
    pub fn describe(&self) -> String {
        let Self { kind, recipients, accounts, connections, batch, .. } = self;
        let what = match kind {
            Kind::Transfers => "transfers",
            Kind::Erc20 => "token transfers",
            Kind::Swaps => "swaps",
            Kind::Mix => "transfers, token transfers and swaps (6:3:1)",
        };
        let whom = match (kind, recipients) {
            (Kind::Swaps, _) => "",
            (_, Recipients::Own) => " among each other",
            (_, Recipients::Random) => " to somebody new each time",
        };
        format!("{accounts} accounts, {what}{whom}, {connections} connections, batches of {batch}")
    }
}

/// Counted while lanes run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
    /// Signed while sending: what was signed beforehand did not suffice.
    pub signed_late: AtomicU64,
}

/// When a lane stops.
#[derive(Clone, Copy)]
struct End {
    until: Instant,
    /// Whether a refusal ends it.
    stop: bool,
}

impl End {
    fn is_reached(&self, tally: &Tally) -> bool {
        Instant::now() >= self.until || self.stop && tally.refused.load(Relaxed) > 0
    }
}

/// One connection with its accounts.
struct Lane {
    client: RpcClient,
    /// Numbers of accounts and their next nonces.
    senders: Vec<(usize, u64)>,
    turn: usize,
    ready: VecDeque<Vec<Vec<u8>>>,
    terms: Terms,
}

/// A load that is ready to be put on a node.
pub(super) struct Load {
    workload: Arc<Workload>,
    lanes: Vec<Lane>,
    batch: usize,
    pub tally: Arc<Tally>,
}

impl Load {
    /// Funds the accounts and deploys what the load needs.
    pub async fn prepare(target: &Target, args: &LoadArgs) -> Result<Self, BenchError> {
        let client = RpcClient::new(&target.rpc);
        let bank = super::funded_account(target)?;
        require_funds(&client, &target.rpc, bank.address).await?;
        let to = alloy_primitives::Address::repeat_byte(0xbe);
        let mut terms = Terms::ask(&client, bank.address, to).await?;
        if let Some(tip) = args.tip() {
            terms = terms.with_tip(tip);
        }
        let accounts: Vec<Account> = (0..args.accounts as usize).map(Account::numbered).collect();
        fund(&client, &bank, &accounts, terms).await?;
        let mut workload = Workload::new(terms, accounts, args.kind, args.recipients);
        workload.prepare(&client, &bank, &args.artifacts).await?;
        let mut lanes: Vec<Lane> = (0..args.connections)
            .map(|_| Lane {
                client: RpcClient::new(&target.rpc),
                senders: Vec::new(),
                turn: 0,
                ready: VecDeque::new(),
                terms,
            })
            .collect();
        for (index, account) in workload.accounts.iter().enumerate() {
            let nonce = nonce_of(&client, account.address).await?;
            let lane = index % lanes.len();
            lanes[lane].senders.push((index, nonce));
        }
        lanes.retain(|lane| !lane.senders.is_empty());
        let batch = args.batch as usize;
        Ok(Self { workload: Arc::new(workload), lanes, batch, tally: Arc::default() })
    }

    /// Signs at least `count` transactions beforehand, on all cores.
    pub fn sign(&mut self, count: usize) {
        let batches = count.div_ceil(self.batch).div_ceil(self.lanes.len());
        let (workload, batch) = (&*self.workload, self.batch);
        std::thread::scope(|scope| {
            for lane in &mut self.lanes {
                scope.spawn(move || {
                    while lane.ready.len() < batches {
                        let signed = lane.sign(workload, batch);
                        lane.ready.push_back(signed);
                    }
                });
            }
        });
    }

    /// Sends until the deadline or the first refusal, if that is to `stop` it.
    pub async fn run(
        &mut self,
        until: Instant,
        rate: Option<f64>,
        stop: bool,
    ) -> Result<(), BenchError> {
        let batches = self.lanes.len() * self.batch;
        let pace = rate.map(|rate| Duration::from_secs_f64(batches as f64 / rate));
        let lanes = std::mem::take(&mut self.lanes);
        let count = lanes.len() as u32;
        let tasks = lanes.into_iter().zip(0..).map(|(mut lane, index)| {
            let (workload, tally, batch) = (self.workload.clone(), self.tally.clone(), self.batch);
            // Paced lanes take turns.
            let start = Instant::now() + pace.unwrap_or_default() * index / count;
            let pace = pace.map(|pace| (start, pace));
            tokio::spawn(async move {
                let end = End { until, stop };
                let result = lane.drive(&workload, batch, end, pace, &tally).await;
                (lane, result)
            })
        });
        let mut first_error = None;
        for ended in try_join_all(tasks).await.map_err(|_| BenchError::Stopped)? {
            let (lane, result) = ended;
            self.lanes.push(lane);
            first_error = first_error.or(result.err());
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Lane {
    fn sign(&mut self, workload: &Workload, batch: usize) -> Vec<Vec<u8>> {
        let at = self.turn % self.senders.len();
        self.turn += 1;
        let (account, nonce) = &mut self.senders[at];
        let first = *nonce;
        *nonce += batch as u64;
        (first..*nonce).map(|nonce| workload.signed(&self.terms, *account, nonce)).collect()
    }

    /// Sends batch after batch. A node that refuses, because its price rose or because it has enough to do, is asked again
    /// at its price.
    async fn drive(
        &mut self,
        workload: &Workload,
        batch: usize,
        end: End,
        pace: Option<(Instant, Duration)>,
        tally: &Tally,
    ) -> Result<(), BenchError> {
        let mut next = pace.map(|(start, _)| start);
        while !end.is_reached(tally) {
            let signed = match self.ready.pop_front() {
                Some(signed) => signed,
                None => {
                    tally.signed_late.fetch_add(batch as u64, Relaxed);
                    self.sign(workload, batch)
                }
            };
            if let (Some(at), Some((_, pace))) = (&mut next, pace) {
                sleep_until(*at).await;
                *at += pace;
            }
            let taken = send_batch(&self.client, &signed).await?;
            tally.accepted.fetch_add(taken, Relaxed);
            if taken < signed.len() as u64 {
                tally.refused.fetch_add(signed.len() as u64 - taken, Relaxed);
                if end.stop {
                    break;
                }
                sleep(PAUSE).await;
                let asked = self.terms.with_tip_of(&self.client).await?;
                if asked.tip > self.terms.tip {
                    self.terms = asked;
                }
                self.recount(workload).await?;
            }
        }
        Ok(())
    }

    /// What was refused has left gaps: what is ready comes too early or pays too little.
    async fn recount(&mut self, workload: &Workload) -> Result<(), BenchError> {
        self.ready.clear();
        for (account, nonce) in &mut self.senders {
            *nonce = nonce_of(&self.client, workload.accounts[*account].address).await?;
        }
        Ok(())
    }
}

/// Sends transactions as one JSON-RPC batch; returns how many were taken before the first refusal.
async fn send_batch(client: &RpcClient, transactions: &[Vec<u8>]) -> Result<u64, BenchError> {
    const CALL: &str = r#"{"jsonrpc":"2.0","method":"eth_sendRawTransaction","id":"#;
    let size: usize = transactions.iter().map(|raw| 2 * raw.len() + CALL.len() + 32).sum();
    let mut body = String::with_capacity(size);
    for (id, raw) in transactions.iter().enumerate() {
        body.push(if id == 0 { '[' } else { ',' });
        body.push_str(CALL);
        body.push_str(&id.to_string());
        body.push_str(r#","params":["0x"#);
        body.push_str(&hex::encode(raw));
        body.push_str(r#""]}"#);
    }
    body.push(']');
    let answer = client.post_raw(body.into_bytes()).await?;
    // Nearly always all were taken, which needs no parsing: the client shares the machine with the node.
    let errors = occurrences(&answer, br#""error""#);
    if errors == 0 {
        return Ok(transactions.len() as u64);
    }
    let mut answers: Vec<Value> = serde_json::from_slice(&answer)
        .map_err(|source| RpcError::Json { url: client.url().to_owned(), source })?;
    answers.sort_by_key(|answer| answer["id"].as_u64());
    // What follows a refused one waits for its nonce.
    Ok(answers.iter().take_while(|answer| answer["result"].is_string()).count() as u64)
}

fn occurrences(text: &[u8], word: &[u8]) -> usize {
    text.windows(word.len()).filter(|window| window == &word).count()
}

/// Gives every account its part of what the bank holds.
async fn fund(
    client: &RpcClient,
    bank: &Account,
    accounts: &[Account],
    terms: Terms,
) -> Result<(), BenchError> {
    let mut nonce = nonce_of(client, bank.address).await?;
    let balance = client.quantity("eth_getBalance", json!([bank.address, "latest"])).await?;
    // A third stays for contracts and for other measurements.
    let value = U256::from(balance / 3 * 2 / accounts.len() as u128);
    let mut raws = Vec::new();
    for account in accounts {
        let to = TxKind::Call(account.address);
        let tx = terms.transaction(nonce, to, value, Bytes::new(), terms.gas_limit);
        raws.push(bank.sign(&tx));
        nonce += 1;
    }
    send_and_wait(client, &raws).await
}

/// Sends transactions of the preparation, in order, and waits until sealed blocks hold all of them.
pub(super) async fn send_and_wait(client: &RpcClient, raws: &[Vec<u8>]) -> Result<(), BenchError> {
    for chunk in raws.chunks(CHUNK) {
        let params = chunk.iter().map(|raw| json!([Bytes::copy_from_slice(raw)])).collect();
        let mut hashes = Vec::new();
        for result in client.batch("eth_sendRawTransaction", params).await? {
            hashes.push(result?);
        }
        wait_for_seal(client, &hashes).await?;
    }
    Ok(())
}

/// Waits for the blocks of transactions: a receipt may come before the block is sealed.
async fn wait_for_seal(client: &RpcClient, hashes: &[Value]) -> Result<(), BenchError> {
    let failed = |hash: &Value| BenchError::Failed {
        hash: serde_json::from_value::<B256>(hash.clone()).unwrap_or_default(),
    };
    for hash in hashes {
        let mut tries = 0;
        loop {
            let receipt = client.call("eth_getTransactionReceipt", json!([hash])).await?;
            let head = client.quantity("eth_blockNumber", json!([])).await?;
            if parse_quantity(&receipt["blockNumber"]).is_some_and(|number| number <= head) {
                if receipt["status"] != "0x1" {
                    return Err(failed(hash));
                }
                break;
            }
            tries += 1;
            if tries > 600 {
                return Err(failed(hash));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
