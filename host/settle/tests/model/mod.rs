//! What spec/settlement.md says of tournaments and ranges, written a second time for the tests: with one map of everything, no
//! thought of gas, trees of any height, and a toy in the machine's place.

use alloy_primitives::{Address, B256, U256, keccak256};
use annex_claim::{Leaf, OutputRoot, fault_leaf};
use annex_settle::{
    Action, Commitment, Match, Output, PHASE_CHILD, PHASE_MOVE, PHASE_OVER, PHASE_PROVE, Params,
    Preimage, RangeView, Settled, Tournament, View,
};
use annex_types::Header;
use std::collections::{BTreeMap, BTreeSet};

/// One instruction of the toy, on 384 bytes, and the preimage that it reads.
pub trait Toy {
    fn boot(&self, leaf: B256) -> B256;
    fn step(&self, words: &[u8]) -> (Vec<u8>, Option<Preimage>);
}

pub type Verdict = Result<(), &'static str>;

#[derive(Clone)]
pub struct Model {
    pub now: u64,
    pub params: Params,
    pub record_count: u64,
    pub settled: Settled,
    pub last_opened: u64,
    pub faulted: bool,
    pub ranges: Vec<RangeView>,
    pub games: BTreeMap<u64, Tournament>,
    pub outputs: BTreeMap<(u64, B256), Settled>,
    pub credits: BTreeMap<Address, u128>,
    pub balances: BTreeMap<Address, u128>,
    pub loaded: BTreeSet<Preimage>,
    /// Children of each root.
    children: BTreeMap<B256, (B256, B256)>,
    pub moves: u64,
}

fn pair(left: B256, right: B256) -> B256 {
    keccak256([left, right].concat())
}

fn root_of(leaf: B256, index: u64, path: &[B256]) -> B256 {
    path.iter().enumerate().fold(leaf, |node, (level, sibling)| match index >> level & 1 {
        0 => pair(node, *sibling),
        _ => pair(*sibling, node),
    })
}

fn check(condition: bool, otherwise: &'static str) -> Verdict {
    if condition { Ok(()) } else { Err(otherwise) }
}

impl Model {
    pub fn new(params: Params, settled: Settled, record_count: u64) -> Self {
        Self {
            now: 1_000,
            params,
            record_count,
            settled,
            last_opened: 0,
            faulted: false,
            ranges: Vec::new(),
            games: BTreeMap::new(),
            outputs: BTreeMap::new(),
            credits: BTreeMap::new(),
            balances: BTreeMap::new(),
            loaded: BTreeSet::new(),
            children: BTreeMap::new(),
            moves: 0,
        }
    }

    /// All wei there is.
    pub fn total(&self) -> u128 {
        let pots: u128 = self.games.values().map(|game| game.pot).sum();
        pots + self.credits.values().sum::<u128>() + self.balances.values().sum::<u128>()
    }

    pub fn view(&self, of: Address) -> View {
        let open = |game: &&Tournament| !game.closed;
        let wei = |map: &BTreeMap<Address, u128>| U256::from(map.get(&of).copied().unwrap_or(0));
        View {
            block: self.now / 12,
            now: self.now,
            params: self.params,
            record_count: self.record_count,
            settled: self.settled,
            faulted: self.faulted,
            last_opened: self.last_opened,
            ranges: self.ranges.clone(),
            tournaments: self.games.values().filter(open).map(|game| self.shown(game)).collect(),
            loaded: self.loaded.clone(),
            credits: wei(&self.credits),
            balance: wei(&self.balances),
        }
    }

    fn shown(&self, game: &Tournament) -> Tournament {
        let mut game = game.clone();
        game.open_matches = game.matches.iter().filter(|m| m.phase != PHASE_OVER).count() as u32;
        game.alive = game.commitments.iter().filter(|c| c.alive).count() as u32;
        game
    }

    pub fn send(&mut self, toy: &impl Toy, from: Address, action: &Action) -> Verdict {
        let before = self.clone();
        let verdict = self.apply(toy, from, action);
        match verdict {
            Ok(()) => self.moves += 1,
            Err(_) => *self = before.clone(),
        }
        assert_eq!(before.total(), self.total(), "wei came or went with {action:?}");
        verdict
    }

