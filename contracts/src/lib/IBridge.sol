// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What the two standard bridges call on each other. `local` and `remote` are as the callee sees them.
interface IBridge {
    function finalizeBridgeETH(address from, address to, uint256 amount, bytes calldata extraData) external payable;

    function finalizeBridgeERC20(
        address localToken,
        address remoteToken,
        address from,
        address to,
        uint256 amount,
        bytes calldata extraData
    ) external;
}
