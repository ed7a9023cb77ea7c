use std::collections::{BTreeMap, HashMap};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Sealable, Signature, TxKind, U256, keccak256};
use annex_state::{AccountInfo, StateReader};
use annex_types::{RecoveredTransaction, Transaction};
use op_alloy_consensus::TxDeposit;

use super::*;

mod calls;
mod deposits;
mod differential;
mod invalid;
mod traces;
mod transactions;

const SENDER: Address = Address::repeat_byte(0xaa);
const RECEIVER: Address = Address::repeat_byte(0xbb);
const BENEFICIARY: Address = Address::repeat_byte(0xcc);
const CONTRACT: Address = Address::repeat_byte(0xdd);
const ETHER: u128 = 10u128.pow(18);
const GWEI: u128 = 10u128.pow(9);
/// Smallest chargeable size, in 10^-6 bytes.
const SIZE: u64 = 100_000_000;

/// `SSTORE(calldata[0], calldata[1])`, then a log with topic `calldata[0]`.
const STORE: &[u8] =
    &[0x60, 0x20, 0x35, 0x60, 0, 0x35, 0x55, 0x60, 0, 0x35, 0x60, 0, 0x60, 0, 0xa1, 0];

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("read of {0} fails")]
struct Failing(Address);

/// State in memory. Block hashes are known only where a test expects them to be read.
#[derive(Clone, Debug, Default)]
struct Memory {
    accounts: HashMap<Address, AccountInfo>,
    storage: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytes>,
    block_hashes: BTreeMap<u64, B256>,
    failing: Option<Address>,
}

impl Memory {
    fn with(mut self, address: Address, nonce: u64, balance: u128) -> Self {
        let balance = U256::from(balance);
        self.accounts.insert(address, AccountInfo { nonce, balance, ..Default::default() });
        self
    }

    fn with_code(mut self, address: Address, code: &[u8]) -> Self {
        let code_hash = keccak256(code);
        self.codes.insert(code_hash, Bytes::copy_from_slice(code));
        self.accounts.insert(address, AccountInfo { nonce: 1, balance: U256::ZERO, code_hash });
        self
    }
}

impl StateReader for Memory {
    type Error = Failing;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, Failing> {
        if self.failing == Some(address) {
            return Err(Failing(address));
        }
        Ok(self.accounts.get(&address).copied())
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, Failing> {
        Ok(self.storage.get(&(address, slot)).copied().unwrap_or_default())
    }

    fn code(&self, hash: B256) -> Result<Bytes, Failing> {
        Ok(self.codes[&hash].clone())
    }

    fn block_hash(&self, number: u64) -> Result<B256, Failing> {
        Ok(*self.block_hashes.get(&number).expect("a block hash that nobody reads"))
    }
}

fn block() -> BlockEnv {
    BlockEnv {
        chain_id: 901,
        number: 10_000,
        timestamp: 1_760_000_000,
        beneficiary: BENEFICIARY,
        gas_limit: 30_000_000,
        base_fee: GWEI as u64,
        prev_randao: B256::repeat_byte(7),
        blob_base_fee: 1,
        // 100 bytes cost 2,000 gas at a base fee of 1 gwei.
        byte_cost: U256::from(20 * GWEI * 1_000_000),
    }
}

fn evm(rules: Rules, memory: Memory) -> Evm<Memory> {
    Evm::new(rules, block(), memory)
}

fn unbounded() -> Watchdog<'static> {
    Watchdog { expired: &|| false, bytes: usize::MAX }
}

fn funded() -> Memory {
    Memory::default().with(SENDER, 0, ETHER)
}

fn eip1559() -> TxEip1559 {
    TxEip1559 {
        chain_id: 901,
        nonce: 0,
        gas_limit: 100_000,
        max_fee_per_gas: 3 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(RECEIVER),
        value: U256::from(5),
        ..Default::default()
    }
}

fn recovered(transaction: Transaction) -> RecoveredTransaction {
    RecoveredTransaction { transaction, sender: SENDER, data_size: SIZE }
}

/// A transaction as the envelope holds it.
trait Enveloped: SignableTransaction<Signature> + Sized {
    fn envelope(signed: alloy_consensus::Signed<Self>) -> Transaction;
}

macro_rules! enveloped {
    ($($tx:ty => $variant:ident),*) => {$(
        impl Enveloped for $tx {
            fn envelope(signed: alloy_consensus::Signed<Self>) -> Transaction {
                Transaction::$variant(signed)
            }
        }
    )*};
}

enveloped!(
    TxLegacy => Legacy,
    TxEip2930 => Eip2930,
    TxEip1559 => Eip1559,
    TxEip4844 => Eip4844,
    TxEip7702 => Eip7702
);

/// The signature is not looked at: the sender was recovered before.
fn signed<T: Enveloped>(tx: T) -> RecoveredTransaction {
    recovered(T::envelope(tx.into_signed(Signature::test_signature())))
}

fn deposit(deposit: TxDeposit) -> RecoveredTransaction {
    let sender = deposit.from;
    let transaction = Transaction::Deposit(deposit.seal_slow());
    RecoveredTransaction { transaction, sender, data_size: 0 }
}

fn balance<R: StateReader>(evm: &Evm<R>, address: Address) -> U256 {
    evm.state().account(address).unwrap().unwrap_or_default().balance
}

fn nonce<R: StateReader>(evm: &Evm<R>, address: Address) -> u64 {
    evm.state().account(address).unwrap().unwrap_or_default().nonce
}

/// Initcode that returns `code`.
fn deploying(code: &[u8]) -> Bytes {
    let len = code.len() as u16;
    let mut init = vec![0x61];
    init.extend(len.to_be_bytes());
    init.extend([0x80, 0x60, 0x0c, 0x60, 0, 0x39, 0x60, 0, 0xf3]);
    init.extend(code);
    init.into()
}

fn words(words: [u64; 2]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}