    fn apply(&mut self, toy: &impl Toy, from: Address, action: &Action) -> Verdict {
        match action {
            Action::Open => self.open(),
            Action::Claim { range, start, end_accumulator, path, output } => {
                let it = self.ranges.iter().find(|it| it.id == *range).ok_or("no range")?;
                check((it.start, it.end_accumulator) == (*start, *end_accumulator), "other range")?;
                let (leaf, settled) = opened(output)?;
                self.outputs.insert((*range, leaf), settled);
                check(self.game(*range)?.level == 0, "level")?;
                self.enter(from, *range, 0, leaf, path)
            }
            Action::Join { tournament, start, last, path, state } => {
                check(self.game(*tournament)?.start == *start, "other start")?;
                self.join(from, *tournament, *last, path, state)
            }
            Action::Advance { match_id, left, right, new_left, new_right } => {
                self.advance(from, *match_id, (*left, *right), (*new_left, *new_right))
            }
            Action::Seal { match_id, left, right, agreed, path, opening } => {
                self.seal(toy, from, *match_id, (*left, *right), (*agreed, path), opening)
            }
            Action::Load(call) => check(self.loaded.insert(*call), "loaded already"),
            Action::Prove { match_id, proof } => self.prove(toy, from, *match_id, proof),
            Action::Timeout { match_id } => self.timeout(*match_id),
            Action::Close { tournament } => self.close(*tournament),
            Action::Settle { range } => self.settle(from, *range),
            Action::Withdraw => {
                let credit = self.credits.remove(&from).ok_or("no credit")?;
                *self.balances.entry(from).or_default() += credit;
                Ok(())
            }
        }
    }

    fn open(&mut self) -> Verdict {
        check(!self.faulted, "faulted")?;
        let wait = if self.last_opened == 0 { 0 } else { self.params.claim_interval };
        check(self.now >= self.last_opened + wait, "too early")?;
        check(self.ranges.len() < 8, "too many")?;
        check(self.settled.record < self.record_count, "nothing new")?;
        check(self.ranges.iter().all(|range| range.end != self.record_count), "same end")?;
        let id = self.games.len() as u64 + 1;
        let (start, end, opened) = (self.settled.leaf, self.record_count, self.now);
        self.games.insert(id, Tournament { id, opened, end, start, ..Tournament::default() });
        self.ranges.push(RangeView { id, start, end, opened, ..RangeView::default() });
        self.last_opened = self.now;
        Ok(())
    }

