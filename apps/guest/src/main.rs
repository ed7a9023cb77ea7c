//! The guest: `annex_claim::step`, the code that checks a step natively, as a program for the RV64IM machine. `cargo xtask guest`
//! builds it; its bytes are committed beside this crate as `annex-guest.elf`.
#![cfg_attr(target_os = "zkvm", no_main)]

#[cfg(target_os = "zkvm")]
mod heap;
#[cfg(target_os = "zkvm")]
mod machine;
#[cfg(target_os = "zkvm")]
mod runtime;

/// From the leaf that the input commits to, to the next. Whatever goes wrong is a panic, and so FAULT.
#[cfg(target_os = "zkvm")]
fn run() {
    let step = annex_claim::step(machine::input(), &machine::Preimages);
    let step = step.unwrap_or_else(|error| panic!("{error}"));
    #[cfg(feature = "faulty")]
    fault_on_demand(&step.transition);
    machine::output(step.leaf.hash());
}

/// For tests of FAULT: a program that fails on blocks with certain beneficiaries.
#[cfg(all(target_os = "zkvm", feature = "faulty"))]
fn fault_on_demand(transition: &annex_claim::Transition) {
    use alloy_primitives::{Address, address};
    const PANICS: Address = address!("00000000000000000000000000000000000fa117");
    const LOOPS: Address = address!("000000000000000000000000000000000000100b");
    const HOARDS: Address = address!("00000000000000000000000000000000000f00d5");
    if let annex_claim::Transition::Applied { block, .. } = transition {
        assert_ne!(block.header.beneficiary, PANICS, "as the test wants it");
        while block.header.beneficiary == LOOPS {}
        let mut hoard = Vec::new();
        while block.header.beneficiary == HOARDS {
            hoard.push(core::hint::black_box(vec![0_u8; 1 << 24]));
        }
    }
}

#[cfg(not(target_os = "zkvm"))]
fn main() -> std::process::ExitCode {
    eprintln!("This program runs on the machine of spec/machine.md: see `cargo xtask guest`.");
    std::process::ExitCode::FAILURE
}
