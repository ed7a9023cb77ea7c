use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::{B256, Bytes, U256, uint};
use annex_l1::contracts::PreimageOracle::loadBlobElementCall;
use c_kzg::{Blob, Bytes32, KzgCommitment, KzgSettings};
use rand::Rng;

/// Field elements of a blob.
pub const ELEMENTS: usize = 4_096;

/// Order of the scalar field of BLS12-381.
const MODULUS: U256 =
    uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256);
/// Generator of the field's units.
const GENERATOR: U256 = uint!(7_U256);

/// A blob with its commitment.
#[derive(Debug)]
pub struct TestBlob {
    blob: Blob,
    pub commitment: KzgCommitment,
    pub versioned_hash: B256,
}

/// An element of a blob and what shows that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub index: usize,
    pub element: B256,
    pub commitment: Bytes,
    pub proof: Bytes,
}

fn kzg() -> &'static KzgSettings {
    c_kzg::ethereum_kzg_settings(0)
}

/// An element below the modulus.
pub fn random_element(rng: &mut impl Rng) -> B256 {
    B256::from(U256::from_be_bytes(rng.random::<[u8; 32]>()) % MODULUS)
}

impl TestBlob {
    pub fn new(element: impl FnMut(usize) -> B256) -> Self {
        let bytes: Vec<u8> = (0..ELEMENTS).map(element).flat_map(|it| it.0).collect();
        let blob = Blob::from_bytes(&bytes).expect("elements are all of it");
        let commitment = kzg().blob_to_kzg_commitment(&blob).expect("elements are canonical");
        let versioned_hash = kzg_to_versioned_hash(commitment.as_slice());
        Self { blob, commitment, versioned_hash }
    }

    pub fn element(&self, index: usize) -> B256 {
        B256::from_slice(&self.blob.as_slice()[32 * index..32 * (index + 1)])
    }

    /// Opens the blob where the specification of EIP-4844 puts the element: at the root of unity whose power is the index with
    /// its twelve bits reversed. That the library finds the element there shows that this point is the right one.
    pub fn open(&self, index: usize) -> Opening {
        let order = U256::from(ELEMENTS);
        let root = GENERATOR.pow_mod((MODULUS - U256::from(1)) / order, MODULUS);
        let reversed = (index as u16).reverse_bits() >> 4;
        let point = root.pow_mod(U256::from(reversed), MODULUS);
        let point = Bytes32::new(point.to_be_bytes());
        let (proof, element) = kzg().compute_kzg_proof(&self.blob, &point).expect("a point");
        assert_eq!(element.as_slice(), self.element(index).as_slice(), "element {index}");
        Opening {
            index,
            element: self.element(index),
            commitment: Bytes::copy_from_slice(self.commitment.as_slice()),
            proof: Bytes::copy_from_slice(proof.to_bytes().as_slice()),
        }
    }
}

impl Opening {
    pub fn call(&self, versioned_hash: B256) -> loadBlobElementCall {
        loadBlobElementCall {
            versionedHash: versioned_hash,
            index: U256::from(self.index),
            element: self.element,
            commitment: self.commitment.clone(),
            proof: self.proof.clone(),
        }
    }
}
