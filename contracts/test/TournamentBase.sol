// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Leaf} from "../src/l1/Leaf.sol";
import {Machine} from "../src/l1/Machine.sol";
import {PreimageOracle} from "../src/l1/PreimageOracle.sol";
import {Tournament} from "../src/l1/Tournament.sol";
import {Config} from "../src/l1/Config.sol";

/// @notice Trees of full height that are made of a few runs of equal leaves, a program of eight instructions, and players that
///         move by such trees. The contract that inherits stands for Claims.
abstract contract TournamentBase is Base {
    /// Leaf `i` is `values[k]` for the last `k` with `starts[k] <= i`.
    struct Plan {
        uint256[] starts;
        bytes32[] values;
    }

    uint64 internal constant A = 1000;
    uint64 internal constant G = 10;
    uint256 internal constant STAKE = 0.25 ether;
    uint64 internal constant GAS_PRICE = 30 gwei;
    uint64 internal constant BOOT_PC = 0x10000;
    uint256 internal constant DEPTH = 27;
    bytes32 internal constant OUTPUT = keccak256("the true next leaf");
    /// Leaves at record 0 are run, those at record 1 step to themselves.
    uint64 internal constant END = 1;

    address internal constant ALICE = address(0xa11ce);
    address internal constant BOB = address(0xb0b);

    Tournament internal game;
    Machine internal machine;
    bytes32 internal memoryRoot;

    mapping(bytes32 root => Plan) private _plans;
    /// What opens a leaf in `seal`.
    mapping(bytes32 leaf => bytes) internal openings;
    /// The words of a machine state.
    mapping(bytes32 state => bytes) internal words;
    mapping(bytes32 state => bytes) internal proofs;

    bytes32[2] private _chunks;
    bytes32[DEPTH + 1] private _empty;

    function deployTournament() internal {
        for (uint256 i = 1; i <= DEPTH; ++i) {
            _empty[i] = keccak256(abi.encode(_empty[i - 1], _empty[i - 1]));
        }
        _chunks = [_program(), OUTPUT];
        memoryRoot = _memoryNode(DEPTH, 0);
        Config memory config = developmentConfig();
        config.lease = address(1);
        config.portal = address(this);
        inbox = new Inbox(config, keccak256("genesis"));
        machine = new Machine(new PreimageOracle());
        game = new Tournament(parameters());
        vm.warp(1_800_000_000);
        vm.txGasPrice(GAS_PRICE);
    }

    function parameters() internal view returns (Tournament.Settings memory) {
        return Tournament.Settings({
            claims: address(this),
            inbox: address(inbox),
            machine: address(machine),
            bootMemoryRoot: memoryRoot,
            bootPc: BOOT_PC,
            challengeWindow: A,
            moveGrace: G,
            bond: uint128(STAKE),
            refundGasPrice: GAS_PRICE
        });
    }

    /// Closes a tournament of level 0.
    function finished(uint256 id, address caller) internal returns (bytes32 survivor) {
        (survivor,,) = game.finish(id, caller);
    }

    // Leaves

    /// A leaf that can be opened.
    function leafAt(uint256 seed, uint64 record) internal returns (bytes32 leaf) {
        bytes32 outputRoot = keccak256(abi.encode("output root", seed));
        leaf = Leaf.hash(outputRoot, record, 0, 0);
        openings[leaf] = abi.encode(outputRoot, record, uint256(0), uint256(0));
    }

    function faultOf(bytes32 leaf) internal returns (bytes32 fault) {
        fault = Leaf.fault(leaf);
        openings[fault] = abi.encode(leaf);
    }

    // Trees

    function plan(bytes32 first) internal pure returns (Plan memory p) {
        p.starts = new uint256[](1);
        p.values = new bytes32[](1);
        p.values[0] = first;
    }

    /// The plan with other leaves from `start` on.
    function then(Plan memory p, uint256 start, bytes32 value) internal pure returns (Plan memory q) {
        uint256 n = p.starts.length;
        q.starts = new uint256[](n + 1);
        q.values = new bytes32[](n + 1);
        for (uint256 i = 0; i < n; ++i) {
            (q.starts[i], q.values[i]) = (p.starts[i], p.values[i]);
        }
        (q.starts[n], q.values[n]) = (start, value);
    }

    function leafOf(Plan memory p, uint256 index) internal pure returns (bytes32) {
        uint256 k = p.starts.length - 1;
        while (p.starts[k] > index) --k;
        return p.values[k];
    }

    function node(Plan memory p, uint256 height, uint256 index) internal pure returns (bytes32 hash) {
        uint256 first = index << height;
        uint256 k = p.starts.length - 1;
        while (p.starts[k] > first) --k;
        if (k + 1 == p.starts.length || p.starts[k + 1] >= first + (1 << height)) {
            hash = p.values[k];
            for (uint256 i = 0; i < height; ++i) {
                hash = keccak256(abi.encode(hash, hash));
            }
            return hash;
        }
        return keccak256(abi.encode(node(p, height - 1, 2 * index), node(p, height - 1, 2 * index + 1)));
    }

    function pathOf(Plan memory p, uint256 height, uint256 index) internal pure returns (bytes32[] memory path) {
        path = new bytes32[](height);
        for (uint256 i = 0; i < height; ++i) {
            path[i] = node(p, i, (index >> i) ^ 1);
        }
    }

    function heightOf(uint256 level) internal pure returns (uint256) {
        return level == 0 ? 26 : 20;
    }

    function lastPath(Plan memory p, uint256 level) internal pure returns (bytes32 last, bytes32[] memory path) {
        uint256 height = heightOf(level);
        return (p.values[p.values.length - 1], pathOf(p, height, (1 << height) - 1));
    }

    /// The plan's root; from now on `play` can move for it.
    function remember(Plan memory p, uint256 level) internal returns (bytes32 root) {
        root = node(p, heightOf(level), 0);
        _plans[root] = p;
    }

    function planOf(bytes32 root) internal view returns (Plan memory) {
        return _plans[root];
    }

    // The program

    /// It writes the second chunk as output and exits with 0.
    function _program() private pure returns (bytes32) {
        return _instruction(0x00010537, 0) // lui a0, 0x10
            | _instruction(0x02050513, 1) // addi a0, a0, 32
            | _instruction(0x000018b7, 2) // lui a7, 1
            | _instruction(0x00288893, 3) // addi a7, a7, 2
            | _instruction(0x00000073, 4) // ecall
            | _instruction(0x05d00893, 5) // addi a7, x0, 93
            | _instruction(0x00000513, 6) // addi a0, x0, 0
            | _instruction(0x00000073, 7); // ecall
    }

    function _instruction(uint32 code, uint256 place) private pure returns (bytes32) {
        uint256 little =
            code >> 24 | (code >> 8 & 0xff00) | (uint256(code & 0xff00) << 8) | (uint256(code & 0xff) << 24);
        return bytes32(little << (224 - 32 * place));
    }

    function _memoryNode(uint256 height, uint256 index) private view returns (bytes32) {
        uint256 place = BOOT_PC / 32;
        if (place >> height != index && (place + 1) >> height != index) return _empty[height];
        if (height == 0) return _chunks[index - place];
        return keccak256(abi.encode(_memoryNode(height - 1, 2 * index), _memoryNode(height - 1, 2 * index + 1)));
    }

    function _access(uint256 place) private view returns (bytes memory access) {
        access = abi.encodePacked(_chunks[place - BOOT_PC / 32]);
        for (uint256 i = 0; i < DEPTH; ++i) {
            access = abi.encodePacked(access, _memoryNode(i, (place >> i) ^ 1));
        }
    }

    function stateOf(uint64 pc, uint64 a0, uint64 a7, uint256 status, bytes32 input, bytes32 output)
        internal
        returns (bytes32 state)
    {
        bytes32[12] memory w;
        w[0] = bytes32(uint256(pc) << 192 | uint256(0xfffff000) << 64);
        w[2] = bytes32(uint256(a0) << 64);
        w[4] = bytes32(uint256(a7) << 128);
        w[8] = bytes32(status);
        w[9] = memoryRoot;
        w[10] = input;
        w[11] = output;
        bytes memory encoded = abi.encode(w);
        state = keccak256(encoded);
        words[state] = encoded;
    }

    /// The states of a run, from the one at boot to the one at exit, with their proofs.
    function run(bytes32 input) internal returns (bytes32[] memory states) {
        states = new bytes32[](9);
        uint64[9] memory a0 = [uint64(0), 0x10000, 0x10020, 0x10020, 0x10020, 32, 32, 0, 0];
        uint64[9] memory a7 = [uint64(0), 0, 0, 0x1000, 0x1002, 0x1002, 93, 93, 93];
        for (uint64 i = 0; i < 9; ++i) {
            states[i] = stateOf(
                BOOT_PC + 4 * (i < 8 ? i : 7), a0[i], a7[i], i < 8 ? 0 : 1 << 8, input, i < 5 ? bytes32(0) : OUTPUT
            );
            proofs[states[i]] = i == 8
                ? words[states[i]]
                : i == 4
                    ? bytes.concat(words[states[i]], _access(BOOT_PC / 32), _access(BOOT_PC / 32 + 1))
                    : bytes.concat(words[states[i]], _access(BOOT_PC / 32));
        }
    }

    function inputOf(bytes32 leaf) internal view returns (bytes32) {
        (bytes32 outputRoot, uint256 record, uint256 blockIndex, uint256 forced) =
            abi.decode(openings[leaf], (bytes32, uint256, uint256, uint256));
        return keccak256(
            abi.encode(
                address(inbox), inbox.configHash(), outputRoot, record, blockIndex, forced, inbox.accumulator(record)
            )
        );
    }

    // Players

    function matchId(uint256 id, uint256 place) internal pure returns (uint256) {
        return id << 32 | place;
    }

    function matchAt(uint256 number) internal view returns (Tournament.MatchView memory) {
        return game.matches(number >> 32, number & 0xffffffff, 1)[0];
    }

    /// Calls the tournaments as `who`, with ether from nowhere.
    function send(address who, uint256 value, bytes memory data) internal {
        vm.deal(who, who.balance + value);
        vm.prank(who);
        (bool success, bytes memory returned) = address(game).call{value: value}(data);
        if (success) return;
        assembly ("memory-safe") {
            revert(add(returned, 32), mload(returned))
        }
    }

    /// The same call is refused with this error.
    function refuse(bytes4 reason, address who, uint256 value, bytes memory data) internal {
        vm.deal(who, who.balance + value);
        vm.prank(who);
        (bool success, bytes memory returned) = address(game).call{value: value}(data);
        check(!success, "refused");
        equal(bytes32(bytes4(returned)), bytes32(reason), "reason");
    }

    function enterData(uint256 id, Plan memory p, address claimer) internal pure returns (bytes memory) {
        (bytes32 last, bytes32[] memory path) = lastPath(p, 0);
        return abi.encodeCall(Tournament.enter, (id, claimer, last, path));
    }

    function enter(uint256 id, Plan memory p, address claimer) internal returns (bytes32 root) {
        root = remember(p, 0);
        send(address(this), STAKE, enterData(id, p, claimer));
    }

    function joinData(uint256 id, Plan memory p) internal view returns (bytes memory) {
        Tournament.TournamentView memory t = game.tournament(id);
        uint256 level = t.level;
        (bytes32 last, bytes32[] memory path) = lastPath(p, level);
        return abi.encodeCall(Tournament.join, (id, t.start, last, path, level == 1 ? words[last] : bytes("")));
    }

    function join(uint256 id, Plan memory p, address claimer) internal returns (bytes32 root) {
        root = remember(p, game.tournament(id).level);
        send(claimer, STAKE, joinData(id, p));
    }

    /// The next move of the commitment on turn, by its plan.
    function moveData(uint256 number) internal view returns (bytes memory) {
        Tournament.MatchView memory m = matchAt(number);
        Plan memory p = planOf(m.oneMoves ? m.one : m.two);
        uint256 below = m.height - 1;
        uint256 place = m.index >> below;
        bytes32 left = node(p, below, place);
        bytes32 right = node(p, below, place + 1);
        if (below == 0) return _sealData(m, p, left, right);
        uint256 next = 2 * (left != m.left ? place : place + 1);
        return abi.encodeCall(
            Tournament.advance, (number, left, right, node(p, below - 1, next), node(p, below - 1, next + 1))
        );
    }

    function _sealData(Tournament.MatchView memory m, Plan memory p, bytes32 left, bytes32 right)
        private
        view
        returns (bytes memory)
    {
        uint256 level = game.tournament(m.tournament).level;
        bytes32 agreed = left;
        bytes32[] memory path;
        if (left != m.left) {
            agreed = m.index == 0 ? game.tournament(m.tournament).start : leafOf(p, m.index - 1);
            if (m.index > 0) path = pathOf(p, heightOf(level), m.index - 1);
        }
        bytes memory opening = level == 0 ? openings[agreed] : bytes("");
        return abi.encodeCall(Tournament.seal, (m.id, left, right, agreed, path, opening));
    }

    function move(uint256 number, address who) internal {
        send(who, 0, moveData(number));
    }

    /// Moves until the match is sealed.
    function descend(uint256 number, address who) internal returns (Tournament.MatchView memory m) {
        for (m = matchAt(number); m.height > 0; m = matchAt(number)) {
            move(number, who);
        }
    }

    function descendTo(uint256 number, uint256 height, address who) internal {
        while (matchAt(number).height > height) move(number, who);
    }

    receive() external payable {}
}
