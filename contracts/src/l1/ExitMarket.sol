// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Portal} from "./Portal.sol";
import {Withdrawal, WithdrawalTransaction} from "../lib/Withdrawal.sol";

/// @notice Sells withdrawals before they are final. A withdrawal that can be sold calls `receiveExit` here and names its
///         seller; whoever owns its hash when the Portal executes it gets its ether. The market knows nothing of L2: who buys
///         must have seen that L2 remembers the withdrawal, in a state that cannot but settle.
contract ExitMarket {
    /// @notice Least gas limit of a withdrawal that can be sold: more than `receiveExit` needs.
    uint256 public constant MIN_GAS = 100_000;

    /// @notice The only caller of `receiveExit`.
    Portal public immutable portal;

    /// @notice Price at which a withdrawal is offered; zero if it is not.
    mapping(bytes32 withdrawalHash => uint256) public prices;
    /// @notice Ether that an account can take out.
    mapping(address account => uint256) public credits;
    /// The last buyer; zero before the first sale.
    mapping(bytes32 withdrawalHash => address) private _buyers;

    event Offered(
        bytes32 indexed withdrawalHash, address indexed seller, uint256 price, WithdrawalTransaction withdrawal
    );
    event Cancelled(bytes32 indexed withdrawalHash, address indexed seller);
    event Bought(bytes32 indexed withdrawalHash, address indexed seller, address indexed buyer, uint256 price);
    /// The withdrawal was executed and its ether is `holder`'s.
    event Exited(bytes32 indexed withdrawalHash, address indexed holder, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    /// The withdrawal does not call `receiveExit` here, with an address and nothing else, or names less gas than `MIN_GAS`.
    error NotSellable();
    /// The sender does not hold the withdrawal.
    error NotHolder(address holder);
    error AlreadyFinalized();
    error PriceIsZero();
    error NotOffered();
    error WrongPrice(uint256 price);
    error NotPortal();
    error NothingToWithdraw();
    error PaymentFailed(address to);

    constructor(Portal portal_) {
        portal = portal_;
    }

    /// @notice Offers a withdrawal that the sender holds, or changes its price.
    function offer(WithdrawalTransaction memory withdrawal, uint256 price) external {
        bytes32 hash = _held(withdrawal);
        if (price == 0) revert PriceIsZero();
        if (portal.finalizedWithdrawals(hash)) revert AlreadyFinalized();
        prices[hash] = price;
        emit Offered(hash, msg.sender, price, withdrawal);
    }

    /// @notice Takes an offer of the sender back.
    function cancel(WithdrawalTransaction memory withdrawal) external {
        bytes32 hash = _held(withdrawal);
        if (prices[hash] == 0) revert NotOffered();
        prices[hash] = 0;
        emit Cancelled(hash, msg.sender);
    }

    /// @notice Buys an offered withdrawal for exactly its price, which its holder gets at once.
    function buy(WithdrawalTransaction memory withdrawal) external payable {
        address seller = holderOf(withdrawal);
        bytes32 hash = Withdrawal.hash(withdrawal);
        uint256 price = prices[hash];
        if (price == 0) revert NotOffered();
        if (msg.value != price) revert WrongPrice(price);
        if (portal.finalizedWithdrawals(hash)) revert AlreadyFinalized();
        prices[hash] = 0;
        _buyers[hash] = msg.sender;
        emit Bought(hash, seller, msg.sender, price);
        _pay(seller, price);
    }

    /// @notice Takes the ether of the withdrawal that the Portal executes, for whoever holds it.
    /// @param seller Who holds it if nobody has bought it.
    function receiveExit(address seller) external payable {
        if (msg.sender != address(portal)) revert NotPortal();
        // The Portal's call is the withdrawal's own: its target is this contract and its data these arguments.
        bytes32 hash = portal.withdrawalInProgress();
        address buyer = _buyers[hash];
        address holder = buyer == address(0) ? seller : buyer;
        credits[holder] += msg.value;
        emit Exited(hash, holder, msg.value);
    }

    /// @notice Pays the sender what has been credited to it.
    function withdraw() external {
        uint256 amount = credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        credits[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        _pay(msg.sender, amount);
    }

    /// @notice Who gets the withdrawal's ether as things stand. Reverts if it cannot be sold.
    function holderOf(WithdrawalTransaction memory withdrawal) public view returns (address) {
        bytes memory data = withdrawal.data;
        if (withdrawal.target != address(this) || withdrawal.gasLimit < MIN_GAS || data.length != 36) {
            revert NotSellable();
        }
        uint256 seller;
        assembly ("memory-safe") {
            seller := mload(add(data, 36))
        }
        if (bytes4(data) != this.receiveExit.selector || seller >> 160 != 0) revert NotSellable();
        address buyer = _buyers[Withdrawal.hash(withdrawal)];
        return buyer == address(0) ? address(uint160(seller)) : buyer;
    }

    function _held(WithdrawalTransaction memory withdrawal) private view returns (bytes32) {
        address holder = holderOf(withdrawal);
        if (msg.sender != holder) revert NotHolder(holder);
        return Withdrawal.hash(withdrawal);
    }

    function _pay(address to, uint256 amount) private {
        (bool ok,) = to.call{value: amount}("");
        if (!ok) revert PaymentFailed(to);
    }
}
