//! One instruction of the run, executed by the contract on L1.

use super::{
    Fetcher, Result, VerifyCliError, beside, disassemble, grouped, prove, show_steps, spinner,
};
use alloy_network::TransactionBuilder;
use alloy_primitives::{Address, Bytes};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_sol_types::SolCall;
use annex_l1::contracts::{Machine, Multicall3, PreimageOracle};
use annex_node::verify::{Claim, Part, ProvedStep, Step, load_part};
use annex_riscv::Program;

/// Proves an instruction here, has L1 execute it from the proof, and compares.
pub async fn step(fetcher: &Fetcher, program: Program, claim: Claim, step: Step) -> Result<()> {
    let bar = spinner("the machine boots");
    let shown = bar.clone();
    let preimages = claim.preimages.clone();
    let proved = beside(move || prove(&program, &claim, step, |steps| show_steps(&shown, steps)));
    let proved = proved.await?;
    bar.finish_and_clear();
    let proved = proved?;
    print(&proved);
    let part = match proved.preimage {
        Some(call) => beside(move || load_part(&preimages, call)).await??,
        None => None,
    };
    let machine = fetcher.deployment.contracts.machine;
    let request = match part {
        Some(part) => with_part(fetcher, part, &proved),
        None => call(machine, step_call(&proved)),
    };
    let l1 = fetcher.l1.as_ref().expect("--step requires --l1");
    let output = l1.call(request.clone()).await?;
    let loaded = request.to == Some(fetcher.deployment.contracts.multicall3.into());
    let output = if loaded { unpack(&output)? } else { output };
    let states = Machine::stepCall::abi_decode_returns(&output)
        .map_err(|_| VerifyCliError::Refused(output.clone()))?;
    let gas = l1.estimate_gas(request).await?;
    let what =
        if loaded { "with loading the preimage's part and calldata" } else { "with calldata" };
    println!("L1       Machine {machine}\n  before {}\n  after  {}", states.before, states.next);
    println!("  {} gas {what}", grouped(gas));
    for (what, l1, here) in [
        ("the state before", states.before, proved.proof.before),
        ("the state after", states.next, proved.proof.after),
    ] {
        if l1 != here {
            return Err(VerifyCliError::Step { what, l1, here });
        }
    }
    println!("both states agree");
    Ok(())
}

fn print(proved: &ProvedStep) {
    let ProvedStep { index, pc, instruction, proof, preimage } = proved;
    println!("step     instruction {}", grouped(*index));
    println!("  pc {pc:#x}  {instruction:08x}  {}", disassemble(*instruction));
    if let Some(call) = preimage {
        println!("  preimage of {} {} at offset {}", call.kind, call.key, call.offset);
    }
    println!("  before {}\n  after  {}", proof.before, proof.after);
    println!("  proof of {} bytes", grouped(proof.bytes.len() as u64));
}

fn call(to: Address, data: Bytes) -> TransactionRequest {
    TransactionRequest::default().with_to(to).with_input(data)
}

fn step_call(proved: &ProvedStep) -> Bytes {
    Machine::stepCall { proof: proved.proof.bytes.clone().into() }.abi_encode().into()
}

/// The oracle is told the part and the machine makes its step, in one call.
fn with_part(fetcher: &Fetcher, part: Part, proved: &ProvedStep) -> TransactionRequest {
    let contracts = &fetcher.deployment.contracts;
    let load = match part {
        Part::Keccak { offset, data } => {
            PreimageOracle::loadKeccakPartCall { offset, data }.abi_encode()
        }
        Part::Blob { versioned_hash, index, element, commitment, proof } => {
            PreimageOracle::loadBlobElementCall {
                versionedHash: versioned_hash,
                index,
                element,
                commitment,
                proof,
            }
            .abi_encode()
        }
    };
    // Target, whether it may fail, data.
    let inner = |target, data: Bytes| (target, false, data);
    let calls = vec![
        inner(contracts.preimage_oracle, load.into()),
        inner(contracts.machine, step_call(proved)),
    ];
    call(contracts.multicall3, Multicall3::aggregate3Call { calls }.abi_encode().into())
}

/// What the second call returned.
fn unpack(output: &Bytes) -> Result<Bytes> {
    let refused = || VerifyCliError::Refused(output.clone());
    let mut results =
        Multicall3::aggregate3Call::abi_decode_returns(output).map_err(|_| refused())?;
    let last = results.pop().filter(|(success, _)| *success).ok_or_else(refused)?;
    Ok(last.1)
}
