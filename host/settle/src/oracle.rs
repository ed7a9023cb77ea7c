//! Preimage calls of the machine, and what makes the oracle on L1 answer them (spec/machine.md, "PreimageOracle").

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::SolCall;
use annex_claim::{Kind, Missing, PreimageSource, Preimages};
use annex_l1::contracts::PreimageOracle::{loadBlobElementCall, loadKeccakPartCall, readCall};

/// A preimage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preimage {
    pub kind: Kind,
    pub key: B256,
    pub offset: u32,
}

impl Preimage {
    /// Asks the oracle for it; it reverts while it has not been told.
    pub fn read(&self) -> readCall {
        let kind = match self.kind {
            Kind::Keccak => U256::ZERO,
            Kind::Blob => U256::ONE,
        };
        readCall { kind, key: self.key, offset: U256::from(self.offset) }
    }
}

/// What the oracle on L1 has to be told before it can answer a preimage call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Arguments of `loadKeccakPart`.
    Keccak { offset: U256, data: Bytes },
    /// Arguments of `loadBlobElement`.
    Blob { versioned_hash: B256, index: U256, element: B256, commitment: Bytes, proof: Bytes },
}

impl Part {
    /// The call of the oracle, with its arguments.
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Keccak { offset, data } => loadKeccakPartCall { offset, data }.abi_encode(),
            Self::Blob { versioned_hash, index, element, commitment, proof } => {
                let versionedHash = versioned_hash;
                loadBlobElementCall { versionedHash, index, element, commitment, proof }
                    .abi_encode()
            }
        }
    }
}

/// The part that a call reads; none where the oracle knows the answer anyway.
pub fn load_part(preimages: &Preimages, call: Preimage) -> Result<Option<Part>, PartError> {
    let Preimage { kind, key, offset } = call;
    match kind {
        Kind::Keccak => {
            let data = preimages.keccak(key)?;
            // Beyond the end any part will do: it tells the length.
            let offset = if offset as usize >= data.len() { 0 } else { offset };
            Ok(Some(Part::Keccak { offset: U256::from(offset), data }))
        }
        Kind::Blob => {
            let blob = preimages.blob(key)?;
            if offset as usize >= blob.len() {
                return Ok(None);
            }
            let index = offset / 32;
            let blob = c_kzg::Blob::from_bytes(blob.as_slice())?;
            let settings = c_kzg::ethereum_kzg_settings(0);
            let point = c_kzg::Bytes32::new(point_of(index).to_be_bytes());
            let commitment = settings.blob_to_kzg_commitment(&blob)?;
            let (proof, element) = settings.compute_kzg_proof(&blob, &point)?;
            Ok(Some(Part::Blob {
                versioned_hash: key,
                index: U256::from(index),
                element: B256::new(*element),
                commitment: Bytes::copy_from_slice(commitment.as_slice()),
                proof: Bytes::copy_from_slice(proof.as_slice()),
            }))
        }
    }
}

/// Why a part cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("KZG: {0}")]
    Kzg(#[from] c_kzg::Error),
}

/// Where a blob's polynomial takes the value of element `index` (spec/machine.md, "PreimageOracle").
fn point_of(index: u32) -> U256 {
    /// Order of the scalar field of BLS12-381.
    const MODULUS: U256 = alloy_primitives::uint!(
        0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256
    );
    /// EIP-4844's 4,096th root of unity.
    const ROOT: U256 = alloy_primitives::uint!(
        0x564c0a11a0f704f4fc3e8acfe0f8245f0ad1347b378fbf96e206da11a5d36306_U256
    );
    let reversed = (index << 20).reverse_bits();
    ROOT.pow_mod(U256::from(reversed), MODULUS)
}
