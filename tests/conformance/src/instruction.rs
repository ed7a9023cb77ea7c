use rand::Rng;

/// Every instruction of the machine: name, mask and value of the bits that make it, as the tables of the unprivileged
/// specification ("RV32/64G Instruction Set Listings") have them.
pub const INSTRUCTIONS: &[(&str, u32, u32)] = &[
    ("LUI", 0x7f, 0x37),
    ("AUIPC", 0x7f, 0x17),
    ("JAL", 0x7f, 0x6f),
    ("JALR", 0x707f, 0x67),
    ("BEQ", 0x707f, 0x0063),
    ("BNE", 0x707f, 0x1063),
    ("BLT", 0x707f, 0x4063),
    ("BGE", 0x707f, 0x5063),
    ("BLTU", 0x707f, 0x6063),
    ("BGEU", 0x707f, 0x7063),
    ("LB", 0x707f, 0x0003),
    ("LH", 0x707f, 0x1003),
    ("LW", 0x707f, 0x2003),
    ("LD", 0x707f, 0x3003),
    ("LBU", 0x707f, 0x4003),
    ("LHU", 0x707f, 0x5003),
    ("LWU", 0x707f, 0x6003),
    ("SB", 0x707f, 0x0023),
    ("SH", 0x707f, 0x1023),
    ("SW", 0x707f, 0x2023),
    ("SD", 0x707f, 0x3023),
    ("ADDI", 0x707f, 0x0013),
    ("SLTI", 0x707f, 0x2013),
    ("SLTIU", 0x707f, 0x3013),
    ("XORI", 0x707f, 0x4013),
    ("ORI", 0x707f, 0x6013),
    ("ANDI", 0x707f, 0x7013),
    ("SLLI", 0xfc00_707f, 0x1013),
    ("SRLI", 0xfc00_707f, 0x5013),
    ("SRAI", 0xfc00_707f, 0x4000_5013),
    ("ADDIW", 0x707f, 0x001b),
    ("SLLIW", 0xfe00_707f, 0x101b),
    ("SRLIW", 0xfe00_707f, 0x501b),
    ("SRAIW", 0xfe00_707f, 0x4000_501b),
    ("ADD", 0xfe00_707f, 0x0033),
    ("SUB", 0xfe00_707f, 0x4000_0033),
    ("SLL", 0xfe00_707f, 0x1033),
    ("SLT", 0xfe00_707f, 0x2033),
    ("SLTU", 0xfe00_707f, 0x3033),
    ("XOR", 0xfe00_707f, 0x4033),
    ("SRL", 0xfe00_707f, 0x5033),
    ("SRA", 0xfe00_707f, 0x4000_5033),
    ("OR", 0xfe00_707f, 0x6033),
    ("AND", 0xfe00_707f, 0x7033),
    ("ADDW", 0xfe00_707f, 0x003b),
    ("SUBW", 0xfe00_707f, 0x4000_003b),
    ("SLLW", 0xfe00_707f, 0x103b),
    ("SRLW", 0xfe00_707f, 0x503b),
    ("SRAW", 0xfe00_707f, 0x4000_503b),
    ("MUL", 0xfe00_707f, 0x0200_0033),
    ("MULH", 0xfe00_707f, 0x0200_1033),
    ("MULHSU", 0xfe00_707f, 0x0200_2033),
    ("MULHU", 0xfe00_707f, 0x0200_3033),
    ("DIV", 0xfe00_707f, 0x0200_4033),
    ("DIVU", 0xfe00_707f, 0x0200_5033),
    ("REM", 0xfe00_707f, 0x0200_6033),
    ("REMU", 0xfe00_707f, 0x0200_7033),
    ("MULW", 0xfe00_707f, 0x0200_003b),
    ("DIVW", 0xfe00_707f, 0x0200_403b),
    ("DIVUW", 0xfe00_707f, 0x0200_503b),
    ("REMW", 0xfe00_707f, 0x0200_603b),
    ("REMUW", 0xfe00_707f, 0x0200_703b),
    ("FENCE", 0x707f, 0x000f),
    ("FENCE.I", 0x707f, 0x100f),
];

pub const ECALL: u32 = 0x73;

const LOAD: u32 = 0x03;
const STORE: u32 = 0x23;
/// The opcodes of RV64G that a decoder could take for ours, and the rest of what 7 bits can say.
const OPCODES: &[u32] = &[
    0x03, 0x07, 0x0f, 0x13, 0x17, 0x1b, 0x23, 0x27, 0x2f, 0x33, 0x37, 0x3b, 0x43, 0x53, 0x63, 0x67,
    0x6f, 0x73, 0x00, 0x01, 0x7f,
];

/// An instruction of the table with everything else at random.
pub fn instance(mask: u32, value: u32, rng: &mut impl Rng) -> u32 {
    value | (rng.random::<u32>() & !mask)
}

/// Whether the machine has the instruction.
pub fn is_legal(word: u32) -> bool {
    word == ECALL || INSTRUCTIONS.iter().any(|(_, mask, value)| word & mask == *value)
}

/// A word at random, mostly one that is almost an instruction.
pub fn any_word(rng: &mut impl Rng) -> u32 {
    let word = rng.random::<u32>();
    match rng.random_range(0..4) {
        0 => word,
        1 => ECALL ^ (1 << rng.random_range(7..32)),
        2 => {
            let funct7 = [0, 1, 0x20, 0x21, 0x40][rng.random_range(0..5)];
            (word & 0x01ff_ff80) | funct7 << 25 | OPCODES[rng.random_range(0..OPCODES.len())]
        }
        _ => (word & !0x7f) | OPCODES[rng.random_range(0..OPCODES.len())],
    }
}

pub fn rs1(word: u32) -> usize {
    (word >> 15 & 31) as usize
}

pub fn rs2(word: u32) -> usize {
    (word >> 20 & 31) as usize
}

/// Width in bytes and immediate of a legal load or store.
pub fn memory_access(word: u32) -> Option<(u64, u64)> {
    let width = 1 << (word >> 12 & 3);
    let signed = |value: i32| i64::from(value) as u64;
    match word & 0x7f {
        LOAD if is_legal(word) => Some((width, signed(word as i32 >> 20))),
        STORE if is_legal(word) => {
            Some((width, signed((word as i32 >> 25 << 5) | (word >> 7 & 31) as i32)))
        }
        _ => None,
    }
}
