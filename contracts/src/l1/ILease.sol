// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Who may order transactions, by L1 block.
interface ILease {
    /// @return leaseId Number of the lease that covers L1 block `blockNumber`.
    /// @return submitter Who may submit batches; zero if nobody holds the lease.
    /// @return promiseSigner Whose signature makes a promise of this lease.
    function leaderAt(uint256 blockNumber)
        external
        view
        returns (uint256 leaseId, address submitter, address promiseSigner);
}
