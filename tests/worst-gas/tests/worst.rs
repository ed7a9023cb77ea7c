//! The worst blocks of ten kinds in the table of `cargo xtask bench worst-gas` stay provable. `cargo xtask soak` runs them full.

use annex_riscv::Program;
use annex_worst_gas::{Case, MAX_STEPS, cases, measure};

/// spec/proof-cost.md.
const WORST: [&str; 10] = [
    "BLOCKHASH of other blocks",
    "KZG point evaluation",
    "P256VERIFY",
    "BLS12 G2 MSM of 1",
    "BLS12 pairing of 1",
    "BLS12 map to G1",
    "KECCAK256 of 65536",
    "ECRECOVER",
    "EXTCODESIZE, cold 24 KiB",
    "STATICCALL, cold 24 KiB",
];
/// What the guest may use.
const MAX_MEMORY: u64 = 1 << 30;
const BLOCK_GAS: u64 = 30_000_000;

#[test]
fn the_ten_worst_blocks_are_provable() {
    let soak = std::env::var_os("ANNEX_SOAK").is_some();
    let gas = if soak { BLOCK_GAS } else { BLOCK_GAS / 50 };
    let elf = include_bytes!("../../../apps/guest/annex-guest.elf");
    let program = Program::from_elf(elf).expect("the committed program");
    let cases: Vec<Case> = cases();
    for name in WORST {
        let case = cases.iter().find(|case| case.name == name);
        let cost = measure(&program, case.expect("a case has this name").build(gas)).cost;
        println!(
            "{name}: {} instructions for {} gas, {} MiB",
            cost.steps,
            cost.gas,
            cost.memory >> 20
        );
        assert!(cost.gas > gas / 2, "{name}: {} gas of {gas}", cost.gas);
        // A part of a block has its part of the limit.
        assert!(cost.steps <= MAX_STEPS * gas / BLOCK_GAS, "{name}: {} instructions", cost.steps);
        assert!(cost.memory <= MAX_MEMORY, "{name}: {} bytes", cost.memory);
    }
}
