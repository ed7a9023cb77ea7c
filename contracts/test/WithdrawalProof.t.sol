// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TrieProof} from "@openzeppelin/contracts/utils/cryptography/TrieProof.sol";
import {WithdrawalBase} from "./WithdrawalBase.sol";
import {StorageProof} from "../src/lib/StorageProof.sol";

/// @notice The proof reader against OpenZeppelin's, on tries of any shape: their keys are chosen, not hashed.
contract WithdrawalProofTest is WithdrawalBase {
    /// Keys that share long beginnings make extensions, and leaves that stand in their parents.
    /// forge-config: default.fuzz.runs = 64
    function testFuzz_agreesWithOpenZeppelin(uint256 seed) public view {
        bytes32[] memory list = someKeys(seed, bound(seed >> 8, 1, 12));
        bytes memory top = node(list, 0);
        bytes32 root = keccak256(top);
        for (uint256 i; i < list.length; ++i) {
            bytes[] memory full = nodesTo(list, list[i], true);
            bytes[] memory hashed = nodesTo(list, list[i], false);
            check(StorageProof.holds(root, list[i], 1, full), "with embedded nodes");
            check(StorageProof.holds(root, list[i], 1, hashed), "without embedded nodes");
            check(byOpenZeppelin(root, list[i], full), "OpenZeppelin, with");
            check(byOpenZeppelin(root, list[i], hashed), "OpenZeppelin, without");
            check(!StorageProof.holds(root, list[i], 2, full), "another value");
            // A neighbour that is not there.
            bytes32 absent = list[i] ^ bytes32(uint256(1) << seed % 256);
            check(!StorageProof.holds(root, absent, 1, full) || isIn(list, absent), "absent");
            check(!StorageProof.holds(root, absent, 1, hashed) || isIn(list, absent), "absent");
        }
    }

    /// Whatever is done to a proof and its root, it proves nothing that it does not for OpenZeppelin, whose nodes are not even
    /// the trie's then.
    function testFuzz_malformedNodes(uint256 seed) public view {
        bytes32[] memory list = someKeys(seed, bound(seed >> 8, 1, 6));
        bytes32 key = list[seed % list.length];
        bytes[] memory proof = nodesTo(list, key, seed & 1 == 0);
        for (uint256 i; i < 3; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            // The root's bytes are free if its hash follows them.
            bytes memory top = proof[0];
            top[seed % top.length] = bytes1(uint8(seed >> 128));
            bytes32 root = keccak256(top);
            if (StorageProof.holds(root, key, 1, proof)) check(byOpenZeppelin(root, key, proof), "proves more");
        }
    }

    function testFuzz_junk(bytes[] memory proof, bytes32 key) public pure {
        vm.assume(proof.length > 0);
        check(!StorageProof.holds(keccak256(proof[0]), key, 1, proof), "junk proves nothing");
    }

    function test_shapes() public pure {
        bytes[] memory proof = new bytes[](1);
        string[12] memory odd = [
            "", "c0", "80", "c101", "c20101", "c22001", "c3208101", "c382200101", "f8", "f90001", "f9ffff", "e4a0"
        ];
        for (uint256 i; i < odd.length; ++i) {
            proof[0] = unhex(odd[i]);
            check(!StorageProof.holds(keccak256(proof[0]), bytes32(0), 1, proof), odd[i]);
        }
        check(!StorageProof.holds(keccak256(""), bytes32(0), 1, new bytes[](0)), "no nodes");
    }

    function someKeys(uint256 seed, uint256 count) private pure returns (bytes32[] memory list) {
        list = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            bool fresh;
            while (!fresh) {
                seed = uint256(keccak256(abi.encode(seed)));
                uint256 common = i == 0 ? 0 : seed % 64 * 4;
                uint256 mask = common == 0 ? 0 : ~(type(uint256).max >> common);
                uint256 model = i == 0 ? 0 : uint256(list[(seed >> 64) % i]);
                list[i] = bytes32(model & mask | uint256(keccak256(abi.encode(seed, 1))) & ~mask);
                fresh = true;
                for (uint256 k; k < i; ++k) if (list[k] == list[i]) fresh = false;
            }
        }
    }

    function isIn(bytes32[] memory list, bytes32 key) private pure returns (bool) {
        for (uint256 i; i < list.length; ++i) if (list[i] == key) return true;
        return false;
    }

    function byOpenZeppelin(bytes32 root, bytes32 key, bytes[] memory proof) private view returns (bool) {
        try this.openZeppelin(root, key, proof) returns (bool ok) {
            return ok;
        } catch {
            return false;
        }
    }

    function openZeppelin(bytes32 root, bytes32 key, bytes[] memory proof) external pure returns (bool) {
        return TrieProof.verify(hex"01", root, abi.encodePacked(key), proof);
    }

    function unhex(string memory digits) private pure returns (bytes memory out) {
        bytes memory d = bytes(digits);
        out = new bytes(d.length / 2);
        for (uint256 i; i < out.length; ++i) out[i] = bytes1(uint8(value(d[2 * i]) * 16 + value(d[2 * i + 1])));
    }

    function value(bytes1 digit) private pure returns (uint256) {
        return uint8(digit) - (digit >= 0x61 ? 87 : 48);
    }
}
