// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {PreimageOracle} from "../src/l1/PreimageOracle.sol";

contract PreimageOracleTest is Base {
    uint256 private constant KECCAK = 0;
    uint256 private constant BLOB = 1;
    uint256 private constant BLOB_LENGTH = 131_072;
    uint256 private constant MODULUS = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    /// Bounds of a transaction, with 64 gas for a byte of calldata.
    uint256 private constant MAX_GAS = 8_000_000;

    struct Opening {
        bytes32 versionedHash;
        uint256 index;
        bytes32 element;
        bytes commitment;
        bytes proof;
    }

    PreimageOracle private oracle;

    function setUp() public {
        oracle = new PreimageOracle();
    }

    function testFuzz_loadedWordIsTheData(bytes memory data, uint256 seed) public {
        bytes32 key = keccak256(data);
        uint256 offset = seed % (data.length / 32 + 1) * 32;
        expectNotLoaded(KECCAK, key, offset);
        oracle.loadKeccakPart(offset, data);
        expectWord(KECCAK, key, offset, slice(data, offset), data.length);
        // Beyond the end there is nothing to load.
        uint256 rounded = (data.length + 31) / 32 * 32;
        for (uint256 i = 0; i < 3; ++i) {
            expectWord(KECCAK, key, rounded + 32 * i, 0, data.length);
        }
        for (uint256 other = 0; other < data.length; other += 32) {
            if (other != offset) expectNotLoaded(KECCAK, key, other);
        }
        expectNotLoaded(KECCAK, keccak256(abi.encode(data)), offset);
        expectNotLoaded(2, key, offset);
    }

    /// Whoever loads what, in whatever order: what is there stays, and is true.
    function testFuzz_nothingIsLost(bytes memory a, bytes memory b, uint256 seed, address sender) public {
        vm.assume(keccak256(a) != keccak256(b));
        uint256 offsetA = seed % (a.length / 32 + 1) * 32;
        uint256 offsetB = seed % (b.length / 32 + 1) * 32;
        oracle.loadKeccakPart(offsetA, a);
        vm.prank(sender);
        oracle.loadKeccakPart(offsetB, b);
        vm.prank(sender);
        oracle.loadKeccakPart(0, a);
        oracle.loadKeccakPart(offsetA, a);
        expectWord(KECCAK, keccak256(a), offsetA, slice(a, offsetA), a.length);
        expectWord(KECCAK, keccak256(a), 0, slice(a, 0), a.length);
        expectWord(KECCAK, keccak256(b), offsetB, slice(b, offsetB), b.length);
    }

    function testFuzz_badOffsets(bytes memory data, uint256 offset) public {
        if (offset % 32 == 0 && offset < data.length + 32) offset += 1;
        expectBadOffset(offset, data);
        uint256 rounded = (data.length + 31) / 32 * 32;
        expectBadOffset(rounded + 32, data);
        expectBadOffset(type(uint256).max - 31, data);
        expectNotLoaded(KECCAK, keccak256(data), 0);
    }

    function test_ends() public {
        oracle.loadKeccakPart(0, "");
        expectWord(KECCAK, keccak256(""), 0, 0, 0);
        expectBadOffset(32, "");

        bytes memory longest = filled(65_536);
        oracle.loadKeccakPart(0, longest);
        oracle.loadKeccakPart(65_504, longest);
        expectWord(KECCAK, keccak256(longest), 65_504, slice(longest, 65_504), 65_536);
        expectWord(KECCAK, keccak256(longest), 65_536, 0, 65_536);
        expectNotLoaded(KECCAK, keccak256(longest), 65_472);
        // The word behind the last one says the length alone.
        oracle.loadKeccakPart(65_536, longest);
        expectBadOffset(65_568, longest);

        bytes memory tooLong = filled(65_537);
        vm.expectRevert(abi.encodeWithSelector(PreimageOracle.TooLong.selector, 65_537));
        oracle.loadKeccakPart(0, tooLong);
    }

    function test_elementsOfTheCeremony() public {
        Opening[] memory openings = readOpenings();
        for (uint256 i = 0; i < openings.length; ++i) {
            Opening memory o = openings[i];
            expectNotLoaded(BLOB, o.versionedHash, 32 * o.index);
            expectRefusals(o);
            load(o);
            expectWord(BLOB, o.versionedHash, 32 * o.index, o.element, BLOB_LENGTH);
        }
        for (uint256 i = 0; i < openings.length; ++i) {
            Opening memory o = openings[i];
            expectWord(BLOB, o.versionedHash, 32 * o.index, o.element, BLOB_LENGTH);
            expectNotLoaded(BLOB, o.versionedHash, 32 * 3);
        }
    }

    function testFuzz_beyondABlob(bytes32 key, uint256 offset) public view {
        if (offset < BLOB_LENGTH) expectNotLoaded(BLOB, key, offset);
        else expectWord(BLOB, key, offset, 0, BLOB_LENGTH);
    }

    function testFuzz_nothingIsLoaded(uint256 kind, bytes32 key, uint256 offset) public view {
        if (kind == BLOB) offset %= BLOB_LENGTH;
        expectNotLoaded(kind, key, offset);
    }

    /// An L1 without the precompile answers with success and nothing, another one could answer anything.
    function test_precompileMustAnswer() public {
        Opening memory o = readOpenings()[0];
        bytes[3] memory answers;
        answers[1] = abi.encode(4_096, MODULUS + 1);
        answers[2] = abi.encode(4_096, MODULUS, 0);
        for (uint256 i = 0; i < answers.length; ++i) {
            vm.mockCall(address(0x0a), "", answers[i]);
            expectBadOpening(o);
        }
        vm.mockCall(address(0x0a), "", abi.encode(4_096, MODULUS));
        load(o);
    }

    function testFuzz_pointsAreTheRootsOfUnity(uint256 index) public {
        index %= 4_096;
        uint256 reversed;
        for (uint256 i = 0; i < 12; ++i) {
            reversed = reversed * 2 + (index >> i) % 2;
        }
        uint256 root = power(7, (MODULUS - 1) / 4_096);
        equal(oracle.pointOf(index), power(root, reversed), "point");
        vm.expectRevert(abi.encodeWithSelector(PreimageOracle.BadIndex.selector, index + 4_096));
        oracle.pointOf(index + 4_096);
    }

    function test_gas() public {
        uint256 most;
        uint256[4] memory lengths = [uint256(32), 532, 24_576, 65_536];
        string[4] memory names = ["node", "branch", "code", "longest"];
        for (uint256 i = 0; i < 4; ++i) {
            bytes memory data = filled(lengths[i]);
            oracle.loadKeccakPart(0, data);
            uint256 execution = vm.snapshotGasLastCall("PreimageOracle", string.concat("loadKeccakPart ", names[i]));
            most = 64 * abi.encodeCall(oracle.loadKeccakPart, (0, data)).length + execution + 21_000;
            check(most <= MAX_GAS, names[i]);
        }
        Opening memory o = readOpenings()[6];
        load(o);
        most = vm.snapshotGasLastCall("PreimageOracle", "loadBlobElement") + 64 * 388 + 21_000;
        check(most <= MAX_GAS, "element");
    }

    function expectRefusals(Opening memory o) private {
        bytes32 element = o.element;
        o.element = bytes32(uint256(element) ^ 1);
        expectBadOpening(o);
        // The same element, not canonical.
        o.element = bytes32(uint256(element) + MODULUS);
        expectBadOpening(o);
        o.element = element;

        bytes32 versionedHash = o.versionedHash;
        o.versionedHash = bytes32(uint256(versionedHash) ^ 1);
        expectBadOpening(o);
        o.versionedHash = bytes32(uint256(versionedHash) ^ 3 << 248);
        expectBadOpening(o);
        o.versionedHash = versionedHash;

        (bytes memory commitment, bytes memory proof) = (o.commitment, o.proof);
        o.proof = "";
        expectBadOpening(o);
        o.proof = bytes.concat(proof, hex"00");
        expectBadOpening(o);
        o.proof = proof;
        o.commitment = bytes.concat(commitment, commitment);
        expectBadOpening(o);
        o.commitment = commitment;

        uint256 index = o.index;
        o.index = 4_096;
        vm.expectRevert(abi.encodeWithSelector(PreimageOracle.BadIndex.selector, 4_096));
        load(o);
        o.index = index;
    }

    function expectBadOpening(Opening memory o) private {
        vm.expectRevert(PreimageOracle.BadOpening.selector);
        load(o);
    }

    function expectBadOffset(uint256 offset, bytes memory data) private {
        vm.expectRevert(abi.encodeWithSelector(PreimageOracle.BadOffset.selector, offset));
        oracle.loadKeccakPart(offset, data);
    }

    function expectNotLoaded(uint256 kind, bytes32 key, uint256 offset) private view {
        try oracle.read(kind, key, offset) {
            revert False("read what nobody loaded");
        } catch (bytes memory reason) {
            equal(reason, abi.encodeWithSelector(PreimageOracle.NotLoaded.selector, kind, key, offset), "NotLoaded");
        }
    }

    function expectWord(uint256 kind, bytes32 key, uint256 offset, bytes32 word, uint256 length) private view {
        (bytes32 actual, uint256 actualLength) = oracle.read(kind, key, offset);
        equal(actual, word, "word");
        equal(actualLength, length, "length");
    }

    /// A precompile that fails takes all gas it was given.
    function load(Opening memory o) private {
        oracle.loadBlobElement{gas: 1_000_000}(o.versionedHash, o.index, o.element, o.commitment, o.proof);
    }

    function readOpenings() private view returns (Opening[] memory openings) {
        string memory json = vm.readFile("../spec/vectors/blob-elements.json");
        openings = new Opening[](21);
        for (uint256 i = 0; i < 21; ++i) {
            string memory blob = string.concat(".blobs[", vm.toString(i / 7), "]");
            string memory element = string.concat(blob, ".elements[", vm.toString(i % 7), "]");
            openings[i] = Opening(
                vm.parseJsonBytes32(json, string.concat(blob, ".versionedHash")),
                vm.parseJsonUint(json, string.concat(element, ".index")),
                vm.parseJsonBytes32(json, string.concat(element, ".element")),
                vm.parseJsonBytes(json, string.concat(blob, ".commitment")),
                vm.parseJsonBytes(json, string.concat(element, ".proof"))
            );
        }
    }

    /// Bytes that differ and are never zero.
    function filled(uint256 length) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = bytes1(uint8(1 + i * 31 % 251));
        }
    }

    function slice(bytes memory data, uint256 offset) private pure returns (bytes32 word) {
        for (uint256 i = 0; i < 32 && offset + i < data.length; ++i) {
            word |= bytes32(data[offset + i]) >> (8 * i);
        }
    }

    function power(uint256 base, uint256 exponent) private view returns (uint256) {
        (bool success, bytes memory result) = address(5).staticcall(abi.encode(32, 32, 32, base, exponent, MODULUS));
        check(success, "modexp");
        return abi.decode(result, (uint256));
    }
}
