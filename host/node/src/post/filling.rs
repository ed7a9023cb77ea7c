//! Whether the blocks that wait fill a batch, without packing them at every look.

use annex_store::StoreError;

/// Blocks that wait for L1, counted once each.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// The block they stand on.
    after: u64,
    /// The newest one counted.
    counted: u64,
    /// Bytes of content up to that one.
    content: usize,
    /// Content with which a batch would be full, by how the last one compressed.
    expected: usize,
}

impl Filling {
    /// Whether the blocks after `after`, up to `head`, may fill a batch, which none of less than `least` bytes of content does.
    /// `content`: that of a block.
    pub fn may_fill(
        &mut self,
        after: u64,
        head: u64,
        least: usize,
        content: impl Fn(u64) -> Result<usize, StoreError>,
    ) -> Result<bool, StoreError> {
        if self.after != after || head < self.counted {
            *self = Self { after, counted: after, ..Self::default() };
        }
        let enough = self.expected.max(least);
        while self.counted < head && self.content <= enough {
            self.content += content(self.counted + 1)?;
            self.counted += 1;
        }
        Ok(self.content > enough)
    }

    /// A batch of all of them takes `size` bytes of the `capacity` that it has.
    pub fn packed(&mut self, size: usize, capacity: usize) {
        self.expected = self.content.saturating_mul(capacity) / size.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn blocks_are_counted_once_and_packed_when_they_may_fill_a_batch() {
        let (mut filling, counted) = (Filling::default(), Cell::new(0));
        let may_fill = |filling: &mut Filling, after, head| {
            let content = |_| {
                counted.set(counted.get() + 1);
                Ok(100)
            };
            let may = filling.may_fill(after, head, 1_000, content).expect("no store fails");
            (may, counted.take())
        };
        assert_eq!(may_fill(&mut filling, 7, 7), (false, 0), "nothing waits");
        assert_eq!(may_fill(&mut filling, 7, 12), (false, 5));
        assert_eq!(may_fill(&mut filling, 7, 17), (false, 5), "not more than the least");
        assert_eq!(may_fill(&mut filling, 7, 99), (true, 1), "the rest does not matter");

        // 1,100 bytes became 500 of 1,000: twice as much is to come.
        filling.packed(500, 1_000);
        assert_eq!(may_fill(&mut filling, 7, 29), (false, 11));
        assert_eq!(may_fill(&mut filling, 7, 30), (true, 1));
        filling.packed(999, 1_000);
        assert_eq!(may_fill(&mut filling, 7, 30), (false, 0));
        assert_eq!(may_fill(&mut filling, 7, 31), (true, 1));

        // A batch was taken; later blocks were undone.
        assert_eq!(may_fill(&mut filling, 30, 31), (false, 1));
        assert_eq!(may_fill(&mut filling, 30, 41), (true, 10));
        assert_eq!(may_fill(&mut filling, 30, 33), (false, 3));
    }

    #[test]
    fn a_block_that_cannot_be_read_is_an_error_and_is_not_counted() {
        let mut filling = Filling::default();
        let fails = |number| Err(StoreError::UnknownBlock(number));
        let failed = filling.may_fill(0, 3, 0, fails);
        assert!(matches!(failed, Err(StoreError::UnknownBlock(1))), "{failed:?}");
        assert!(filling.may_fill(0, 1, 0, |_| Ok(1)).expect("readable"));
    }
}
