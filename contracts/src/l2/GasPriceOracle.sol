// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {LibZip} from "solady/src/utils/LibZip.sol";
import {L1Block} from "./L1Block.sol";
import {Predeploys} from "../lib/Predeploys.sol";

/// @notice What a transaction's bytes cost (spec/fees.md), with the OP Stack's ABI. Annex charges the data fee as gas within
///         the transaction's gas limit: `eth_estimateGas` includes it, so do not add it again.
contract GasPriceOracle {
    /// @notice Decimals of the scalars.
    uint256 public constant decimals = 6;
    bool public constant isEcotone = true;
    bool public constant isFjord = true;

    uint256 private constant MIN_SIZE = 100_000_000;
    uint256 private constant SIZE_COEFFICIENT = 836_500;
    uint256 private constant SIZE_INTERCEPT = 42_585_600;
    uint256 private constant MAX_DATA_GAS = 2 ** 63;
    /// Bytes that a signature adds to an unsigned transaction.
    uint256 private constant SIGNATURE_BYTES = 68;

    /// @notice Data gas of a transaction in this block.
    /// @param signedTransaction Its EIP-2718 encoding.
    function dataGas(bytes memory signedTransaction) external view returns (uint256) {
        uint256 fee = _fee(_size(_flzLength(signedTransaction)));
        uint256 gas_ = _ceilDiv(fee, block.basefee == 0 ? 1 : block.basefee);
        return gas_ < MAX_DATA_GAS ? gas_ : MAX_DATA_GAS;
    }

    /// @notice Data fee in wei, with room for the signature.
    /// @param unsignedTransaction EIP-2718 encoding of the unsigned transaction.
    function getL1Fee(bytes memory unsignedTransaction) external view returns (uint256) {
        return _fee(_size(_flzLength(unsignedTransaction) + SIGNATURE_BYTES));
    }

    /// @notice Most that `getL1Fee` can be for `unsignedSize` bytes.
    function getL1FeeUpperBound(uint256 unsignedSize) external view returns (uint256) {
        uint256 size = unsignedSize + SIGNATURE_BYTES;
        return _fee(_size(size + size / 255 + 16));
    }

    /// @notice Chargeable size of a transaction in calldata gas of L1, with room for the signature.
    function getL1GasUsed(bytes memory unsignedTransaction) external pure returns (uint256) {
        return _size(_flzLength(unsignedTransaction) + SIGNATURE_BYTES) * 16 / 10 ** decimals;
    }

    /// @notice Zero: there is no operator fee.
    function getOperatorFee(uint256) external pure returns (uint256) {
        return 0;
    }

    function l1BaseFee() external view returns (uint256) {
        return _l1Block().basefee();
    }

    function blobBaseFee() external view returns (uint256) {
        return _l1Block().blobBaseFee();
    }

    function baseFeeScalar() external view returns (uint64) {
        return _l1Block().baseFeeScalar();
    }

    function blobBaseFeeScalar() external view returns (uint64) {
        return _l1Block().blobBaseFeeScalar();
    }

    function baseFee() external view returns (uint256) {
        return block.basefee;
    }

    /// @notice As `baseFee`.
    function gasPrice() external view returns (uint256) {
        return block.basefee;
    }

    /// @notice Zero: replaced by the scalars.
    function overhead() external pure returns (uint256) {
        return 0;
    }

    /// @notice Zero: replaced by the scalars.
    function scalar() external pure returns (uint256) {
        return 0;
    }

    /// @dev Chargeable size in 10^-6 bytes.
    function _size(uint256 flzLength) private pure returns (uint256) {
        uint256 estimate = SIZE_COEFFICIENT * flzLength;
        return estimate > SIZE_INTERCEPT + MIN_SIZE ? estimate - SIZE_INTERCEPT : MIN_SIZE;
    }

    /// @dev Price in wei of a size in 10^-6 bytes.
    function _fee(uint256 size) private view returns (uint256) {
        L1Block l1 = _l1Block();
        uint256 byteCost = l1.baseFeeScalar() * l1.basefee() + l1.blobBaseFeeScalar() * l1.blobBaseFee();
        return _ceilDiv(size * byteCost, 10 ** (2 * decimals));
    }

    function _flzLength(bytes memory data) private pure returns (uint256) {
        return LibZip.flzCompress(data).length;
    }

    function _ceilDiv(uint256 a, uint256 b) private pure returns (uint256) {
        return a == 0 ? 0 : (a - 1) / b + 1;
    }

    function _l1Block() private pure returns (L1Block) {
        return L1Block(Predeploys.L1_BLOCK);
    }
}
