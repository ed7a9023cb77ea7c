// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Leaves of the chain (spec/claim.md).
library Leaf {
    bytes32 private constant FAULT = keccak256("annex.leaf.fault.v1");

    /// The opening is not the leaf's.
    error BadOpening();

    /// @notice The leaf of an output root and the cursor that derivation goes on from.
    function hash(bytes32 outputRoot, uint64 record, uint64 blockIndex, uint64 forced) internal pure returns (bytes32) {
        return keccak256(abi.encode(outputRoot, record, blockIndex, forced));
    }

    /// @notice What comes after `leaf` if the program fails on it.
    function fault(bytes32 leaf) internal pure returns (bytes32) {
        return keccak256(abi.encode(FAULT, leaf));
    }

    /// @notice The record that a leaf's cursor names; the highest number for a FAULT leaf.
    /// @param opening `abi.encode(outputRoot, record, block, forced)`, or the 32 bytes of the leaf of which it is FAULT.
    function recordOf(bytes32 leaf, bytes calldata opening) internal pure returns (uint256) {
        if (opening.length == 32) {
            if (fault(bytes32(opening)) != leaf) revert BadOpening();
            return type(uint256).max;
        }
        if (opening.length != 128 || keccak256(opening) != leaf) revert BadOpening();
        return uint256(bytes32(opening[32:]));
    }
}
