// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {Base} from "./Base.sol";
import {Claims} from "../src/l1/Claims.sol";
import {Portal} from "../src/l1/Portal.sol";
import {Tournament} from "../src/l1/Tournament.sol";
import {Withdrawal, WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

/// @notice L2 states with chosen withdrawals, claims for them, and time.
abstract contract WithdrawalBase is Base {
    address internal constant ALICE = address(0xa11ce);
    address internal constant BOB = address(0xb0b);
    address internal constant CLAIMER = address(0xc1a1);
    address internal constant LIAR = address(0x11a4);
    bytes32 internal constant STATE_ROOT = keccak256("state");

    Tournament internal tournament;
    uint256 private _nonce;
    uint256 private _block;

    /// A state of L2 that remembers these withdrawals.
    struct State {
        bytes header;
        uint256 number;
        bytes32 storageRoot;
        bytes32[] hashes;
    }

    function start() internal {
        vm.roll(100);
        vm.warp(1_760_000_000);
        vm.fee(1000 gwei);
        deployL1(LEADER);
        tournament = claims.tournament();
        vm.deal(address(this), 1_000_000 ether);
        nextBlock(12);
    }

    // Withdrawals

    function withdrawal(address sender, address target, uint256 value, uint256 gasLimit, bytes memory data)
        internal
        returns (WithdrawalTransaction memory)
    {
        return WithdrawalTransaction((uint256(1) << 240) + _nonce++, sender, target, value, gasLimit, data);
    }

    function one(WithdrawalTransaction memory w) internal pure returns (WithdrawalTransaction[] memory list) {
        list = new WithdrawalTransaction[](1);
        list[0] = w;
    }

    function two(WithdrawalTransaction memory a, WithdrawalTransaction memory b)
        internal
        pure
        returns (WithdrawalTransaction[] memory list)
    {
        list = new WithdrawalTransaction[](2);
        (list[0], list[1]) = (a, b);
    }

    function state(WithdrawalTransaction[] memory list) internal returns (State memory s) {
        s.hashes = new bytes32[](list.length);
        for (uint256 i; i < list.length; ++i) s.hashes[i] = Withdrawal.hash(list[i]);
        s.storageRoot = list.length == 0 ? EMPTY_ROOT : keccak256(node(keys(s.hashes), 0));
        s.number = ++_block;
        s.header = header(s.number, STATE_ROOT, s.storageRoot);
    }

    function outputProof(State memory s) internal pure returns (Portal.OutputRootProof memory) {
        return Portal.OutputRootProof(0, STATE_ROOT, s.storageRoot, keccak256(s.header));
    }

    function outputRoot(State memory s) internal pure returns (bytes32) {
        return keccak256(abi.encode(outputProof(s)));
    }

    // Claims

    function record() internal {
        nextBlock(12);
        uint256 forced = inbox.forcedCount();
        vm.prank(LEADER);
        inbox.submitCalldata(forced, "");
    }

    /// Opens a range, of which there is something to claim.
    function openRange() internal returns (uint256) {
        record();
        return claims.open();
    }

    function path(bytes32 seed) internal pure returns (bytes32[] memory siblings) {
        siblings = new bytes32[](26);
        for (uint256 i; i < siblings.length; ++i) siblings[i] = keccak256(abi.encode(seed, i));
    }

    function output(State memory s) internal view returns (Claims.Output memory) {
        return Claims.Output(s.header, uint64(inbox.recordCount()), 0, uint64(inbox.forcedCount()), 0);
    }

    function bounds(uint256 range) internal view returns (bytes32 first, bytes32 end) {
        (first,, end,,) = claims.range(range);
    }

    function join(address who, uint256 range, Claims.Output memory o, bytes32 seed) internal returns (uint256) {
        vm.deal(who, who.balance + BOND);
        (bytes32 first, bytes32 end) = bounds(range);
        vm.prank(who);
        return claims.join{value: BOND}(range, first, end, path(seed), o);
    }

    function claimState(State memory s) internal returns (uint256 range, uint256 index) {
        range = openRange();
        index = join(CLAIMER, range, output(s), "true");
    }

    function settleState(State memory s) internal returns (uint256 index) {
        uint256 range;
        (range, index) = claimState(s);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        claims.settle(range);
    }

    /// Matches are numbered by their tournament, then by their order.
    function timeOut(uint256 range, uint256 number) internal {
        vm.warp(block.timestamp + CHALLENGE_WINDOW + MOVE_GRACE);
        tournament.timeout(range << 32 | number);
    }

    function prove(address who, WithdrawalTransaction memory w, uint256 index, State memory s) internal {
        bytes[] memory proof = proofOf(s, Withdrawal.hash(w));
        vm.prank(who);
        portal.proveWithdrawalTransaction(w, index, outputProof(s), proof);
    }

    function finalize(address who, WithdrawalTransaction memory w) internal {
        vm.prank(who);
        portal.finalizeWithdrawalTransaction(w);
    }

    /// Proved by Alice and settled.
    function ready(WithdrawalTransaction memory w) internal {
        State memory s = state(one(w));
        prove(ALICE, w, settleState(s), s);
    }

    // Tries of storage slots that hold 1

    function keys(bytes32[] memory hashes) internal pure returns (bytes32[] memory list) {
        list = new bytes32[](hashes.length);
        for (uint256 i; i < hashes.length; ++i) {
            list[i] = keccak256(abi.encode(keccak256(abi.encode(hashes[i], uint256(0)))));
        }
    }

    function proofOf(State memory s, bytes32 hash) internal pure returns (bytes[] memory) {
        bytes32[] memory one_ = new bytes32[](1);
        one_[0] = hash;
        return nodesTo(keys(s.hashes), keys(one_)[0], true);
    }

    /// Nodes from the root to `key`, or to where it would be.
    /// @param all Also those that stand in their parents.
    function nodesTo(bytes32[] memory list, bytes32 key, bool all) internal pure returns (bytes[] memory proof) {
        bytes[] memory nodes = new bytes[](128);
        uint256 count;
        for (uint256 depth; list.length > 0; ++depth) {
            count = add(nodes, count, node(list, depth), all);
            if (list.length == 1) break;
            uint256 common = depth;
            while (shared(list, common)) ++common;
            if (common > depth) {
                depth = common;
                count = add(nodes, count, node(list, depth), all);
            }
            list = below(list, depth, nibble(key, depth));
        }
        proof = new bytes[](count);
        for (uint256 i; i < count; ++i) proof[i] = nodes[i];
    }

    function add(bytes[] memory nodes, uint256 count, bytes memory encoded, bool all) private pure returns (uint256) {
        if (!all && count > 0 && encoded.length < 32) return count;
        nodes[count] = encoded;
        return count + 1;
    }

    /// RLP of the node over `list`, all of which are alike in their first `depth` digits.
    function node(bytes32[] memory list, uint256 depth) internal pure returns (bytes memory) {
        bytes[] memory items = new bytes[](2);
        if (list.length == 1) {
            items[0] = RLP.encode(packed(list[0], depth, 64, true));
            items[1] = hex"01";
            return RLP.encode(items);
        }
        uint256 common = depth;
        while (shared(list, common)) ++common;
        if (common > depth) {
            items[0] = RLP.encode(packed(list[0], depth, common, false));
            items[1] = link(node(list, common));
            return RLP.encode(items);
        }
        items = new bytes[](17);
        for (uint256 digit; digit < 16; ++digit) {
            bytes32[] memory children = below(list, depth, digit);
            items[digit] = children.length == 0 ? bytes(hex"80") : link(node(children, depth + 1));
        }
        items[16] = hex"80";
        return RLP.encode(items);
    }

    function link(bytes memory encoded) private pure returns (bytes memory) {
        return encoded.length < 32 ? encoded : RLP.encode(keccak256(encoded));
    }

    function nibble(bytes32 key, uint256 i) private pure returns (uint256) {
        return uint256(key) >> (252 - 4 * i) & 15;
    }

    function shared(bytes32[] memory list, uint256 i) private pure returns (bool) {
        for (uint256 k = 1; k < list.length; ++k) {
            if (nibble(list[k], i) != nibble(list[0], i)) return false;
        }
        return true;
    }

    function below(bytes32[] memory list, uint256 depth, uint256 digit) private pure returns (bytes32[] memory some) {
        some = new bytes32[](list.length);
        uint256 count;
        for (uint256 i; i < list.length; ++i) {
            if (nibble(list[i], depth) == digit) some[count++] = list[i];
        }
        assembly ("memory-safe") {
            mstore(some, count)
        }
    }

    function packed(bytes32 key, uint256 from, uint256 to, bool leaf) private pure returns (bytes memory path_) {
        uint256 odd = (to - from) % 2;
        path_ = new bytes((to - from) / 2 + 1);
        path_[0] = bytes1(uint8((leaf ? 32 : 0) + odd * 16 + (odd == 1 ? nibble(key, from) : 0)));
        for (uint256 i = from + odd; i < to; i += 2) {
            path_[(i - from - odd) / 2 + 1] = bytes1(uint8(nibble(key, i) * 16 + nibble(key, i + 1)));
        }
    }
}
