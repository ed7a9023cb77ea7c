// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Portal} from "./Portal.sol";
import {Alias} from "../lib/Alias.sol";
import {IBridge} from "../lib/IBridge.sol";
import {Predeploys} from "../lib/Predeploys.sol";

/// @notice Carries ether and ERC-20 tokens between L1 and L2 through the Portal, with the OP Stack's ABI. It holds the tokens
///         that back L2's.
/// @dev What cannot be paid out reverts, and with it the withdrawal, which may be tried again: nothing is lost.
contract L1StandardBridge is IBridge, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice Gas on L2 for the bridge's own work, the return of what cannot be delivered included.
    uint64 public constant FINALIZE_GAS = 300_000;

    uint32 private constant RECEIVE_DEFAULT_GAS_LIMIT = 100_000;

    /// @notice The Portal that deposits go through.
    Portal public immutable portal;

    /// @notice Amount of `l1Token` held for holders of `l2Token`.
    mapping(address l1Token => mapping(address l2Token => uint256 amount)) public deposits;

    event ETHDepositInitiated(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ETHBridgeInitiated(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ERC20DepositInitiated(
        address indexed l1Token,
        address indexed l2Token,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );
    event ERC20BridgeInitiated(
        address indexed localToken,
        address indexed remoteToken,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );

    event ETHWithdrawalFinalized(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ETHBridgeFinalized(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ERC20WithdrawalFinalized(
        address indexed l1Token,
        address indexed l2Token,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );
    event ERC20BridgeFinalized(
        address indexed localToken,
        address indexed remoteToken,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );

    /// The call is not a withdrawal that the bridge on L2 sent.
    error NotOtherBridge();
    /// The ether sent is not the amount named.
    error WrongValue();
    /// The bridge and the Portal would strand what they are paid.
    error BadRecipient();
    /// The recipient refused the ether.
    error PaymentFailed();
    /// Fewer tokens than that were deposited for this pair.
    error NotDeposited(uint256 amount);
    /// A contract's own address on L2 belongs to nobody: name a recipient with the `…To` function.
    error SenderIsContract();

    modifier onlyOtherBridge() {
        if (msg.sender != address(portal) || portal.l2Sender() != Predeploys.L2_STANDARD_BRIDGE) {
            revert NotOtherBridge();
        }
        _;
    }

    constructor(address payable portal_) {
        portal = Portal(portal_);
    }

    /// @notice Deposits ether sent without calldata to the sender's address on L2.
    receive() external payable {
        _bridgeETH(_keyedSender(), RECEIVE_DEFAULT_GAS_LIMIT, "");
    }

    /// @notice Deposits ether to the sender's address on L2.
    function depositETH(uint32 minGasLimit, bytes calldata extraData) external payable {
        _bridgeETH(_keyedSender(), minGasLimit, extraData);
    }

    /// @notice Deposits ether to `to` on L2, whose code gets at least `minGasLimit` gas.
    function depositETHTo(address to, uint32 minGasLimit, bytes calldata extraData) external payable {
        _bridgeETH(to, minGasLimit, extraData);
    }

    /// @notice As `depositETH`.
    function bridgeETH(uint32 minGasLimit, bytes calldata extraData) external payable {
        _bridgeETH(_keyedSender(), minGasLimit, extraData);
    }

    /// @notice As `depositETHTo`.
    function bridgeETHTo(address to, uint32 minGasLimit, bytes calldata extraData) external payable {
        _bridgeETH(to, minGasLimit, extraData);
    }

    /// @notice Deposits a token to the sender's address on L2.
    /// @param l2Token The token's counterpart on L2, made by `MintableERC20Factory`. With any other the deposit comes back.
    function depositERC20(
        address l1Token,
        address l2Token,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _bridgeERC20(l1Token, l2Token, _keyedSender(), amount, minGasLimit, extraData);
    }

    /// @notice Deposits a token to `to` on L2.
    function depositERC20To(
        address l1Token,
        address l2Token,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _bridgeERC20(l1Token, l2Token, to, amount, minGasLimit, extraData);
    }

    /// @notice As `depositERC20`.
    function bridgeERC20(
        address localToken,
        address remoteToken,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _bridgeERC20(localToken, remoteToken, _keyedSender(), amount, minGasLimit, extraData);
    }

    /// @notice As `depositERC20To`.
    function bridgeERC20To(
        address localToken,
        address remoteToken,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _bridgeERC20(localToken, remoteToken, to, amount, minGasLimit, extraData);
    }

    /// @inheritdoc IBridge
    function finalizeBridgeETH(address from, address to, uint256 amount, bytes calldata extraData)
        external
        payable
        onlyOtherBridge
    {
        if (msg.value != amount) revert WrongValue();
        _checkRecipient(to);
        emit ETHWithdrawalFinalized(from, to, amount, extraData);
        emit ETHBridgeFinalized(from, to, amount, extraData);
        (bool ok,) = to.call{value: amount}("");
        if (!ok) revert PaymentFailed();
    }

    /// @inheritdoc IBridge
    function finalizeBridgeERC20(
        address localToken,
        address remoteToken,
        address from,
        address to,
        uint256 amount,
        bytes calldata extraData
    ) external onlyOtherBridge nonReentrant {
        _checkRecipient(to);
        // Anybody can make an L2 token of any name, but only what was deposited for it comes out.
        uint256 deposited = deposits[localToken][remoteToken];
        if (amount > deposited) revert NotDeposited(deposited);
        deposits[localToken][remoteToken] = deposited - amount;
        emit ERC20WithdrawalFinalized(localToken, remoteToken, from, to, amount, extraData);
        emit ERC20BridgeFinalized(localToken, remoteToken, from, to, amount, extraData);
        IERC20(localToken).safeTransfer(to, amount);
    }

    /// @notice The bridge on L2.
    function otherBridge() external pure returns (address) {
        return Predeploys.L2_STANDARD_BRIDGE;
    }

    /// @notice As `otherBridge`.
    function l2TokenBridge() external pure returns (address) {
        return Predeploys.L2_STANDARD_BRIDGE;
    }

    function _bridgeETH(address to, uint32 minGasLimit, bytes memory extraData) private nonReentrant {
        emit ETHDepositInitiated(msg.sender, to, msg.value, extraData);
        emit ETHBridgeInitiated(msg.sender, to, msg.value, extraData);
        _deposit(
            msg.value, minGasLimit, abi.encodeCall(IBridge.finalizeBridgeETH, (msg.sender, to, msg.value, extraData))
        );
    }

    function _bridgeERC20(
        address l1Token,
        address l2Token,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) private nonReentrant {
        // A token that takes a fee delivers less than was sent. Nested deposits, which would count twice, are locked out.
        uint256 before = IERC20(l1Token).balanceOf(address(this));
        IERC20(l1Token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = IERC20(l1Token).balanceOf(address(this)) - before;
        deposits[l1Token][l2Token] += received;

        emit ERC20DepositInitiated(l1Token, l2Token, msg.sender, to, received, extraData);
        emit ERC20BridgeInitiated(l1Token, l2Token, msg.sender, to, received, extraData);
        _deposit(
            0,
            minGasLimit,
            abi.encodeCall(IBridge.finalizeBridgeERC20, (l2Token, l1Token, msg.sender, to, received, extraData))
        );
    }

    function _deposit(uint256 value, uint32 minGasLimit, bytes memory message) private {
        uint64 gasLimit = portal.minimumGasLimit(uint64(message.length)) + FINALIZE_GAS + minGasLimit;
        portal.depositTransaction{value: value}(Predeploys.L2_STANDARD_BRIDGE, value, gasLimit, false, message);
    }

    function _checkRecipient(address to) private view {
        if (to == address(this) || to == address(portal)) revert BadRecipient();
    }

    function _keyedSender() private view returns (address) {
        if (!Alias.senderHasKey()) revert SenderIsContract();
        return msg.sender;
    }
}
