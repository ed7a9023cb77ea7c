//! Decoding: 32 bits of RV64IM to a packed instruction whose parts need no further work.

/// What an [`Instruction`] does; a byte of it. Not an enum, because a byte of memory is matched on.
pub(crate) mod op {
    /// Nothing was decoded here yet; zero, as fresh memory is.
    pub const UNDECODED: u8 = 0;
    pub const ILLEGAL: u8 = 1;
    pub const LUI: u8 = 2;
    pub const AUIPC: u8 = 3;
    pub const JAL: u8 = 4;
    pub const JALR: u8 = 5;
    pub const BEQ: u8 = 6;
    pub const BNE: u8 = 7;
    pub const BLT: u8 = 8;
    pub const BGE: u8 = 9;
    pub const BLTU: u8 = 10;
    pub const BGEU: u8 = 11;
    pub const LB: u8 = 12;
    pub const LH: u8 = 13;
    pub const LW: u8 = 14;
    pub const LD: u8 = 15;
    pub const LBU: u8 = 16;
    pub const LHU: u8 = 17;
    pub const LWU: u8 = 18;
    pub const SB: u8 = 19;
    pub const SH: u8 = 20;
    pub const SW: u8 = 21;
    pub const SD: u8 = 22;
    pub const ADDI: u8 = 23;
    pub const SLTI: u8 = 24;
    pub const SLTIU: u8 = 25;
    pub const XORI: u8 = 26;
    pub const ORI: u8 = 27;
    pub const ANDI: u8 = 28;
    pub const SLLI: u8 = 29;
    pub const SRLI: u8 = 30;
    pub const SRAI: u8 = 31;
    pub const ADDIW: u8 = 32;
    pub const SLLIW: u8 = 33;
    pub const SRLIW: u8 = 34;
    pub const SRAIW: u8 = 35;
    pub const ADD: u8 = 36;
    pub const SUB: u8 = 37;
    pub const SLL: u8 = 38;
    pub const SLT: u8 = 39;
    pub const SLTU: u8 = 40;
    pub const XOR: u8 = 41;
    pub const SRL: u8 = 42;
    pub const SRA: u8 = 43;
    pub const OR: u8 = 44;
    pub const AND: u8 = 45;
    pub const MUL: u8 = 46;
    pub const MULH: u8 = 47;
    pub const MULHSU: u8 = 48;
    pub const MULHU: u8 = 49;
    pub const DIV: u8 = 50;
    pub const DIVU: u8 = 51;
    pub const REM: u8 = 52;
    pub const REMU: u8 = 53;
    pub const ADDW: u8 = 54;
    pub const SUBW: u8 = 55;
    pub const SLLW: u8 = 56;
    pub const SRLW: u8 = 57;
    pub const SRAW: u8 = 58;
    pub const MULW: u8 = 59;
    pub const DIVW: u8 = 60;
    pub const DIVUW: u8 = 61;
    pub const REMW: u8 = 62;
    pub const REMUW: u8 = 63;
    pub const FENCE: u8 = 64;
    pub const ECALL: u8 = 65;
}

/// Where results for `x0` go: a place of the register file that nothing reads.
const SINK: u32 = 32;

/// A decoded instruction: byte 0 what it does ([`op`]), 1 `rd` (32 for x0), 2 `rs1`, 3 `rs2`,
/// 4–7 the immediate as a little-endian i32 (shifts: the amount).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction(pub u64);

impl Instruction {
    /// What an empty slot holds.
    pub const UNDECODED: u64 = 0;

    fn new(op: u8, word: u32, immediate: i32) -> Self {
        let rd = match word >> 7 & 31 {
            0 => SINK,
            rd => rd,
        };
        let registers = rd << 8 | (word >> 15 & 31) << 16 | (word >> 20 & 31) << 24;
        Self(u64::from(immediate as u32) << 32 | u64::from(registers | u32::from(op)))
    }

    #[inline(always)]
    pub fn op(self) -> u8 {
        self.0 as u8
    }

    #[inline(always)]
    pub fn rd(self) -> usize {
        usize::from((self.0 >> 8) as u8)
    }

    #[inline(always)]
    pub fn rs1(self) -> usize {
        usize::from((self.0 >> 16) as u8)
    }

    #[inline(always)]
    pub fn rs2(self) -> usize {
        usize::from((self.0 >> 24) as u8)
    }

    /// Sign-extended.
    #[inline(always)]
    pub fn immediate(self) -> u64 {
        ((self.0 >> 32) as i32) as u64
    }

