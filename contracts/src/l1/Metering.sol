// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice Sells L2 gas to deposits at a price that follows EIP-1559's curve from L1 block to L1 block, paid by burning L1
///         gas. Constants and accounting are those of the OP Stack's ResourceMetering.
abstract contract Metering {
    struct ResourceParams {
        /// Price of one L2 gas, in wei of L1 base fee.
        uint128 prevBaseFee;
        /// L2 gas bought in block `prevBlockNum`.
        uint64 prevBoughtGas;
        uint64 prevBlockNum;
    }

    /// @notice Most L2 gas that one L1 block sells.
    uint64 public constant MAX_RESOURCE_LIMIT = 20_000_000;
    uint256 private constant ELASTICITY = 10;
    uint256 private constant TARGET = MAX_RESOURCE_LIMIT / ELASTICITY;
    uint256 private constant MAX_CHANGE_DENOMINATOR = 8;
    uint256 private constant MINIMUM_BASE_FEE = 1 gwei;
    /// Floor of the L1 base fee in the conversion to L1 gas, lest a cheap L1 make deposits unpayable.
    uint256 private constant MINIMUM_L1_BASE_FEE = 1 gwei;

    /// @notice State of the market, as the OP Stack shows it.
    ResourceParams public params;

    /// The L1 block has no more L2 gas to sell.
    error OutOfGas();

    constructor() {
        params = ResourceParams(uint128(MINIMUM_BASE_FEE), 0, uint64(block.number));
    }

    /// @dev Buys `amount` L2 gas and burns what it costs, less the L1 gas used since `initialGas`.
    function _meter(uint64 amount, uint256 initialGas) internal {
        ResourceParams memory p = params;
        uint256 elapsed = block.number - p.prevBlockNum;
        if (elapsed > 0) {
            p.prevBaseFee = uint128(_nextBaseFee(p.prevBaseFee, p.prevBoughtGas, elapsed));
            p.prevBoughtGas = 0;
            p.prevBlockNum = uint64(block.number);
        }
        p.prevBoughtGas += amount;
        if (p.prevBoughtGas > MAX_RESOURCE_LIMIT) revert OutOfGas();
        params = p;

        uint256 l1BaseFee = block.basefee > MINIMUM_L1_BASE_FEE ? block.basefee : MINIMUM_L1_BASE_FEE;
        uint256 cost = uint256(amount) * p.prevBaseFee / l1BaseFee;
        uint256 used = initialGas - gasleft();
        if (cost > used) _burn(cost - used);
    }

    /// @dev The price after a block that sold `bought` and `elapsed - 1` blocks that sold nothing.
    function _nextBaseFee(uint256 baseFee, uint256 bought, uint256 elapsed) private pure returns (uint256) {
        if (bought > TARGET) {
            baseFee += baseFee * (bought - TARGET) / (TARGET * MAX_CHANGE_DENOMINATOR);
        } else {
            baseFee -= baseFee * (TARGET - bought) / (TARGET * MAX_CHANGE_DENOMINATOR);
        }
        // From the highest price, (7/8)^n reaches the lowest in under 512 blocks.
        uint256 idle = elapsed - 1 < 512 ? elapsed - 1 : 512;
        for (; idle > 0 && baseFee > MINIMUM_BASE_FEE; --idle) {
            baseFee -= baseFee / MAX_CHANGE_DENOMINATOR;
        }
        if (baseFee < MINIMUM_BASE_FEE) return MINIMUM_BASE_FEE;
        return baseFee < type(uint128).max ? baseFee : type(uint128).max;
    }

    function _burn(uint256 amount) private view {
        uint256 start = gasleft();
        while (start - gasleft() < amount) {}
    }
}
