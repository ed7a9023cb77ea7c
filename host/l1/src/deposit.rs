//! Deposits through the Portal.

use crate::client::{BlockRef, L1Client};
use crate::contracts::{Inbox, Portal};
use crate::error::L1Error;
use crate::records::{LogPosition, decode_record};
use crate::send::{Call, SendLimits, SendOutcome, Sender};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall, SolEvent};
use annex_types::{ForcedItem, RecordPayload};

/// A transaction to force into L2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    pub to: TxKind,
    /// Wei sent along and minted to the sender on L2.
    pub mint: U256,
    /// Wei the transaction carries on L2, out of the minted and what the sender has there.
    pub value: U256,
    /// L2 gas, bought by burning L1 gas.
    pub gas_limit: u64,
    pub data: Bytes,
}

/// A deposit that L1 has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepositReceipt {
    pub l1_block: BlockRef,
    pub l1_tx: B256,
    /// Index of the record it became.
    pub record: u64,
    pub item: ForcedItem,
    /// Hash of the L2 transaction it will be.
    pub l2_hash: B256,
    /// The hash that tools of the OP Stack compute for it.
    pub op_alias: B256,
}

/// How a deposit ended.
#[derive(Clone, Debug)]
pub enum DepositOutcome {
    Taken(Box<DepositReceipt>),
    /// Not taken; never `Included`.
    Failed(SendOutcome),
}

/// Deposits with a key and waits until L1 has taken it.
pub async fn deposit(
    client: &L1Client,
    signer: PrivateKeySigner,
    portal: Address,
    deposit: &Deposit,
    limits: SendLimits,
) -> Result<DepositOutcome, L1Error> {
    let (to, creation) = match deposit.to {
        TxKind::Call(to) => (to, false),
        TxKind::Create => (Address::ZERO, true),
    };
    let input = Portal::depositTransactionCall {
        to,
        value: deposit.value,
        gasLimit: deposit.gas_limit,
        isCreation: creation,
        data: deposit.data.clone(),
    };
    let call = Call {
        to: TxKind::Call(portal),
        input: input.abi_encode().into(),
        value: deposit.mint,
        sidecar: None,
    };
    let inbox = client.read(portal, &Portal::inboxCall {}).await?;
    let included = match Sender::new(client.clone(), signer, limits).send(&call).await? {
        SendOutcome::Included(included) => included,
        other => return Ok(DepositOutcome::Failed(other)),
    };
    let log = included
        .logs
        .iter()
        .find(|log| log.address() == inbox && log.topic0() == Some(&Inbox::Record::SIGNATURE_HASH))
        .ok_or(L1Error::NotFound)?;
    let index = log.topics().get(1).map_or(0, |index| U256::from_be_bytes(index.0).saturating_to());
    let previous = match index {
        0 => B256::ZERO,
        _ => {
            let call = Inbox::accumulatorCall { index: U256::from(index - 1) };
            client.read(inbox, &call).await?
        }
    };
    let record = decode_record(log, &mut LogPosition { next: index, accumulator: previous })?;
    let op_alias = record.op_alias().ok_or(L1Error::NotFound)?;
    let RecordPayload::Forced(item) = record.record.payload else {
        return Err(L1Error::NotFound);
    };
    Ok(DepositOutcome::Taken(Box::new(DepositReceipt {
        l1_block: included.block,
        l1_tx: included.tx,
        record: index,
        l2_hash: item.to_deposit(inbox).tx_hash(),
        op_alias,
        item,
    })))
}
