// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The address under which an L1 contract acts on L2, so that it cannot pose as whoever has its address there.
library Alias {
    uint160 private constant OFFSET = uint160(0x1111000000000000000000000000000000001111);

    function aliased(address l1Contract) internal pure returns (address) {
        unchecked {
            return address(uint160(l1Contract) + OFFSET);
        }
    }
}
