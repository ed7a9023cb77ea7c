// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice An L1 token's counterpart on L2, minted and burned by the bridge alone. ABI of the OP Stack.
contract MintableERC20 is ERC20 {
    /// @notice The bridge.
    address public immutable bridge;
    /// @notice The token on L1.
    address public immutable remoteToken;

    uint8 private immutable DECIMALS;

    event Mint(address indexed account, uint256 amount);
    event Burn(address indexed account, uint256 amount);

    error NotBridge();

    modifier onlyBridge() {
        if (msg.sender != bridge) revert NotBridge();
        _;
    }

    constructor(address bridge_, address remoteToken_, string memory name_, string memory symbol_, uint8 decimals_)
        ERC20(name_, symbol_)
    {
        bridge = bridge_;
        remoteToken = remoteToken_;
        DECIMALS = decimals_;
    }

    function mint(address to, uint256 amount) external onlyBridge {
        _mint(to, amount);
        emit Mint(to, amount);
    }

    function burn(address from, uint256 amount) external onlyBridge {
        _burn(from, amount);
        emit Burn(from, amount);
    }

    /// @notice As `remoteToken`.
    function l1Token() external view returns (address) {
        return remoteToken;
    }

    /// @notice As `bridge`.
    function l2Bridge() external view returns (address) {
        return bridge;
    }

    function decimals() public view override returns (uint8) {
        return DECIMALS;
    }
}
