//! `annex claims`: what is claimed on L1, and who disputes it.

mod dispute;
mod watch;

use crate::{
    rpc_client::{RpcClient, RpcError},
    ui::{self, Paint, paint},
};
use alloy_primitives::{B256, U64, U256};
use annex_l1::settlement::{
    self, ClaimState, ClaimStatus, CommitmentView, Range, Settlement, TournamentState,
};
use annex_l1::{Deployment, DeploymentFileError, L1Client, L1Error, withdrawal::OutputProof};
use annex_settle::{Commitment, PHASE_CHILD, PHASE_OVER, PHASE_PROVE, Params};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  annex claims                 ranges, claims and matches, with bonds and clocks
  annex claims watch           disputes as they are played, move by move"
)]
pub struct ClaimsArgs {
    #[command(subcommand)]
    command: Option<ClaimsCommand>,
    #[command(flatten)]
    chain: ChainArgs,
    /// Claims shown, the newest
    #[arg(long, default_value_t = 20)]
    count: u64,
}

#[derive(Debug, Subcommand)]
enum ClaimsCommand {
    /// Follow claims and disputes as they go on
    Watch(watch::WatchArgs),
}

/// Where both chains are.
#[derive(Clone, Debug, Args)]
struct ChainArgs {
    /// An L2 node of the chain: says which claims are true
    #[arg(long, default_value = "http://127.0.0.1:9545")]
    rpc: String,
    /// L1 endpoint
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    l1: String,
    /// deployment.json of the chain; default: what the node says
    #[arg(long)]
    deployment: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    #[error(transparent)]
    Deployment(#[from] DeploymentFileError),
    #[error("the node's answer cannot be read: {0}; is it an Annex node?")]
    Shape(#[from] serde_json::Error),
}

pub async fn run(args: ClaimsArgs) -> Result<(), ClaimsError> {
    match args.command {
        Some(ClaimsCommand::Watch(args)) => watch::run(args).await,
        None => show(args.chain.connect().await?, args.count).await,
    }
}

/// L1 and, if it answers, a node.
struct Chain {
    l1: L1Client,
    l2: RpcClient,
    deployment: Deployment,
    /// Output roots of this node's blocks.
    outputs: BTreeMap<u64, B256>,
    /// By range and commitment, whether the node found it true.
    judged: BTreeMap<(u64, B256), bool>,
}

impl ChainArgs {
    async fn connect(&self) -> Result<Chain, ClaimsError> {
        let l2 = RpcClient::new(&self.rpc);
        let deployment = match &self.deployment {
            Some(path) => Deployment::read(path)?,
            None => serde_json::from_value(l2.call("annex_deployment", json!([])).await?)?,
        };
        let l1 = L1Client::connect(&self.l1, &[]).await?;
        l1.expect_chain(deployment.l1_chain_id)?;
        let (outputs, judged) = Default::default();
        Ok(Chain { l1, l2, deployment, outputs, judged })
    }
}

/// What this node makes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its commitment is this node's; where the node no longer says so, its output root is.
    True,
    False,
    /// The node is not that far, or there is no node.
    Unknown,
}

impl Verdict {
    fn shown(self) -> String {
        match self {
            Self::True => paint(Paint::Green, "true"),
            Self::False => paint(Paint::Red, "FALSE"),
            Self::Unknown => paint(Paint::Yellow, "unknown"),
        }
    }
}

impl From<bool> for Verdict {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

/// A claim, as much of it as a verdict takes.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    range: u64,
    commitment: B256,
    block: u64,
    /// Zero for a FAULT.
    output_root: B256,
}

/// What `annex_claims` says of an open range.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    l1_block: U64,
    ranges: Vec<JudgedRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JudgedRange {
    claim_count: U64,
    claims: Vec<JudgedClaim>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JudgedClaim {
    commitment: B256,
    is_true: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    hash: B256,
    state_root: B256,
    withdrawals_root: B256,
}

impl Chain {
    /// Compares a claim of an open range with what the node derived, one that is over with the node's block. `seen` is an L1
    /// block that has the claim: the node gets a little time to look at it.
    async fn verdict(&mut self, claim: Claimed, seen: u64) -> Verdict {
        for attempt in 0..PATIENCE {
            if attempt > 0 {
                tokio::time::sleep(POLL / 4).await;
            }
            let Some(looked_at) = self.judge(claim.range).await else { break };
            if let Some(known) = self.judged.get(&(claim.range, claim.commitment)) {
                return (*known).into();
            }
            if looked_at >= seen {
                break;
            }
        }
        if claim.output_root.is_zero() {
            return Verdict::Unknown;
        }
        match self.output(claim.block).await {
            Some(output) => (output == claim.output_root).into(),
            None => Verdict::Unknown,
        }
    }

    /// Learns which claims of an open range are true, and as of which L1 block. None: there is no node.
    async fn judge(&mut self, range: u64) -> Option<u64> {
        let mut from = 0;
        loop {
            let params = json!([U64::from(range), U64::from(from)]);
            let answer = self.l2.call("annex_claims", params).await.ok()?;
            let judged: Option<Judged> = serde_json::from_value(answer).ok()?;
            let Judged { l1_block, mut ranges } = judged?;
            let Some(JudgedRange { claim_count, claims }) = ranges.pop() else {
                return Some(l1_block.to());
            };
            from += claims.len() as u64;
            let more = !claims.is_empty() && from < claim_count.to();
            for JudgedClaim { commitment, is_true } in claims {
                if let Some(is_true) = is_true {
                    self.judged.insert((range, commitment), is_true);
                }
            }
            if !more {
                return Some(l1_block.to());
            }
        }
    }

    /// Output root of the node's block.
    async fn output(&mut self, block: u64) -> Option<B256> {
        if let Some(output) = self.outputs.get(&block) {
            return Some(*output);
        }
        let answer = self.l2.call("eth_getBlockByNumber", json!([U64::from(block), false]));
        let Head { hash, state_root, withdrawals_root } =
            serde_json::from_value(answer.await.ok()?).ok()?;
        let output = OutputProof { state_root, withdrawals_root, block_hash: hash }.root();
        self.outputs.insert(block, output);
        Some(output)
    }

    /// The same for a claim that L1 has judged, perhaps.
    async fn verdict_of(&mut self, claim: &ClaimState, seen: u64) -> Verdict {
        let ClaimState { range, commitment, block, output_root, .. } = *claim;
        match claim.status {
            // No node keeps what it thought of a FAULT.
            ClaimStatus::Beaten if output_root.is_zero() => Verdict::False,
            ClaimStatus::Settled if output_root.is_zero() => Verdict::True,
            _ => self.verdict(Claimed { range, commitment, block, output_root }, seen).await,
        }
    }
}

async fn show(mut chain: Chain, count: u64) -> Result<(), ClaimsError> {
    let contracts = chain.deployment.contracts.clone();
    let state = settlement::settlement(&chain.l1, &contracts, chain.l1.head().await?, &[]).await?;
    let claims = settlement::claims(&chain.l1, &contracts, None, count).await?;
    print_head(&chain, &state);
    print_ranges(&chain, &state);
    let mut table = Table::new(["CLAIM", "RANGE", "BLOCK", "BY", "BOND", "STATUS", "STATE"]);
    for claim in claims.iter().rev() {
        let by = settlement::claimer(&chain.l1, &contracts, claim.range, claim.commitment).await?;
        let verdict = chain.verdict_of(claim, state.at.number).await;
        table.row([
            claim.index.to_string(),
            claim.range.to_string(),
            if claim.output_root.is_zero() { "FAULT".to_owned() } else { claim.block.to_string() },
            ui::short_address(by),
            ui::ether(chain.deployment.parameters.bond),
            claim_status(claim, &state),
            verdict.shown(),
        ]);
    }
    table.print();
    print_matches(&chain, &state);
    Ok(())
}

fn print_head(chain: &Chain, state: &Settlement) {
    let settled = &state.settled;
    match settled.range {
        0 => println!("settled   genesis; L1 block {}", state.at.number),
        range => println!(
            "settled   block {} (range {range}); L1 block {}",
            settled.block, state.at.number
        ),
    }
    if state.faulted {
        println!("{}", paint(Paint::Red, "FAULT has settled: nothing settles any more"));
    }
    let next = (state.last_opened + chain.deployment.parameters.claim_interval)
        .saturating_sub(state.at.timestamp);
    if state.last_opened > 0 && next > 0 {
        println!("next      a range can be opened in {}", ui::duration(next));
    }
    println!();
}

fn print_ranges(chain: &Chain, state: &Settlement) {
    if state.ranges.is_empty() {
        return;
    }
    let mut table = Table::new(["RANGE", "RECORDS", "COMMITMENTS", "MATCHES", "POT", "LEFT"]);
    for range in &state.ranges {
        let Some(tournament) = state.tournaments.get(&U256::from(range.id)) else { continue };
        let alive = tournament.commitments.iter().filter(|c| c.alive).count();
        table.row([
            range.id.to_string(),
            format!("< {}", range.end),
            format!("{alive} of {} alive", tournament.commitments.len()),
            open_matches(tournament).to_string(),
            format!("{} ether", ui::ether(U256::from(tournament.view.pot))),
            left(chain, state, range),
        ]);
    }
    table.print();
    println!();
}

/// The matches that are played, with what each side has left.
fn print_matches(chain: &Chain, state: &Settlement) {
    let params = Params::from(&chain.deployment.parameters);
    let header = ["MATCH", "ABOUT", "BETWEEN", "AMONG", "ON TURN", "CLOCKS"];
    let mut table = Table::new(header);
    for tournament in state.tournaments.values() {
        for m in tournament.matches.iter().filter(|m| m.phase != PHASE_OVER) {
            let side = |root| tournament.commitments.iter().find(|c| c.root == root);
            let (Some(one), Some(two)) = (side(m.one), side(m.two)) else { continue };
            let by = |c: &CommitmentView| ui::short_address(c.claimer);
            let clock = |c: &CommitmentView| {
                ui::duration(Commitment::from(c.clone()).left(state.at.timestamp, &params))
            };
            let on_turn = match m.phase {
                PHASE_CHILD => format!("tournament {}", m.child),
                PHASE_PROVE => "L1, by a proof".to_owned(),
                _ => by(if m.oneMoves { one } else { two }),
            };
            table.row([
                dispute::match_name(m.id),
                dispute::covered(tournament.view.level).to_owned(),
                format!("{} and {}", by(one), by(two)),
                format!("2^{} {}", m.height, dispute::unit(tournament.view.level)),
                on_turn,
                format!("{} and {}", clock(one), clock(two)),
            ]);
        }
    }
    if !table.rows.is_empty() {
        println!();
        table.print();
        println!("\nmove by move: annex claims watch");
    }
}

fn left(chain: &Chain, state: &Settlement, range: &Range) -> String {
    let end = range.opened + chain.deployment.parameters.challenge_window;
    match end.checked_sub(state.at.timestamp) {
        Some(left) => format!("{} to dispute", ui::duration(left + 1)),
        None => {
            let playing = state.tournaments.get(&U256::from(range.id)).map_or(0, open_matches);
            if playing > 0 { "disputed".to_owned() } else { "can be settled".to_owned() }
        }
    }
}

fn claim_status(claim: &ClaimState, state: &Settlement) -> String {
    match claim.status {
        ClaimStatus::Settled => paint(Paint::Green, "settled"),
        ClaimStatus::Beaten => paint(Paint::Dim, "beaten"),
        ClaimStatus::InProgress => {
            let tournament = state.tournaments.get(&U256::from(claim.range));
            let commitments = tournament.map_or(&[][..], |t| &t.commitments);
            let own = commitments.iter().find(|c| c.root == claim.commitment);
            match own.is_some_and(|own| is_playing(own, tournament)) {
                true => paint(Paint::Yellow, "in a match"),
                false => "unopposed".to_owned(),
            }
        }
    }
}

fn is_playing(commitment: &CommitmentView, tournament: Option<&TournamentState>) -> bool {
    let matches = tournament.map_or(&[][..], |t| &t.matches);
    matches.iter().any(|m| m.id == commitment.currentMatch && m.phase != PHASE_OVER)
}

fn open_matches(tournament: &TournamentState) -> usize {
    tournament.matches.iter().filter(|m| m.phase != PHASE_OVER).count()
}

/// Columns as wide as their widest cell.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(|name| paint(Paint::Bold, name))] }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn print(&self) {
        let widths: Vec<usize> = (0..N)
            .map(|column| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, widest)| format!("{cell}{}", " ".repeat(widest - width(cell))));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// Characters on the terminal: escape sequences take none.
fn width(text: &str) -> usize {
    let mut hidden = false;
    text.chars()
        .filter(|c| match c {
            '\x1b' => {
                hidden = true;
                false
            }
            'm' if hidden => {
                hidden = false;
                false
            }
            _ => !hidden,
        })
        .count()
}

/// How often L1 is asked.
const POLL: Duration = Duration::from_millis(1_000);
/// How often the node is asked about a claim at the most.
const PATIENCE: u32 = 12;

#[cfg(test)]
mod tests {
    use super::width;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(width("plain"), 5);
        assert_eq!(width("\x1b[32mmaroon\x1b[0m"), 6);
    }
}
