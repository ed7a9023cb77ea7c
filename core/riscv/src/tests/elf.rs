//! Program files: what is loaded, what is refused, and that nothing else happens.

use alloy_primitives::B256;
use proptest::prelude::*;

use super::support::*;
use crate::{ElfError, Machine, Program};

fn load(file: &[u8]) -> Result<Machine, ElfError> {
    Ok(Machine::boot(&Program::from_elf(file)?, B256::ZERO))
}

#[test]
fn boots_as_specified() {
    let file = elf(0x1_0008, &[(0x1_0000, b"text....more", 12), (0xffff_fff0, b"tail", 16)]);
    let program = Program::from_elf(&file).unwrap();
    let input = B256::repeat_byte(9);
    let mut machine = Machine::boot(&program, input);
    assert_eq!((machine.pc(), machine.register(2)), (0x1_0008, 0xffff_f000));
    assert!((0..32).filter(|n| *n != 2).all(|n| machine.register(n) == 0));
    let mut bytes = [0; 12];
    machine.read_memory(0x1_0000, &mut bytes);
    assert_eq!(&bytes, b"text....more");
    assert_eq!(machine.read_memory(0xffff_fff0, &mut [0; 32]), 16);
    assert_eq!(machine.resident_bytes(), 8192);
    assert_eq!(program.boot_state_hash(input), machine.state_hash());
    assert_eq!(program.memory_root(), machine.memory_root());
    assert_ne!(program.boot_state_hash(B256::ZERO), machine.state_hash());
}

#[test]
fn refuses_what_is_no_program() {
    let good = elf(0x1000, &[(0x1000, b"abcdefgh", 8), (0x2000, b"ijkl", 4)]);
    assert!(load(&good).is_ok());
    for length in 0..64 + 112 {
        assert!(load(&good[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(load(&good[..64 + 112]).err(), Some(ElfError::Segment(0)));
    assert_eq!(load(&good[..good.len() - 1]).err(), Some(ElfError::Segment(1)));
    for (at, value) in [(4, 1), (5, 2), (16, 3), (18, 62), (54, 32)] {
        let mut file = good.clone();
        file[at] = value;
        assert_eq!(load(&file).err(), Some(ElfError::WrongKind), "byte {at}");
    }
    let cases = [
        (elf(0, &[(0xffff_fffc, b"abcdefgh", 8)]), ElfError::Segment(0)),
        (elf(0, &[(0xffff_f000, b"a", 0x1001)]), ElfError::Segment(0)),
        (elf(0, &[(u64::MAX, b"abcdefgh", 8)]), ElfError::Segment(0)),
        (elf(0, &[(0, b"abcdefgh", u64::MAX)]), ElfError::Segment(0)),
        (elf(0, &[(0, b"abcdefgh", 7)]), ElfError::Segment(0)),
        (elf(0, &[(0, b"abcd", 4), (3, b"abcd", 4)]), ElfError::Overlap(1)),
        (elf(0, &[(8, b"abcd", 4), (0, b"abcd", 9)]), ElfError::Overlap(1)),
        (elf(0, &[(0, b"abcd", 64), (16, b"", 4)]), ElfError::Overlap(1)),
    ];
    for (file, error) in cases {
        assert_eq!(load(&file).err(), Some(error));
    }
    assert!(load(&elf(0, &[(0, b"abcd", 4), (4, b"abcd", 4)])).is_ok());
    assert!(load(&elf(0, &[(0, b"abcd", 1 << 32)])).is_ok());
}

/// Headers that all name the same bytes would make a small file large.
#[test]
fn bytes_of_the_file_are_used_once() {
    let mut file = elf(0, &[(0, b"abcd", 4), (16, b"efgh", 4)]);
    let offset = file[64 + 8..64 + 16].to_vec();
    file[64 + 56 + 8..64 + 56 + 16].copy_from_slice(&offset);
    assert_eq!(load(&file).err(), Some(ElfError::Overlap(1)));
}

proptest! {
    #[test]
    fn arbitrary_bytes(file in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = load(&file);
        let mut framed = elf(0, &[(0, b"abcd", 4)]);
        framed.splice(64.., file);
        let _ = load(&framed);
    }

    #[test]
    fn spoilt_headers(changes in proptest::collection::vec((24usize..184, any::<u8>()), 1..6)) {
        let mut file = elf(0x1000, &[(0x1000, b"abcdefgh", 8), (0x2000, b"ijkl", 4)]);
        for (at, value) in changes {
            file[at] = value;
        }
        if let Ok(mut machine) = load(&file) {
            prop_assert!(machine.resident_bytes() <= 2 * file.len() as u64 + 4 * 4096);
            machine.run(&mut Store::default(), 100).unwrap();
        }
    }
}
