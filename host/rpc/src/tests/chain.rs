//! A small chain over a real store and EVM: with L2's rules it executes on arrival and seals when told to, with L1's it
//! keeps a pool and mines when told to.

use crate::chain::*;
use alloy_consensus::{Header, SignableTransaction, TxEip1559, proofs};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{
    Address, B256, Bytes, Sealable, Sealed, Signature, TxKind, U256, address, hex, keccak256,
};
use annex_evm::{BlockEnv, Evm, InvalidTransaction, Outcome, Rules};
use annex_state::{
    AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, Overlay, StateChanges, StateReader, apply_changes,
};
use annex_store::{BlockCommit, Options, Snapshot, Store, StoreError};
use annex_types::{Receipt, RecoveredTransaction, Transaction, TxType, promise};
use k256::ecdsa::SigningKey;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::broadcast;

pub const CHAIN_ID: u64 = 901;
pub const BASE_FEE: u64 = 10_000_000;
/// Stores its first word of input in slot 0 and logs it as a topic; without input it returns slot 0.
pub const COUNTER: Address = address!("00000000000000000000000000000000000c0001");
/// Reverts with `Error("nope")`.
pub const REVERTER: Address = address!("00000000000000000000000000000000000c0002");
/// The alias of the deposit in a block of [`TestChain::deposit`].
pub const ALIAS: B256 = B256::repeat_byte(0xa1);

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).expect("a small number is a key")
}

pub fn address_of(key: &SigningKey) -> Address {
    let point = key.verifying_key().to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

pub fn sign(key: &SigningKey, tx: TxEip1559) -> Transaction {
    let (signature, id) =
        key.sign_prehash_recoverable(tx.signature_hash().as_slice()).expect("any hash signs");
    let signature = Signature::from_signature_and_parity(signature, id.is_y_odd());
    Transaction::Eip1559(tx.into_signed(signature))
}

/// A call with ample gas and fees.
pub fn call(nonce: u64, to: Address, value: u64, input: Bytes) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1_000_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        access_list: Default::default(),
        input,
    }
}

pub fn raw(tx: &Transaction) -> Bytes {
    tx.encoded_2718().into()
}

#[derive(Default)]
struct Open {
    overlay: Arc<Overlay>,
    executed: Vec<Arc<Executed>>,
    pool: Vec<Arc<RecoveredTransaction>>,
    sequence: u64,
    aliases: Vec<(B256, B256)>,
}

pub struct TestChain {
    rules: Rules,
    store: Store,
    open: Mutex<Open>,
    heads: broadcast::Sender<Arc<Sealed<Header>>>,
    arrivals: broadcast::Sender<Arrival>,
    /// Sizes of the hand-offs, in order.
    pub handoffs: Mutex<Vec<usize>>,
    pub min_tip: Mutex<u128>,
    _dir: tempfile::TempDir,
}

