use super::{
    BenchError, Target, Terms, funded_account, load, nonce_of, rank, require_funds,
    workload::Account,
};
use crate::{
    machine,
    rpc_client::{RpcClient, RpcError},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use annex_types::promise::{self, Promise, SignedPromise};
use clap::Args;
use serde_json::{Value, json};
use std::{
    str::FromStr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// Load that runs before the first transfer under load is timed.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct Latency {
    #[command(flatten)]
    target: Target,
    /// Transfers measured, after a tenth as many to warm up
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Transactions a second that others send meanwhile
    #[arg(long, value_name = "RATE")]
    load: Option<u32>,
    /// Most seconds of load
    #[arg(long, default_value_t = 20, requires = "load")]
    seconds: u64,
    #[command(flatten)]
    others: load::LoadArgs,
}

/// The leader's promise domain and key, where the node has one.
struct Leader {
    domain: alloy_sol_types::Eip712Domain,
    signer: Address,
}

/// One client that waits for each of its transfers.
struct Probe {
    client: RpcClient,
    account: Account,
    terms: Terms,
    leader: Option<Leader>,
    nonce: u64,
}

pub async fn run(options: Latency) -> Result<(), BenchError> {
    let Latency { target, count, load: rate, seconds, others } = options;
    let Some(rate) = rate else {
        let mut probe = Probe::new(&target, None).await?;
        let samples = probe.measure(count, None).await?;
        report(&target, samples, probe.leader.is_some(), None);
        return Ok(());
    };
    let mut load = load::Load::prepare(&target, &others).await?;
    load.sign((u64::from(rate) * (seconds + WARM_UP.as_secs() + 1)) as usize);
    let start = Instant::now();
    let until = start + WARM_UP + Duration::from_secs(seconds);
    let tip = others.tip();
    let probed = target.clone();
    // On a thread of its own: what the others send must not hold up the clock.
    let probing = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|_| BenchError::Stopped)?.block_on(async {
            let mut probe = Probe::new(&probed, tip).await?;
            tokio::time::sleep_until((start + WARM_UP).into()).await;
            Ok::<_, BenchError>((probe.measure(count, Some(until)).await?, probe.leader.is_some()))
        })
    });
    let tally = load.tally.clone();
    let (sent, probed) = tokio::join!(load.run(until.into(), Some(rate.into()), false), probing);
    sent?;
    let (samples, promised) = probed.map_err(|_| BenchError::Stopped)??;
    let reached = tally.accepted.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
    report(&target, samples, promised, Some((others.describe(), reached)));
    Ok(())
}

impl Probe {
    async fn new(target: &Target, tip: Option<u128>) -> Result<Self, BenchError> {
        let client = RpcClient::new(&target.rpc);
        let account = funded_account(target)?;
        require_funds(&client, &target.rpc, account.address).await?;
        let mut terms = Terms::ask(&client, account.address, RECIPIENT).await?;
        if let Some(tip) = tip {
            terms = terms.with_tip(tip);
        }
        let leader = leader(&client).await?;
        let nonce = nonce_of(&client, account.address).await?;
        Ok(Self { client, account, terms, leader, nonce })
    }

    /// Microseconds of each transfer, until `count` of them or the deadline.
    async fn measure(
        &mut self,
        count: usize,
        until: Option<Instant>,
    ) -> Result<Vec<u64>, BenchError> {
        let mut samples = Vec::with_capacity(count);
        for i in 0..count + count / 10 {
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let micros = self.transfer().await?;
            if i >= count / 10 {
                samples.push(micros);
            }
        }
        samples.sort_unstable();
        Ok(samples)
    }

    async fn transfer(&mut self) -> Result<u64, BenchError> {
        let terms = self.terms;
        let (to, value) = (TxKind::Call(RECIPIENT), U256::from(1));
        let tx = terms.transaction(self.nonce, to, value, Bytes::new(), terms.gas_limit);
        let raw = Bytes::from(self.account.sign(&tx));
        let hash = keccak256(&raw);
        self.nonce += 1;
        let start = Instant::now();
        let receipt = self.client.call("eth_sendRawTransactionSync", json!([raw])).await?;
        let promised = self.leader.as_ref().is_none_or(|leader| leader.signed(&receipt));
        let micros = start.elapsed().as_micros() as u64;
        if receipt["status"] != "0x1" || receipt["transactionHash"] != json!(hash) {
            return Err(BenchError::Failed { hash });
        }
        if let (false, Some(leader)) = (promised, &self.leader) {
            return Err(BenchError::BadPromise { hash, leader: leader.signer });
        }
        Ok(micros)
    }
}

const RECIPIENT: Address = Address::repeat_byte(0xbe);

fn report(target: &Target, sorted: Vec<u64>, promised: bool, load: Option<(String, f64)>) {
    let (p50, p99) = (rank(&sorted, 500), rank(&sorted, 990));
    let reached = load.as_ref().map(|(_, rate)| rate.round());
    if target.json {
        let samples = sorted.len();
        println!("{}", json!({"p50_us": p50, "p99_us": p99, "samples": samples, "load": reached}));
        return;
    }
    println!("{}", machine::line());
    println!(
        "eth_sendRawTransactionSync on {}: {} transfers, one client",
        target.rpc,
        sorted.len()
    );
    if let Some((others, rate)) = load {
        println!("meanwhile {rate:.0} a second of others: {others}");
    }
    let checked = if promised { ", promise checked" } else { "" };
    println!("p50 {} ms, p99 {} ms, max {} ms{checked}", ms(p50), ms(p99), ms(rank(&sorted, 1000)));
}

fn ms(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

async fn leader(client: &RpcClient) -> Result<Option<Leader>, BenchError> {
    let deployment = match client.call("annex_deployment", json!([])).await {
        Ok(deployment) => deployment,
        Err(RpcError::Call { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let leader = client.call("annex_leader", json!([])).await?;
    let shape = || RpcError::Shape { method: "annex_deployment".into(), field: "lease" };
    let lease = address(&deployment["contracts"]["lease"]).ok_or_else(shape)?;
    let l1 = deployment["l1ChainId"].as_u64().ok_or_else(shape)?;
    let signer = address(&leader["promiseSigner"]).ok_or_else(shape)?;
    Ok(Some(Leader { domain: promise::domain(l1, lease), signer }))
}

impl Leader {
    fn signed(&self, receipt: &Value) -> bool {
        signed_promise(&receipt["promise"])
            .and_then(|promise| promise.signer(&self.domain).ok())
            .is_some_and(|signer| signer == self.signer)
    }
}

fn signed_promise(json: &Value) -> Option<SignedPromise> {
    let number = |field: &str| u64::try_from(crate::rpc_client::parse_quantity(&json[field])?).ok();
    let hash = |field: &str| B256::from_str(json[field].as_str()?).ok();
    let promise = Promise {
        l2ChainId: number("l2ChainId")?,
        leaseId: U256::from(number("leaseId")?),
        sequence: number("sequence")?,
        previous: hash("previous")?,
        blockNumber: number("blockNumber")?,
        timestamp: number("timestamp")?,
        beneficiary: address(&json["beneficiary"])?,
        baseFee: U256::from(number("baseFee")?),
        origin: hash("origin")?,
        firstIndex: u32::try_from(number("firstIndex")?).ok()?,
        count: u32::try_from(number("count")?).ok()?,
        root: hash("root")?,
    };
    let signature = Signature::from_str(json["signature"].as_str()?).ok()?;
    Some(SignedPromise { promise, signature })
}

fn address(value: &Value) -> Option<Address> {
    Address::from_str(value.as_str()?).ok()
}
