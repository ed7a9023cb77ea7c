//! What the liars of `annex dev --with-liar` do.

use crate::PartyRole;
use annex_settle::{Conduct, FalseLeaf, Forgery, Place};
use std::{fmt, str::FromStr};

/// A way to be beaten (spec/settlement.md). Every lie is told of every range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// A false output root, false from the first step on.
    #[default]
    Output,
    /// The true output root, with a commitment that is false in its first step.
    Commitment,
    /// False from the first instruction of the first step on.
    FirstInstruction,
    /// False in nothing but the last instruction of the last step.
    LastInstruction,
    /// That the first step fails.
    Fault,
    /// As `Output`; moves when its clock is about to end.
    Late,
    /// As `Output`; stakes and never moves.
    Idle,
    /// So many liars at once, each with one of the others.
    Several(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not one of output, commitment, first-instruction, last-instruction, fault, late, idle, several=N with N from 1 to {max}",
    max = Lie::MAX
)]
pub struct UnknownLie;

/// Seconds before the end of its time in which a late liar acts: some polls of a node that looks four times a second.
const LATE: Conduct = Conduct::AtLast { seconds: 8 };
/// The liars of [`Lie::Several`], again and again.
const CROWD: [Lie; 7] = [
    Lie::Output,
    Lie::Commitment,
    Lie::Fault,
    Lie::LastInstruction,
    Lie::Idle,
    Lie::FirstInstruction,
    Lie::Late,
];

impl Lie {
    /// Most liars at once: each reads what the others do, and all share one node.
    pub const MAX: u32 = 20;

    /// One role for each account.
    pub(super) fn roles(self) -> Vec<PartyRole> {
        match self {
            Self::Several(count) => {
                let lies = CROWD.into_iter().cycle().zip(1..=u64::from(count.min(Self::MAX)));
                lies.map(|(lie, seed)| lie.role(seed)).collect()
            }
            _ => vec![self.role(1)],
        }
    }

    /// `seed` tells apart who tells the same lie.
    fn role(self, seed: u64) -> PartyRole {
        let first = |instruction| [Place::At(0), Place::At(0), Place::At(instruction)];
        let output = FalseLeaf::Output { number: 1 };
        let (at, leaf) = match self {
            Self::Output | Self::Late | Self::Idle | Self::Several(_) => (first(12_345), output),
            Self::Commitment => ([Place::At(0), Place::At(1), Place::At(777)], FalseLeaf::Middle),
            Self::FirstInstruction => (first(0), output),
            Self::LastInstruction => ([Place::Last; 3], output),
            Self::Fault => (first(7), FalseLeaf::Fault),
        };
        let conduct = match self {
            Self::Late => LATE,
            Self::Idle => Conduct::Never,
            _ => Conduct::AtOnce,
        };
        PartyRole::Liar(Forgery { seed, at, leaf }, conduct)
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::Commitment => "commitment",
            Self::FirstInstruction => "first-instruction",
            Self::LastInstruction => "last-instruction",
            Self::Fault => "fault",
            Self::Late => "late",
            Self::Idle => "idle",
            Self::Several(count) => return write!(f, "several={count}"),
        })
    }
}

impl FromStr for Lie {
    type Err = UnknownLie;

    fn from_str(text: &str) -> Result<Self, UnknownLie> {
        if let Some(count) = text.strip_prefix("several=") {
            let count = count.parse().ok().filter(|count| (1..=Self::MAX).contains(count));
            return count.map(Self::Several).ok_or(UnknownLie);
        }
        CROWD.into_iter().find(|lie| lie.to_string() == text).ok_or(UnknownLie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for lie in CROWD.into_iter().chain([Lie::Several(1), Lie::Several(20)]) {
            assert_eq!(lie.to_string().parse(), Ok(lie));
        }
        for text in ["", "several", "several=0", "several=21", "several=-1", "Output"] {
            assert_eq!(text.parse::<Lie>(), Err(UnknownLie), "{text}");
        }
    }

    #[test]
    fn no_two_of_a_crowd_are_the_same() {
        let roles = Lie::Several(Lie::MAX).roles();
        assert_eq!(roles.len(), Lie::MAX as usize);
        for (at, role) in roles.iter().enumerate() {
            assert!(!roles[..at].contains(role), "{role:?}");
        }
    }
}
