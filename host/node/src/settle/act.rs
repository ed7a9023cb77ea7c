//! What players want, as transactions.

use super::compute::Computer;
use crate::verify::{self, Part};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use annex_l1::{
    Call, Contracts, SendOutcome, Sender,
    contracts::{Claims, PreimageOracle, Tournament},
};
use annex_settle::{Action, Output, Preimage};
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

/// The transaction of an action; none for a preimage that is not at hand.
pub(super) fn call(
    contracts: &Contracts,
    bond: U256,
    action: &Action,
    computer: &Computer,
) -> Option<Call> {
    let (claims, tournament) = (contracts.claims, contracts.tournament);
    let plain = |to, input: Vec<u8>| to_call(to, input, U256::ZERO);
    Some(match action.clone() {
        Action::Open => plain(claims, Claims::openCall {}.abi_encode()),
        Action::Claim { range, start, end_accumulator, path, output } => {
            let call = Claims::joinCall {
                id: U256::from(range),
                start,
                endAccumulator: end_accumulator,
                path,
                output: opened(output),
            };
            to_call(claims, call.abi_encode(), bond)
        }
        Action::Join { tournament: id, start, last, path, state } => {
            let call = Tournament::joinCall { id: U256::from(id), start, last, path, state };
            to_call(tournament, call.abi_encode(), bond)
        }
        Action::Advance { match_id, left, right, new_left, new_right } => {
            let call = Tournament::advanceCall {
                matchId: U256::from(match_id),
                left,
                right,
                newLeft: new_left,
                newRight: new_right,
            };
            plain(tournament, call.abi_encode())
        }
        Action::Seal { match_id, left, right, agreed, path, opening } => {
            let match_id = U256::from(match_id);
            let call =
                Tournament::sealCall { matchId: match_id, left, right, agreed, path, opening };
            plain(tournament, call.abi_encode())
        }
        Action::Load(preimage) => plain(contracts.preimage_oracle, load(&preimage, computer)?),
        Action::Prove { match_id, proof } => {
            let call = Tournament::proveCall { matchId: U256::from(match_id), proof };
            plain(tournament, call.abi_encode())
        }
        Action::Timeout { match_id } => {
            let call = Tournament::timeoutCall { matchId: U256::from(match_id) };
            plain(tournament, call.abi_encode())
        }
        Action::Close { tournament: id } => {
            plain(tournament, Tournament::closeCall { id: U256::from(id) }.abi_encode())
        }
        Action::Settle { range } => {
            plain(claims, Claims::settleCall { id: U256::from(range) }.abi_encode())
        }
        Action::Withdraw => plain(tournament, Tournament::withdrawCall {}.abi_encode()),
    })
}

fn to_call(to: Address, input: Vec<u8>, value: U256) -> Call {
    Call { to: TxKind::Call(to), input: input.into(), value, sidecar: None }
}

fn opened(output: Output) -> Claims::Output {
    match output {
        Output::Head { header, cursor } => Claims::Output {
            header,
            record: cursor.record,
            block: cursor.block,
            forced: cursor.forced,
            faultOf: Default::default(),
        },
        Output::Fault { of } => {
            Claims::Output { header: Bytes::new(), record: 0, block: 0, forced: 0, faultOf: of }
        }
    }
}

fn load(preimage: &Preimage, computer: &Computer) -> Option<Vec<u8>> {
    let Preimage { kind, key, offset } = *preimage;
    let claim = computer.claim_with(kind, key)?;
    let part = verify::load_part(&claim.preimages, verify::Preimage { kind, key, offset });
    match part {
        Ok(Some(Part::Keccak { offset, data })) => {
            Some(PreimageOracle::loadKeccakPartCall { offset, data }.abi_encode())
        }
        Ok(Some(Part::Blob { versioned_hash, index, element, commitment, proof })) => Some(
            PreimageOracle::loadBlobElementCall {
                versionedHash: versioned_hash,
                index,
                element,
                commitment,
                proof,
            }
            .abi_encode(),
        ),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%kind, %key, %error, "a preimage cannot be loaded into the oracle");
            None
        }
    }
}

/// Sends one after another, whatever becomes of those before: each is simulated first, and costs nothing if it is in vain.
pub(super) async fn send(
    party: usize,
    role: &'static str,
    mut sender: Sender,
    calls: Vec<(&'static str, Call)>,
) -> (usize, Sender) {
    for (action, call) in calls {
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
