// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.24;

import {Builder, Vault} from "../src/Vault.sol";

interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

/// @notice Two vaults, one by CREATE2 through the deployer that every chain has, and calls between them.
contract Deploy {
    // solhint-disable-next-line const-name-snakecase
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    bool public constant IS_SCRIPT = true;

    function run(bytes32 salt) external returns (Vault one, Vault two) {
        vm.startBroadcast();
        one = new Vault{value: 5}("one");
        two = new Vault{salt: salt}("two");
        one.keep{value: 7}("more");
        one.take(4);
        new Builder().build(salt);
        two.keep{value: 1}(string(new bytes(2_000)));
        vm.stopBroadcast();
    }
}