impl TestChain {
    pub fn new(rules: Rules, funded: &[Address]) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = Options { cache: 1 << 20, ..Options::default() };
        let store = Store::open(dir.path(), options).expect("new store");
        let mut genesis = Overlay::default();
        let rich = U256::from(10u64).pow(U256::from(20));
        for address in funded {
            let account = AccountInfo { nonce: 0, balance: rich, code_hash: KECCAK_EMPTY };
            genesis.set_account(*address, Some(account));
        }
        let error = alloy_sol_types::SolError::abi_encode(&alloy_sol_types::Revert::from("nope"));
        let reverter = [&hex!("6064600c60003960646000fd")[..], &error].concat();
        let counter = hex!("36156012576000358060005560006000a1005b60005460005260206000f3").to_vec();
        for (address, code) in [(COUNTER, counter), (REVERTER, reverter)] {
            let code_hash = keccak256(&code);
            genesis.set_code(code_hash, code.into());
            let account = AccountInfo { nonce: 1, balance: U256::ZERO, code_hash };
            genesis.set_account(address, Some(account));
        }
        let (heads, arrivals) = (broadcast::channel(64).0, broadcast::channel(1024).0);
        let handoffs = Mutex::default();
        let (open, min_tip) = (Mutex::default(), Mutex::default());
        let chain = Self { rules, store, open, heads, arrivals, handoffs, min_tip, _dir: dir };
        chain.commit(Header::default(), &genesis.into_changes(), &[], &[]);
        Arc::new(chain)
    }

    fn commit(
        &self,
        mut header: Header,
        changes: &StateChanges,
        executed: &[Arc<Executed>],
        aliases: &[(B256, B256)],
    ) {
        let update = match self.store.latest() {
            Ok(view) => apply_changes(&view, view.root(), changes).expect("state"),
            Err(StoreError::Empty) => {
                let empty = annex_state::WitnessSource::new(Default::default());
                apply_changes(&empty, EMPTY_ROOT, changes).expect("state")
            }
            Err(error) => panic!("{error}"),
        };
        let transactions: Vec<_> = executed.iter().map(|tx| tx.transaction.clone()).collect();
        let receipts: Vec<_> = executed.iter().map(|tx| tx.receipt.clone()).collect();
        let plain: Vec<_> = transactions.iter().map(|tx| tx.transaction.clone()).collect();
        header.state_root = update.root;
        header.transactions_root = proofs::calculate_transaction_root(&plain);
        for receipt in &receipts {
            receipt.logs.iter().for_each(|log| header.logs_bloom.accrue_log(log));
        }
        header.gas_limit = 30_000_000;
        header.base_fee_per_gas = Some(BASE_FEE);
        header.excess_blob_gas = Some(0);
        header.blob_gas_used = Some(0);
        header.withdrawals_root = Some(EMPTY_ROOT);
        header.parent_beacon_block_root = Some(B256::ZERO);
        header.requests_hash = Some(B256::ZERO);
        let sealed = header.seal_slow();
        let block = BlockCommit {
            header: sealed.inner(),
            hash: sealed.hash(),
            transactions: &transactions,
            receipts: &receipts,
            changes,
            update: &update,
            aliases,
        };
        self.store.commit_block(block).expect("commit");
        // Nobody may listen.
        let _ = self.heads.send(Arc::new(sealed));
    }

    fn header(&self, open: &Open) -> Header {
        let head = self.store.latest().expect("genesis exists");
        Header {
            parent_hash: head.hash(),
            number: head.number() + 1,
            timestamp: head.header().timestamp + 1,
            gas_limit: 30_000_000,
            gas_used: open.executed.last().map_or(0, |tx| tx.receipt.cumulative_gas_used),
            base_fee_per_gas: Some(BASE_FEE),
            beneficiary: Address::repeat_byte(0xbe),
            ..Header::default()
        }
    }

    fn env(&self, header: &Header) -> BlockEnv {
        BlockEnv {
            chain_id: CHAIN_ID,
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: BASE_FEE,
            prev_randao: header.mix_hash,
            blob_base_fee: 1,
            byte_cost: U256::from(10u64).pow(U256::from(15)),
        }
    }

    fn execute(
        &self,
        open: &mut Open,
        tx: &RecoveredTransaction,
    ) -> Result<Arc<Executed>, InvalidTransaction> {
        let header = self.header(open);
        let state = PendingState {
            layers: vec![open.overlay.clone()],
            base: self.store.latest().expect("genesis exists"),
        };
        let nonce = state.account(tx.sender).expect("state").unwrap_or_default().nonce;
        let mut evm = Evm::new(self.rules, self.env(&header), state);
        let outcome = evm.execute(tx).expect("state")?;
        Arc::make_mut(&mut open.overlay).merge(evm.into_parts().0);
        let deposit = matches!(tx.transaction, Transaction::Deposit(_));
        let executed = executed(open, &header, tx, outcome, deposit.then_some(nonce));
        open.executed.push(executed.clone());
        let signed = Arc::new(self.promise(open, &executed));
        open.sequence += 1;
        executed.promise.set(signed.clone()).expect("set once");
        let block = MiniBlock { transactions: vec![executed.clone()], promise: Some(signed) };
        let _ = self.arrivals.send(Arrival::Executed(Arc::new(block)));
        Ok(executed)
    }

    fn promise(&self, open: &Open, executed: &Executed) -> promise::SignedPromise {
        let receipt =
            keccak256(alloy_consensus::ReceiptWithBloom::from(&executed.receipt).encoded_2718());
        let promise = annex_types::Promise {
            l2ChainId: CHAIN_ID,
            leaseId: U256::from(7),
            sequence: open.sequence,
            previous: B256::ZERO,
            blockNumber: executed.block_number,
            timestamp: executed.timestamp,
            beneficiary: Address::repeat_byte(0xbe),
            baseFee: U256::from(BASE_FEE),
            origin: B256::ZERO,
            firstIndex: executed.index,
            count: 1,
            root: promise::root(&[promise::leaf(executed.hash, receipt)]),
        };
        let digest = promise::digest(&promise, &lease_domain());
        let (signature, id) =
            key(99).sign_prehash_recoverable(digest.as_slice()).expect("any hash signs");
        let signature = Signature::from_signature_and_parity(signature, id.is_y_odd());
        promise::SignedPromise { promise, signature }
    }

    fn take(&self, raw: &Bytes) -> Result<Accepted, Rejected> {
        let tx = decode_raw(raw, CHAIN_ID)?;
        let hash = tx.transaction.hash();
        let mut open = self.open.lock().expect("no panic");
        let known = open.executed.iter().any(|tx| tx.hash == hash)
            || open.pool.iter().any(|tx| tx.transaction.hash() == hash);
        if known {
            return Err(Rejected::AlreadyKnown);
        }
        if self.rules == Rules::L1 {
            let tx = Arc::new(tx);
            open.pool.push(tx.clone());
            let _ = self.arrivals.send(Arrival::Pooled(tx));
            return Ok(Accepted { hash, executed: None });
        }
        match self.execute(&mut open, &tx) {
            Ok(executed) => Ok(Accepted { hash, executed: Some(executed) }),
            Err(InvalidTransaction::NonceTooHigh { .. }) => {
                open.pool.push(Arc::new(tx));
                Ok(Accepted { hash, executed: None })
            }
            Err(invalid) => Err(invalid.into()),
        }
    }

    /// Executes a deposit on L2.
    pub fn deposit(&self, deposit: op_alloy_consensus::TxDeposit) {
        let tx = Transaction::Deposit(deposit.seal_slow());
        let tx = RecoveredTransaction::recover(tx).expect("deposits need no signature");
        let mut open = self.open.lock().expect("no panic");
        open.aliases.push((ALIAS, tx.transaction.hash()));
        self.execute(&mut open, &tx).expect("deposits are total");
    }

    /// Seals the open block; on L1, after executing the pool.
    pub fn seal(&self) {
        let mut open = self.open.lock().expect("no panic");
        for tx in std::mem::take(&mut open.pool) {
            if self.execute(&mut open, &tx).is_err() {
                open.pool.push(tx);
            }
        }
        let header = self.header(&open);
        let changes = Overlay::clone(&open.overlay).into_changes();
        self.commit(header, &changes, &open.executed, &open.aliases);
        open.overlay = Arc::default();
        open.executed.clear();
        open.aliases.clear();
    }
}

