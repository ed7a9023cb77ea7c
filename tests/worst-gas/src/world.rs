//! A state, and one block on it, of which nobody pays attention to anything but the cost.

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction, Signed, TxEip1559};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use annex_state::{
    AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, StateChanges, StateUpdate, WitnessSource, apply_changes,
};
use annex_types::predeploys::{BLOCK_HASH_HISTORY, L1_BLOCK};
use annex_types::{BatchBlock, ChainConfig, ForcedItem, Transaction};
use k256::ecdsa::SigningKey;

use crate::asm::op;

pub const CHAIN_ID: u64 = 901;
pub const CONTRACT: Address = Address::repeat_byte(0xc0);
/// Number of the block that is measured.
pub const NUMBER: u64 = 301;

/// Nothing that is touched for the first time in a transaction costs less.
pub const LEAST_COLD_GAS: u64 = 2_000;

/// Above all precompiles.
pub const FIRST_CODE: u64 = 1000;

/// Accounts, or slots of one contract, that lie in the tries beside those a block touches.
const SCATTERED: u64 = 300_000;

/// A deterministic account.
pub struct Key(SigningKey);

impl Key {
    pub fn new(index: u32) -> Self {
        let secret = keccak256(index.to_be_bytes());
        Self(
            SigningKey::from_slice(secret.as_slice())
                .expect("a hash is below the order, but for 2^-128"),
        )
    }

    pub fn address(&self) -> Address {
        Address::from_public_key(self.0.verifying_key())
    }

    fn sign(&self, hash: B256) -> Signature {
        let signed = self.0.sign_prehash_recoverable(hash.as_slice());
        let (signature, id) = signed.expect("32 bytes are a valid hash");
        Signature::from_signature_and_parity(signature, id.is_y_odd())
    }

    pub fn authorize(&self, authorization: Authorization) -> SignedAuthorization {
        let signature = self.sign(authorization.signature_hash());
        authorization.into_signed(signature)
    }
}

pub fn config() -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: CHAIN_ID,
        inbox: Address::repeat_byte(1),
        lease: Address::repeat_byte(2),
        portal: Address::repeat_byte(3),
        l1_standard_bridge: Address::repeat_byte(4),
        forced_delay: 20,
        liveness_window: 60,
        max_origin_lag: 600,
        timestamp_drift: 5,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 0,
        blob_base_fee_scalar: 0,
        genesis_timestamp: 1_760_000_000,
    }
}

/// What a case puts into its block and the state below it.
pub struct Block {
    pub state: StateChanges,
    pub transactions: Vec<Transaction>,
    pub forced: Vec<ForcedItem>,
    /// Empty batches between its origin and its own.
    pub idle_records: usize,
    /// Blocks of the same batch that come after it.
    pub rest: Vec<BatchBlock>,
    sender: Key,
}

impl Default for Block {
    fn default() -> Self {
        let mut block = Self {
            state: StateChanges::default(),
            transactions: Vec::new(),
            forced: Vec::new(),
            idle_records: 0,
            rest: Vec::new(),
            sender: Key::new(0),
        };
        block.set_code(L1_BLOCK, Bytes::from_static(&[op::STOP]));
        block.set_code(BLOCK_HASH_HISTORY, Bytes::from_static(&[op::STOP]));
        let history = block.state.storage.entry(BLOCK_HASH_HISTORY).or_default();
        history.extend(
            (0..NUMBER - 1).map(|slot| (U256::from(slot), keccak256(slot.to_be_bytes()).into())),
        );
        let sender = block.sender.address();
        block.set_account(sender, KECCAK_EMPTY);
        block
    }
}

impl Block {
    fn set_account(&mut self, address: Address, code_hash: B256) {
        let account = AccountInfo { nonce: 0, balance: U256::from(10u128.pow(27)), code_hash };
        self.state.accounts.insert(address, Some(account));
    }

    pub fn set_code(&mut self, address: Address, code: Bytes) {
        let hash = keccak256(&code);
        self.set_account(address, hash);
        self.state.codes.insert(hash, code);
    }

    /// A transaction of the sender, to be completed.
    pub fn eip1559(&self) -> TxEip1559 {
        TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.transactions.len() as u64,
            max_fee_per_gas: 10u128.pow(10),
            ..Default::default()
        }
    }

    pub fn send<T: SignableTransaction<Signature>>(
        &mut self,
        tx: T,
        kind: fn(Signed<T>) -> Transaction,
    ) {
        let signature = self.sender.sign(tx.signature_hash());
        self.transactions.push(kind(tx.into_signed(signature)));
    }

    pub fn call(&mut self, gas_limit: u64, input: Bytes) {
        let tx = TxEip1559 { to: TxKind::Call(CONTRACT), gas_limit, input, ..self.eip1559() };
        self.send(tx, Transaction::Eip1559);
    }

    /// Accounts at all low addresses.
    pub fn scattered_accounts(&mut self, _: u64) {
        for index in 0..SCATTERED {
            self.set_account(Address::from_word(U256::from(index).into()), KECCAK_EMPTY);
        }
    }

    /// All low slots of the contract.
    pub fn scattered_slots(&mut self, _: u64) {
        let slots = self.state.storage.entry(CONTRACT).or_default();
        slots.extend((0..SCATTERED).map(|slot| (U256::from(slot), U256::MAX)));
    }

    /// Contracts of 24 KiB at as many addresses from [`FIRST_CODE`] on as `gas` reaches, no two alike.
    pub fn codes(&mut self, gas: u64) {
        for index in FIRST_CODE..FIRST_CODE + gas / LEAST_COLD_GAS {
            let mut code = vec![op::JUMPDEST; 24_576];
            code[0] = op::STOP;
            code[24_568..].copy_from_slice(&index.to_be_bytes());
            let address = Address::from_word(U256::from(index).into());
            self.set_code(address, code.into());
        }
    }

    pub fn codes_by_hash(&self) -> &BTreeMap<B256, Bytes> {
        &self.state.codes
    }

    /// The trie of the state below.
    pub fn state(&self) -> StateUpdate {
        apply_changes(&WitnessSource::default(), EMPTY_ROOT, &self.state)
            .expect("a state built from nothing reads no node")
    }
}
