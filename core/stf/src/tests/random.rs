//! Random blocks: executed one by one, and as a whole from the store, from a witness and from flat state.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    Transfer {
        to: u8,
        value: u128,
    },
    /// Slots are few, so that they are cleared and set again.
    Store {
        slot: u64,
        value: u64,
    },
    Withdraw {
        value: u64,
    },
    Deploy {
        slot: u64,
    },
    /// A contract that writes and destroys itself in its constructor.
    Destroy,
    ParentHash,
    Fail {
        contract: u8,
    },
}

#[derive(Clone, Debug)]
struct Sent {
    sender: u8,
    action: Action,
}

#[derive(Clone, Debug)]
struct Forced {
    sender: u8,
    mint: u64,
    value: u64,
    gas_limit: u64,
    action: Action,
}

#[derive(Clone, Debug)]
struct Block {
    elapsed: u64,
    forced: Vec<Forced>,
    sent: Vec<Sent>,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0u8..9, 0..ETHER).prop_map(|(to, value)| Action::Transfer { to, value }),
        4 => (0u64..4, 0u64..3).prop_map(|(slot, value)| Action::Store { slot, value }),
        1 => (0u64..3).prop_map(|value| Action::Withdraw { value }),
        2 => (0u64..3).prop_map(|slot| Action::Deploy { slot }),
        1 => Just(Action::Destroy),
        1 => Just(Action::ParentHash),
        1 => (2u8..4).prop_map(|contract| Action::Fail { contract }),
    ]
}

fn any_block() -> impl Strategy<Value = Block> {
    let sent = (0u8..6, action()).prop_map(|(sender, action)| Sent { sender, action });
    let gas = prop_oneof![20_000u64..60_000, Just(500_000)];
    let forced = (0u8..9, 0..ETHER as u64, 0..ETHER as u64, gas, action()).prop_map(
        |(sender, mint, value, gas_limit, action)| Forced {
            sender,
            mint,
            value,
            gas_limit,
            action,
        },
    );
    let forced = proptest::collection::vec(forced, 0..4);
    (0u64..3, forced, proptest::collection::vec(sent, 0..8))
        .prop_map(|(elapsed, forced, sent)| Block { elapsed, forced, sent })
}

impl Action {
    /// Receiver, value and input.
    fn parts(&self) -> (TxKind, u128, Bytes) {
        let to = |n| TxKind::Call(contract(n));
        match self {
            Self::Transfer { to, value } => (TxKind::Call(user(*to)), *value, Bytes::new()),
            Self::Store { slot, value } => (to(0), 0, words([*slot, *value])),
            Self::Withdraw { value } => {
                (TxKind::Call(L2_TO_L1_MESSAGE_PASSER), 0, words([1, *value]))
            }
            Self::Deploy { slot } => (TxKind::Create, 1, deploying(*slot as u8)),
            Self::Destroy => {
                (TxKind::Create, 2, Bytes::from_static(&[0x60, 1, 0x60, 0, 0x55, 0x33, 0xff]))
            }
            Self::ParentHash => (to(1), 0, Bytes::new()),
            Self::Fail { contract } => (to(*contract), 0, Bytes::new()),
        }
    }
}

/// Initcode that writes a slot and leaves a contract.
fn deploying(slot: u8) -> Bytes {
    let mut init = vec![0x60, 1, 0x60, slot, 0x55, 0x60, STORE.len() as u8, 0x80, 0x60, 16];
    init.extend([0x60, 0, 0x39, 0x60, 0, 0xf3]);
    assert_eq!(init.len(), 16);
    init.extend(STORE);
    init.into()
}

impl Forced {
    fn item(&self, index: u64) -> ForcedItem {
        let (to, _, data) = self.action.parts();
        ForcedItem {
            index,
            from: user(self.sender),
            to: to.to().copied().unwrap_or_default(),
            mint: u128::from(self.mint),
            value: U256::from(self.value),
            gas_limit: self.gas_limit,
            is_creation: to.is_create(),
            data,
        }
    }
}

impl Chain {
    fn total(&self) -> U256 {
        let changes = self.flat.clone().into_changes();
        changes.accounts.values().flatten().map(|info| info.balance).sum()
    }

    /// Executes what is valid of `block`, one by one.
    fn execute(&self, block: &Block) -> (BlockInput, ExecutedBlock) {
        let mut open = self.open(block.elapsed);
        let first = self.parent().extra.forced_count;
        let mut forced = Vec::new();
        for (item, index) in block.forced.iter().zip(first..) {
            let item = item.item(index);
            open.push_forced(&item).unwrap().expect("little gas");
            forced.push(item);
        }
        let mut transactions = Vec::new();
        for Sent { sender, action } in &block.sent {
            let account = open.state().account(user(*sender)).unwrap().unwrap_or_default();
            let (to, value, input) = action.parts();
            let value = U256::from(value);
            let tx = TxEip1559 { to, value, input, ..transfer(account.nonce) };
            let tx = from(user(*sender), tx);
            // A sender may have spent too much.
            if open.execute(&tx).unwrap().is_ok() {
                transactions.push(tx);
            }
        }
        let attributes = self.attributes(block.elapsed);
        (BlockInput { attributes, forced, transactions }, open.finish().0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn one_block_from_store_witness_and_flat_state(
        blocks in proptest::collection::vec(any_block(), 1..6)
    ) {
        let mut chain = Chain::new();
        chain.fund();
        let mut supply = chain.total();
        for block in blocks {
            let (input, executed) = chain.execute(&block);
            let parent = chain.head.clone();
            let id = (parent.number, parent.hash_slow());
            let by_parts = seal(executed, &parent, &chain.store).unwrap();

            let recorder = Recorder::new(chain.store.clone());
            let reader = TrieReader::new(&recorder, parent.state_root, id);
            let recorded = apply_block(&chain.config, &parent, &input, reader, &recorder)
                .unwrap()
                .unwrap();
            let source = WitnessSource::new(recorder.into_witness());
            let reader = TrieReader::new(&source, parent.state_root, id);
            let from_witness = apply_block(&chain.config, &parent, &input, reader, &source)
                .expect("the witness is complete")
                .unwrap();

            prop_assert_eq!(&by_parts.header, &recorded.header);
            prop_assert_eq!(&by_parts.header, &from_witness.header);
            prop_assert_eq!(&by_parts.receipts, &from_witness.receipts);
            prop_assert_eq!(&by_parts.changes, &recorded.changes);
            chain.take(&by_parts);

            // What senders pay the beneficiary gets: only mints change the sum.
            supply += block.forced.iter().map(|item| U256::from(item.mint)).sum::<U256>();
            prop_assert_eq!(chain.total(), supply);
        }
    }
}