    fn game(&mut self, id: u64) -> Result<&mut Tournament, &'static str> {
        self.games.get_mut(&id).filter(|game| !game.closed).ok_or("no tournament")
    }

    fn height(&self, level: u8) -> u8 {
        self.params.heights[usize::from(level)]
    }

    /// The one that is alive, if nothing more can happen.
    fn over(&self, id: u64) -> Option<Option<Commitment>> {
        let game = self.games.get(&id).filter(|game| !game.closed)?;
        let alive: Vec<_> = game.commitments.iter().filter(|c| c.alive).copied().collect();
        if alive.len() > 1 || game.matches.iter().any(|m| m.phase != PHASE_OVER) {
            return None;
        }
        let side_over = |side: u8| {
            self.now >= game.opened + self.params.move_grace + game.side_clocks[side as usize]
        };
        let over = match (game.level, alive.first()) {
            (0, _) => self.now >= game.opened + self.params.challenge_window,
            (_, Some(one)) => side_over(1 - one.side),
            (_, None) => side_over(0) && side_over(1),
        };
        over.then(|| alive.first().copied())
    }

    fn enter(&mut self, from: Address, id: u64, side: u8, last: B256, path: &[B256]) -> Verdict {
        let (now, params) = (self.now, self.params);
        check(self.over(id).is_none(), "over")?;
        let game = self.game(id)?;
        check(path.len() == usize::from(params.heights[usize::from(game.level)]), "path")?;
        let leaves = 1u64 << path.len();
        let clock = match game.level {
            0 => params.challenge_window,
            _ => game.side_clocks[usize::from(side)],
        };
        let free = if game.level == 0 { 0 } else { params.move_grace };
        check(now < game.opened + free + clock, "joining is over")?;
        let clock = clock - now.saturating_sub(game.opened + params.move_grace);
        let (top, below) = path.split_last().ok_or("path")?;
        let right = root_of(last, (leaves >> 1) - 1, below);
        let root = pair(*top, right);
        check(game.commitments.iter().all(|c| c.root != root), "joined already")?;
        game.commitments.push(Commitment {
            root,
            claimer: from,
            last,
            side,
            alive: true,
            clock,
            since: 0,
            current_match: 0,
        });
        game.pot += params.bond;
        self.children.insert(root, (*top, right));
        let balance = self.balances.entry(from).or_default();
        *balance = balance.checked_sub(params.bond).ok_or("poor")?;
        self.arrive(id, root);
        Ok(())
    }

    fn arrive(&mut self, id: u64, root: B256) {
        let (now, children) = (self.now, self.children[&root]);
        let height = self.height(self.games[&id].level);
        let game = self.games.get_mut(&id).expect("it is in play");
        if game.waiting.is_zero() {
            game.waiting = root;
            return;
        }
        let one = std::mem::take(&mut game.waiting);
        let m = Match {
            id: id << 32 | game.matches.len() as u64,
            tournament: id,
            one,
            two: root,
            node: one,
            left: children.0,
            right: children.1,
            height,
            one_moves: true,
            ..Match::default()
        };
        game.matches.push(m);
        for commitment in &mut game.commitments {
            if [one, root].contains(&commitment.root) {
                commitment.current_match = m.id;
                commitment.since = if commitment.root == one { now } else { 0 };
            }
        }
    }

    fn join(&mut self, from: Address, id: u64, last: B256, path: &[B256], state: &[u8]) -> Verdict {
        let game = self.game(id)?;
        check(game.level > 0, "level")?;
        let (level, contested, parent) = (game.level, game.contested, game.parent_match);
        let mut stands = last;
        if level == 1 {
            check(state.len() == 384 && keccak256(state) == last, "state")?;
            let agreed = self.matched(parent)?.agreed;
            stands = if state[256..286].iter().all(|byte| *byte == 0) && state[286..288] == [1, 0] {
                B256::from_slice(&state[352..])
            } else {
                fault_leaf(agreed)
            };
        }
        let side = contested.iter().position(|state| *state == stands).ok_or("not contested")?;
        self.enter(from, id, side as u8, last, path)
    }

    fn matched(&self, id: u64) -> Result<Match, &'static str> {
        let game = self.games.get(&(id >> 32)).ok_or("no match")?;
        game.matches.iter().find(|m| m.id == id).copied().ok_or("no match")
    }

    fn set_match(&mut self, m: Match) {
        let game = self.games.get_mut(&m.tournament).expect("it has matches");
        *game.matches.iter_mut().find(|old| old.id == m.id).expect("it is one of them") = m;
    }

    fn commitment(&mut self, id: u64, root: B256) -> &mut Commitment {
        let game = self.games.get_mut(&id).expect("it has commitments");
        game.commitments.iter_mut().find(|c| c.root == root).expect("it joined")
    }

    fn is_out(&self, c: &Commitment) -> bool {
        c.since != 0 && self.now >= c.since + self.params.move_grace + c.clock
    }

    /// Charges the mover and gives the turn to the other.
    fn turn(&mut self, m: &mut Match) -> Verdict {
        check(m.phase == PHASE_MOVE, "phase")?;
        let (now, grace) = (self.now, self.params.move_grace);
        let mover = *self.commitment(m.tournament, m.mover());
        check(!self.is_out(&mover), "out of time")?;
        let mover = self.commitment(m.tournament, m.mover());
        mover.clock -= now.saturating_sub(mover.since + grace);
        mover.since = 0;
        m.one_moves = !m.one_moves;
        self.commitment(m.tournament, m.mover()).since = now;
        Ok(())
    }

    fn refund(&mut self, from: Address, id: u64) {
        let amount = self.params.bond / 64;
        self.games.get_mut(&id).expect("it is in play").pot -= amount;
        *self.credits.entry(from).or_default() += amount;
    }

    fn advance(
        &mut self,
        from: Address,
        id: u64,
        (left, right): (B256, B256),
        below: (B256, B256),
    ) -> Verdict {
        let mut m = self.matched(id)?;
        self.turn(&mut m)?;
        check(m.height > 1 && pair(left, right) == m.node, "node")?;
        let goes_left = left != m.left;
        let (mine, other) = if goes_left { (left, m.left) } else { (right, m.right) };
        check(pair(below.0, below.1) == mine, "below")?;
        m.height -= 1;
        m.index += if goes_left { 0 } else { 1 << m.height };
        (m.node, m.left, m.right) = (other, below.0, below.1);
        self.set_match(m);
        self.refund(from, m.tournament);
        Ok(())
    }

    fn seal(
        &mut self,
        toy: &impl Toy,
        from: Address,
        id: u64,
        (left, right): (B256, B256),
        (given, path): (B256, &[B256]),
        opening: &[u8],
    ) -> Verdict {
        let mut m = self.matched(id)?;
        let mover_is_one = m.one_moves;
        self.turn(&mut m)?;
        check(m.height == 1 && pair(left, right) == m.node, "node")?;
        let (start, level, end) = {
            let game = self.game(m.tournament)?;
            (game.start, game.level, game.end)
        };
        let (mine, other);
        if left != m.left {
            (mine, other) = (left, m.left);
            m.agreed = start;
            if m.index > 0 {
                check(path.len() == usize::from(self.height(level)), "path")?;
                check([m.one, m.two].contains(&root_of(given, m.index - 1, path)), "path")?;
                m.agreed = given;
            }
        } else {
            (mine, other) = (right, m.right);
            m.agreed = left;
            m.index += 1;
        }
        m.height = 0;
        m.states = if mover_is_one { [mine, other] } else { [other, mine] };
        (m.node, m.left, m.right) = Default::default();
        for root in [m.one, m.two] {
            let now = self.now;
            self.commitment(m.tournament, root).since = if level == 2 { now } else { 0 };
        }
        if level == 2 {
            m.phase = PHASE_PROVE;
        } else {
            let mut boot = m.agreed;
            if level == 0 {
                if !opening_runs(opening, m.agreed, end)? {
                    let stays = m.states.iter().position(|state| *state == m.agreed);
                    self.set_match(m);
                    self.refund(from, m.tournament);
                    self.resolve(m, stays);
                    return Ok(());
                }
                boot = toy.boot(m.agreed);
            }
            m.phase = PHASE_CHILD;
            m.child = self.games.len() as u64 + 1;
            let clocks = [m.one, m.two].map(|root| self.commitment(m.tournament, root).clock);
            let child = Tournament {
                id: m.child,
                level: level + 1,
                opened: self.now,
                start: boot,
                contested: m.states,
                side_clocks: clocks,
                parent_match: m.id,
                ..Tournament::default()
            };
            self.games.insert(m.child, child);
        }
        self.set_match(m);
        self.refund(from, m.tournament);
        Ok(())
    }

    /// `survivor`: 0 for `one`.
    fn resolve(&mut self, mut m: Match, survivor: Option<usize>) {
        m.phase = PHASE_OVER;
        self.set_match(m);
        for (side, root) in [m.one, m.two].into_iter().enumerate() {
            let commitment = self.commitment(m.tournament, root);
            commitment.since = 0;
            commitment.alive = survivor == Some(side);
        }
        if let Some(side) = survivor {
            self.arrive(m.tournament, [m.one, m.two][side]);
        }
    }

    fn prove(&mut self, toy: &impl Toy, from: Address, id: u64, words: &[u8]) -> Verdict {
        let m = self.matched(id)?;
        check(m.phase == PHASE_PROVE, "phase")?;
        let sides = [m.one, m.two].map(|root| *self.commitment(m.tournament, root));
        check(!sides.iter().all(|side| self.is_out(side)), "out of time")?;
        check(words.len() == 384 && keccak256(words) == m.agreed, "proof")?;
        let (next, call) = toy.step(words);
        check(call.is_none_or(|call| self.loaded.contains(&call)), "not loaded")?;
        let next = keccak256(next);
        let survivor = m.states.iter().position(|state| *state == next);
        if let Some(side) = survivor {
            let (now, grace) = (self.now, self.params.move_grace);
            let winner = self.commitment(m.tournament, sides[side].root);
            winner.clock = winner.clock.saturating_sub(now.saturating_sub(winner.since + grace));
        }
        self.refund(from, m.tournament);
        self.resolve(m, survivor);
        Ok(())
    }

    fn timeout(&mut self, id: u64) -> Verdict {
        let m = self.matched(id)?;
        let sides = [m.one, m.two].map(|root| *self.commitment(m.tournament, root));
        let out = sides.map(|side| self.is_out(&side));
        match m.phase {
            PHASE_MOVE => {
                let mover = usize::from(!m.one_moves);
                check(out[mover], "in time")?;
                self.resolve(m, Some(1 - mover));
            }
            PHASE_PROVE => {
                check(out == [true, true], "in time")?;
                self.resolve(m, None);
            }
            _ => return Err("phase"),
        }
        Ok(())
    }

    fn close(&mut self, id: u64) -> Verdict {
        check(self.game(id)?.level > 0, "level")?;
        let survivor = self.over(id).ok_or("not over")?;
        let game = self.game(id)?;
        game.closed = true;
        let (pot, parent) = (std::mem::take(&mut game.pot), game.parent_match);
        let m = self.matched(parent)?;
        let own = survivor.map_or(0, |_| self.params.bond);
        self.games.get_mut(&m.tournament).expect("it has a child").pot += pot - own;
        match survivor {
            None => {}
            Some(survivor) => {
                *self.credits.entry(survivor.claimer).or_default() += own;
                let root = [m.one, m.two][usize::from(survivor.side)];
                self.commitment(m.tournament, root).clock = survivor.clock;
            }
        }
        self.resolve(m, survivor.map(|survivor| usize::from(survivor.side)));
        Ok(())
    }

    fn settle(&mut self, from: Address, id: u64) -> Verdict {
        check(self.game(id)?.level == 0, "level")?;
        let survivor = self.over(id).ok_or("not over")?;
        let game = self.game(id)?;
        game.closed = true;
        let (pot, end) = (std::mem::take(&mut game.pot), game.end);
        let last = survivor.map_or(from, |survivor| survivor.claimer);
        *self.credits.entry(last).or_default() += pot;
        self.ranges.retain(|range| range.id != id);
        if let Some(survivor) = survivor {
            self.games.get_mut(&id).expect("it was just closed").survivor = survivor.root;
            let output = self.outputs[&(id, survivor.last)];
            if output.record == u64::MAX {
                self.faulted = true;
            } else if end > self.settled.record {
                self.settled = Settled { range: id, ..output };
            }
        }
        Ok(())
    }
}

