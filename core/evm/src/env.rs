use alloy_primitives::{Address, B256, U256};
use annex_types::fees;
use revm::context::BlockEnv as RevmBlockEnv;
use revm::context_interface::block::BlobExcessGasAndPrice;

/// Which chain's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Ethereum's Osaka: the base fee is burned, blob transactions are valid, there are no deposits.
    L1,
    /// `spec/block.md` and `spec/fees.md`: deposits, data gas, every fee to the beneficiary, no blob transactions.
    L2,
}

/// What a transaction sees of its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEnv {
    pub chain_id: u64,
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
    pub beneficiary: Address,
    pub gas_limit: u64,
    /// Wei.
    pub base_fee: u64,
    pub prev_randao: B256,
    /// Wei; one where the header's excess blob gas is zero.
    pub blob_base_fee: u128,
    /// Price of a transaction's byte in 10^-6 wei ([`fees::byte_cost`]); not used by [`Rules::L1`].
    pub byte_cost: U256,
}

impl BlockEnv {
    /// Gas charged for a transaction of this chargeable size (10^-6 bytes).
    pub fn data_gas(&self, data_size: u64) -> u64 {
        fees::data_gas(data_size, self.byte_cost, self.base_fee)
    }

    pub(crate) fn to_revm(&self) -> RevmBlockEnv {
        RevmBlockEnv {
            number: U256::from(self.number),
            beneficiary: self.beneficiary,
            timestamp: U256::from(self.timestamp),
            gas_limit: self.gas_limit,
            basefee: self.base_fee,
            difficulty: U256::ZERO,
            prevrandao: Some(self.prev_randao),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
                excess_blob_gas: 0,
                blob_gasprice: self.blob_base_fee,
            }),
            slot_num: 0,
        }
    }
}
