//! Transactions from a key of ours: one in flight at a time, its fee raised while it is stuck, and never beyond a cap.

use crate::client::{BlockRef, L1Client};
use crate::error::{L1Error, Revert};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7594::BlobTransactionSidecarEip7594;
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy_rpc_types_eth::{Log, TransactionReceipt, TransactionRequest};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tip where the endpoint names none: 1 gwei.
const DEFAULT_TIP: u128 = 1_000_000_000;

/// Looks for the receipt after the nonce is used: endpoints count a transaction before they have its receipt.
const RECEIPT_LOOKS: u32 = 5;

/// Limits on what a [`Sender`] spends and how long it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendLimits {
    /// Wei a gas; above, nothing is sent.
    pub max_fee_per_gas: u128,
    /// Wei a blob gas; above, nothing is sent.
    pub max_fee_per_blob_gas: u128,
    /// Time in the mempool after which the fee is raised.
    pub resubmit_after: Duration,
    /// Transactions sent for one call, the first included.
    pub attempts: u32,
    /// Time between two looks for the receipt.
    pub poll_interval: Duration,
}

impl Default for SendLimits {
    fn default() -> Self {
        Self {
            max_fee_per_gas: 500_000_000_000,
            max_fee_per_blob_gas: 500_000_000_000,
            resubmit_after: Duration::from_secs(48),
            attempts: 6,
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Call {
    pub to: TxKind,
    pub input: Bytes,
    /// Wei.
    pub value: U256,
    /// With blobs the transaction is of type 3, else of type 2.
    pub sidecar: Option<Box<BlobTransactionSidecarEip7594>>,
}

/// How a [`Sender::send`] ended.
#[derive(Clone, Debug)]
pub enum SendOutcome {
    /// In a block, and successful there.
    Included(Included),
    /// It reverts. Without a transaction hash the simulation found out, and nothing was paid.
    Reverted { reason: Revert, tx: Option<B256> },
    /// Fees are above the limits; nothing was sent.
    FeeTooHigh { fee_per_gas: u128, fee_per_blob_gas: u128 },
    /// Still in the mempool after all attempts, or after the limits forbade another. It may yet be included: the next `send`
    /// replaces it.
    Stuck { tx: Option<B256>, attempts: u32 },
    /// Another transaction took the nonce: one that an earlier call or process of this key sent and gave up; or a reorganisation
    /// gave back an earlier one. The caller looks at L1 and starts over.
    Superseded,
}

#[derive(Clone, Debug)]
pub struct Included {
    pub block: BlockRef,
    pub tx: B256,
    pub gas_used: u64,
    /// Wei paid for gas and blob gas.
    pub cost: U256,
    pub logs: Vec<Log>,
    /// Where the call was a creation.
    pub contract: Option<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fees {
    tip: u128,
    max: u128,
    /// Zero without blobs.
    blob: u128,
}

impl Fees {
    /// The least fees that replace a transaction with these. Pools want everything doubled for blob transactions, and a tenth more
    /// for others.
    fn raised(self, blobs: bool) -> Self {
        let raise = |fee: u128| fee.saturating_add(if blobs { fee } else { fee / 8 + 1 });
        Self { tip: raise(self.tip), max: raise(self.max), blob: raise(self.blob) }
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            tip: self.tip.max(other.tip),
            max: self.max.max(other.max),
            blob: self.blob.max(other.blob),
        }
    }

    fn at_most(self, limits: &SendLimits) -> Self {
        let max = self.max.min(limits.max_fee_per_gas);
        Self { tip: self.tip.min(max), max, blob: self.blob.min(limits.max_fee_per_blob_gas) }
    }

    fn within(self, limits: &SendLimits) -> bool {
        self.max <= limits.max_fee_per_gas && self.blob <= limits.max_fee_per_blob_gas
    }
}

struct Market {
    /// Without these a transaction cannot be in the next block.
    floor: Fees,
    /// What a first attempt offers.
    offer: Fees,
}

/// What is or may be in the mempool under one nonce.
#[derive(Clone, Debug)]
struct InFlight {
    nonce: u64,
    fees: Fees,
    hashes: Vec<B256>,
}

/// What the endpoint said to a transaction.
enum Accepted {
    Yes,
    /// It wants more for replacing what it has.
    Underpriced,
    /// The nonce is used up.
    NonceUsed,
}

/// Sends with one key. Dropping a `send` half-way leaves its transaction in the mempool; the next `send`, also of another process,
/// takes the same nonce and replaces it. So one key must not be used from two places.
#[derive(Debug)]
pub struct Sender {
    client: L1Client,
    signer: PrivateKeySigner,
    limits: SendLimits,
    in_flight: Option<InFlight>,
    /// Transactions in a row that reverted in their block, and were paid for.
    reverted: u32,
}

impl Sender {
    pub fn new(client: L1Client, signer: PrivateKeySigner, limits: SendLimits) -> Self {
        Self { client, signer, limits, in_flight: None, reverted: 0 }
    }

    /// Waits after transactions in a row that reverted and were paid for, the longer the more they are: who sends again at once
    /// whatever reverts, because simulations promise what blocks do not keep, empties its account.
    pub async fn pause(&self) {
        sleep(pause_after(self.reverted)).await;
    }

    pub fn address(&self) -> Address {
        self.signer.address()
    }

    pub fn client(&self) -> &L1Client {
        &self.client
    }

    /// Simulates the call, sends it, and waits until it is in a block or given up.
    pub async fn send(&mut self, call: &Call) -> Result<SendOutcome, L1Error> {
        self.send_as(call, None).await
    }

    /// The same, with this nonce or not at all: a call that is right only after what the key sent before.
    /// [`SendOutcome::Superseded`] where L1 expects another one.
    pub async fn send_as(
        &mut self,
        call: &Call,
        expected: Option<u64>,
    ) -> Result<SendOutcome, L1Error> {
        let blobs = call.sidecar.is_some();
        let market = self.market(blobs).await?;
        if !market.floor.within(&self.limits) {
            return Ok(SendOutcome::FeeTooHigh {
                fee_per_gas: market.floor.max,
                fee_per_blob_gas: market.floor.blob,
            });
        }
        let mut fees = market.offer;
        // With the fees, because what a call does may depend on them: a Tournament refunds gas at its price, and writing that down
        // costs gas.
        let request = self
            .request(call, fees.blob)
            .max_fee_per_gas(fees.max)
            .max_priority_fee_per_gas(fees.tip);
        let gas = match self.client.estimate_gas(request).await {
            // What a call costs changes from block to block: who joins a Tournament second pays 105,000 more, for the match.
            Ok(gas) => gas + gas / 3 + 60_000,
            Err(L1Error::Reverted(reason)) => {
                return Ok(SendOutcome::Reverted { reason, tx: None });
            }
            Err(error) => return Err(error),
        };
        let nonce = self.client.nonce(self.address()).await?;
        let made_it = self.in_flight.as_ref().is_some_and(|known| known.nonce < nonce);
        if made_it || expected.is_some_and(|expected| expected != nonce) {
            // What an earlier call left behind made it after all, or was taken back.
            self.in_flight = None;
            return Ok(SendOutcome::Superseded);
        }
        match &self.in_flight {
            Some(known) if known.nonce == nonce => {
                fees = fees.at_least(known.fees.raised(blobs));
            }
            _ => self.in_flight = Some(InFlight { nonce, fees, hashes: Vec::new() }),
        }
        let mut sent = 0;
        while sent < self.limits.attempts {
            sent += 1;
            // At the limit nothing replaces what is in the pool; but a pool that dropped it takes the same fees again.
            let last = !fees.within(&self.limits);
            fees = fees.at_most(&self.limits);
            let accepted = self.submit(call, nonce, gas, fees).await?;
            if last || !matches!(accepted, Accepted::Underpriced) {
                if let Some(outcome) = self.wait(call, nonce).await? {
                    return Ok(outcome);
                }
                if last {
                    break;
                }
            }
            if self.client.nonce(self.address()).await? < nonce {
                // A reorganisation took back what came before: nothing with this nonce can be included.
                self.in_flight = None;
                return Ok(SendOutcome::Superseded);
            }
            fees = fees.raised(blobs).at_least(self.market(blobs).await?.offer);
        }
        let tx = self.in_flight.as_ref().and_then(|known| known.hashes.last().copied());
        Ok(SendOutcome::Stuck { tx, attempts: sent })
    }

    /// Today's fees.
    async fn market(&self, blobs: bool) -> Result<Market, L1Error> {
        let base = u128::from(self.client.head().await?.base_fee);
        let tip = match self.client.request::<_, U256>("eth_maxPriorityFeePerGas", ()).await {
            Ok(tip) => tip.saturating_to::<u128>().max(1),
            Err(L1Error::Rejected(_)) => DEFAULT_TIP,
            Err(error) => return Err(error),
        };
        let blob = if blobs {
            let fee: U256 = self.client.request("eth_blobBaseFee", ()).await?;
            fee.saturating_to::<u128>().max(1)
        } else {
            0
        };
        let floor = Fees { tip, max: base.saturating_add(tip), blob };
        // Twice the base fees, so that some full blocks may pass before the transaction is stuck.
        let offer = Fees {
            tip,
            max: floor.max.saturating_add(base).min(self.limits.max_fee_per_gas),
            blob: blob.saturating_mul(2).min(self.limits.max_fee_per_blob_gas),
        };
        Ok(Market { floor, offer })
    }

    fn request(&self, call: &Call, blob_fee: u128) -> TransactionRequest {
        let mut request = TransactionRequest::default()
            .from(self.address())
            .value(call.value)
            .input(call.input.clone().into());
        request.to = Some(call.to);
        if let Some(sidecar) = &call.sidecar {
            request.blob_versioned_hashes = Some(sidecar.versioned_hashes().collect());
            request.max_fee_per_blob_gas = Some(blob_fee);
        }
        request
    }

    async fn submit(
        &mut self,
        call: &Call,
        nonce: u64,
        gas: u64,
        fees: Fees,
    ) -> Result<Accepted, L1Error> {
        let (hash, raw) = self.sign(call, nonce, gas, fees)?;
        let accepted = match self.client.request::<_, B256>("eth_sendRawTransaction", (raw,)).await
        {
            Ok(_) => Accepted::Yes,
            Err(L1Error::Rejected(error)) => match refusal(&error.message) {
                Some(accepted) => accepted,
                None => return Err(L1Error::Rejected(error)),
            },
            Err(error) => {
                // It may have arrived; so its hash counts.
                self.remember(hash, fees);
                return Err(error);
            }
        };
        match accepted {
            // A repeated request finds the nonce used by what the first one sent.
            Accepted::Yes | Accepted::NonceUsed => self.remember(hash, fees),
            Accepted::Underpriced => {}
        }
        tracing::debug!(%hash, nonce, max_fee = fees.max, blob_fee = fees.blob, "sent to L1");
        Ok(accepted)
    }

    fn remember(&mut self, hash: B256, fees: Fees) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.fees = in_flight.fees.at_least(fees);
            if !in_flight.hashes.contains(&hash) {
                in_flight.hashes.push(hash);
            }
        }
    }

    fn sign(
        &self,
        call: &Call,
        nonce: u64,
        gas: u64,
        fees: Fees,
    ) -> Result<(B256, Bytes), L1Error> {
        let chain_id = self.client.chain_id();
        if let (Some(sidecar), TxKind::Call(to)) = (&call.sidecar, call.to) {
            let tx = TxEip4844 {
                chain_id,
                nonce,
                gas_limit: gas,
                max_fee_per_gas: fees.max,
                max_priority_fee_per_gas: fees.tip,
                to,
                value: call.value,
                access_list: Default::default(),
                blob_versioned_hashes: sidecar.versioned_hashes().collect(),
                max_fee_per_blob_gas: fees.blob,
                input: call.input.clone(),
            };
            let signature = self.signer.sign_hash_sync(&tx.signature_hash())?;
            let tx = TxEip4844WithSidecar { tx, sidecar: sidecar.as_ref().clone() };
            let signed = tx.into_signed(signature);
            return Ok((*signed.hash(), signed.encoded_2718().into()));
        }
        let tx = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.max,
            max_priority_fee_per_gas: fees.tip,
            to: call.to,
            value: call.value,
            access_list: Default::default(),
            input: call.input.clone(),
        };
        let signature = self.signer.sign_hash_sync(&tx.signature_hash())?;
        let signed = tx.into_signed(signature);
        Ok((*signed.hash(), signed.encoded_2718().into()))
    }

