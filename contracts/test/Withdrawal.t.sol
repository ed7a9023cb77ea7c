// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";
import {WithdrawalBase} from "./WithdrawalBase.sol";
import {Claims} from "../src/l1/Claims.sol";
import {Portal} from "../src/l1/Portal.sol";
import {Withdrawal, WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

/// @notice A target that does what it was told to.
contract Target {
    enum Act {
        Note,
        Refuse,
        EatGas,
        FinalizeAgain,
        FinalizeOther,
        Deposit
    }

    Portal private immutable PORTAL;

    Act public act;
    uint256 public calls;
    uint256 public gasGot;
    address public l2Sender;
    bytes32 public inProgress;
    bytes public data;
    WithdrawalTransaction private _other;
    address private _submitter;

    constructor(Portal portal) {
        PORTAL = portal;
    }

    function does(Act act_) external {
        act = act_;
    }

    function doesFinalize(Act act_, WithdrawalTransaction memory other, address submitter) external {
        (act, _other, _submitter) = (act_, other, submitter);
    }

    receive() external payable {
        _run();
    }

    fallback() external payable {
        _run();
    }

    function _run() private {
        uint256 got = gasleft();
        if (act == Act.Refuse) revert("no");
        if (act == Act.EatGas) {
            while (true) {}
        }
        if (act == Act.FinalizeAgain) PORTAL.finalizeWithdrawalTransactionExternalProof(_other, _submitter);
        if (act == Act.FinalizeOther) {
            try PORTAL.finalizeWithdrawalTransactionExternalProof(_other, _submitter) {} catch {}
        }
        if (act == Act.Deposit) PORTAL.depositTransaction{value: msg.value}(address(1), 0, 21_000, false, "");
        gasGot = got;
        ++calls;
        (l2Sender, inProgress, data) = (PORTAL.l2Sender(), PORTAL.withdrawalInProgress(), msg.data);
    }
}

contract WithdrawalTest is WithdrawalBase {
    Target private target;

    function setUp() public {
        start();
        target = new Target(portal);
        portal.depositTransaction{value: 100 ether}(ALICE, 0, 21_000, false, "");
    }

    function test_views() public view {
        equal(portal.disputeGameFactory(), address(claims), "disputeGameFactory");
        equal(portal.anchorStateRegistry(), address(claims), "anchorStateRegistry");
        equal(portal.respectedGameType(), 20_559, "respectedGameType");
        equal(portal.proofMaturityDelaySeconds(), CHALLENGE_WINDOW, "proofMaturityDelaySeconds");
        equal(portal.disputeGameFinalityDelaySeconds(), 0, "disputeGameFinalityDelaySeconds");
        equal(portal.l2Sender(), address(0xdEaD), "l2Sender");
        equal(portal.withdrawalInProgress(), 0, "withdrawalInProgress");
        equal(portal.numProofSubmitters(0), 0, "numProofSubmitters");
    }

    /// Any withdrawal among others is paid to the wei, with its data, sender and gas.
    function testFuzz_paid(address sender, uint96 value, uint256 gasLimit, bytes memory data, uint256 seed) public {
        value = uint96(bound(value, 0, 100 ether));
        // No function of the target.
        data = bytes.concat(hex"ffffffff", data);
        gasLimit = bound(gasLimit, 200_000 + 2_000 * data.length, 10_000_000);
        WithdrawalTransaction[] memory list = new WithdrawalTransaction[](bound(seed, 1, 12));
        for (uint256 i; i < list.length; ++i) list[i] = withdrawal(sender, address(target), value, gasLimit, data);
        WithdrawalTransaction memory w = list[seed % list.length];
        bytes32 hash = Withdrawal.hash(w);
        State memory s = state(list);
        prove(ALICE, w, settleState(s), s);
        portal.checkWithdrawal(hash, ALICE);

        vm.recordLogs();
        finalize(ALICE, w);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs[logs.length - 1].topics[0], keccak256("WithdrawalFinalized(bytes32,bool)"), "event");
        equal(logs[logs.length - 1].topics[1], hash, "hash");
        equal(logs[logs.length - 1].data, abi.encode(true), "success");
        equal(target.calls(), 1, "calls");
        equal(address(target).balance, value, "value");
        equal(target.data(), data, "data");
        equal(target.l2Sender(), sender, "l2Sender");
        equal(target.inProgress(), hash, "withdrawalInProgress");
        check(target.gasGot() >= gasLimit, "gas");
        check(portal.finalizedWithdrawals(hash), "finalised");
        equal(portal.l2Sender(), address(0xdEaD), "l2Sender afterwards");
        equal(portal.withdrawalInProgress(), 0, "withdrawalInProgress afterwards");
        equal(address(portal).balance, 100 ether - value, "Portal");
    }

    function test_provedAndTold() public {
        WithdrawalTransaction memory w = withdrawal(BOB, ALICE, 1, 0, "");
        bytes32 hash = Withdrawal.hash(w);
        State memory s = state(one(w));
        (uint256 range, uint256 index) = claimState(s);
        vm.warp(block.timestamp + 7);
        vm.recordLogs();
        prove(ALICE, w, index, s);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs.length, 2, "events");
        equal(logs[0].topics[0], keccak256("WithdrawalProven(bytes32,address,address)"), "event");
        equal(logs[0].topics[1], hash, "hash");
        equal(uint256(logs[0].topics[2]), uint160(BOB), "from");
        equal(uint256(logs[0].topics[3]), uint160(ALICE), "to");
        equal(logs[1].topics[0], keccak256("WithdrawalProvenExtension1(bytes32,address)"), "event");
        equal(uint256(logs[1].topics[2]), uint160(ALICE), "submitter");
        (address game, uint64 time) = portal.provenWithdrawals(hash, ALICE);
        equal(game, claims.claim(index).game, "game");
        equal(time, block.timestamp - 7, "when the range was opened");
        equal(time + portal.proofMaturityDelaySeconds(), claims.undisputedUntil(range), "when it can settle");

        // The list tells who proved last.
        prove(ALICE, w, index, s);
        equal(portal.numProofSubmitters(hash), 1, "once");
        prove(BOB, w, index, s);
        prove(ALICE, w, index, s);
        equal(portal.numProofSubmitters(hash), 3, "numProofSubmitters");
        equal(portal.proofSubmitters(hash, 1), BOB, "proofSubmitters");
        equal(portal.proofSubmitters(hash, 2), ALICE, "proofSubmitters");
    }

    /// What viem makes a status of, in every situation.
    function test_status() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, ALICE, 1 ether, 0, "");
        bytes32 hash = Withdrawal.hash(w);
        vm.expectRevert(Portal.OptimismPortal_Unproven.selector);
        portal.checkWithdrawal(hash, ALICE);

        // Waiting: the game is proper and respected, and not final.
        State memory s = state(one(w));
        uint256 range = openRange();
        uint256 lie = join(LIAR, range, output(s), "false path");
        prove(ALICE, w, lie, s);
        (address game,) = portal.provenWithdrawals(hash, ALICE);
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        portal.checkWithdrawal(hash, ALICE);
        check(claims.isGameProper(game) && claims.isGameRespected(game) && !claims.isGameFinalized(game), "waiting");
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(ALICE, w);

        // Beaten while the range is open: not proper, so it is to be proved again.
        uint256 index = join(CLAIMER, range, output(s), "true");
        timeOut(range, 0);
        check(!claims.isGameProper(game), "beaten");
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        portal.checkWithdrawal(hash, ALICE);
        vm.expectRevert(Portal.OptimismPortal_InvalidDisputeGame.selector);
        this.proveAsAlice(w, lie, s);

        // Ready before anybody has settled it.
        prove(ALICE, w, index, s);
        portal.checkWithdrawal(hash, ALICE);
        vm.expectRevert(Portal.OptimismPortal_Unproven.selector);
        portal.checkWithdrawal(hash, BOB);
        check(claims.claim(index).status == Claims.ClaimStatus.InProgress, "not settled");
        finalize(ALICE, w);
        check(claims.claim(index).status == Claims.ClaimStatus.Settled, "settled with it");
        equal(tournament.credits(CLAIMER), 2 * BOND, "the claimer's bond, and the liar's");
        equal(ALICE.balance, 1 ether, "paid");

        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        portal.checkWithdrawal(hash, ALICE);
        check(!claims.isGameProper(game), "beaten for good");
    }

    /// A range that nobody won: what was proved against it is to be proved again.
    function test_rangeWithoutSurvivor() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, ALICE, 1, 0, "");
        State memory s = state(one(w));
        uint256 range = openRange();
        uint256 first = join(LIAR, range, output(s), "false path");
        join(STRANGER, range, output(s), "another");
        prove(ALICE, w, first, s);
        (address game,) = portal.provenWithdrawals(Withdrawal.hash(w), ALICE);
        vm.warp(block.timestamp + CHALLENGE_WINDOW + MOVE_GRACE);
        tournament.timeout(range << 32);
        equal(claims.openRanges().length, 1, "open");
        check(!claims.isSettleable(first), "lost");
        check(!claims.isGameProper(game), "not proper");
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(ALICE, w);
    }

    // Forgeries

    function testFuzz_forged(uint256 field, uint256 by) public {
        by = bound(by, 1, type(uint160).max - 1);
        WithdrawalTransaction memory w = withdrawal(ALICE, BOB, 1 ether, 100_000, "data");
        State memory s = state(two(w, withdrawal(BOB, BOB, 2 ether, 0, "")));
        uint256 index = settleState(s);
        bytes[] memory proof = proofOf(s, Withdrawal.hash(w));
        unchecked {
            if (field % 6 == 0) w.nonce += by;
            if (field % 6 == 1) w.sender = address(uint160(w.sender) + uint160(by));
            if (field % 6 == 2) w.target = address(uint160(w.target) + uint160(by));
            if (field % 6 == 3) w.value += by;
            if (field % 6 == 4) w.gasLimit += by;
            if (field % 6 == 5) w.data = abi.encode(by);
        }
        vm.assume(w.target != address(portal) && w.target != address(inbox));
        refused(w, index, s, proof);
        vm.expectRevert(Portal.OptimismPortal_Unproven.selector);
        portal.finalizeWithdrawalTransaction(w);
    }

    function test_wrongProofs() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, BOB, 1 ether, 0, "");
        WithdrawalTransaction memory other = withdrawal(ALICE, BOB, 1 ether, 0, "");
        State memory s = state(two(w, other));
        uint256 index = settleState(s);
        bytes[] memory proof = proofOf(s, Withdrawal.hash(w));
        refused(w, index, s, proofOf(s, Withdrawal.hash(other)));
        refused(w, index, s, new bytes[](0));
        refused(w, index, s, new bytes[](1));
        bytes[] memory shorter = new bytes[](proof.length - 1);
        bytes[] memory longer = new bytes[](proof.length + 1);
        for (uint256 i; i < proof.length; ++i) {
            if (i < shorter.length) shorter[i] = proof[i];
            longer[i] = proof[i];
        }
        longer[proof.length] = proof[proof.length - 1];
        refused(w, index, s, shorter);
        refused(w, index, s, longer);
        // Every byte of every node counts.
        for (uint256 i; i < proof.length; ++i) {
            for (uint256 k; k < proof[i].length; ++k) {
                proof[i][k] ^= 0x01;
                refused(w, index, s, proof);
                proof[i][k] ^= 0x01;
            }
        }
        // A withdrawal that another state of L2 has.
        State memory foreign = state(one(w));
        vm.expectRevert(Portal.OptimismPortal_InvalidOutputRootProof.selector);
        portal.proveWithdrawalTransaction(w, index, outputProof(foreign), proof);
        Portal.OutputRootProof memory parts = outputProof(s);
        parts.version = bytes32(uint256(1));
        vm.expectRevert(Portal.OptimismPortal_InvalidOutputRootProof.selector);
        portal.proveWithdrawalTransaction(w, index, parts, proof);
        vm.expectRevert(abi.encodeWithSelector(Claims.UnknownClaim.selector, index + 1));
        portal.proveWithdrawalTransaction(w, index + 1, outputProof(s), proof);
        portal.proveWithdrawalTransaction(w, index, outputProof(s), proof);
    }

    /// L2 may hold other things at that slot.
    function test_emptyStateHasNothing() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, BOB, 1 ether, 0, "");
        State memory s = state(new WithdrawalTransaction[](0));
        uint256 index = settleState(s);
        bytes[] memory proof = new bytes[](1);
        proof[0] = hex"80";
        refused(w, index, s, proof);
    }

    function test_falseClaimPaysNothing() public {
        // L2 never had this one; the liar claims a state that does.
        WithdrawalTransaction memory forged = withdrawal(LIAR, LIAR, 100 ether, 0, "");
        State memory lie = state(one(forged));
        State memory truth = state(new WithdrawalTransaction[](0));
        uint256 range = openRange();
        uint256 index = join(LIAR, range, output(lie), "lie");
        join(CLAIMER, range, output(truth), "true");
        prove(LIAR, forged, index, lie);
        timeOut(range, 0);
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(LIAR, forged);
        claims.settle(range);
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(LIAR, forged);
        equal(address(portal).balance, 100 ether, "kept");
    }

    // Paid once

    function test_replayed() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, ALICE, 1 ether, 0, "");
        State memory s = state(one(w));
        uint256 index = settleState(s);
        prove(ALICE, w, index, s);
        prove(BOB, w, index, s);
        finalize(ALICE, w);
        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        finalize(ALICE, w);
        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        finalize(BOB, w);
        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        this.proveAsAlice(w, index, s);
        // Nor by a later state, which still remembers it.
        State memory later = state(one(w));
        uint256 next = settleState(later);
        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        this.proveAsAlice(w, next, later);
        equal(ALICE.balance, 1 ether, "once");
    }

    function test_reentrant() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, address(target), 1 ether, 300_000, "");
        WithdrawalTransaction memory other = withdrawal(ALICE, BOB, 1 ether, 0, "");
        State memory s = state(two(w, other));
        uint256 index = settleState(s);
        prove(ALICE, w, index, s);
        prove(ALICE, other, index, s);
        target.doesFinalize(Target.Act.FinalizeAgain, w, ALICE);
        vm.expectRevert(
            abi.encodeWithSelector(
                Portal.CallFailed.selector, abi.encodeWithSelector(Portal.OptimismPortal_NoReentrancy.selector)
            )
        );
        finalize(ALICE, w);
        equal(address(portal).balance, 100 ether, "kept");
        // What the target catches costs nobody anything, and it is still its own withdrawal that runs.
        target.doesFinalize(Target.Act.FinalizeOther, other, ALICE);
        finalize(ALICE, w);
        equal(address(target).balance, 1 ether, "once");
        equal(target.inProgress(), Withdrawal.hash(w), "in progress");
        check(!portal.finalizedWithdrawals(Withdrawal.hash(other)), "the other is not");
        finalize(ALICE, other);
        equal(address(portal).balance, 98 ether, "both");
    }

    function test_depositsFromWithin() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, address(target), 1 ether, 300_000, "");
        ready(w);
        target.does(Target.Act.Deposit);
        finalize(ALICE, w);
        equal(address(portal).balance, 100 ether, "and back");
        equal(inbox.forcedCount(), 2, "forced");
    }

    // Calls

    function test_failedCallMayBeTriedAgain() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, address(target), 1 ether, 300_000, "");
        ready(w);
        target.does(Target.Act.Refuse);
        vm.expectRevert(
            abi.encodeWithSelector(Portal.CallFailed.selector, abi.encodeWithSignature("Error(string)", "no"))
        );
        finalize(ALICE, w);
        check(!portal.finalizedWithdrawals(Withdrawal.hash(w)), "not finalised");
        target.does(Target.Act.EatGas);
        (bool ok,) = address(portal).call{gas: 2_000_000}(
            abi.encodeCall(portal.finalizeWithdrawalTransactionExternalProof, (w, ALICE))
        );
        check(!ok, "ate its gas");
        equal(address(portal).balance, 100 ether, "kept");
        target.does(Target.Act.Note);
        portal.finalizeWithdrawalTransactionExternalProof(w, ALICE);
        equal(address(target).balance, 1 ether, "paid");
        equal(target.calls(), 1, "calls");
    }

    /// Whatever gas the transaction has, the target gets what it asked for, or nothing happens.
    function testFuzz_targetGetsItsGas(uint256 gas_, uint256 gasLimit) public {
        gasLimit = bound(gasLimit, 170_000, 2_000_000);
        gas_ = bound(gas_, 30_000, 3_000_000);
        WithdrawalTransaction memory w = withdrawal(ALICE, address(target), 1 ether, gasLimit, "");
        ready(w);
        (bool ok,) = address(portal).call{gas: gas_}(
            abi.encodeCall(portal.finalizeWithdrawalTransactionExternalProof, (w, ALICE))
        );
        equal(target.calls(), ok ? 1 : 0, "calls");
        if (ok) check(target.gasGot() >= gasLimit, "gas");
        if (gas_ > gasLimit + gasLimit / 50 + 120_000) check(ok, "enough");
        check(portal.finalizedWithdrawals(Withdrawal.hash(w)) == ok, "finalised");
    }

    function test_impossibleGas() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, BOB, 0, type(uint256).max, "");
        ready(w);
        vm.expectRevert(Portal.OptimismPortal_GasEstimation.selector);
        finalize(ALICE, w);
    }

    function test_portalCannotOverpay() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, BOB, 100 ether + 1, 0, "");
        ready(w);
        vm.expectRevert(abi.encodeWithSelector(Portal.CallFailed.selector, bytes("")));
        finalize(ALICE, w);
        portal.depositTransaction{value: 1}(ALICE, 0, 21_000, false, "");
        finalize(ALICE, w);
        equal(address(portal).balance, 0, "all");
    }

    /// The Portal alone may force items: no withdrawal may make it do so in its name.
    function test_badTargets() public {
        bytes memory force = abi.encodeCall(inbox.force, (LIAR, LIAR, 1000 ether, 0, 21_000, false, ""));
        bytes memory deposit = abi.encodeCall(portal.depositTransaction, (LIAR, 0, 21_000, false, ""));
        WithdrawalTransaction memory a = withdrawal(LIAR, address(inbox), 0, 200_000, force);
        WithdrawalTransaction memory b = withdrawal(LIAR, address(portal), 1 ether, 200_000, deposit);
        State memory s = state(two(a, b));
        uint256 index = settleState(s);
        vm.expectRevert(Portal.OptimismPortal_BadTarget.selector);
        this.proveAsAlice(a, index, s);
        vm.expectRevert(Portal.OptimismPortal_BadTarget.selector);
        this.proveAsAlice(b, index, s);
        vm.expectRevert(Portal.OptimismPortal_BadTarget.selector);
        finalize(ALICE, a);
        vm.expectRevert(Portal.OptimismPortal_BadTarget.selector);
        finalize(ALICE, b);
        equal(inbox.forcedCount(), 1, "nothing forced");
    }

    // FAULT

    function test_faultStopsDepositsNotWithdrawals() public {
        WithdrawalTransaction memory w = withdrawal(ALICE, ALICE, 1 ether, 0, "");
        WithdrawalTransaction memory late = withdrawal(ALICE, ALICE, 1 ether, 0, "");
        State memory s = state(one(w));
        uint256 index = settleState(s);

        uint256 range = openRange();
        (bytes32 leaf,,,,) = claims.settled();
        join(CLAIMER, range, Claims.Output("", 0, 0, 0, leaf), "fault");
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        uint256 second = openRange();
        State memory other = state(two(w, late));
        uint256 pending = join(STRANGER, second, output(other), "true");
        prove(ALICE, late, pending, other);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        claims.settle(range);
        check(claims.faulted(), "faulted");

        vm.expectRevert(Portal.ChainFaulted.selector);
        portal.depositTransaction{value: 1}(ALICE, 0, 21_000, false, "");
        (bool ok,) = address(portal).call{value: 1}("");
        check(!ok, "receive");
        vm.expectRevert(Portal.ChainFaulted.selector);
        bridge.depositETHTo{value: 1}(ALICE, 0, "");

        prove(ALICE, w, index, s);
        finalize(ALICE, w);
        equal(ALICE.balance, 1 ether, "paid");
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(ALICE, late);
        // Bonds get out all the same.
        claims.settle(second);
        equal(tournament.credits(STRANGER), BOND, "bond");
        vm.expectRevert(Portal.OptimismPortal_InvalidRootClaim.selector);
        finalize(ALICE, late);
    }

    // Vectors and gas

    function test_vectors() public view {
        string memory json = vm.readFile("../spec/vectors/withdrawals.json");
        bytes32 root = vm.parseJsonBytes32(json, ".storageRoot");
        bytes32 out = keccak256(
            abi.encode(bytes32(0), vm.parseJsonBytes32(json, ".stateRoot"), root, vm.parseJsonBytes32(json, ".blockHash"))
        );
        equal(out, vm.parseJsonBytes32(json, ".outputRoot"), "outputRoot");
        for (uint256 i; i < 5; ++i) {
            (WithdrawalTransaction memory w, bytes[] memory proof) = vector(json, i);
            string memory key = string.concat(".withdrawals[", vm.toString(i), "].withdrawalHash");
            equal(Withdrawal.hash(w), vm.parseJsonBytes32(json, key), "hash");
            check(this.isSent(Withdrawal.hash(w), root, proof), "sent");
            check(!this.isSent(Withdrawal.hash(w), ~root, proof), "other root");
            ++w.value;
            check(!this.isSent(Withdrawal.hash(w), root, proof), "forged");
        }
    }

    /// Blobs do not go with isolation: what every transaction costs is added.
    function test_gasSubmit() public {
        vm.blobhashes(sixBlobs());
        vm.prank(LEADER);
        inbox.submit(1);
        check(vm.snapshotGasLastCall("Settlement", "submit") + 21_000 + 36 * 16 <= 120_000, "submit");
    }

    /// forge-config: default.isolate = true
    function test_gas() public {
        string memory json = vm.readFile("../spec/vectors/withdrawals.json");
        bytes32 root = vm.parseJsonBytes32(json, ".storageRoot");
        (WithdrawalTransaction memory w, bytes[] memory proof) = vector(json, 1);
        bytes memory head = header(1000, STATE_ROOT, root);
        Portal.OutputRootProof memory parts = Portal.OutputRootProof(0, STATE_ROOT, root, keccak256(head));

        // The first range also pays for counters that are zero.
        settleState(state(one(withdrawal(ALICE, ALICE, 0, 0, ""))));
        record();
        uint256 range = claims.open();
        uint256 open = vm.snapshotGasLastCall("Settlement", "open");
        Claims.Output memory o = Claims.Output(head, uint64(inbox.recordCount()), 0, 1, 0);
        (bytes32 first, bytes32 end) = bounds(range);
        vm.deal(CLAIMER, BOND);
        vm.prank(CLAIMER);
        uint256 index = claims.join{value: BOND}(range, first, end, path("true"), o);
        uint256 joined = vm.snapshotGasLastCall("Settlement", "join");
        check(open + joined <= 400_000, "claim");
        portal.proveWithdrawalTransaction(w, index, parts, proof);
        bounded("prove withdrawal", 250_000);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        claims.settle(range);
        vm.snapshotGasLastCall("Settlement", "settle");
        portal.finalizeWithdrawalTransaction(w);
        bounded("finalize withdrawal", 150_000);

        // Settling with it.
        WithdrawalTransaction memory own = withdrawal(ALICE, ALICE, 1, 0, "");
        State memory s = state(one(own));
        (, index) = claimState(s);
        prove(ALICE, own, index, s);
        vm.warp(block.timestamp + CHALLENGE_WINDOW);
        vm.prank(ALICE);
        portal.finalizeWithdrawalTransaction(own);
        bounded("finalize withdrawal and settle", 150_000);
    }

    function bounded(string memory name, uint256 most) private {
        check(vm.snapshotGasLastCall("Settlement", name) <= most, name);
    }

    function sixBlobs() private pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](6);
        for (uint256 i; i < 6; ++i) hashes[i] = bytes32(uint256(1) << 248 | i + 1);
    }

    function vector(string memory json, uint256 i)
        private
        pure
        returns (WithdrawalTransaction memory w, bytes[] memory proof)
    {
        string memory at_ = string.concat(".withdrawals[", vm.toString(i), "].");
        w.nonce = vm.parseJsonUint(json, string.concat(at_, "nonce"));
        w.sender = vm.parseJsonAddress(json, string.concat(at_, "sender"));
        w.target = vm.parseJsonAddress(json, string.concat(at_, "target"));
        w.value = vm.parseJsonUint(json, string.concat(at_, "value"));
        w.gasLimit = vm.parseJsonUint(json, string.concat(at_, "gasLimit"));
        w.data = vm.parseJsonBytes(json, string.concat(at_, "data"));
        proof = vm.parseJsonBytesArray(json, string.concat(at_, "proof"));
    }

    function isSent(bytes32 hash, bytes32 root, bytes[] memory proof) external pure returns (bool) {
        return Withdrawal.isSent(hash, root, proof);
    }

    function proveAsAlice(WithdrawalTransaction memory w, uint256 index, State memory s) external {
        prove(ALICE, w, index, s);
    }

    function refused(WithdrawalTransaction memory w, uint256 index, State memory s, bytes[] memory proof) private {
        vm.expectRevert(Portal.OptimismPortal_InvalidMerkleProof.selector);
        portal.proveWithdrawalTransaction(w, index, outputProof(s), proof);
        equal(portal.numProofSubmitters(Withdrawal.hash(w)), 0, "not proved");
    }
}
