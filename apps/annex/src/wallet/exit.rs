//! How far a withdrawal is.

use super::{Chain, ChainArgs, WalletError, withdraw::IToken};
use crate::ui::{self, Paint, paint};
use alloy_primitives::{B256, Bytes, Log, U64, U256};
use alloy_sol_types::SolCall;
use annex_l1::contracts::L1StandardBridge::finalizeBridgeERC20Call;
use annex_l1::settlement::{self, ClaimState, ClaimStatus, RangeStatus};
use annex_l1::withdrawal::{OutputProof, PortalStatus, Proven, Withdrawal, portal_status};
use annex_l1::{L1Error, exit_market};
use annex_types::predeploys;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::fmt;

/// Newest claims among which one is looked for.
const CLAIMS: u64 = 512;

#[derive(Clone, Debug, Args)]
pub struct WithdrawalArgs {
    /// L2 transaction that initiated it
    tx: B256,
    /// Which withdrawal of the transaction
    #[arg(long, default_value_t = 0)]
    index: usize,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example: annex wallet status 0x5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060"
)]
pub struct StatusArgs {
    #[command(flatten)]
    withdrawal: WithdrawalArgs,
    #[command(flatten)]
    chain: ChainArgs,
}

/// A withdrawal as L2 has it.
pub struct Initiated {
    pub tx: B256,
    pub block: u64,
    pub withdrawal: Withdrawal,
}

/// How far a withdrawal is.
pub enum Stage {
    /// No true claim covers it.
    Initiated,
    Provable(Provable),
    /// Its claim may still be disputed.
    Proved(Proven),
    Finalizable(Proven),
    Finalized,
}

/// No claim covers a block; ranges are opened every so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclaimed {
    block: u64,
    interval: u64,
}

impl fmt::Display for Unclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (block, interval) = (self.block, ui::duration(self.interval));
        write!(
            f,
            "no claim covers block {block} yet; a claimer opens a range every {interval} while withdrawals wait"
        )
    }
}

/// When a claim settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    UnknownRange,
    Already,
    Undisputed { seconds: u64 },
    Disputed,
}

impl fmt::Display for Settles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRange => f.write_str("its range is unknown"),
            Self::Already => f.write_str("settled"),
            Self::Undisputed { seconds } => {
                write!(f, "can settle in {} unless disputed", ui::duration(*seconds))
            }
            Self::Disputed => {
                f.write_str("disputed: settles when the dispute is over (annex claims)")
            }
        }
    }
}

/// A claim that has not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub claim: u64,
    pub settles: Settles,
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claim {} {}", self.claim, self.settles)
    }
}

/// A claim, what its output root is made of, and the withdrawal's proof in it.
pub struct Provable {
    pub claim: ClaimState,
    pub output: OutputProof,
    pub proof: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    block_number: U64,
    logs: Vec<Log>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    hash: B256,
    state_root: B256,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountProof {
    storage_hash: B256,
    storage_proof: Vec<SlotProof>,
}

#[derive(Deserialize)]
struct SlotProof {
    value: U256,
    proof: Vec<Bytes>,
}

impl Chain {
    /// The withdrawal that a transaction initiated.
    pub async fn initiated(&self, args: &WithdrawalArgs) -> Result<Initiated, WalletError> {
        let answer = self.l2.call("eth_getTransactionReceipt", json!([args.tx])).await?;
        if answer.is_null() {
            return Err(WalletError::UnknownTransaction(args.tx));
        }
        if answer["status"] != "0x1" {
            return Err(WalletError::Failed(args.tx));
        }
        let receipt: Receipt = serde_json::from_value(answer)?;
        let found: Vec<_> = receipt.logs.iter().filter_map(Withdrawal::from_log).collect();
        let (tx, count, index) = (args.tx, found.len(), args.index);
        let withdrawal = found.into_iter().nth(index);
        let withdrawal = withdrawal.ok_or(WalletError::NoWithdrawal { tx, count, index })?;
        Ok(Initiated { tx, block: receipt.block_number.to(), withdrawal })
    }

