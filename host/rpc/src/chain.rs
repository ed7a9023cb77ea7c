//! What a chain tells the RPC: the only thing the L2 node and the embedded L1 implement differently.

use alloy_primitives::{Address, B256, Bytes, Sealed, U256};
use annex_evm::{BlockEnv, InvalidTransaction, Rules};
use annex_state::{AccountInfo, Overlay, StateReader};
use annex_store::{Snapshot, Store, StoreError, View};
use annex_types::promise::SignedPromise;
use annex_types::{Header, Receipt, RecoveredTransaction, SignatureError, Transaction};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::Value;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::broadcast;

/// One chain, as JSON-RPC reads it. Every method is cheap: none waits for I/O other than reads of the store.
pub trait Chain: Send + Sync + 'static {
    fn chain_id(&self) -> u64;

    /// Which of the two chains answers; see "Differences" in spec/rpc.md. With L1's rules transactions wait in a pool
    /// until a block is mined. With L2's they are executed on arrival, and `latest` and `pending` state are the same:
    /// both hold all that was acknowledged.
    fn rules(&self) -> Rules;

    /// Sealed blocks and their state.
    fn store(&self) -> &Store;

    /// A consistent snapshot of the open block, or of an empty one on the head when none is open.
    fn pending(&self) -> Result<Pending, StoreError>;

    /// The pending value of one account, without the cost of a snapshot.
    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError>;

    /// A transaction that is in no sealed block yet, by its hash or an alias. The store must hold a block before its
    /// transactions disappear here.
    fn unsealed(&self, hash: B256) -> Option<Unsealed>;

    /// What waits: executable at once, and behind a gap of nonces.
    fn pool(&self) -> Pool;

    /// Hands over EIP-2718 transactions in order and answers in that order. On L2 an accepted transaction was executed
    /// and logged; on L1 it was taken into the pool.
    fn send_raw(
        &self,
        transactions: Vec<Bytes>,
    ) -> impl Future<Output = Vec<Result<Accepted, Rejected>>> + Send;

    /// Calls one method of the node that orders, once with each of these parameters, where this one hands transactions on.
    /// Answers in order, within about `patience`.
    fn forward(
        &self,
        _method: &'static str,
        calls: Vec<Vec<Value>>,
        _patience: Duration,
    ) -> impl Future<Output = Vec<Result<Value, Rejected>>> + Send {
        std::future::ready(calls.iter().map(|_| Err(Rejected::NotLeader)).collect())
    }

    /// How a sealed block began, to execute its transactions again.
    fn opening(&self, snapshot: &Snapshot, header: &Header) -> Result<Opening, StoreError>;

    /// Every new head, once the store holds it.
    fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>>;

    /// Every transaction, when it is executed (L2) or enters the pool (L1).
    fn arrivals(&self) -> broadcast::Receiver<Arrival>;

    fn finality(&self) -> Finality;

    /// Wei of priority fee for each gas below which transactions are refused now.
    fn min_tip(&self) -> u128 {
        0
    }

    /// Number of the newest block known to exist, while this node is behind it.
    fn syncing(&self) -> Option<u64>;
}

/// A block before its first transaction.
#[derive(Clone, Debug)]
pub struct Opening {
    pub env: BlockEnv,
    /// What the protocol writes over the parent's state: accounts of system contracts exist already.
    pub slots: Vec<(Address, U256, U256)>,
}

/// The open block.
#[derive(Debug)]
pub struct Pending {
    /// The fields that are fixed before the seal, and `gas_used` so far; roots, bloom and the like are zero. While an
    /// earlier block is being sealed, `parent_hash` may be zero, too.
    pub header: Header,
    /// The same block as the EVM sees it.
    pub env: BlockEnv,
    /// Executed so far, in order.
    pub transactions: Vec<Arc<Executed>>,
    pub state: PendingState,
}

/// Pending state: what was executed since the store's newest block, over it.
#[derive(Debug)]
pub struct PendingState {
    /// Oldest first. A layer may repeat what the base holds already, never what is older.
    pub layers: Vec<Arc<Overlay>>,
    pub base: View,
}

