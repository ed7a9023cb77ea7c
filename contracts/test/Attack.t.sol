// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TournamentBase} from "./TournamentBase.sol";
import {Tournament} from "../src/l1/Tournament.sol";

/// @notice Ways to win or to drain that look open: each ends with the true commitment alive and its clock whole.
contract AttackTest is TournamentBase {
    bytes32 private start;
    uint256 private id;

    function setUp() public {
        deployTournament();
        start = leafAt(0, 0);
        id = game.open(start, END);
    }

    function honest() private returns (Plan memory) {
        openings[OUTPUT] = "";
        return then(plan(OUTPUT), 5, leafAt(2, 1));
    }

    function liar(uint256 seed) private returns (Plan memory) {
        return then(plan(leafAt(100 + seed, 0)), 5, leafAt(2, 1));
    }

    /// In a child, a false commitment joins the honest side first: it ends in the true state, and is there to lose, to be late
    /// and to leave its clock to the parent's true commitment.
    function test_falseFriend() public {
        bytes32 root = enter(id, honest(), ALICE);
        enter(id, liar(1), BOB);
        bytes32[] memory states = run(inputOf(start));
        bytes32 lie = stateOf(BOOT_PC, 0, 0, 1 << 8, inputOf(start), leafAt(101, 0));
        uint256 runs = descend(matchId(id, 0), STRANGER).child;

        vm.warp(block.timestamp + G);
        bytes32 friend = join(runs, then(plan(keccak256("no state")), 1 << 19, states[8]), BOB);
        join(runs, plan(lie), BOB);
        bytes32 truth = join(runs, plan(states[8]), ALICE);
        // The friend never moves.
        vm.warp(block.timestamp + G + A);
        game.timeout(matchId(runs, 0));
        check(!game.commitment(runs, friend).alive, "a friend less");

        uint256 child = descend(matchId(runs, 1), STRANGER).child;
        Plan memory instructions = plan(states[1]);
        for (uint256 i = 2; i < 9; ++i) instructions = then(instructions, i - 1, states[i]);
        join(child, instructions, ALICE);
        vm.warp(block.timestamp + G + A);
        game.close(child);
        equal(game.close(runs), truth, "survivor");
        check(game.commitment(id, root).alive, "alive");
        equal(game.commitment(id, root).clock, A, "nothing of the clock is lost");
        vm.warp(block.timestamp + A);
        equal(finished(id, STRANGER), root, "survivor");
        check(game.credits(ALICE) >= 3 * STAKE, "her bonds, and theirs");
    }

    /// Two liars kill each other as they come, so that a third can be last and alone. Whoever saw them has joined.
    function test_deadLiarsOpenNoDoor() public {
        bytes32 stays = leafAt(7, END);
        enter(id, then(plan(stays), 1, leafAt(8, END)), BOB);
        enter(id, then(plan(stays), 1, leafAt(9, END)), BOB);
        descend(matchId(id, 0), BOB);
        equal(game.tournament(id).alive, 0, "both left a leaf that steps to itself");

        vm.warp(block.timestamp + A / 2);
        (bool over,) = game.isOver(id);
        check(!over, "there is time for an answer");
        bytes32 root = enter(id, honest(), ALICE);
        vm.warp(block.timestamp + A / 2 - 1);
        enter(id, liar(1), BOB);
        // The liar's clock has a second more than the grace, and it does not move for itself.
        move(matchId(id, 1), ALICE);
        vm.warp(block.timestamp + 2 * G + 1);
        game.timeout(matchId(id, 1));
        equal(finished(id, STRANGER), root, "survivor");
        // At least the bond, and all that liars lost but refunds to themselves.
        check(game.credits(ALICE) + game.credits(BOB) == 4 * STAKE && game.credits(ALICE) > STAKE, "every wei");
        equal(game.commitment(id, root).clock, A / 2 + G, "nothing but the half that it came late");
    }

    /// Whatever liars refund to themselves, at the highest price and in one block, comes from what they lost.
    /// forge-config: default.fuzz.runs = 16
    function testFuzz_refundsAreOfLiars(uint256 count, uint256 price) public {
        count = bound(count, 1, 6);
        vm.txGasPrice(bound(price, 0, 1000 gwei));
        bytes32 root = enter(id, honest(), ALICE);
        for (uint256 i = 0; i < count; ++i) enter(id, liar(i), BOB);
        while (game.tournament(id).alive > 1) {
            uint256 matches = game.tournament(id).matches;
            for (uint256 i = 0; i < matches; ++i) _play(matchId(id, i), root);
            vm.warp(block.timestamp + A + G);
            for (uint256 i = 0; i < matches; ++i) {
                Tournament.MatchView memory m = matchAt(matchId(id, i));
                if (m.phase == 0) game.timeout(m.id);
                if (m.phase == 1) game.close(m.child);
            }
        }
        equal(game.commitment(id, root).clock, A, "clock");
        vm.warp(block.timestamp + A);
        equal(finished(id, STRANGER), root, "survivor");
        check(game.credits(ALICE) >= STAKE, "her bond");
        equal(game.credits(ALICE) + game.credits(BOB), address(game).balance, "every wei");
    }

    /// Liars make all moves and take all refunds, but for a last one that they have no answer to.
    function _play(uint256 number, bytes32 root) private {
        while (true) {
            Tournament.MatchView memory m = matchAt(number);
            bool theirs = (m.oneMoves ? m.one : m.two) != root;
            if (m.phase != 0 || (m.height == 1 && theirs)) return;
            move(number, BOB);
            m = matchAt(number);
            if (m.phase == 1) join(m.child, plan(run(inputOf(start))[8]), ALICE);
        }
    }
}
