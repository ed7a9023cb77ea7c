// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StorageProof} from "./StorageProof.sol";

/// @notice A call that L2 asks L1 for, as `L2ToL1MessagePasser` hashes it.
struct WithdrawalTransaction {
    uint256 nonce;
    address sender;
    address target;
    uint256 value;
    uint256 gasLimit;
    bytes data;
}

library Withdrawal {
    /// @notice The hash under which L2 remembers `tx_`.
    function hash(WithdrawalTransaction memory tx_) internal pure returns (bytes32) {
        return keccak256(abi.encode(tx_.nonce, tx_.sender, tx_.target, tx_.value, tx_.gasLimit, tx_.data));
    }

    /// @notice Whether `proof` shows `sentMessages[withdrawalHash]` in the storage of the message passer with root `storageRoot`.
    function isSent(bytes32 withdrawalHash, bytes32 storageRoot, bytes[] memory proof) internal pure returns (bool) {
        bytes32 slot = keccak256(abi.encode(withdrawalHash, uint256(0)));
        return StorageProof.holds(storageRoot, keccak256(abi.encode(slot)), 1, proof);
    }
}
