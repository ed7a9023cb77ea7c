//! When a party stakes, and when it waits and says why.

use alloy_primitives::{Address, B256, U256, keccak256};
use annex_claim::{Kind, Missing};
use annex_derive::Cursor;
use annex_settle::{
    Action, Book, Commitment, Match, Need, Opening, Output, PHASE_CHILD, Params, Plan, Player,
    Range, RangeView, Reason, Run, Settled, Tournament, Traffic, Tree, View, Why,
};

const ME: Address = Address::repeat_byte(1);
const BOND: u128 = 100;
const START: B256 = B256::repeat_byte(9);

fn params() -> Params {
    Params {
        claim_interval: 1_000,
        challenge_window: 10_000,
        move_grace: 100,
        bond: BOND,
        heights: [3, 3, 3],
    }
}

/// Ten records, of which nothing has settled.
fn view() -> View {
    View {
        now: 50_000,
        params: params(),
        record_count: 10,
        settled: Settled { leaf: START, ..Settled::default() },
        balance: U256::from(10 * BOND),
        ..View::default()
    }
}

fn commitment(root: B256, claimer: Address) -> Commitment {
    Commitment { root, claimer, alive: true, clock: 10_000, ..Commitment::default() }
}

/// A range, opened long enough ago for everybody's jitter, with these commitments.
fn with_range(mut view: View, commitments: Vec<Commitment>) -> View {
    let (id, start, end, opened) = (1, START, view.record_count, view.now - 100);
    view.ranges.push(RangeView { id, start, end, opened, ..RangeView::default() });
    let game = Tournament { id, start, end, opened, commitments, ..Tournament::default() };
    view.tournaments.push(game);
    view.last_opened = opened;
    view
}

fn truth() -> (Tree, Range) {
    let leaves = (0..5).map(B256::repeat_byte).collect();
    let tree = Tree::new(3, leaves);
    let cursor = Cursor { record: 10, block: 0, forced: 0 };
    let last = Output::Head { header: Default::default(), cursor };
    (tree.clone(), Range { tree, last })
}

fn traffic(time: u64, withdrawals: bool) -> Book {
    let mut book = Book::default();
    book.insert_traffic(4, Traffic { time, withdrawals });
    book
}

fn actions(view: &View, book: &Book) -> Vec<Action> {
    Player::claimer(ME).act(view, book).actions
}

#[test]
fn an_idle_chain_claims_nothing() {
    assert_eq!(Player::claimer(ME).act(&view(), &Book::default()), Plan::default());
    // Nor does one whose traffic has settled.
    let mut settled = view();
    settled.settled.record = 5;
    assert_eq!(actions(&settled, &traffic(0, true)), []);
}

#[test]
fn traffic_waits_for_the_interval_and_a_withdrawal_does_not() {
    assert_eq!(actions(&view(), &traffic(49_001, false)), []);
    assert_eq!(actions(&view(), &traffic(49_000, false)), [Action::Open]);
    assert_eq!(actions(&view(), &traffic(49_999, true)), [Action::Open]);
    let recent = View { last_opened: 49_001, ..view() };
    assert_eq!(actions(&recent, &traffic(0, true)), []);
    let faulted = View { faulted: true, ..view() };
    assert_eq!(actions(&faulted, &traffic(0, true)), []);
    assert_eq!(Player::challenger(ME).act(&view(), &traffic(0, true)), Plan::default());
}

#[test]
fn what_is_claimed_already_is_not_claimed_again() {
    let (tree, range) = truth();
    let mut book = traffic(0, true);
    book.insert_range(START, 10, range);
    let mut claimed = with_range(view(), vec![commitment(tree.root(), Address::repeat_byte(2))]);
    claimed.last_opened = 0;
    claimed.record_count = 11;
    assert_eq!(actions(&claimed, &book), []);
    // New traffic beyond its end is another matter.
    book.insert_traffic(10, Traffic { time: 0, withdrawals: false });
    assert_eq!(actions(&claimed, &book), [Action::Open]);
}

#[test]
fn an_open_range_is_joined_by_claimers_and_defended_by_challengers() {
    let (_, range) = truth();
    let mut book = traffic(0, true);
    book.insert_range(START, 10, range);
    let empty = with_range(view(), vec![]);
    assert!(matches!(actions(&empty, &book)[..], [Action::Claim { range: 1, .. }]));
    assert_eq!(Player::challenger(ME).act(&empty, &book).actions, []);
    let beset = with_range(view(), vec![commitment(B256::repeat_byte(7), Address::ZERO)]);
    let joined = Player::challenger(ME).act(&beset, &book).actions;
    assert!(matches!(joined[..], [Action::Claim { range: 1, .. }]));
}

