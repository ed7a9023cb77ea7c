//! Block timestamps: the time of day, unless a test moves it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the next block's timestamp comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Seconds ahead of the time of day.
    offset: i64,
    /// Timestamp of the next block alone; later ones follow from it.
    next: Option<u64>,
    /// Seconds between blocks, whatever the time of day.
    interval: Option<u64>,
}

/// A timestamp that is not after the newest block's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Timestamp error: {timestamp} is lower than previous block's timestamp")]
pub struct TimestampError {
    pub timestamp: u64,
    pub parent: u64,
}

impl Clock {
    /// Seconds since 1970, moved by the offset.
    pub fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        now.saturating_add_signed(self.offset)
    }

    /// Timestamp of a block on a parent with timestamp `parent`: always later.
    pub fn peek(&self, parent: u64) -> u64 {
        if let Some(next) = self.next {
            return next.max(parent + 1);
        }
        match self.interval {
            Some(interval) => parent.saturating_add(interval.max(1)),
            None => self.now().max(parent + 1),
        }
    }

    /// As [`Self::peek`], once the block is mined.
    pub fn take(&mut self, parent: u64) -> u64 {
        let timestamp = self.peek(parent);
        if self.next.take().is_some() {
            self.set(timestamp);
        }
        timestamp
    }

    /// Moves the time of day by `seconds`; the offset that results.
    pub fn increase(&mut self, seconds: i64) -> i64 {
        self.offset = self.offset.saturating_add(seconds);
        self.offset
    }

    /// Makes `timestamp` the present; seconds it differs from the time of day.
    pub fn set(&mut self, timestamp: u64) -> i64 {
        self.offset = 0;
        self.offset = timestamp.wrapping_sub(self.now()) as i64;
        self.offset
    }

    pub fn set_next(&mut self, timestamp: u64, parent: u64) -> Result<(), TimestampError> {
        if timestamp <= parent {
            return Err(TimestampError { timestamp, parent });
        }
        self.next = Some(timestamp);
        Ok(())
    }

    pub fn set_interval(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.interval, seconds).is_some()
    }
}
