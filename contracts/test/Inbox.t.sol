// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";
import {Config} from "../src/l1/Config.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Lease} from "../src/l1/Lease.sol";

contract InboxTest is Base {
    function setUp() public {
        vm.roll(100);
        vm.warp(1_760_000_000);
        deployL1(LEADER);
        nextBlock(12);
    }

    function test_constructorCommitsToConfigAndGenesis() public view {
        Config memory config = inbox.config();
        equal(inbox.configHash(), keccak256(abi.encode(config)), "configHash");
        equal(inbox.genesisHash(), keccak256(genesisHeader()), "genesisHash");
        equal(inbox.recordCount(), 1, "recordCount");
        equal(inbox.portal(), address(portal), "portal");
        equal(inbox.lease(), address(lease), "lease");
        equal(config.l1StandardBridge, address(bridge), "bridge");
        equal(config.livenessWindow, 60, "livenessWindow");
        equal(config.blobBaseFeeScalar, 1_050_000, "blobBaseFeeScalar");
    }

    function test_constructorRefusesBadWindows() public {
        Config memory config = developmentConfig();
        bytes32 genesisHash = inbox.genesisHash();
        config.forcedDelay = 0;
        vm.expectRevert(abi.encodeWithSelector(Inbox.BadWindows.selector, 0, 60));
        new Inbox(config, genesisHash);
        config.forcedDelay = 60;
        vm.expectRevert(abi.encodeWithSelector(Inbox.BadWindows.selector, 60, 60));
        new Inbox(config, genesisHash);
    }

    function test_onlyPortalForces() public {
        vm.expectRevert(Inbox.NotPortal.selector);
        inbox.force(STRANGER, STRANGER, 0, 0, 21_000, false, "");
    }

    function test_leaderSubmitsOncePerBlock() public {
        submitAs(LEADER, 0);
        equal(inbox.lastBatchBlock(), block.number, "lastBatchBlock");
        vm.expectRevert(Inbox.BatchAlreadyInBlock.selector);
        submitAs(LEADER, 0);
        vm.expectRevert(Inbox.BatchAlreadyInBlock.selector);
        vm.prank(LEADER);
        inbox.submitCalldata(0, "");
        nextBlock(12);
        submitAs(LEADER, 0);
        equal(inbox.recordCount(), 3, "recordCount");
    }

    function test_strangerMayNotSubmit() public {
        check(!inbox.anyoneMaySubmit(), "closed");
        vm.expectRevert(Inbox.NotAllowed.selector);
        submitAs(STRANGER, 0);
    }

    function test_anyoneSubmitsWhenNobodyHoldsTheLease() public {
        deployL1(address(0));
        nextBlock(12);
        check(inbox.anyoneMaySubmit(), "open");
        vm.recordLogs();
        submitAs(STRANGER, 0);
        equal(loggedLease(), 0, "leaseId");
        check(!inbox.openPeriod(), "no open period without an overdue item");
    }

    function test_leaseIdIsTheLeadersOnly() public {
        (uint256 id, address submitter, address signer) = lease.leaderAt(block.number);
        equal(id, 1, "leaseId");
        equal(submitter, LEADER, "submitter");
        equal(signer, SIGNER, "promiseSigner");
        vm.recordLogs();
        submitAs(LEADER, 0);
        equal(loggedLease(), 1, "logged leaseId");
    }

    function test_forcedUpToRange() public {
        deposit();
        deposit();
        expectOutOfRange(3, 0, 2);
        submitAs(LEADER, 3);
        submitAs(LEADER, 2);
        nextBlock(12);
        expectOutOfRange(1, 2, 2);
        submitAs(LEADER, 1);
        expectOutOfRange(type(uint256).max, 2, 2);
        submitAs(LEADER, type(uint256).max);
        submitAs(LEADER, 2);
        equal(inbox.forcedConsumed(), 2, "forcedConsumed");
    }

    function test_omissionBoundary() public {
        deposit();
        nextBlock(19);
        submitAs(LEADER, 0);
        nextBlock(1);
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedItemOmitted.selector, 0));
        submitAs(LEADER, 0);
        vm.prank(LEADER);
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedItemOmitted.selector, 0));
        inbox.submitCalldata(0, "");
        submitAs(LEADER, 1);
    }

    function test_omissionLooksAtTheFirstOmittedItem() public {
        deposit();
        nextBlock(15);
        deposit();
        nextBlock(10);
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedItemOmitted.selector, 0));
        submitAs(LEADER, 0);
        submitAs(LEADER, 1);
    }

    function test_openPeriod() public {
        deposit();
        nextBlock(59);
        vm.expectRevert(Inbox.NotAllowed.selector);
        submitAs(STRANGER, 1);
        nextBlock(1);
        check(inbox.anyoneMaySubmit() && !inbox.openPeriod(), "overdue");
        submitAs(STRANGER, 1);
        check(inbox.openPeriod(), "open period");
        // It lasts, with nothing waiting, until the leader is back.
        nextBlock(1000);
        submitAs(address(0xbeef), 1);
        nextBlock(12);
        submitAs(LEADER, 1);
        check(!inbox.openPeriod() && !inbox.anyoneMaySubmit(), "closed");
        nextBlock(12);
        vm.expectRevert(Inbox.NotAllowed.selector);
        submitAs(STRANGER, 1);
    }

    function test_depositAndSubmitInOneBlockTakesNothingOver() public {
        nextBlock(1_000_000);
        deposit();
        vm.expectRevert(Inbox.NotAllowed.selector);
        submitAs(STRANGER, 1);
    }

    function test_leaderAnswersAnOverdueItemWithoutAnOpenPeriod() public {
        deposit();
        nextBlock(100);
        submitAs(LEADER, 1);
        check(!inbox.openPeriod(), "no open period");
    }

    function test_blobCounts() public {
        for (uint256 n; n <= 9; ++n) {
            nextBlock(12);
            bytes32[] memory hashes = new bytes32[](n);
            for (uint256 i; i < n; ++i) hashes[i] = bytes32(uint256(1) << 248 | i);
            vm.blobhashes(hashes);
            if (n == 0) vm.expectRevert(Inbox.NoBlobs.selector);
            if (n > 6) vm.expectRevert(Inbox.TooManyBlobs.selector);
            vm.prank(LEADER);
            inbox.submit(0);
        }
        equal(inbox.recordCount(), 7, "recordCount");
    }

    function test_calldataLimit() public {
        vm.blobhashes(new bytes32[](0));
        vm.prank(LEADER);
        inbox.submitCalldata(0, new bytes(65_536));
        nextBlock(12);
        vm.prank(LEADER);
        vm.expectRevert(abi.encodeWithSelector(Inbox.CalldataTooLong.selector, 65_537));
        inbox.submitCalldata(0, new bytes(65_537));
    }

    /// Replays the log of spec/vectors/records.json on an Inbox and compares hashes and events.
    function test_recordVectors() public {
        string memory json = vm.readFile("../spec/vectors/records.json");
        vm.etch(vm.parseJsonAddress(json, ".config.lease"), address(new Lease(vm.parseJsonAddress(json, ".leader"), SIGNER)).code);
        for (uint256 i; vm.keyExistsJson(json, key(i, "")); ++i) {
            vm.roll(vm.parseJsonUint(json, key(i, ".env.l1BlockNumber")));
            vm.warp(vm.parseJsonUint(json, key(i, ".env.timestamp")));
            vm.fee(vm.parseJsonUint(json, key(i, ".env.baseFee")));
            setBlobBaseFee(vm.parseJsonUint(json, key(i, ".env.blobBaseFee")));
            vm.setBlockhash(block.number - 1, vm.parseJsonBytes32(json, key(i, ".env.l1ParentHash")));
            vm.recordLogs();
            replay(json, i);
            equal(inbox.accumulator(i), vm.parseJsonBytes32(json, key(i, ".accumulator")), key(i, ".accumulator"));
            checkEvent(json, i, vm.getRecordedLogs());
        }
        equal(inbox.recordCount(), 10, "recordCount");
        equal(inbox.forcedRecord(3), 6, "forcedRecord");
        equal(inbox.forcedTimestamp(3), 1_760_000_060, "forcedTimestamp");
    }

    /// The cheatcode takes an excess of blob gas, from which the fee follows; this searches for the excess.
    function setBlobBaseFee(uint256 wanted) private {
        uint256 low;
        for (uint256 high = 1 << 28; low < high;) {
            uint256 middle = (low + high) / 2;
            vm.blobBaseFee(middle);
            if (this.blobBaseFee() < wanted) low = middle + 1;
            else high = middle;
        }
        vm.blobBaseFee(low);
        equal(this.blobBaseFee(), wanted, "blob base fee");
    }

    function blobBaseFee() external view returns (uint256) {
        return block.blobbasefee;
    }

    function replay(string memory json, uint256 i) private {
        bytes32 kind = keccak256(bytes(vm.parseJsonString(json, key(i, ".kind"))));
        if (kind == keccak256("genesis")) {
            inbox = new Inbox(vectorConfig(json), vm.parseJsonBytes32(json, ".genesisHash"));
            equal(inbox.configHash(), vm.parseJsonBytes32(json, ".configHash"), "configHash");
        } else if (kind == keccak256("forced")) {
            vm.prank(inbox.portal());
            inbox.force(
                vm.parseJsonAddress(json, key(i, ".payload.from")),
                vm.parseJsonAddress(json, key(i, ".payload.to")),
                vm.parseJsonUint(json, key(i, ".payload.mint")),
                vm.parseJsonUint(json, key(i, ".payload.value")),
                uint64(vm.parseJsonUint(json, key(i, ".payload.gasLimit"))),
                vm.parseJsonBool(json, key(i, ".payload.isCreation")),
                vm.parseJsonBytes(json, key(i, ".payload.data"))
            );
        } else {
            uint256 forcedUpTo = vm.parseJsonUint(json, key(i, ".payload.forcedUpTo"));
            if (kind == keccak256("batchBlobs")) {
                vm.blobhashes(vm.parseJsonBytes32Array(json, key(i, ".payload.blobHashes")));
                vm.prank(vm.parseJsonAddress(json, key(i, ".payload.submitter")));
                inbox.submit(forcedUpTo);
            } else {
                bytes memory data = vm.parseJsonBytes(json, key(i, ".payload.data"));
                vm.prank(vm.parseJsonAddress(json, key(i, ".payload.submitter")));
                inbox.submitCalldata(forcedUpTo, data);
            }
        }
    }

    function checkEvent(string memory json, uint256 i, Vm.Log[] memory logs) private view {
        equal(logs.length, 1, "one event");
        equal(logs[0].topics[0], Inbox.Record.selector, "event");
        equal(uint256(logs[0].topics[1]), i, "index");
        equal(logs[0].topics[2], vm.parseJsonBytes32(json, key(i, ".kindTag")), "kind");
        bytes memory expected = abi.encode(
            inbox.accumulator(i),
            block.number,
            block.timestamp,
            block.basefee,
            block.blobbasefee,
            vm.parseJsonBytes32(json, key(i, ".env.l1ParentHash")),
            vm.parseJsonBytes(json, key(i, ".logPayload"))
        );
        equal(logs[0].data, expected, key(i, " event data"));
    }

    function vectorConfig(string memory json) private pure returns (Config memory config) {
        config = developmentConfig();
        config.lease = vm.parseJsonAddress(json, ".config.lease");
        config.portal = vm.parseJsonAddress(json, ".config.portal");
        config.l1StandardBridge = vm.parseJsonAddress(json, ".config.l1StandardBridge");
    }

    function key(uint256 i, string memory rest) private pure returns (string memory) {
        return string.concat(".records[", vm.toString(i), "]", rest);
    }

    function submitAs(address sender, uint256 forcedUpTo) private {
        oneBlob();
        vm.prank(sender);
        inbox.submit(forcedUpTo);
    }

    function deposit() private {
        portal.depositTransaction(STRANGER, 0, 21_000, false, "");
    }

    function expectOutOfRange(uint256 forcedUpTo, uint256 consumed, uint256 count) private {
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedUpToOutOfRange.selector, forcedUpTo, consumed, count));
    }

    function loggedLease() private returns (uint256 leaseId) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (,,,,,, bytes memory payload) =
            abi.decode(logs[logs.length - 1].data, (bytes32, uint64, uint64, uint256, uint256, bytes32, bytes));
        (, leaseId,,) = abi.decode(payload, (address, uint256, uint256, bytes32[]));
    }
}
