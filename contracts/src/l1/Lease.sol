// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ILease} from "./ILease.sol";

/// @notice One lease without end, held by the account named at deployment. With submitter zero nobody holds it and
///         anyone may submit.
contract Lease is ILease {
    uint256 private constant LEASE_ID = 1;

    address private immutable SUBMITTER;
    address private immutable PROMISE_SIGNER;

    constructor(address submitter, address promiseSigner) {
        SUBMITTER = submitter;
        PROMISE_SIGNER = promiseSigner;
    }

    /// @inheritdoc ILease
    function leaderAt(uint256)
        external
        view
        returns (uint256 leaseId, address submitter, address promiseSigner)
    {
        return (LEASE_ID, SUBMITTER, PROMISE_SIGNER);
    }
}
