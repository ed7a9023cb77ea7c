use crate::rpc_client::{RpcClient, RpcError};
use alloy_primitives::B256;
use annex_node::{Stage, TransactionStatus};
use clap::Args;
use serde_json::json;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: annex tx 0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060 --wait safe"
)]
pub struct TxArgs {
    hash: B256,
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// Wait until the transaction is that far
    #[arg(long, value_enum)]
    wait: Option<Until>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Until {
    Acknowledged,
    Sealed,
    Safe,
    Settled,
}

#[derive(Debug, thiserror::Error)]
pub enum TxError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("the node's answer cannot be read: {0}; is it an Annex node?")]
    Shape(#[from] serde_json::Error),
}

impl Until {
    fn stage(self) -> Stage {
        match self {
            Self::Acknowledged => Stage::Acknowledged,
            Self::Sealed => Stage::Sealed,
            Self::Safe => Stage::Safe,
            Self::Settled => Stage::Settled,
        }
    }
}

pub async fn run(args: TxArgs) -> Result<(), TxError> {
    let client = RpcClient::new(&args.rpc);
    let mut shown = None;
    loop {
        let answer = client.call("annex_transactionStatus", json!([args.hash])).await?;
        let status: TransactionStatus = serde_json::from_value(answer)?;
        if shown != Some(status.stage) {
            print(&status);
            shown = Some(status.stage);
        }
        if args.wait.is_none_or(|until| status.stage >= until.stage()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn print(status: &TransactionStatus) {
    const STAGES: [(Stage, &str); 4] = [
        (Stage::Acknowledged, "acknowledged"),
        (Stage::Sealed, "sealed"),
        (Stage::Safe, "safe"),
        (Stage::Settled, "settled"),
    ];
    let line: Vec<String> = STAGES
        .iter()
        .map(|(stage, name)| format!("{} {name}", if status.stage >= *stage { "●" } else { "○" }))
        .collect();
    println!("{}", line.join(" → "));
    println!("  {}", status.guarantee);
    if let Some(number) = status.block_number {
        let hash = status.block_hash.map_or("not sealed yet".to_owned(), |hash| hash.to_string());
        println!("  block {number} ({hash})");
    }
    if let Some(sequence) = status.promise {
        println!("  promise {sequence}");
    }
    if let (Some(record), Some(l1)) = (status.record, status.l1_transaction) {
        let depth = if status.l1_final { "final" } else { "not final yet" };
        println!("  record {record}, L1 transaction {l1}, {depth}");
    }
}
