// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";
import {GasPriceOracle} from "../src/l2/GasPriceOracle.sol";
import {L1Block} from "../src/l2/L1Block.sol";
import {L2ToL1MessagePasser} from "../src/l2/L2ToL1MessagePasser.sol";
import {MintableERC20} from "../src/l2/MintableERC20.sol";
import {MintableERC20Factory} from "../src/l2/MintableERC20Factory.sol";
import {WETH} from "../src/l2/WETH.sol";
import {Predeploys} from "../src/lib/Predeploys.sol";

contract MessagePasserTest is Base {
    L2ToL1MessagePasser private passer = new L2ToL1MessagePasser();

    function testFuzz_withdrawalIsStoredWhereProofsLook(
        address sender,
        address target,
        uint96 value,
        uint256 gasLimit,
        bytes memory data
    ) public {
        vm.deal(sender, value);
        uint256 nonce = uint256(1) << 240;
        bytes32 hash = keccak256(abi.encode(nonce, sender, target, uint256(value), gasLimit, data));
        vm.recordLogs();
        vm.prank(sender);
        passer.initiateWithdrawal{value: value}(target, gasLimit, data);

        check(passer.sentMessages(hash), "sentMessages");
        equal(vm.load(address(passer), keccak256(abi.encode(hash, uint256(0)))), bytes32(uint256(1)), "slot");
        equal(passer.messageNonce(), nonce + 1, "messageNonce");
        Vm.Log memory log = vm.getRecordedLogs()[0];
        equal(log.topics[0], keccak256("MessagePassed(uint256,address,address,uint256,uint256,bytes,bytes32)"), "event");
        equal(uint256(log.topics[1]), nonce, "nonce");
        equal(uint256(log.topics[2]), uint160(sender), "sender");
        equal(uint256(log.topics[3]), uint160(target), "target");
        equal(log.data, abi.encode(uint256(value), gasLimit, data, hash), "data");
    }

    function test_sameWithdrawalTwiceIsTwo() public {
        passer.initiateWithdrawal(STRANGER, 1, "x");
        passer.initiateWithdrawal(STRANGER, 1, "x");
        for (uint256 i; i < 2; ++i) {
            uint256 nonce = uint256(1) << 240 | i;
            check(
                passer.sentMessages(keccak256(abi.encode(nonce, address(this), STRANGER, 0, 1, bytes("x")))), "message"
            );
        }
    }

    function test_receiveWithdrawsToSender() public {
        vm.deal(STRANGER, 3);
        vm.prank(STRANGER);
        (bool ok,) = address(passer).call{value: 3}("");
        check(ok, "accepted");
        check(
            passer.sentMessages(
                keccak256(abi.encode(uint256(1) << 240, STRANGER, STRANGER, 3, 100_000, bytes("")))
            ),
            "message"
        );
    }
}

contract L1BlockTest is Base {
    function test_gettersReadTheSlotsOfTheSpec() public {
        L1Block l1 = new L1Block();
        for (uint256 slot; slot < 9; ++slot) vm.store(address(l1), bytes32(slot), bytes32(1000 + slot));
        equal(l1.number(), 1000, "number");
        equal(l1.timestamp(), 1001, "timestamp");
        equal(l1.basefee(), 1002, "basefee");
        equal(l1.blobBaseFee(), 1003, "blobBaseFee");
        equal(uint256(l1.hash()), 1004, "hash");
        equal(l1.originIndex(), 1005, "originIndex");
        equal(uint256(l1.originAccumulator()), 1006, "originAccumulator");
        equal(l1.baseFeeScalar(), 1007, "baseFeeScalar");
        equal(l1.blobBaseFeeScalar(), 1008, "blobBaseFeeScalar");
        equal(l1.sequenceNumber(), 0, "sequenceNumber");
        equal(uint256(l1.batcherHash()), 0, "batcherHash");
        check(l1.l1FeeOverhead() == 0 && l1.l1FeeScalar() == 0, "old fee");
        check(l1.operatorFeeScalar() == 0 && l1.operatorFeeConstant() == 0, "operator fee");
    }
}

