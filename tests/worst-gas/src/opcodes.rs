//! Every opcode in a loop, on the operands that cost an interpreter most.

use alloy_primitives::{Address, B256, Bytes, U256, uint};

use crate::Case;
use crate::asm::{Code, op, until_gas};
use crate::world::{Block, CONTRACT, FIRST_CODE};

const FULL: U256 = U256::MAX;
/// A divisor of three limbs: the longest quotient that still takes a long division.
const LONG: U256 = uint!(0x1_0000000000000001_00000000000000ff_U256);
const HIGH: U256 = uint!(0x8000000000000000000000000000000000000000000000000000000000000001_U256);

/// Opcodes without effect but on the stack: number of inputs, gas.
const PURE: &[(&str, u8, u8, u64)] = &[
    ("ADD", 0x01, 2, 3),
    ("MUL", 0x02, 2, 5),
    ("SUB", 0x03, 2, 3),
    ("DIV", 0x04, 2, 5),
    ("SDIV", 0x05, 2, 5),
    ("MOD", 0x06, 2, 5),
    ("SMOD", 0x07, 2, 5),
    ("ADDMOD", 0x08, 3, 8),
    ("MULMOD", 0x09, 3, 8),
    ("EXP", 0x0a, 2, 1610),
    ("SIGNEXTEND", 0x0b, 2, 5),
    ("LT", 0x10, 2, 3),
    ("GT", 0x11, 2, 3),
    ("SLT", 0x12, 2, 3),
    ("SGT", 0x13, 2, 3),
    ("EQ", 0x14, 2, 3),
    ("ISZERO", 0x15, 1, 3),
    ("AND", 0x16, 2, 3),
    ("OR", 0x17, 2, 3),
    ("XOR", 0x18, 2, 3),
    ("NOT", 0x19, 1, 3),
    ("BYTE", 0x1a, 2, 3),
    ("SHL", 0x1b, 2, 3),
    ("SHR", 0x1c, 2, 3),
    ("SAR", 0x1d, 2, 3),
    ("CLZ", 0x1e, 1, 5),
    ("ADDRESS", 0x30, 0, 2),
    ("ORIGIN", 0x32, 0, 2),
    ("CALLER", 0x33, 0, 2),
    ("CALLVALUE", 0x34, 0, 2),
    ("CALLDATALOAD", 0x35, 1, 3),
    ("CALLDATASIZE", 0x36, 0, 2),
    ("CODESIZE", 0x38, 0, 2),
    ("GASPRICE", 0x3a, 0, 2),
    ("RETURNDATASIZE", 0x3d, 0, 2),
    ("COINBASE", 0x41, 0, 2),
    ("TIMESTAMP", 0x42, 0, 2),
    ("NUMBER", 0x43, 0, 2),
    ("PREVRANDAO", 0x44, 0, 2),
    ("GASLIMIT", 0x45, 0, 2),
    ("CHAINID", 0x46, 0, 2),
    ("SELFBALANCE", 0x47, 0, 5),
    ("BASEFEE", 0x48, 0, 2),
    ("BLOBHASH", 0x49, 1, 3),
    ("BLOBBASEFEE", 0x4a, 0, 2),
    ("PC", 0x58, 0, 2),
    ("MSIZE", 0x59, 0, 2),
    ("GAS", 0x5a, 0, 2),
    ("PUSH0", 0x5f, 0, 2),
];

/// Operands, top of the stack last.
const OPERANDS: [[U256; 3]; 3] = [[FULL, FULL, FULL], [LONG, LONG, FULL], [HIGH, LONG, FULL]];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, opcode, inputs, gas) in PURE {
        let variants = if inputs > 1 { OPERANDS.len() } else { 1 };
        for (variant, operands) in OPERANDS.iter().take(variants).enumerate() {
            let name = if variants > 1 { format!("{name} ({variant})") } else { name.into() };
            cases.push(pure(name, opcode, inputs, gas, operands));
        }
    }
    cases.extend(stack());
    cases.extend(memory());
    cases.extend(state());
    cases.extend(calls());
    cases
}

fn pure(name: String, opcode: u8, inputs: u8, gas: u64, operands: &[U256; 3]) -> Case {
    let setup = operands.iter().fold(Code::new(), |code, word| code.push_word(*word));
    // Each DUPn takes the next lower operand, so that they keep their order.
    let body = (0..inputs).fold(Code::new(), |code, _| code.dup(inputs)).op(opcode).op(op::POP);
    looping(name, setup, body, gas + u64::from(inputs) * 3 + 2)
}

fn looping(name: impl Into<String>, setup: Code, body: Code, body_gas: u64) -> Case {
    let code = until_gas(setup, &body, body_gas, 100_000.max(3 * body_gas));
    Case::call(name, code)
}