pub fn lease_domain() -> alloy_sol_types::Eip712Domain {
    promise::domain(900, Address::repeat_byte(0x1e))
}

fn executed(
    open: &Open,
    header: &Header,
    tx: &RecoveredTransaction,
    outcome: Outcome,
    deposit_nonce: Option<u64>,
) -> Arc<Executed> {
    let before = open.executed.last();
    let gas_used = outcome.gas_used();
    let receipt = Receipt {
        tx_type: TxType::try_from(alloy_eips::Typed2718::ty(&tx.transaction))
            .expect("a known type"),
        success: outcome.success(),
        cumulative_gas_used: before.map_or(0, |tx| tx.receipt.cumulative_gas_used) + gas_used,
        logs: outcome.logs,
    };
    Arc::new(Executed {
        transaction: tx.clone(),
        hash: tx.transaction.hash(),
        block_number: header.number,
        timestamp: header.timestamp,
        base_fee: BASE_FEE,
        index: open.executed.len() as u32,
        receipt,
        gas_used,
        first_log: before.map_or(0, |tx| tx.first_log + tx.receipt.logs.len() as u64),
        deposit_nonce,
        promise: OnceLock::new(),
    })
}

impl Chain for TestChain {
    fn chain_id(&self) -> u64 {
        CHAIN_ID
    }

    fn rules(&self) -> Rules {
        self.rules
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn pending(&self) -> Result<Pending, StoreError> {
        let open = self.open.lock().expect("no panic");
        let header = self.header(&open);
        Ok(Pending {
            env: self.env(&header),
            header,
            transactions: open.executed.clone(),
            state: PendingState { layers: vec![open.overlay.clone()], base: self.store.latest()? },
        })
    }

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        let mut account = self.pending()?.state.account(address)?;
        if self.rules == Rules::L1 {
            let open = self.open.lock().expect("no panic");
            let waiting = open.pool.iter().filter(|tx| tx.sender == address).count();
            account.get_or_insert_default().nonce += waiting as u64;
        }
        Ok(account)
    }

    fn unsealed(&self, hash: B256) -> Option<Unsealed> {
        let open = self.open.lock().expect("no panic");
        let executed = open.executed.iter().find(|tx| tx.hash == hash).cloned();
        let pooled = || open.pool.iter().find(|tx| tx.transaction.hash() == hash).cloned();
        executed.map(Unsealed::Acknowledged).or_else(|| pooled().map(Unsealed::Pooled))
    }

    fn pool(&self) -> Pool {
        let open = self.open.lock().expect("no panic");
        Pool { executable: open.pool.clone(), queued: Vec::new() }
    }

    async fn send_raw(&self, transactions: Vec<Bytes>) -> Vec<Result<Accepted, Rejected>> {
        self.handoffs.lock().expect("no panic").push(transactions.len());
        transactions.iter().map(|raw| self.take(raw)).collect()
    }

    fn opening(&self, _: &Snapshot, header: &Header) -> Result<Opening, StoreError> {
        Ok(Opening { env: self.env(header), slots: Vec::new() })
    }

    fn heads(&self) -> broadcast::Receiver<Arc<Sealed<Header>>> {
        self.heads.subscribe()
    }

    fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.arrivals.subscribe()
    }

    fn min_tip(&self) -> u128 {
        *self.min_tip.lock().expect("no panic")
    }

    fn finality(&self) -> Finality {
        Finality { safe: 0, finalized: 0 }
    }

    fn syncing(&self) -> Option<u64> {
        None
    }
}
