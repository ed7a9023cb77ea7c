use super::{BenchError, Target, Terms, funded_signer, nonce_of, rank, require_funds};
use crate::{
    machine,
    rpc_client::{RpcClient, RpcError},
};
use alloy_primitives::{Address, B256, Signature, U256};
use annex_types::promise::{self, Promise, SignedPromise};
use clap::Args;
use serde_json::{Value, json};
use std::{str::FromStr, time::Instant};

#[derive(Debug, Args)]
pub struct Latency {
    #[command(flatten)]
    target: Target,
    /// Transfers measured, after a tenth as many to warm up
    #[arg(long, default_value_t = 1000)]
    count: usize,
}

/// The leader's promise domain and key, where the node has one.
struct Leader {
    domain: alloy_sol_types::Eip712Domain,
    signer: Address,
}

pub async fn run(options: Latency) -> Result<(), BenchError> {
    let Latency { target, count } = options;
    let client = RpcClient::new(&target.rpc);
    let signer = funded_signer(&target)?;
    require_funds(&client, &target.rpc, signer.address()).await?;
    let to = Address::repeat_byte(0xbe);
    let terms = Terms::ask(&client, signer.address(), to).await?;
    let leader = leader(&client).await?;
    let mut nonce = nonce_of(&client, signer.address()).await?;
    let mut samples = Vec::with_capacity(count);
    for i in 0..count + count / 10 {
        let (raw, hash) = terms.transfer(&signer, nonce, to, U256::from(1));
        nonce += 1;
        let start = Instant::now();
        let receipt = client.call("eth_sendRawTransactionSync", json!([raw])).await?;
        let promised = leader.as_ref().is_none_or(|leader| leader.signed(&receipt));
        let micros = start.elapsed().as_micros() as u64;
        if receipt["status"] != "0x1" || receipt["transactionHash"] != json!(hash) {
            return Err(BenchError::Failed { hash });
        }
        if let (false, Some(leader)) = (promised, &leader) {
            return Err(BenchError::BadPromise { hash, leader: leader.signer });
        }
        if i >= count / 10 {
            samples.push(micros);
        }
    }
    samples.sort_unstable();
    report(&target, &samples, leader.is_some());
    Ok(())
}

fn report(target: &Target, sorted: &[u64], promised: bool) {
    let (p50, p99) = (rank(sorted, 500), rank(sorted, 990));
    if target.json {
        println!("{}", json!({"p50_us": p50, "p99_us": p99, "samples": sorted.len()}));
        return;
    }
    println!("{}", machine::line());
    println!(
        "eth_sendRawTransactionSync on {}: {} transfers, one client",
        target.rpc,
        sorted.len()
    );
    let checked = if promised { ", promise checked" } else { "" };
    println!("p50 {} ms, p99 {} ms, max {} ms{checked}", ms(p50), ms(p99), ms(rank(sorted, 1000)));
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