    /// Decodes as spec/machine.md's table says; everything outside it is [`op::ILLEGAL`].
    pub fn decode(word: u32) -> Self {
        let funct3 = word >> 12 & 7;
        let immediate_i = word as i32 >> 20;
        let known = match word & 0x7f {
            0x37 => Some((op::LUI, (word & 0xffff_f000) as i32)),
            0x17 => Some((op::AUIPC, (word & 0xffff_f000) as i32)),
            0x6f => Some((op::JAL, immediate_j(word))),
            0x67 if funct3 == 0 => Some((op::JALR, immediate_i)),
            0x63 => branch(funct3).map(|op| (op, immediate_b(word))),
            0x03 if funct3 < 7 => Some((op::LB + funct3 as u8, immediate_i)),
            0x23 if funct3 < 4 => Some((op::SB + funct3 as u8, immediate_s(word))),
            0x13 => with_immediate(word),
            0x1b => with_immediate_32(word),
            0x33 => registers(funct3, word >> 25).map(|op| (op, 0)),
            0x3b => registers_32(funct3, word >> 25).map(|op| (op, 0)),
            0x0f if funct3 < 2 => Some((op::FENCE, 0)),
            _ if word == 0x73 => Some((op::ECALL, 0)),
            _ => None,
        };
        let (op, immediate) = known.unwrap_or((op::ILLEGAL, 0));
        Self::new(op, word, immediate)
    }
}

fn immediate_s(word: u32) -> i32 {
    (word & 0xfe00_0000) as i32 >> 20 | (word >> 7 & 0x1f) as i32
}

fn immediate_b(word: u32) -> i32 {
    let low = word >> 7 & 0x1e | word >> 20 & 0x7e0 | word << 4 & 0x800;
    (word & 0x8000_0000) as i32 >> 19 | low as i32
}

fn immediate_j(word: u32) -> i32 {
    let low = word >> 20 & 0x7fe | word >> 9 & 0x800 | word & 0xf_f000;
    (word & 0x8000_0000) as i32 >> 11 | low as i32
}

fn branch(funct3: u32) -> Option<u8> {
    match funct3 {
        0 => Some(op::BEQ),
        1 => Some(op::BNE),
        4 => Some(op::BLT),
        5 => Some(op::BGE),
        6 => Some(op::BLTU),
        7 => Some(op::BGEU),
        _ => None,
    }
}

fn with_immediate(word: u32) -> Option<(u8, i32)> {
    let immediate = word as i32 >> 20;
    let amount = (word >> 20 & 63) as i32;
    match (word >> 12 & 7, word >> 26) {
        (0, _) => Some((op::ADDI, immediate)),
        (2, _) => Some((op::SLTI, immediate)),
        (3, _) => Some((op::SLTIU, immediate)),
        (4, _) => Some((op::XORI, immediate)),
        (6, _) => Some((op::ORI, immediate)),
        (7, _) => Some((op::ANDI, immediate)),
        (1, 0) => Some((op::SLLI, amount)),
        (5, 0) => Some((op::SRLI, amount)),
        (5, 0b01_0000) => Some((op::SRAI, amount)),
        _ => None,
    }
}

fn with_immediate_32(word: u32) -> Option<(u8, i32)> {
    let amount = (word >> 20 & 31) as i32;
    match (word >> 12 & 7, word >> 25) {
        (0, _) => Some((op::ADDIW, word as i32 >> 20)),
        (1, 0) => Some((op::SLLIW, amount)),
        (5, 0) => Some((op::SRLIW, amount)),
        (5, 0b010_0000) => Some((op::SRAIW, amount)),
        _ => None,
    }
}

fn registers(funct3: u32, funct7: u32) -> Option<u8> {
    const BASE: [u8; 8] = [op::ADD, op::SLL, op::SLT, op::SLTU, op::XOR, op::SRL, op::OR, op::AND];
    match (funct7, funct3) {
        (0, _) => Some(BASE[funct3 as usize]),
        (0x20, 0) => Some(op::SUB),
        (0x20, 5) => Some(op::SRA),
        (1, _) => Some(op::MUL + funct3 as u8),
        _ => None,
    }
}

fn registers_32(funct3: u32, funct7: u32) -> Option<u8> {
    match (funct7, funct3) {
        (0, 0) => Some(op::ADDW),
        (0, 1) => Some(op::SLLW),
        (0, 5) => Some(op::SRLW),
        (0x20, 0) => Some(op::SUBW),
        (0x20, 5) => Some(op::SRAW),
        (1, 0) => Some(op::MULW),
        (1, 4..=7) => Some(op::DIVW + funct3 as u8 - 4),
        _ => None,
    }
}
