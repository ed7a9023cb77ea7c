// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Memory} from "@openzeppelin/contracts/utils/Memory.sol";
import {RLP} from "@openzeppelin/contracts/utils/RLP.sol";
import {Vm} from "./Vm.sol";
import {WithdrawalBase} from "./WithdrawalBase.sol";
import {Claim} from "../src/l1/Claim.sol";
import {Claims} from "../src/l1/Claims.sol";
import {Config} from "../src/l1/Config.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Leaf} from "../src/l1/Leaf.sol";
import {Machine} from "../src/l1/Machine.sol";
import {PreimageOracle} from "../src/l1/PreimageOracle.sol";
import {Tournament} from "../src/l1/Tournament.sol";
import {Header} from "../src/lib/Header.sol";
import {WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

contract ClaimsTest is WithdrawalBase {
    function setUp() public {
        start();
    }

    // The beginning

    function test_genesis() public view {
        equal(address(claims.inbox()), address(inbox), "inbox");
        equal(claims.claimInterval(), CLAIM_INTERVAL, "claimInterval");
        equal(claims.challengeWindow(), CHALLENGE_WINDOW, "challengeWindow");
        bytes32 root = keccak256(
            abi.encode(bytes32(0), keccak256("genesis state"), EMPTY_ROOT, keccak256(genesisHeader()))
        );
        (bytes32 leaf, bytes32 outputRoot_, uint64 record_, uint64 l2Block, uint256 range) = claims.settled();
        equal(outputRoot_, root, "outputRoot");
        equal(leaf, keccak256(abi.encode(root, 0, 0, 0)), "leaf");
        equal(record_, 0, "record");
        equal(l2Block, 0, "l2Block");
        equal(range, 0, "range");
        check(!claims.faulted(), "faulted");
        equal(claims.lastOpened(), 0, "lastOpened");
        equal(claims.openRanges().length, 0, "openRanges");
        equal(claims.gameCount(), 0, "gameCount");
        equal(claims.findLatestGames(20_559, 0, 0).length, 0, "findLatestGames");
        (bytes32 from, uint64 end, bytes32 acc, uint64 opened, Claims.RangeStatus status) = claims.range(1);
        check(from == 0 && end == 0 && acc == 0 && opened == 0 && status == Claims.RangeStatus.None, "range");
    }

    function test_constructorRefuses() public {
        vm.expectRevert(abi.encodeWithSelector(Claims.NotGenesis.selector, keccak256("other")));
        new Claims(inbox, tournament, 10, "other");
        // A tournament that answers to other Claims.
        bytes memory genesis = genesisHeader();
        vm.expectRevert(Claims.ForeignTournament.selector);
        new Claims(inbox, tournament, 10, genesis);
        // One of another Inbox.
        Machine machine = new Machine(new PreimageOracle());
        address stranger = address(new Inbox(developmentConfig(), keccak256("other")));
        uint256 nonce = vm.getNonce(address(this));
        Tournament.Settings memory settings =
            tournamentSettings(vm.computeCreateAddress(address(this), nonce + 1), machine);
        settings.inbox = stranger;
        Tournament foreign = new Tournament(settings);
        vm.expectRevert(Claims.ForeignTournament.selector);
        new Claims(inbox, foreign, 10, genesis);
        // More openings in a challenge window than ranges can be open.
        nonce = vm.getNonce(address(this));
        foreign = new Tournament(tournamentSettings(vm.computeCreateAddress(address(this), nonce + 1), machine));
        vm.expectRevert(Claims.IntervalTooShort.selector);
        new Claims(inbox, foreign, 7, genesis);
        // A genesis that is no header.
        Config memory config = developmentConfig();
        Inbox other = new Inbox(config, keccak256(hex"c0"));
        nonce = vm.getNonce(address(this));
        settings = tournamentSettings(vm.computeCreateAddress(address(this), nonce + 1), machine);
        settings.inbox = address(other);
        foreign = new Tournament(settings);
        vm.expectRevert(Header.BadHeader.selector);
        new Claims(other, foreign, 10, hex"c0");
    }

    // Ranges

    function test_open() public {
        // Record 0 alone is something to settle.
        vm.recordLogs();
        uint256 id = claims.open();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory log = logs[logs.length - 1];
        (bytes32 genesis,,,,) = claims.settled();
        equal(log.topics[0], keccak256("Opened(uint256,uint64)"), "event");
        equal(uint256(log.topics[1]), id, "range");
        equal(log.data, abi.encode(uint64(1)), "end");
        (bytes32 from, uint64 end, bytes32 acc, uint64 opened, Claims.RangeStatus status) = claims.range(id);
        equal(from, genesis, "start");
        equal(end, 1, "end");
        equal(acc, inbox.accumulator(0), "endAccumulator");
        equal(opened, block.timestamp, "opened");
        check(status == Claims.RangeStatus.Open, "status");
        equal(claims.lastOpened(), block.timestamp, "lastOpened");
        equal(claims.undisputedUntil(id), block.timestamp + CHALLENGE_WINDOW, "undisputedUntil");

        vm.expectRevert(abi.encodeWithSelector(Claims.TooEarly.selector, block.timestamp + CLAIM_INTERVAL));
        claims.open();
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        vm.expectRevert(Claims.NothingNew.selector);
        claims.open();
        // The end stays where it was.
        record();
        (, end, acc,,) = claims.range(id);
        equal(end, 1, "end");
        equal(acc, inbox.accumulator(0), "endAccumulator");
        equal(claims.open(), id + 1, "another");
    }

    function test_eightRanges() public {
        uint256[8] memory ids;
        for (uint256 i; i < 8; ++i) {
            ids[i] = openRange();
            vm.warp(block.timestamp + CLAIM_INTERVAL);
        }
        record();
        vm.expectRevert(Claims.TooManyOpen.selector);
        claims.open();
        equal(claims.openRanges().length, 8, "openRanges");
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        // In any order.
        claims.settle(ids[3]);
        claims.settle(ids[7]);
        claims.settle(ids[0]);
        uint256[] memory open = claims.openRanges();
        equal(open.length, 5, "openRanges");
        uint256 seen;
        for (uint256 i; i < open.length; ++i) seen |= 1 << open[i];
        equal(seen, 1 << ids[1] | 1 << ids[2] | 1 << ids[4] | 1 << ids[5] | 1 << ids[6], "which");
        claims.open();
        equal(claims.openRanges().length, 6, "openRanges");
        vm.expectRevert(Tournament.NotOver.selector);
        claims.settle(ids[3]);
        vm.expectRevert(abi.encodeWithSelector(Tournament.NoTournament.selector, 0));
        claims.settle(0);
        equal(claims.openRanges().length, 6, "openRanges");
    }

    /// Nodes ask at every L1 block which ranges are open, and providers bound the gas of a question: tournaments below matches,
    /// which have numbers too, must not make it dearer, however many an attacker pays for.
    function test_childrenHideNoRange() public {
        uint256 first = openRange();
        uint256 number = 2_000;
        for (uint256 id = first + 1; id <= first + number; ++id) {
            // `_games[id]`: level 1, opened now.
            bytes32 slot = bytes32(uint256(keccak256(abi.encode(id, 2))) + 1);
            vm.store(address(tournament), slot, bytes32(block.timestamp << 16 | 1));
            equal(tournament.tournament(id).level, 1, "level");
        }
        vm.store(address(tournament), bytes32(uint256(1)), bytes32(first + number));
        equal(tournament.count(), first + number, "count");
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        uint256 second = openRange();
        equal(second, first + number + 1, "second");
        uint256[] memory open = claims.openRanges{gas: 200_000}();
        equal(open.length, 2, "openRanges");
        equal(open[0], second, "the newest");
        equal(open[1], first, "the oldest");
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        equal(openRange(), second + 1, "third");
        equal(claims.openRanges{gas: 200_000}()[2], first, "still");
    }

    /// A range that nobody won may be opened again with the same end; one that somebody won may not.
    function test_reopened() public {
        uint256 id = openRange();
        vm.expectRevert(Tournament.NotOver.selector);
        claims.settle(id);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        vm.expectRevert(Claims.NothingNew.selector);
        claims.open();
        equal(claims.settle(id), 0, "survivor");
        (, uint64 end,,, Claims.RangeStatus status) = claims.range(id);
        check(status == Claims.RangeStatus.WithoutSurvivor, "status");
        id = claims.open();
        (, uint64 again,,,) = claims.range(id);
        equal(again, end, "end");
        State memory s = state(new WithdrawalTransaction[](0));
        join(CLAIMER, id, output(s), "true");
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        claims.settle(id);
        vm.expectRevert(Claims.NothingNew.selector);
        claims.open();
    }

    /// Who closes a range in which all lost is named to the Tournament, which credits it with what is left.
    function test_rangeInWhichAllLost() public {
        uint256 id = openRange();
        uint256 index = join(LIAR, id, output(state(new WithdrawalTransaction[](0))), "a");
        bytes memory nobody = abi.encode(bytes32(0), bytes32(0), uint64(0));
        vm.mockCall(address(tournament), abi.encodeCall(tournament.finish, (id, BOB)), nobody);
        vm.expectRevert(Tournament.NotOver.selector);
        claims.settle(id);
        vm.prank(BOB);
        equal(claims.settle(id), 0, "survivor");
        check(claims.isBeaten(index) && !claims.isSettleable(index), "beaten");
        equal(uint256(Claim(claims.claim(index).game).resolvedAt()), block.timestamp, "resolvedAt");
        (,,,, uint256 range) = claims.settled();
        equal(range, 0, "nothing settled");
    }

    // Claims

    function testFuzz_join(uint64 number, bytes32 stateRoot, bytes32 storageRoot, uint48 record_, uint64 block_, uint64 forced)
        public
    {
        uint256 id = openRange();
        bytes memory head = header(number, stateRoot, storageRoot);
        uint256 index = join(CLAIMER, id, Claims.Output(head, record_, block_, forced, 0), "path");
        Claims.ClaimView memory c = claims.claim(index);
        equal(c.outputRoot, keccak256(abi.encode(bytes32(0), stateRoot, storageRoot, keccak256(head))), "outputRoot");
        equal(c.leaf, keccak256(abi.encode(c.outputRoot, record_, block_, forced)), "leaf");
        bytes32 node = c.leaf;
        bytes32[] memory siblings = path("path");
        for (uint256 i; i < 26; ++i) node = keccak256(abi.encode(siblings[i], node));
        equal(c.commitment, node, "commitment");
        equal(c.l2Block, number, "l2Block");
        equal(c.range, id, "range");
        equal(c.createdAt, block.timestamp, "createdAt");
        equal(c.resolvedAt, 0, "resolvedAt");
        check(c.status == Claims.ClaimStatus.InProgress, "status");
        equal(claims.claimOf(c.game), index, "claimOf");
        checkGame(Claim(c.game), c);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        check(claims.isSettleable(index), "settleable");
        claims.settle(id);
        equal(Claim(c.game).resolvedAt(), block.timestamp, "resolvedAt");
        equal(uint256(Claim(c.game).status()), 2, "status");
        checkSettled(c, record_);
    }

    function checkGame(Claim game, Claims.ClaimView memory c) private view {
        equal(game.rootClaim(), c.outputRoot, "rootClaim");
        equal(game.l2SequenceNumber(), c.l2Block, "l2SequenceNumber");
        equal(game.l2BlockNumber(), c.l2Block, "l2BlockNumber");
        equal(game.extraData(), abi.encode(c.l2Block), "extraData");
        equal(game.gameType(), 20_559, "gameType");
        equal(game.createdAt(), block.timestamp, "createdAt");
        equal(game.resolvedAt(), 0, "resolvedAt");
        equal(game.expectedResolution(), block.timestamp + CHALLENGE_WINDOW, "expectedResolution");
        equal(game.maxClockDuration(), CHALLENGE_WINDOW, "maxClockDuration");
        equal(uint256(game.status()), 0, "status");
        equal(address(game.claims()), address(claims), "claims");
    }

    function checkSettled(Claims.ClaimView memory c, uint64 record_) private view {
        (bytes32 leaf, bytes32 root, uint64 at_, uint64 l2Block, uint256 range) = claims.settled();
        check(leaf == c.leaf && root == c.outputRoot && at_ == record_, "settled");
        check(l2Block == c.l2Block && range == c.range, "settled");
    }

    function test_joinTold() public {
        uint256 id = openRange();
        State memory s = state(new WithdrawalTransaction[](0));
        Claims.Output memory o = output(s);
        vm.recordLogs();
        uint256 index = join(CLAIMER, id, o, "path");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory log = logs[logs.length - 1];
        Claims.ClaimView memory c = claims.claim(index);
        equal(
            log.topics[0],
            keccak256(
                "Claimed(uint256,uint256,bytes32,address,address,bytes32,bytes32,uint64,uint64)"
            ),
            "event"
        );
        equal(uint256(log.topics[1]), index, "index");
        equal(uint256(log.topics[2]), id, "range");
        equal(log.topics[3], c.leaf, "leaf");
        equal(
            log.data,
            abi.encode(c.game, CLAIMER, c.commitment, c.outputRoot, c.l2Block, o.record),
            "event"
        );
    }

    function test_joinRefused() public {
        uint256 id = openRange();
        Claims.Output memory o = output(state(new WithdrawalTransaction[](0)));
        (bytes32 first, bytes32 end) = bounds(id);
        vm.deal(address(this), 10 ether);
        vm.expectRevert(abi.encodeWithSelector(Tournament.NoTournament.selector, id + 1));
        claims.join{value: BOND}(id + 1, first, end, path("a"), o);
        vm.expectRevert(abi.encodeWithSelector(Tournament.WrongBond.selector, BOND - 1));
        claims.join{value: BOND - 1}(id, first, end, path("a"), o);
        vm.expectRevert(Tournament.BadPath.selector);
        claims.join{value: BOND}(id, first, end, new bytes32[](25), o);
        // L1 was reorganised, and the number is another range's.
        vm.expectRevert(Claims.OtherRange.selector);
        claims.join{value: BOND}(id, ~first, end, path("a"), o);
        vm.expectRevert(Claims.OtherRange.selector);
        claims.join{value: BOND}(id, first, ~end, path("a"), o);
        claims.join{value: BOND}(id, first, end, path("a"), o);
        bytes32 root = claims.claim(0).commitment;
        vm.expectRevert(abi.encodeWithSelector(Tournament.AlreadyJoined.selector, root));
        claims.join{value: BOND}(id, first, end, path("a"), o);
        o.record = 1 << 48;
        vm.expectRevert();
        claims.join{value: BOND}(id, first, end, path("b"), o);
        o.record = 1;
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        vm.expectRevert(Tournament.JoiningOver.selector);
        claims.join{value: BOND}(id, first, end, path("b"), o);
        claims.settle(id);
        vm.expectRevert(Tournament.JoiningOver.selector);
        claims.join{value: BOND}(id, first, end, path("b"), o);
        equal(address(claims).balance, 0, "Claims keeps nothing");
        equal(claims.gameCount(), 1, "gameCount");
    }

    // Headers

    /// The reader agrees with OpenZeppelin's decoder wherever both take a header. (It also takes lengths that are not the
    /// shortest encoding; such bytes are no block's, and their hash no true output's.)
    function testFuzz_headersReadAsByOpenZeppelin(uint64 number, bytes32 a, bytes32 b, uint256 seed) public view {
        bytes memory head = header(number, a, b);
        for (uint256 i; i < seed % 4; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            head[seed % head.length] = bytes1(uint8(seed >> 128));
        }
        try this.outputOf(head) returns (bytes32 root, uint64 n) {
            try this.outputByOpenZeppelin(head) returns (bytes32 expected, uint256 expectedNumber) {
                equal(root, expected, "outputRoot");
                equal(n, expectedNumber, "number");
            } catch {
                check(keccak256(head) != keccak256(header(number, a, b)), "OpenZeppelin refuses a header");
            }
        } catch {
            check(keccak256(head) != keccak256(header(number, a, b)), "a header is refused");
        }
    }

    function test_badHeaders() public {
        bytes memory good = header(7, STATE_ROOT, EMPTY_ROOT);
        Memory.Slice[] memory items = RLP.decodeList(good);
        bytes[] memory fields = new bytes[](21);
        for (uint256 i; i < 21; ++i) fields[i] = Memory.toBytes(items[i]);
        equal(RLP.encode(fields), good, "fields");
        bytes[] memory fewer = new bytes[](20);
        bytes[] memory more = new bytes[](22);
        for (uint256 i; i < 21; ++i) {
            if (i < 20) fewer[i] = fields[i];
            more[i] = fields[i];
        }
        more[21] = hex"80";
        bad(RLP.encode(fewer));
        bad(RLP.encode(more));
        bad(bytes.concat(good, hex"00"));
        bytes memory shorter = bytes.concat(good);
        assembly {
            mstore(shorter, sub(mload(shorter), 1))
        }
        bad(shorter);
        bad(hex"f9");
        bad(hex"c0");
        bad(hex"80");
        (bytes memory root, bytes memory number) = (fields[3], fields[8]);
        fields[3] = RLP.encode(new bytes(31));
        bad(RLP.encode(fields));
        fields[3] = RLP.encode(new bytes(33));
        bad(RLP.encode(fields));
        fields[3] = root;
        fields[16] = hex"80";
        bad(RLP.encode(fields));
        fields[16] = root;
        fields[8] = RLP.encode(uint256(1) << 64);
        bad(RLP.encode(fields));
        fields[8] = hex"c107";
        bad(RLP.encode(fields));
        fields[8] = number;
        this.outputOf(RLP.encode(fields));
        // And through the door.
        uint256 id = openRange();
        (bytes32 first, bytes32 end) = bounds(id);
        vm.expectRevert(Header.BadHeader.selector);
        claims.join{value: BOND}(id, first, end, path("a"), Claims.Output(hex"c0", 1, 0, 0, 0));
    }

    // Settling

    /// Ranges overlap: an older one that ends later than nothing new moves nothing, but its claims are final.
    function test_olderRangeSettlesLater() public {
        State memory a = state(new WithdrawalTransaction[](0));
        State memory b = state(new WithdrawalTransaction[](0));
        (uint256 first, uint256 old) = claimState(a);
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        (uint256 second, uint256 young) = claimState(b);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        claims.settle(second);
        claims.settle(first);
        (,, uint64 record_, uint64 l2Block, uint256 range) = claims.settled();
        equal(range, second, "range");
        equal(l2Block, b.number, "l2Block");
        equal(record_, inbox.recordCount(), "record");
        check(claims.claim(old).status == Claims.ClaimStatus.Settled, "old");
        check(claims.claim(young).status == Claims.ClaimStatus.Settled, "young");
        check(claims.isGameFinalized(claims.claim(old).game), "final");
    }

    function test_liarLoses() public {
        uint256 id = openRange();
        State memory truth = state(new WithdrawalTransaction[](0));
        State memory lie = state(new WithdrawalTransaction[](0));
        uint256 liar = join(LIAR, id, output(lie), "lie");
        uint256 honest = join(CLAIMER, id, output(truth), "true");
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        check(!claims.isSettleable(honest), "while a match is open");
        vm.expectRevert(Tournament.NotOver.selector);
        claims.settle(id);
        timeOut(id, 0);
        check(claims.isBeaten(liar) && !claims.isBeaten(honest), "beaten");
        check(claims.isSettleable(honest) && !claims.isSettleable(liar), "settleable");
        equal(claims.settle(id), claims.claim(honest).commitment, "survivor");
        check(claims.isBeaten(liar) && !claims.isBeaten(honest), "beaten");
        check(claims.isSettleable(honest) && !claims.isSettleable(liar), "settleable");
        equal(tournament.credits(CLAIMER), 2 * BOND, "pot");
        equal(uint256(Claim(claims.claim(liar).game).status()), 1, "challenger wins");
        vm.prank(CLAIMER);
        tournament.withdraw();
        equal(CLAIMER.balance, 2 * BOND, "paid");
        equal(address(tournament).balance, 0, "nothing is left");
    }

    function test_fault() public {
        State memory s = state(new WithdrawalTransaction[](0));
        settleState(s);
        (bytes32 leaf, bytes32 root,,,) = claims.settled();
        uint256 id = openRange();
        uint256 index = join(CLAIMER, id, Claims.Output("", 0, 0, 0, leaf), "fault");
        equal(claims.claim(index).leaf, Leaf.fault(leaf), "leaf");
        equal(claims.claim(index).outputRoot, 0, "outputRoot");
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        (uint256 other, uint256 pending) = claimState(state(new WithdrawalTransaction[](0)));
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        equal(claims.findLatestGames(20_559, 2, 10).length, 2, "a FAULT is no game");
        vm.recordLogs();
        claims.settle(id);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs[logs.length - 1].topics[0], keccak256("Faulted(uint256,bytes32)"), "event");
        check(claims.faulted(), "faulted");
        (, bytes32 now_,,,) = claims.settled();
        equal(now_, root, "what had settled stays");
        check(!claims.isSettleable(pending), "nothing settles");
        equal(claims.settle(other), claims.claim(pending).commitment, "survivor");
        check(claims.isBeaten(pending), "nothing settled");
        (,,,, Claims.RangeStatus status) = claims.range(other);
        check(status == Claims.RangeStatus.WithoutSurvivor, "status");
        equal(tournament.credits(CLAIMER), 3 * BOND, "bonds");
        record();
        vm.expectRevert(Claims.HasFaulted.selector);
        claims.open();
    }

    // What the OP Stack's tools ask

    function test_findLatestGames() public {
        State[6] memory s;
        for (uint256 i; i < 6; ++i) s[i] = state(new WithdrawalTransaction[](0));
        uint256 a = settleState(s[0]);
        uint256 id = openRange();
        uint256 b = join(LIAR, id, output(s[5]), "b");
        uint256 c = join(CLAIMER, id, output(s[1]), "c");
        uint256 d = join(STRANGER, id, output(s[2]), "d");
        games(a, c, d, 10, 3);
        // The liar moved first and did not; the winner now meets the one that waited.
        timeOut(id, 0);
        check(claims.isBeaten(b), "beaten");
        Claims.GameSearchResult[] memory list = claims.findLatestGames(20_559, 3, 10);
        equal(list[0].index, a, "the settled one first");
        for (uint256 i; i < list.length; ++i) check(list[i].index != b, "beaten ones are left out");
        equal(list[0].metadata, bytes32(
            uint256(20_559) << 224 | uint256(claims.claim(a).createdAt) << 160 | uint160(claims.claim(a).game)
        ), "metadata");
        equal(list[0].rootClaim, outputRoot(s[0]), "rootClaim");
        equal(list[0].timestamp, claims.claim(a).createdAt, "timestamp");
        equal(list[0].extraData, abi.encode(s[0].number), "extraData");
        equal(claims.findLatestGames(20_559, 3, 1).length, 1, "n");
        equal(claims.findLatestGames(20_559, 3, 0).length, 0, "none");
        equal(claims.findLatestGames(20_559, 4, 10).length, 0, "beyond the end");
        equal(claims.findLatestGames(0, 3, 10).length, 0, "another type");
        equal(claims.findLatestGames(20_559, 3, type(uint256).max).length, list.length, "as many as there are");
        (uint32 gameType, uint64 timestamp, address proxy) = claims.gameAtIndex(a);
        check(gameType == 20_559 && timestamp == claims.claim(a).createdAt && proxy == claims.claim(a).game, "gameAtIndex");
        vm.expectRevert(abi.encodeWithSelector(Claims.UnknownClaim.selector, 4));
        claims.gameAtIndex(4);
        vm.expectRevert(abi.encodeWithSelector(Claims.UnknownClaim.selector, 4));
        claims.claim(4);
        vm.expectRevert(abi.encodeWithSelector(Claims.UnknownClaim.selector, 4));
        claims.isSettleable(4);
    }

    /// A clone that somebody else makes says the same and is nothing.
    function test_impostors() public {
        uint256 index = settleState(state(new WithdrawalTransaction[](0)));
        address game = claims.claim(index).game;
        address impostor = Clones.cloneWithImmutableArgs(
            vm.computeCreateAddress(address(claims), 1), Clones.fetchCloneArgs(game)
        );
        equal(impostor.code, game.code, "the same code");
        address[4] memory others = [impostor, address(0), address(claims), STRANGER];
        for (uint256 i; i < others.length; ++i) {
            check(!claims.isGameRespected(others[i]) && !claims.isGameProper(others[i]), "unknown");
            check(!claims.isGameFinalized(others[i]) && !claims.isGameClaimValid(others[i]), "unknown");
            vm.expectRevert(abi.encodeWithSelector(Claims.UnknownGame.selector, others[i]));
            claims.claimOf(others[i]);
            vm.expectRevert(abi.encodeWithSelector(Claims.UnknownGame.selector, others[i]));
            claims.detailsOf(others[i]);
        }
        check(claims.isGameRespected(game) && claims.isGameProper(game), "known");
        check(claims.isGameFinalized(game) && claims.isGameClaimValid(game), "known");
    }

    /// Addresses of claims are computed, whatever length the nonce has.
    function test_addressesOfClaims() public {
        uint256 id = openRange();
        Claims.Output memory o = output(state(new WithdrawalTransaction[](0)));
        for (uint256 i; i < 300; ++i) {
            uint256 index = join(LIAR, id, o, bytes32(i));
            address game = claims.claim(index).game;
            equal(game, vm.computeCreateAddress(address(claims), index + 2), "address");
            equal(game.code.length, 113, "code");
            equal(claims.claimOf(game), index, "claimOf");
        }
    }

    function games(uint256 first, uint256 second, uint256 third, uint256 n, uint256 start_) private view {
        Claims.GameSearchResult[] memory list = claims.findLatestGames(20_559, start_, n);
        equal(list.length, 4, "length");
        equal(list[0].index, first, "settled");
        equal(list[1].index, third, "newest");
        equal(list[2].index, second, "older");
    }

    function bad(bytes memory head) private {
        vm.expectRevert(Header.BadHeader.selector);
        this.outputOf(head);
    }

    function outputOf(bytes memory head) external pure returns (bytes32, uint64) {
        return Header.outputOf(head);
    }

    function outputByOpenZeppelin(bytes memory head) external pure returns (bytes32, uint256) {
        Memory.Slice[] memory fields = RLP.decodeList(head);
        check(fields.length == 21, "fields");
        return (
            keccak256(
                abi.encode(
                    bytes32(0), bytes32(RLP.readBytes(fields[3])), bytes32(RLP.readBytes(fields[16])), keccak256(head)
                )
            ),
            RLP.readUint256(fields[8])
        );
    }
}