    pub async fn stage(&self, initiated: &Initiated) -> Result<Stage, WalletError> {
        let contracts = &self.deployment.contracts;
        let hash = initiated.withdrawal.hash();
        match portal_status(&self.l1, contracts, hash).await? {
            PortalStatus::Finalized => return Ok(Stage::Finalized),
            PortalStatus::Proven(proven) if proven.finalizable => {
                return Ok(Stage::Finalizable(proven));
            }
            PortalStatus::Proven(proven) if proven.claim.status != ClaimStatus::Beaten => {
                return Ok(Stage::Proved(proven));
            }
            // A claim that is beaten proves nothing.
            PortalStatus::Proven(_) | PortalStatus::Unproven => {}
        }
        let mut claims = settlement::claims(&self.l1, contracts, None, CLAIMS).await?;
        claims.retain(|claim| {
            claim.block >= initiated.block
                && claim.status != ClaimStatus::Beaten
                && !claim.output_root.is_zero()
        });
        // What has settled first, then what will settle first.
        claims.sort_by_key(|claim| (claim.status != ClaimStatus::Settled, claim.index));
        for claim in claims {
            if let Some(provable) = self.provable(&initiated.withdrawal, claim).await? {
                return Ok(Stage::Provable(provable));
            }
        }
        Ok(Stage::Initiated)
    }

    /// What L1 pays, for people. Of a token in its own units, if it has any on L1.
    pub async fn pays(&self, withdrawal: &Withdrawal) -> Result<String, WalletError> {
        let bridged = withdrawal.sender == predeploys::L2_STANDARD_BRIDGE
            && withdrawal.target == self.deployment.contracts.l1_standard_bridge;
        let token = finalizeBridgeERC20Call::abi_decode(&withdrawal.data).ok();
        let Some(token) = token.filter(|_| bridged) else {
            return Ok(format!("{} ether to {}", ui::ether(withdrawal.value), withdrawal.target));
        };
        let (address, to) = (token.localToken, token.to);
        let amount = match self.l1.read(address, &IToken::decimalsCall {}).await {
            Ok(decimals) => ui::units(token.amount, decimals)?,
            Err(L1Error::Reverted(_) | L1Error::Output(_)) => format!("{} units", token.amount),
            Err(error) => return Err(error.into()),
        };
        Ok(format!("{amount} of token {address} to {to}"))
    }

    /// The proof in a claim's state, if this node's block is the one that is claimed.
    async fn provable(
        &self,
        withdrawal: &Withdrawal,
        claim: ClaimState,
    ) -> Result<Option<Provable>, WalletError> {
        let number = U64::from(claim.block);
        let head = self.l2.call("eth_getBlockByNumber", json!([number, false])).await?;
        if head.is_null() {
            return Ok(None);
        }
        let head: Head = serde_json::from_value(head)?;
        let passer = predeploys::L2_TO_L1_MESSAGE_PASSER;
        let params = json!([passer, [withdrawal.storage_slot()], number]);
        let account: AccountProof =
            serde_json::from_value(self.l2.call("eth_getProof", params).await?)?;
        let output = OutputProof {
            state_root: head.state_root,
            withdrawals_root: account.storage_hash,
            block_hash: head.hash,
        };
        if output.root() != claim.output_root {
            return Ok(None);
        }
        let slot = account.storage_proof.into_iter().next();
        let slot = slot.filter(|slot| slot.value == U256::ONE);
        Ok(slot.map(|slot| Provable { claim, output, proof: slot.proof }))
    }

