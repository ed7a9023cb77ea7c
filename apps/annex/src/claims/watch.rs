//! `annex claims watch`: events as lines, and below them, on a terminal, how open matches stand.

use super::{
    Chain, ChainArgs, ClaimsError, POLL,
    dispute::{Story, grouped},
};
use crate::{rpc_client::parse_quantity, ui};
use alloy_primitives::U256;
use annex_l1::settlement::{self, Settlement};
use annex_settle::PHASE_OVER;
use clap::Args;
use serde_json::json;

/// L1 blocks before the newest one in which open disputes are looked for.
const LOOK_BACK: u64 = 50_000;

#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    chain: ChainArgs,
    /// L1 block to begin with; default: what led to the open ranges
    #[arg(long)]
    from_block: Option<u64>,
    /// End once no range is open and something has settled
    #[arg(long)]
    until_settled: bool,
}

pub async fn run(args: WatchArgs) -> Result<(), ClaimsError> {
    let mut chain = args.chain.connect().await?;
    let contracts = chain.deployment.contracts.clone();
    let state = settlement::settlement(&chain.l1, &contracts, chain.l1.head().await?, &[]).await?;
    let start = chain.deployment.parameters.l1_start_block;
    let mut next = args.from_block.unwrap_or(state.at.number.saturating_sub(LOOK_BACK)).max(start);
    let mut story = Story::new(&chain.deployment);
    if args.from_block.is_none() {
        let oldest = state.ranges.first().map_or(U256::MAX, |range| U256::from(range.id));
        story.skip_below(oldest);
    }
    let bar = ui::spinner("waiting for claims");
    loop {
        let state =
            settlement::settlement(&chain.l1, &contracts, chain.l1.head().await?, &[]).await?;
        let head = state.at.number;
        for logged in settlement::events(&chain.l1, &contracts, next, head).await? {
            let verdict = match Story::claimed(&logged) {
                Some(claim) => Some(chain.verdict(claim, logged.block).await),
                None => None,
            };
            for line in story.tell(&logged, verdict, &state) {
                bar.suspend(|| println!("{line}"));
            }
        }
        next = next.max(head + 1);
        story.tell_all();
        bar.set_message(footer(&chain, &state, &story).await);
        if args.until_settled && state.ranges.is_empty() && story.has_settled() {
            bar.finish_and_clear();
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Every open match, and who is on turn for how long.
async fn footer(chain: &Chain, state: &Settlement, story: &Story) -> String {
    let matches = state.tournaments.values().flat_map(|tournament| {
        let open = tournament.matches.iter().filter(|m| m.phase != PHASE_OVER);
        open.map(move |m| story.standing(m, tournament, state.at.timestamp))
    });
    let mut lines: Vec<String> = matches.collect();
    lines.extend(computing(chain).await);
    if !lines.is_empty() {
        return lines.join("\n  ");
    }
    match state.ranges.first() {
        Some(range) => format!(
            "L1 block {}: range {}, {}",
            state.at.number,
            range.id,
            super::left(chain, state, range)
        ),
        None => format!("L1 block {}: nothing is claimed", state.at.number),
    }
}

/// What the node computes for a dispute, if it takes part in one.
async fn computing(chain: &Chain) -> Option<String> {
    let report = chain.l2.call("annex_settlement", json!([])).await.ok()?;
    let computing = report.get("computing")?;
    let what = computing.get("what")?.as_str()?;
    let steps = parse_quantity(computing.get("instructions")?)?;
    let steps = grouped(u64::try_from(steps).ok()?);
    Some(format!("the node computes {what}: {steps} instructions so far"))
}
