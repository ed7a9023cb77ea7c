//! What players want, as transactions.

use super::compute::Computer;
use annex_l1::{Call, SendOutcome, Sender};
use annex_settle::{Action, Part, Preimage, load_part};
use tokio::task::JoinSet;

/// Senders at work, with their party's place.
pub(super) type Sending = JoinSet<(usize, Sender)>;

/// For the log and metrics.
pub(super) fn name(action: &Action) -> &'static str {
    match action {
        Action::Open => "open",
        Action::Claim { .. } => "claim",
        Action::Join { .. } => "join",
        Action::Advance { .. } => "advance",
        Action::Seal { .. } => "seal",
        Action::Load(_) => "load",
        Action::Prove { .. } => "prove",
        Action::Timeout { .. } => "timeout",
        Action::Close { .. } => "close",
        Action::Settle { .. } => "settle",
        Action::Withdraw => "withdraw",
    }
}

/// What a preimage call reads, if a step that was put together has it.
pub(super) fn part(call: Preimage, computer: &Computer) -> Option<Part> {
    let Preimage { kind, key, .. } = call;
    let claim = computer.claim_with(kind, key)?;
    load_part(&claim.preimages, call).unwrap_or_else(|error| {
        tracing::warn!(%kind, %key, %error, "a preimage cannot be loaded into the oracle");
        None
    })
}

/// Sends one after another, whatever becomes of those before: each is simulated first, and costs nothing if it is in vain.
pub(super) async fn send(
    party: usize,
    role: &'static str,
    mut sender: Sender,
    calls: Vec<(&'static str, Call)>,
) -> (usize, Sender) {
    for (action, call) in calls {
        sender.pause().await;
        let outcome = match sender.send(&call).await {
            Ok(SendOutcome::Included(included)) => {
                let (gas, tx) = (included.gas_used, included.tx);
                tracing::info!(role, action, gas, %tx, "settlement");
                metrics::counter!("annex_settlement_gas_total", "role" => role).increment(gas);
                "included"
            }
            Ok(SendOutcome::Reverted { reason, tx: None }) => {
                // Somebody else was faster, or it is too early.
                tracing::debug!(role, action, %reason, "not sent: it would revert");
                "in vain"
            }
            Ok(SendOutcome::Reverted { reason, tx: Some(tx) }) => {
                tracing::info!(role, action, %reason, %tx, "reverted");
                "reverted"
            }
            Ok(SendOutcome::FeeTooHigh { fee_per_gas, .. }) => {
                tracing::warn!(role, action, fee_per_gas, "L1's fees are above the limit");
                "fee too high"
            }
            Ok(SendOutcome::Stuck { attempts, .. }) => {
                tracing::warn!(role, action, attempts, "a transaction is stuck");
                "stuck"
            }
            Ok(SendOutcome::Superseded) => "superseded",
            Err(error) => {
                tracing::warn!(role, action, %error, "a transaction could not be sent");
                "failed"
            }
        };
        metrics::counter!(
            "annex_settlement_transactions_total",
            "role" => role, "action" => action, "outcome" => outcome
        )
        .increment(1);
        if matches!(outcome, "fee too high" | "stuck" | "superseded" | "failed") {
            // L1 has changed meanwhile: all is decided again.
            break;
        }
    }
    (party, sender)
}
