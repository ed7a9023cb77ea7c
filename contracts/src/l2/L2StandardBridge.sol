// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L2ToL1MessagePasser} from "./L2ToL1MessagePasser.sol";
import {MintableERC20} from "./MintableERC20.sol";
import {Alias} from "../lib/Alias.sol";
import {IBridge} from "../lib/IBridge.sol";
import {Predeploys} from "../lib/Predeploys.sol";

/// @notice The L2 end of the standard bridge, with the OP Stack's ABI: mints what L1 holds, burns what goes back.
/// @dev A deposit that cannot be delivered (no such token, a recipient that reverts) goes back to its sender on L1 as a
///      withdrawal: a forced item runs once, so a revert would strand it.
contract L2StandardBridge is IBridge {
    /// @notice Token that stands for ether in `withdraw`, as in the OP Stack.
    address public constant LEGACY_ERC20_ETH = 0xDeadDeAddeAddEAddeadDEaDDEAdDeaDDeAD0000;
    /// @notice Gas on L1 for the bridge's own work.
    uint256 public constant FINALIZE_GAS = 200_000;

    /// Gas of L1 for each byte of extra data.
    uint256 private constant GAS_PER_BYTE = 40;
    /// Gas kept back from foreign code to return what it refuses.
    uint256 private constant RETURN_GAS = 150_000;
    uint32 private constant RECEIVE_DEFAULT_GAS_LIMIT = 100_000;

    /// @notice The bridge on L1. Slot 0, set in genesis.
    address public otherBridge;

    event WithdrawalInitiated(
        address indexed l1Token,
        address indexed l2Token,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );
    event DepositFinalized(
        address indexed l1Token,
        address indexed l2Token,
        address indexed from,
        address to,
        uint256 amount,
        bytes extraData
    );
    event ETHBridgeInitiated(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ETHBridgeFinalized(address indexed from, address indexed to, uint256 amount, bytes extraData);
    event ERC20BridgeInitiated(
        address indexed localToken,
        address indexed remoteToken,
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

    error NotOtherBridge();
    /// The ether sent is not the amount named.
    error WrongValue();
    /// `localToken` is not a token of this bridge that stands for `remoteToken`.
    error WrongToken(address localToken, address remoteToken);
    /// A contract's own address on L1 may belong to nobody: name a recipient with the `…To` function.
    error SenderIsContract();

    modifier onlyOtherBridge() {
        if (msg.sender != Alias.aliased(otherBridge)) revert NotOtherBridge();
        _;
    }

    /// @notice Withdraws ether sent without calldata to the sender's address on L1.
    receive() external payable {
        _withdrawETH(_keyedSender(), RECEIVE_DEFAULT_GAS_LIMIT, "");
    }

    /// @notice Withdraws a token, or ether if `l2Token` is `LEGACY_ERC20_ETH`, to the sender's address on L1.
    function withdraw(address l2Token, uint256 amount, uint32 minGasLimit, bytes calldata extraData) external payable {
        _withdraw(l2Token, _keyedSender(), amount, minGasLimit, extraData);
    }

    /// @notice As `withdraw`, to `to` on L1.
    function withdrawTo(address l2Token, address to, uint256 amount, uint32 minGasLimit, bytes calldata extraData)
        external
        payable
    {
        _withdraw(l2Token, to, amount, minGasLimit, extraData);
    }

    /// @notice Withdraws ether to the sender's address on L1.
    function bridgeETH(uint32 minGasLimit, bytes calldata extraData) external payable {
        _withdrawETH(_keyedSender(), minGasLimit, extraData);
    }

    /// @notice Withdraws ether to `to` on L1.
    function bridgeETHTo(address to, uint32 minGasLimit, bytes calldata extraData) external payable {
        _withdrawETH(to, minGasLimit, extraData);
    }

    /// @notice Withdraws a token to the sender's address on L1.
    function bridgeERC20(
        address localToken,
        address remoteToken,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _withdrawERC20(localToken, remoteToken, _keyedSender(), amount, minGasLimit, extraData);
    }

    /// @notice Withdraws a token to `to` on L1.
    function bridgeERC20To(
        address localToken,
        address remoteToken,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) external {
        _withdrawERC20(localToken, remoteToken, to, amount, minGasLimit, extraData);
    }

    /// @inheritdoc IBridge
    function finalizeBridgeETH(address from, address to, uint256 amount, bytes calldata extraData)
        external
        payable
        onlyOtherBridge
    {
        if (msg.value != amount) revert WrongValue();
        // Ether for these two would be taken as a withdrawal by this contract, which has no key on L1.
        bool refused = to == address(this) || to == Predeploys.L2_TO_L1_MESSAGE_PASSER;
        if (refused || !_call(to, amount, "")) {
            _sendETH(address(this), from, amount, 0, "");
            return;
        }
        emit DepositFinalized(address(0), LEGACY_ERC20_ETH, from, to, amount, extraData);
        emit ETHBridgeFinalized(from, to, amount, extraData);
    }

    /// @inheritdoc IBridge
    function finalizeBridgeERC20(
        address localToken,
        address remoteToken,
        address from,
        address to,
        uint256 amount,
        bytes calldata extraData
    ) external onlyOtherBridge {
        bool minted = _represents(localToken, remoteToken)
            && _call(localToken, 0, abi.encodeCall(MintableERC20.mint, (to, amount)));
        if (!minted) {
            _sendERC20(localToken, remoteToken, address(this), from, amount, 0, "");
            return;
        }
        emit DepositFinalized(remoteToken, localToken, from, to, amount, extraData);
        emit ERC20BridgeFinalized(localToken, remoteToken, from, to, amount, extraData);
    }

    /// @notice As `otherBridge`.
    function l1TokenBridge() external view returns (address) {
        return otherBridge;
    }

    function _withdraw(address l2Token, address to, uint256 amount, uint32 minGasLimit, bytes calldata extraData)
        private
    {
        if (l2Token == LEGACY_ERC20_ETH) {
            if (msg.value != amount) revert WrongValue();
            _withdrawETH(to, minGasLimit, extraData);
        } else {
            if (msg.value != 0) revert WrongValue();
            _withdrawERC20(l2Token, MintableERC20(l2Token).remoteToken(), to, amount, minGasLimit, extraData);
        }
    }

    function _withdrawETH(address to, uint32 minGasLimit, bytes memory extraData) private {
        _sendETH(msg.sender, to, msg.value, minGasLimit, extraData);
    }

    function _withdrawERC20(
        address localToken,
        address remoteToken,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes calldata extraData
    ) private {
        if (!_represents(localToken, remoteToken)) revert WrongToken(localToken, remoteToken);
        MintableERC20(localToken).burn(msg.sender, amount);
        _sendERC20(localToken, remoteToken, msg.sender, to, amount, minGasLimit, extraData);
    }

    function _sendETH(address from, address to, uint256 amount, uint32 minGasLimit, bytes memory extraData) private {
        emit WithdrawalInitiated(address(0), LEGACY_ERC20_ETH, from, to, amount, extraData);
        emit ETHBridgeInitiated(from, to, amount, extraData);
        _send(
            amount,
            minGasLimit,
            extraData.length,
            abi.encodeCall(IBridge.finalizeBridgeETH, (from, to, amount, extraData))
        );
    }

    function _sendERC20(
        address localToken,
        address remoteToken,
        address from,
        address to,
        uint256 amount,
        uint32 minGasLimit,
        bytes memory extraData
    ) private {
        emit WithdrawalInitiated(remoteToken, localToken, from, to, amount, extraData);
        emit ERC20BridgeInitiated(localToken, remoteToken, from, to, amount, extraData);
        _send(
            0,
            minGasLimit,
            extraData.length,
            abi.encodeCall(IBridge.finalizeBridgeERC20, (remoteToken, localToken, from, to, amount, extraData))
        );
    }

    function _send(uint256 value, uint32 minGasLimit, uint256 extraBytes, bytes memory message) private {
        L2ToL1MessagePasser(payable(Predeploys.L2_TO_L1_MESSAGE_PASSER)).initiateWithdrawal{value: value}(
            otherBridge, FINALIZE_GAS + minGasLimit + GAS_PER_BYTE * extraBytes, message
        );
    }

    /// @dev Whether `localToken` says that it stands for `remoteToken`. Its word is enough: L1 accounts for every pair apart.
    function _represents(address localToken, address remoteToken) private view returns (bool) {
        bytes memory question = abi.encodeWithSignature("remoteToken()");
        uint256 gas_ = _spareGas();
        bool ok;
        uint256 answer;
        assembly ("memory-safe") {
            ok := staticcall(gas_, localToken, add(question, 32), mload(question), 0, 32)
            ok := and(ok, gt(returndatasize(), 31))
            answer := mload(0)
        }
        return ok && answer == uint160(remoteToken);
    }

    /// @dev Calls foreign code; its return data is not copied, and it cannot use the gas that its failure needs.
    function _call(address target, uint256 value, bytes memory data) private returns (bool ok) {
        uint256 gas_ = _spareGas();
        assembly ("memory-safe") {
            ok := call(gas_, target, value, add(data, 32), mload(data), 0, 0)
        }
    }

    function _spareGas() private view returns (uint256) {
        uint256 left = gasleft();
        return left > RETURN_GAS ? left - RETURN_GAS : 0;
    }

    function _keyedSender() private view returns (address) {
        if (!Alias.senderHasKey()) revert SenderIsContract();
        return msg.sender;
    }
}
