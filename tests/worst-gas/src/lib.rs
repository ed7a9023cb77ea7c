//! What a block of the chain can cost the proof machine at worst: one case for every opcode, precompile and kind of
//! transaction, each filling a block. `cargo xtask bench worst-gas` prints the table of `spec/proof-cost.md`.

pub mod asm;
mod measure;
mod opcodes;
mod precompiles;
mod transactions;
pub mod world;

use alloy_primitives::{Address, Bytes, U256};
pub use measure::{Cost, MAX_STEPS, Measured, measure};
use world::Block;

type Extend = fn(&mut Block, u64);

enum Source {
    /// Transactions that call a contract with this code and input.
    Call {
        code: Bytes,
        input: Bytes,
        codes: Vec<(Address, Bytes)>,
        extend: Option<Extend>,
    },
    Block(fn(u64) -> Block),
}

/// One way to fill a block.
pub struct Case {
    pub name: String,
    source: Source,
}

impl Case {
    fn call(name: impl Into<String>, code: Bytes) -> Self {
        let source = Source::Call { code, input: Bytes::new(), codes: Vec::new(), extend: None };
        Self { name: name.into(), source }
    }

    fn block(name: impl Into<String>, block: fn(u64) -> Block) -> Self {
        Self { name: name.into(), source: Source::Block(block) }
    }

    fn with_input(mut self, bytes: Bytes) -> Self {
        if let Source::Call { input, .. } = &mut self.source {
            *input = bytes;
        }
        self
    }

    fn with_code(mut self, address: Address, code: Bytes) -> Self {
        if let Source::Call { codes, .. } = &mut self.source {
            codes.push((address, code));
        }
        self
    }

    /// `extend` gets the block and its gas.
    fn with_block(mut self, with: Extend) -> Self {
        if let Source::Call { extend, .. } = &mut self.source {
            *extend = Some(with);
        }
        self
    }

    /// The block with about `gas` of execution gas.
    pub fn build(&self, gas: u64) -> Block {
        match &self.source {
            Source::Block(block) => block(gas),
            Source::Call { code, input, codes, extend } => {
                let mut block = Block::default();
                block.set_code(world::CONTRACT, code.clone());
                for (address, code) in codes {
                    block.set_code(*address, code.clone());
                }
                if let Some(extend) = extend {
                    extend(&mut block, gas);
                }
                let mut before = 0;
                for gas_limit in transactions::split(gas) {
                    let count = U256::from(before / world::LEAST_COLD_GAS);
                    let counter = || Bytes::from(count.to_be_bytes::<32>());
                    block.call(gas_limit, if input.is_empty() { counter() } else { input.clone() });
                    before += gas_limit;
                }
                block
            }
        }
    }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = opcodes::cases();
    cases.extend(precompiles::cases());
    cases.extend(transactions::cases());
    cases
}
