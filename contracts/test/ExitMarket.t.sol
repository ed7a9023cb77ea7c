// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";
import {WithdrawalBase} from "./WithdrawalBase.sol";
import {ExitMarket} from "../src/l1/ExitMarket.sol";
import {Portal} from "../src/l1/Portal.sol";
import {Withdrawal, WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

/// @notice Sells, and refuses its pay or tries to sell or buy again while it is paid.
contract Seller {
    ExitMarket private immutable MARKET;
    WithdrawalTransaction private _w;
    bool public refuses;
    bool public paid;

    constructor(ExitMarket market) payable {
        MARKET = market;
    }

    function offers(WithdrawalTransaction memory w, uint256 price, bool refuses_) external {
        (_w, refuses) = (w, refuses_);
        MARKET.offer(w, price);
    }

    receive() external payable {
        if (refuses) revert();
        (bool offered,) = address(MARKET).call(abi.encodeCall(MARKET.offer, (_w, 1)));
        (bool cancelled,) = address(MARKET).call(abi.encodeCall(MARKET.cancel, (_w)));
        (bool bought,) = address(MARKET).call{value: msg.value}(abi.encodeCall(MARKET.buy, (_w)));
        (bool withdrawn,) = address(MARKET).call(abi.encodeCall(MARKET.withdraw, ()));
        paid = !offered && !cancelled && !bought && !withdrawn;
    }
}

contract ExitMarketTest is WithdrawalBase {
    address private constant CAROL = address(0xca401);

    function setUp() public {
        start();
        portal.depositTransaction{value: 100 ether}(ALICE, 0, 21_000, false, "");
        vm.deal(BOB, 10 ether);
        vm.deal(CAROL, 10 ether);
    }

    function exit(address seller, uint256 value) private returns (WithdrawalTransaction memory) {
        return withdrawal(
            seller, address(exitMarket), value, exitMarket.MIN_GAS(), abi.encodeCall(exitMarket.receiveExit, (seller))
        );
    }

    function offer(address who, WithdrawalTransaction memory w, uint256 price) private {
        vm.prank(who);
        exitMarket.offer(w, price);
    }

    function buy(address who, WithdrawalTransaction memory w, uint256 price) private {
        vm.prank(who);
        exitMarket.buy{value: price}(w);
    }

    /// Offered, bought before it is proved, paid to the buyer; nobody else is needed.
    function testFuzz_sold(uint96 value, uint96 price) public {
        value = uint96(bound(value, 1, 100 ether));
        price = uint96(bound(price, 1, 10 ether));
        WithdrawalTransaction memory w = exit(ALICE, value);
        bytes32 hash = Withdrawal.hash(w);
        equal(exitMarket.holderOf(w), ALICE, "holder");
        vm.recordLogs();
        offer(ALICE, w, price);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(
            logs[0].topics[0],
            keccak256("Offered(bytes32,address,uint256,(uint256,address,address,uint256,uint256,bytes))"),
            "event"
        );
        equal(logs[0].topics[1], hash, "hash");
        equal(uint256(logs[0].topics[2]), uint160(ALICE), "seller");
        equal(logs[0].data, abi.encode(uint256(price), w), "price and withdrawal");
        equal(exitMarket.prices(hash), price, "price");

        buy(BOB, w, price);
        equal(ALICE.balance, price, "the seller is out");
        equal(exitMarket.holderOf(w), BOB, "holder");
        equal(exitMarket.prices(hash), 0, "not offered any more");

        ready(w);
        portal.finalizeWithdrawalTransactionExternalProof(w, ALICE);
        equal(exitMarket.credits(BOB), value, "credit");
        equal(exitMarket.credits(ALICE), 0, "nothing twice");
        uint256 before = BOB.balance;
        vm.prank(BOB);
        exitMarket.withdraw();
        equal(BOB.balance - before, value, "paid");
        equal(address(exitMarket).balance, 0, "nothing is left");
        vm.prank(BOB);
        vm.expectRevert(ExitMarket.NothingToWithdraw.selector);
        exitMarket.withdraw();
    }

    function test_unsoldIsTheSellers() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        offer(ALICE, w, 1 ether);
        ready(w);
        vm.recordLogs();
        finalize(ALICE, w);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 last = logs.length - 2;
        equal(logs[last].topics[0], keccak256("Exited(bytes32,address,uint256)"), "event");
        equal(uint256(logs[last].topics[2]), uint160(ALICE), "holder");
        equal(exitMarket.credits(ALICE), 3 ether, "credit");
        // The offer is void now.
        vm.expectRevert(ExitMarket.AlreadyFinalized.selector);
        buy(BOB, w, 1 ether);
        vm.expectRevert(ExitMarket.AlreadyFinalized.selector);
        offer(ALICE, w, 2 ether);
    }

    function test_twoBuyersAtOnce() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        offer(ALICE, w, 2 ether);
        buy(BOB, w, 2 ether);
        vm.expectRevert(ExitMarket.NotOffered.selector);
        buy(CAROL, w, 2 ether);
        equal(CAROL.balance, 10 ether, "keeps its ether");
    }

    function test_resold() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        offer(ALICE, w, 1 ether);
        buy(BOB, w, 1 ether);
        // What is sold is not the seller's to sell.
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.NotHolder.selector, BOB));
        offer(ALICE, w, 1 ether);
        offer(BOB, w, 2 ether);
        buy(CAROL, w, 2 ether);
        equal(BOB.balance, 11 ether, "paid");
        equal(ALICE.balance, 1 ether, "once");
        ready(w);
        finalize(ALICE, w);
        equal(exitMarket.credits(CAROL), 3 ether, "credit");
        equal(exitMarket.credits(BOB), 0, "none");
    }

    function test_repriced() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        vm.expectRevert(ExitMarket.PriceIsZero.selector);
        offer(ALICE, w, 0);
        offer(ALICE, w, 1 ether);
        offer(ALICE, w, 2 ether);
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.WrongPrice.selector, 2 ether));
        buy(BOB, w, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.WrongPrice.selector, 2 ether));
        buy(BOB, w, 3 ether);
        vm.prank(ALICE);
        exitMarket.cancel(w);
        vm.expectRevert(ExitMarket.NotOffered.selector);
        buy(BOB, w, 2 ether);
        vm.expectRevert(ExitMarket.NotOffered.selector);
        vm.prank(ALICE);
        exitMarket.cancel(w);
    }

    function test_foreign() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.NotHolder.selector, ALICE));
        offer(LIAR, w, 1 ether);
        offer(ALICE, w, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.NotHolder.selector, ALICE));
        vm.prank(LIAR);
        exitMarket.cancel(w);
        w = exit(ALICE, 3 ether);
        vm.expectRevert(ExitMarket.NotOffered.selector);
        buy(BOB, w, 0);
    }

    /// A withdrawal that L2 does not know can be offered, but is another one: whoever checks its hash on L2 sees that.
    function test_falseOneBuysNothing() public {
        WithdrawalTransaction memory real = exit(ALICE, 3 ether);
        WithdrawalTransaction memory forged = exit(ALICE, 3 ether);
        offer(ALICE, forged, 1 ether);
        buy(BOB, forged, 1 ether);
        equal(exitMarket.holderOf(real), ALICE, "the real one is untouched");
        ready(real);
        finalize(ALICE, real);
        equal(exitMarket.credits(ALICE), 3 ether, "credit");
        equal(exitMarket.credits(BOB), 0, "none");
    }

    function test_notSellable() public {
        bytes memory good = abi.encodeCall(exitMarket.receiveExit, (ALICE));
        uint256 gas_ = exitMarket.MIN_GAS();
        unsellable(withdrawal(ALICE, address(exitMarket), 1, gas_ - 1, good));
        unsellable(withdrawal(ALICE, ALICE, 1, gas_, good));
        unsellable(withdrawal(ALICE, address(exitMarket), 1, gas_, ""));
        unsellable(withdrawal(ALICE, address(exitMarket), 1, gas_, bytes.concat(good, hex"00")));
        unsellable(withdrawal(ALICE, address(exitMarket), 1, gas_, abi.encodeCall(exitMarket.withdraw, ())));
        unsellable(
            withdrawal(ALICE, address(exitMarket), 1, gas_, abi.encodePacked(exitMarket.offer.selector, abi.encode(ALICE)))
        );
        // An address with dirt above it, which `receiveExit` would refuse.
        unsellable(
            withdrawal(
                ALICE,
                address(exitMarket),
                1,
                gas_,
                abi.encodePacked(exitMarket.receiveExit.selector, uint256(1) << 160 | uint160(ALICE))
            )
        );
    }

    function test_onlyPortalDelivers() public {
        vm.expectRevert(ExitMarket.NotPortal.selector);
        exitMarket.receiveExit{value: 1}(ALICE);
    }

    /// With the least gas that a withdrawal can name, to a holder that has nothing yet, delivery does not fail.
    function test_leastGasIsEnough() public {
        WithdrawalTransaction memory w = exit(ALICE, 1 ether);
        offer(ALICE, w, 1);
        buy(BOB, w, 1);
        uint256 gas_ = exitMarket.MIN_GAS();
        vm.deal(address(portal), 100 ether);
        // As the Portal would call, by itself: it is not executing anything, so the hash is zero, and the gas is the same.
        vm.prank(address(portal));
        (bool ok,) = address(exitMarket).call{value: 1 ether, gas: gas_}(w.data);
        check(ok, "delivered");
        ready(w);
        finalize(ALICE, w);
        equal(exitMarket.credits(BOB), 1 ether, "credit");
    }

    function test_sellerRefusesItsPay() public {
        Seller seller = new Seller(exitMarket);
        WithdrawalTransaction memory w = exit(address(seller), 3 ether);
        seller.offers(w, 1 ether, true);
        vm.expectRevert(abi.encodeWithSelector(ExitMarket.PaymentFailed.selector, address(seller)));
        buy(BOB, w, 1 ether);
        equal(exitMarket.holderOf(w), address(seller), "not sold");
        seller.offers(w, 1 ether, false);
        buy(BOB, w, 1 ether);
        check(seller.paid(), "could do nothing while it was paid");
        equal(exitMarket.holderOf(w), BOB, "sold");
    }

    /// forge-config: default.isolate = true
    function test_gas() public {
        WithdrawalTransaction memory w = exit(ALICE, 3 ether);
        vm.deal(ALICE, 1 ether);
        vm.prank(ALICE);
        exitMarket.offer(w, 1 ether);
        vm.snapshotGasLastCall("ExitMarket", "offer");
        vm.prank(BOB);
        exitMarket.buy{value: 1 ether}(w);
        vm.snapshotGasLastCall("ExitMarket", "buy");
        ready(w);
        portal.finalizeWithdrawalTransactionExternalProof(w, ALICE);
        vm.snapshotGasLastCall("ExitMarket", "finalize withdrawal");
        vm.prank(BOB);
        exitMarket.withdraw();
        vm.snapshotGasLastCall("ExitMarket", "withdraw");
    }

    function unsellable(WithdrawalTransaction memory w) private {
        vm.expectRevert(ExitMarket.NotSellable.selector);
        exitMarket.holderOf(w);
        vm.expectRevert(ExitMarket.NotSellable.selector);
        offer(ALICE, w, 1);
        vm.expectRevert(ExitMarket.NotSellable.selector);
        buy(BOB, w, 1);
    }
}