fn stack() -> Vec<Case> {
    let filled = || (0..17).fold(Code::new(), |code, _| code.push_word(FULL));
    let mut cases = vec![
        looping("JUMPDEST", Code::new(), Code::new().op(op::JUMPDEST), 1),
        looping("PUSH32, POP", Code::new(), Code::new().push_word(FULL).op(op::POP), 5),
        looping("PUSH1, POP", Code::new(), Code::new().push(1).op(op::POP), 5),
        looping("DUP16, POP", filled(), Code::new().dup(16).op(op::POP), 5),
        looping("SWAP16", filled(), Code::new().op(op::SWAP1 + 15), 3),
    ];
    // JUMP to itself: as many jumps as the gas allows.
    let jumps = Code::new().ops(&[op::JUMPDEST, op::GAS]).push(1000).ops(&[op::LT]).push(0);
    cases.push(Case::call("JUMPI", jumps.op(op::JUMPI).bytes()));
    cases
}

fn memory() -> Vec<Case> {
    let grown = |size: u64| Code::new().push(0).push(size - 32).op(op::MSTORE);
    let copy = |opcode: u8, size: u64| Code::new().push(size).push(0).push(0).op(opcode);
    let words = |size: u64| size.div_ceil(32);
    let mut cases = vec![
        looping("MLOAD", grown(4096), Code::new().push(33).ops(&[op::MLOAD, op::POP]), 8),
        looping(
            "MSTORE",
            grown(4096).push_word(FULL),
            Code::new().dup(1).push(33).op(op::MSTORE),
            9,
        ),
        looping(
            "MSTORE8",
            grown(4096).push_word(FULL),
            Code::new().dup(1).push(33).op(op::MSTORE8),
            9,
        ),
    ];
    for size in [1u64, 136, 4096, 65_536] {
        let hash = Code::new().push(size).push(0).ops(&[op::KECCAK256, op::POP]);
        cases.push(looping(
            format!("KECCAK256 of {size}"),
            grown(65_536),
            hash,
            38 + 6 * words(size),
        ));
    }
    for (name, opcode) in
        [("MCOPY", op::MCOPY), ("CALLDATACOPY", op::CALLDATACOPY), ("CODECOPY", op::CODECOPY)]
    {
        for size in [1u64, 4096] {
            let body = copy(opcode, size);
            cases.push(looping(
                format!("{name} of {size}"),
                grown(8192),
                body,
                12 + 3 * words(size),
            ));
        }
    }
    // A new frame that grows its memory, over and over: 98 304 bytes cost 27 648 gas.
    let grow = Code::new().push(1).push(98_303).op(op::MSTORE8).op(op::STOP).bytes();
    let callee = Address::repeat_byte(0xca);
    let body = call(op::STATICCALL, callee, 0, 0);
    cases.push(looping("memory growth", Code::new(), body, 30_000).with_code(callee, grow));
    for (name, topics, size) in [("LOG0 of 4096", 0u8, 4096u64), ("LOG4", 4, 0), ("LOG0", 0, 0)] {
        let pushed = (0..topics).fold(Code::new(), |code, _| code.push_word(FULL));
        let body = pushed.push(size).push(0).op(op::LOG0 + topics);
        cases.push(looping(name, grown(4096), body, 375 * (1 + u64::from(topics)) + 8 * size + 18));
    }
    cases
}

/// `opcode` to `target` with `input` bytes of memory, all gas, nothing sent.
pub fn call(opcode: u8, target: Address, input: u64, output: u64) -> Code {
    let code = Code::new().push(output).push(0).push(input).push(0);
    let code = if opcode == op::CALL { code.push(0) } else { code };
    code.push_address(target).ops(&[op::GAS, opcode, op::POP])
}

/// A counter on the stack that `use_it` finds on top, and leaves. It goes on where the block's transaction before ended.
fn counting(name: &str, start: u64, use_it: Code, body_gas: u64) -> Case {
    let body = use_it.push(1).op(op::ADD);
    let setup = Code::new().push(start).ops(&[op::PUSH0, op::CALLDATALOAD, op::ADD]);
    looping(name, setup, body, body_gas + 6)
}

