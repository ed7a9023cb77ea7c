// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Claims} from "./Claims.sol";

/// @notice A claimed output as the OP Stack's tools know one: a dispute game. Views only; Claims and the Tournament decide.
///         Each claim is a clone of one such contract, with `outputRoot ‖ commitment ‖ range` (68 bytes) in its code.
contract Claim {
    /// @param outputRoot Zero for a FAULT.
    /// @param range Range that it claims the result of.
    /// @param number One more than the claim's index.
    /// @param l2Block Number of the claimed block.
    /// @param record Record that the leaf's cursor names.
    /// @param settledAt L1 time at which it settled; zero before.
    struct Details {
        bytes32 outputRoot;
        bytes32 commitment;
        uint32 range;
        uint32 number;
        uint64 l2Block;
        uint48 record;
        uint64 createdAt;
        uint48 settledAt;
    }

    /// @notice The contract that made this claim.
    Claims public immutable claims;

    constructor() {
        claims = Claims(msg.sender);
    }

    /// @notice The claimed output root; zero for a FAULT.
    function rootClaim() external view returns (bytes32) {
        return _details().outputRoot;
    }

    /// @notice Number of the claimed L2 block.
    function l2SequenceNumber() external view returns (uint256) {
        return _details().l2Block;
    }

    /// @notice As `l2SequenceNumber`.
    function l2BlockNumber() external view returns (uint256) {
        return _details().l2Block;
    }

    /// @notice The claimed L2 block's number as 32 bytes.
    function extraData() external view returns (bytes memory) {
        return abi.encode(_details().l2Block);
    }

    function gameType() external view returns (uint32) {
        return claims.GAME_TYPE();
    }

    /// @notice L1 time at which the claim was made.
    function createdAt() external view returns (uint64) {
        return _details().createdAt;
    }

    /// @notice L1 time at which the claim's range was closed; zero before.
    function resolvedAt() external view returns (uint64) {
        return claims.claim(_details().number - 1).resolvedAt;
    }

    /// @notice When the range can be settled if nobody disputes.
    function expectedResolution() external view returns (uint64) {
        return claims.undisputedUntil(_details().range);
    }

    function maxClockDuration() external view returns (uint64) {
        return claims.challengeWindow();
    }

    /// @notice 0 in progress, 1 beaten, 2 settled.
    function status() external view returns (Claims.ClaimStatus) {
        return claims.claim(_details().number - 1).status;
    }

    function _details() private view returns (Details memory) {
        return claims.detailsOf(address(this));
    }
}
