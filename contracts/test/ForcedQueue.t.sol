// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Lease} from "../src/l1/Lease.sol";
import {Portal} from "../src/l1/Portal.sol";

/// @notice Deposits and batches in any order by anyone, each held against a model of spec/records.md.
contract Chaos is Base {
    bool public immutable HAS_LEADER;

    uint64[] private _timestamps;
    uint256 private _consumed;
    uint256 private _lastBatchBlock;
    bool private _open;
    uint256 public records = 1;

    constructor(Inbox inbox_, Portal portal_, bool hasLeader) {
        inbox = inbox_;
        portal = portal_;
        HAS_LEADER = hasLeader;
    }

    function advance(uint256 blocks, uint256 elapsed) external {
        vm.roll(block.number + bound(blocks, 0, 3));
        vm.warp(block.timestamp + bound(elapsed, 0, 30));
    }

    function stall(uint256 elapsed) external {
        vm.roll(block.number + 1);
        vm.warp(block.timestamp + bound(elapsed, 0, 200));
    }

    function deposit(address sender, address to, uint96 mint, uint256 value, uint64 gasLimit, bool creation, uint256 size)
        external
    {
        bytes memory data = new bytes(bound(size, 0, 300));
        gasLimit = uint64(bound(gasLimit, portal.minimumGasLimit(uint64(data.length)), 1_000_000));
        (, uint64 sold, uint64 at) = portal.params();
        if (at == block.number && sold + gasLimit > portal.MAX_RESOURCE_LIMIT()) return;
        vm.deal(sender, mint);
        vm.prank(sender);
        portal.depositTransaction{value: mint}(creation ? address(0) : to, value, gasLimit, creation, data);
        _timestamps.push(uint64(block.timestamp));
        equal(inbox.forcedRecord(_timestamps.length - 1), records, "the deposit's record is the next");
        ++records;
    }

    function submit(uint256 who, uint256 forcedUpTo, bool blobs) external {
        address sender = who % 2 == 0 ? LEADER : address(uint160(bound(who, 1, 1000)));
        // Up to one beyond the queue, and sometimes below what is consumed.
        forcedUpTo = bound(forcedUpTo, _consumed == 0 ? 0 : _consumed - 1, _timestamps.length + 1);
        bool expected = _model(sender == LEADER && HAS_LEADER, forcedUpTo);
        bytes memory data = blobs
            ? abi.encodeCall(Inbox.submit, (forcedUpTo))
            : abi.encodeCall(Inbox.submitCalldata, (forcedUpTo, "batch"));
        oneBlob();
        vm.prank(sender);
        (bool ok,) = address(inbox).call(data);
        check(ok == expected, ok ? "accepted against the rules" : "refused against the rules");
        if (ok) ++records;
        check(inbox.openPeriod() == _open, "open period");
    }

    /// The rules, by their wording: returns whether the batch is allowed, and notes its effects.
    function _model(bool isLeader, uint256 forcedUpTo) private returns (bool) {
        if (_lastBatchBlock == block.number) return false;
        if (forcedUpTo < _consumed || forcedUpTo > _timestamps.length) return false;
        for (uint256 i = forcedUpTo; i < _timestamps.length; ++i) {
            if (_timestamps[i] + 20 <= block.timestamp) return false;
        }
        bool overdue;
        for (uint256 i = _consumed; i < _timestamps.length; ++i) {
            if (_timestamps[i] + 60 <= block.timestamp) overdue = true;
        }
        if (HAS_LEADER && !isLeader && !_open && !overdue) return false;
        if (overdue) _open = true;
        if (isLeader) _open = false;
        _consumed = forcedUpTo;
        _lastBatchBlock = block.number;
        return true;
    }

    function count() external view returns (uint256) {
        return _timestamps.length;
    }

    function timestampOf(uint256 i) external view returns (uint64) {
        return _timestamps[i];
    }

    function consumed() external view returns (uint256) {
        return _consumed;
    }
}

contract ForcedQueueTest is Base {
    Chaos internal chaos;

    function setUp() public virtual {
        start(LEADER);
    }

    function start(address leader) internal {
        vm.roll(100);
        vm.warp(1_760_000_000);
        vm.fee(1000 gwei);
        deployL1(leader);
        chaos = new Chaos(inbox, portal, leader != address(0));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(chaos);
    }

    /// Whatever the Portal accepted has a record, in order, and the Portal holds the ether.
    function invariant_queueIsTotal() external view {
        equal(inbox.forcedCount(), chaos.count(), "forcedCount");
        equal(inbox.forcedConsumed(), chaos.consumed(), "forcedConsumed");
        equal(inbox.recordCount(), chaos.records(), "recordCount");
        uint256 last;
        for (uint256 i; i < chaos.count(); ++i) {
            equal(inbox.forcedTimestamp(i), chaos.timestampOf(i), "forcedTimestamp");
            uint256 record = inbox.forcedRecord(i);
            check(record > last && inbox.accumulator(record) != 0, "forcedRecord");
            last = record;
        }
    }

    /// Nothing that came before keeps anyone from submitting once an item is overdue, and whoever submits must include it.
    function invariant_overdueItemGetsIn() external {
        if (inbox.forcedConsumed() == inbox.forcedCount()) return;
        uint256 oldest = inbox.forcedConsumed();
        uint256 due = uint256(inbox.forcedTimestamp(oldest)) + 60;
        vm.roll(block.number + 1);
        if (block.timestamp < due) vm.warp(due);
        check(inbox.anyoneMaySubmit(), "anyone may submit");
        vm.prank(STRANGER);
        inbox.submitCalldata(oldest + 1 < inbox.forcedCount() ? inbox.forcedCount() : oldest + 1, "");
        check(inbox.forcedConsumed() > oldest, "consumed");
    }

    /// No batch of anyone leaves out an item older than the forced delay.
    function invariant_dueItemIsNotOmitted() external {
        uint256 oldest = inbox.forcedConsumed();
        if (oldest == inbox.forcedCount()) return;
        uint256 due = uint256(inbox.forcedTimestamp(oldest)) + 20;
        vm.roll(block.number + 1);
        if (block.timestamp < due) vm.warp(due);
        oneBlob();
        bytes memory reason = abi.encodeWithSelector(Inbox.ForcedItemOmitted.selector, oldest);
        vm.prank(LEADER);
        (bool ok, bytes memory answer) = address(inbox).call(abi.encodeCall(Inbox.submit, (oldest)));
        check(!ok, "omitted by the leader");
        if (chaos.HAS_LEADER()) equal(answer, reason, "reason");
        vm.warp(due + 40);
        vm.prank(STRANGER);
        (ok, answer) = address(inbox).call(abi.encodeCall(Inbox.submitCalldata, (oldest, "")));
        check(!ok, "omitted by a stranger");
        equal(answer, reason, "reason");
    }
}

contract ForcedQueueWithoutLeaderTest is ForcedQueueTest {
    function setUp() public override {
        start(address(0));
    }
}
