//! How settlement stands, for whoever asks (`annex_settlement`, spec/rpc.md) and for metrics.

use super::{SettleTask, act};
use alloy_primitives::{Address, B256, U64, U256};
use annex_settle::{Action, Need, Reason, View, Wait, Why};
use jsonrpsee::RpcModule;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

/// The newest report.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Option<Report>>);

impl Board {
    pub(super) fn put(&self, report: Report) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// None until L1 was looked at, and on a node without a party.
    pub fn get(&self) -> Option<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds `annex_settlement` to a node's methods.
pub(crate) fn register<T: Send + Sync + 'static>(module: &mut RpcModule<T>, board: &Arc<Board>) {
    let mut own = RpcModule::new(board.clone());
    own.register_method("annex_settlement", |_, board, _| board.get())
        .expect("the only method of its module");
    module.merge(own).expect("no other method has its name");
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
            let role = seat.role.name();
            metrics::gauge!("annex_settlement_waits", "role" => role)
                .set(seat.plan.waits.len() as f64);
            metrics::gauge!("annex_settlement_balance_wei", "role" => role)
                .set(f64::from(view.balance));
            PartyReport {
                role,
                address: seat.player.address,
                balance: view.balance,
                credits: view.credits,
                staked: U64::from(mine.count()),
                sending: seat.sender.is_none(),
                actions: seat.plan.actions.iter().map(|it: &Action| act::name(it)).collect(),
                waits: seat.plan.waits.iter().map(wait).collect(),
            }
        });
        let computing = self.computer.current().map(|running| Computing {
            what: need(&running.need),
            instructions: U64::from(running.steps),
        });
        metrics::gauge!("annex_settlement_settled_block").set(settled.l2_block as f64);
        metrics::gauge!("annex_settlement_open_ranges").set(common.ranges.len() as f64);
        metrics::gauge!("annex_settlement_open_matches").set(open as f64);
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
