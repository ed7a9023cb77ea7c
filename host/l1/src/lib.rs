//! Everything the node says to L1 and hears from it, given URLs alone.
//!
//! - [`L1Client`] asks an execution endpoint, and beacon endpoints for blobs; records are checked to chain, blobs to match their
//!   hashes.
//! - [`Follower`] reads the Inbox's log through reorganisations.
//! - [`Poster`] sends batches, [`deposit`] deposits, [`deploy`] a chain's contracts.
//! - [`settlement`] reads claims and disputes, [`withdrawal`] takes withdrawals from L2 to L1.
//! - [`contracts`] are the bindings, [`predeploys`] the code L2 starts with, [`Deployment`] the file that names a chain.
//!
//! Calls have timeouts, bounded answers and bounded retries. [`L1Error::is_transient`] tells whether to try again later.

mod batch_source;
mod beacon;
mod client;
pub mod contracts;
mod deploy;
mod deployment;
mod deposit;
mod error;
pub mod exit_market;
mod follow;
mod genesis;
mod poster;
mod records;
mod send;
pub mod settlement;
mod transport;
pub mod withdrawal;

pub use beacon::versioned_hash;
pub use client::{BlockRef, L1Block, L1Client};
pub use deploy::{Contract, DeployError, DeployRequest, StepError, deploy};
pub use deployment::{Contracts, Deployment, DeploymentFileError, Parameters};
pub use deposit::{Deposit, DepositOutcome, DepositReceipt, deposit};
pub use error::{L1Error, LogFault, Revert};
pub use follow::{Checkpoint, Event, Follower};
pub use genesis::{ProgramBoot, SettlementError, check_settlement, predeploys};
pub use poster::{BatchBody, Poster};
pub use records::{
    L1Record, LogPosition, decode_payload, decode_record, encode_payload, op_alias_hash,
};
pub use send::{Call, Included, SendLimits, SendOutcome, Sender};
pub use transport::{http_client, http_client_with};
