use std::sync::OnceLock;

use alloy_consensus::Transaction as _;
use alloy_eips::eip7702::{RecoveredAuthority, RecoveredAuthorization, SignedAuthorization};
use alloy_eips::{Typed2718, eip4844};
use alloy_primitives::{Address, TxKind, U256};
use annex_types::transaction::recover_signer;
use annex_types::{RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction};
use op_alloy_consensus::TxDeposit;
use revm::context::TxEnv;
use revm::context_interface::cfg::GasParams;
use revm::context_interface::either::Either;
use revm::interpreter::InitialAndFloorGas;
use revm::primitives::eip3860::MAX_INITCODE_SIZE;
use revm::primitives::hardfork::SpecId;

use crate::{BlockEnv, InvalidTransaction, Rules};

/// Blobs one transaction may carry (EIP-7594).
const MAX_BLOBS_PER_TRANSACTION: usize = 6;

/// A transaction that is valid as far as its block alone decides, ready to run.
pub(crate) struct Prepared {
    /// Its gas limit is execution's, without data gas.
    pub env: TxEnv,
    pub intrinsic: InitialAndFloorGas,
    pub data_gas: u64,
    /// Effective gas price in wei.
    pub price: u128,
}

/// Whether a transaction is valid as far as its block alone decides: all but sender, nonce and balance.
pub fn check(
    rules: Rules,
    block: &BlockEnv,
    transaction: &RecoveredTransaction,
) -> Result<(), InvalidTransaction> {
    prepare(rules, block, transaction).map(|_| ())
}

pub(crate) fn prepare(
    rules: Rules,
    block: &BlockEnv,
    transaction: &RecoveredTransaction,
) -> Result<Prepared, InvalidTransaction> {
    let tx = &transaction.transaction;
    check_type(rules, block, tx)?;
    check_fees(block, tx)?;
    if let Some(have) = tx.chain_id()
        && have != block.chain_id
    {
        return Err(InvalidTransaction::WrongChainId { have, want: block.chain_id });
    }
    if tx.nonce() == u64::MAX {
        return Err(InvalidTransaction::NonceAtMaximum);
    }
    if tx.is_create() && tx.input().len() > MAX_INITCODE_SIZE {
        let size = tx.input().len();
        return Err(InvalidTransaction::InitCodeTooLarge { size, limit: MAX_INITCODE_SIZE });
    }
    let data_gas = match rules {
        Rules::L1 => 0,
        Rules::L2 => block.data_gas(transaction.data_size),
    };
    let limit = tx.gas_limit();
    let execution_limit = limit.saturating_sub(data_gas);
    if execution_limit > TX_GAS_LIMIT_CAP {
        let cap = TX_GAS_LIMIT_CAP;
        return Err(InvalidTransaction::GasLimitAboveCap { limit: execution_limit, cap });
    }
    if execution_limit > block.gas_limit {
        let left = block.gas_limit;
        return Err(InvalidTransaction::GasLimitAboveBlock { limit: execution_limit, left });
    }
    let env = signed_env(tx, transaction.sender, execution_limit);
    let intrinsic = intrinsic_gas(&env);
    let required = data_gas.saturating_add(least_gas(&intrinsic));
    if limit < required {
        return Err(InvalidTransaction::IntrinsicGas { limit, required, data_gas });
    }
    let price = tx.effective_gas_price(Some(block.base_fee));
    Ok(Prepared { env, intrinsic, data_gas, price })
}

