// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Headers of L2's blocks and the output roots that they make (spec/block.md).
library Header {
    uint256 private constant FIELDS = 21;
    uint256 private constant STATE_ROOT = 3;
    uint256 private constant NUMBER = 8;
    uint256 private constant WITHDRAWALS_ROOT = 16;
    /// Prefix of a string of 32 bytes.
    uint256 private constant WORD = 0xa0;

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

        cursor = _skip(cursor, end, STATE_ROOT);
        if (_byte(cursor) != WORD) revert BadHeader();
        bytes32 stateRoot = bytes32(_load(cursor + 1));
        cursor = _skip(cursor, end, NUMBER - STATE_ROOT);
        uint256 prefix = _byte(cursor);
        if (prefix > 0x88) revert BadHeader();
        number = uint64(prefix < 0x80 ? prefix : _load(cursor + 1) >> 256 - 8 * (prefix - 0x80));
        cursor = _skip(cursor, end, WITHDRAWALS_ROOT - NUMBER);
        if (_byte(cursor) != WORD) revert BadHeader();
        bytes32 withdrawalsRoot = bytes32(_load(cursor + 1));
        if (_skip(cursor, end, FIELDS - WITHDRAWALS_ROOT) != end) revert BadHeader();
        outputRoot = keccak256(abi.encode(bytes32(0), stateRoot, withdrawalsRoot, keccak256(header)));
    }

    /// @dev Where the `count`th string from `cursor` begins, or the list ends.
    function _skip(uint256 cursor, uint256 end, uint256 count) private pure returns (uint256) {
        unchecked {
            for (; count > 0; --count) {
                if (cursor >= end) revert BadHeader();
                uint256 prefix = _byte(cursor);
                if (prefix < 0x80) cursor += 1;
                else if (prefix < 0xb8) cursor += prefix - 0x7f;
                else if (prefix == 0xb9) cursor += 3 + (_load(cursor + 1) >> 240);
                else revert BadHeader();
            }
            return cursor;
        }
    }

    function _byte(uint256 place) private pure returns (uint256) {
        return _load(place) >> 248;
    }

    function _load(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }
}
