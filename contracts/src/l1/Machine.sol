// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {PreimageOracle} from "./PreimageOracle.sol";

/// @notice One step of the machine that runs the guest program: RV64IM, memory as a Merkle tree, system calls
///         (spec/machine.md). Whatever a program does has a next state; what is refused is only a proof that is none.
contract Machine {
    /// @notice Where preimages are read.
    PreimageOracle public immutable oracle;

    /// Bytes of a state.
    uint256 private constant STATE_BYTES = 12 * 32;
    /// Bytes of a memory access: the chunk and a sibling for each level of the tree.
    uint256 private constant ACCESS_BYTES = 28 * 32;
    uint256 private constant CHUNK = 32;
    uint256 private constant MEMORY_BYTES = 2 ** 32;

    uint256 private constant EXITED = 1;
    uint256 private constant TRAPPED = 2;

    uint256 private constant A0 = 10;
    uint256 private constant A1 = 11;
    uint256 private constant A2 = 12;
    uint256 private constant A3 = 13;
    uint256 private constant A7 = 17;

    struct State {
        uint64 pc;
        /// `x[0]` is always 0.
        uint64[32] x;
        /// `W_8`: the status, then the exit code.
        uint256 status;
        bytes32 memoryRoot;
        bytes32 input;
        bytes32 output;
        /// Bytes of the proof that were used.
        uint256 cursor;
    }

    /// The proof is not as long as the step makes it.
    error BadLength();
    /// No state has this status and exit code.
    error BadStatus(uint256 word);
    /// The accessed chunk and its siblings do not have the memory's root.
    error BadAccess(uint256 addr);

    constructor(PreimageOracle oracle_) {
        oracle = oracle_;
    }

    /// @notice Executes one instruction.
    /// @param proof The state before, then for each memory access the chunk and its 27 siblings.
    /// @return before Hash of the state before.
    /// @return next Hash of the state after.
    function step(bytes calldata proof) external view returns (bytes32 before, bytes32 next) {
        if (proof.length < STATE_BYTES) revert BadLength();
        before = keccak256(proof[:STATE_BYTES]);
        State memory s = _unpack(proof);
        if (s.status == 0) {
            if (!_execute(s, proof)) s.status = TRAPPED << 8;
            next = _hash(s);
        } else {
            next = before;
        }
        if (s.cursor != proof.length) revert BadLength();
    }

    /// @dev Fetches and executes. False: a trap; then nothing was changed.
    function _execute(State memory s, bytes calldata proof) private view returns (bool) {
        if (s.pc % 4 != 0 || s.pc >= MEMORY_BYTES) return false;
        uint32 ins = uint32(_extract(_load(s, proof, s.pc), s.pc, 4));
        uint256 opcode = ins & 0x7f;
        unchecked {
            if (opcode == 0x37) return _result(s, ins, _immU(ins));
            if (opcode == 0x17) return _result(s, ins, s.pc + _immU(ins));
            if (opcode == 0x6f) return _jump(s, ins, s.pc + _immJ(ins));
            if (opcode == 0x67) return _jalr(s, ins);
        }
        if (opcode == 0x63) return _branch(s, ins);
        if (opcode == 0x03) return _loadValue(s, proof, ins);
        if (opcode == 0x23) return _storeValue(s, proof, ins);
        if (opcode == 0x13) return _immediate(s, ins);
        if (opcode == 0x1b) return _immediateWord(s, ins);
        if (opcode == 0x33) return _register(s, ins);
        if (opcode == 0x3b) return _registerWord(s, ins);
        if (opcode == 0x0f) return _funct3(ins) < 2 && _advance(s);
        if (ins == 0x73) return _systemCall(s, proof);
        return false;
    }

    // Memory

    /// @dev The chunk that holds the byte at `addr`, by the next access of the proof.
    function _load(State memory s, bytes calldata proof, uint256 addr) private pure returns (bytes32 chunk) {
        uint256 start = s.cursor;
        if (proof.length < start + ACCESS_BYTES) revert BadLength();
        bytes calldata access = proof[start:start + ACCESS_BYTES];
        chunk = bytes32(access);
        if (_root(access, addr, chunk) != s.memoryRoot) revert BadAccess(addr);
        s.cursor = start + ACCESS_BYTES;
    }

    /// @dev Writes the chunk that `_load` has just read.
    function _store(State memory s, bytes calldata proof, uint256 addr, bytes32 chunk) private pure {
        s.memoryRoot = _root(proof[s.cursor - ACCESS_BYTES:s.cursor], addr, chunk);
    }

    /// @dev Root of the memory with `chunk` at `addr` beside the access's siblings.
    function _root(bytes calldata access, uint256 addr, bytes32 chunk) private pure returns (bytes32 node) {
        node = chunk;
        uint256 index = addr / CHUNK;
        for (uint256 position = CHUNK; position < ACCESS_BYTES; position += CHUNK) {
            bytes32 sibling = bytes32(access[position:]);
            node = index & 1 == 0 ? _pair(node, sibling) : _pair(sibling, node);
            index >>= 1;
        }
    }

    function _pair(bytes32 left, bytes32 right) private pure returns (bytes32 node) {
        assembly ("memory-safe") {
            mstore(0, left)
            mstore(32, right)
            node := keccak256(0, 64)
        }
    }

    /// @dev `width` bytes of a chunk as a little-endian number.
    function _extract(bytes32 chunk, uint256 addr, uint256 width) private pure returns (uint64 value) {
        uint256 first = addr % CHUNK;
        for (uint256 i = width; i > 0; --i) {
            value = value << 8 | uint8(chunk[first + i - 1]);
        }
    }

    /// @dev The chunk with the low `width` bytes of `value` in it.
    function _insert(bytes32 chunk, uint256 addr, uint256 width, uint64 value) private pure returns (bytes32) {
        uint256 first = addr % CHUNK;
        for (uint256 i = 0; i < width; ++i) {
            uint256 shift = 248 - 8 * (first + i);
            chunk = chunk & ~bytes32(uint256(0xff) << shift) | bytes32(uint256(uint8(value >> (8 * i))) << shift);
        }
        return chunk;
    }

    function _loadValue(State memory s, bytes calldata proof, uint32 ins) private pure returns (bool) {
        uint256 funct3 = _funct3(ins);
        uint256 width = 1 << (funct3 & 3);
        uint64 addr = _address(s, ins, _immI(ins));
        if (funct3 == 7 || addr % width != 0 || addr >= MEMORY_BYTES) return false;
        uint64 value = _extract(_load(s, proof, addr), addr, width);
        if (funct3 == 0) value = uint64(int64(int8(uint8(value))));
        if (funct3 == 1) value = uint64(int64(int16(uint16(value))));
        if (funct3 == 2) value = _signed32(uint32(value));
        return _result(s, ins, value);
    }

    function _storeValue(State memory s, bytes calldata proof, uint32 ins) private pure returns (bool) {
        uint256 width = 1 << _funct3(ins);
        uint64 addr = _address(s, ins, _immS(ins));
        if (width > 8 || addr % width != 0 || addr >= MEMORY_BYTES) return false;
        _patch(s, proof, addr, width, s.x[_rs2(ins)]);
        return _advance(s);
    }

    function _patch(State memory s, bytes calldata proof, uint64 addr, uint256 width, uint64 value) private pure {
        bytes32 chunk = _load(s, proof, addr);
        _store(s, proof, addr, _insert(chunk, addr, width, value));
    }

    // Control

    function _jalr(State memory s, uint32 ins) private pure returns (bool) {
        if (_funct3(ins) != 0) return false;
        return _jump(s, ins, _address(s, ins, _immI(ins)) & ~uint64(1));
    }

    function _jump(State memory s, uint32 ins, uint64 target) private pure returns (bool) {
        if (target % 4 != 0) return false;
        _result(s, ins, _plus4(s.pc));
        s.pc = target;
        return true;
    }

    function _branch(State memory s, uint32 ins) private pure returns (bool) {
        uint256 funct3 = _funct3(ins);
        (uint64 a, uint64 b) = (s.x[_rs1(ins)], s.x[_rs2(ins)]);
        bool taken;
        if (funct3 < 2) taken = a == b;
        else if (funct3 < 4) return false;
        else if (funct3 < 6) taken = int64(a) < int64(b);
        else taken = a < b;
        // The odd ones are the negations.
        if (taken == (funct3 & 1 == 1)) return _advance(s);
        uint64 target;
        unchecked {
            target = s.pc + _immB(ins);
        }
        if (target % 4 != 0) return false;
        s.pc = target;
        return true;
    }

    // Arithmetic

    function _immediate(State memory s, uint32 ins) private pure returns (bool) {
        uint256 funct3 = _funct3(ins);
        uint256 top = ins >> 26;
        if (funct3 == 1 && top != 0) return false;
        if (funct3 == 5 && top != 0 && top != 0x10) return false;
        bool alternate = funct3 == 5 && top != 0;
        return _result(s, ins, _integer(funct3, alternate, s.x[_rs1(ins)], _immI(ins)));
    }

    function _immediateWord(State memory s, uint32 ins) private pure returns (bool) {
        uint256 funct3 = _funct3(ins);
        uint256 top = ins >> 25;
        if (funct3 != 0 && funct3 != 1 && funct3 != 5) return false;
        if (funct3 == 1 && top != 0) return false;
        if (funct3 == 5 && top != 0 && top != 0x20) return false;
        bool alternate = funct3 == 5 && top != 0;
        return _result(s, ins, _word(funct3, alternate, uint32(s.x[_rs1(ins)]), uint32(_immI(ins))));
    }

    function _register(State memory s, uint32 ins) private pure returns (bool) {
        (uint256 funct3, uint256 funct7) = (_funct3(ins), ins >> 25);
        (uint64 a, uint64 b) = (s.x[_rs1(ins)], s.x[_rs2(ins)]);
        if (funct7 == 1) return _result(s, ins, _multiply(funct3, a, b));
        bool alternate = funct7 == 0x20 && (funct3 == 0 || funct3 == 5);
        if (funct7 != 0 && !alternate) return false;
        return _result(s, ins, _integer(funct3, alternate, a, b));
    }

    function _registerWord(State memory s, uint32 ins) private pure returns (bool) {
        (uint256 funct3, uint256 funct7) = (_funct3(ins), ins >> 25);
        (uint32 a, uint32 b) = (uint32(s.x[_rs1(ins)]), uint32(s.x[_rs2(ins)]));
        if (funct7 == 1) {
            if (funct3 > 0 && funct3 < 4) return false;
            return _result(s, ins, _multiplyWord(funct3, a, b));
        }
        if (funct3 != 0 && funct3 != 1 && funct3 != 5) return false;
        bool alternate = funct7 == 0x20 && funct3 != 1;
        if (funct7 != 0 && !alternate) return false;
        return _result(s, ins, _word(funct3, alternate, a, b));
    }

    /// @dev RV64I on registers. `alternate`: SUB for ADD, SRA for SRL.
    function _integer(uint256 funct3, bool alternate, uint64 a, uint64 b) private pure returns (uint64) {
        unchecked {
            if (funct3 == 0) return alternate ? a - b : a + b;
            if (funct3 == 1) return a << (b & 63);
            if (funct3 == 2) return int64(a) < int64(b) ? 1 : 0;
            if (funct3 == 3) return a < b ? 1 : 0;
            if (funct3 == 4) return a ^ b;
            if (funct3 == 5) return alternate ? uint64(int64(a) >> (b & 63)) : a >> (b & 63);
            if (funct3 == 6) return a | b;
            return a & b;
        }
    }

    /// @dev The same on words: ADDW, SUBW, SLLW, SRLW, SRAW.
    function _word(uint256 funct3, bool alternate, uint32 a, uint32 b) private pure returns (uint64) {
        unchecked {
            if (funct3 == 0) return _signed32(alternate ? a - b : a + b);
            if (funct3 == 1) return _signed32(a << (b & 31));
            return _signed32(alternate ? uint32(int32(a) >> (b & 31)) : a >> (b & 31));
        }
    }

    /// @dev RV64M. In 256 bits nothing overflows; the quotient -2^63 / -1 wraps when it is cut to 64.
    function _multiply(uint256 funct3, uint64 ua, uint64 ub) private pure returns (uint64) {
        (int256 a, int256 b) = (int256(int64(ua)), int256(int64(ub)));
        (int256 za, int256 zb) = (int256(uint256(ua)), int256(uint256(ub)));
        if (funct3 == 0) return _cut(a * b);
        if (funct3 == 1) return _cut((a * b) >> 64);
        if (funct3 == 2) return _cut((a * zb) >> 64);
        if (funct3 == 3) return _cut((za * zb) >> 64);
        if (funct3 == 4) return b == 0 ? type(uint64).max : _cut(a / b);
        if (funct3 == 5) return b == 0 ? type(uint64).max : _cut(za / zb);
        if (funct3 == 6) return b == 0 ? ua : _cut(a % b);
        return b == 0 ? ua : _cut(za % zb);
    }

    /// @dev MULW, DIVW, DIVUW, REMW, REMUW.
    function _multiplyWord(uint256 funct3, uint32 ua, uint32 ub) private pure returns (uint64) {
        (int256 a, int256 b) = (int256(int32(ua)), int256(int32(ub)));
        (uint256 za, uint256 zb) = (ua, ub);
        if (funct3 == 0) return _signed32(uint32(_cut(a * b)));
        if (funct3 == 4) return b == 0 ? type(uint64).max : _signed32(uint32(_cut(a / b)));
        if (funct3 == 5) return b == 0 ? type(uint64).max : _signed32(uint32(za / zb));
        if (funct3 == 6) return b == 0 ? _signed32(ua) : _signed32(uint32(_cut(a % b)));
        return b == 0 ? _signed32(ua) : _signed32(uint32(za % zb));
    }

    // System calls

    function _systemCall(State memory s, bytes calldata proof) private view returns (bool) {
        uint64 number = s.x[A7];
        uint64 pointer = s.x[A0];
        if (number == 93 || number == 94) {
            s.status = EXITED << 8 | uint8(pointer);
            return true;
        }
        if (number == 64) {
            s.x[A0] = s.x[A2];
            return _advance(s);
        }
        if (number == 0x1001) return _preimage(s, proof);
        if ((number != 0x1000 && number != 0x1002) || !_isChunk(pointer)) return false;
        bytes32 chunk = _load(s, proof, pointer);
        if (number == 0x1000) _store(s, proof, pointer, s.input);
        else s.output = chunk;
        s.x[A0] = uint64(CHUNK);
        return _advance(s);
    }

    function _preimage(State memory s, bytes calldata proof) private view returns (bool) {
        (uint64 pointer, uint64 offset, uint64 kind) = (s.x[A0], s.x[A2], s.x[A3]);
        // An offset is what a pointer is: a multiple of 32 below 2^32.
        if (!_isChunk(pointer) || !_isChunk(s.x[A1]) || !_isChunk(offset) || kind > 1) return false;
        (bytes32 word, uint256 length) = oracle.read(kind, _load(s, proof, s.x[A1]), offset);
        _load(s, proof, pointer);
        _store(s, proof, pointer, word);
        s.x[A0] = uint64(length);
        return _advance(s);
    }

    function _isChunk(uint64 pointer) private pure returns (bool) {
        return pointer % CHUNK == 0 && pointer < MEMORY_BYTES;
    }

    // Registers

    /// @dev Writes the destination register and goes on.
    function _result(State memory s, uint32 ins, uint64 value) private pure returns (bool) {
        uint256 rd = ins >> 7 & 31;
        if (rd != 0) s.x[rd] = value;
        return _advance(s);
    }

    function _advance(State memory s) private pure returns (bool) {
        s.pc = _plus4(s.pc);
        return true;
    }

    function _plus4(uint64 pc) private pure returns (uint64) {
        unchecked {
            return pc + 4;
        }
    }

    /// @dev The first operand plus an immediate, modulo 2^64.
    function _address(State memory s, uint32 ins, uint64 immediate) private pure returns (uint64) {
        unchecked {
            return s.x[_rs1(ins)] + immediate;
        }
    }

    // Fields of an instruction; immediates are sign-extended.

    function _funct3(uint32 ins) private pure returns (uint256) {
        return ins >> 12 & 7;
    }

    function _rs1(uint32 ins) private pure returns (uint256) {
        return ins >> 15 & 31;
    }

    function _rs2(uint32 ins) private pure returns (uint256) {
        return ins >> 20 & 31;
    }

    function _immI(uint32 ins) private pure returns (uint64) {
        return _signed32(uint32(int32(ins) >> 20));
    }

    function _immS(uint32 ins) private pure returns (uint64) {
        return _signed32(uint32(int32(ins) >> 25 << 5) | (ins >> 7 & 0x1f));
    }

    function _immB(uint32 ins) private pure returns (uint64) {
        uint32 low = (ins >> 7 & 0x1e) | (ins >> 20 & 0x7e0) | (ins << 4 & 0x800);
        return _signed32(uint32(int32(ins) >> 31 << 12) | low);
    }

    function _immU(uint32 ins) private pure returns (uint64) {
        return _signed32(ins & 0xfffff000);
    }

    function _immJ(uint32 ins) private pure returns (uint64) {
        uint32 low = (ins >> 20 & 0x7fe) | (ins >> 9 & 0x800) | (ins & 0xff000);
        return _signed32(uint32(int32(ins) >> 31 << 20) | low);
    }

    function _signed32(uint32 value) private pure returns (uint64) {
        return uint64(int64(int32(value)));
    }

    /// @dev The low 64 bits.
    function _cut(int256 value) private pure returns (uint64) {
        return uint64(uint256(value));
    }

    // Encoding of a state

    /// @dev The state at the start of the proof, which is long enough.
    function _unpack(bytes calldata proof) private pure returns (State memory s) {
        s.pc = uint64(bytes8(proof));
        for (uint256 i = 1; i < 32; ++i) {
            s.x[i] = uint64(bytes8(proof[8 * i:]));
        }
        s.status = uint256(bytes32(proof[8 * 32:]));
        s.memoryRoot = bytes32(proof[9 * 32:]);
        s.input = bytes32(proof[10 * 32:]);
        s.output = bytes32(proof[11 * 32:]);
        s.cursor = STATE_BYTES;
        uint256 status = s.status >> 8;
        if (status > TRAPPED || (status != EXITED && uint8(s.status) != 0)) revert BadStatus(s.status);
    }

    function _hash(State memory s) private pure returns (bytes32) {
        uint256[12] memory words;
        words[0] = s.pc;
        for (uint256 i = 1; i < 32; ++i) {
            words[i / 4] = words[i / 4] << 64 | s.x[i];
        }
        words[8] = s.status;
        words[9] = uint256(s.memoryRoot);
        words[10] = uint256(s.input);
        words[11] = uint256(s.output);
        return keccak256(abi.encode(words));
    }
}
