// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Under which address an L1 sender acts on L2.
library Alias {
    uint160 private constant OFFSET = uint160(0x1111000000000000000000000000000000001111);

    /// @notice The address of an L1 contract on L2, chosen so that it cannot pose as whoever has its own address there.
    function aliased(address l1Contract) internal pure returns (address) {
        unchecked {
            return address(uint160(l1Contract) + OFFSET);
        }
    }

    /// @notice Whether the caller of this contract has a key. An account whose code is an EIP-7702 delegation does, and has
    ///         the same address on L2; a contract under construction has no code either, but is not the origin.
    function senderHasKey() internal view returns (bool) {
        if (msg.sender == tx.origin) return true;
        bytes memory code = msg.sender.code;
        return code.length == 23 && bytes3(code) == bytes3(0xef0100);
    }
}