    /// When a claim can settle.
    pub async fn settles(&self, claim: &ClaimState) -> Result<Settles, WalletError> {
        let Some(range) =
            settlement::range(&self.l1, &self.deployment.contracts, claim.range).await?
        else {
            return Ok(Settles::UnknownRange);
        };
        if range.status != RangeStatus::Open {
            return Ok(Settles::Already);
        }
        let now = self.l1.head().await?.timestamp;
        let end = range.opened + self.deployment.parameters.challenge_window;
        Ok(match end.checked_sub(now) {
            Some(left) => Settles::Undisputed { seconds: left + 1 },
            None => Settles::Disputed,
        })
    }
}

pub async fn status(args: StatusArgs) -> Result<(), WalletError> {
    let chain = args.chain.connect().await?;
    let initiated = chain.initiated(&args.withdrawal).await?;
    let withdrawal = &initiated.withdrawal;
    println!("withdrawal {}", withdrawal.hash());
    println!("  {}", chain.pays(withdrawal).await?);
    println!("  from {} on L2, block {}", withdrawal.sender, initiated.block);
    print_market(&chain, withdrawal).await?;
    print_stage(&chain, &initiated).await
}

/// After the first step: what comes next.
pub async fn print_next(chain: &Chain, tx: B256) -> Result<(), WalletError> {
    let initiated = chain.initiated(&WithdrawalArgs { tx, index: 0 }).await?;
    print_stage(chain, &initiated).await
}

/// The line of stages, where it stands, and what to do.
pub async fn print_stage(chain: &Chain, initiated: &Initiated) -> Result<(), WalletError> {
    let stage = chain.stage(initiated).await?;
    println!("{}", line(&stage));
    let tx = initiated.tx;
    match &stage {
        Stage::Initiated => {
            println!("  {}", unclaimed(chain, initiated.block));
            println!("  next: annex wallet prove {tx} --wait");
        }
        Stage::Provable(Provable { claim, .. }) => {
            println!("  {}; it {}", claim_line(claim), chain.settles(claim).await?);
            println!("  next: annex wallet prove {tx}");
        }
        Stage::Proved(proven) => {
            println!("  {}; it {}", claim_line(&proven.claim), chain.settles(&proven.claim).await?);
            println!("  next: annex wallet finalize {tx} --wait");
        }
        Stage::Finalizable(proven) => {
            println!("  {}: final", claim_line(&proven.claim));
            println!("  next: annex wallet finalize {tx}");
        }
        Stage::Finalized => println!("  L1 has paid"),
    }
    Ok(())
}

fn line(stage: &Stage) -> String {
    const NAMES: [&str; 5] = ["initiated", "claimed", "proved", "final", "paid"];
    let reached = match stage {
        Stage::Initiated => 1,
        Stage::Provable(_) => 2,
        Stage::Proved(_) => 3,
        Stage::Finalizable(_) => 4,
        Stage::Finalized => 5,
    };
    let names = NAMES.iter().enumerate().map(|(at, name)| match at < reached {
        true => paint(Paint::Green, format!("● {name}")),
        false => paint(Paint::Dim, format!("○ {name}")),
    });
    names.collect::<Vec<_>>().join(" → ")
}

fn claim_line(claim: &ClaimState) -> String {
    format!("claim {} of block {}", claim.index, claim.block)
}

/// Why it cannot be proved yet.
pub fn unclaimed(chain: &Chain, block: u64) -> Unclaimed {
    Unclaimed { block, interval: chain.deployment.parameters.claim_interval }
}

async fn print_market(chain: &Chain, withdrawal: &Withdrawal) -> Result<(), WalletError> {
    let contracts = &chain.deployment.contracts;
    let Some(seller) = exit_market::seller(withdrawal, contracts.exit_market) else {
        return Ok(());
    };
    let sale = exit_market::sale(&chain.l1, contracts, withdrawal).await?;
    match (sale.holder, sale.price) {
        (holder, _) if holder != seller => println!("  sold to {holder}"),
        (_, U256::ZERO) => println!("  can be sold: annex wallet sell"),
        (_, price) => println!("  offered for {} ether", ui::ether(price)),
    }
    Ok(())
}
