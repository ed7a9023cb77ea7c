use alloy_primitives::{Address, B256, U256, keccak256};
use annex_derive::Cursor;
use annex_types::Header;

use crate::Impossible;
use crate::words::Words;

/// What L1 and withdrawals need of a head; [`hash`](Self::hash) is the output root of spec/block.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputRoot {
    pub state_root: B256,
    /// Storage root of the `L2ToL1MessagePasser`.
    pub withdrawals_root: B256,
    pub block_hash: B256,
}

impl OutputRoot {
    /// Of a head. Headers of the chain have a `withdrawalsRoot`; without one it is zero.
    pub fn of(header: &Header) -> Self {
        Self {
            state_root: header.state_root,
            withdrawals_root: header.withdrawals_root.unwrap_or_default(),
            block_hash: header.hash_slow(),
        }
    }

    /// `bytes32(0) ‖ stateRoot ‖ withdrawalsRoot ‖ blockHash`, 128 bytes.
    pub fn encode(&self) -> Vec<u8> {
        [B256::ZERO, self.state_root, self.withdrawals_root, self.block_hash].concat()
    }

    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }
}

/// A state of the chain as it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub output: OutputRoot,
    pub cursor: Cursor,
}

impl Leaf {
    /// `keccak(abi.encode(outputRoot, record, block, forced))`
    pub fn hash(&self) -> B256 {
        leaf_hash(self.output.hash(), self.cursor)
    }
}

fn leaf_hash(output_root: B256, cursor: Cursor) -> B256 {
    let Cursor { record, block, forced } = cursor;
    keccak256([output_root, word(record), word(block), word(forced)].concat())
}

fn word(number: u64) -> B256 {
    U256::from(number).into()
}

/// The leaf after `leaf` if the program fails on it; steps to itself.
pub fn fault_leaf(leaf: B256) -> B256 {
    keccak256([keccak256("annex.leaf.fault.v1"), leaf].concat())
}

/// What the one input word of a step commits to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimInput {
    /// The contract whose log is derived from.
    pub inbox: Address,
    /// See [`annex_types::ChainConfig::hash`].
    pub config_hash: B256,
    pub output_root: B256,
    pub cursor: Cursor,
    /// After the record that the cursor names.
    pub accumulator: B256,
}

impl ClaimInput {
    /// The seven words of spec/claim.md, 224 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Cursor { record, block, forced } = self.cursor;
        let inbox = self.inbox.into_word();
        let cursor = [word(record), word(block), word(forced)].concat();
        let parts: [&[u8]; 5] = [
            inbox.as_slice(),
            self.config_hash.as_slice(),
            self.output_root.as_slice(),
            &cursor,
            self.accumulator.as_slice(),
        ];
        parts.concat()
    }

    /// The input word.
    pub fn hash(&self) -> B256 {
        keccak256(self.encode())
    }

    /// The leaf that the step starts from.
    pub fn leaf(&self) -> B256 {
        leaf_hash(self.output_root, self.cursor)
    }

    pub(crate) fn decode(words: &Words<7>) -> Result<Self, Impossible> {
        Ok(Self {
            inbox: words.address(0)?,
            config_hash: words.hash(1),
            output_root: words.hash(2),
            cursor: Cursor { record: words.u64(3)?, block: words.u64(4)?, forced: words.u64(5)? },
            accumulator: words.hash(6),
        })
    }
}
