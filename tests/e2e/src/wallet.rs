//! Keys and signed transactions.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::MnemonicBuilder;
use alloy_signer_local::PrivateKeySigner;
use alloy_signer_local::coins_bip39::English;

pub const GWEI: u128 = 1_000_000_000;
/// Wei.
pub const ETHER: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);
/// The mnemonic of every development chain's funded accounts.
pub const DEV_MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Account `index` of [`DEV_MNEMONIC`].
pub fn dev_key(index: u32) -> PrivateKeySigner {
    let path = format!("m/44'/60'/0'/0/{index}");
    MnemonicBuilder::<English>::default()
        .phrase(DEV_MNEMONIC)
        .derivation_path(&path)
        .and_then(|builder| builder.build())
        .expect("the usual path")
}

/// A key on a chain. It keeps no nonce: tests choose them.
#[derive(Clone, Debug)]
pub struct Wallet {
    pub signer: PrivateKeySigner,
    pub chain_id: u64,
}

impl Wallet {
    /// A key that nobody has used, the same for the same `seed` and `index`.
    pub fn fresh(chain_id: u64, seed: u64, index: u64) -> Self {
        let mut material = [0; 16];
        material[..8].copy_from_slice(&seed.to_be_bytes());
        material[8..].copy_from_slice(&index.to_be_bytes());
        let signer = PrivateKeySigner::from_bytes(&keccak256(material));
        Self { signer: signer.expect("a hash is a key"), chain_id }
    }

    pub fn dev(chain_id: u64, index: u32) -> Self {
        Self { signer: dev_key(index), chain_id }
    }

    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// `0x…`, as command lines take it.
    pub fn key(&self) -> String {
        hex::encode_prefixed(self.signer.to_bytes())
    }

    /// A call or creation with fees that a development chain takes.
    pub fn transaction(&self, nonce: u64, to: TxKind, value: U256) -> TxEip1559 {
        TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: 100_000,
            max_fee_per_gas: 10 * GWEI,
            max_priority_fee_per_gas: 0,
            to,
            value,
            ..TxEip1559::default()
        }
    }

    /// EIP-2718 encoding of the signed transaction.
    pub fn sign(&self, transaction: TxEip1559) -> Bytes {
        let signature = self.signer.sign_hash_sync(&transaction.signature_hash());
        let signed = transaction.into_signed(signature.expect("a local key signs"));
        TxEnvelope::from(signed).encoded_2718().into()
    }

    pub fn transfer(&self, nonce: u64, to: Address, value: U256) -> Bytes {
        self.sign(self.transaction(nonce, to.into(), value))
    }

    /// Hash of an encoded transaction.
    pub fn hash(encoded: &Bytes) -> B256 {
        keccak256(encoded)
    }
}