/// @notice Anybody trades, and withdrawals are delivered, in any order.
contract Traders is WithdrawalBase {
    WithdrawalTransaction[] private _list;
    mapping(bytes32 => address) public model;
    mapping(address => uint256) public owed;
    uint256 public delivered;
    uint256 public taken;

    constructor() {
        start();
        portal.depositTransaction{value: 1000 ether}(ALICE, 0, 21_000, false, "");
        WithdrawalTransaction[] memory list = new WithdrawalTransaction[](6);
        for (uint256 i; i < 6; ++i) {
            address seller = trader(i);
            list[i] = withdrawal(
                seller, address(exitMarket), (i + 1) * 1 ether, 100_000, abi.encodeCall(exitMarket.receiveExit, (seller))
            );
            _list.push(list[i]);
            model[Withdrawal.hash(list[i])] = seller;
        }
        State memory s = state(list);
        uint256 index = settleState(s);
        for (uint256 i; i < 6; ++i) prove(address(this), list[i], index, s);
    }

    function trader(uint256 i) public pure returns (address) {
        return address(uint160(0x7000 + i % 3));
    }

    function offer(uint256 who, uint256 which, uint256 price) external {
        WithdrawalTransaction memory w = _list[which % 6];
        bytes32 hash = Withdrawal.hash(w);
        price = bound(price, 1, 5 ether);
        vm.prank(trader(who));
        try exitMarket.offer(w, price) {
            check(model[hash] == trader(who) && !portal.finalizedWithdrawals(hash), "offered by a stranger");
        } catch {
            check(model[hash] != trader(who) || portal.finalizedWithdrawals(hash), "an offer is refused");
        }
    }

    function cancel(uint256 who, uint256 which) external {
        WithdrawalTransaction memory w = _list[which % 6];
        bytes32 hash = Withdrawal.hash(w);
        uint256 price = exitMarket.prices(hash);
        vm.prank(trader(who));
        try exitMarket.cancel(w) {
            check(model[hash] == trader(who) && price > 0, "cancelled by a stranger");
        } catch {
            check(model[hash] != trader(who) || price == 0, "a cancellation is refused");
        }
    }

    function buy(uint256 who, uint256 which, uint256 off) external {
        WithdrawalTransaction memory w = _list[which % 6];
        bytes32 hash = Withdrawal.hash(w);
        uint256 price = exitMarket.prices(hash) + (off % 4 == 0 ? 1 : 0);
        address buyer = trader(who);
        address seller = model[hash];
        vm.deal(buyer, 1000 ether);
        uint256 before = seller.balance;
        vm.prank(buyer);
        try exitMarket.buy{value: price}(w) {
            check(off % 4 != 0 && price > 0 && !portal.finalizedWithdrawals(hash), "bought against the rules");
            if (seller != buyer) equal(seller.balance - before, price, "paid at once");
            model[hash] = buyer;
        } catch {
            check(off % 4 == 0 || price == 0 || portal.finalizedWithdrawals(hash), "a purchase is refused");
        }
    }

    function deliver(uint256 which) external {
        WithdrawalTransaction memory w = _list[which % 6];
        bytes32 hash = Withdrawal.hash(w);
        bool before = portal.finalizedWithdrawals(hash);
        try portal.finalizeWithdrawalTransaction(w) {
            check(!before, "delivered twice");
            owed[model[hash]] += w.value;
            delivered += w.value;
        } catch {
            check(before, "a delivery failed");
        }
    }

    function take(uint256 who) external {
        address account = trader(who);
        uint256 amount = owed[account];
        uint256 before = account.balance;
        vm.prank(account);
        try exitMarket.withdraw() {
            equal(account.balance - before, amount, "what is owed");
            owed[account] = 0;
            taken += amount;
        } catch {
            equal(amount, 0, "nothing is owed");
        }
    }

    function checkAll() external view {
        for (uint256 i; i < 6; ++i) {
            equal(exitMarket.holderOf(_list[i]), model[Withdrawal.hash(_list[i])], "holder");
        }
        for (uint256 i; i < 3; ++i) equal(exitMarket.credits(trader(i)), owed[trader(i)], "credit");
        equal(address(exitMarket).balance, delivered - taken, "the market holds what it owes");
        equal(address(portal).balance, 1000 ether - delivered, "Portal");
    }
}

contract ExitMarketInvariantTest is WithdrawalBase {
    Traders private traders;

    function setUp() public {
        traders = new Traders();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(traders);
    }

    /// One holder a withdrawal, paid once, and every wei owed is there.
    function invariant_everyWeiHasItsHolder() external view {
        traders.checkAll();
    }
}
