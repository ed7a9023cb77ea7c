// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Vm} from "./Vm.sol";
import {WithdrawalBase} from "./WithdrawalBase.sol";
import {L1StandardBridge} from "../src/l1/L1StandardBridge.sol";
import {Portal} from "../src/l1/Portal.sol";
import {L2StandardBridge} from "../src/l2/L2StandardBridge.sol";
import {L2ToL1MessagePasser} from "../src/l2/L2ToL1MessagePasser.sol";
import {MintableERC20} from "../src/l2/MintableERC20.sol";
import {MintableERC20Factory} from "../src/l2/MintableERC20Factory.sol";
import {Alias} from "../src/lib/Alias.sol";
import {IBridge} from "../src/lib/IBridge.sol";
import {Predeploys} from "../src/lib/Predeploys.sol";
import {Withdrawal, WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

contract Coin is ERC20("Coin", "COIN") {
    constructor() {
        _mint(msg.sender, 1_000_000);
    }
}

/// @notice Takes one in a hundred of every transfer.
contract FeeCoin is Coin {
    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (from != address(0)) super._update(to, address(0xfee), amount / 100);
    }
}

/// @notice Deposits again from within a deposit.
contract ReentrantCoin is Coin {
    L1StandardBridge private immutable BRIDGE;
    bool private entered;

    constructor(L1StandardBridge bridge) {
        BRIDGE = bridge;
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (to == address(BRIDGE) && !entered) {
            entered = true;
            BRIDGE.depositERC20To(address(this), address(1), address(2), amount, 0, "");
        }
        super._update(from, to, amount);
    }
}

/// @notice Lets nobody move it for a while.
contract FrozenCoin is Coin {
    bool public frozen;

    function freeze(bool on) external {
        frozen = on;
    }

    function _update(address from, address to, uint256 amount) internal override {
        require(!frozen, "frozen");
        super._update(from, to, amount);
    }
}

/// @notice Deposits again when it is paid.
contract Redeposits {
    L1StandardBridge private immutable BRIDGE;

    constructor(L1StandardBridge bridge) {
        BRIDGE = bridge;
    }

    receive() external payable {
        BRIDGE.depositETHTo{value: msg.value}(address(1), 0, "");
    }
}

/// @notice Refuses ether after burning all gas it gets and returning much.
contract Refuses {
    receive() external payable {
        while (true) {}
    }
}

contract ReturnsMuch {
    fallback() external payable {
        assembly {
            revert(0, 100000)
        }
    }
}

