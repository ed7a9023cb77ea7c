// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";
import {Metering} from "../src/l1/Metering.sol";
import {Inbox} from "../src/l1/Inbox.sol";
import {Portal} from "../src/l1/Portal.sol";

/// @notice Deposits from its constructor, when it has no code yet.
contract DepositsWhileConstructed {
    constructor(Portal portal) payable {
        portal.depositTransaction{value: msg.value}(address(1), 0, 21_000, false, "");
    }
}

contract PortalTest is Base {
    uint160 private constant OFFSET = uint160(0x1111000000000000000000000000000000001111);

    function setUp() public {
        vm.roll(100);
        vm.warp(1_760_000_000);
        vm.fee(1 gwei);
        deployL1(LEADER);
        nextBlock(12);
    }

    function test_names() public view {
        equal(bytes(portal.version()), "3.0.0-annex", "version");
        equal(portal.inbox(), address(inbox), "inbox");
        equal(portal.l2ChainId(), 901, "l2ChainId");
        equal(portal.minimumGasLimit(0), 21_000, "minimumGasLimit");
        equal(portal.minimumGasLimit(100), 27_400, "minimumGasLimit");
    }

    /// Whatever is accepted becomes the next forced item, with what the sender said and the ether sent.
    function testFuzz_depositBecomesRecord(
        address sender,
        address to,
        uint96 mint,
        uint256 value,
        uint64 gasLimit,
        bool isCreation,
        bytes memory data
    ) public {
        vm.assume(sender != address(0) && sender.code.length == 0);
        if (isCreation) to = address(0);
        gasLimit = uint64(bound(gasLimit, portal.minimumGasLimit(uint64(data.length)), portal.MAX_GAS()));
        portal.depositTransaction(address(1), 0, 21_000, false, "");
        vm.deal(sender, mint);

        vm.recordLogs();
        vm.prank(sender, sender);
        portal.depositTransaction{value: mint}(to, value, gasLimit, isCreation, data);

        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs.length, 2, "events");
        equal(logs[0].emitter, address(inbox), "emitter");
        equal(logs[0].topics[2], keccak256("annex.record.forced.v1"), "kind");
        equal(
            recordPayload(logs[0]), abi.encode(1, sender, to, mint, value, gasLimit, isCreation, data), "record payload"
        );
        equal(logs[1].emitter, address(portal), "emitter");
        equal(logs[1].topics[0], keccak256("TransactionDeposited(address,address,uint256,bytes)"), "event");
        equal(uint256(logs[1].topics[1]), uint160(sender), "from");
        equal(uint256(logs[1].topics[2]), uint160(to), "to");
        equal(uint256(logs[1].topics[3]), 0, "version");
        equal(
            abi.decode(logs[1].data, (bytes)),
            abi.encodePacked(uint256(mint), value, gasLimit, isCreation, data),
            "opaqueData"
        );
        equal(inbox.forcedCount(), 2, "forcedCount");
        equal(inbox.forcedRecord(1), 2, "forcedRecord");
        equal(inbox.forcedTimestamp(1), block.timestamp, "forcedTimestamp");
        equal(address(portal).balance, mint, "ether held");
    }

    function test_receiveDepositsToSender() public {
        vm.deal(STRANGER, 2 ether);
        vm.recordLogs();
        vm.prank(STRANGER, STRANGER);
        (bool ok,) = address(portal).call{value: 2 ether}("");
        check(ok, "accepted");
        equal(
            recordPayload(vm.getRecordedLogs()[0]),
            abi.encode(0, STRANGER, STRANGER, 2 ether, 2 ether, 100_000, false, bytes("")),
            "payload"
        );
    }

    function test_limits() public {
        vm.expectRevert(abi.encodeWithSelector(Portal.GasLimitTooLow.selector, 21_000));
        portal.depositTransaction(STRANGER, 0, 20_999, false, "");
        vm.expectRevert(abi.encodeWithSelector(Portal.GasLimitTooLow.selector, 21_064));
        portal.depositTransaction(STRANGER, 0, 21_063, false, hex"00");
        vm.expectRevert(abi.encodeWithSelector(Portal.GasLimitTooHigh.selector, 16_777_216));
        portal.depositTransaction(STRANGER, 0, 16_777_217, false, "");
        vm.expectRevert(abi.encodeWithSelector(Portal.DataTooLong.selector, 65_537));
        portal.depositTransaction(STRANGER, 0, 16_777_216, false, new bytes(65_537));
        vm.expectRevert(Portal.BadTarget.selector);
        portal.depositTransaction(STRANGER, 0, 100_000, true, "");
        equal(inbox.forcedCount(), 0, "nothing forced");

        portal.depositTransaction(STRANGER, 0, 16_777_216, false, new bytes(65_536));
        nextBlock(12);
        portal.depositTransaction(STRANGER, 0, portal.minimumGasLimit(65_536), false, new bytes(65_536));
        nextBlock(12);
        portal.depositTransaction(address(0), 0, 21_000, false, "");
        equal(inbox.forcedCount(), 3, "forcedCount");
    }

    function test_contractsAreAliased() public {
        address contract_ = address(0xc0de);
        vm.etch(contract_, hex"00");
        equal(depositFrom(contract_, STRANGER), address(uint160(contract_) + OFFSET), "contract");
        // The sum wraps.
        contract_ = address(type(uint160).max);
        vm.etch(contract_, hex"00");
        equal(depositFrom(contract_, STRANGER), address(OFFSET - 1), "wrapping");

        vm.recordLogs();
        address made = address(new DepositsWhileConstructed(portal));
        equal(loggedFrom(), address(uint160(made) + OFFSET), "under construction");
    }

    function test_accountsWithKeysAreNotAliased() public {
        equal(depositFrom(STRANGER, STRANGER), STRANGER, "origin");
        address delegated = address(0x7702);
        vm.etch(delegated, abi.encodePacked(hex"ef0100", STRANGER));
        equal(depositFrom(delegated, delegated), delegated, "delegated, origin");
        equal(depositFrom(delegated, STRANGER), delegated, "delegated, called by another");
        // What only looks like a delegation.
        vm.etch(delegated, abi.encodePacked(hex"600100", STRANGER));
        equal(depositFrom(delegated, STRANGER), address(uint160(delegated) + OFFSET), "23 bytes of code");
    }

    function test_blockSellsAtMostItsLimit() public {
        portal.depositTransaction(STRANGER, 0, 15_000_000, false, "");
        portal.depositTransaction(STRANGER, 0, 5_000_000, false, "");
        vm.expectRevert(Metering.OutOfGas.selector);
        portal.depositTransaction(STRANGER, 0, 21_000, false, "");
        equal(inbox.forcedCount(), 2, "forcedCount");
        nextBlock(12);
        portal.depositTransaction(STRANGER, 0, 21_000, false, "");
    }

    function test_burnsWhatGasCosts() public {
        // 15M gas at 1 gwei each, at an L1 base fee of 1 gwei: 15M gas of L1.
        uint256 spent = gasOf(15_000_000);
        check(spent >= 15_000_000 && spent < 15_050_000, "price 1");
        // Sold 15M of a target of 2M: + 13/16.
        nextBlock(12);
        spent = gasOf(8_000_000);
        (uint128 price,,) = portal.params();
        equal(price, 1 gwei + 1 gwei * 13 / 16, "next price");
        check(spent >= 14_500_000 && spent < 14_550_000, "price 2");
        // A higher L1 base fee makes L2 gas cost less L1 gas.
        vm.roll(block.number + 200);
        vm.fee(5 gwei);
        spent = gasOf(10_000_000);
        check(spent >= 2_000_000 && spent < 2_050_000, "price 3");
        // A cheap deposit pays for its own L1 gas only.
        vm.roll(block.number + 200);
        check(gasOf(21_000) < 120_000, "price 4");
        // An L1 with a base fee of nothing counts as 1 gwei.
        vm.roll(block.number + 200);
        vm.fee(0);
        spent = gasOf(3_000_000);
        check(spent >= 3_000_000 && spent < 3_050_000, "price 5");
    }

    /// The price follows EIP-1559's curve: a model in floating steps of blocks, one at a time.
    function testFuzz_priceFollowsTheCurve(uint256 seed) public {
        uint256 model = 1 gwei;
        vm.fee(1000 gwei);
        vm.roll(block.number + 1);
        portal.depositTransaction(STRANGER, 0, 21_000, false, "");
        uint256 bought = 21_000;
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 elapsed = seed % 4 == 0 ? bound(seed >> 8, 1, 40) : 1;
            uint64 amount = uint64(bound(seed >> 64, 21_000, 16_777_216));
            for (uint256 j; j < elapsed; ++j) {
                if (bought > 2_000_000) model += model * (bought - 2_000_000) / 16_000_000;
                else model -= model * (2_000_000 - bought) / 16_000_000;
                if (model < 1 gwei) model = 1 gwei;
                bought = 0;
            }
            vm.roll(block.number + elapsed);
            portal.depositTransaction(STRANGER, 0, amount, false, "");
            bought = amount;
            (uint128 price, uint64 sold, uint64 at) = portal.params();
            // Rounding of the empty blocks may differ in the last digits.
            uint256 gap = price > model ? price - model : model - price;
            check(gap <= elapsed, "price");
            model = price;
            equal(sold, amount, "sold");
            equal(at, block.number, "block");
        }
    }

    function gasOf(uint64 gasLimit) private returns (uint256) {
        uint256 before = gasleft();
        portal.depositTransaction(STRANGER, 0, gasLimit, false, "");
        return before - gasleft();
    }

    function depositFrom(address sender, address origin) private returns (address) {
        nextBlock(12);
        vm.recordLogs();
        vm.prank(sender, origin);
        portal.depositTransaction(address(1), 0, 21_000, false, "");
        return loggedFrom();
    }

    function loggedFrom() private returns (address) {
        return address(uint160(uint256(vm.getRecordedLogs()[1].topics[1])));
    }

    function recordPayload(Vm.Log memory log) private pure returns (bytes memory payload) {
        (,,,,,, payload) = abi.decode(log.data, (bytes32, uint64, uint64, uint256, uint256, bytes32, bytes));
    }
}
