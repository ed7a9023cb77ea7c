//! The log, from the cursor's record backwards.

use std::collections::VecDeque;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_derive::{BatchTerms, Head, Log};
use annex_types::{ForcedItem, MAX_BLOCK_TRANSACTIONS, Origin, RecordEnv};

use crate::words::Words;
use crate::{ClaimError, ClaimInput, Impossible, PreimageSource};

/// What a record is (spec/records.md).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Genesis,
    Forced,
    Blobs,
    Calldata,
}

/// Domain tags of records.
pub(crate) struct Tags([(B256, RecordKind); 4]);

impl Tags {
    pub fn new() -> Self {
        Self([
            (keccak256("annex.record.genesis.v1"), RecordKind::Genesis),
            (keccak256("annex.record.forced.v1"), RecordKind::Forced),
            (keccak256("annex.record.batch.blobs.v1"), RecordKind::Blobs),
            (keccak256("annex.record.batch.calldata.v1"), RecordKind::Calldata),
        ])
    }

    fn kind(&self, tag: B256) -> Result<RecordKind, Impossible> {
        let found = self.0.iter().find(|(known, _)| *known == tag);
        found.map(|(_, kind)| *kind).ok_or(Impossible::Record)
    }
}

/// A record as its accumulator commits to it.
pub(crate) struct Entry {
    pub kind: RecordKind,
    pub previous: B256,
    pub env: RecordEnv,
    pub payload_hash: B256,
}

impl Entry {
    pub fn read<S: PreimageSource>(
        source: &S,
        tags: &Tags,
        accumulator: B256,
    ) -> Result<Self, ClaimError<S::Error>> {
        let words = Words::<8>::new(source.keccak(accumulator).map_err(ClaimError::Source)?)?;
        Ok(Self {
            kind: tags.kind(words.hash(0))?,
            previous: words.hash(1),
            env: RecordEnv {
                l1_block_number: words.u64(2)?,
                timestamp: words.u64(3)?,
                base_fee: words.u256(4),
                blob_base_fee: words.u256(5),
                l1_parent_hash: words.hash(6),
            },
            payload_hash: words.hash(7),
        })
    }
}

/// A batch as its payload hash commits to it.
pub(crate) struct BatchWords {
    pub terms: BatchTerms,
    pub data_hash: B256,
}

impl BatchWords {
    pub fn read<S: PreimageSource>(
        source: &S,
        payload_hash: B256,
    ) -> Result<Self, ClaimError<S::Error>> {
        let words = Words::<4>::new(source.keccak(payload_hash).map_err(ClaimError::Source)?)?;
        let terms = BatchTerms { submitter: words.address(0)?, forced_up_to: words.u64(2)? };
        Ok(Self { terms, data_hash: words.hash(3) })
    }
}

/// A forced item without its data.
struct ForcedWords(Words<8>);

impl ForcedWords {
    fn read<S: PreimageSource>(
        source: &S,
        payload_hash: B256,
    ) -> Result<Self, ClaimError<S::Error>> {
        let bytes = source.keccak(payload_hash).map_err(ClaimError::Source)?;
        Ok(Self(Words::new(bytes)?))
    }

    fn index(&self) -> Result<u64, Impossible> {
        self.0.u64(0)
    }

    fn gas_limit(&self) -> Result<u64, Impossible> {
        self.0.u64(5)
    }

    fn data_hash(&self) -> B256 {
        self.0.hash(7)
    }

    fn item(&self, data: Bytes) -> Result<ForcedItem, Impossible> {
        let words = &self.0;
        let (from, to): (Address, Address) = (words.address(1)?, words.address(2)?);
        let value: U256 = words.u256(4);
        Ok(ForcedItem {
            index: self.index()?,
            from,
            to,
            mint: words.u128(3)?,
            value,
            gas_limit: self.gas_limit()?,
            is_creation: words.bool(6)?,
            data,
        })
    }
}

/// Forced items that a block can hold, and the one that does not fit any more.
const KEPT_ITEMS: usize = MAX_BLOCK_TRANSACTIONS + 1;