type DynState<'a> = dyn StateReader<Error = StoreError> + 'a;

impl PendingState {
    fn read<T>(&self, read: impl FnOnce(&DynState<'_>) -> T) -> T {
        fn over<T>(
            layers: &[Arc<Overlay>],
            base: &DynState<'_>,
            read: impl FnOnce(&DynState<'_>) -> T,
        ) -> T {
            match layers.split_first() {
                Some((oldest, later)) => over(later, &oldest.over(base), read),
                None => read(base),
            }
        }
        over(&self.layers, &self.base, read)
    }
}

impl StateReader for PendingState {
    type Error = StoreError;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        self.read(|state| state.account(address))
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, StoreError> {
        self.read(|state| state.storage(address, slot))
    }

    fn code(&self, hash: B256) -> Result<Bytes, StoreError> {
        self.read(|state| state.code(hash))
    }

    fn block_hash(&self, number: u64) -> Result<B256, StoreError> {
        self.read(|state| state.block_hash(number))
    }
}

/// A transaction that was executed, with its place in the block.
#[derive(Debug)]
pub struct Executed {
    pub transaction: RecoveredTransaction,
    pub hash: B256,
    pub block_number: u64,
    pub timestamp: u64,
    pub base_fee: u64,
    pub index: u32,
    pub receipt: Receipt,
    /// Execution and data gas.
    pub gas_used: u64,
    /// Index in the block of the receipt's first log.
    pub first_log: u64,
    /// Nonce its sender had, of a deposit; `None` for signed transactions.
    pub deposit_nonce: Option<u64>,
    /// Set once its group is signed.
    pub promise: OnceLock<Arc<SignedPromise>>,
}

/// Transactions that became visible together, and the promise that covers them.
#[derive(Clone, Debug)]
pub struct MiniBlock {
    /// Never empty, all of one block.
    pub transactions: Vec<Arc<Executed>>,
    pub promise: Option<Arc<SignedPromise>>,
}

#[derive(Clone, Debug)]
pub enum Arrival {
    Executed(Arc<MiniBlock>),
    Pooled(Arc<RecoveredTransaction>),
}

#[derive(Clone, Debug)]
pub enum Unsealed {
    /// Executed and acknowledged: it has a receipt.
    Acknowledged(Arc<Executed>),
    /// Waits in the pool: it has no receipt.
    Pooled(Arc<RecoveredTransaction>),
}

/// Transactions without a receipt.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub executable: Vec<Arc<RecoveredTransaction>>,
    /// Wait for a lower nonce of their sender.
    pub queued: Vec<Arc<RecoveredTransaction>>,
}

/// A transaction was taken.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub hash: B256,
    /// Set where execution came before the answer.
    pub executed: Option<Arc<Executed>>,
}

