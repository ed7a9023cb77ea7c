// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Where L2 says what L1 shall do. A withdrawal is proved on L1 by the storage of this contract; the ether sent with
///         it stays here for good. ABI and storage layout are the OP Stack's.
contract L2ToL1MessagePasser {
    /// @notice Version in the top 16 bits of a nonce.
    uint16 public constant MESSAGE_VERSION = 1;

    uint256 private constant RECEIVE_DEFAULT_GAS_LIMIT = 100_000;

    /// @notice Whether a withdrawal with this hash was initiated. Slot 0, which proofs read.
    mapping(bytes32 withdrawalHash => bool) public sentMessages;
    uint240 private _nonce;

    event MessagePassed(
        uint256 indexed nonce,
        address indexed sender,
        address indexed target,
        uint256 value,
        uint256 gasLimit,
        bytes data,
        bytes32 withdrawalHash
    );

    /// @notice Withdraws ether sent without calldata to the sender's address on L1.
    receive() external payable {
        initiateWithdrawal(msg.sender, RECEIVE_DEFAULT_GAS_LIMIT, "");
    }

    /// @notice Initiates a call of `target` on L1 with the ether sent.
    /// @param gasLimit Least gas of that call.
    function initiateWithdrawal(address target, uint256 gasLimit, bytes memory data) public payable {
        uint256 nonce = messageNonce();
        bytes32 withdrawalHash = keccak256(abi.encode(nonce, msg.sender, target, msg.value, gasLimit, data));
        sentMessages[withdrawalHash] = true;
        emit MessagePassed(nonce, msg.sender, target, msg.value, gasLimit, data, withdrawalHash);
        unchecked {
            ++_nonce;
        }
    }

    /// @notice Nonce of the next withdrawal, with the version in its top 16 bits.
    function messageNonce() public view returns (uint256) {
        return uint256(MESSAGE_VERSION) << 240 | _nonce;
    }
}
