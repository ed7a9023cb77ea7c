// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What L2 knows of L1: the environment of the block's origin record. The chain writes slots 0 to 6 before every
///         block and genesis sets 7 and 8; no transaction writes here (spec/block.md). Getters are the OP Stack's.
contract L1Block {
    uint256 private _number;
    uint256 private _timestamp;
    uint256 private _baseFee;
    uint256 private _blobBaseFee;
    bytes32 private _parentHash;
    uint256 private _originIndex;
    bytes32 private _originAccumulator;
    uint256 private _baseFeeScalar;
    uint256 private _blobBaseFeeScalar;

    /// @notice Number of the origin's L1 block.
    function number() external view returns (uint64) {
        return uint64(_number);
    }

    /// @notice Timestamp of the origin's L1 block.
    function timestamp() external view returns (uint64) {
        return uint64(_timestamp);
    }

    /// @notice Base fee of the origin's L1 block.
    function basefee() external view returns (uint256) {
        return _baseFee;
    }

    /// @notice Blob base fee of the origin's L1 block.
    function blobBaseFee() external view returns (uint256) {
        return _blobBaseFee;
    }

    /// @notice Hash of L1 block `number() - 1`, the newest that the origin can know.
    function hash() external view returns (bytes32) {
        return _parentHash;
    }

    /// @notice Index of the origin record in the Inbox.
    function originIndex() external view returns (uint256) {
        return _originIndex;
    }

    /// @notice Accumulator of the Inbox after the origin record.
    function originAccumulator() external view returns (bytes32) {
        return _originAccumulator;
    }

    /// @notice Scalar of the L1 base fee in the data fee (spec/fees.md).
    function baseFeeScalar() external view returns (uint64) {
        return uint64(_baseFeeScalar);
    }

    /// @notice Scalar of the blob base fee in the data fee (spec/fees.md).
    function blobBaseFeeScalar() external view returns (uint64) {
        return uint64(_blobBaseFeeScalar);
    }

    /// @notice Zero: Annex has no sequence number within an L1 block.
    function sequenceNumber() external pure returns (uint64) {
        return 0;
    }

    /// @notice Zero: whoever may submit is the Lease's matter.
    function batcherHash() external pure returns (bytes32) {
        return 0;
    }

    /// @notice Zero: replaced by the scalars.
    function l1FeeOverhead() external pure returns (uint256) {
        return 0;
    }

    /// @notice Zero: replaced by the scalars.
    function l1FeeScalar() external pure returns (uint256) {
        return 0;
    }

    /// @notice Zero: there is no operator fee.
    function operatorFeeScalar() external pure returns (uint32) {
        return 0;
    }

    /// @notice Zero: there is no operator fee.
    function operatorFeeConstant() external pure returns (uint64) {
        return 0;
    }
}
