//! What users, leader and vandals put into the Inbox.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use annex_claim::Preimages;
use annex_l1::contracts::Inbox::{submitCall, submitCalldataCall};
use annex_l1::contracts::L2ToL1MessagePasser::initiateWithdrawalCall;
use annex_l1::contracts::Portal::depositTransactionCall;
use annex_types::batch::{self, Batch};
use annex_types::predeploys::L2_TO_L1_MESSAGE_PASSER;
use annex_types::{BatchBlock, ExtraData, Transaction};
use k256::ecdsa::SigningKey;

use crate::l1::Call;
use crate::world::World;

pub const L2_CHAIN_ID: u64 = 901;
pub const ETHER: u128 = 10u128.pow(18);
/// Fees of the leader's blocks.
pub const BENEFICIARY: Address = Address::repeat_byte(0xbe);

/// An account by number, with its key.
pub struct Key(SigningKey);

impl Key {
    pub fn new(number: u64) -> Self {
        let secret = keccak256(number.to_be_bytes());
        Self(
            SigningKey::from_slice(secret.as_slice())
                .expect("a hash is below the order, but for 2^-128"),
        )
    }

    pub fn address(&self) -> Address {
        Address::from_public_key(self.0.verifying_key())
    }

    fn sign(&self, tx: TxEip1559) -> Transaction {
        let hash = tx.signature_hash();
        let signed = self.0.sign_prehash_recoverable(hash.as_slice());
        let (signature, id) = signed.expect("32 bytes are a valid hash");
        let signature = Signature::from_signature_and_parity(signature, id.is_y_odd());
        Transaction::Eip1559(tx.into_signed(signature))
    }
}

/// Address of an account by number.
pub fn address(number: u64) -> Address {
    Key::new(number).address()
}

/// A signed transaction of L2.
pub fn transaction(user: u64, nonce: u64, to: Address, value: u128, input: Bytes) -> Transaction {
    Key::new(user).sign(TxEip1559 {
        chain_id: L2_CHAIN_ID,
        nonce,
        gas_limit: 500_000,
        max_fee_per_gas: 10u128.pow(10),
        max_priority_fee_per_gas: 1_000,
        to: TxKind::Call(to),
        value: U256::from(value),
        input,
        ..Default::default()
    })
}

/// A withdrawal of ether to the sender.
pub fn withdrawal(user: u64, nonce: u64, value: u128) -> Transaction {
    let call = initiateWithdrawalCall {
        target: address(user),
        gasLimit: U256::from(100_000),
        data: Bytes::new(),
    };
    transaction(user, nonce, L2_TO_L1_MESSAGE_PASSER, value, call.abi_encode().into())
}

impl World {
    /// Deposits a user's ether.
    pub fn deposit(&mut self, user: u64, value: u128) {
        let call = depositTransactionCall {
            to: address(user),
            value: U256::from(value),
            gasLimit: 100_000,
            isCreation: false,
            data: Bytes::new(),
        };
        self.l1.fund(address(user), U256::from(value + ETHER));
        let call = Call::new(address(user), self.at.portal, &call).with_value(U256::from(value));
        self.include(call);
    }

    /// Posts bytes as a batch.
    pub fn post(&mut self, forced_up_to: u64, data: Vec<u8>) {
        let forced_up_to = U256::from(forced_up_to);
        let call = submitCalldataCall { forcedUpTo: forced_up_to, data: data.into() };
        self.include(Call::new(self.at.leader, self.at.inbox, &call));
    }

    /// Posts bytes as a batch in blobs.
    pub fn post_blobs(&mut self, forced_up_to: u64, data: &[u8]) {
        let mut hashes = Vec::new();
        for blob in batch::pack_blobs(data) {
            let hash = Preimages::default().insert_blob(&blob).expect("packed for a blob");
            self.blobs.insert(hash, blob);
            hashes.push(hash);
        }
        let call = submitCall { forcedUpTo: U256::from(forced_up_to) };
        let call = Call::new(self.at.leader, self.at.inbox, &call);
        self.include(Call { blobs: hashes, ..call });
    }

    fn include(&mut self, call: Call) {
        let outcome = self.l1.transact(call);
        assert!(outcome.success(), "{}", crate::l1::said(&outcome));
        self.sync();
    }

    /// A block that the batch posted next may hold.
    pub fn block(&self, forced: u64, transactions: Vec<Transaction>) -> BatchBlock {
        BatchBlock {
            timestamp: self.l1.now(),
            beneficiary: BENEFICIARY,
            origin: self.truth.records.len() as u64 - 1,
            forced,
            transactions,
        }
    }

    /// Blocks on the head.
    pub fn payload(&self, blocks: Vec<BatchBlock>) -> Vec<u8> {
        let batch = Batch { parent_hash: self.truth.head.hash_slow(), blocks };
        let content = batch::encode_content(&batch, L2_CHAIN_ID);
        batch::payload(&zstd::bulk::compress(&content, 1).expect("memory"))
    }

    /// Forced items that the newest block has consumed.
    pub fn consumed(&self) -> u64 {
        let extra = ExtraData::decode(&self.truth.head.extra_data);
        extra.expect("a header of the chain").forced_count
    }

    /// Next nonce of a user on L2.
    pub fn nonce(&self, user: u64) -> u64 {
        self.truth.account(address(user)).map_or(0, |account| account.nonce)
    }

    /// A batch of one block, with this many forced items and these transactions.
    pub fn batch(&mut self, forced: u64, transactions: Vec<Transaction>) {
        let up_to = self.consumed() + forced;
        let data = self.payload(vec![self.block(forced, transactions)]);
        self.post(up_to, data);
    }
}
