//! Type-3 transactions in the network form of EIP-7594: `0x03 ‖ rlp([tx, 1, blobs, commitments, cell proofs])`.

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{Signed, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::eip7594::{
    BlobTransactionSidecarEip7594, BlobTransactionSidecarVariant, MAX_BLOBS_PER_TX_FUSAKA,
};
use annex_evm::InvalidTransaction;
use annex_rpc::Rejected;
use c_kzg::KzgSettings;

/// Blobs, commitments and cell proofs of one transaction.
pub type Sidecar = BlobTransactionSidecarEip7594;

/// Most blobs of one transaction (EIP-7594).
pub const MAX_BLOBS_PER_TX: usize = MAX_BLOBS_PER_TX_FUSAKA as usize;

/// Bytes of one blob transaction, as in geth's pool: six blobs with their proofs, and the rest.
const MAX_RAW: usize = 1024 * 1024;

/// Mainnet's trusted setup. The first call takes some hundred milliseconds.
pub fn kzg() -> &'static KzgSettings {
    // Precomputed tables only speed up the making of cell proofs, at 100 MB of memory.
    c_kzg::ethereum_kzg_settings(0)
}

/// Decodes the network form. The caller verifies the sidecar.
pub fn decode(raw: &[u8]) -> Result<(Signed<TxEip4844>, Sidecar), Rejected> {
    type Networked = TxEip4844WithSidecar<BlobTransactionSidecarVariant>;
    if raw.len() > MAX_RAW {
        return Err(Rejected::Oversized { size: raw.len(), limit: MAX_RAW });
    }
    let mut rest = raw;
    let Ok(signed) = Networked::eip2718_decode(&mut rest) else {
        let bare = TxEip4844::eip2718_decode(&mut &*raw).is_ok();
        return Err(if bare { Rejected::MissingSidecar } else { Rejected::Malformed });
    };
    if !rest.is_empty() {
        return Err(Rejected::Malformed);
    }
    // The hash that was decoded is the network form's.
    let (networked, signature, _) = signed.into_parts();
    let (tx, sidecar) = networked.into_parts();
    match sidecar {
        BlobTransactionSidecarVariant::Eip4844(_) => Err(Rejected::SidecarVersion),
        BlobTransactionSidecarVariant::Eip7594(sidecar) => {
            Ok((Signed::new_unhashed(tx, signature), sidecar))
        }
    }
}

/// Checks counts, versioned hashes and all cell proofs.
pub fn verify(tx: &TxEip4844, sidecar: &Sidecar) -> Result<(), Rejected> {
    let count = tx.blob_versioned_hashes.len();
    if count == 0 {
        return Err(InvalidTransaction::NoBlobs.into());
    }
    if count > MAX_BLOBS_PER_TX {
        return Err(InvalidTransaction::TooManyBlobs { count, limit: MAX_BLOBS_PER_TX }.into());
    }
    if sidecar.blobs.len() != count || sidecar.commitments.len() != count {
        return Err(Rejected::BlobSidecar);
    }
    let valid = sidecar.validate(&tx.blob_versioned_hashes, kzg());
    valid.map_err(|_| Rejected::BlobSidecar)
}
