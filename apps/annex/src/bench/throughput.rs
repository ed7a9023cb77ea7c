use super::{BenchError, Target, Terms, funded_signer, nonce_of, require_funds};
use crate::{
    machine,
    rpc_client::{RpcClient, RpcError, parse_quantity},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_signer_local::PrivateKeySigner;
use clap::Args;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SENDERS: usize = 100;
const CONNECTIONS: usize = 8;
const BATCH: usize = 50;
/// After a refusal.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct Throughput {
    #[command(flatten)]
    target: Target,
    /// Length of the measurement
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// One connection's senders and their next nonces.
struct Lane {
    client: RpcClient,
    senders: Vec<(PrivateKeySigner, u64)>,
}

pub async fn run(options: Throughput) -> Result<(), BenchError> {
    let Throughput { target, seconds } = options;
    let client = RpcClient::new(&target.rpc);
    let bank = funded_signer(&target)?;
    require_funds(&client, &target.rpc, bank.address()).await?;
    let to = Address::repeat_byte(0xbe);
    let terms = Terms::ask(&client, bank.address(), to).await?;
    let lanes = fund(&client, &bank, terms, &target.rpc).await?;
    let first = client.quantity("eth_blockNumber", json!([])).await?;
    let start = Instant::now();
    let deadline = start + Duration::from_secs(seconds);
    let bar = progress(seconds, target.json);
    let sends = lanes.into_iter().map(|lane| send_until(lane, terms, to, deadline, bar.clone()));
    let accepted: usize = try_join_all(sends).await?.into_iter().sum();
    let sealed = count_sealed(&client, first, accepted).await?;
    let elapsed = start.elapsed();
    bar.finish_and_clear();
    let tps = sealed as f64 / elapsed.as_secs_f64();
    if target.json {
        println!("{}", json!({"tps": tps.round(), "sealed": sealed, "accepted": accepted}));
    } else {
        println!("{}", machine::line());
        println!(
            "{SENDERS} senders, {CONNECTIONS} connections, batches of {BATCH} on {}",
            target.rpc
        );
        println!(
            "{tps:.0} transfers a second in sealed blocks ({sealed} in {:.1} s)",
            elapsed.as_secs_f64()
        );
    }
    Ok(())
}

fn progress(seconds: u64, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed} {wide_bar} {pos} transfers accepted");
    ProgressBar::no_length()
        .with_style(style.expect("a fixed template"))
        .with_message(format!("{seconds} s"))
}

/// Gives every sender ether from the bank and waits for it.
async fn fund(
    client: &RpcClient,
    bank: &PrivateKeySigner,
    terms: Terms,
    rpc: &str,
) -> Result<Vec<Lane>, BenchError> {
    let mut nonce = nonce_of(client, bank.address()).await?;
    let mut senders = Vec::new();
    let mut raws: Vec<Value> = Vec::new();
    for i in 0..SENDERS {
        let key = keccak256(format!("annex bench sender {i}"));
        let signer = PrivateKeySigner::from_bytes(&key).expect("a hash is a key");
        let value = U256::from(10u64.pow(18));
        raws.push(json!([terms.transfer(bank, nonce, signer.address(), value).0]));
        nonce += 1;
        senders.push(signer);
    }
    let mut last = B256::ZERO;
    for result in client.batch("eth_sendRawTransaction", raws).await? {
        last = serde_json::from_value(result?).unwrap_or_default();
    }
    wait_for_seal(client, last).await?;
    let mut lanes: Vec<Lane> = (0..CONNECTIONS)
        .map(|_| Lane { client: RpcClient::new(rpc), senders: Vec::new() })
        .collect();
    for (i, signer) in senders.into_iter().enumerate() {
        let nonce = nonce_of(client, signer.address()).await?;
        lanes[i % CONNECTIONS].senders.push((signer, nonce));
    }
    Ok(lanes)
}

/// Waits for the block of a transaction: a receipt may come before the block is sealed.
async fn wait_for_seal(client: &RpcClient, hash: B256) -> Result<(), BenchError> {
    for _ in 0..600 {
        let receipt = client.call("eth_getTransactionReceipt", json!([hash])).await?;
        let head = client.quantity("eth_blockNumber", json!([])).await?;
        if parse_quantity(&receipt["blockNumber"]).is_some_and(|number| number <= head) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(BenchError::Failed { hash })
}

/// Sends batches until the deadline; returns how many transfers were accepted. A node that refuses, because its price rose
/// or because it has enough to do, is asked again at its price.
async fn send_until(
    mut lane: Lane,
    mut terms: Terms,
    to: Address,
    deadline: Instant,
    bar: ProgressBar,
) -> Result<usize, BenchError> {
    let mut accepted = 0;
    let mut turn = 0;
    let mut pending = lane.sign(terms, to, turn);
    while Instant::now() < deadline {
        turn += 1;
        let params = pending.iter().map(|raw| json!([raw])).collect();
        // Sign the next batch while this one is on its way.
        let client = lane.client.clone();
        let (answers, next) = tokio::join!(client.batch("eth_sendRawTransaction", params), async {
            lane.sign(terms, to, turn)
        });
        pending = next;
        let mut taken = 0;
        for answer in answers? {
            match answer {
                Ok(_) => taken += 1,
                Err(RpcError::Call { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        accepted += taken;
        bar.inc(taken as u64);
        if taken < BATCH {
            tokio::time::sleep(PAUSE).await;
            terms = terms.with_tip_of(&lane.client).await?;
            lane.recount().await?;
            pending = lane.sign(terms, to, turn);
        }
    }
    Ok(accepted)
}

impl Lane {
    fn sign(&mut self, terms: Terms, to: Address, turn: usize) -> Vec<Bytes> {
        let at = turn % self.senders.len();
        let (signer, nonce) = &mut self.senders[at];
        let first = *nonce;
        *nonce += BATCH as u64;
        (first..*nonce).map(|n| terms.transfer(signer, n, to, U256::from(1)).0).collect()
    }

    /// What was refused has left gaps.
    async fn recount(&mut self) -> Result<(), BenchError> {
        for (signer, nonce) in &mut self.senders {
            *nonce = nonce_of(&self.client, signer.address()).await?;
        }
        Ok(())
    }
}

/// Waits for the accepted transfers and counts those in blocks after `first`.
async fn count_sealed(
    client: &RpcClient,
    first: u128,
    accepted: usize,
) -> Result<usize, BenchError> {
    let (mut next, mut sealed) = (first + 1, 0);
    let patience = Instant::now() + Duration::from_secs(60);
    while sealed < accepted && Instant::now() < patience {
        let head = client.quantity("eth_blockNumber", json!([])).await?;
        while next <= head {
            let number = json!([format!("0x{next:x}")]);
            let count = client.call("eth_getBlockTransactionCountByNumber", number).await?;
            sealed += parse_quantity(&count).unwrap_or_default() as usize;
            next += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(sealed)
}
