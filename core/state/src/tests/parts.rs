//! Updates in parts, and lists.

use alloy_trie::root::ordered_trie_root_with_encoder;

use super::*;

/// Nonces by account; `None` removes it.
fn changes(nonces: &BTreeMap<u8, Option<u64>>) -> StateChanges {
    let info = |nonce| AccountInfo { nonce, ..AccountInfo::default() };
    let accounts = nonces.iter().map(|(n, nonce)| (address(*n), nonce.map(info)));
    // Storage for some of those that stay.
    let owners = nonces.iter().filter(|(n, nonce)| *n % 3 == 0 && nonce.is_some());
    let slots = |n: u8| (0..n % 7).map(|slot| (U256::from(slot), U256::from(n))).collect();
    let storage = owners.map(|(n, _)| (address(*n), slots(*n)));
    let storage = storage.filter(|(_, slots): &(_, BTreeMap<_, _>)| !slots.is_empty());
    StateChanges { accounts: accounts.collect(), storage: storage.collect(), ..Default::default() }
}

proptest! {
    #[test]
    fn parts_on_threads_match_alloy(
        before in btree_map(any::<u8>(), (1_u64..5).prop_map(Some), 0..100),
        after in btree_map(any::<u8>(), prop::option::of(1_u64..5), 1..100),
        left in 0_usize..4,
    ) {
        let mut memory = Memory::default();
        let genesis = apply_changes(&memory, EMPTY_ROOT, &changes(&before)).unwrap();
        memory.apply(genesis.nodes);
        let next = changes(&after);
        let update = apply_changes_in_parts(&memory, genesis.root, &next, |parts| {
            let run = parts.len().saturating_sub(left);
            std::thread::scope(|scope| {
                for part in &mut parts[..run] {
                    scope.spawn(|| part.run());
                }
            });
        });
        let update = update.unwrap();
        prop_assert_eq!(&update, &apply_changes(&memory, genesis.root, &next).unwrap());

        let mut states = States::default();
        for nonces in [&before, &after] {
            let block = changes(nonces);
            for (address, info) in block.accounts {
                match info {
                    Some(info) => drop(states.accounts.insert(address, info)),
                    None => {
                        states.accounts.remove(&address);
                        states.storage.remove(&address);
                    }
                }
            }
            for (address, slots) in block.storage {
                states.storage.entry(address).or_default().extend(slots);
            }
        }
        prop_assert_eq!(update.root, states.root());
    }

    #[test]
    fn lists_match_alloy(values in prop_oneof![
        vec(vec(any::<u8>(), 1..300), 0..40),
        vec(vec(any::<u8>(), 1..3), 120..300),
    ]) {
        let expected = ordered_trie_root_with_encoder(&values, |value, out| {
            out.extend_from_slice(value);
        });
        prop_assert_eq!(ordered_root(values), expected);
    }
}

/// A receipt has no limit but gas: lengths of one, two and three bytes.
#[test]
fn long_values_match_alloy() {
    for around in [56usize, 256, 1 << 16, 1 << 24] {
        let step = if around < 1 << 24 { 1 } else { 8 };
        for len in (around - 40..around + 4).step_by(step) {
            let values = [vec![0x5a; len], vec![1], vec![2; 40]];
            let expected = ordered_trie_root_with_encoder(&values, |value, out| {
                out.extend_from_slice(value);
            });
            assert_eq!(ordered_root(values), expected, "{len} bytes");
        }
    }
}

#[test]
fn an_error_of_any_part_is_returned() {
    let nonces: BTreeMap<u8, _> = (0..=255).map(|n| (n, Some(1))).collect();
    let mut memory = Memory::default();
    let update = apply_changes(&memory, EMPTY_ROOT, &changes(&nonces)).unwrap();
    memory.apply(update.nodes);
    let places: Vec<_> =
        memory.nodes.keys().filter(|(owner, _)| owner.is_none()).copied().collect();
    let next = changes(&nonces.keys().map(|n| (*n, Some(2))).collect());
    for place in places {
        let mut less = memory.clone();
        let lost = keccak256(less.nodes.remove(&place).unwrap());
        let error = apply_changes(&less, update.root, &next).unwrap_err();
        assert_eq!(error, TrieError::Source(MissingEntry(lost)));
    }
}
