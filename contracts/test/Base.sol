// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";
import {Config} from "../src/l1/Config.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {L1StandardBridge} from "../src/l1/L1StandardBridge.sol";
import {Lease} from "../src/l1/Lease.sol";
import {Portal} from "../src/l1/Portal.sol";

/// @notice Assertions, and the L1 contracts deployed as spec/deployment.md says.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    address internal constant LEADER = address(0x1ead);
    address internal constant SIGNER = address(0x5160);
    address internal constant STRANGER = address(0x57a6);
    bytes32 internal constant GENESIS_HASH = keccak256("genesis block");

    Inbox internal inbox;
    Lease internal lease;
    Portal internal portal;
    L1StandardBridge internal bridge;

    error Different(string what, uint256 actual, uint256 expected);
    error False(string what);

    function deployL1(address leader) internal {
        uint256 nonce = vm.getNonce(address(this));
        lease = new Lease(leader, SIGNER);
        Config memory config = developmentConfig();
        config.lease = address(lease);
        config.portal = vm.computeCreateAddress(address(this), nonce + 2);
        config.l1StandardBridge = vm.computeCreateAddress(address(this), nonce + 3);
        inbox = new Inbox(config, GENESIS_HASH);
        portal = new Portal(address(inbox), config.l2ChainId);
        bridge = new L1StandardBridge(payable(portal));
        check(address(portal) == config.portal && address(bridge) == config.l1StandardBridge, "precomputed addresses");
    }

    function developmentConfig() internal pure returns (Config memory config) {
        config.l2ChainId = 901;
        config.forcedDelay = 20;
        config.livenessWindow = 60;
        config.maxOriginLag = 600;
        config.timestampDrift = 5;
        config.gasTargetPerSecond = 480_000_000;
        config.baseFeeScalar = 200_000;
        config.blobBaseFeeScalar = 1_050_000;
        config.genesisTimestamp = 1_760_000_000;
    }

    /// Moves to the next L1 block, `elapsed` seconds later.
    function nextBlock(uint256 elapsed) internal {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + elapsed);
    }

    function oneBlob() internal {
        bytes32[] memory hashes = new bytes32[](1);
        hashes[0] = bytes32(uint256(1) << 248 | 7);
        vm.blobhashes(hashes);
    }

    function check(bool condition, string memory what) internal pure {
        if (!condition) revert False(what);
    }

    function equal(uint256 actual, uint256 expected, string memory what) internal pure {
        if (actual != expected) revert Different(what, actual, expected);
    }

    function equal(bytes32 actual, bytes32 expected, string memory what) internal pure {
        if (actual != expected) revert Different(what, uint256(actual), uint256(expected));
    }

    function equal(address actual, address expected, string memory what) internal pure {
        if (actual != expected) revert Different(what, uint160(actual), uint160(expected));
    }

    function equal(bytes memory actual, bytes memory expected, string memory what) internal pure {
        equal(keccak256(actual), keccak256(expected), what);
    }

    function bound(uint256 x, uint256 min, uint256 max) internal pure returns (uint256) {
        return min + x % (max - min + 1);
    }
}
