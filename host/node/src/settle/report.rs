//! How settlement stands, for whoever asks (`annex_settlement`, `annex_claims`, spec/rpc.md) and for metrics.

use super::{SettleTask, act, claims::Standing};
use alloy_primitives::{Address, B256, U64, U256};
use annex_settle::{Action, Need, Reason, View, Wait, Why};
use jsonrpsee::{RpcModule, types::ErrorObjectOwned};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Option<(Report, Arc<Standing>)>>);

impl Board {
    pub(super) fn put(&self, report: Report, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((report, Arc::new(standing)));
    }

    /// None until L1 was looked at.
    fn get(&self) -> Option<(Report, Arc<Standing>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds `annex_settlement` and `annex_claims` to a node's methods.
pub(crate) fn register<T: Send + Sync + 'static>(module: &mut RpcModule<T>, board: &Arc<Board>) {
    let mut own = RpcModule::new(board.clone());
    own.register_method("annex_settlement", |_, board, _| board.get().map(|(report, _)| report))
        .expect("their names are distinct");
    own.register_method("annex_claims", |params, board, _| {
        let mut params = params.sequence();
        let range: Option<U64> = params.optional_next()?;
        let from: Option<U64> = params.optional_next()?;
        let list = |standing: Arc<Standing>| {
            standing.list(range.map(|id| id.to()), from.unwrap_or_default().to())
        };
        Ok::<_, ErrorObjectOwned>(board.get().map(|(_, standing)| list(standing)))
    })
    .expect("their names are distinct");
    module.merge(own).expect("no other method has their names");
}

/// Answer of `annex_settlement`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    l1_block: U64,
    settled: SettledReport,
    faulted: bool,
    open_ranges: U64,
    open_matches: U64,
    parties: Vec<PartyReport>,
    /// What is being computed, and how many instructions it has taken so far.
    computing: Option<Computing>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SettledReport {
    leaf: B256,
    record: U64,
    block: U64,
    range: U64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartyReport {
    role: &'static str,
    address: Address,
    balance: U256,
    credits: U256,
    /// Commitments that are alive, bonded by it.
    staked: U64,
    sending: bool,
    /// What it wants sent, the most urgent first.
    actions: Vec<&'static str>,
    waits: Vec<WaitReport>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitReport {
    /// Zero if there is none yet.
    tournament: U64,
    reason: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Computing {
    what: String,
    instructions: U64,
}

impl SettleTask {
    pub(super) fn report(&self, common: &View, views: &[View]) -> Report {
        let settled = &common.settled;
        let open: usize = common.tournaments.iter().map(|it| it.open_matches as usize).sum();
        let parties = self.seats.iter().zip(views).map(|(seat, view)| {
            let commitments = view.tournaments.iter().flat_map(|it| &it.commitments);
            let mine = commitments.filter(|it| it.alive && it.claimer == seat.player.address);
            let mine: Vec<_> = mine.collect();
            let role = seat.role.name();
            let gauge = |name, value| metrics::gauge!(name, "role" => role).set(value);
            gauge("annex_settlement_waits", seat.plan.waits.len() as f64);
            gauge("annex_settlement_balance_wei", f64::from(view.balance));
            gauge("annex_settlement_credits_wei", f64::from(view.credits));
            gauge("annex_settlement_staked_wei", mine.len() as f64 * view.params.bond as f64);
            let left = mine.iter().map(|it| it.left(view.now, &view.params)).min();
            let left = left.unwrap_or(view.params.challenge_window);
            gauge("annex_settlement_least_clock_seconds", left as f64);
            PartyReport {
                role,
                address: seat.player.address,
                balance: view.balance,
                credits: view.credits,
                staked: U64::from(mine.len()),
                sending: seat.sender.is_none(),
                actions: seat.plan.actions.iter().map(|it: &Action| act::name(it)).collect(),
                waits: seat.plan.waits.iter().map(wait).collect(),
            }
        });
        let computing = self.computer.current().map(|running| Computing {
            what: need(&running.need),
            instructions: U64::from(running.steps),
        });
        gauges(common, open);
        Report {
            l1_block: U64::from(common.block),
            settled: SettledReport {
                leaf: settled.leaf,
                record: U64::from(settled.record),
                block: U64::from(settled.l2_block),
                range: U64::from(settled.range),
            },
            faulted: common.faulted,
            open_ranges: U64::from(common.ranges.len()),
            open_matches: U64::from(open),
            parties: parties.collect(),
            computing,
        }
    }
}

/// What is the same for every party, and on a node without one.
fn gauges(common: &View, open_matches: usize) {
    let claims = common.tournaments.iter().filter(|it| it.level == 0);
    let alive: u32 = claims.map(|it| it.alive).sum();
    let pots: u128 = common.tournaments.iter().map(|it| it.pot).sum();
    metrics::gauge!("annex_settlement_settled_block").set(common.settled.l2_block as f64);
    metrics::gauge!("annex_settlement_open_ranges").set(common.ranges.len() as f64);
    metrics::gauge!("annex_settlement_open_matches").set(open_matches as f64);
    metrics::gauge!("annex_settlement_claims_alive").set(f64::from(alive));
    metrics::gauge!("annex_settlement_pots_wei").set(pots as f64);
    metrics::gauge!("annex_settlement_faulted").set(f64::from(u8::from(common.faulted)));
}

fn wait(wait: &Wait) -> WaitReport {
    let reason = match wait.why {
        Why::Unknown(what, why) => format!("{}: {}", need(&what), reason(why)),
        Why::Funds { needed } => format!("the account needs {needed} wei more on L1"),
        Why::Lost { survivor } => format!("commitment {survivor} survived, which is not true"),
    };
    WaitReport { tournament: U64::from(wait.tournament), reason }
}

fn need(need: &Need) -> String {
    match need {
        Need::Range { start, end } => format!("the leaves after {start} up to record {end}"),
        Need::Opening { leaf } => format!("the meaning of leaf {leaf}"),
        Need::Run { leaf } => format!("the run from leaf {leaf}"),
        Need::Stride { leaf, stride } => format!("stride {stride} of the run from leaf {leaf}"),
        Need::Step { leaf, instruction } => {
            format!("the proof of instruction {instruction} of the run from leaf {leaf}")
        }
    }
}

fn reason(reason: Reason) -> String {
    match reason {
        Reason::NoState { block } => {
            format!("the state of block {block} is no longer kept: --history, --keep-witnesses")
        }
        Reason::NotBegun => "waits for its turn".to_owned(),
        Reason::Computing(progress) => {
            format!("being computed, {} instructions so far", progress.steps)
        }
        Reason::Following { record } => format!("L1 is followed up to record {record} only"),
        Reason::Missing(missing) => missing.to_string(),
        Reason::NoData { record } => format!("no data of record {record}"),
        Reason::Stranger => "this node's chain does not go through it".to_owned(),
        Reason::Disagrees => {
            "the machine and the native step disagree: nothing is staked on either".to_owned()
        }
    }
}
