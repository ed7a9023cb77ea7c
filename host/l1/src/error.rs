//! Errors by what the caller does about them.

use crate::contracts::{ExitMarket, Inbox, Portal};
use crate::transport::TooLarge;
use alloy_json_rpc::{ErrorPayload, RpcError};
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{Revert as RevertString, SolError, SolInterface};
use alloy_transport::{TransportError, TransportErrorKind};
use std::fmt;

/// What went wrong between the node and L1.
#[derive(Debug, thiserror::Error)]
pub enum L1Error {
    /// Nobody answers, or an overloaded endpoint; the same call may succeed later.
    #[error("the L1 endpoint is unavailable: {0}")]
    Unavailable(#[source] Box<TransportErrorKind>),
    /// The block or transaction is not there (yet), though it was named before: a reorganisation, or a lagging replica.
    #[error("the L1 endpoint does not have what it named before")]
    NotFound,
    /// No source has the blob. It may appear later or at another source.
    #[error("no source has blob {hash} of L1 block {block}")]
    MissingBlob { hash: B256, block: u64 },
    /// A beacon endpoint failed.
    #[error("the beacon endpoint is unavailable: {0}")]
    Beacon(#[source] reqwest::Error),
    /// A node that was asked for blobs failed.
    #[error("the batch source is unavailable: {0}")]
    BatchSource(#[source] reqwest::Error),
    /// More than this node reads at once.
    #[error("the L1 endpoint's answer is too long")]
    TooLarge,
    /// The endpoint understood and refuses.
    #[error("the L1 endpoint refuses: {0}")]
    Rejected(Box<ErrorPayload>),
    /// A simulated call reverted.
    #[error("reverted: {0}")]
    Reverted(Revert),
    /// An answer that is not what the method answers.
    #[error("the L1 endpoint's answer cannot be read: {0}")]
    Malformed(#[source] serde_json::Error),
    /// What a contract answered is not what its function returns: there is no such function, or no contract (yet).
    #[error("the contract's answer cannot be read: {0}")]
    Output(#[source] alloy_sol_types::Error),
    /// The Inbox's log, as this endpoint tells it, does not chain.
    #[error("the L1 endpoint's log is wrong at record {index}: {fault}")]
    Log { index: u64, fault: LogFault },
    #[error("the L1 chain id is {actual}, not {expected}")]
    WrongChain { expected: u64, actual: u64 },
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[source] reqwest::Error),
    /// Blobs that are not made of field elements.
    #[error("not a blob: {0}")]
    Kzg(#[from] c_kzg::Error),
    #[error("cannot sign: {0}")]
    Signer(#[from] alloy_signer::Error),
}

/// How a log contradicts spec/records.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    #[error("a record is missing before it or repeated: its index is {found}")]
    Index { found: u64 },
    #[error("its accumulator does not follow from its content and the record before")]
    Accumulator,
    #[error("its payload does not decode")]
    Payload,
    #[error("its kind is unknown")]
    Kind,
    #[error("it claims L1 block {claimed} and lies in {actual}")]
    Block { claimed: u64, actual: u64 },
    #[error("its log lacks the block, transaction or position")]
    Unmined,
}

impl L1Error {
    /// Whether the same call may succeed later: with another answer of the endpoint, or another endpoint behind its URL. What an
    /// endpoint says, and be it nonsense, is no reason to give up.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::WrongChain { .. }
                | Self::Url(_)
                | Self::Client(_)
                | Self::Kzg(_)
                | Self::Signer(_)
        )
    }
}

impl From<TransportError> for L1Error {
    fn from(error: TransportError) -> Self {
        match error {
            RpcError::ErrorResp(payload) => match payload.as_revert_data() {
                Some(data) => Self::Reverted(Revert { data }),
                None if payload.message.contains("execution reverted") => {
                    Self::Reverted(Revert::default())
                }
                None if payload.is_retry_err() => Self::Unavailable(Box::new(
                    TransportErrorKind::Custom(payload.message.as_ref().into()),
                )),
                None => Self::Rejected(Box::new(payload)),
            },
            RpcError::NullResp => Self::NotFound,
            RpcError::SerError(error) | RpcError::DeserError { err: error, .. } => {
                Self::Malformed(error)
            }
            RpcError::Transport(TransportErrorKind::NonRetryable(error))
                if error.is::<TooLarge>() =>
            {
                Self::TooLarge
            }
            RpcError::Transport(kind) => Self::Unavailable(Box::new(kind)),
            RpcError::UnsupportedFeature(feature) => {
                Self::Unavailable(Box::new(TransportErrorKind::Custom(feature.into())))
            }
            RpcError::LocalUsageError(error) => {
                Self::Unavailable(Box::new(TransportErrorKind::Custom(error)))
            }
        }
    }
}

/// What a call reverted with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revert {
    pub data: Bytes,
}

impl Revert {
    /// The Inbox's error, if it is one.
    pub fn inbox(&self) -> Option<Inbox::InboxErrors> {
        Inbox::InboxErrors::abi_decode(&self.data).ok()
    }

    /// The Portal's error, if it is one.
    pub fn portal(&self) -> Option<Portal::PortalErrors> {
        Portal::PortalErrors::abi_decode(&self.data).ok()
    }

    /// The ExitMarket's error, if it is one.
    pub fn exit_market(&self) -> Option<ExitMarket::ExitMarketErrors> {
        ExitMarket::ExitMarketErrors::abi_decode(&self.data).ok()
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.data.is_empty() {
            f.write_str("no reason given")
        } else if let Some(error) = self.inbox() {
            write!(f, "{error:?}")
        } else if let Some(error) = self.portal() {
            write!(f, "{error:?}")
        } else if let Some(error) = self.exit_market() {
            write!(f, "{error:?}")
        } else if let Ok(RevertString { reason }) = RevertString::abi_decode(&self.data) {
            f.write_str(&reason)
        } else {
            write!(f, "{}", self.data)
        }
    }
}