#[test]
fn nothing_is_staked_on_what_is_not_known() {
    let beset = with_range(view(), vec![commitment(B256::repeat_byte(7), Address::ZERO)]);
    let need = Need::Range { start: START, end: 10 };
    let mut book = Book::default();
    let first = Player::challenger(ME).act(&beset, &book);
    assert_eq!((first.actions, first.needs), (vec![], vec![need]));
    let blob = Reason::Missing(Missing { kind: Kind::Blob, key: B256::repeat_byte(3) });
    book.set_unknown(need, blob);
    let plan = Player::challenger(ME).act(&beset, &book);
    assert_eq!((plan.actions, plan.needs), (vec![], vec![]));
    assert_eq!(plan.waits.len(), 1);
    assert_eq!((plan.waits[0].tournament, plan.waits[0].why), (1, Why::Unknown(need, blob)));
    // Once it is known, it is played.
    book.insert_range(START, 10, truth().1);
    assert_eq!(Player::challenger(ME).act(&beset, &book).actions.len(), 1);
}

#[test]
fn without_money_it_says_so_and_fetches_what_it_has() {
    let mut beset = with_range(view(), vec![commitment(B256::repeat_byte(7), Address::ZERO)]);
    let mut book = Book::default();
    book.insert_range(START, 10, truth().1);
    beset.balance = U256::from(BOND - 30);
    beset.credits = U256::from(50);
    let plan = Player::challenger(ME).act(&beset, &book);
    assert_eq!(plan.actions, [Action::Withdraw]);
    let needed = U256::from(30);
    assert!(plan.waits.iter().any(|wait| wait.why == Why::Funds { needed }));
    // A claimer keeps bonds for the levels below.
    let mut empty = with_range(view(), vec![]);
    empty.balance = U256::from(3 * BOND - 1);
    book.insert_traffic(4, Traffic { time: 0, withdrawals: true });
    let plan = Player::claimer(ME).act(&empty, &book);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.waits[0].why, Why::Funds { needed: U256::from(1) });
}

#[test]
fn nothing_is_staked_if_machine_and_native_step_disagree() {
    let (tree, range) = truth();
    let other = B256::repeat_byte(7);
    let m = Match {
        id: 1 << 32,
        tournament: 1,
        one: tree.root(),
        two: other,
        index: 0,
        phase: PHASE_CHILD,
        child: 2,
        agreed: START,
        states: [tree.leaf(0).expect("it has leaves"), B256::repeat_byte(8)],
        ..Match::default()
    };
    let ours = commitment(tree.root(), ME);
    let mut view = with_range(view(), vec![ours, commitment(other, Address::ZERO)]);
    view.tournaments[0].matches.push(m);
    view.tournaments.push(Tournament {
        id: 2,
        level: 1,
        opened: view.now,
        parent_match: m.id,
        contested: m.states,
        side_clocks: [10_000; 2],
        ..Tournament::default()
    });
    let run = |output: B256| {
        let mut last = vec![0; 384];
        last[286] = 1;
        last[352..].copy_from_slice(&output[..]);
        Run { tree: Tree::new(3, vec![keccak256(&last)]), last: last.into() }
    };
    let mut book = Book::default();
    book.insert_range(START, 10, range);
    book.insert_run(START, run(B256::repeat_byte(8)));
    let plan = Player::challenger(ME).act(&view, &book);
    assert_eq!(plan.actions, []);
    let why = Why::Unknown(Need::Run { leaf: START }, Reason::Disagrees);
    assert!(plan.waits.iter().any(|wait| wait.why == why));
    book.insert_run(START, run(m.states[0]));
    let joined = Player::challenger(ME).act(&view, &book).actions;
    assert!(matches!(joined[..], [Action::Join { tournament: 2, .. }]));
}

#[test]
fn a_leaf_is_hashed_as_the_specification_says() {
    let cursor = Cursor { record: 1, block: 2, forced: 3 };
    let opening = Opening::Output { output_root: START, cursor };
    let mut words = START.to_vec();
    for number in [1, 2, 3] {
        words.extend_from_slice(&[0; 31]);
        words.push(number);
    }
    assert_eq!(opening.leaf(), keccak256(&words));
    assert_eq!(opening.encode()[..], words);
}
