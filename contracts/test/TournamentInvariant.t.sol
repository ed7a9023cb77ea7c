// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {TournamentBase} from "./TournamentBase.sol";
import {Tournament} from "../src/l1/Tournament.sol";

/// @notice Players who join with anything, move or not, and let time pass; it says of every call beforehand whether it may
///         succeed. It stands for Claims.
contract TournamentPlayers is TournamentBase {
    uint256 private constant TOURNAMENTS = 3;

    address[4] public players = [address(0x1001), address(0x1002), address(0x1003), address(0x1004)];
    /// Clocks as they were seen last.
    mapping(uint256 id => mapping(bytes32 root => uint256)) private _clocks;
    mapping(uint256 id => mapping(bytes32 root => bool)) private _seen;
    uint256 private _opened;

    constructor() {
        deployTournament();
        startTournament();
    }

    function tournaments() external view returns (Tournament) {
        return game;
    }

    // Actions

    function startTournament() public {
        if (_opened++ >= TOURNAMENTS) return;
        game.open(leafAt(0, 0), END);
    }

    function enterCommitment(uint256 seed) external {
        uint256 id = pick(seed, 1);
        Tournament.TournamentView memory t = game.tournament(id);
        if (t.level != 0) return;
        Plan memory p = leaves(seed);
        bytes32 root = remember(p, 0);
        bool joins = block.timestamp < t.opened + (t.commitments == 0 ? A / 2 : A);
        address player = players[mix(seed, 2) % 4];
        if (!joins) {
            refuse(Tournament.JoiningOver.selector, address(this), STAKE, enterData(id, p, player));
        } else if (game.commitment(id, root).claimer != address(0)) {
            refuse(Tournament.AlreadyJoined.selector, address(this), STAKE, enterData(id, p, player));
        } else {
            send(address(this), STAKE, enterData(id, p, player));
        }
        observe();
    }

    function joinChild(uint256 seed) external {
        uint256 id = pick(seed, 1);
        if (game.tournament(id).level > 0) joinSide(seed, id, seed % 2);
        observe();
    }

    function play(uint256 seed) external {
        uint256 number = pickMatch(seed);
        if (number != 0) playMatch(seed, number, 1 + mix(seed, 3) % 30);
        observe();
    }

    function proveStep(uint256 seed) external {
        uint256 number = pickMatch(seed);
        if (number != 0) proveMatch(seed, number);
        observe();
    }

    /// Goes on with the youngest match as far as one action can, so that disputes come to their end.
    function press(uint256 seed) external {
        (uint256[] memory open, uint256 n) = openMatches();
        if (n == 0) return;
        uint256 number = open[n - 1];
        Tournament.MatchView memory m = matchAt(number);
        if (m.phase == 0) playMatch(seed, number, 30);
        if (m.phase == 1) {
            joinSide(mix(seed, 5), m.child, seed % 2);
            joinSide(mix(seed, 6), m.child, 1 - seed % 2);
            if (seed % 4 == 0) outwait(m.child);
        }
        if (m.phase == 2) proveMatch(seed, number);
        observe();
    }

    /// Until a child is not joined any more; then it may be over.
    function outwait(uint256 id) private {
        Tournament.TournamentView memory t = game.tournament(id);
        uint64 longer = t.sideClocks[0] > t.sideClocks[1] ? t.sideClocks[0] : t.sideClocks[1];
        if (block.timestamp < t.opened + G + longer) vm.warp(t.opened + G + longer);
        (bool over,) = game.isOver(id);
        check(over == (t.openMatches == 0), "over");
        if (over) game.close(id);
    }

    function joinSide(uint256 seed, uint256 id, uint256 side) private {
        Tournament.TournamentView memory t = game.tournament(id);
        Plan memory p = t.level == 1 ? strides(seed, t, side) : instructions(seed, t, side);
        bytes32 root = remember(p, t.level);
        (bool over,) = game.isOver(id);
        address player = players[mix(seed, 2) % 4];
        if (over || block.timestamp >= t.opened + G + t.sideClocks[side]) {
            refuse(Tournament.JoiningOver.selector, player, STAKE, joinData(id, p));
        } else if (game.commitment(id, root).claimer != address(0)) {
            refuse(Tournament.AlreadyJoined.selector, player, STAKE, joinData(id, p));
        } else {
            send(player, STAKE, joinData(id, p));
            equal(game.commitment(id, root).side, side, "side");
        }
    }

    function playMatch(uint256 seed, uint256 number, uint256 moves) private {
        for (; moves > 0; --moves) {
            Tournament.MatchView memory m = matchAt(number);
            if (m.phase != 0 || !canMove(m)) return;
            address player = players[mix(seed, moves) % 4];
            if (!inTime(m)) {
                refuse(Tournament.OutOfTime.selector, player, 0, moveData(number));
                return;
            }
            refuse(Tournament.InTime.selector, player, 0, abi.encodeCall(Tournament.timeout, (number)));
            send(player, 0, moveData(number));
            if (moves % 5 == 0) vm.warp(block.timestamp + mix(seed, moves) % (2 * G));
        }
    }

    function proveMatch(uint256 seed, uint256 number) private {
        Tournament.MatchView memory m = matchAt(number);
        bytes memory proof = proofs[m.agreed];
        if (m.phase == 0 || proof.length == 0) return;
        bytes memory data = abi.encodeCall(Tournament.prove, (number, proof));
        address player = players[mix(seed, 2) % 4];
        if (m.phase != 2) refuse(Tournament.WrongPhase.selector, player, 0, data);
        else if (!inTime(m)) refuse(Tournament.OutOfTime.selector, player, 0, data);
        else send(player, 0, data);
    }

    function timeoutMatch(uint256 seed) external {
        uint256 number = pickMatch(seed);
        if (number == 0) return;
        Tournament.MatchView memory m = matchAt(number);
        bytes memory data = abi.encodeCall(Tournament.timeout, (number));
        if (m.phase == 1) refuse(Tournament.WrongPhase.selector, STRANGER, 0, data);
        else if (inTime(m)) refuse(Tournament.InTime.selector, STRANGER, 0, data);
        else game.timeout(number);
        observe();
    }

    function closeTournament(uint256 seed) external {
        uint256 id = pick(seed, 1);
        Tournament.TournamentView memory t = game.tournament(id);
        (bool over,) = game.isOver(id);
        address player = players[mix(seed, 2) % 4];
        bytes memory data =
            t.level == 0 ? abi.encodeCall(Tournament.finish, (id, player)) : abi.encodeCall(Tournament.close, (id));
        address who = t.level == 0 ? address(this) : player;
        if (!over || t.closed) refuse(Tournament.NotOver.selector, who, 0, data);
        else send(who, 0, data);
        observe();
    }

    function withdrawCredit(uint256 seed) external {
        address player = players[seed % 4];
        uint256 credit = game.credits(player);
        bytes memory data = abi.encodeCall(Tournament.withdraw, ());
        if (credit == 0) {
            refuse(Tournament.NothingToWithdraw.selector, player, 0, data);
            return;
        }
        uint256 before = player.balance;
        send(player, 0, data);
        equal(player.balance, before + credit, "paid");
    }

    function wait(uint256 seed) external {
        uint256 elapsed = mix(seed, 1) % (seed % 4 == 0 ? A / 2 : 2 * G);
        uint256 number = pickMatch(seed);
        if (seed % 5 == 0 && number != 0) {
            // To the last second of a turn, or the first after it.
            Tournament.MatchView memory m = matchAt(number);
            uint256 ends = deadline(m);
            if (m.phase != 1 && ends > block.timestamp) elapsed = ends - block.timestamp - seed / 5 % 2;
        }
        vm.warp(block.timestamp + elapsed);
        observe();
    }

    // What holds

    /// Every clock of the living is at most what it was.
    function observe() public {
        for (uint256 id = 1; id <= game.count(); ++id) {
            Tournament.CommitmentView[] memory list = game.commitments(id, 0, type(uint256).max);
            for (uint256 i = 0; i < list.length; ++i) {
                if (!list[i].alive) continue;
                bytes32 root = list[i].root;
                uint256 clock = clockNow(list[i]);
                if (_seen[id][root]) {
                    check(clock <= _clocks[id][root], "a clock ran backwards");
                } else {
                    check(clock <= A, "a clock began above the window");
                    _seen[id][root] = true;
                }
                _clocks[id][root] = clock;
            }
        }
    }

    function checkBalance() external view {
        uint256 sum;
        for (uint256 id = 1; id <= game.count(); ++id) {
            Tournament.TournamentView memory t = game.tournament(id);
            check(!t.closed || t.pot == 0, "a closed tournament keeps nothing");
            // An open match has yet to lose the bond that it refunds.
            check(t.closed || t.pot >= (t.alive - t.openMatches) * STAKE, "a bond for each that survives");
            sum += t.pot;
        }
        for (uint256 i = 0; i < 4; ++i) {
            sum += game.credits(players[i]);
        }
        equal(address(game).balance, sum, "balance");
        equal(game.credits(address(0)), 0, "nobody");
    }

    /// All that live wait or are in one match that is open, and only the dead are in none.
    function checkCounts() external view {
        for (uint256 id = 1; id <= game.count(); ++id) {
            Tournament.TournamentView memory t = game.tournament(id);
            Tournament.CommitmentView[] memory list = game.commitments(id, 0, type(uint256).max);
            equal(list.length, t.commitments, "commitments");
            uint256 alive;
            for (uint256 i = 0; i < list.length; ++i) {
                Tournament.CommitmentView memory c = list[i];
                bool plays;
                if (c.currentMatch != 0) {
                    Tournament.MatchView memory m = matchAt(c.currentMatch);
                    check(m.one == c.root || m.two == c.root, "its match");
                    plays = m.phase != 3;
                }
                check(c.alive == (plays || c.root == t.waiting), "alive: plays or waits");
                check(!(plays && c.root == t.waiting), "not both");
                if (c.alive) ++alive;
            }
            equal(alive, t.alive, "alive");
            uint256 open;
            Tournament.MatchView[] memory all = game.matches(id, 0, type(uint256).max);
            equal(all.length, t.matches, "matches");
            for (uint256 i = 0; i < all.length; ++i) {
                if (all[i].phase != 3) ++open;
            }
            equal(open, t.openMatches, "open matches");
            (bool over,) = game.isOver(id);
            check(!over || open == 0, "over");
        }
    }

    /// From wherever it stands, without anybody's plan: it all ends, and nothing stays behind.
    function windUp() external {
        vm.warp(block.timestamp + A + G);
        for (uint256 rounds = 0; rounds < 1000; ++rounds) {
            if (!wound()) break;
            observe();
        }
        for (uint256 id = 1; id <= game.count(); ++id) {
            check(game.tournament(id).closed, "closed");
        }
        for (uint256 i = 0; i < 4; ++i) {
            if (game.credits(players[i]) > 0) send(players[i], 0, abi.encodeCall(Tournament.withdraw, ()));
        }
        equal(address(game).balance, 0, "empty");
    }

    /// One call that ends something, if there is one; a turn ends with time.
    function wound() private returns (bool) {
        for (uint256 id = game.count(); id > 0; --id) {
            Tournament.TournamentView memory t = game.tournament(id);
            if (t.closed) continue;
            (bool over,) = game.isOver(id);
            if (over) {
                if (t.level == 0) game.finish(id, players[0]);
                else game.close(id);
                return true;
            }
            Tournament.MatchView[] memory all = game.matches(id, 0, type(uint256).max);
            for (uint256 i = 0; i < all.length; ++i) {
                if (all[i].phase != 0 && all[i].phase != 2) continue;
                if (inTime(all[i])) vm.warp(deadline(all[i]));
                game.timeout(all[i].id);
                return true;
            }
        }
        return false;
    }

    // Clocks as spec/settlement.md has them

    function clockNow(Tournament.CommitmentView memory c) private view returns (uint256) {
        if (c.since == 0 || block.timestamp <= c.since + G) return c.clock;
        uint256 used = block.timestamp - c.since - G;
        return used < c.clock ? c.clock - used : 0;
    }

    function inTime(Tournament.MatchView memory m) private view returns (bool) {
        return block.timestamp < deadline(m);
    }

    function deadline(Tournament.MatchView memory m) private view returns (uint256) {
        Tournament.CommitmentView memory one = game.commitment(m.tournament, m.one);
        Tournament.CommitmentView memory two = game.commitment(m.tournament, m.two);
        uint256 ofOne = one.since == 0 ? 0 : one.since + G + one.clock;
        uint256 ofTwo = two.since == 0 ? 0 : two.since + G + two.clock;
        return ofOne > ofTwo ? ofOne : ofTwo;
    }

    // Choices

    function mix(uint256 seed, uint256 what) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what)));
    }

    function pick(uint256 seed, uint256 what) private view returns (uint256) {
        return 1 + mix(seed, what) % game.count();
    }

    /// One of the matches that are open, or 0.
    function pickMatch(uint256 seed) private view returns (uint256) {
        (uint256[] memory open, uint256 n) = openMatches();
        return n == 0 ? 0 : open[mix(seed, 4) % n];
    }

    function openMatches() private view returns (uint256[] memory open, uint256 n) {
        open = new uint256[](64);
        for (uint256 id = 1; id <= game.count(); ++id) {
            Tournament.MatchView[] memory all = game.matches(id, 0, type(uint256).max);
            for (uint256 i = 0; i < all.length && n < 64; ++i) {
                if (all[i].phase != 3) open[n++] = all[i].id;
            }
        }
    }

    /// Whether the agreed leaf can be opened, should this move be the seal.
    function canMove(Tournament.MatchView memory m) private view returns (bool) {
        if (m.height > 1 || game.tournament(m.tournament).level > 0) return true;
        Plan memory p = planOf(m.oneMoves ? m.one : m.two);
        bytes32 agreed = leafOf(p, m.index);
        if (agreed != m.left) agreed = m.index == 0 ? game.tournament(m.tournament).start : leafOf(p, m.index - 1);
        return openings[agreed].length > 0;
    }

    function leaves(uint256 seed) private returns (Plan memory p) {
        bytes32[6] memory values =
            [leafAt(1, 0), OUTPUT, leafAt(2, END), faultOf(leafAt(0, 0)), faultOf(leafAt(1, 0)), keccak256("unknown")];
        uint256[4] memory starts = [uint256(1), 2, 7, (1 << 26) - 1];
        p = plan(values[mix(seed, 10) % 6]);
        for (uint256 i = 0; i < 4; ++i) {
            if (mix(seed, 20 + i) % 3 == 0) p = then(p, starts[i], values[mix(seed, 30 + i) % 6]);
        }
    }

    function strides(uint256 seed, Tournament.TournamentView memory t, uint256 side) private returns (Plan memory p) {
        bytes32 agreed = matchAt(t.parentMatch).agreed;
        bytes32 input = inputOf(agreed);
        bytes32[] memory states = run(input);
        bytes32 last = stateOf(BOOT_PC, uint64(seed % 3), 0, 1 << 8, input, t.contested[side]);
        if (t.contested[side] == faultOf(agreed)) last = stateOf(BOOT_PC, uint64(seed % 3), 0, 2 << 8, input, 0);
        if (t.contested[side] == OUTPUT && seed % 4 > 0) last = states[8];
        p = plan(mix(seed, 10) % 2 == 0 ? states[8] : last);
        if (mix(seed, 11) % 3 == 0) p = then(p, 3, stateOf(0, uint64(seed % 4), 0, 0, input, 0));
        if (mix(seed, 12) % 3 == 0) p = then(p, 4, states[8]);
        return then(p, 9, last);
    }

    function instructions(uint256 seed, Tournament.TournamentView memory t, uint256 side)
        private
        returns (Plan memory p)
    {
        bytes32[] memory states =
            run(inputOf(matchAt(game.tournament(matchAt(t.parentMatch).tournament).parentMatch).agreed));
        bool fromBoot = t.start == states[0];
        p = plan(fromBoot ? states[1] : t.start);
        if (mix(seed, 10) % 4 == 0) p = plan(keccak256("unknown"));
        uint256 truths = fromBoot ? mix(seed, 11) % 8 : 0;
        for (uint256 i = 1; i <= truths; ++i) {
            p = then(p, i, states[i + 1]);
        }
        return then(p, truths + 1 + mix(seed, 12) % 3, t.contested[side]);
    }
}

contract TournamentInvariantTest is Base {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    TournamentPlayers private players;

    function setUp() public {
        players = new TournamentPlayers();
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        bytes4[] memory selectors = new bytes4[](13);
        selectors[0] = players.startTournament.selector;
        selectors[1] = players.enterCommitment.selector;
        selectors[2] = players.enterCommitment.selector;
        selectors[3] = players.joinChild.selector;
        selectors[4] = players.press.selector;
        selectors[5] = players.play.selector;
        selectors[6] = players.play.selector;
        selectors[7] = players.proveStep.selector;
        selectors[8] = players.timeoutMatch.selector;
        selectors[9] = players.closeTournament.selector;
        selectors[10] = players.withdrawCredit.selector;
        selectors[11] = players.wait.selector;
        selectors[12] = players.press.selector;
        targets[0] = FuzzSelector(address(players), selectors);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(players);
    }

    /// Else a sender might be the contract under test, and given ether for its gas.
    function targetSenders() external pure returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = STRANGER;
    }

    /// forge-config: default.invariant.runs = 48
    /// forge-config: default.invariant.depth = 80
    function invariant_tournaments() public view {
        players.checkBalance();
        players.checkCounts();
    }

    function afterInvariant() public {
        players.windUp();
    }
}
