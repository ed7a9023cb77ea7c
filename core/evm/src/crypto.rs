//! What precompiles compute with in the guest. With the feature `host` they are the EVM library's C libraries instead.

use alloy_primitives::{B256, keccak256};
use annex_types::secp256k1;
use revm::precompile::interface::{Crypto, PrecompileHalt, install_crypto};

/// The EVM library's Rust implementations, but for signature recovery: its own verifies once more.
#[derive(Debug)]
struct Lean;

impl Crypto for Lean {
    fn secp256k1_ecrecover(
        &self,
        signature: &[u8; 64],
        recovery_id: u8,
        message: &[u8; 32],
    ) -> Result<[u8; 32], PrecompileHalt> {
        let key = secp256k1::recover(signature, recovery_id == 1, B256::from(*message));
        let mut hash = keccak256(key.ok_or(PrecompileHalt::Secp256k1RecoverFailed)?);
        hash[..12].fill(0);
        Ok(hash.0)
    }
}

/// Before the first transaction; once is enough.
pub(crate) fn install() {
    // Whoever came first installed the same.
    let _first = install_crypto(Lean);
}
