// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Config} from "./Config.sol";
import {ILease} from "./ILease.sol";

/// @notice The append-only log of records that L2 state is a pure function of (spec/records.md). It has no owner and no
///         parameter that changes.
/// @dev Needs an L1 with the opcodes of Cancun; blobs themselves are optional, since batches may be calldata.
contract Inbox {
    /// @notice Domain tags of the record kinds.
    bytes32 public constant GENESIS = keccak256("annex.record.genesis.v1");
    bytes32 public constant FORCED = keccak256("annex.record.forced.v1");
    bytes32 public constant BATCH_BLOBS = keccak256("annex.record.batch.blobs.v1");
    bytes32 public constant BATCH_CALLDATA = keccak256("annex.record.batch.calldata.v1");

    /// @notice Most blobs of one batch.
    uint256 public constant MAX_BLOBS = 6;
    /// @notice Most bytes of a batch in calldata.
    uint256 public constant MAX_CALLDATA = 65_536;

    /// @notice `keccak(abi.encode(config()))`.
    bytes32 public immutable configHash;
    /// @notice Hash of L2 block 0.
    bytes32 public immutable genesisHash;

    uint64 private immutable L2_CHAIN_ID;
    address private immutable LEASE;
    address private immutable PORTAL;
    address private immutable L1_STANDARD_BRIDGE;
    uint64 private immutable FORCED_DELAY;
    uint64 private immutable LIVENESS_WINDOW;
    uint64 private immutable MAX_ORIGIN_LAG;
    uint64 private immutable TIMESTAMP_DRIFT;
    uint64 private immutable GAS_TARGET_PER_SECOND;
    uint64 private immutable BASE_FEE_SCALAR;
    uint64 private immutable BLOB_BASE_FEE_SCALAR;
    uint64 private immutable GENESIS_TIMESTAMP;

    struct ForcedItem {
        uint64 timestamp;
        uint64 record;
    }

    bytes32[] private _accumulators;
    ForcedItem[] private _forced;
    uint64 private _forcedConsumed;
    /// L1 block of the newest batch.
    uint64 private _lastBatchBlock;
    bool private _openPeriod;

    event Record(
        uint256 indexed index,
        bytes32 indexed kind,
        bytes32 accumulator,
        uint64 l1BlockNumber,
        uint64 timestamp,
        uint256 baseFee,
        uint256 blobBaseFee,
        bytes32 l1ParentHash,
        bytes payload
    );

    /// `livenessWindow > forcedDelay > 0` does not hold.
    error BadWindows(uint64 forcedDelay, uint64 livenessWindow);
    error NotPortal();
    /// The sender is not the leader, and nothing lets others submit now.
    error NotAllowed();
    error BatchAlreadyInBlock();
    error ForcedUpToOutOfRange(uint256 forcedUpTo, uint256 consumed, uint256 count);
    /// Forced item `index` is due and the batch leaves it out.
    error ForcedItemOmitted(uint256 index);
    error NoBlobs();
    error TooManyBlobs();
    error CalldataTooLong(uint256 length);

    constructor(Config memory cfg, bytes32 genesisHash_) {
        if (cfg.forcedDelay == 0 || cfg.livenessWindow <= cfg.forcedDelay) {
            revert BadWindows(cfg.forcedDelay, cfg.livenessWindow);
        }
        configHash = keccak256(abi.encode(cfg));
        genesisHash = genesisHash_;
        L2_CHAIN_ID = cfg.l2ChainId;
        LEASE = cfg.lease;
        PORTAL = cfg.portal;
        L1_STANDARD_BRIDGE = cfg.l1StandardBridge;
        FORCED_DELAY = cfg.forcedDelay;
        LIVENESS_WINDOW = cfg.livenessWindow;
        MAX_ORIGIN_LAG = cfg.maxOriginLag;
        TIMESTAMP_DRIFT = cfg.timestampDrift;
        GAS_TARGET_PER_SECOND = cfg.gasTargetPerSecond;
        BASE_FEE_SCALAR = cfg.baseFeeScalar;
        BLOB_BASE_FEE_SCALAR = cfg.blobBaseFeeScalar;
        GENESIS_TIMESTAMP = cfg.genesisTimestamp;

        bytes memory payload = abi.encode(keccak256(abi.encode(cfg)), genesisHash_);
        _append(GENESIS, keccak256(payload), payload);
    }

    /// @notice Appends a forced item. `from` is aliased already, and `to` zero for a creation.
    function force(
        address from,
        address to,
        uint256 mint,
        uint256 value,
        uint64 gasLimit,
        bool isCreation,
        bytes calldata data
    ) external {
        if (msg.sender != PORTAL) revert NotPortal();
        uint256 index = _forced.length;
        _forced.push(ForcedItem(uint64(block.timestamp), uint64(_accumulators.length)));
        _append(
            FORCED,
            keccak256(abi.encode(index, from, to, mint, value, gasLimit, isCreation, keccak256(data))),
            abi.encode(index, from, to, mint, value, gasLimit, isCreation, data)
        );
    }

    /// @notice Appends a batch whose data are the blobs of this transaction.
    /// @param forcedUpTo Number of forced items consumed up to and including this batch.
    function submit(uint256 forcedUpTo) external {
        uint256 leaseId = _admit(forcedUpTo);
        bytes32[] memory hashes = _blobHashes();
        _append(
            BATCH_BLOBS,
            _batchHash(leaseId, forcedUpTo, keccak256(abi.encodePacked(hashes))),
            abi.encode(msg.sender, leaseId, forcedUpTo, hashes)
        );
    }

    /// @notice Appends a batch whose data is `data`.
    /// @param forcedUpTo Number of forced items consumed up to and including this batch.
    function submitCalldata(uint256 forcedUpTo, bytes calldata data) external {
        if (data.length > MAX_CALLDATA) revert CalldataTooLong(data.length);
        uint256 leaseId = _admit(forcedUpTo);
        _append(
            BATCH_CALLDATA,
            _batchHash(leaseId, forcedUpTo, keccak256(data)),
            abi.encode(msg.sender, leaseId, forcedUpTo, data)
        );
    }

    function recordCount() external view returns (uint256) {
        return _accumulators.length;
    }

    /// @notice `acc(index)`; reverts beyond the last record.
    function accumulator(uint256 index) external view returns (bytes32) {
        return _accumulators[index];
    }

    function forcedCount() external view returns (uint256) {
        return _forced.length;
    }

    /// @notice Number of forced items that batches have consumed.
    function forcedConsumed() external view returns (uint256) {
        return _forcedConsumed;
    }

    /// @notice L1 time at which forced item `index` was appended.
    function forcedTimestamp(uint256 index) external view returns (uint64) {
        return _forced[index].timestamp;
    }

    /// @notice Index of the record that holds forced item `index`.
    function forcedRecord(uint256 index) external view returns (uint64) {
        return _forced[index].record;
    }

    /// @notice L1 block of the newest batch, zero before the first.
    function lastBatchBlock() external view returns (uint64) {
        return _lastBatchBlock;
    }

    /// @notice Whether a batch submitted while a forced item was overdue has opened the log to everybody.
    function openPeriod() external view returns (bool) {
        return _openPeriod;
    }

    /// @notice Whether a sender who is not the leader may submit in this block.
    function anyoneMaySubmit() external view returns (bool) {
        (, address leader,) = ILease(LEASE).leaderAt(block.number);
        return leader == address(0) || _openPeriod || _overdue();
    }

    function portal() external view returns (address) {
        return PORTAL;
    }

    function lease() external view returns (address) {
        return LEASE;
    }

    function config() external view returns (Config memory cfg) {
        cfg.l2ChainId = L2_CHAIN_ID;
        cfg.lease = LEASE;
        cfg.portal = PORTAL;
        cfg.l1StandardBridge = L1_STANDARD_BRIDGE;
        cfg.forcedDelay = FORCED_DELAY;
        cfg.livenessWindow = LIVENESS_WINDOW;
        cfg.maxOriginLag = MAX_ORIGIN_LAG;
        cfg.timestampDrift = TIMESTAMP_DRIFT;
        cfg.gasTargetPerSecond = GAS_TARGET_PER_SECOND;
        cfg.baseFeeScalar = BASE_FEE_SCALAR;
        cfg.blobBaseFeeScalar = BLOB_BASE_FEE_SCALAR;
        cfg.genesisTimestamp = GENESIS_TIMESTAMP;
    }

    /// @dev Checks that this batch may be appended and returns the lease it is submitted under.
    function _admit(uint256 forcedUpTo) private returns (uint256 leaseId) {
        if (_lastBatchBlock == block.number) revert BatchAlreadyInBlock();

        bool overdue = _overdue();
        address leader;
        (leaseId, leader,) = ILease(LEASE).leaderAt(block.number);
        if (leader != address(0) && msg.sender == leader) {
            _openPeriod = false;
        } else {
            leaseId = 0;
            if (overdue) _openPeriod = true;
            else if (leader != address(0) && !_openPeriod) revert NotAllowed();
        }

        uint256 count = _forced.length;
        if (forcedUpTo < _forcedConsumed || forcedUpTo > count) {
            revert ForcedUpToOutOfRange(forcedUpTo, _forcedConsumed, count);
        }
        if (forcedUpTo < count && uint256(_forced[forcedUpTo].timestamp) + FORCED_DELAY <= block.timestamp) {
            revert ForcedItemOmitted(forcedUpTo);
        }
        _forcedConsumed = uint64(forcedUpTo);
        _lastBatchBlock = uint64(block.number);
    }

    /// @dev Whether the oldest unconsumed forced item has waited for the liveness window.
    function _overdue() private view returns (bool) {
        uint256 next = _forcedConsumed;
        return next < _forced.length && uint256(_forced[next].timestamp) + LIVENESS_WINDOW <= block.timestamp;
    }

    function _blobHashes() private view returns (bytes32[] memory hashes) {
        uint256 count;
        while (count <= MAX_BLOBS && blobhash(count) != 0) ++count;
        if (count == 0) revert NoBlobs();
        if (count > MAX_BLOBS) revert TooManyBlobs();
        hashes = new bytes32[](count);
        for (uint256 i; i < count; ++i) hashes[i] = blobhash(i);
    }

    function _batchHash(uint256 leaseId, uint256 forcedUpTo, bytes32 dataHash) private view returns (bytes32) {
        return keccak256(abi.encode(msg.sender, leaseId, forcedUpTo, dataHash));
    }

    function _append(bytes32 kind, bytes32 payloadHash, bytes memory payload) private {
        uint256 index = _accumulators.length;
        bytes32 previous = index == 0 ? bytes32(0) : _accumulators[index - 1];
        bytes32 parentHash = blockhash(block.number - 1);
        bytes32 acc = keccak256(
            abi.encode(
                kind, previous, block.number, block.timestamp, block.basefee, block.blobbasefee, parentHash, payloadHash
            )
        );
        _accumulators.push(acc);
        emit Record(
            index,
            kind,
            acc,
            uint64(block.number),
            uint64(block.timestamp),
            block.basefee,
            block.blobbasefee,
            parentHash,
            payload
        );
    }
}
