// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IInbox} from "./IInbox.sol";
import {Metering} from "./Metering.sol";
import {Alias} from "../lib/Alias.sol";

/// @notice Takes deposits from L1 to L2 with the OP Stack's ABI and holds the ether that backs L2's. Whatever it accepts
///         becomes a forced item of the Inbox, and every forced item executes or is included as failed with its mint kept.
contract Portal is Metering {
    /// @notice Semantic version; tools of the OP Stack read the major number.
    string public constant version = "3.0.0-annex";
    /// @notice Most bytes of calldata of one deposit.
    uint256 public constant MAX_DATA = 65_536;
    /// @notice Most L2 gas of one deposit: Osaka's cap of a transaction (EIP-7825), below the L2 block gas limit.
    uint64 public constant MAX_GAS = 16_777_216;

    uint256 private constant DEPOSIT_VERSION = 0;
    uint64 private constant RECEIVE_DEFAULT_GAS_LIMIT = 100_000;

    /// @notice The log that deposits go to.
    address public immutable inbox;
    /// @notice The chain that deposits go to.
    uint64 public immutable l2ChainId;

    /// @param from Sender on L2, aliased if it is a contract on L1.
    /// @param opaqueData `mint(32) ‖ value(32) ‖ gasLimit(8) ‖ isCreation(1) ‖ data`.
    event TransactionDeposited(address indexed from, address indexed to, uint256 indexed version, bytes opaqueData);

    /// A creation names a target.
    error BadTarget();
    error DataTooLong(uint256 length);
    error GasLimitTooLow(uint64 minimum);
    error GasLimitTooHigh(uint64 maximum);

    constructor(address inbox_, uint64 l2ChainId_) {
        inbox = inbox_;
        l2ChainId = l2ChainId_;
    }

    /// @notice Deposits ether sent without calldata to the sender's address on L2.
    receive() external payable {
        depositTransaction(msg.sender, msg.value, RECEIVE_DEFAULT_GAS_LIMIT, false, "");
    }

    /// @notice Forces a transaction into L2. The ether sent is minted to the sender there.
    /// @param to Target on L2; zero for a creation.
    /// @param value Ether the transaction carries on L2, out of the minted and what the sender already has.
    /// @param gasLimit Gas of the transaction on L2, bought here.
    /// @param isCreation Whether `data` is init code.
    function depositTransaction(address to, uint256 value, uint64 gasLimit, bool isCreation, bytes memory data)
        public
        payable
    {
        uint256 initialGas = gasleft();
        if (isCreation && to != address(0)) revert BadTarget();
        if (data.length > MAX_DATA) revert DataTooLong(data.length);
        uint64 minimum = minimumGasLimit(uint64(data.length));
        if (gasLimit < minimum) revert GasLimitTooLow(minimum);
        if (gasLimit > MAX_GAS) revert GasLimitTooHigh(MAX_GAS);

        address from = Alias.senderHasKey() ? msg.sender : Alias.aliased(msg.sender);
        IInbox(inbox).force(from, to, msg.value, value, gasLimit, isCreation, data);
        emit TransactionDeposited(
            from, to, DEPOSIT_VERSION, abi.encodePacked(msg.value, value, gasLimit, isCreation, data)
        );
        _meter(gasLimit, initialGas);
    }

    /// @notice Least gas limit of a deposit with `byteCount` bytes of data.
    function minimumGasLimit(uint64 byteCount) public pure returns (uint64) {
        return 21_000 + 64 * byteCount;
    }
}
