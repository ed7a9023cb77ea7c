//! The world itself.
#![allow(clippy::unwrap_used)]

use annex_sim::chain::What;
use annex_sim::compute::GUEST;
use annex_sim::l2::{ETHER, address, transaction};
use annex_sim::world::{Settings, World};

#[test]
fn records_of_the_real_contracts_make_blocks() {
    let mut world = World::new(&GUEST, Settings::default());
    world.deposit(1, ETHER);
    world.batch(1, vec![transaction(1, 1, address(2), 5, Default::default())]);
    world.post(1, b"no batch".to_vec());
    for leap in &world.truth.leaps {
        println!("{:?} {:?}", leap.cursor, leap.what);
    }
    assert!(
        world
            .truth
            .leaps
            .iter()
            .any(|leap| leap.what == What::Block { derived: false, forced: 1, transactions: 1 })
    );
    assert_eq!(world.nonce(1), 2);
}
