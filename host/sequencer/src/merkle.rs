//! The root of a promise (`annex_types::promise::root`), many messages being hashed at once: it is computed on the
//! executor's thread, before any answer.

use alloy_primitives::B256;
use annex_state::keccak256_all;

/// Root over pairs of a transaction's hash and its encoded receipt.
pub(crate) fn root<T: AsRef<[u8]>>(hashes: impl Iterator<Item = B256>, receipts: &[T]) -> B256 {
    let receipts = keccak256_all(receipts);
    let leaves: Vec<_> = hashes.zip(receipts).map(|(tx, receipt)| tagged(0, tx, receipt)).collect();
    let mut level = keccak256_all(&leaves);
    while level.len() > 1 {
        let (pairs, odd) = level.as_chunks::<2>();
        let nodes: Vec<_> = pairs.iter().map(|[left, right]| tagged(1, *left, *right)).collect();
        let mut above = keccak256_all(&nodes);
        above.extend(odd);
        level = above;
    }
    level.first().copied().unwrap_or_default()
}

fn tagged(tag: u8, left: B256, right: B256) -> [u8; 65] {
    let mut preimage = [tag; 65];
    preimage[1..33].copy_from_slice(left.as_slice());
    preimage[33..].copy_from_slice(right.as_slice());
    preimage
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use annex_types::promise;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn is_the_root_of_the_specification(group in vec((any::<[u8; 32]>(), vec(any::<u8>(), 1..400)), 0..70)) {
            let leaves: Vec<B256> = group
                .iter()
                .map(|(hash, receipt)| promise::leaf(B256::from(*hash), keccak256(receipt)))
                .collect();
            let receipts: Vec<_> = group.iter().map(|(_, receipt)| receipt).collect();
            let hashes = group.iter().map(|(hash, _)| B256::from(*hash));
            prop_assert_eq!(root(hashes, &receipts), promise::root(&leaves));
        }
    }
}