    /// Waits for a receipt of what is in flight; none once it is time to raise the fee.
    async fn wait(&mut self, call: &Call, nonce: u64) -> Result<Option<SendOutcome>, L1Error> {
        let deadline = Instant::now() + self.limits.resubmit_after;
        let mut looks = RECEIPT_LOOKS;
        loop {
            let used = self.client.nonce(self.address()).await? > nonce;
            let hashes = self.in_flight.as_ref().map_or(&[][..], |known| &known.hashes);
            for hash in hashes {
                if let Some(receipt) = self.client.receipt(*hash).await? {
                    self.in_flight = None;
                    self.reverted = if receipt.status() { 0 } else { self.reverted + 1 };
                    return Ok(Some(self.outcome(call, receipt).await));
                }
            }
            if used && looks == 0 {
                self.in_flight = None;
                return Ok(Some(SendOutcome::Superseded));
            }
            if used {
                looks -= 1;
            } else if Instant::now() >= deadline {
                return Ok(None);
            }
            sleep(self.limits.poll_interval).await;
        }
    }

    async fn outcome(&self, call: &Call, receipt: TransactionReceipt) -> SendOutcome {
        let tx = receipt.transaction_hash;
        let block = BlockRef {
            number: receipt.block_number.unwrap_or_default(),
            hash: receipt.block_hash.unwrap_or_default(),
        };
        if !receipt.status() {
            // Receipts have no reason. The state after the block gives the same one, unless others changed it too.
            let request = (self.request(call, 0), U64::from(block.number));
            let reason = match self.client.request::<_, Bytes>("eth_call", request).await {
                Err(L1Error::Reverted(reason)) => reason,
                _ => Revert::default(),
            };
            return SendOutcome::Reverted { reason, tx: Some(tx) };
        }
        let blob_cost = U256::from(receipt.blob_gas_used.unwrap_or_default())
            * U256::from(receipt.blob_gas_price.unwrap_or_default());
        SendOutcome::Included(Included {
            block,
            tx,
            gas_used: receipt.gas_used,
            cost: U256::from(receipt.gas_used) * U256::from(receipt.effective_gas_price)
                + blob_cost,
            contract: receipt.contract_address,
            logs: receipt.inner.logs().to_vec(),
        })
    }
}

/// Nothing after one: somebody else was faster. Then a second, and twice as long each time, up to a minute.
fn pause_after(reverted: u32) -> Duration {
    match reverted {
        0 | 1 => Duration::ZERO,
        more => Duration::from_secs(1 << (more - 2).min(6)),
    }
}

/// What the refusals that are not errors mean. Clients agree on the words, not on codes.
fn refusal(message: &str) -> Option<Accepted> {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["already known", "alreadyknown", "already imported", "known transaction"]) {
        Some(Accepted::Yes)
    } else if says(&["underpriced", "replacementnotallowed"]) {
        Some(Accepted::Underpriced)
    } else if says(&["nonce too low", "oldnonce"]) {
        Some(Accepted::NonceUsed)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
