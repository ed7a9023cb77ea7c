// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Headers of L2's blocks and the output roots that they make (spec/block.md).
library Header {
    uint256 private constant FIELDS = 21;
    uint256 private constant STATE_ROOT = 3;
    uint256 private constant NUMBER = 8;
    uint256 private constant WITHDRAWALS_ROOT = 16;

    /// Not the RLP of a header of spec/block.md.
    error BadHeader();

    /// @notice Opens the RLP of a header: a list of 256 to 65,535 bytes (the bloom alone has 256) of 21 strings.
    /// @dev What it reads of a header is fixed by the header's hash, which is part of the output root; how tolerant it is of
    ///      what no block has decides nothing. Written out because a general decoder costs 45,000 gas.
    function outputOf(bytes memory header) internal pure returns (bytes32 outputRoot, uint64 number) {
        uint256 cursor;
        uint256 end;
        assembly ("memory-safe") {
            cursor := add(header, 35)
            end := add(add(header, 32), mload(header))
        }
        if (header.length < 3 || header[0] != 0xf9 || _load(cursor - 2) >> 240 != header.length - 3) revert BadHeader();
        bytes32 stateRoot;
        bytes32 withdrawalsRoot;
        unchecked {
            // Lengths are below 2^16: no sum overflows.
            for (uint256 field; field < FIELDS; ++field) {
                if (cursor >= end) revert BadHeader();
                uint256 word = _load(cursor);
                uint256 length = word >> 248;
                if (length < 0x80) {
                    length = 1;
                } else if (length < 0xb8) {
                    length -= 0x80;
                    ++cursor;
                } else if (length == 0xb9) {
                    length = word << 8 >> 240;
                    cursor += 3;
                } else {
                    revert BadHeader();
                }
                if (field == STATE_ROOT || field == WITHDRAWALS_ROOT) {
                    if (length != 32) revert BadHeader();
                    if (field == STATE_ROOT) stateRoot = bytes32(_load(cursor));
                    else withdrawalsRoot = bytes32(_load(cursor));
                } else if (field == NUMBER) {
                    if (length > 8) revert BadHeader();
                    number = uint64(_load(cursor) >> 256 - 8 * length);
                }
                cursor += length;
            }
        }
        if (cursor != end) revert BadHeader();
        outputRoot = keccak256(abi.encode(bytes32(0), stateRoot, withdrawalsRoot, keccak256(header)));
    }

    function _load(uint256 cursor) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(cursor)
        }
    }
}
