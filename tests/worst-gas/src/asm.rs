//! EVM code, as far as loops need it.

use alloy_primitives::{Address, Bytes, U256};

/// EIP-170.
const MAX_CODE: usize = 24_576;

pub mod op {
    pub const STOP: u8 = 0x00;
    pub const LT: u8 = 0x10;
    pub const ADD: u8 = 0x01;
    pub const KECCAK256: u8 = 0x20;
    pub const CODECOPY: u8 = 0x39;
    pub const CALLDATACOPY: u8 = 0x37;
    pub const CALLDATALOAD: u8 = 0x35;
    pub const RETURNDATACOPY: u8 = 0x3e;
    pub const EXTCODECOPY: u8 = 0x3c;
    pub const EXTCODESIZE: u8 = 0x3b;
    pub const EXTCODEHASH: u8 = 0x3f;
    pub const BALANCE: u8 = 0x31;
    pub const POP: u8 = 0x50;
    pub const MLOAD: u8 = 0x51;
    pub const MSTORE: u8 = 0x52;
    pub const MSTORE8: u8 = 0x53;
    pub const SLOAD: u8 = 0x54;
    pub const SSTORE: u8 = 0x55;
    pub const JUMP: u8 = 0x56;
    pub const JUMPI: u8 = 0x57;
    pub const GAS: u8 = 0x5a;
    pub const JUMPDEST: u8 = 0x5b;
    pub const TLOAD: u8 = 0x5c;
    pub const TSTORE: u8 = 0x5d;
    pub const MCOPY: u8 = 0x5e;
    pub const PUSH0: u8 = 0x5f;
    pub const DUP1: u8 = 0x80;
    pub const SWAP1: u8 = 0x90;
    pub const LOG0: u8 = 0xa0;
    pub const CREATE: u8 = 0xf0;
    pub const CALL: u8 = 0xf1;
    pub const RETURN: u8 = 0xf3;
    pub const DELEGATECALL: u8 = 0xf4;
    pub const CREATE2: u8 = 0xf5;
    pub const STATICCALL: u8 = 0xfa;
    pub const REVERT: u8 = 0xfd;
}

/// Code being written.
#[derive(Clone, Debug, Default)]
pub struct Code(Vec<u8>);

impl Code {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn op(mut self, op: u8) -> Self {
        self.0.push(op);
        self
    }

    pub fn ops(mut self, ops: &[u8]) -> Self {
        self.0.extend_from_slice(ops);
        self
    }

    /// `PUSHn` of the shortest `n`.
    pub fn push(self, value: u64) -> Self {
        self.push_word(U256::from(value))
    }

    /// `PUSHn` of the shortest `n`.
    pub fn push_word(mut self, value: U256) -> Self {
        let bytes = value.to_be_bytes_trimmed_vec();
        self.0.push(op::PUSH0 + bytes.len() as u8);
        self.0.extend(bytes);
        self
    }

    pub fn push_address(self, address: Address) -> Self {
        self.push_word(U256::from_be_slice(address.as_slice()))
    }

    /// Duplicates the `n`-th item from the top, from 1.
    pub fn dup(self, n: u8) -> Self {
        self.op(op::DUP1 + n - 1)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(self) -> Bytes {
        self.0.into()
    }
}

/// Runs `setup` once, then `body` again and again while more than `reserve` gas is left. The body, which leaves the
/// stack as high as it found it, is unrolled as far as the code's limit and the reserve allow.
pub fn until_gas(setup: Code, body: &Code, body_gas: u64, reserve: u64) -> Bytes {
    let mut code = setup;
    let start = code.len();
    code = code.op(op::JUMPDEST);
    let room = MAX_CODE - code.len() - 16;
    let copies =
        (room / body.len().max(1)).min(1 + (reserve / 2 / body_gas.max(1)) as usize).max(1);
    for _ in 0..copies {
        code.0.extend_from_slice(&body.0);
    }
    code.op(op::GAS)
        .push(reserve)
        .ops(&[op::LT])
        .push(start as u64)
        .op(op::JUMPI)
        .op(op::STOP)
        .bytes()
}
