//! Beacon endpoints that withhold blobs, give others, or hang.

use crate::world::{World, healthy, says};
use annex_e2e::{Fault, Node, NodeOptions, Proxy, Rule, seconds};
use std::time::Duration;

#[test]
fn blobs_come_from_whoever_has_them() {
    let mut world = World::new();
    world.traffic(2);
    world.dev.everything_safe();
    let file = world.dev.deployment_file();
    let l1 = world.anvil.rpc.url();
    let source = |fault| {
        let proxy = Proxy::start(l1, world.seed);
        proxy.set(&[Rule::of("/eth/", fault)]);
        proxy
    };
    let node = |name: &str, sources: &[&Proxy], good: bool| {
        let mut beacons: Vec<_> = sources.iter().map(|proxy| proxy.url().to_owned()).collect();
        beacons.extend(good.then(|| l1.to_owned()));
        let options = NodeOptions { beacons, ..NodeOptions::default() };
        Node::spawn(&world.folder, name, l1, &file, &options)
    };
    let withholding = source(Fault::Status(404));
    let other = source(Fault::OtherBlobs);
    let broken = source(Fault::Status(503));
    let hanging = source(Fault::Slow(Duration::from_secs(60)));
    let half = source(Fault::Truncated);

    // Nobody has them, at first: it waits, says so, and goes on once they are there.
    let (process, rpc) = node("waiting", &[&withholding], false);
    let waiting = Node { process, rpc };
    let bad = [&withholding, &other, &broken, &half];
    let (process, rpc) = node("with four bad sources", &bad, true);
    let many = Node { process, rpc };
    let (process, rpc) = node("with one that hangs", &[&hanging], true);
    let hung = Node { process, rpc };
    let lied_to = node("lied to", &[&other], false);

    many.answers();
    many.agrees_with(&world.dev.rpc);
    waiting.answers();
    says(&waiting.rpc, "blobs", seconds(30));
    assert!(waiting.metric("annex_missing_blobs_total") > 0);
    let (process, rpc) = lied_to;
    let lied_to = Node { process, rpc };
    lied_to.answers();
    says(&lied_to.rpc, "blobs", seconds(30));
    assert_eq!(waiting.rpc.block_number("safe"), lied_to.rpc.block_number("safe"));

    withholding.set(&[]);
    other.set(&[]);
    hung.answers();
    for node in [&waiting, &lied_to, &hung] {
        node.agrees_with(&world.dev.rpc);
        healthy(&node.rpc);
    }
    assert_eq!(world.recovers(), 0);
}
