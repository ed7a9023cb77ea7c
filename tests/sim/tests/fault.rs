//! A program that fails: the chain has faulted, which the honest party defends, and what has settled before can still leave.
#![allow(clippy::unwrap_used)] // A failed expectation is a failed test.

mod common;

use std::io::Read;
use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, U256, address};
use annex_claim::{OutputRoot, PROGRAM, fault_leaf};
use annex_l1::contracts::Portal::depositTransactionCall;
use annex_l1::contracts::{Claims, Portal};
use annex_l1::withdrawal::{OutputProof, Withdrawal};
use annex_riscv::Program;
use annex_settle::Conduct;
use annex_sim::bound;
use annex_sim::chain::What;
use annex_sim::game::Game;
use annex_sim::l1::{Call, said};
use annex_sim::l2::{ETHER, address as user, transaction};
use annex_sim::liar::Twist;
use annex_sim::table::{Table, account, traffic};
use annex_sim::world::{Settings, World};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A beneficiary on whose blocks the faulty guest panics (apps/guest, feature `faulty`).
const PANICS: Address = address!("00000000000000000000000000000000000fa117");

/// The program of `cargo xtask guest --faulty`, kept as what it differs from the committed one in.
fn faulty_guest() -> Program {
    let patch: &[u8] = include_bytes!("../../../apps/guest/annex-guest-faulty.elf.zst");
    let mut elf = Vec::new();
    let mut decoder = zstd::Decoder::with_ref_prefix(patch, PROGRAM).unwrap();
    decoder.read_to_end(&mut elf).unwrap();
    Program::from_elf(&elf).unwrap()
}

/// The withdrawal that `traffic` makes.
fn withdrawal() -> Withdrawal {
    Withdrawal {
        nonce: U256::from(1) << 240,
        sender: user(2),
        target: user(2),
        value: U256::from(7),
        gas_limit: U256::from(100_000),
        data: Bytes::new(),
    }
}

fn portal_call(game: &Game, from: Address, input: Bytes) -> Call {
    let to = TxKind::Call(game.world.at.portal);
    Call { from, to, value: U256::ZERO, input, blobs: Vec::new(), gas_limit: 1_000_000 }
}

/// Settles what there is without a dispute, and proves the withdrawal in it.
fn settle_and_prove(world: World, program: &Arc<Program>, prover: Address) -> World {
    let mut table = Table::of(world, program.clone(), None);
    table.honest();
    let mut game = table.game(1);
    let report = game.play(100_000);
    assert_eq!(report.tournaments, [1, 0, 0]);
    let head = &game.world.truth.head;
    let OutputRoot { state_root, withdrawals_root, block_hash } = OutputRoot::of(head);
    let output = OutputProof { state_root, withdrawals_root, block_hash };
    let proof = game.world.truth.prove_withdrawal(head, withdrawal().storage_slot());
    let input = withdrawal().prove_call(0, &output, proof);
    game.world.l1.fund(prover, U256::from(ETHER));
    let outcome = game.world.l1.transact(portal_call(&game, prover, input));
    assert!(outcome.success(), "{}", said(&outcome));
    game.world
}

#[test]
fn a_program_that_fails_faults_the_chain() {
    let program = Arc::new(faulty_guest());
    let mut world = World::new(&program, Settings::default());
    traffic(&mut world, &mut StdRng::seed_from_u64(3));
    let prover = account(1_000);
    let mut world = settle_and_prove(world, &program, prover);

    let settled = world.truth.leaps.len();
    let payment = transaction(1, world.nonce(1), user(5), 1, Bytes::new());
    let mut block = world.block(0, vec![payment]);
    block.beneficiary = PANICS;
    let data = world.payload(vec![block]);
    world.post(world.consumed(), data);
    let made = world.truth.leaps[settled].what;
    assert_eq!(made, What::Block { derived: false, forced: 0, transactions: 1 });
    let wait = world.params.claim_interval;
    world.l1.mine(wait, Vec::new());

    for twist in [Twist::at(1, 1, 30), Twist::at(2, u64::MAX, u64::MAX)] {
        let mut table = Table::of(world.branch(), program.clone(), Some(settled));
        table.honest();
        let own = table.faulting(None);
        table.liar(own, twist, Conduct::AtOnce);
        let leaf = table.truth.leaf(settled);
        let mut game = table.game(1);
        let params = game.world.params;
        let report = game.play(bound::settlement(&params, [4, 4, 4]));
        common::print("FAULT", &report, bound::one_liar(&params));
        assert!(report.faulted);
        assert_eq!(report.leaf, leaf, "what settled before stays the newest");
        assert!(report.honest[0] > 0);
        assert_eq!(report.proofs, 1);
        let claim =
            game.world.l1.view(game.world.at.claims, &Claims::claimCall { index: U256::from(1) });
        let other =
            game.world.l1.view(game.world.at.claims, &Claims::claimCall { index: U256::from(2) });
        assert!([claim.leaf, other.leaf].contains(&fault_leaf(leaf)));
        deposits_have_stopped(&game);
        withdrawals_go_on(&mut game, prover);
    }
}

fn deposits_have_stopped(game: &Game) {
    let call = depositTransactionCall {
        to: user(1),
        value: U256::ZERO,
        gasLimit: 100_000,
        isCreation: false,
        data: Bytes::new(),
    };
    let outcome = game.world.l1.simulate(&Call::new(user(1), game.world.at.portal, &call));
    assert!(!outcome.success());
    assert_eq!(outcome.output[..4], <Portal::ChainFaulted as alloy_sol_types::SolError>::SELECTOR);
    let open = game.world.l1.ask(game.world.at.claims, &Claims::openCall {});
    assert!(!open.success(), "no range opens any more");
}

fn withdrawals_go_on(game: &mut Game, prover: Address) {
    let before = game.world.l1.balance(user(2));
    let input = withdrawal().finalize_call(prover);
    let outcome = game.world.l1.transact(portal_call(game, prover, input));
    assert!(outcome.success(), "{}", said(&outcome));
    assert_eq!(game.world.l1.balance(user(2)), before + U256::from(7));
}
