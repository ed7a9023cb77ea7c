// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What differs between two chains. Record 0 commits to it; nothing in it ever changes (spec/deployment.md).
struct Config {
    uint64 l2ChainId;
    address lease;
    address portal;
    address l1StandardBridge;
    /// Seconds after which a batch that leaves a forced item out reverts.
    uint64 forcedDelay;
    /// Seconds after which anyone may submit a batch.
    uint64 livenessWindow;
    /// Seconds by which a block's origin may lag behind L1.
    uint64 maxOriginLag;
    /// Seconds by which a block's timestamp may exceed its batch record's.
    uint64 timestampDrift;
    uint64 gasTargetPerSecond;
    uint64 baseFeeScalar;
    uint64 blobBaseFeeScalar;
    uint64 genesisTimestamp;
}
