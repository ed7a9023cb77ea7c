//! Calls without a signature: `eth_call` and its kin.

use alloy_eips::eip2930::AccessList;
use alloy_primitives::B256;
use annex_state::StateReader;
use revm::inspector::{Inspector, NoOpInspector};
use revm_inspectors::access_list::AccessListInspector;
use revm_inspectors::transfer::TransferInspector;

use crate::evm::outcome;
use crate::handler::RevmContext;
use crate::inspect::{Guard, Recording};
use crate::{BlockEnv, CallRequest, Evm, Outcome, Rules, Simulation, WatchResult, Watchdog};

/// What a simulated transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    pub outcome: Outcome,
    /// Gas before refunds.
    pub max_used_gas: u64,
}

/// Runs of [`Evm::access_list`] until its list no longer grows.
const ACCESS_LIST_RUNS: usize = 16;

impl<R: StateReader> Evm<R> {
    /// [`Self::call`] behind a watchdog.
    pub fn watched_call(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Outcome, R::Error> {
        self.inspected_call(request, NoOpInspector, watchdog).map(|done| done.map(|(done, _)| done))
    }

    fn inspected_call<I: Inspector<RevmContext<R>>>(
        &mut self,
        request: &CallRequest,
        inspector: I,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, I), R::Error> {
        let (intrinsic, charges) = match self.start_call(request, None)? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let mut guard = Guard::new(inspector, Recording::default(), watchdog);
        let result = self.watch(intrinsic, charges, &mut guard)?;
        self.discard();
        Ok(Ok((outcome(result, 0), guard.inspector)))
    }

    /// The least gas limit with which the call succeeds, up to the request's. A call that fails even with that is
    /// returned as it ended.
    pub fn estimate_gas(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Result<u64, Outcome>, R::Error> {
        let mut request = request.clone();
        let outcome = match self.watched_call(&request, watchdog)? {
            Ok(outcome) if outcome.success() => outcome,
            Ok(failed) => return Ok(Ok(Err(failed))),
            Err(invalid) => return Ok(Err(invalid)),
        };
        // Gas used is after refunds and without what nested calls must leave unused, so the limit may have to be higher.
        let (mut fails, mut works) = (outcome.execution_gas.saturating_sub(1), request.gas_limit);
        let mut attempt = outcome.execution_gas;
        while fails + 1 < works {
            request.gas_limit = attempt.clamp(fails + 1, works - 1);
            match self.watched_call(&request, watchdog)? {
                Ok(outcome) if outcome.success() => works = request.gas_limit,
                _ => fails = request.gas_limit,
            }
            // Most calls need little more than they use.
            let middle = fails + (works - fails) / 2;
            attempt = middle.min(fails.saturating_mul(2));
        }
        Ok(Ok(Ok(works)))
    }

    /// What the call touches besides its sender, its receiver and the precompiles, as an access list to send it with,
    /// and how it ends with that list.
    pub fn access_list(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(AccessList, Outcome), R::Error> {
        let mut request = request.clone();
        for _ in 1..ACCESS_LIST_RUNS {
            // What is in the list costs other gas, so that the call may touch something else.
            let (outcome, list) = match self.touched(&request, watchdog)? {
                Ok(done) => done,
                Err(invalid) => return Ok(Err(invalid)),
            };
            if list == request.access_list {
                return Ok(Ok((list, outcome)));
            }
            request.access_list = list;
        }
        let done = self.touched(&request, watchdog)?;
        Ok(done.map(|(outcome, _)| (request.access_list, outcome)))
    }

    fn touched(
        &mut self,
        request: &CallRequest,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<(Outcome, AccessList), R::Error> {
        let inspector = AccessListInspector::new(request.access_list.clone());
        let done = self.inspected_call(request, inspector, watchdog)?;
        Ok(done.map(|(outcome, inspector)| (outcome, inspector.into_access_list())))
    }

    /// Executes a call and keeps what it changed: `eth_simulateV1`.
    pub fn simulate(
        &mut self,
        request: &CallRequest,
        how: Simulation,
        watchdog: &mut Watchdog<'_>,
    ) -> WatchResult<Simulated, R::Error> {
        let (intrinsic, charges) = match self.start_call(request, Some(how))? {
            Ok(started) => started,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let result = if how.transfers {
            let inspector = TransferInspector::new(false).with_logs(true);
            let mut guard = Guard::new(inspector, Recording::calls(), watchdog);
            self.watch(intrinsic, charges, &mut guard)?
        } else {
            let mut guard = Guard::new(NoOpInspector, Recording::calls(), watchdog);
            self.watch(intrinsic, charges, &mut guard)?
        };
        self.keep();
        let max_used_gas = result.gas().total_gas_spent().max(result.gas().floor_gas());
        Ok(Ok(Simulated { outcome: outcome(result, 0), max_used_gas }))
    }

    /// Goes on in another block, on the state as it is.
    pub fn enter_block(&mut self, block: BlockEnv) {
        self.inner.ctx.block = block.to_revm();
        let number = block.number;
        let rules = self.rules();
        self.database_mut().history_of = (rules == Rules::L2).then_some(number);
        self.block = block;
    }

    /// Makes the hash of a block known that the state does not hold.
    pub fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.database_mut().overlay.set_block_hash(number, hash);
    }
}
