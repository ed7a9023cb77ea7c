// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Leaves of the chain (spec/claim.md).
library Leaf {
    bytes32 private constant FAULT = keccak256("annex.leaf.fault.v1");

    /// @notice The leaf of an output root and the cursor that derivation goes on from.
    function hash(bytes32 outputRoot, uint64 record, uint64 blockIndex, uint64 forced) internal pure returns (bytes32) {
        return keccak256(abi.encode(outputRoot, record, blockIndex, forced));
    }

    /// @notice What comes after `leaf` if the program fails on it.
    function fault(bytes32 leaf) internal pure returns (bytes32) {
        return keccak256(abi.encode(FAULT, leaf));
    }
}
