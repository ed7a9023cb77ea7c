// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Machine} from "../src/l1/Machine.sol";
import {PreimageOracle} from "../src/l1/PreimageOracle.sol";

contract MachineTest is Base {
    uint256 private constant STATE_BYTES = 384;
    uint256 private constant ACCESS_BYTES = 896;
    uint256 private constant DEPTH = 27;
    /// Bound of a step, with 64 gas for a byte of calldata.
    uint256 private constant MAX_GAS = 1_500_000;

    uint32 private constant ECALL = 0x73;

    PreimageOracle private oracle;
    Machine private machine;

    // The state that the next step starts from.
    uint64[32] private _x;
    uint256 private _status;
    bytes32 private _input;
    bytes32 private _output;
    uint256[] private _places;
    mapping(uint256 place => bytes32) private _chunks;
    bytes32[DEPTH + 1] private _empty;

    function setUp() public {
        oracle = new PreimageOracle();
        machine = new Machine(oracle);
        for (uint256 i = 1; i <= DEPTH; ++i) {
            _empty[i] = keccak256(abi.encode(_empty[i - 1], _empty[i - 1]));
        }
        _x[0] = 0x10000;
        for (uint64 i = 1; i < 32; ++i) {
            _x[i] = 0x0101010101010101 * i;
        }
        _input = keccak256("input");
        _output = keccak256("output");
    }

    function test_names() public view {
        equal(address(machine.oracle()), address(oracle), "oracle");
    }

    function test_vectors() public {
        string memory json = vm.readFile("../spec/vectors/machine.json");
        mockPreimages(json);
        string[] memory names = abi.decode(vm.parseJson(json, ".steps[*].name"), (string[]));
        bytes[] memory proofs = abi.decode(vm.parseJson(json, ".steps[*].proof"), (bytes[]));
        bytes32[] memory befores = abi.decode(vm.parseJson(json, ".steps[*].before"), (bytes32[]));
        bytes32[] memory afters = abi.decode(vm.parseJson(json, ".steps[*].after"), (bytes32[]));
        check(names.length > 0 && names.length == proofs.length, "steps");
        for (uint256 i = 0; i < names.length; ++i) {
            (bytes32 before, bytes32 next) = machine.step(proofs[i]);
            equal(before, befores[i], names[i]);
            equal(next, afters[i], names[i]);
        }
        uint256 refused;
        // One by one: a proof as long as a word would be read as one in an array.
        for (;; ++refused) {
            string memory key = string.concat(".refused[", vm.toString(refused), "]");
            if (!vm.keyExistsJson(json, key)) break;
            bytes memory proof = vm.parseJsonBytes(json, string.concat(key, ".proof"));
            try machine.step(proof) {
                revert False(key);
            } catch {}
        }
        check(refused > 0, "refused");
    }

    function mockPreimages(string memory json) private {
        uint256[] memory kinds = abi.decode(vm.parseJson(json, ".steps[*].preimage.kind"), (uint256[]));
        bytes32[] memory keys = abi.decode(vm.parseJson(json, ".steps[*].preimage.key"), (bytes32[]));
        uint256[] memory offsets = abi.decode(vm.parseJson(json, ".steps[*].preimage.offset"), (uint256[]));
        bytes32[] memory words = abi.decode(vm.parseJson(json, ".steps[*].preimage.word"), (bytes32[]));
        uint256[] memory lengths = abi.decode(vm.parseJson(json, ".steps[*].preimage.length"), (uint256[]));
        check(keys.length > 0 && keys.length == words.length, "preimages");
        for (uint256 i = 0; i < keys.length; ++i) {
            bytes memory call = abi.encodeCall(oracle.read, (kinds[i], keys[i], offsets[i]));
            vm.mockCall(address(oracle), call, abi.encode(words[i], lengths[i]));
        }
    }

    // What the unprivileged specification says about the corners of RV64M.
    function test_divisionsDoNotTrap() public {
        uint64 least = 1 << 63;
        uint64 minusOne = type(uint64).max;
        expectOperation(register(0x33, 4, 1), 7, 0, minusOne); // DIV
        expectOperation(register(0x33, 5, 1), 7, 0, minusOne); // DIVU
        expectOperation(register(0x33, 6, 1), 7, 0, 7); // REM
        expectOperation(register(0x33, 7, 1), 7, 0, 7); // REMU
        expectOperation(register(0x33, 4, 1), least, minusOne, least);
        expectOperation(register(0x33, 6, 1), least, minusOne, 0);
        expectOperation(register(0x33, 4, 1), 7, minusOne - 1, minusOne - 2);
        expectOperation(register(0x33, 6, 1), minusOne - 6, 2, minusOne);
        uint64 leastWord = 0xffffffff80000000;
        expectOperation(register(0x3b, 4, 1), 0xabcd00000007, 0x100000000, minusOne); // DIVW
        expectOperation(register(0x3b, 5, 1), 0xabcd00000007, 0x100000000, minusOne); // DIVUW
        expectOperation(register(0x3b, 6, 1), 0xabcd80000000, 0x100000000, leastWord); // REMW
        expectOperation(register(0x3b, 7, 1), 0xabcd80000000, 0x100000000, leastWord); // REMUW
        expectOperation(register(0x3b, 4, 1), leastWord, 0xffffffff, leastWord);
        expectOperation(register(0x3b, 6, 1), leastWord, 0xffffffff, 0);
        expectOperation(register(0x33, 1, 1), least, least, 1 << 62); // MULH
        expectOperation(register(0x33, 2, 1), minusOne, minusOne, minusOne); // MULHSU
        expectOperation(register(0x33, 3, 1), minusOne, minusOne, minusOne - 1); // MULHU
        expectOperation(register(0x3b, 0, 1), 0x80000000, 1, leastWord); // MULW
    }

    function test_systemCalls() public {
        _x[17] = 93;
        _x[10] = 0x1ff;
        expectSystemCall(0);
        equal(_status, 1 << 8 | 0xff, "exit code");
        (bytes32 before, bytes32 next) = machine.step(stateWords());
        equal(next, before, "an exited machine stays");

        _status = 0;
        _x[17] = 64;
        _x[12] = 77;
        expectSystemCall(77);
        _x[17] = 0x1000;
        _x[10] = 0xffffffe0;
        bytes memory proof = bytes.concat(proofOf(ECALL), access(0xffffffe0));
        put(0xffffffe0, _input);
        expectStep(proof, 32);
        _x[17] = 0x1002;
        _x[10] = 0x20000;
        put(0x20000, keccak256("result"));
        proof = bytes.concat(proofOf(ECALL), access(0x20000));
        _output = keccak256("result");
        expectStep(proof, 32);
    }

    /// The key may lie where the word goes; words beyond the length are zero, and the length is said.
    function testFuzz_preimages(bytes memory data, uint256 seed, bool inPlace) public {
        uint256 offset = seed % (data.length / 32 + 2) * 32;
        oracle.loadKeccakPart(offset < data.length ? offset : 0, data);
        (bytes32 word,) = oracle.read(0, keccak256(data), offset);
        uint64 destination = inPlace ? 0x20000 : 0x20020;
        put(0x20000, keccak256(data));
        (_x[17], _x[10], _x[11], _x[12], _x[13]) = (0x1001, destination, 0x20000, uint64(offset), 0);
        bytes memory proof = bytes.concat(proofOf(ECALL), access(0x20000), access(destination));
        put(destination, word);
        expectStep(proof, uint64(data.length));
    }

    function test_unknownPreimagesHaveNoState() public {
        put(0x20000, keccak256("unknown"));
        (_x[17], _x[10], _x[11], _x[12], _x[13]) = (0x1001, 0x20020, 0x20000, 32, 0);
        bytes memory proof = bytes.concat(proofOf(ECALL), access(0x20000), access(0x20020));
        vm.expectRevert(abi.encodeWithSelector(PreimageOracle.NotLoaded.selector, 0, keccak256("unknown"), 32));
        machine.step(proof);
    }

    function test_traps() public {
        expectTrap(0); // illegal
        expectTrap(type(uint32).max);
        _x[17] = 64;
        expectTrap(0x00100073); // EBREAK, where ECALL would not trap
        expectTrap(0xc0001073); // CSRRW
        expectTrap(0x002000ef + (1 << 7)); // JAL to pc + 2
        _x[17] = 1;
        expectTrap(ECALL);
        (_x[17], _x[10], _x[11], _x[12], _x[13]) = (0x1001, 0x20000, 0x20000, 0, 2);
        expectTrap(ECALL); // no such kind
        (_x[12], _x[13]) = (16, 0);
        expectTrap(ECALL);
        (_x[12], _x[11]) = (0, 1 << 32);
        expectTrap(ECALL);
        (_x[11], _x[10]) = (0x20000, 0x20001);
        expectTrap(ECALL);
        _x[5] = 0x100000001;
        expectTrap(0x00028003); // LB x0, 0(x5), beyond the memory
        _x[5] = 0x20002;
        expectTrap(0x00529023 | 2 << 12); // SW x5, 0(x5), misaligned
        for (uint256 i = 0; i < 4; ++i) {
            // A jump beyond the memory is one instruction, its target the next.
            _x[0] = [uint64(0x10002), 0x100000000, type(uint64).max - 3, 1][i];
            bytes memory proof = stateWords();
            _status = 2 << 8;
            expectNext(proof);
            _status = 0;
        }
    }

    /// A proof has one length; what is more or less is refused whatever it holds.
    function testFuzz_otherLengths(uint256 length) public {
        bytes memory proof = stored();
        length = length % (2 * proof.length);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length && i < proof.length; ++i) {
            other[i] = proof[i];
        }
        if (length != proof.length) vm.expectRevert(Machine.BadLength.selector);
        machine.step(other);
    }

    /// A changed bit of an access is refused; one of the state makes it another state.
    function testFuzz_flippedBits(uint256 bit) public {
        bytes memory proof = stored();
        (bytes32 before,) = machine.step(proof);
        bit %= 8 * proof.length;
        uint256 place = bit / 8;
        proof[place] ^= bytes1(uint8(1 << bit % 8));
        try machine.step(proof) returns (bytes32 other, bytes32) {
            check(place < STATE_BYTES && place / 32 != 8 && place / 32 != 9, "refused");
            check(other != before, "another state");
        } catch (bytes memory reason) {
            bytes4 selector = bytes4(reason);
            bool state = place / 32 != 9 && place < STATE_BYTES;
            if (!state) {
                equal(bytes32(selector), bytes32(Machine.BadAccess.selector), "BadAccess");
            } else {
                check(
                    selector == Machine.BadStatus.selector || selector == Machine.BadLength.selector || place < 256,
                    "W_8"
                );
            }
        }
    }

    function testFuzz_impossibleStatus(uint256 word) public {
        _status = word;
        bytes memory proof = stateWords();
        bool possible = word == 0 || word == 2 << 8 || (word >= 1 << 8 && word < 2 << 8);
        if (possible) return;
        vm.expectRevert(abi.encodeWithSelector(Machine.BadStatus.selector, word));
        machine.step(proof);
    }

    function test_impossibleStatuses() public {
        uint256[7] memory words = [uint256(1), 255, 0x201, 0x2ff, 0x300, 1 << 16, type(uint256).max];
        for (uint256 i = 0; i < words.length; ++i) {
            testFuzz_impossibleStatus(words[i]);
        }
    }

    function test_gas() public {
        measure("add", proofOf(register(0x33, 0, 0)));
        measure("remainder", proofOf(register(0x3b, 6, 1)));
        measure("load", loaded());
        measure("store", stored());
        put(0x20000, keccak256(""));
        oracle.loadKeccakPart(0, "");
        (_x[17], _x[10], _x[11], _x[12], _x[13]) = (0x1001, 0x20020, 0x20000, 0, 0);
        measure("preimage", bytes.concat(proofOf(ECALL), access(0x20000), access(0x20020)));
        (_x[17], _x[10]) = (0x1000, 0x20000);
        measure("read input", bytes.concat(proofOf(ECALL), access(0x20000)));
        _x[17] = 0x1002;
        measure("write output", bytes.concat(proofOf(ECALL), access(0x20000)));
        measure("trap", proofOf(0));
        _status = 2 << 8;
        measure("halted", stateWords());
    }

    function measure(string memory name, bytes memory proof) private {
        machine.step(proof);
        uint256 execution = vm.snapshotGasLastCall("Machine", name);
        check(64 * abi.encodeCall(machine.step, (proof)).length + execution + 21_000 <= MAX_GAS, name);
    }

    // A load and a store of eight bytes, with what they need.

    function loaded() private returns (bytes memory) {
        _x[5] = 0xfffffff8;
        return bytes.concat(proofOf(0x0002b303), access(0xfffffff8)); // LD x6, 0(x5)
    }

    function stored() private returns (bytes memory) {
        _x[5] = 0xfffffff8;
        return bytes.concat(proofOf(0x0062b023), access(0xfffffff8)); // SD x6, 0(x5)
    }

    // x7 = x5 operation x6
    function register(uint32 opcode, uint32 funct3, uint32 funct7) private pure returns (uint32) {
        return funct7 << 25 | 6 << 20 | 5 << 15 | funct3 << 12 | 7 << 7 | opcode;
    }

    function expectOperation(uint32 instruction, uint64 a, uint64 b, uint64 result) private {
        (_x[5], _x[6]) = (a, b);
        bytes memory proof = proofOf(instruction);
        _x[7] = result;
        _x[0] += 4;
        expectNext(proof);
    }

    function expectSystemCall(uint64 result) private {
        bytes memory proof = proofOf(ECALL);
        if (_x[17] == 93) {
            _status = 1 << 8 | uint8(_x[10]);
            expectNext(proof);
        } else {
            expectStep(proof, result);
        }
    }

    /// The step ends in the state as it was set since the proof was made, with `result` in a0, on the next instruction.
    function expectStep(bytes memory proof, uint64 result) private {
        _x[10] = result;
        _x[0] += 4;
        expectNext(proof);
    }

    function expectTrap(uint32 instruction) private {
        bytes memory proof = proofOf(instruction);
        _status = 2 << 8;
        expectNext(proof);
        _status = 0;
    }

    function expectNext(bytes memory proof) private view {
        (, bytes32 next) = machine.step(proof);
        equal(next, keccak256(stateWords()), "next");
    }

    // State and memory

    function proofOf(uint32 instruction) private returns (bytes memory) {
        uint256 pc = _x[0];
        uint256 shift = 224 - 8 * (pc % 32);
        uint256 code = (instruction >> 24) | (instruction >> 8 & 0xff00) | (uint256(instruction & 0xff00) << 8)
            | (uint256(instruction & 0xff) << 24);
        put(pc, _chunks[pc / 32] & ~bytes32(uint256(0xffffffff) << shift) | bytes32(code << shift));
        return bytes.concat(stateWords(), access(pc));
    }

    function stateWords() private view returns (bytes memory words) {
        for (uint256 i = 0; i < 32; ++i) {
            words = abi.encodePacked(words, _x[i]);
        }
        return abi.encodePacked(words, _status, node(DEPTH, 0), _input, _output);
    }

    function put(uint256 addr, bytes32 chunk) private {
        uint256 place = addr / 32;
        if (_chunks[place] == 0) _places.push(place);
        _chunks[place] = chunk;
    }

    function access(uint256 addr) private view returns (bytes memory words) {
        uint256 place = addr / 32;
        words = abi.encodePacked(_chunks[place]);
        for (uint256 level = 0; level < DEPTH; ++level) {
            words = abi.encodePacked(words, node(level, (place >> level) ^ 1));
        }
    }

    function node(uint256 level, uint256 index) private view returns (bytes32) {
        bool written;
        for (uint256 i = 0; i < _places.length; ++i) {
            written = written || _places[i] >> level == index;
        }
        if (!written) return _empty[level];
        if (level == 0) return _chunks[index];
        return keccak256(abi.encode(node(level - 1, 2 * index), node(level - 1, 2 * index + 1)));
    }
}