/// A transaction was not taken. Display is the message of the JSON-RPC error, with the wording of geth.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    #[error("failed to decode transaction")]
    Malformed,
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// Executed, sealed or waiting already.
    #[error("already known")]
    AlreadyKnown,
    /// Another transaction with this nonce waits and this one pays no 10 % more.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    #[error("transaction underpriced")]
    Underpriced,
    /// It pays less than [`Chain::min_tip`].
    #[error(
        "transaction underpriced: tip needed {needed}, tip permitted {tip}; the price falls when L1 has taken the data that waits"
    )]
    TipTooLow { needed: u128, tip: u128 },
    #[error("txpool is full")]
    PoolFull,
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized { size: usize, limit: usize },
    /// EIP-4844: commitments, proofs and versioned hashes do not belong together.
    #[error("invalid blob sidecar")]
    BlobSidecar,
    /// EIP-4844: the form that blocks hold, not the network's.
    #[error("missing sidecar in blob transaction")]
    MissingSidecar,
    /// EIP-7594: blob proofs where cell proofs are asked for.
    #[error("unexpected sidecar version, want: 1, got: 0")]
    SidecarVersion,
    /// By the rules of the open block; also a nonce gap where the chain keeps no transaction that waits.
    #[error("{0}")]
    Invalid(#[from] InvalidTransaction),
    /// Unposted data or the executor's queue has reached its limit.
    #[error("too much unposted data, try again later")]
    Backlog,
    /// The leader's view of L1 is too old to promise anything.
    #[error("view of L1 is stale, try again later")]
    StaleL1,
    /// This node follows and knows no leader to hand the transaction to.
    #[error(
        "this node does not order transactions: start it with --feed to hand them to a leader, or send through the Portal on L1, which no leader can refuse"
    )]
    NotLeader,
    /// The leader that transactions are handed to gave no answer. It may have taken them.
    #[error(
        "the leader does not answer: send again later, or through the Portal on L1, which no leader can refuse"
    )]
    LeaderSilent,
    /// Too many transactions are on their way to the leader.
    #[error("too many transactions are being handed to the leader, try again later")]
    Forwarding,
    /// The answer of the leader that the transaction was handed to.
    #[error("{}", .0.message())]
    ByLeader(ErrorObjectOwned),
    /// The node could not read or write its store; the log says why.
    #[error("internal error")]
    Internal,
    /// The node stops.
    #[error("node is shutting down")]
    Stopping,
}

/// Block numbers of the tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finality {
    /// L2: the newest block that L1 carries.
    pub safe: u64,
    /// L2: the newest block whose batch cannot be reorganised any more.
    pub finalized: u64,
}

/// Decodes and recovers what a wallet sent, beside the executor: type, chain id and signature are checked here. A type-3
/// transaction is refused; L1 decodes its network form itself.
pub fn decode_raw(raw: &[u8], chain_id: u64) -> Result<RecoveredTransaction, Rejected> {
    Ok(RecoveredTransaction::recover(decode(raw, chain_id)?)?)
}

/// [`decode_raw`] of each, in order. Where the processor can, it recovers several senders at once.
pub fn decode_all<T: AsRef<[u8]>>(
    raws: &[T],
    chain_id: u64,
) -> Vec<Result<RecoveredTransaction, Rejected>> {
    let mut decoded = Vec::with_capacity(raws.len());
    let refused: Vec<Result<(), Rejected>> = raws
        .iter()
        .map(|raw| decode(raw.as_ref(), chain_id).map(|transaction| decoded.push(transaction)))
        .collect();
    let mut recovered = RecoveredTransaction::recover_all(decoded);
    let mut next = || recovered.next().expect("as many as were decoded");
    let decoded: Vec<_> =
        refused.into_iter().map(|result| result.and_then(|()| Ok(next()?))).collect();
    for recovered in decoded.iter().flatten() {
        // It is computed when it is first asked for: better here than by the executor.
        let _computed = recovered.transaction.hash();
    }
    decoded
}

fn decode(raw: &[u8], chain_id: u64) -> Result<Transaction, Rejected> {
    use alloy_consensus::Transaction as _;
    use alloy_eips::eip2718::Decodable2718;
    if raw.len() > MAX_RAW_TRANSACTION {
        return Err(Rejected::Oversized { size: raw.len(), limit: MAX_RAW_TRANSACTION });
    }
    if let Some(ty @ (3 | 5..=0x7f)) = raw.first() {
        return Err(InvalidTransaction::TypeNotSupported(*ty).into());
    }
    let mut rest = raw;
    let tx = Transaction::decode_2718(&mut rest).map_err(|_| Rejected::Malformed)?;
    if !rest.is_empty() {
        return Err(Rejected::Malformed);
    }
    match tx.chain_id() {
        Some(have) if have != chain_id => {
            Err(InvalidTransaction::WrongChainId { have, want: chain_id }.into())
        }
        _ => Ok(tx),
    }
}

/// Bytes of one transaction, as in geth's pool.
pub const MAX_RAW_TRANSACTION: usize = 128 * 1024;
