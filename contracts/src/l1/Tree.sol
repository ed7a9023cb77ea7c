// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Binary trees of a fixed height whose inner nodes are the hashes of their children.
library Tree {
    function pair(bytes32 left, bytes32 right) internal pure returns (bytes32 node) {
        assembly ("memory-safe") {
            mstore(0, left)
            mstore(32, right)
            node := keccak256(0, 64)
        }
    }

    /// @notice Children of the root of a tree by its last leaf.
    /// @param path The siblings of the leaf, from its own up; at least one.
    function children(bytes32 last, bytes32[] calldata path) internal pure returns (bytes32 left, bytes32 right) {
        right = last;
        uint256 top = path.length - 1;
        for (uint256 i = 0; i < top; ++i) {
            right = pair(path[i], right);
        }
        left = path[top];
    }

    /// @notice Root of a tree by a leaf.
    /// @param path The siblings of the leaf, from its own up.
    function root(bytes32 leaf, uint256 index, bytes32[] calldata path) internal pure returns (bytes32 node) {
        node = leaf;
        for (uint256 i = 0; i < path.length; ++i) {
            node = index & 1 == 0 ? pair(node, path[i]) : pair(path[i], node);
            index >>= 1;
        }
    }
}