/// @notice Both bridges in one EVM: what the Portal forces is executed by hand, with the gas and sender it names.
contract BridgeTest is WithdrawalBase {

    L2StandardBridge private l2Bridge = L2StandardBridge(payable(Predeploys.L2_STANDARD_BRIDGE));
    L2ToL1MessagePasser private passer = L2ToL1MessagePasser(payable(Predeploys.L2_TO_L1_MESSAGE_PASSER));
    MintableERC20Factory private factory = new MintableERC20Factory();
    Coin private coin;
    MintableERC20 private l2Coin;

    function setUp() public {
        start();
        vm.etch(address(l2Bridge), type(L2StandardBridge).runtimeCode);
        vm.etch(address(passer), type(L2ToL1MessagePasser).runtimeCode);
        vm.store(address(l2Bridge), bytes32(0), bytes32(uint256(uint160(address(bridge)))));
        coin = new Coin();
        l2Coin = MintableERC20(factory.createOptimismMintableERC20(address(coin), "Coin", "COIN"));
        coin.approve(address(bridge), type(uint256).max);
    }

    function test_names() public view {
        equal(address(bridge.portal()), address(portal), "portal");
        equal(bridge.otherBridge(), address(l2Bridge), "otherBridge");
        equal(bridge.l2TokenBridge(), address(l2Bridge), "l2TokenBridge");
        equal(l2Bridge.otherBridge(), address(bridge), "otherBridge");
        equal(l2Bridge.l1TokenBridge(), address(bridge), "l1TokenBridge");
    }

    function test_etherArrives() public {
        vm.deal(address(this), 1 ether);
        vm.recordLogs();
        bridge.depositETHTo{value: 1 ether}(ALICE, 50_000, "note");
        check(relay(), "relayed");
        equal(ALICE.balance, 1 ether, "balance");
        equal(address(portal).balance, 1 ether, "Portal");
    }

    function test_etherByEveryDoor() public {
        vm.deal(ALICE, 4);
        for (uint256 i; i < 4; ++i) {
            vm.deal(ALICE, 4);
            bytes memory call_;
            if (i == 0) call_ = abi.encodeCall(bridge.depositETH, (0, ""));
            if (i == 1) call_ = abi.encodeCall(bridge.bridgeETH, (0, ""));
            if (i == 2) call_ = abi.encodeCall(bridge.bridgeETHTo, (ALICE, 0, ""));
            vm.recordLogs();
            vm.prank(ALICE, ALICE);
            (bool ok,) = address(bridge).call{value: 4}(call_);
            check(ok, "deposited");
            check(relay(), "relayed");
            equal(ALICE.balance, 4, "balance");
        }
    }

    function test_contractsMustNameARecipient() public {
        vm.deal(address(this), 1);
        vm.expectRevert(L1StandardBridge.SenderIsContract.selector);
        bridge.depositETH{value: 1}(0, "");
        vm.expectRevert(L1StandardBridge.SenderIsContract.selector);
        bridge.depositERC20(address(coin), address(l2Coin), 1, 0, "");
        (bool ok,) = address(bridge).call{value: 1}("");
        check(!ok, "receive");
        vm.expectRevert(L2StandardBridge.SenderIsContract.selector);
        l2Bridge.bridgeETH{value: 1}(0, "");
    }

    function testFuzz_tokensArrive(uint256 amount, bytes memory extraData) public {
        amount = bound(amount, 0, 1_000_000);
        vm.recordLogs();
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, amount, 0, extraData);
        check(relay(), "relayed");
        equal(l2Coin.balanceOf(ALICE), amount, "L2 balance");
        equal(coin.balanceOf(address(bridge)), amount, "L1 balance");
        equal(bridge.deposits(address(coin), address(l2Coin)), amount, "deposits");
    }

    function test_feeOnTransferCountsWhatCame() public {
        coin = new FeeCoin();
        l2Coin = MintableERC20(factory.createOptimismMintableERC20(address(coin), "Fee", "FEE"));
        coin.approve(address(bridge), type(uint256).max);
        vm.recordLogs();
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 1000, 0, "");
        check(relay(), "relayed");
        equal(l2Coin.balanceOf(ALICE), 990, "L2 balance");
        equal(bridge.deposits(address(coin), address(l2Coin)), 990, "deposits");
    }

    function test_depositsDoNotNest() public {
        coin = new ReentrantCoin(bridge);
        coin.approve(address(bridge), type(uint256).max);
        vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 1000, 0, "");
    }

    function test_largestMessageArrives() public {
        bytes memory extraData = new bytes(65_536 - 260);
        for (uint256 i; i < extraData.length; ++i) extraData[i] = 0xff;
        vm.recordLogs();
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 10, 0, extraData);
        check(relay(), "relayed");
        equal(l2Coin.balanceOf(ALICE), 10, "L2 balance");
    }

    function test_undeliverableTokensComeBack() public {
        address[4] memory bad = [address(0xdead), address(coin), address(new Refuses()), address(new ReturnsMuch())];
        for (uint256 i; i < bad.length; ++i) {
            nextBlock(12);
            vm.recordLogs();
            bridge.depositERC20To(address(coin), bad[i], ALICE, 10, 0, "note");
            check(relay(), "relayed");
            checkPassed(
                0,
                abi.encodeCall(
                    IBridge.finalizeBridgeERC20,
                    (address(coin), bad[i], address(l2Bridge), address(this), uint256(10), bytes(""))
                )
            );
        }
        // A pair that does not belong together.
        Coin other = new Coin();
        other.approve(address(bridge), 10);
        vm.recordLogs();
        bridge.depositERC20To(address(other), address(l2Coin), ALICE, 10, 0, "");
        check(relay(), "relayed");
        equal(l2Coin.balanceOf(ALICE), 0, "nothing minted");
    }

    function test_undeliverableEtherComesBack() public {
        address[4] memory bad =
            [address(new Refuses()), address(new ReturnsMuch()), address(l2Bridge), address(passer)];
        bytes memory extraData = new bytes(20_000);
        for (uint256 i; i < bad.length; ++i) {
            nextBlock(12);
            vm.deal(address(this), 7);
            vm.recordLogs();
            bridge.bridgeETHTo{value: 7}(bad[i], 0, extraData);
            check(relay(), "relayed");
            checkPassed(
                7,
                abi.encodeCall(
                    IBridge.finalizeBridgeETH, (address(l2Bridge), address(this), uint256(7), bytes(""))
                )
            );
            equal(bad[i].balance, bad[i] == address(passer) ? 7 * (i + 1) : 0, "balance");
        }
    }

    function test_onlyTheOtherBridgeFinalizes() public {
        vm.expectRevert(L2StandardBridge.NotOtherBridge.selector);
        l2Bridge.finalizeBridgeERC20(address(l2Coin), address(coin), ALICE, ALICE, 1, "");
        vm.prank(address(bridge));
        vm.expectRevert(L2StandardBridge.NotOtherBridge.selector);
        l2Bridge.finalizeBridgeETH(ALICE, ALICE, 0, "");
        vm.prank(Alias.aliased(address(bridge)));
        vm.expectRevert(L2StandardBridge.WrongValue.selector);
        l2Bridge.finalizeBridgeETH(ALICE, ALICE, 1, "");
    }

    function test_tokensGoBack() public {
        vm.prank(address(l2Bridge));
        l2Coin.mint(ALICE, 10);
        vm.recordLogs();
        vm.prank(ALICE, ALICE);
        l2Bridge.withdraw(address(l2Coin), 4, 1000, "note");
        equal(l2Coin.balanceOf(ALICE), 6, "burned");
        checkPassed(
            0,
            abi.encodeCall(
                IBridge.finalizeBridgeERC20, (address(coin), address(l2Coin), ALICE, ALICE, uint256(4), bytes("note"))
            )
        );
        vm.prank(ALICE, ALICE);
        l2Bridge.bridgeERC20(address(l2Coin), address(coin), 6, 0, "");
        equal(l2Coin.totalSupply(), 0, "burned");
        vm.prank(ALICE, ALICE);
        vm.expectRevert();
        l2Bridge.withdraw(address(l2Coin), 1, 0, "");
        vm.expectRevert(
            abi.encodeWithSelector(L2StandardBridge.WrongToken.selector, address(l2Coin), address(0xbad))
        );
        l2Bridge.bridgeERC20To(address(l2Coin), address(0xbad), ALICE, 1, 0, "");
    }

    function test_etherGoesBack() public {
        address legacy = l2Bridge.LEGACY_ERC20_ETH();
        vm.deal(address(this), 10);
        vm.recordLogs();
        l2Bridge.withdrawTo{value: 4}(legacy, ALICE, 4, 0, "");
        checkPassed(4, abi.encodeCall(IBridge.finalizeBridgeETH, (address(this), ALICE, uint256(4), bytes(""))));
        vm.recordLogs();
        l2Bridge.bridgeETHTo{value: 5}(ALICE, 0, "");
        checkPassed(5, abi.encodeCall(IBridge.finalizeBridgeETH, (address(this), ALICE, uint256(5), bytes(""))));
        vm.expectRevert(L2StandardBridge.WrongValue.selector);
        l2Bridge.withdrawTo{value: 1}(legacy, ALICE, 2, 0, "");
        vm.expectRevert(L2StandardBridge.WrongValue.selector);
        l2Bridge.withdrawTo{value: 1}(address(l2Coin), ALICE, 1, 0, "");
        equal(address(l2Bridge).balance, 0, "the bridge keeps nothing");
        equal(address(passer).balance, 9, "message passer");
    }

    // Back on L1

    function testFuzz_tokensComeHome(uint256 amount, uint256 back) public {
        amount = bound(amount, 1, 1_000_000);
        back = bound(back, 1, amount);
        vm.recordLogs();
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, amount, 0, "");
        check(relay(), "relayed");
        vm.recordLogs();
        vm.prank(ALICE, ALICE);
        l2Bridge.withdrawTo(address(l2Coin), BOB, back, 0, "note");
        WithdrawalTransaction memory w = passed();
        ready(w);
        vm.recordLogs();
        finalize(ALICE, w);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(
            logs[0].topics[0],
            keccak256("ERC20WithdrawalFinalized(address,address,address,address,uint256,bytes)"),
            "event"
        );
        equal(
            logs[1].topics[0], keccak256("ERC20BridgeFinalized(address,address,address,address,uint256,bytes)"), "event"
        );
        for (uint256 i; i < 2; ++i) {
            equal(uint256(logs[i].topics[1]), uint160(address(coin)), "l1Token");
            equal(uint256(logs[i].topics[2]), uint160(address(l2Coin)), "l2Token");
            equal(uint256(logs[i].topics[3]), uint160(ALICE), "from");
            equal(logs[i].data, abi.encode(BOB, back, bytes("note")), "to, amount, data");
        }
        equal(coin.balanceOf(BOB), back, "balance");
        equal(bridge.deposits(address(coin), address(l2Coin)), amount - back, "deposits");
        equal(coin.balanceOf(address(bridge)), amount - back, "held");
        vm.expectRevert(Portal.OptimismPortal_AlreadyFinalized.selector);
        finalize(ALICE, w);
    }

    function test_etherComesHome() public {
        vm.recordLogs();
        bridge.depositETHTo{value: 5}(ALICE, 0, "");
        check(relay(), "relayed");
        vm.recordLogs();
        vm.prank(ALICE, ALICE);
        l2Bridge.bridgeETHTo{value: 4}(BOB, 0, "note");
        WithdrawalTransaction memory w = passed();
        ready(w);
        vm.recordLogs();
        finalize(ALICE, w);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs[0].topics[0], keccak256("ETHWithdrawalFinalized(address,address,uint256,bytes)"), "event");
        equal(logs[1].topics[0], keccak256("ETHBridgeFinalized(address,address,uint256,bytes)"), "event");
        equal(logs[1].data, abi.encode(4, bytes("note")), "event");
        equal(BOB.balance, 4, "balance");
        equal(address(portal).balance, 1, "Portal");
        equal(address(bridge).balance, 0, "the bridge keeps nothing");
    }

    /// Nobody loses tokens to a transfer that fails today.
    function test_frozenTokensWait() public {
        FrozenCoin frozen = new FrozenCoin();
        coin = frozen;
        l2Coin = MintableERC20(factory.createOptimismMintableERC20(address(coin), "Coin", "COIN"));
        coin.approve(address(bridge), type(uint256).max);
        vm.recordLogs();
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 10, 0, "");
        check(relay(), "relayed");
        vm.recordLogs();
        vm.prank(ALICE, ALICE);
        l2Bridge.withdraw(address(l2Coin), 10, 0, "");
        WithdrawalTransaction memory w = passed();
        ready(w);
        frozen.freeze(true);
        vm.expectRevert();
        finalize(ALICE, w);
        equal(bridge.deposits(address(coin), address(l2Coin)), 10, "deposits");
        frozen.freeze(false);
        finalize(ALICE, w);
        equal(coin.balanceOf(ALICE), 10, "paid");
    }

    /// A token of anybody's making that stands for a real one takes out only what was put in for it.
    function test_foreignTokenTakesNothing() public {
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 1000, 0, "");
        address mint = address(new MintableERC20(LIAR, address(coin), "Coin", "COIN", 18));
        vm.prank(LIAR);
        MintableERC20(mint).mint(LIAR, 1000);
        WithdrawalTransaction memory w = fromBridge(
            abi.encodeCall(IBridge.finalizeBridgeERC20, (address(coin), mint, LIAR, LIAR, uint256(1000), bytes("")))
        );
        ready(w);
        vm.expectRevert(
            abi.encodeWithSelector(
                Portal.CallFailed.selector, abi.encodeWithSelector(L1StandardBridge.NotDeposited.selector, 0)
            )
        );
        finalize(ALICE, w);
        equal(coin.balanceOf(address(bridge)), 1000, "held");
    }

    function test_onlyTheBridgeOnL2TakesOut() public {
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 1000, 0, "");
        bytes memory tokens = abi.encodeCall(
            IBridge.finalizeBridgeERC20, (address(coin), address(l2Coin), LIAR, LIAR, uint256(1000), bytes(""))
        );
        bytes memory ether_ = abi.encodeCall(IBridge.finalizeBridgeETH, (LIAR, LIAR, uint256(0), bytes("")));
        vm.expectRevert(L1StandardBridge.NotOtherBridge.selector);
        bridge.finalizeBridgeERC20(address(coin), address(l2Coin), LIAR, LIAR, 1000, "");
        // The Portal itself, when it executes nothing.
        vm.prank(address(portal));
        vm.expectRevert(L1StandardBridge.NotOtherBridge.selector);
        bridge.finalizeBridgeERC20(address(coin), address(l2Coin), LIAR, LIAR, 1000, "");
        for (uint256 i; i < 2; ++i) {
            WithdrawalTransaction memory w = withdrawal(LIAR, address(bridge), 0, 500_000, i == 0 ? tokens : ether_);
            ready(w);
            vm.expectRevert(
                abi.encodeWithSelector(
                    Portal.CallFailed.selector, abi.encodeWithSelector(L1StandardBridge.NotOtherBridge.selector)
                )
            );
            finalize(ALICE, w);
        }
    }

    function test_badRecipients() public {
        bridge.depositERC20To(address(coin), address(l2Coin), ALICE, 10, 0, "");
        address[2] memory bad = [address(bridge), address(portal)];
        for (uint256 i; i < 2; ++i) {
            WithdrawalTransaction memory w = fromBridge(
                abi.encodeCall(
                    IBridge.finalizeBridgeERC20, (address(coin), address(l2Coin), ALICE, bad[i], uint256(10), bytes(""))
                )
            );
            ready(w);
            vm.expectRevert(
                abi.encodeWithSelector(
                    Portal.CallFailed.selector, abi.encodeWithSelector(L1StandardBridge.BadRecipient.selector)
                )
            );
            finalize(ALICE, w);
        }
        WithdrawalTransaction memory wrong =
            fromBridge(abi.encodeCall(IBridge.finalizeBridgeETH, (ALICE, ALICE, uint256(1), bytes(""))));
        ready(wrong);
        vm.expectRevert(
            abi.encodeWithSelector(
                Portal.CallFailed.selector, abi.encodeWithSelector(L1StandardBridge.WrongValue.selector)
            )
        );
        finalize(ALICE, wrong);
    }

    function test_recipientMayDepositAgain() public {
        portal.depositTransaction{value: 5}(ALICE, 0, 21_000, false, "");
        address to = address(new Redeposits(bridge));
        WithdrawalTransaction memory w = withdrawal(
            address(l2Bridge),
            address(bridge),
            5,
            1_000_000,
            abi.encodeCall(IBridge.finalizeBridgeETH, (ALICE, to, uint256(5), bytes("")))
        );
        ready(w);
        finalize(ALICE, w);
        equal(address(portal).balance, 5, "and back");
    }

    function fromBridge(bytes memory message) private returns (WithdrawalTransaction memory) {
        return withdrawal(address(l2Bridge), address(bridge), 0, 500_000, message);
    }

    /// The withdrawal that the message passer logged last.
    function passed() private returns (WithdrawalTransaction memory w) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory log = logs[logs.length - 1];
        equal(log.emitter, address(passer), "message passer");
        (w.nonce, w.sender, w.target) = (
            uint256(log.topics[1]), address(uint160(uint256(log.topics[2]))), address(uint160(uint256(log.topics[3])))
        );
        bytes32 hash;
        (w.value, w.gasLimit, w.data, hash) = abi.decode(log.data, (uint256, uint256, bytes, bytes32));
        equal(Withdrawal.hash(w), hash, "hash");
    }

    /// Executes the newest deposit as L2 would.
    function relay() private returns (bool ok) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory log = logs[logs.length - 1];
        equal(log.emitter, address(portal), "deposited");
        equal(uint256(log.topics[2]), uint160(address(l2Bridge)), "target");
        bytes memory opaque = abi.decode(log.data, (bytes));
        uint256 mint;
        uint256 gasLimit;
        assembly {
            mint := mload(add(opaque, 32))
            gasLimit := shr(192, mload(add(opaque, 96)))
        }
        bytes memory data = new bytes(opaque.length - 73);
        uint256 intrinsic = 21_000;
        for (uint256 i; i < data.length; ++i) {
            data[i] = opaque[73 + i];
            intrinsic += data[i] == 0 ? 4 : 16;
        }
        address from = address(uint160(uint256(log.topics[1])));
        equal(from, Alias.aliased(address(bridge)), "sender");
        vm.deal(from, mint);
        vm.recordLogs();
        vm.prank(from);
        (ok,) = address(l2Bridge).call{value: mint, gas: gasLimit - intrinsic}(data);
    }

    /// The newest event is a withdrawal to the L1 bridge.
    function checkPassed(uint256 value, bytes memory message) private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory log = logs[logs.length - 1];
        equal(log.emitter, address(passer), "message passer");
        equal(uint256(log.topics[2]), uint160(address(l2Bridge)), "sender");
        equal(uint256(log.topics[3]), uint160(address(bridge)), "target");
        (uint256 passedValue,, bytes memory data,) = abi.decode(log.data, (uint256, uint256, bytes, bytes32));
        equal(passedValue, value, "value");
        equal(data, message, "message");
    }
}