fn check_type(rules: Rules, block: &BlockEnv, tx: &Transaction) -> Result<(), InvalidTransaction> {
    match (tx, rules) {
        (Transaction::Deposit(_), _) | (Transaction::Eip4844(_), Rules::L2) => {
            Err(InvalidTransaction::TypeNotSupported(tx.ty()))
        }
        (Transaction::Eip4844(_), Rules::L1) => {
            let hashes = tx.blob_versioned_hashes().unwrap_or_default();
            let (count, limit) = (hashes.len(), MAX_BLOBS_PER_TRANSACTION);
            let fee_cap = tx.max_fee_per_blob_gas().unwrap_or_default();
            if count == 0 {
                Err(InvalidTransaction::NoBlobs)
            } else if count > limit {
                Err(InvalidTransaction::TooManyBlobs { count, limit })
            } else if hashes.iter().any(|h| h[0] != eip4844::VERSIONED_HASH_VERSION_KZG) {
                Err(InvalidTransaction::BlobVersion)
            } else if fee_cap < block.blob_base_fee {
                let blob_base_fee = block.blob_base_fee;
                Err(InvalidTransaction::BlobFeeCapBelowBaseFee { fee_cap, blob_base_fee })
            } else {
                Ok(())
            }
        }
        (Transaction::Eip7702(tx), _) if tx.tx().authorization_list.is_empty() => {
            Err(InvalidTransaction::EmptyAuthorizationList)
        }
        _ => Ok(()),
    }
}

fn check_fees(block: &BlockEnv, tx: &Transaction) -> Result<(), InvalidTransaction> {
    let fee_cap = tx.max_fee_per_gas();
    if let Some(tip) = tx.max_priority_fee_per_gas()
        && tip > fee_cap
    {
        return Err(InvalidTransaction::TipAboveFeeCap { tip, fee_cap });
    }
    let base_fee = block.base_fee;
    if fee_cap < u128::from(base_fee) {
        return Err(InvalidTransaction::FeeCapBelowBaseFee { fee_cap, base_fee });
    }
    Ok(())
}

fn signed_env(tx: &Transaction, sender: Address, gas_limit: u64) -> TxEnv {
    TxEnv {
        tx_type: tx.ty(),
        caller: sender,
        gas_limit,
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: tx.max_priority_fee_per_gas(),
        blob_hashes: tx.blob_versioned_hashes().map(<[_]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: authorizations(tx.authorization_list().unwrap_or_default()),
    }
}

pub(crate) fn deposit_env(deposit: &TxDeposit) -> TxEnv {
    TxEnv {
        tx_type: op_alloy_consensus::DEPOSIT_TX_TYPE_ID,
        caller: deposit.from,
        gas_limit: deposit.gas_limit,
        gas_price: 0,
        kind: deposit.to,
        value: deposit.value,
        data: deposit.input.clone(),
        nonce: 0,
        chain_id: None,
        access_list: Default::default(),
        gas_priority_fee: None,
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

/// Recovers authorities with the same code everywhere; the EVM library would use another library in the guest.
pub(crate) fn authorizations(
    list: &[SignedAuthorization],
) -> Vec<Either<SignedAuthorization, RecoveredAuthorization>> {
    let authority = |signed: &SignedAuthorization| {
        let signature = signed.signature().ok()?;
        recover_signer(&signature, signed.signature_hash()).ok()
    };
    list.iter()
        .map(|signed| {
            let authority =
                authority(signed).map_or(RecoveredAuthority::Invalid, RecoveredAuthority::Valid);
            Either::Right(RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority))
        })
        .collect()
}

pub(crate) fn intrinsic_gas(env: &TxEnv) -> InitialAndFloorGas {
    static PARAMS: OnceLock<GasParams> = OnceLock::new();
    PARAMS.get_or_init(|| GasParams::new_spec(SpecId::OSAKA)).initial_tx_gas_for_tx(env, None)
}

/// The smallest gas limit: the intrinsic gas, or EIP-7623's floor.
pub(crate) fn least_gas(intrinsic: &InitialAndFloorGas) -> u64 {
    intrinsic.initial_total_gas().max(intrinsic.floor_gas())
}

/// Whether a deposit can start at all, given its sender's balance (mint included) and nonce.
pub(crate) fn deposit_starts(
    env: &TxEnv,
    intrinsic: &InitialAndFloorGas,
    balance: U256,
    nonce: u64,
) -> bool {
    nonce != u64::MAX
        && balance >= env.value
        && env.gas_limit >= least_gas(intrinsic)
        && (env.kind != TxKind::Create || env.data.len() <= MAX_INITCODE_SIZE)
}
