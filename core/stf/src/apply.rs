use annex_evm::CodeCache;
use annex_state::{NodeSource, StateReader, TrieError};
use annex_types::block::ExtraDataError;
use annex_types::{BlockInput, ChainConfig, Header};

use crate::{InvalidTransaction, OpenBlock, ParentBlock, SealedBlock, seal};

/// Why a block is invalid, whoever executes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// `index` counts the forced items.
    #[error("the gas limit of forced item {index} does not fit the block")]
    ForcedGas { index: usize },
    /// `index` counts the transactions that are not forced.
    #[error("transaction {index}: {reason}")]
    Transaction { index: usize, reason: InvalidTransaction },
}

/// Why a block could not be applied: nothing is known about its validity.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<R: core::error::Error, S: core::error::Error> {
    #[error("reading the state: {0}")]
    Reader(R),
    #[error("computing the state root: {0}")]
    Trie(TrieError<S>),
    #[error("parent: {0}")]
    Parent(#[from] ExtraDataError),
}

/// Executes and seals the block after `parent`. `reader` and `source` hold the state that `parent` left.
#[allow(clippy::type_complexity)]
pub fn apply_block<R: StateReader, S: NodeSource>(
    config: &ChainConfig,
    parent: &Header,
    input: &BlockInput,
    reader: R,
    source: &S,
) -> Result<Result<SealedBlock, InvalidBlock>, ApplyError<R::Error, S::Error>> {
    let summary = ParentBlock::try_from(parent)?;
    let mut block =
        OpenBlock::open(config, summary, input.attributes, reader, CodeCache::default());
    for (index, item) in input.forced.iter().enumerate() {
        if block.push_forced(item).map_err(ApplyError::Reader)?.is_none() {
            return Ok(Err(InvalidBlock::ForcedGas { index }));
        }
    }
    for (index, transaction) in input.transactions.iter().enumerate() {
        if let Err(reason) = block.execute(transaction).map_err(ApplyError::Reader)? {
            return Ok(Err(InvalidBlock::Transaction { index, reason }));
        }
    }
    let (executed, _) = block.finish();
    seal(executed, parent, source).map(Ok).map_err(ApplyError::Trie)
}
