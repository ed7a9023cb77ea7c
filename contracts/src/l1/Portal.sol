// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Claims} from "./Claims.sol";
import {IInbox} from "./IInbox.sol";
import {Metering} from "./Metering.sol";
import {Alias} from "../lib/Alias.sol";
import {Withdrawal, WithdrawalTransaction} from "../lib/Withdrawal.sol";

/// @notice Takes deposits from L1 to L2 and pays withdrawals from L2 to L1, with the OP Stack's ABI, and holds the ether that
///         backs L2's. Whatever it accepts becomes a forced item of the Inbox, and every forced item executes or is included
///         as failed with its mint kept. A withdrawal is paid once, when the claim it was proved against has settled
///         (spec/settlement.md).
contract Portal is Metering {
    /// @notice Semantic version; tools of the OP Stack read the major number.
    string public constant version = "3.0.0-annex";
    /// @notice Most bytes of calldata of one deposit.
    uint256 public constant MAX_DATA = 65_536;
    /// @notice Most L2 gas of one deposit: Osaka's cap of a transaction (EIP-7825), below the L2 block gas limit.
    uint64 public constant MAX_GAS = 16_777_216;

    uint256 private constant DEPOSIT_VERSION = 0;
    uint64 private constant RECEIVE_DEFAULT_GAS_LIMIT = 100_000;
    /// `l2Sender` while no withdrawal is executed, as in the OP Stack.
    address private constant NO_SENDER = 0x000000000000000000000000000000000000dEaD;
    /// More than a call costs before its target runs: a new account (25,000), value (9,000), a cold account (2,600).
    uint256 private constant CALL_GAS = 40_000;

    /// @notice The log that deposits go to.
    address public immutable inbox;
    /// @notice The chain that deposits go to.
    uint64 public immutable l2ChainId;
    /// @notice What decides which outputs are final.
    Claims public immutable claims;

    /// @notice The parts of an output root (spec/block.md); `version` is zero.
    struct OutputRootProof {
        bytes32 version;
        bytes32 stateRoot;
        bytes32 messagePasserStorageRoot;
        bytes32 latestBlockhash;
    }

    struct ProvenWithdrawal {
        address disputeGameProxy;
        uint64 timestamp;
    }

    /// @notice The claim that a withdrawal was proved against, by who proved it, and when the claim's range was opened: with
    ///         `proofMaturityDelaySeconds`, tools reckon from it when the claim can settle.
    mapping(bytes32 withdrawalHash => mapping(address proofSubmitter => ProvenWithdrawal)) public provenWithdrawals;
    /// @notice Whether a withdrawal has been paid.
    mapping(bytes32 withdrawalHash => bool) public finalizedWithdrawals;
    /// @notice Who has proved a withdrawal, in order.
    mapping(bytes32 withdrawalHash => address[]) public proofSubmitters;

    /// @notice Hash of the withdrawal that is executed just now; zero if none is.
    bytes32 public transient withdrawalInProgress;
    address private transient _l2Sender;

    /// @param from Sender on L2, aliased if it is a contract on L1.
    /// @param opaqueData `mint(32) ‖ value(32) ‖ gasLimit(8) ‖ isCreation(1) ‖ data`.
    event TransactionDeposited(address indexed from, address indexed to, uint256 indexed version, bytes opaqueData);

    event WithdrawalProven(bytes32 indexed withdrawalHash, address indexed from, address indexed to);
    event WithdrawalProvenExtension1(bytes32 indexed withdrawalHash, address indexed proofSubmitter);
    /// @param success Always true: a withdrawal whose call fails is not finalised.
    event WithdrawalFinalized(bytes32 indexed withdrawalHash, bool success);

    /// A creation names a target.
    error BadTarget();
    /// A FAULT has settled: what would be deposited could never come back.
    error ChainFaulted();
    error DataTooLong(uint256 length);
    error GasLimitTooLow(uint64 minimum);
    error GasLimitTooHigh(uint64 maximum);
    /// A withdrawal may not call the Portal or the Inbox, which takes forced items from the Portal.
    error OptimismPortal_BadTarget();
    /// The claim has been beaten.
    error OptimismPortal_InvalidDisputeGame();
    /// The claim has another output root.
    error OptimismPortal_InvalidOutputRootProof();
    /// L2 does not remember the withdrawal.
    error OptimismPortal_InvalidMerkleProof();
    error OptimismPortal_AlreadyFinalized();
    /// `proofSubmitter` has not proved the withdrawal.
    error OptimismPortal_Unproven();
    /// The claim that the withdrawal was proved against has not settled, and cannot now.
    error OptimismPortal_InvalidRootClaim();
    error OptimismPortal_NoReentrancy();
    /// The transaction has too little gas to give the withdrawal's call what it asked for.
    error OptimismPortal_GasEstimation();
    /// The withdrawal's call failed. It may be tried again.
    error CallFailed(bytes reason);

    constructor(address inbox_, uint64 l2ChainId_, Claims claims_) {
        inbox = inbox_;
        l2ChainId = l2ChainId_;
        claims = claims_;
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
        if (claims.faulted()) revert ChainFaulted();
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

    /// @notice Proves that L2 remembers a withdrawal in the state that a claim stands for. A later proof of the same sender
    ///         takes the place of the former.
    /// @param disputeGameIndex Number of the claim; it may wait for settlement still, but must not be beaten.
    /// @param outputRootProof Parts of the claimed output root.
    /// @param withdrawalProof Trie nodes from `messagePasserStorageRoot` to the withdrawal.
    function proveWithdrawalTransaction(
        WithdrawalTransaction memory tx_,
        uint256 disputeGameIndex,
        OutputRootProof calldata outputRootProof,
        bytes[] memory withdrawalProof
    ) external {
        _checkTarget(tx_.target);
        bytes32 hash = Withdrawal.hash(tx_);
        if (finalizedWithdrawals[hash]) revert OptimismPortal_AlreadyFinalized();
        Claims.ClaimView memory claim = claims.claim(disputeGameIndex);
        if (claim.status == Claims.ClaimStatus.Beaten) revert OptimismPortal_InvalidDisputeGame();
        if (keccak256(abi.encode(outputRootProof)) != claim.outputRoot) revert OptimismPortal_InvalidOutputRootProof();
        if (!Withdrawal.isSent(hash, outputRootProof.messagePasserStorageRoot, withdrawalProof)) {
            revert OptimismPortal_InvalidMerkleProof();
        }

        uint64 opened = claims.undisputedUntil(claim.range) - claims.challengeWindow();
        provenWithdrawals[hash][msg.sender] = ProvenWithdrawal(claim.game, opened);
        address[] storage submitters = proofSubmitters[hash];
        if (submitters.length == 0 || submitters[submitters.length - 1] != msg.sender) submitters.push(msg.sender);
        emit WithdrawalProven(hash, tx_.sender, tx_.target);
        emit WithdrawalProvenExtension1(hash, msg.sender);
    }

    /// @notice Executes a withdrawal that the sender has proved.
    function finalizeWithdrawalTransaction(WithdrawalTransaction memory tx_) external {
        finalizeWithdrawalTransactionExternalProof(tx_, msg.sender);
    }

    /// @notice Executes a withdrawal that `proofSubmitter` has proved, once: its target gets at least the gas that it names.
    ///         Settles the claim if that can be. If the call fails everything reverts, and may be tried again by anybody.
    function finalizeWithdrawalTransactionExternalProof(WithdrawalTransaction memory tx_, address proofSubmitter)
        public
    {
        if (withdrawalInProgress != 0) revert OptimismPortal_NoReentrancy();
        _checkTarget(tx_.target);
        bytes32 hash = Withdrawal.hash(tx_);
        address game = _provenGame(hash, proofSubmitter);
        if (!claims.isGameFinalized(game)) {
            uint256 range = claims.settleable(game);
            if (range == 0) revert OptimismPortal_InvalidRootClaim();
            claims.settle(range);
        }

        finalizedWithdrawals[hash] = true;
        withdrawalInProgress = hash;
        _l2Sender = tx_.sender;
        _call(tx_);
        withdrawalInProgress = 0;
        _l2Sender = address(0);
        emit WithdrawalFinalized(hash, true);
    }

    /// @notice Reverts unless the withdrawal can be finalised with the proof of `proofSubmitter`, with the errors by which the
    ///         OP Stack's tools know why.
    function checkWithdrawal(bytes32 withdrawalHash, address proofSubmitter) external view {
        address game = _provenGame(withdrawalHash, proofSubmitter);
        if (!claims.isGameClaimValid(game)) revert OptimismPortal_InvalidRootClaim();
    }

    /// @notice Sender on L2 of the withdrawal that is executed just now.
    function l2Sender() external view returns (address) {
        return withdrawalInProgress == 0 ? NO_SENDER : _l2Sender;
    }

    /// @notice Number of entries of `proofSubmitters`.
    function numProofSubmitters(bytes32 withdrawalHash) external view returns (uint256) {
        return proofSubmitters[withdrawalHash].length;
    }

    /// @notice The contract with the OP Stack's views of claims.
    function disputeGameFactory() external view returns (address) {
        return address(claims);
    }

    /// @notice As `disputeGameFactory`.
    function anchorStateRegistry() external view returns (address) {
        return address(claims);
    }

    function respectedGameType() external view returns (uint32) {
        return claims.GAME_TYPE();
    }

    /// @notice Seconds from the opening of a claim's range until it can settle undisputed. A proof need not mature itself.
    function proofMaturityDelaySeconds() external view returns (uint256) {
        return claims.challengeWindow();
    }

    /// @notice There is no delay after settlement.
    function disputeGameFinalityDelaySeconds() external pure returns (uint256) {
        return 0;
    }

    /// @notice Least gas limit of a deposit with `byteCount` bytes of data.
    function minimumGasLimit(uint64 byteCount) public pure returns (uint64) {
        return 21_000 + 64 * byteCount;
    }

    /// @dev The claim that `proofSubmitter` proved an unpaid withdrawal against.
    function _provenGame(bytes32 hash, address proofSubmitter) private view returns (address game) {
        if (finalizedWithdrawals[hash]) revert OptimismPortal_AlreadyFinalized();
        game = provenWithdrawals[hash][proofSubmitter].disputeGameProxy;
        if (game == address(0)) revert OptimismPortal_Unproven();
    }

    function _checkTarget(address target) private view {
        if (target == address(this) || target == inbox) revert OptimismPortal_BadTarget();
    }

    function _call(WithdrawalTransaction memory tx_) private {
        // A call leaves its caller a 64th (EIP-150).
        uint256 available = gasleft();
        if (available < CALL_GAS || (available - CALL_GAS) * 63 / 64 < tx_.gasLimit) {
            revert OptimismPortal_GasEstimation();
        }
        (address target, uint256 value, bytes memory data) = (tx_.target, tx_.value, tx_.data);
        bool ok;
        assembly ("memory-safe") {
            ok := call(gas(), target, value, add(data, 32), mload(data), 0, 0)
        }
        if (ok) return;
        bytes memory reason;
        assembly ("memory-safe") {
            reason := mload(64)
            mstore(reason, returndatasize())
            returndatacopy(add(reason, 32), 0, returndatasize())
            mstore(64, add(add(reason, 32), and(add(returndatasize(), 31), not(31))))
        }
        revert CallFailed(reason);
    }
}