contract GasPriceOracleTest is Base {
    GasPriceOracle private oracle = new GasPriceOracle();

    function setUp() public {
        vm.etch(Predeploys.L1_BLOCK, type(L1Block).runtimeCode);
    }

    /// spec/vectors/data-fees.json, whose lengths come from another implementation of FastLZ.
    function test_dataFeeVectors() public {
        string memory json = vm.readFile("../spec/vectors/data-fees.json");
        uint256 i;
        for (; vm.keyExistsJson(json, key(i, "")); ++i) {
            market(
                vm.parseJsonUint(json, key(i, ".baseFee")),
                vm.parseJsonUint(json, key(i, ".blobBaseFee")),
                vm.parseJsonUint(json, key(i, ".baseFeeScalar")),
                vm.parseJsonUint(json, key(i, ".blobBaseFeeScalar"))
            );
            vm.fee(vm.parseJsonUint(json, key(i, ".l2BaseFee")));
            bytes memory data = vm.parseJsonBytes(json, key(i, ".data"));
            equal(oracle.dataGas(data), vm.parseJsonUint(json, key(i, ".dataGas")), key(i, ".dataGas"));
            // `getL1Fee` counts 68 bytes for the signature.
            uint256 size = 836_500 * (vm.parseJsonUint(json, key(i, ".flzLength")) + 68);
            size = size > 142_585_600 ? size - 42_585_600 : 100_000_000;
            uint256 byteCost = oracle.baseFeeScalar() * oracle.l1BaseFee()
                + oracle.blobBaseFeeScalar() * oracle.blobBaseFee();
            equal(oracle.getL1Fee(data), (size * byteCost + 1e12 - 1) / 1e12, "getL1Fee");
            equal(oracle.getL1GasUsed(data), size * 16 / 1e6, "getL1GasUsed");
        }
        equal(i, 30, "cases");
    }

    function testFuzz_upperBoundBounds(bytes memory data, uint64 baseFee, uint64 blobBaseFee) public {
        market(baseFee, blobBaseFee, 200_000, 1_050_000);
        check(oracle.getL1FeeUpperBound(data.length) >= oracle.getL1Fee(data), "upper bound");
    }

    function test_constants() public {
        vm.fee(12_345_678);
        check(oracle.isEcotone() && oracle.isFjord(), "forks");
        equal(oracle.decimals(), 6, "decimals");
        equal(oracle.baseFee(), 12_345_678, "baseFee");
        equal(oracle.gasPrice(), 12_345_678, "gasPrice");
        equal(oracle.getOperatorFee(1_000_000), 0, "getOperatorFee");
        check(oracle.overhead() == 0 && oracle.scalar() == 0, "old fee");
    }

    function market(uint256 baseFee, uint256 blobBaseFee, uint256 baseFeeScalar, uint256 blobBaseFeeScalar) private {
        vm.store(Predeploys.L1_BLOCK, bytes32(uint256(2)), bytes32(baseFee));
        vm.store(Predeploys.L1_BLOCK, bytes32(uint256(3)), bytes32(blobBaseFee));
        vm.store(Predeploys.L1_BLOCK, bytes32(uint256(7)), bytes32(baseFeeScalar));
        vm.store(Predeploys.L1_BLOCK, bytes32(uint256(8)), bytes32(blobBaseFeeScalar));
    }

    function key(uint256 i, string memory rest) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(i), "]", rest);
    }
}

contract MintableERC20FactoryTest is Base {
    MintableERC20Factory private factory = new MintableERC20Factory();

    function test_makesTokens() public {
        vm.recordLogs();
        address made = factory.createOptimismMintableERC20WithDecimals(STRANGER, "Coin", "COIN", 6);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs[0].topics[0], keccak256("StandardL2TokenCreated(address,address)"), "event");
        equal(logs[1].topics[0], keccak256("OptimismMintableERC20Created(address,address,address)"), "event");
        equal(uint256(logs[1].topics[1]), uint160(made), "localToken");

        MintableERC20 token = MintableERC20(made);
        equal(factory.deployments(made), STRANGER, "deployments");
        equal(token.remoteToken(), STRANGER, "remoteToken");
        equal(token.l1Token(), STRANGER, "l1Token");
        equal(token.bridge(), Predeploys.L2_STANDARD_BRIDGE, "bridge");
        equal(token.l2Bridge(), Predeploys.L2_STANDARD_BRIDGE, "l2Bridge");
        equal(bytes(token.name()), "Coin", "name");
        equal(bytes(token.symbol()), "COIN", "symbol");
        equal(token.decimals(), 6, "decimals");
        equal(MintableERC20(factory.createOptimismMintableERC20(STRANGER, "Coin", "COIN")).decimals(), 18, "decimals");
        vm.expectRevert();
        factory.createStandardL2Token(STRANGER, "Coin", "COIN");
        vm.expectRevert(MintableERC20Factory.NoRemoteToken.selector);
        factory.createStandardL2Token(address(0), "Coin", "COIN");
    }

    function test_onlyBridgeMintsAndBurns() public {
        MintableERC20 token = MintableERC20(factory.createOptimismMintableERC20(STRANGER, "Coin", "COIN"));
        vm.expectRevert(MintableERC20.NotBridge.selector);
        token.mint(address(this), 1);
        vm.prank(Predeploys.L2_STANDARD_BRIDGE);
        token.mint(address(this), 5);
        vm.expectRevert(MintableERC20.NotBridge.selector);
        token.burn(address(this), 1);
        vm.prank(Predeploys.L2_STANDARD_BRIDGE);
        token.burn(address(this), 2);
        equal(token.balanceOf(address(this)), 3, "balance");
    }
}

contract WETHTest is Base {
    WETH private weth = new WETH();

    receive() external payable {}

    function test_wrapsAndUnwraps() public {
        vm.deal(address(this), 10);
        weth.deposit{value: 4}();
        (bool ok,) = address(weth).call{value: 1}("");
        check(ok, "receive");
        (ok,) = address(weth).call{value: 2}(hex"01020304");
        check(ok, "fallback");
        equal(weth.balanceOf(address(this)), 7, "balance");
        equal(weth.totalSupply(), 7, "totalSupply");
        vm.expectRevert(WETH.InsufficientBalance.selector);
        weth.withdraw(8);
        weth.withdraw(7);
        equal(address(this).balance, 10, "ether");
    }

    function test_allowances() public {
        vm.deal(address(this), 10);
        weth.deposit{value: 10}();
        vm.prank(STRANGER);
        vm.expectRevert(WETH.InsufficientAllowance.selector);
        weth.transferFrom(address(this), STRANGER, 1);
        weth.approve(STRANGER, 3);
        vm.prank(STRANGER);
        weth.transferFrom(address(this), STRANGER, 2);
        equal(weth.allowance(address(this), STRANGER), 1, "allowance");
        weth.approve(STRANGER, type(uint256).max);
        vm.prank(STRANGER);
        weth.transferFrom(address(this), STRANGER, 2);
        equal(weth.allowance(address(this), STRANGER), type(uint256).max, "allowance");
        vm.expectRevert(WETH.InsufficientBalance.selector);
        weth.transfer(STRANGER, 7);
        weth.transfer(STRANGER, 6);
        equal(weth.balanceOf(STRANGER), 10, "balance");
        equal(weth.totalSupply(), 10, "totalSupply");
    }
}
