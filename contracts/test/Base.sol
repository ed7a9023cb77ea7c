// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {Vm} from "./Vm.sol";
import {Claims} from "../src/l1/Claims.sol";
import {Config} from "../src/l1/Config.sol";
import {ExitMarket} from "../src/l1/ExitMarket.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {L1StandardBridge} from "../src/l1/L1StandardBridge.sol";
import {Lease} from "../src/l1/Lease.sol";
import {Machine} from "../src/l1/Machine.sol";
import {Portal} from "../src/l1/Portal.sol";
import {PreimageOracle} from "../src/l1/PreimageOracle.sol";
import {Tournament} from "../src/l1/Tournament.sol";

/// @notice Assertions, and the L1 contracts deployed as spec/deployment.md says.
abstract contract Base {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    address internal constant LEADER = address(0x1ead);
    address internal constant SIGNER = address(0x5160);
    address internal constant STRANGER = address(0x57a6);
    bytes32 internal constant EMPTY_ROOT = 0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421;
    uint64 internal constant CLAIM_INTERVAL = 10;
    uint64 internal constant CHALLENGE_WINDOW = 60;
    uint64 internal constant MOVE_GRACE = 10;
    uint128 internal constant BOND = 0.25 ether;

    Inbox internal inbox;
    Lease internal lease;
    Portal internal portal;
    L1StandardBridge internal bridge;
    Claims internal claims;
    ExitMarket internal exitMarket;

    error Different(string what, uint256 actual, uint256 expected);
    error False(string what);

    function deployL1(address leader) internal {
        uint256 nonce = vm.getNonce(address(this));
        lease = new Lease(leader, SIGNER);
        Config memory config = developmentConfig();
        config.lease = address(lease);
        config.portal = vm.computeCreateAddress(address(this), nonce + 2);
        config.l1StandardBridge = vm.computeCreateAddress(address(this), nonce + 3);
        inbox = new Inbox(config, keccak256(genesisHeader()));
        Claims claims_ = Claims(vm.computeCreateAddress(address(this), nonce + 7));
        portal = new Portal(address(inbox), config.l2ChainId, claims_);
        bridge = new L1StandardBridge(payable(portal));
        Machine machine_ = new Machine(new PreimageOracle());
        Tournament tournament_ = new Tournament(tournamentSettings(address(claims_), machine_));
        claims = new Claims(inbox, tournament_, CLAIM_INTERVAL, genesisHeader());
        exitMarket = new ExitMarket(portal);
        check(address(portal) == config.portal && address(bridge) == config.l1StandardBridge, "precomputed addresses");
        check(address(claims) == address(claims_), "precomputed address of Claims");
    }

    function tournamentSettings(address claims_, Machine machine_)
        internal
        view
        returns (Tournament.Settings memory settings)
    {
        settings.claims = claims_;
        settings.inbox = address(inbox);
        settings.machine = address(machine_);
        settings.bootMemoryRoot = keccak256("boot memory");
        settings.bootPc = 0x10000;
        settings.challengeWindow = CHALLENGE_WINDOW;
        settings.moveGrace = MOVE_GRACE;
        settings.bond = BOND;
        settings.refundGasPrice = 30 gwei;
    }

    function genesisHeader() internal pure returns (bytes memory) {
        return header(0, keccak256("genesis state"), EMPTY_ROOT);
    }

    /// The RLP of a header of spec/block.md, of which most fields matter to nobody here.
    function header(uint256 number, bytes32 stateRoot, bytes32 withdrawalsRoot) internal pure returns (bytes memory) {
        bytes[] memory fields = new bytes[](21);
        for (uint256 i; i < fields.length; ++i) fields[i] = RLP.encode(uint256(0));
        fields[0] = RLP.encode(keccak256(abi.encode("parent", number)));
        fields[1] = RLP.encode(bytes32(0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347));
        fields[2] = RLP.encode(LEADER);
        fields[3] = RLP.encode(stateRoot);
        fields[4] = RLP.encode(EMPTY_ROOT);
        fields[5] = RLP.encode(EMPTY_ROOT);
        fields[6] = RLP.encode(new bytes(256));
        fields[8] = RLP.encode(number);
        fields[9] = RLP.encode(uint256(30_000_000));
        fields[11] = RLP.encode(1_760_000_000 + number);
        fields[12] = RLP.encode(new bytes(27));
        fields[13] = RLP.encode(keccak256("randao"));
        fields[14] = RLP.encode(new bytes(8));
        fields[15] = RLP.encode(uint256(10_000_000));
        fields[16] = RLP.encode(withdrawalsRoot);
        fields[19] = RLP.encode(bytes32(0));
        fields[20] = RLP.encode(sha256(""));
        return RLP.encode(fields);
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
