use alloy_eips::eip4844::Blob;
use alloy_primitives::{B256, Bytes};
use annex_state::{Nibbles, NodeSource};

/// Longest byte string that is looked up by its hash (spec/machine.md, "Preimage").
pub const MAX_PREIMAGE: usize = 65_536;

/// What a preimage is looked up by; the machine's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Kind {
    /// Keccak-256.
    Keccak = 0,
    /// A blob's versioned hash (EIP-4844).
    Blob = 1,
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Keccak => "keccak",
            Self::Blob => "blob",
        })
    }
}

/// Where preimages come from. What it returns is believed: the machine, and a host's collection, hold nothing else.
pub trait PreimageSource {
    /// Why the host could not deliver.
    type Error: core::error::Error + Send + Sync + 'static;

    fn keccak(&self, key: B256) -> Result<Bytes, Self::Error>;

    fn blob(&self, versioned_hash: B256) -> Result<Box<Blob>, Self::Error>;
}

/// Trie nodes and codes.
pub(crate) struct State<'a, S>(pub &'a S);

impl<S: PreimageSource> NodeSource for State<'_, S> {
    type Error = S::Error;

    fn node(&self, _: Option<B256>, _: &Nibbles, hash: B256) -> Result<Bytes, S::Error> {
        self.0.keccak(hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes, S::Error> {
        self.0.keccak(hash)
    }
}
