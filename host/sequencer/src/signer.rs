//! The key that signs promises.

use alloy_primitives::{Address, B256, Signature, U256, keccak256};
use alloy_sol_types::Eip712Domain;
use annex_types::promise::{self, Promise, SignedPromise};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};

/// Holds the promise key; erased on drop, never printed.
pub struct PromiseSigner {
    key: SecretKey,
    address: Address,
    domain: Eip712Domain,
}

/// The bytes are no secp256k1 secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key: 32 bytes between 1 and the curve order are needed")]
pub struct KeyError;

impl PromiseSigner {
    pub fn new(secret: &B256, domain: Eip712Domain) -> Result<Self, KeyError> {
        let key = SecretKey::from_byte_array(secret.0).map_err(|_| KeyError)?;
        let public = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
        let address = Address::from_slice(&keccak256(&public[1..])[12..]);
        Ok(Self { key, address, domain })
    }

    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether this key signed it.
    pub fn made(&self, signed: &SignedPromise) -> bool {
        signed.signer(&self.domain) == Ok(self.address)
    }

    /// EIP-712 digest of a promise.
    pub fn digest(&self, promise: &Promise) -> B256 {
        promise::digest(promise, &self.domain)
    }

    /// Signs and returns the digest, which the next promise names.
    pub fn sign(&self, promise: Promise) -> (SignedPromise, B256) {
        let digest = promise::digest(&promise, &self.domain);
        let message = Message::from_digest(digest.0);
        let (id, rs) = SECP256K1.sign_ecdsa_recoverable(message, &self.key).serialize_compact();
        let (r, s) = (U256::from_be_slice(&rs[..32]), U256::from_be_slice(&rs[32..]));
        let signature = Signature::new(r, s, i32::from(id) & 1 == 1);
        (SignedPromise { promise, signature }, digest)
    }
}

impl Drop for PromiseSigner {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

impl std::fmt::Debug for PromiseSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromiseSigner").field("address", &self.address).finish_non_exhaustive()
    }
}
