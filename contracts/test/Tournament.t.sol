// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TournamentBase} from "./TournamentBase.sol";
import {Leaf} from "../src/l1/Leaf.sol";
import {State} from "../src/l1/State.sol";
import {Tournament} from "../src/l1/Tournament.sol";

/// @notice A claimer whose `receive` does what it is told.
contract Payee {
    Tournament private immutable GAME;
    bool public reenters;
    bool public refuses;

    constructor(Tournament game_) {
        GAME = game_;
    }

    function behave(bool reenters_, bool refuses_) external {
        (reenters, refuses) = (reenters_, refuses_);
    }

    function advance(bytes calldata data) external {
        (bool success,) = address(GAME).call(data);
        require(success);
    }

    function withdraw() external {
        GAME.withdraw();
    }

    receive() external payable {
        require(!refuses);
        if (reenters) {
            try GAME.withdraw() {
                revert("paid twice");
            } catch {}
        }
    }
}

contract TournamentTest is TournamentBase {
    bytes32 private start;
    bytes32 private first;
    uint256 private id;

    function setUp() public {
        deployTournament();
        start = leafAt(0, 0);
        first = leafAt(1, 0);
        id = game.open(start, END);
    }

    /// The honest commitment: the program's output, then leaves to the end of the range.
    function honest() private returns (Plan memory) {
        openings[OUTPUT] = "";
        return then(plan(OUTPUT), 5, leafAt(2, 1));
    }

    function liar(uint256 seed) private returns (Plan memory) {
        return then(plan(leafAt(100 + seed, 0)), 5, leafAt(2, 1));
    }

    // Construction and access

    function test_names() public view {
        Tournament.Settings memory p = game.parameters();
        equal(keccak256(abi.encode(p)), keccak256(abi.encode(parameters())), "parameters");
        equal(game.count(), 1, "count");
        equal(game.tournament(id).start, start, "start");
        equal(game.tournament(id).end, END, "end");
    }

    function test_badSettings() public {
        for (uint256 i = 0; i < 8; ++i) {
            Tournament.Settings memory p = parameters();
            if (i == 0) p.claims = address(0);
            if (i == 1) p.inbox = address(0);
            if (i == 2) p.machine = address(0);
            if (i == 3) p.challengeWindow = 0;
            if (i == 4) p.challengeWindow = 1 << 40;
            if (i == 5) p.moveGrace = 1 << 40;
            if (i == 6) p.bond = 1 << 96;
            // One wei less than the longest match refunds.
            if (i == 7) p.bond = 3_150_000 * 30 gwei - 1;
            vm.expectRevert(Tournament.BadSettings.selector);
            new Tournament(p);
        }
        Tournament.Settings memory least = parameters();
        least.bond = 3_150_000 * 30 gwei;
        new Tournament(least);
    }

    function test_levelZeroIsOfClaims() public {
        refuse(Tournament.NotClaims.selector, STRANGER, 0, abi.encodeCall(Tournament.open, (start, END)));
        refuse(Tournament.NotClaims.selector, STRANGER, STAKE, enterData(id, honest(), STRANGER));
        refuse(Tournament.NotClaims.selector, STRANGER, 0, abi.encodeCall(Tournament.finish, (id, STRANGER)));
        refuse(Tournament.WrongLevel.selector, STRANGER, 0, abi.encodeCall(Tournament.close, (id)));
        refuse(Tournament.WrongLevel.selector, STRANGER, STAKE, joinData(id, honest()));
    }

    function test_unknownTournaments() public {
        bytes4 reason = Tournament.NoTournament.selector;
        refuse(reason, address(this), STAKE, enterData(7, honest(), ALICE));
        refuse(reason, address(this), 0, abi.encodeCall(Tournament.finish, (7, ALICE)));
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.close, (0)));
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.tournament, (7)));
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.isOver, (7)));
        bytes32[] memory path = new bytes32[](20);
        refuse(reason, ALICE, STAKE, abi.encodeCall(Tournament.join, (7, 0, 0, path, "")));
        bytes4 phase = Tournament.WrongPhase.selector;
        refuse(phase, ALICE, 0, abi.encodeCall(Tournament.advance, (matchId(id, 0), 0, 0, 0, 0)));
        refuse(phase, ALICE, 0, abi.encodeCall(Tournament.seal, (matchId(id, 0), 0, 0, 0, path, "")));
        refuse(phase, ALICE, 0, abi.encodeCall(Tournament.prove, (matchId(id, 0), "")));
        refuse(phase, ALICE, 0, abi.encodeCall(Tournament.timeout, (matchId(id, 0))));
    }

    // Entering

    function test_enter() public {
        bytes32 root = enter(id, honest(), ALICE);
        Tournament.CommitmentView memory c = game.commitment(id, root);
        equal(c.claimer, ALICE, "claimer");
        equal(c.last, leafAt(2, 1), "last");
        check(c.alive && c.clock == A && c.since == 0 && c.currentMatch == 0, "rests");
        Tournament.TournamentView memory t = game.tournament(id);
        equal(t.waiting, root, "waits");
        equal(t.pot, STAKE, "pot");
        check(t.alive == 1 && t.openMatches == 0 && t.commitments == 1 && t.matches == 0, "counts");
        equal(game.commitments(id, 0, 10)[0].root, root, "listed");
        equal(game.commitments(id, 1, 10).length, 0, "no more");
    }

    function test_enterRefuses() public {
        Plan memory p = honest();
        refuse(Tournament.WrongBond.selector, address(this), STAKE - 1, enterData(id, p, ALICE));
        refuse(Tournament.WrongBond.selector, address(this), STAKE + 1, enterData(id, p, ALICE));
        bytes32[] memory path = new bytes32[](25);
        refuse(
            Tournament.BadPath.selector,
            address(this),
            STAKE,
            abi.encodeCall(Tournament.enter, (id, ALICE, start, path))
        );
        path = new bytes32[](27);
        refuse(
            Tournament.BadPath.selector,
            address(this),
            STAKE,
            abi.encodeCall(Tournament.enter, (id, ALICE, start, path))
        );
        enter(id, p, ALICE);
        refuse(Tournament.AlreadyJoined.selector, address(this), STAKE, enterData(id, p, BOB));
        vm.warp(block.timestamp + A);
        refuse(Tournament.JoiningOver.selector, address(this), STAKE, enterData(id, liar(1), BOB));
    }

    function test_aDeadRootCannotJoinAgain() public {
        enter(id, staying(), ALICE);
        Plan memory p = then(staying(), 9, first);
        bytes32 two = enter(id, p, BOB);
        descend(matchId(id, 0), STRANGER);
        check(!game.commitment(id, two).alive, "dead");
        refuse(Tournament.AlreadyJoined.selector, address(this), STAKE, enterData(id, p, BOB));
    }

    function testFuzz_lateJoinersAreCharged(uint256 late) public {
        late = bound(late, 0, A - 1);
        enter(id, liar(1), BOB);
        vm.warp(block.timestamp + late);
        bytes32 root = enter(id, honest(), ALICE);
        equal(game.commitment(id, root).clock, late > G ? A + G - late : A, "clock");
    }

    /// Nothing settles that joined when nobody had time for an answer.
    function test_theFirstComesEarly() public {
        uint256 opened = block.timestamp;
        uint256 other = game.open(start, END);
        vm.warp(opened + A / 2 - 1);
        enter(id, liar(1), BOB);
        (bool over,) = game.isOver(other);
        check(!over, "still joined");
        vm.warp(opened + A / 2);
        refuse(Tournament.JoiningOver.selector, address(this), STAKE, enterData(other, liar(1), BOB));
        bytes32 survivor;
        (over, survivor) = game.isOver(other);
        check(over && survivor == 0, "nobody came");
        equal(finished(other, BOB), 0, "no survivor");
        refuse(Tournament.JoiningOver.selector, address(this), STAKE, enterData(other, liar(1), BOB));
        (over,) = game.isOver(id);
        check(!over, "the other is joined");
        vm.warp(opened + A - 1);
        enter(id, honest(), ALICE);
        refuse(Tournament.NotOver.selector, address(this), 0, abi.encodeCall(Tournament.finish, (id, BOB)));
    }

    function test_matched() public {
        bytes32 one = enter(id, honest(), ALICE);
        bytes32 two = enter(id, liar(1), BOB);
        Tournament.MatchView memory m = matchAt(matchId(id, 0));
        equal(m.one, one, "who waited");
        equal(m.two, two, "who came");
        equal(m.node, one, "the mover's node");
        equal(keccak256(abi.encode(m.left, m.right)), two, "the other's children");
        check(m.oneMoves && m.height == 26 && m.index == 0 && m.phase == 0 && m.child == 0, "begun");
        Tournament.TournamentView memory t = game.tournament(id);
        check(t.waiting == 0 && t.openMatches == 1 && t.alive == 2 && t.matches == 1, "counts");
        equal(game.commitment(id, one).since, block.timestamp, "on turn");
        equal(game.commitment(id, two).since, 0, "rests");
        equal(game.commitment(id, two).currentMatch, m.id, "match");
        bytes32 three = enter(id, liar(2), BOB);
        equal(game.tournament(id).waiting, three, "the third waits");
        equal(game.matches(id, 0, 9).length, 1, "one match");
    }

    // Moves

    function test_advanceRefuses() public {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        Plan memory p = honest();
        (bytes32 l, bytes32 r) = (node(p, 25, 0), node(p, 25, 1));
        (bytes32 nl, bytes32 nr) = (node(p, 24, 0), node(p, 24, 1));
        bytes4 reason = Tournament.BadNode.selector;
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.advance, (number, r, l, nl, nr)));
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.advance, (number, l, r, nr, nl)));
        refuse(reason, ALICE, 0, abi.encodeCall(Tournament.advance, (number, l, r, l, r)));
        // The other's nodes are not the mover's.
        Plan memory q = liar(1);
        bytes memory data = abi.encodeCall(
            Tournament.advance, (number, node(q, 25, 0), node(q, 25, 1), node(q, 24, 0), node(q, 24, 1))
        );
        refuse(reason, BOB, 0, data);
        bytes32[] memory none;
        refuse(Tournament.WrongPhase.selector, ALICE, 0, abi.encodeCall(Tournament.seal, (number, l, r, 0, none, "")));
        refuse(Tournament.WrongPhase.selector, ALICE, 0, abi.encodeCall(Tournament.prove, (number, "")));
        descendTo(number, 1, STRANGER);
        refuse(Tournament.WrongPhase.selector, ALICE, 0, abi.encodeCall(Tournament.advance, (number, l, r, nl, nr)));
    }

    /// Wherever two trees first differ, a match finds the place and the state before it.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_descent(uint256 place, bool first_) public {
        place = bound(place, 0, (1 << 26) - 1);
        if (place % 7 == 0) place = place % 4;
        if (place % 11 == 0) place = (1 << 26) - 1 - place % 4;
        Plan memory common = plan(leafAt(3, 0));
        if (place > 1) common = then(common, place - 1, leafAt(4, 0));
        Plan memory other = place == 0 ? plan(leafAt(5, 0)) : then(common, place, leafAt(5, 0));
        // A late difference must not distract.
        common = then(common, place == (1 << 26) - 1 ? place : place + 1, leafAt(6, 0));
        bytes32 one = enter(id, first_ ? common : other, ALICE);
        bytes32 two = enter(id, first_ ? other : common, BOB);
        Tournament.MatchView memory m = descend(matchId(id, 0), STRANGER);
        uint256 differs = place;
        while (leafOf(common, differs) == leafOf(other, differs)) ++differs;
        equal(m.index, differs, "index");
        equal(m.agreed, differs == 0 ? start : leafOf(common, differs - 1), "agreed");
        equal(m.states[0], leafOf(planOf(one), differs), "state of one");
        equal(m.states[1], leafOf(planOf(two), differs), "state of two");
        check(m.phase == 1 && m.child == 2, "child");
        Tournament.TournamentView memory t = game.tournament(m.child);
        equal(t.parentMatch, m.id, "parent");
        equal(t.contested[0], m.states[0], "contested");
        equal(t.contested[1], m.states[1], "contested");
        equal(t.level, 1, "level");
        equal(t.start, run(inputOf(m.agreed))[0], "boot state");
    }

    function refuseSeal(bytes4 reason, Plan memory q, bytes32 agreed, bytes32[] memory path, bytes memory opening)
        private
    {
        refuse(reason, BOB, 0, sealOf(q, agreed, path, opening));
    }

    /// The seal of leaves 6 and 7 of `q` in the first match.
    function sealOf(Plan memory q, bytes32 agreed, bytes32[] memory path, bytes memory opening)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(Tournament.seal, (matchId(id, 0), leafOf(q, 6), leafOf(q, 7), agreed, path, opening));
    }

    function test_sealRefuses() public {
        Plan memory p = then(plan(first), 6, leafAt(8, 0));
        Plan memory q = then(plan(first), 6, leafAt(9, 0));
        enter(id, p, ALICE);
        enter(id, q, BOB);
        descendTo(matchId(id, 0), 1, STRANGER);
        Tournament.MatchView memory m = matchAt(matchId(id, 0));
        check(!m.oneMoves && m.index == 6, "two seals");
        bytes32[] memory path = pathOf(q, 26, 5);
        bytes memory opening = openings[first];
        refuseSeal(Tournament.BadNode.selector, p, first, path, opening);
        bytes4 reason = Tournament.BadPath.selector;
        refuseSeal(reason, q, start, path, opening);
        refuseSeal(reason, q, first, pathOf(q, 25, 5), opening);
        refuseSeal(reason, q, first, pathOf(q, 26, 6), opening);
        // An inner node is no leaf, whatever the path.
        bytes32[] memory short = new bytes32[](25);
        for (uint256 i = 0; i < 25; ++i) {
            short[i] = path[i + 1];
        }
        refuseSeal(reason, q, keccak256(abi.encode(first, first)), short, opening);
        reason = Leaf.BadOpening.selector;
        refuseSeal(reason, q, first, path, openings[start]);
        refuseSeal(reason, q, first, path, "");
        refuseSeal(reason, q, first, path, abi.encode(first));
        refuseSeal(reason, q, first, path, bytes.concat(opening, hex"00"));
        // The path in the other's tree does as well.
        send(BOB, 0, sealOf(q, first, pathOf(p, 26, 5), opening));
        equal(matchAt(m.id).phase, 1, "child");
        refuseSeal(Tournament.WrongPhase.selector, q, first, path, opening);
    }

    /// A commitment that does not leave a leaf at the range's end.
    function staying() private returns (Plan memory) {
        return plan(leafAt(50, END));
    }

    function test_aLeafAtTheEndStays() public {
        bytes32 stays = leafAt(50, END);
        bytes32 one = enter(id, then(staying(), 9, first), ALICE);
        bytes32 two = enter(id, staying(), BOB);
        Tournament.MatchView memory m = descend(matchId(id, 0), STRANGER);
        equal(m.index, 9, "index");
        equal(m.agreed, stays, "agreed");
        check(m.phase == 3 && m.child == 0, "decided at once");
        check(!game.commitment(id, one).alive && game.commitment(id, two).alive, "who stays survives");
        equal(game.tournament(id).waiting, two, "and waits");
        equal(game.commitment(id, two).currentMatch, 0, "in no match");
        vm.warp(block.timestamp + A);
        equal(finished(id, STRANGER), two, "survivor");
    }

    function test_aFaultStays() public {
        bytes32 fault = faultOf(first);
        bytes32 two = enter(id, then(then(plan(first), 4, fault), 9, leafAt(8, 0)), BOB);
        bytes32 one = enter(id, then(plan(first), 4, fault), ALICE);
        Tournament.MatchView memory m = descend(matchId(id, 0), STRANGER);
        check(m.phase == 3 && m.agreed == fault, "decided at once");
        check(!game.commitment(id, two).alive && game.commitment(id, one).alive, "who stays survives");
    }

    function test_neitherStays() public {
        enter(id, then(staying(), 9, leafAt(8, 0)), ALICE);
        enter(id, then(staying(), 9, leafAt(9, 0)), BOB);
        check(descend(matchId(id, 0), STRANGER).phase == 3, "over");
        Tournament.TournamentView memory t = game.tournament(id);
        check(t.alive == 0 && t.waiting == 0, "both are dead");
        vm.warp(block.timestamp + A);
        uint256 spent = game.credits(STRANGER);
        equal(finished(id, BOB), 0, "no survivor");
        equal(game.credits(BOB), 2 * STAKE - spent, "the rest is the caller's");
    }

    /// Two commitments with one last leaf are two.
    function test_sameLastLeaf() public {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        Tournament.MatchView memory m = descend(matchId(id, 0), STRANGER);
        check(m.index == 0 && m.phase == 1, "they have a match");
    }

    // Clocks

    function testFuzz_onTurn(uint256 elapsed) public {
        bytes32 one = enter(id, honest(), ALICE);
        bytes32 two = enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        uint256 began = block.timestamp;
        elapsed = bound(elapsed, 0, 2 * A);
        if (elapsed % 5 == 0) elapsed = A + G - elapsed % 3;
        vm.warp(began + elapsed);
        if (elapsed >= A + G) {
            refuse(Tournament.OutOfTime.selector, ALICE, 0, moveData(number));
            game.timeout(number);
            check(!game.commitment(id, one).alive && game.commitment(id, two).alive, "who was on turn is dead");
            equal(game.commitment(id, two).clock, A, "the other's clock has rested");
            refuse(Tournament.WrongPhase.selector, ALICE, 0, abi.encodeCall(Tournament.timeout, (number)));
        } else {
            refuse(Tournament.InTime.selector, BOB, 0, abi.encodeCall(Tournament.timeout, (number)));
            move(number, STRANGER);
            equal(game.commitment(id, one).clock, elapsed > G ? A + G - elapsed : A, "clock");
            equal(game.commitment(id, one).since, 0, "one rests");
            equal(game.commitment(id, two).since, block.timestamp, "two is on turn");
        }
    }

    /// Grace is free, however little is left.
    function test_graceIsFree() public {
        bytes32 one = enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        vm.warp(block.timestamp + A + G - 1);
        move(number, STRANGER);
        equal(game.commitment(id, one).clock, 1, "clock");
        move(number, STRANGER);
        vm.warp(block.timestamp + G);
        move(number, STRANGER);
        equal(game.commitment(id, one).clock, 1, "grace is free");
        move(number, STRANGER);
        vm.warp(block.timestamp + G + 1);
        refuse(Tournament.OutOfTime.selector, ALICE, 0, moveData(number));
    }

    function test_clocksPersist() public {
        bytes32 one = enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        enter(id, liar(2), BOB);
        vm.warp(block.timestamp + 500 + G);
        move(matchId(id, 0), ALICE);
        vm.warp(block.timestamp + A + G);
        game.timeout(matchId(id, 0));
        equal(game.commitment(id, one).clock, 500, "what is left after the first match");
        Tournament.MatchView memory m = matchAt(matchId(id, 1));
        equal(m.two, one, "who survived came to the one that waited");
        equal(keccak256(abi.encode(m.left, m.right)), one, "its children are remembered");
        vm.warp(block.timestamp + A + G - 1);
        move(matchId(id, 1), BOB);
        vm.warp(block.timestamp + 499 + G);
        move(matchId(id, 1), ALICE);
        equal(game.commitment(id, one).clock, 1, "and after the second");
    }

    // Dispute to the instruction

    struct Dispute {
        bytes32[] states;
        bytes32 lie;
        uint256 runs;
        uint256 instructions;
    }

    /// Down to a child of level 1 with the sides "OUTPUT" (honest, one) and "another leaf".
    function openRuns() private returns (Dispute memory d) {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        d.states = run(inputOf(start));
        d.lie = stateOf(BOOT_PC, 0, 0, 1 << 8, inputOf(start), leafAt(101, 0));
        d.runs = descend(matchId(id, 0), STRANGER).child;
    }

    function openInstructions() private returns (Dispute memory d) {
        d = openRuns();
        join(d.runs, plan(d.states[8]), ALICE);
        join(d.runs, plan(d.lie), BOB);
        d.instructions = descend(matchId(d.runs, 0), STRANGER).child;
    }

    function trueInstructions(Dispute memory d) private pure returns (Plan memory p) {
        p = plan(d.states[1]);
        for (uint256 i = 2; i < 9; ++i) {
            p = then(p, i - 1, d.states[i]);
        }
    }

    function lyingInstructions(Dispute memory d, uint256 from) private pure returns (Plan memory p) {
        if (from == 0) return plan(d.lie);
        p = plan(d.states[1]);
        for (uint256 i = 1; i < from && i < 8; ++i) {
            p = then(p, i, d.states[i + 1]);
        }
        p = then(p, from, d.lie);
    }

    /// A lie about any instruction, the writing of the output and what comes after the end included, loses everything.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_truthWins(uint256 from, bool honestFirst) public {
        from = bound(from, 0, 9);
        if (from == 9) from = (1 << 20) - 1;
        Dispute memory d = openInstructions();
        Tournament.TournamentView memory t = game.tournament(d.instructions);
        equal(t.level, 2, "level");
        equal(t.start, d.states[0], "agreed");
        if (honestFirst) join(d.instructions, trueInstructions(d), ALICE);
        join(d.instructions, lyingInstructions(d, from), BOB);
        if (!honestFirst) join(d.instructions, trueInstructions(d), ALICE);
        uint256 last = matchId(d.instructions, 0);
        Tournament.MatchView memory m = descend(last, STRANGER);
        equal(m.index, from, "index");
        equal(m.phase, 2, "prove is due");
        equal(m.agreed, d.states[from < 8 ? from : 8], "agreed");
        refuse(Tournament.InTime.selector, BOB, 0, abi.encodeCall(Tournament.timeout, (last)));
        refuse(Tournament.BadProof.selector, BOB, 0, abi.encodeCall(Tournament.prove, (last, words[d.lie])));
        send(STRANGER, 0, abi.encodeCall(Tournament.prove, (last, proofs[m.agreed])));
        windUp(d);
    }

    /// The verdict goes up level by level, and every wei to somebody.
    function windUp(Dispute memory d) private {
        bytes4 notOver = Tournament.NotOver.selector;
        refuse(notOver, STRANGER, 0, abi.encodeCall(Tournament.close, (d.instructions)));
        refuse(notOver, STRANGER, 0, abi.encodeCall(Tournament.close, (d.runs)));
        vm.warp(block.timestamp + A + G);
        refuse(notOver, STRANGER, 0, abi.encodeCall(Tournament.close, (d.runs)));
        refuse(notOver, address(this), 0, abi.encodeCall(Tournament.finish, (id, STRANGER)));
        check(game.close(d.instructions) != 0, "survivor");
        refuse(notOver, STRANGER, 0, abi.encodeCall(Tournament.close, (d.instructions)));
        equal(game.close(d.runs), node(plan(d.states[8]), 20, 0), "survivor");
        bytes32 root = node(honest(), 26, 0);
        check(game.commitment(id, root).alive, "alive");
        equal(finished(id, STRANGER), root, "survivor");
        equal(game.credits(ALICE) + game.credits(STRANGER), 6 * STAKE, "all bonds");
        equal(game.credits(BOB), 0, "nothing for lies");
        check(game.credits(ALICE) >= 3 * STAKE, "the bonds are back");
        vm.prank(ALICE);
        game.withdraw();
        vm.prank(STRANGER);
        game.withdraw();
        equal(address(game).balance, 0, "empty");
        refuse(notOver, address(this), 0, abi.encodeCall(Tournament.finish, (id, STRANGER)));
    }

    function _startOf(uint256 child) private view returns (bytes32) {
        return game.tournament(child).start;
    }

    /// L1 was reorganised, and the number is another child's.
    function test_joinRefusesOtherStart() public {
        Dispute memory d = openRuns();
        (bytes32 last, bytes32[] memory path) = lastPath(plan(d.states[8]), 1);
        bytes32 other = ~_startOf(d.runs);
        bytes memory data = abi.encodeCall(Tournament.join, (d.runs, other, last, path, words[last]));
        refuse(Tournament.OtherStart.selector, ALICE, STAKE, data);
    }

    function test_joinRefuses() public {
        Dispute memory d = openRuns();
        Plan memory p = plan(d.states[8]);
        (bytes32 last, bytes32[] memory path) = lastPath(p, 1);
        refuse(Tournament.WrongBond.selector, ALICE, STAKE - 1, joinData(d.runs, p));
        bytes4 reason = State.BadState.selector;
        refuse(reason, ALICE, STAKE, abi.encodeCall(Tournament.join, (d.runs, _startOf(d.runs), last, path, "")));
        refuse(reason, ALICE, STAKE, abi.encodeCall(Tournament.join, (d.runs, _startOf(d.runs), last, path, words[d.lie])));
        bytes memory longer = bytes.concat(words[last], hex"00");
        bytes32 hash = keccak256(longer);
        refuse(reason, ALICE, STAKE, abi.encodeCall(Tournament.join, (d.runs, _startOf(d.runs), hash, path, longer)));
        refuse(
            Tournament.BadPath.selector,
            ALICE,
            STAKE,
            abi.encodeCall(Tournament.join, (d.runs, _startOf(d.runs), last, new bytes32[](26), words[last]))
        );
        // Neither fault nor another output is contested here, nor an exit with another code or a run that goes on.
        bytes32 input = inputOf(start);
        reason = Tournament.NotContested.selector;
        refuse(reason, ALICE, STAKE, joinData(d.runs, plan(stateOf(0, 0, 0, 1 << 8, input, first))));
        refuse(reason, ALICE, STAKE, joinData(d.runs, plan(stateOf(0, 0, 0, 0, input, OUTPUT))));
        refuse(reason, ALICE, STAKE, joinData(d.runs, plan(stateOf(0, 0, 0, 1 << 8 | 1, input, OUTPUT))));
        refuse(reason, ALICE, STAKE, joinData(d.runs, plan(stateOf(0, 0, 0, 2 << 8, input, OUTPUT))));
        refuse(reason, ALICE, STAKE, joinData(d.runs, plan(stateOf(0, 0, 0, 1 << 248 | 1 << 8, input, OUTPUT))));
        join(d.runs, p, ALICE);
        refuse(Tournament.AlreadyJoined.selector, BOB, STAKE, joinData(d.runs, p));
        refuse(
            Tournament.WrongLevel.selector,
            address(this),
            STAKE,
            abi.encodeCall(Tournament.enter, (d.runs, ALICE, last, path))
        );
        refuse(Tournament.WrongLevel.selector, address(this), 0, abi.encodeCall(Tournament.finish, (d.runs, ALICE)));
        join(d.runs, plan(d.lie), BOB);
        d.instructions = descend(matchId(d.runs, 0), STRANGER).child;
        refuse(reason, ALICE, STAKE, joinData(d.instructions, plan(d.states[7])));
    }

    /// Whatever is no exit with code 0 stands for FAULT of the agreed leaf.
    function test_faultIsASide() public {
        bytes32 fault = faultOf(start);
        enter(id, plan(fault), BOB);
        enter(id, honest(), ALICE);
        uint256 child = descend(matchId(id, 0), STRANGER).child;
        bytes32 input = inputOf(start);
        uint256[4] memory statuses = [uint256(0), 2 << 8, 1 << 8 | 101, 77];
        for (uint256 i = 0; i < 4; ++i) {
            bytes32 root = join(child, plan(stateOf(0, 0, 0, statuses[i], input, OUTPUT)), BOB);
            equal(game.commitment(child, root).side, 0, "side of FAULT");
        }
        bytes32 honest_ = join(child, plan(run(input)[8]), ALICE);
        equal(game.commitment(child, honest_).side, 1, "side of the output");
    }

    function test_sidesHaveTheirClocks() public {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        vm.warp(block.timestamp + 300 + G);
        descendTo(number, 1, STRANGER);
        vm.warp(block.timestamp + 600 + G);
        // Two seals, so its clock has 400 left, one's 700.
        uint256 child = descend(number, STRANGER).child;
        uint256 opened = block.timestamp;
        Tournament.TournamentView memory t = game.tournament(child);
        check(t.sideClocks[0] == A - 300 && t.sideClocks[1] == A - 600 && t.opened == opened, "clocks");
        bytes32 input = inputOf(start);
        bytes32 lie = stateOf(0, 0, 0, 1 << 8, input, leafAt(101, 0));
        vm.warp(opened + G + 399);
        bytes32 two = join(child, plan(lie), BOB);
        equal(game.commitment(child, two).clock, 1, "late joiners have little");
        vm.warp(opened + G + 400);
        refuse(Tournament.JoiningOver.selector, BOB, STAKE, joinData(child, then(plan(first), 1, lie)));
        refuse(Tournament.WrongPhase.selector, BOB, 0, abi.encodeCall(Tournament.timeout, (number)));
        refuse(Tournament.NotOver.selector, BOB, 0, abi.encodeCall(Tournament.close, (child)));
        bytes32[] memory states = run(input);
        vm.warp(opened + G + 699);
        bytes32 one = join(child, plan(states[8]), ALICE);
        equal(game.commitment(child, one).clock, 1, "late joiners have little");
        check(game.commitment(child, two).since > 0, "and who waited is on turn");
        vm.warp(opened + G + 700);
        refuse(Tournament.JoiningOver.selector, ALICE, STAKE, joinData(child, then(plan(first), 1, states[8])));
    }

    /// As long as one side may still come, an empty child is not over.
    function test_anEmptyChildWaitsForBoth() public {
        for (uint256 slow = 0; slow < 2; ++slow) {
            id = game.open(start, END);
            enter(id, honest(), ALICE);
            enter(id, liar(1), BOB);
            uint256 number = matchId(id, 0);
            if (slow == 1) move(number, STRANGER);
            vm.warp(block.timestamp + 300 + G);
            uint256 child = descend(number, STRANGER).child;
            uint256 opened = block.timestamp;
            equal(game.tournament(child).sideClocks[slow], A - 300, "the slow");
            vm.warp(opened + G + A - 1);
            (bool over,) = game.isOver(child);
            check(!over, "the quick one may come");
            vm.warp(opened + G + A);
            (over,) = game.isOver(child);
            check(over, "nobody came");
        }
    }

    /// While a child is played nobody's clock runs in the match.
    function test_noTimeoutWhileAChildIsPlayed() public {
        Dispute memory d = openRuns();
        vm.warp(block.timestamp + 10 * A);
        refuse(Tournament.WrongPhase.selector, BOB, 0, abi.encodeCall(Tournament.timeout, (matchId(id, 0))));
        refuse(Tournament.NotOver.selector, address(this), 0, abi.encodeCall(Tournament.finish, (id, BOB)));
        // Nobody came: neither survives, above as well.
        equal(game.close(d.runs), 0, "no survivor");
        equal(game.tournament(id).alive, 0, "both are dead");
        equal(finished(id, BOB), 0, "no survivor");
        equal(game.credits(BOB) + game.credits(STRANGER), 2 * STAKE, "all bonds");
    }

    function test_aChildWithoutSurvivorPaysTheParent() public {
        Dispute memory d = openInstructions();
        join(d.instructions, trueInstructions(d), ALICE);
        join(d.instructions, lyingInstructions(d, 3), BOB);
        uint256 last = matchId(d.instructions, 0);
        descend(last, STRANGER);
        vm.warp(block.timestamp + A + G - 1);
        refuse(Tournament.InTime.selector, BOB, 0, abi.encodeCall(Tournament.timeout, (last)));
        vm.warp(block.timestamp + 1);
        refuse(Tournament.OutOfTime.selector, BOB, 0, abi.encodeCall(Tournament.prove, (last, proofs[d.states[3]])));
        game.timeout(last);
        uint256 pots = uint256(game.tournament(d.instructions).pot) + game.tournament(d.runs).pot;
        equal(game.close(d.instructions), 0, "no survivor");
        equal(game.tournament(d.runs).pot, pots, "the parent has it");
        equal(game.tournament(d.instructions).pot, 0, "the child has nothing");
        equal(game.close(d.runs), 0, "no survivor");
        equal(finished(id, BOB), 0, "no survivor");
        equal(game.credits(BOB) + game.credits(STRANGER), 6 * STAKE, "all bonds");
    }

    /// Who is right in a child gets its own bond there; what others lost goes to who is right in the end.
    function test_aChildPaysNoMoreThanTheBond() public {
        Dispute memory d = openInstructions();
        join(d.instructions, trueInstructions(d), ALICE);
        join(d.instructions, lyingInstructions(d, 3), BOB);
        uint256 before = game.credits(ALICE);
        uint256 pots = uint256(game.tournament(d.instructions).pot) + game.tournament(d.runs).pot;
        uint256 last = finishDescent(d);
        game.prove(last, proofs[d.states[3]]);
        vm.warp(block.timestamp + A + G);
        check(game.close(d.instructions) != 0, "a survivor");
        equal(game.credits(ALICE) - before, STAKE, "its bond");
        uint256 refunded = game.credits(STRANGER) + game.credits(address(this));
        check(game.tournament(d.runs).pot + STAKE <= pots, "no more than there was");
        check(game.tournament(d.runs).pot + STAKE + refunded >= pots, "the rest goes up");
        equal(game.tournament(d.instructions).pot, 0, "the child has nothing");
    }

    function test_aProofThatNobodyClaimed() public {
        Dispute memory d = openInstructions();
        join(d.instructions, then(plan(first), 20, d.lie), ALICE);
        join(d.instructions, then(plan(OUTPUT), 20, d.lie), BOB);
        game.prove(finishDescent(d), proofs[d.states[0]]);
        equal(game.tournament(d.instructions).alive, 0, "both lied");
    }

    function finishDescent(Dispute memory d) private returns (uint256 number) {
        number = matchId(d.instructions, 0);
        descend(number, STRANGER);
    }

    /// The clock that is left below is what is left above; who proves late has none, but its grace.
    function test_clocksGoUp() public {
        Dispute memory d = openInstructions();
        join(d.instructions, lyingInstructions(d, 3), BOB);
        bytes32 root = join(d.instructions, trueInstructions(d), ALICE);
        uint256 number = matchId(d.instructions, 0);
        descendTo(number, 1, STRANGER);
        check(!matchAt(number).oneMoves, "the true one seals");
        vm.warp(block.timestamp + 200 + G);
        descend(number, STRANGER);
        vm.warp(block.timestamp + A - 200 + G + 100);
        game.prove(number, proofs[d.states[3]]);
        equal(game.commitment(d.instructions, root).clock, 0, "none left");
        vm.warp(block.timestamp + A);
        game.close(d.instructions);
        equal(game.commitment(d.runs, node(plan(d.states[8]), 20, 0)).clock, 0, "nor above");
        game.close(d.runs);
        equal(game.commitment(id, node(honest(), 26, 0)).clock, 0, "nor at the top");
    }

    /// A survivor whose opposite side is not joined any more has won: nobody of its own side can drag it on.
    function test_overIsOver() public {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        descendTo(number, 1, STRANGER);
        vm.warp(block.timestamp + A + G - 1);
        uint256 child = descend(number, STRANGER).child;
        equal(game.tournament(child).sideClocks[1], 1, "the liar has a second left");
        bytes32[] memory states = run(inputOf(start));
        bytes32 root = join(child, plan(states[8]), ALICE);
        (bool over,) = game.isOver(child);
        check(!over, "the liar may come");
        vm.warp(block.timestamp + G + 1);
        bytes32 survivor;
        (over, survivor) = game.isOver(child);
        check(over && survivor == root, "over");
        equal(game.tournament(child).survivor, root, "survivor");
        refuse(Tournament.JoiningOver.selector, BOB, STAKE, joinData(child, then(plan(first), 3, states[8])));
        game.close(child);
        refuse(Tournament.JoiningOver.selector, BOB, STAKE, joinData(child, then(plan(first), 3, states[8])));
    }

    /// The honest side plays every liar, whoever they are, and beats them all.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_manyLiars(uint256 seed) public {
        uint256 liars = bound(seed, 1, 5);
        uint256 turn = seed / 5 % (liars + 1);
        for (uint256 i = 0; i <= liars; ++i) {
            if (i == turn) {
                enter(id, then(staying(), 1000, leafAt(50, END)), ALICE);
            } else {
                enter(
                    id,
                    then(staying(), 1 + uint256(keccak256(abi.encode(seed, i))) % (1 << 26 - 1), leafAt(60 + i, 0)),
                    BOB
                );
            }
        }
        for (uint256 i = 0; i < game.tournament(id).matches; ++i) {
            descend(matchId(id, i), STRANGER);
        }
        vm.warp(block.timestamp + A);
        bytes32 survivor = finished(id, STRANGER);
        equal(game.commitment(id, survivor).claimer, ALICE, "the truth");
        equal(game.credits(ALICE) + game.credits(STRANGER), (liars + 1) * STAKE, "all bonds");
        check(game.credits(ALICE) >= STAKE, "no loss");
    }

    // Bonds

    function test_refunds() public {
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        uint256 number = matchId(id, 0);
        vm.txGasPrice(7 gwei);
        move(number, ALICE);
        equal(game.credits(ALICE), 110_000 * 7 gwei, "at the price of the transaction");
        vm.txGasPrice(1000 gwei);
        move(number, BOB);
        equal(game.credits(BOB), 110_000 * uint256(GAS_PRICE), "at most at the bound");
        equal(game.tournament(id).pot, 2 * STAKE - 110_000 * 37 gwei, "out of the pot");
        vm.txGasPrice(0);
        move(number, STRANGER);
        equal(game.credits(STRANGER), 0, "nothing for nothing");
        refuse(Tournament.NothingToWithdraw.selector, STRANGER, 0, abi.encodeCall(Tournament.withdraw, ()));
        vm.txGasPrice(1 gwei);
        descend(number, STRANGER);
        equal(game.credits(STRANGER), (22 * 110_000 + 400_000) * 1 gwei, "seal");
    }

    function test_withdrawOnce() public {
        Payee payee = new Payee(game);
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        payee.advance(moveData(matchId(id, 0)));
        uint256 credit = game.credits(address(payee));
        equal(credit, 110_000 * uint256(GAS_PRICE), "credit");
        payee.behave(false, true);
        vm.expectRevert(Tournament.PaymentFailed.selector);
        payee.withdraw();
        equal(game.credits(address(payee)), credit, "kept");
        payee.behave(true, false);
        payee.withdraw();
        equal(address(payee).balance, credit, "paid once");
        equal(game.credits(address(payee)), 0, "no credit is left");
        equal(address(game).balance, 2 * STAKE - credit, "the rest stays");
    }

    function test_noEtherElse() public {
        vm.deal(address(this), 1 ether);
        (bool success,) = address(game).call{value: 1}("");
        check(!success, "no receive");
    }

    // Gas

    /// Of a refund: two slots, one of them new, and an event. In a transaction of its own a call has a gas price of 0 here, so
    /// that it is not measured with the call.
    uint256 private constant REFUND = 31_000;

    /// Gas of a transaction, its calldata included. At 64 gas a byte it stays below 8M.
    function measure(string memory name, address who, uint256 value, bytes memory data, uint256 most) private {
        vm.deal(who, who.balance + value);
        vm.prank(who);
        (bool success,) = address(game).call{value: value}(data);
        check(success, name);
        uint256 gasUsed = vm.snapshotGasLastCall("Tournament", name) + REFUND;
        check(gasUsed + 64 * data.length <= 8_000_000, name);
        if (gasUsed > most) revert Different(name, gasUsed, most);
    }

    /// Each call is a transaction of its own.
    /// forge-config: default.isolate = true
    function test_gas() public {
        measure("open", address(this), 0, abi.encodeCall(Tournament.open, (start, END)), 130_000);
        Plan memory p = then(plan(first), 6, OUTPUT);
        measure("enter", address(this), STAKE, enterData(id, remembered(p, 0), ALICE), 200_000);
        p = then(plan(first), 6, leafAt(9, 0));
        measure("enter, matched", address(this), STAKE, enterData(id, remembered(p, 0), BOB), 300_000);
        uint256 number = matchId(id, 0);
        vm.warp(block.timestamp + G + 1);
        measure("advance", ALICE, 0, moveData(number), 150_000);
        descendTo(number, 2, STRANGER);
        vm.warp(block.timestamp + G + 1);
        measure("advance, right", ALICE, 0, moveData(number), 150_000);
        vm.warp(block.timestamp + G + 1);
        // The refund comes on top of a move's 150,000.
        measure("seal, level 0", BOB, 0, moveData(number), 150_000 + REFUND);
        check(matchAt(number).index == 6 && matchAt(number).phase == 1, "with a path");
        childGas();
    }

    /// Bound of what has none of its own.
    uint256 private constant ALL = 300_000;

    function childGas() private {
        Dispute memory d;
        bytes32 input = inputOf(first);
        d.states = run(input);
        d.lie = stateOf(BOOT_PC, 0, 0, 1 << 8, input, leafAt(9, 0));
        (d.runs, d.instructions) = (3, 4);
        measure("join, level 1", ALICE, STAKE, joinData(d.runs, remembered(plan(d.states[8]), 1)), ALL);
        measure("join, level 1, matched", BOB, STAKE, joinData(d.runs, remembered(plan(d.lie), 1)), 330_000);
        uint256 number = matchId(d.runs, 0);
        descendTo(number, 1, STRANGER);
        vm.warp(block.timestamp + G + 1);
        measure("seal, level 1", BOB, 0, moveData(number), ALL);
        measure("join, level 2", ALICE, STAKE, joinData(d.instructions, remembered(trueInstructions(d), 2)), ALL);
        measure(
            "join, level 2, matched",
            BOB,
            STAKE,
            joinData(d.instructions, remembered(lyingInstructions(d, 4), 2)),
            330_000
        );
        number = matchId(d.instructions, 0);
        descendTo(number, 1, STRANGER);
        measure("seal, level 2", BOB, 0, moveData(number), ALL);
        bytes memory proof = proofs[d.states[4]];
        measure("prove", ALICE, 0, abi.encodeCall(Tournament.prove, (number, proof)), ALL);
        vm.warp(block.timestamp + A + G);
        measure("close", BOB, 0, abi.encodeCall(Tournament.close, (d.instructions)), 200_000);
        game.close(d.runs);
        measure("finish", address(this), 0, abi.encodeCall(Tournament.finish, (id, BOB)), 150_000);
        measure("withdraw", ALICE, 0, abi.encodeCall(Tournament.withdraw, ()), 100_000);
        timeoutGas();
    }

    function timeoutGas() private {
        id = game.open(start, END);
        enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        enter(id, liar(2), BOB);
        vm.warp(block.timestamp + A + G);
        measure("timeout", STRANGER, 0, abi.encodeCall(Tournament.timeout, (matchId(id, 0))), ALL);
    }

    function remembered(Plan memory p, uint256 level) private returns (Plan memory) {
        remember(p, level);
        return p;
    }
}
