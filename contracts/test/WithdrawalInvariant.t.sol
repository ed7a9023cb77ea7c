// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {WithdrawalBase} from "./WithdrawalBase.sol";
import {Claims} from "../src/l1/Claims.sol";
import {Withdrawal, WithdrawalTransaction} from "../src/lib/Withdrawal.sol";

/// @notice Deposits, withdrawals, true claims and lies, proofs and payments in any order. Honest claimers answer every lie.
contract Leavers is WithdrawalBase {
    uint256 private constant MOST = 8;
    address private constant FORGER = address(0xf04e);

    WithdrawalTransaction[] private _real;
    WithdrawalTransaction private _forged;
    uint256[] private _ranges;
    State[] private _states;
    mapping(bytes32 => bool) private _paid;
    uint256 public deposited;
    uint256 public paid;
    uint256 public settlements;
    uint256 private _record;

    constructor() {
        start();
        _forged = withdrawal(FORGER, FORGER, 1, 0, "");
    }

    function deposit(uint256 value) external {
        value = bound(value, 1, 10 ether);
        nextBlock(12);
        portal.depositTransaction{value: value}(ALICE, 0, 21_000, false, "");
        deposited += value;
    }

    function leave(uint256 who, uint256 value) external {
        if (_real.length == MOST) return;
        address to = address(uint160(0x8000 + who % 4));
        _real.push(withdrawal(to, to, bound(value, 0, 3 ether), bound(value, 0, 100_000), ""));
    }

    /// The lie joins first and never moves.
    function claim(bool lie) external {
        if (claims.openRanges().length == 8) return;
        vm.warp(block.timestamp + CLAIM_INTERVAL);
        uint256 range = openRange();
        _ranges.push(range);
        WithdrawalTransaction[] memory list = new WithdrawalTransaction[](_real.length + 1);
        for (uint256 i; i < _real.length; ++i) list[i] = _real[i];
        list[_real.length] = _forged;
        if (lie) {
            State memory false_ = state(list);
            _states.push(false_);
            join(LIAR, range, output(false_), "lie");
        }
        assembly ("memory-safe") {
            mstore(list, sub(mload(list), 1))
        }
        State memory true_ = state(list);
        _states.push(true_);
        join(CLAIMER, range, output(true_), "true");
    }

    function elapse(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 2 * CHALLENGE_WINDOW));
    }

    function timeout(uint256 which) external {
        if (_ranges.length == 0) return;
        try tournament.timeout(_ranges[which % _ranges.length] << 32) {} catch {}
    }

    function settle(uint256 which) external {
        if (_ranges.length == 0) return;
        uint256 range = _ranges[which % _ranges.length];
        (,,,, Claims.RangeStatus before) = claims.range(range);
        (bool over,) = tournament.isOver(range);
        try claims.settle(range) {
            check(over && before == Claims.RangeStatus.Open, "settled too early");
            ++settlements;
        } catch {
            check(!over || before != Claims.RangeStatus.Open, "cannot be settled");
        }
    }

    function prove(uint256 which, uint256 index) external {
        if (_states.length == 0) return;
        index %= _states.length;
        WithdrawalTransaction memory w = pick(which);
        bytes32 hash = Withdrawal.hash(w);
        State memory s = _states[index];
        bool known;
        for (uint256 i; i < s.hashes.length; ++i) known = known || s.hashes[i] == hash;
        bytes[] memory proof = proofOf(s, hash);
        bool beaten = claims.isBeaten(index);
        try portal.proveWithdrawalTransaction(w, index, outputProof(s), proof) {
            check(known && !beaten && !_paid[hash], "proved against the rules");
        } catch {
            check(!known || beaten || _paid[hash], "a proof is refused");
        }
    }

    function finalize(uint256 which) external {
        WithdrawalTransaction memory w = pick(which);
        bytes32 hash = Withdrawal.hash(w);
        bool ready_;
        try portal.checkWithdrawal(hash, address(this)) {
            ready_ = address(portal).balance >= w.value;
        } catch {}
        uint256 before = w.target.balance;
        try portal.finalizeWithdrawalTransaction(w) {
            check(ready_ && !_paid[hash], "paid against the rules");
            check(w.target != FORGER, "paid a forger");
            equal(w.target.balance - before, w.value, "paid to the wei");
            _paid[hash] = true;
            paid += w.value;
        } catch {
            check(!ready_, "a payment is refused");
        }
    }

    function pick(uint256 which) private view returns (WithdrawalTransaction memory) {
        which %= _real.length + 1;
        return which == _real.length ? _forged : _real[which];
    }

    function checkAll() external {
        equal(address(portal).balance, deposited - paid, "the Portal holds what was not paid");
        check(!portal.finalizedWithdrawals(Withdrawal.hash(_forged)), "forged");
        check(claims.openRanges().length <= 8, "eight at most");
        (,, uint64 record_, uint64 l2Block, uint256 range) = claims.settled();
        check(record_ >= _record, "what has settled does not go back");
        _record = record_;
        uint256 held = tournament.credits(CLAIMER) + tournament.credits(LIAR) + tournament.credits(address(this));
        uint256[] memory open = claims.openRanges();
        for (uint256 i; i < open.length; ++i) held += tournament.tournament(open[i]).pot;
        equal(address(tournament).balance, held, "every bond has its owner");
        for (uint256 i; i < claims.gameCount(); ++i) {
            Claims.ClaimView memory c = claims.claim(i);
            if (c.status != Claims.ClaimStatus.Settled) continue;
            equal(c.outputRoot, outputRoot(_states[i]), "what was claimed");
            check(c.range != range || c.l2Block == l2Block, "the newest");
            for (uint256 k; k < _states[i].hashes.length; ++k) {
                check(_states[i].hashes[k] != Withdrawal.hash(_forged), "a lie has settled");
            }
        }
    }
}

contract WithdrawalInvariantTest is WithdrawalBase {
    Leavers private leavers;

    function setUp() public {
        leavers = new Leavers();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(leavers);
    }

    /// forge-config: default.invariant.runs = 32
    function invariant_paidOnceAndCovered() external {
        leavers.checkAll();
    }
}
