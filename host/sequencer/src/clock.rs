//! Time: this machine's clock, which may jump, held to what L1 says, which decides.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Unix seconds; whoever sets the clock moves it, either way. Before 1970 counts as 1970.
    pub unix: u64,
    /// Only ever goes forward, but may stand still while the machine sleeps.
    pub steady: Instant,
}

impl Moment {
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { unix: unix.map_or(0, |since| since.as_secs()), steady: Instant::now() }
    }
}

/// When L1 was seen, and what time it was there.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Timestamp of L1's head, and when that head was first seen.
    head: Option<(u64, Instant)>,
    /// When L1 was last known up to its head.
    seen: Option<Moment>,
}

impl Clock {
    /// L1 is known up to its head, whose timestamp is `head`.
    pub fn seen(&mut self, head: u64, now: Moment) {
        if self.head.is_none_or(|(known, _)| known != head) {
            self.head = Some((head, now.steady));
        }
        self.seen = Some(now);
    }

    /// Whether L1 was seen in the last `limit` seconds, on either clock.
    pub fn is_fresh(&self, now: Moment, limit: u64) -> bool {
        self.seen.is_some_and(|seen| {
            now.unix.saturating_sub(seen.unix) <= limit
                && now.steady.saturating_duration_since(seen.steady) <= Duration::from_secs(limit)
        })
    }

    /// Timestamp of a block opened now, if nothing else bounds it from below: the time of day, unless that is so far ahead of L1
    /// that a batch may come too early for it (spec/batch.md, `TimestampTooNew`). Half of the `drift` is left for L1 blocks that
    /// come later than they say.
    pub fn timestamp(&self, now: Moment, drift: u64) -> u64 {
        let latest = self.head.map(|(head, at)| {
            let passed = now.steady.saturating_duration_since(at).as_secs();
            head.saturating_add(passed).saturating_add(drift / 2)
        });
        now.unix.min(latest.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DRIFT: u64 = 12;
    const LIMIT: u64 = 300;

    #[test]
    fn a_sleep_or_a_jump_forward_makes_it_stale_until_l1_is_seen_again() {
        let start = Moment { unix: 1_000_000, steady: Instant::now() };
        let mut clock = Clock::default();
        assert!(!clock.is_fresh(start, LIMIT));
        clock.seen(1_000_000, start);
        let later = |unix, steady| Moment {
            unix: start.unix + unix,
            steady: start.steady + Duration::from_secs(steady),
        };
        assert!(clock.is_fresh(later(300, 300), LIMIT));
        assert!(!clock.is_fresh(later(301, 301), LIMIT));
        // Asleep: the steady clock stood still. Set back: the other one did.
        assert!(!clock.is_fresh(later(3_600, 2), LIMIT));
        assert!(!clock.is_fresh(later(0, 301), LIMIT));
        clock.seen(1_000_012, later(3_600, 2));
        assert!(clock.is_fresh(later(3_600, 3), LIMIT));
    }

    /// A second of a simulated life, and what the machine's clock does in it.
    #[derive(Clone, Debug)]
    enum Second {
        Passes,
        Jump(i32),
        /// Nobody answers for L1.
        L1Down,
        Seal,
    }

    fn second() -> impl Strategy<Value = Second> {
        prop_oneof![
            4 => Just(Second::Passes),
            1 => any::<i32>().prop_map(Second::Jump),
            1 => Just(Second::L1Down),
            4 => Just(Second::Seal),
        ]
    }

    proptest! {
        /// Whatever the machine's clock does, a block fits any batch that L1 takes after it, timestamps never go back, and with
        /// an honest clock they are the time of day, but for what is not known yet of L1's slot.
        #[test]
        fn blocks_fit_their_batches(
            seconds in proptest::collection::vec(second(), 1..400),
            slot in 1_u64..=12,
            jumps in any::<bool>(),
        ) {
            let begin = Instant::now();
            let l1_begin = 1_700_000_000_u64;
            let (mut clock, mut offset, mut parent) = (Clock::default(), 0_i64, 0);
            for (passed, second) in seconds.iter().enumerate() {
                let real = l1_begin + passed as u64;
                let head = real - real % slot;
                let now = Moment {
                    unix: real.saturating_add_signed(offset),
                    steady: begin + Duration::from_secs(passed as u64),
                };
                match second {
                    Second::Jump(by) if jumps => offset = i64::from(*by),
                    Second::L1Down if clock.seen.is_some() => continue,
                    _ => clock.seen(head, now),
                }
                if !matches!(second, Second::Seal) || !clock.is_fresh(now, LIMIT) {
                    continue;
                }
                // As the executor does.
                let timestamp = clock.timestamp(now, DRIFT).max(parent);
                prop_assert!(timestamp >= parent);
                // The first L1 block that can hold it is the next one; it may be built late.
                prop_assert!(timestamp <= head + slot + DRIFT, "{timestamp} {head}");
                if offset == 0 && parent <= real {
                    prop_assert!(timestamp <= real && timestamp + slot >= real, "{timestamp} {real}");
                }
                parent = timestamp;
            }
        }
    }
}
