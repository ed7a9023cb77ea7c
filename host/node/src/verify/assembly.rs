//! Instructions as one reads them.

const REGISTERS: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
    "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
    "t5", "t6",
];

/// An RV64IM instruction in the words of the RISC-V specification; `illegal` for what spec/machine.md does not have.
pub fn disassemble(word: u32) -> String {
    let register = |shift: u32| REGISTERS[(word >> shift & 31) as usize];
    let (rd, rs1, rs2) = (register(7), register(15), register(20));
    let (funct3, funct7) = ((word >> 12 & 7) as usize, word >> 25);
    let immediate = word as i32 >> 20;
    let shift = word >> 20 & 63;
    let text = match word & 0x7f {
        0x37 => Some(format!("lui {rd}, {:#x}", word >> 12)),
        0x17 => Some(format!("auipc {rd}, {:#x}", word >> 12)),
        0x6f => Some(format!("jal {rd}, {}", jump_offset(word))),
        0x67 if funct3 == 0 => Some(format!("jalr {rd}, {immediate}({rs1})")),
        0x63 => ["beq", "bne", "", "", "blt", "bge", "bltu", "bgeu"]
            .get(funct3)
            .filter(|name| !name.is_empty())
            .map(|name| format!("{name} {rs1}, {rs2}, {}", branch_offset(word))),
        0x03 => ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"]
            .get(funct3)
            .map(|name| format!("{name} {rd}, {immediate}({rs1})")),
        0x23 => {
            let offset = (word as i32 >> 25) << 5 | (word >> 7 & 31) as i32;
            ["sb", "sh", "sw", "sd"]
                .get(funct3)
                .map(|name| format!("{name} {rs2}, {offset}({rs1})"))
        }
        0x13 => match (funct3, word >> 26) {
            (1, 0) => Some(format!("slli {rd}, {rs1}, {shift}")),
            (5, 0) => Some(format!("srli {rd}, {rs1}, {shift}")),
            (5, 16) => Some(format!("srai {rd}, {rs1}, {shift}")),
            (1 | 5, _) => None,
            _ => {
                let name = ["addi", "", "slti", "sltiu", "xori", "", "ori", "andi"][funct3];
                Some(format!("{name} {rd}, {rs1}, {immediate}"))
            }
        },
        0x1b => match (funct3, funct7) {
            (0, _) => Some(format!("addiw {rd}, {rs1}, {immediate}")),
            (1, 0) => Some(format!("slliw {rd}, {rs1}, {}", shift & 31)),
            (5, 0) => Some(format!("srliw {rd}, {rs1}, {}", shift & 31)),
            (5, 0x20) => Some(format!("sraiw {rd}, {rs1}, {}", shift & 31)),
            _ => None,
        },
        0x33 | 0x3b => register_name(word & 0x7f == 0x3b, funct3, funct7)
            .map(|name| format!("{name} {rd}, {rs1}, {rs2}")),
        0x0f if funct3 < 2 => Some(["fence", "fence.i"][funct3].to_owned()),
        0x73 if word == 0x73 => Some("ecall".to_owned()),
        _ => None,
    };
    text.unwrap_or_else(|| "illegal".to_owned())
}

fn register_name(narrow: bool, funct3: usize, funct7: u32) -> Option<&'static str> {
    let names = match (narrow, funct7) {
        (false, 0) => ["add", "sll", "slt", "sltu", "xor", "srl", "or", "and"],
        (false, 0x20) => ["sub", "", "", "", "", "sra", "", ""],
        (false, 1) => ["mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu"],
        (true, 0) => ["addw", "sllw", "", "", "", "srlw", "", ""],
        (true, 0x20) => ["subw", "", "", "", "", "sraw", "", ""],
        (true, 1) => ["mulw", "", "", "", "divw", "divuw", "remw", "remuw"],
        _ => return None,
    };
    Some(names[funct3]).filter(|name| !name.is_empty())
}

fn branch_offset(word: u32) -> i32 {
    let sign = (word as i32 >> 31) << 12;
    sign | (word << 4 & 0x800 | word >> 20 & 0x7e0 | word >> 7 & 0x1e) as i32
}

fn jump_offset(word: u32) -> i32 {
    let sign = (word as i32 >> 31) << 20;
    sign | (word & 0xf_f000 | word >> 9 & 0x800 | word >> 20 & 0x7fe) as i32
}

#[cfg(test)]
mod tests {
    use super::disassemble;

    /// What `riscv64-linux-gnu-objdump -d -M no-aliases` prints, offsets relative.
    #[test]
    fn instructions_read_as_objdump_prints_them() {
        for (word, text) in [
            (0x0000_0073, "ecall"),
            (0x0010_0073, "illegal"),
            (0xfe01_0113, "addi sp, sp, -32"),
            (0x0081_3c23, "sd s0, 24(sp)"),
            (0x0001_2503, "lw a0, 0(sp)"),
            (0xfe95_0ae3, "beq a0, s1, -12"),
            (0x0040_006f, "jal zero, 4"),
            (0xffdf_f0ef, "jal ra, -4"),
            (0x0000_8067, "jalr zero, 0(ra)"),
            (0x02b5_0533, "mul a0, a0, a1"),
            (0x40b5_053b, "subw a0, a0, a1"),
            (0x43f5_5513, "srai a0, a0, 63"),
            (0x0001_2537, "lui a0, 0x12"),
            (0x0000_100f, "fence.i"),
            (0x0000_0000, "illegal"),
        ] {
            assert_eq!(disassemble(word), text, "{word:#010x}");
        }
    }
}
