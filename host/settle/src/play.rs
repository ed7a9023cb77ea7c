//! Plays tournaments: joins children with what is true, moves, proves, ends what is over.

use crate::{
    Action, Commitment, Conduct, Lookup, Match, Need, PHASE_CHILD, PHASE_MOVE, PHASE_PROVE, Reason,
    Run, Tournament, Tree, Why,
    player::{NO_HURRY, Turn, last_path},
};
use alloy_primitives::{B256, Bytes};

/// What a party holds to be true of a tournament.
#[derive(Clone, Copy)]
struct Truth<'a> {
    tree: &'a Tree,
    /// In a child, of the parent's match: 0 for `one`.
    side: usize,
    within: Within<'a>,
}

/// What the steps of a tournament are.
#[derive(Clone, Copy)]
enum Within<'a> {
    Range,
    Run { leaf: B256, run: &'a Run },
    Stride { leaf: B256, stride: u64 },
}

impl Truth<'_> {
    fn root(&self) -> B256 {
        self.tree.root()
    }
}

/// The state before a leaf.
fn before(tournament: &Tournament, tree: &Tree, index: u64) -> Option<B256> {
    match index.checked_sub(1) {
        None => Some(tournament.start),
        Some(last) => tree.leaf(last),
    }
}

/// What is true of a tournament; `None` if the truth has no part in it: a child of a match among liars.
fn truth<'a>(turn: &Turn<'a>, tournament: &Tournament) -> Option<Lookup<Truth<'a>>> {
    if tournament.level == 0 {
        let range = turn.book.range(tournament.start, tournament.end);
        return Some(range.map(|range| Truth {
            tree: &range.tree,
            side: 0,
            within: Within::Range,
        }));
    }
    let (above, parent) = turn.view.find_match(tournament.parent_match)?;
    let truth = match truth(turn, above)? {
        Lookup::Known(truth) => truth,
        Lookup::Unknown(need, reason) => return Some(Lookup::Unknown(need, reason)),
    };
    let side = parent.side_of(truth.root())?;
    let agreed = before(above, truth.tree, parent.index);
    if agreed != Some(parent.agreed) || truth.tree.leaf(parent.index) != Some(parent.states[side]) {
        return None;
    }
    Some(match truth.within {
        Within::Range => {
            let leaf = parent.agreed;
            let known = turn.book.run(leaf);
            if let Lookup::Known(run) = &known
                && run.leaf_after(leaf) != parent.states[side]
            {
                return Some(Lookup::Unknown(Need::Run { leaf }, Reason::Disagrees));
            }
            known.map(|run| Truth { tree: &run.tree, side, within: Within::Run { leaf, run } })
        }
        Within::Run { leaf, .. } => {
            let stride = parent.index;
            let known = turn.book.stride(leaf, stride);
            known.map(|tree| Truth { tree, side, within: Within::Stride { leaf, stride } })
        }
        Within::Stride { .. } => return None,
    })
}

/// Everything there is to do in a tournament, joining one of level 0 and settling it aside.
pub(crate) fn tournament<'a>(turn: &mut Turn<'a>, tournament: &'a Tournament) {
    if tournament.closed {
        return;
    }
    let known = match truth(turn, tournament) {
        // Of an empty range nothing has to be known.
        Some(_) if tournament.level == 0 && tournament.commitments.is_empty() => None,
        Some(lookup) => match turn.know(tournament.id, lookup) {
            // Nothing can be told true from false.
            None => return,
            known => known,
        },
        None => None,
    };
    if tournament.level > 0 {
        if tournament.is_over(turn.view.now, &turn.view.params) {
            close(turn, tournament, known);
            return;
        }
        if let Some(truth) = known {
            join(turn, tournament, truth);
        }
    }
    for m in tournament.matches.iter().filter(|m| m.is_open()) {
        let side = known.and_then(|truth| Some((truth, m.side_of(truth.root())?)));
        match side {
            Some((truth, side)) => play(turn, tournament, m, truth, side),
            None => among_others(turn, tournament, m),
        }
    }
}

/// A child that is over. What the truth lost is left to others to close.
fn close(turn: &mut Turn<'_>, tournament: &Tournament, truth: Option<Truth<'_>>) {
    let survivor = tournament.survivor();
    let id = tournament.id;
    let mine = survivor.is_some_and(|survivor| turn.is_mine(survivor));
    if let Some(truth) = truth
        && survivor.is_none_or(|survivor| truth.side != usize::from(survivor.side))
    {
        let survivor = survivor.map(|commitment| commitment.root).unwrap_or_default();
        return turn.wait(id, Why::Lost { survivor });
    }
    let ends = [0, 1].map(|side| tournament.joinable_until(side, &turn.view.params));
    if acts(turn, mine, id, ends[0].min(ends[1]), ends[0]) {
        turn.push(NO_HURRY, Action::Close { tournament: id });
    }
}

/// Whether this party acts now on what is due since a moment and until another.
fn acts(turn: &Turn<'_>, mine: bool, id: u64, since: u64, until: u64) -> bool {
    let now = turn.view.now;
    match turn.player.conduct {
        Conduct::AtOnce => mine || now >= since.saturating_add(turn.patience(id)),
        Conduct::Never => false,
        Conduct::AtLast { seconds } => mine && now.saturating_add(seconds) >= until,
    }
}