fn state() -> Vec<Case> {
    let mut cases = vec![
        looping(
            "BALANCE, warm",
            Code::new(),
            Code::new().push_address(CONTRACT).ops(&[op::BALANCE, op::POP]),
            105,
        ),
        looping("SLOAD, warm", Code::new(), Code::new().push(1).ops(&[op::SLOAD, op::POP]), 105),
        looping(
            "SSTORE, warm",
            Code::new().push(1),
            Code::new().dup(1).push(1).op(op::SSTORE),
            106,
        ),
        looping("TLOAD", Code::new(), Code::new().push(1).ops(&[op::TLOAD, op::POP]), 105),
        counting("TSTORE, other slots", 0, Code::new().dup(1).dup(1).op(op::TSTORE), 106),
        looping("BLOCKHASH", Code::new(), Code::new().push(299).ops(&[0x40, op::POP]), 25),
        looping("BLOCKHASH of other blocks", Code::new(), blockhashes(), 25 * 255),
    ];
    let read = |opcode: u8| Code::new().dup(1).ops(&[opcode, op::POP]);
    let scattered = |case: Case| case.with_block(Block::scattered_accounts);
    for (name, opcode) in [("BALANCE", op::BALANCE), ("EXTCODEHASH", op::EXTCODEHASH)] {
        cases.push(scattered(counting(&format!("{name}, cold"), 0, read(opcode), 2605)));
    }
    cases.push(
        counting("EXTCODESIZE, cold 24 KiB", FIRST_CODE, read(op::EXTCODESIZE), 2605)
            .with_block(Block::codes),
    );
    let called =
        Code::new().push(0).dup(1).dup(1).dup(1).dup(5).ops(&[op::GAS, op::STATICCALL, op::POP]);
    cases.push(
        counting("STATICCALL, cold 24 KiB", FIRST_CODE, called, 2630).with_block(Block::codes),
    );
    let slots = |case: Case| case.with_block(Block::scattered_slots);
    cases.push(slots(counting("SLOAD, cold", 0, read(op::SLOAD), 2105)));
    cases.push(slots(counting(
        "SSTORE, cold, changed",
        0,
        Code::new().push(7).dup(2).op(op::SSTORE),
        5006,
    )));
    cases.push(slots(counting(
        "SSTORE, cold, cleared",
        0,
        Code::new().push(0).dup(2).op(op::SSTORE),
        5006,
    )));
    cases.push(slots(counting(
        "SSTORE, cold, new",
        1 << 40,
        Code::new().dup(1).dup(1).op(op::SSTORE),
        22_106,
    )));
    cases
}

/// All the 255 blocks that BLOCKHASH reaches, of a block with number 301.
fn blockhashes() -> Code {
    (45u64..300).fold(Code::new(), |code, number| code.push(number).ops(&[0x40, op::POP]))
}

fn calls() -> Vec<Case> {
    let empty = Address::repeat_byte(0xee);
    let returns = |size: u64| Code::new().push(size).push(0).op(op::RETURN).bytes();
    let callee = Address::repeat_byte(0xca);
    let stop = Bytes::from_static(&[op::STOP]);
    let mut cases = Vec::new();
    for (name, opcode) in
        [("CALL", op::CALL), ("STATICCALL", op::STATICCALL), ("DELEGATECALL", op::DELEGATECALL)]
    {
        let case = looping(format!("{name}, warm"), Code::new(), call(opcode, callee, 0, 0), 125);
        cases.push(case.with_code(callee, stop.clone()));
    }
    cases.push(looping("CALL, no code", Code::new(), call(op::CALL, empty, 0, 0), 125));
    cases.push(
        looping(
            "RETURNDATACOPY",
            call(op::STATICCALL, callee, 0, 0),
            Code::new().push(4096).push(0).push(0).op(op::RETURNDATACOPY),
            400,
        )
        .with_code(callee, returns(4096)),
    );
    // Itself, 1 024 deep, with the stack of every frame.
    let nested = call(op::CALL, CONTRACT, 0, 0);
    cases.push(looping("CALL of itself", Code::new(), nested, 700));
    // Init code of 48 KiB that is all jump destinations and ends at once.
    let init = Code::new()
        .push(op::JUMPDEST.into())
        .push(0)
        .op(op::MSTORE8)
        .push(49_151)
        .push(0)
        .push(1)
        .op(op::MCOPY);
    let create2 = Code::new()
        .push(1)
        .op(op::ADD)
        .dup(1)
        .push(49_152)
        .push(0)
        .push(0)
        .ops(&[op::CREATE2, op::POP]);
    cases.push(looping("CREATE2 of 48 KiB init code", init.push(0), create2, 60_000));
    let create = Code::new().push(0).push(0).push(0).ops(&[op::CREATE, op::POP]);
    cases.push(looping("CREATE, empty", Code::new(), create, 32_020));
    // Init code that returns 24 KiB.
    let deploys = Code::new().push_word(deploy_word().into()).push(0).op(op::MSTORE);
    let deploy = Code::new().push(32).push(0).push(0).ops(&[op::CREATE, op::POP]);
    cases.push(looping("CREATE of 24 KiB", deploys, deploy, 5_000_000));
    cases
}

/// `PUSH2 24576 PUSH0 RETURN`, then STOPs.
fn deploy_word() -> B256 {
    let mut word = [0; 32];
    word[..5].copy_from_slice(&[0x61, 0x60, 0x00, op::PUSH0, op::RETURN]);
    B256::from(word)
}
