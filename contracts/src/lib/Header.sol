// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";

/// @notice Headers of L2's blocks and the output roots that they make (spec/block.md).
library Header {
    using RLP for Memory.Slice;

    uint256 private constant FIELDS = 21;
    uint256 private constant STATE_ROOT = 3;
    uint256 private constant NUMBER = 8;
    uint256 private constant WITHDRAWALS_ROOT = 16;

    /// Not the RLP of a header of spec/block.md.
    error BadHeader();

    /// @notice Opens the RLP of a header.
    /// @dev What it reads of a header is fixed by the header's hash, which is part of the output root; how tolerant it is of
    ///      others therefore decides nothing. Reverts with OpenZeppelin's `RLPInvalidEncoding` on what is no RLP.
    function outputOf(bytes memory header) internal pure returns (bytes32 outputRoot, uint64 number) {
        Memory.Slice[] memory fields = RLP.decodeList(header);
        if (fields.length != FIELDS) revert BadHeader();
        uint256 height = fields[NUMBER].readUint256();
        if (height > type(uint64).max) revert BadHeader();
        number = uint64(height);
        outputRoot = keccak256(
            abi.encode(bytes32(0), _word(fields[STATE_ROOT]), _word(fields[WITHDRAWALS_ROOT]), keccak256(header))
        );
    }

    function _word(Memory.Slice field) private pure returns (bytes32) {
        bytes memory content = field.readBytes();
        if (content.length != 32) revert BadHeader();
        return bytes32(content);
    }
}
