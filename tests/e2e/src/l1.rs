//! Transactions on L1, by whoever has a key there.

use crate::{GWEI, Inbox, Rpc, Wallet, eventually, number, seconds};
use alloy_consensus::{SignableTransaction, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4844::Blob;
use alloy_eips::eip7594::BlobTransactionSidecarEip7594;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_signer::SignerSync;
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use std::time::Duration;

/// No block for so long: whatever was being mined is there.
const REST: Duration = Duration::from_millis(300);

/// A call on L1, not sent yet.
#[derive(Clone, Debug, Default)]
pub struct L1Call {
    pub to: Address,
    pub value: U256,
    pub input: Bytes,
    pub blobs: Vec<Blob>,
}

impl L1Call {
    /// A batch in calldata.
    pub fn calldata_batch(inbox: Address, forced_up_to: u64, data: Vec<u8>) -> Self {
        let forced_up_to = U256::from(forced_up_to);
        let call = Inbox::submitCalldataCall { forcedUpTo: forced_up_to, data: data.into() };
        Self { to: inbox, input: call.abi_encode().into(), ..Self::default() }
    }

    /// A batch in blobs.
    pub fn blob_batch(inbox: Address, forced_up_to: u64, blobs: Vec<Blob>) -> Self {
        let call = Inbox::submitCall { forcedUpTo: U256::from(forced_up_to) };
        Self { to: inbox, input: call.abi_encode().into(), blobs, ..Self::default() }
    }

    /// Sends it with the key's next nonce, simulating nothing, and waits for the receipt.
    #[track_caller]
    pub fn send(self, l1: &Rpc, wallet: &Wallet) -> Value {
        let chain_id = number(&l1.get_result("eth_chainId", json!([])));
        let wallet = Wallet { chain_id, signer: wallet.signer.clone() };
        let count = json!([wallet.address(), "pending"]);
        let nonce = number(&l1.get_result("eth_getTransactionCount", count));
        let encoded = self.sign(&wallet, nonce);
        let hash = l1.get_result("eth_sendRawTransaction", json!([encoded]));
        let hash = hash.as_str().expect("a hash");
        eventually("the L1 receipt", seconds(60), || l1.receipt(hash))
    }

    fn sign(self, wallet: &Wallet, nonce: u64) -> Bytes {
        let mut plain = wallet.transaction(nonce, self.to.into(), self.value);
        plain.gas_limit = 5_000_000;
        plain.max_priority_fee_per_gas = GWEI;
        plain.input = self.input;
        if self.blobs.is_empty() {
            return wallet.sign(plain);
        }
        // The first call in a process decides on tables: without, it takes a tenth of the memory.
        let settings = c_kzg::ethereum_kzg_settings(0);
        let sidecar =
            BlobTransactionSidecarEip7594::try_from_blobs_with_settings(self.blobs, settings);
        let sidecar = sidecar.expect("field elements below the modulus");
        let tx = TxEip4844 {
            chain_id: plain.chain_id,
            nonce,
            gas_limit: plain.gas_limit,
            max_fee_per_gas: plain.max_fee_per_gas,
            max_priority_fee_per_gas: plain.max_priority_fee_per_gas,
            to: self.to,
            value: plain.value,
            access_list: Default::default(),
            blob_versioned_hashes: sidecar.versioned_hashes().collect(),
            max_fee_per_blob_gas: 10 * GWEI,
            input: plain.input,
        };
        let signature = wallet.signer.sign_hash_sync(&tx.signature_hash());
        let tx = TxEip4844WithSidecar { tx, sidecar };
        tx.into_signed(signature.expect("a local key signs")).encoded_2718().into()
    }
}

/// Index of the Inbox's record that an L1 transaction appended.
#[track_caller]
pub fn record_of(receipt: &Value) -> u64 {
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    let event = "Record(uint256,bytes32,bytes32,uint64,uint64,uint256,uint256,bytes32,bytes)";
    let topic = json!(keccak256(event));
    let logs = receipt["logs"].as_array().expect("logs");
    let log = logs.iter().find(|log| log["topics"][0] == topic);
    let index = &log.unwrap_or_else(|| panic!("no record: {receipt}"))["topics"][1];
    index.as_str().expect("a topic").parse::<U256>().expect("a number").to()
}

/// L1 takes its newest `depth` blocks back and makes others: with `transactions`, pairs of a signed one and which of the new blocks
/// it goes to. Nothing is mined meanwhile: between taking back and making, Anvil lets others mine, and the numbers of what it took
/// back are without blocks from then on.
#[track_caller]
pub fn reorganise(l1: &Rpc, depth: u64, transactions: Value) {
    let interval = l1.get_result("anvil_getIntervalMining", json!([]));
    let automine = l1.get_result("anvil_getAutomine", json!([]));
    l1.get_result("evm_setIntervalMining", json!([0]));
    l1.get_result("evm_setAutomine", json!([false]));
    let head = resting_head(l1);
    l1.get_result("anvil_reorg", json!([depth, transactions]));
    let mut parent = l1.block(format!("{:#x}", head - depth))["hash"].clone();
    for number in head - depth + 1..=head {
        let block = l1.block(format!("{number:#x}"));
        assert_eq!(block["parentHash"], parent, "block {number} after a reorganisation");
        parent = block["hash"].clone();
    }
    if let Some(seconds) = interval.as_u64().filter(|seconds| *seconds > 0) {
        l1.get_result("evm_setIntervalMining", json!([seconds]));
    }
    if automine == true {
        l1.get_result("evm_setAutomine", json!([true]));
    }
}

/// The newest block, once there are no more.
fn resting_head(l1: &Rpc) -> u64 {
    let mut head = l1.block_number("latest");
    loop {
        std::thread::sleep(REST);
        match l1.block_number("latest") {
            same if same == head => return head,
            newer => head = newer,
        }
    }
}
