// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Leaf} from "./Leaf.sol";

/// @notice States of the machine in which the program begins and ends (spec/machine.md, "State hash").
library State {
    uint256 private constant LENGTH = 384;
    /// `W_8` of a machine that has exited with code 0.
    uint256 private constant SUCCESS = 1 << 8;
    /// Program counter, x1, the stack pointer x2, x3: the first word of a state.
    uint256 private constant STACK_POINTER = 0xfffff000;

    /// The state is not what the hash names.
    error BadState();

    /// @notice Hash of the state in which a program starts.
    /// @param pc Its entry.
    /// @param memoryRoot Root of its memory at boot.
    /// @param input What it is given.
    function boot(uint64 pc, bytes32 memoryRoot, bytes32 input) internal pure returns (bytes32) {
        bytes32[12] memory words;
        words[0] = bytes32(uint256(pc) << 192 | STACK_POINTER << 64);
        words[9] = memoryRoot;
        words[10] = input;
        return keccak256(abi.encode(words));
    }

    /// @notice The leaf that the last state of a run stands for.
    /// @param leaf Where the run began.
    /// @param hash The last state's.
    /// @param state Its 384 bytes.
    function leafAfter(bytes32 leaf, bytes32 hash, bytes calldata state) internal pure returns (bytes32) {
        if (state.length != LENGTH || keccak256(state) != hash) revert BadState();
        if (uint256(bytes32(state[256:])) != SUCCESS) return Leaf.fault(leaf);
        return bytes32(state[352:]);
    }
}
