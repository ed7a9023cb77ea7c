use super::*;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Signature, TxKind, U256};
use annex_types::Transaction;
use proptest::prelude::*;

const BASE_FEE: u64 = 1_000;

fn gathered(sender: u8, nonce: u64, tip: u128, over: u128) -> Gathered {
    let tx = TxEip1559 {
        chain_id: 901,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: u128::from(BASE_FEE) + over,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::ZERO),
        value: U256::from(sender),
        access_list: Default::default(),
        input: Default::default(),
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let transaction = Transaction::Eip1559(tx.into_signed(signature));
    let sender = Address::repeat_byte(sender);
    let tx = RecoveredTransaction { transaction, sender, data_size: 0 };
    Gathered { tx: Arc::new(tx), next: 0 }
}

/// Senders, nonces and effective tips in the order of execution.
fn order(window: &Window) -> Vec<(u8, u64, u128)> {
    let mut queue = window.queue(BASE_FEE);
    let popped = std::iter::from_fn(|| queue.pop());
    let show = |(tx, _): (Arc<RecoveredTransaction>, _)| {
        let tip = tx.transaction.effective_tip_per_gas(BASE_FEE).unwrap_or(0);
        (tx.sender[0], tx.transaction.nonce(), tip)
    };
    popped.map(show).collect()
}

#[test]
fn the_best_tip_goes_first_but_never_before_a_lower_nonce() {
    let mut window = Window::default();
    let now = Instant::now();
    let arrivals = [(1, 1, 90), (2, 0, 50), (1, 0, 10), (3, 0, 50), (4, 7, 60), (4, 8, 5)];
    for (index, (sender, nonce, tip)) in arrivals.into_iter().enumerate() {
        let pushed = window.push(gathered(sender, nonce, tip, 1_000), (0, index), now);
        assert_eq!(pushed, Ok(()));
    }
    let expected = [(4, 7, 60), (2, 0, 50), (3, 0, 50), (1, 0, 10), (1, 1, 90), (4, 8, 5)];
    assert_eq!(order(&window), expected);
    assert_eq!(window.deadline(Duration::from_millis(5)), Some(now + Duration::from_millis(5)));
    window.clear();
    assert_eq!(window.deadline(Duration::from_millis(5)), None);
}

#[test]
fn what_waited_for_a_nonce_competes_by_its_tip_once_it_has_its_turn() {
    let mut window = Window::default();
    for (index, (sender, tip)) in [(1, 30), (2, 20), (3, 10)].into_iter().enumerate() {
        let pushed = window.push(gathered(sender, 0, tip, 1_000), (0, index), Instant::now());
        assert_eq!(pushed, Ok(()));
    }
    let mut queue = window.queue(BASE_FEE);
    let mut senders = Vec::new();
    while let Some((tx, slot)) = queue.pop() {
        let (sender, nonce) = (tx.sender[0], tx.transaction.nonce());
        if nonce == 0 && sender == 1 {
            queue.follow(gathered(1, 1, 15, 1_000).tx);
        }
        assert_eq!(slot.is_none(), nonce == 1);
        senders.push((sender, nonce));
    }
    assert_eq!(senders, [(1, 0), (2, 0), (1, 1), (3, 0)]);
}

#[test]
fn a_nonce_is_given_to_who_pays_a_tenth_more() {
    let mut window = Window::default();
    let mut push = |tip, over| {
        window.push(gathered(1, 0, tip, over), (0, 0), Instant::now()).map_err(|e| e.to_string())
    };
    assert_eq!(push(100, 1_000), Ok(()));
    assert_eq!(push(100, 1_000), Err("already known".to_owned()));
    for (tip, over) in [(109, 2_000), (200, 1_199), (110, 1_000)] {
        assert_eq!(push(tip, over), Err("replacement transaction underpriced".to_owned()));
    }
    assert_eq!(push(110, 1_200), Ok(()));
    assert_eq!(order(&window), [(1, 0, 110), (1, 0, 100)]);
}

proptest! {
    #[test]
    fn every_transaction_is_executed_once_and_no_better_one_could_have_gone_first(
        arrivals in prop::collection::vec((0..6u8, 0..5u64, 0..40u128, 0..40u128), 0..60),
    ) {
        let mut window = Window::default();
        let mut taken = 0;
        for (index, (sender, nonce, tip, over)) in arrivals.into_iter().enumerate() {
            let gathered = gathered(sender, nonce, tip, over);
            taken += usize::from(window.push(gathered, (0, index), Instant::now()).is_ok());
        }
        let mut queue = window.queue(BASE_FEE);
        let mut left: Vec<(Gathered, Slot)> = window.arrived.clone();
        let tip = |tx: &RecoveredTransaction| tx.transaction.effective_tip_per_gas(BASE_FEE);
        let mut popped = 0;
        while let Some((tx, slot)) = queue.pop() {
            popped += 1;
            let slot = slot.expect("it arrived");
            // What may go: of each sender the lowest nonce, and of that the newest.
            let may_go = |(one, at): &&(Gathered, Slot)| !left.iter().any(|(other, other_at)| {
                let nonces = (other.tx.transaction.nonce(), one.tx.transaction.nonce());
                other.tx.sender == one.tx.sender
                    && (nonces.0 < nonces.1 || nonces.0 == nonces.1 && other_at > at)
            });
            let best = left.iter().filter(may_go).max_by_key(|(one, at)| {
                (tip(&one.tx).unwrap_or(0), Reverse(*at))
            });
            prop_assert_eq!(best.map(|(_, at)| *at), Some(slot));
            prop_assert_eq!(best.map(|(one, _)| one.tx.transaction.hash()), Some(tx.transaction.hash()));
            left.retain(|(_, at)| *at != slot);
        }
        prop_assert_eq!(popped, taken);
    }
}
