//! The guest: `annex-derive` and `annex-stf`, the same crates the node runs, compiled for the
//! RV64IM machine. `cargo xtask guest` builds it; on any other target it is an empty shell.
#![cfg_attr(target_os = "zkvm", no_main)]

#[cfg(target_os = "zkvm")]
mod runtime;

use annex_derive as _;
use annex_stf as _;

#[cfg(target_os = "zkvm")]
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn main() {
    println!("ok");
}

#[cfg(not(target_os = "zkvm"))]
fn main() {}