/// A claim's last leaf and what settles with it; FAULT has the record 2^64 - 1.
fn opened(output: &Output) -> Result<(B256, Settled), &'static str> {
    match output {
        Output::Fault { of } => {
            let leaf = fault_leaf(*of);
            Ok((leaf, Settled { leaf, record: u64::MAX, ..Settled::default() }))
        }
        Output::Head { header, cursor } => {
            let header: Header = alloy_rlp::decode_exact(header).map_err(|_| "header")?;
            let (output, record) = (OutputRoot::of(&header), cursor.record);
            let leaf = Leaf { output, cursor: *cursor }.hash();
            let l2_block = header.number;
            Ok((leaf, Settled { leaf, output_root: output.hash(), record, l2_block, range: 0 }))
        }
    }
}

/// Whether the program decides what follows the agreed leaf; else it steps to itself.
fn opening_runs(opening: &[u8], agreed: B256, end: u64) -> Result<bool, &'static str> {
    match opening.len() {
        32 => check(fault_leaf(B256::from_slice(opening)) == agreed, "opening").map(|()| false),
        128 => {
            check(keccak256(opening) == agreed, "opening")?;
            Ok(U256::from_be_slice(&opening[32..64]) < U256::from(end))
        }
        _ => Err("opening"),
    }
}