/// The records and forced items that one step may name. However far it has to walk, it keeps no more than those.
pub(crate) struct Walk<'a, S> {
    source: &'a S,
    tags: &'a Tags,
    /// Index, accumulator and timestamp of the cursor's record, the one before it, the origin that a block names, and the
    /// one after that.
    records: Vec<(u64, B256, u64)>,
    /// The head's forced count.
    first_item: u64,
    /// Records and payload hashes of the items from number `first_item` on.
    forced: VecDeque<(u64, B256)>,
}

impl<'a, S: PreimageSource> Walk<'a, S> {
    /// Nothing: enough where nothing of the record is left.
    pub fn none(source: &'a S, tags: &'a Tags) -> Self {
        Self { source, tags, records: Vec::new(), first_item: 0, forced: VecDeque::new() }
    }

    /// Back to the head's origin, the record before the cursor's, and the first forced item that the head has not consumed if
    /// the batch covers it. `origin` is that of the payload's block.
    pub fn back(
        source: &'a S,
        tags: &'a Tags,
        head: &Head,
        input: &ClaimInput,
        forced_up_to: u64,
        origin: Option<u64>,
    ) -> Result<Self, ClaimError<S::Error>> {
        let (top, first_item) = (input.cursor.record, head.forced_count);
        let mut walk = Self { first_item, ..Self::none(source, tags) };
        let is_named = |record: u64| {
            let origin = origin.is_some_and(|it| it == record || it.checked_add(1) == Some(record));
            origin || record == top || record + 1 == top
        };
        let lowest = head.origin.min(top.saturating_sub(1));
        let mut due = forced_up_to.saturating_sub(first_item);
        let (mut at, mut accumulator) = (top, input.accumulator);
        loop {
            let entry = Entry::read(source, tags, accumulator)?;
            if is_named(at) {
                walk.records.push((at, accumulator, entry.env.timestamp));
            }
            if due > 0 && entry.kind == RecordKind::Forced {
                let index = ForcedWords::read(source, entry.payload_hash)?.index()?;
                // The queue has no gaps.
                let expected = first_item + due - 1;
                if index < expected {
                    return Err(Impossible::Record.into());
                }
                if index == expected {
                    walk.forced.push_front((at, entry.payload_hash));
                    walk.forced.truncate(KEPT_ITEMS);
                    due -= 1;
                }
            }
            if at <= lowest && due == 0 {
                return Ok(walk);
            }
            at = at.checked_sub(1).ok_or(Impossible::Record)?;
            accumulator = entry.previous;
        }
    }

    fn record(&self, record: u64) -> Option<(B256, u64)> {
        let found = self.records.iter().find(|(index, ..)| *index == record);
        found.map(|(_, accumulator, timestamp)| (*accumulator, *timestamp))
    }

    fn forced_entry(&self, item: u64) -> Option<&(u64, B256)> {
        self.forced.get(usize::try_from(item.checked_sub(self.first_item)?).ok()?)
    }

    fn forced_words(&self, item: u64) -> Result<ForcedWords, ClaimError<S::Error>> {
        let (_, payload_hash) = self.forced_entry(item).ok_or(Impossible::Record)?;
        ForcedWords::read(self.source, *payload_hash)
    }
}

impl<S: PreimageSource> Log for Walk<'_, S> {
    type Error = ClaimError<S::Error>;

    fn timestamp(&self, record: u64) -> Option<u64> {
        self.record(record).map(|(_, timestamp)| timestamp)
    }

    fn record_of_forced(&self, item: u64) -> Option<u64> {
        self.forced_entry(item).map(|(record, _)| *record)
    }

    fn origin(&self, index: u64) -> Result<Origin, Self::Error> {
        let (accumulator, _) = self.record(index).ok_or(Impossible::Record)?;
        let env = Entry::read(self.source, self.tags, accumulator)?.env;
        Ok(Origin { index, accumulator, env })
    }

    fn forced_gas(&self, item: u64) -> Result<u64, Self::Error> {
        Ok(self.forced_words(item)?.gas_limit()?)
    }

    fn forced(&self, item: u64) -> Result<ForcedItem, Self::Error> {
        let words = self.forced_words(item)?;
        let data = self.source.keccak(words.data_hash()).map_err(ClaimError::Source)?;
        Ok(words.item(data)?)
    }
}