/// Joins a child with the true commitment: for one's own above at once, for another's when it does not.
fn join(turn: &mut Turn<'_>, tournament: &Tournament, truth: Truth<'_>) {
    let Some((above, parent)) = turn.view.find_match(tournament.parent_match) else { return };
    let root = if truth.side == 0 { parent.one } else { parent.two };
    let mine = above.commitment(root).is_some_and(|above| turn.is_mine(above));
    let until = tournament.joinable_until(truth.side, &turn.view.params);
    if tournament.commitment(truth.root()).is_some()
        || turn.view.now >= until
        || !acts(turn, mine, tournament.id, tournament.opened, until)
        || !turn.stake(tournament.id, 0)
    {
        return;
    }
    let state = match truth.within {
        Within::Run { run, .. } => run.last.clone(),
        Within::Range | Within::Stride { .. } => Bytes::new(),
    };
    let path = last_path(truth.tree);
    let last = truth.tree.last();
    let Tournament { id, start, .. } = *tournament;
    turn.push(until, Action::Join { tournament: id, start, last, path, state });
}

/// A match in which the truth stands.
fn play(turn: &mut Turn<'_>, tournament: &Tournament, m: &Match, truth: Truth<'_>, side: usize) {
    let params = turn.view.params;
    let sides = [m.one, m.two].map(|root| tournament.commitment(root));
    let (Some(ours), Some(theirs)) = (sides[side], sides[1 - side]) else { return };
    let out = |c: &Commitment| c.deadline(&params).is_some_and(|until| turn.view.now >= until);
    let deadline = ours.deadline(&params).unwrap_or(NO_HURRY);
    let mine = turn.is_mine(ours);
    match m.phase {
        PHASE_MOVE if m.mover() == theirs.root => {
            let until = theirs.deadline(&params).unwrap_or(NO_HURRY);
            if out(theirs) && acts(turn, mine, m.id, until, until) {
                turn.push(NO_HURRY, Action::Timeout { match_id: m.id });
            }
        }
        PHASE_MOVE if !out(ours) && acts(turn, mine, m.id, ours.since, deadline) => {
            advance(turn, tournament, m, truth.tree, deadline);
        }
        PHASE_PROVE
            if !(out(ours) && out(theirs)) && acts(turn, mine, m.id, ours.since, deadline) =>
        {
            prove(turn, tournament, m, truth, deadline);
        }
        _ => {}
    }
}

/// A match among liars: ended when it can be, since everything waits for it, but others have the first chance.
fn among_others(turn: &mut Turn<'_>, tournament: &Tournament, m: &Match) {
    if m.phase == PHASE_CHILD {
        return;
    }
    let sides = [m.one, m.two].map(|root| tournament.commitment(root));
    let on_turn = sides.into_iter().flatten().filter_map(|c| c.deadline(&turn.view.params));
    let Some(until) = on_turn.max() else { return };
    if turn.view.now >= until.saturating_add(turn.jitter(m.id, turn.view.params.move_grace / 4)) {
        turn.push(NO_HURRY, Action::Timeout { match_id: m.id });
    }
}

/// The move that is due: down to the children in which the two differ, or `seal`.
fn advance(turn: &mut Turn<'_>, tournament: &Tournament, m: &Match, tree: &Tree, deadline: u64) {
    let Some((left, right)) = tree.children(m.height, m.index) else { return };
    let goes_left = left != m.left;
    if m.height == 1 {
        return seal(turn, tournament, m, tree, (left, right), deadline);
    }
    let below = m.height - 1;
    let index = if goes_left { m.index } else { m.index + (1 << below) };
    let Some((new_left, new_right)) = tree.children(below, index) else { return };
    turn.push(deadline, Action::Advance { match_id: m.id, left, right, new_left, new_right });
}

fn seal(
    turn: &mut Turn<'_>,
    tournament: &Tournament,
    m: &Match,
    tree: &Tree,
    (left, right): (B256, B256),
    deadline: u64,
) {
    // On the left the state before the pair has to be given, unless it is the start.
    let given = if left != m.left { m.index.checked_sub(1) } else { None };
    let (agreed, path) = match given {
        Some(index) => {
            let (Some(leaf), Some(path)) = (tree.leaf(index), tree.path(index)) else { return };
            (leaf, path)
        }
        None => (B256::ZERO, Vec::new()),
    };
    let opening = if tournament.level == 0 {
        let leaf = match (left != m.left, given) {
            (true, Some(_)) => agreed,
            (true, None) => tournament.start,
            (false, _) => left,
        };
        let lookup = turn.book.opening(leaf);
        let Some(opening) = turn.know(tournament.id, lookup) else { return };
        opening.encode()
    } else {
        Bytes::new()
    };
    turn.push(deadline, Action::Seal { match_id: m.id, left, right, agreed, path, opening });
}

/// The instruction after the agreed state.
fn prove(turn: &mut Turn<'_>, tournament: &Tournament, m: &Match, truth: Truth<'_>, deadline: u64) {
    let Within::Stride { leaf, stride } = truth.within else { return };
    if before(tournament, truth.tree, m.index) != Some(m.agreed) {
        return;
    }
    let instruction = (stride << truth.tree.height()) + m.index;
    let lookup = turn.book.step(leaf, instruction);
    let Some(step) = turn.know(tournament.id, lookup) else { return };
    let action = match step.call {
        Some(call) if !turn.view.loaded.contains(&call) => Action::Load(call),
        _ => Action::Prove { match_id: m.id, proof: step.proof.clone() },
    };
    turn.push(deadline, action);
}
