//! The transaction envelope of both chains, receipts, and sender recovery.

use crate::fees;
use alloy_consensus::{
    EthereumReceipt, Sealed, Signed, TransactionEnvelope, TxEip1559, TxEip2930, TxEip4844,
    TxEip7702, TxLegacy,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, U256, keccak256, uint};
use op_alloy_consensus::TxDeposit;

/// EIP-2718 transaction. One envelope serves L1 (types 0–4) and L2 (0, 1, 2, 4 and 0x7E).
#[derive(Debug, Clone, TransactionEnvelope)]
#[envelope(tx_type_name = TxType, typed = TypedTransaction)]
pub enum Transaction {
    #[envelope(ty = 0)]
    Legacy(Signed<TxLegacy>),
    #[envelope(ty = 1)]
    Eip2930(Signed<TxEip2930>),
    #[envelope(ty = 2)]
    Eip1559(Signed<TxEip1559>),
    #[envelope(ty = 3)]
    Eip4844(Signed<TxEip4844>),
    #[envelope(ty = 4)]
    Eip7702(Signed<TxEip7702>),
    /// A forced item (spec/block.md, "Deposits").
    #[envelope(ty = 126)]
    #[serde(serialize_with = "op_alloy_consensus::serde_deposit_tx_rpc")]
    Deposit(Sealed<TxDeposit>),
}

/// `type ‖ rlp([status, cumulativeGasUsed, bloom, logs])`.
pub type Receipt = EthereumReceipt<TxType>;

// Receipts are encoded through `alloy_consensus::TxReceipt`, which asks for it.
impl alloy_consensus::InMemorySize for TxType {
    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

impl Transaction {
    /// Keccak of the EIP-2718 encoding.
    pub fn hash(&self) -> B256 {
        match self {
            Self::Legacy(tx) => *tx.hash(),
            Self::Eip2930(tx) => *tx.hash(),
            Self::Eip1559(tx) => *tx.hash(),
            Self::Eip4844(tx) => *tx.hash(),
            Self::Eip7702(tx) => *tx.hash(),
            Self::Deposit(tx) => tx.hash(),
        }
    }

    /// The signature and the hash it signs; none for a deposit.
    pub fn signature(&self) -> Option<(&Signature, B256)> {
        Some(match self {
            Self::Legacy(tx) => (tx.signature(), tx.signature_hash()),
            Self::Eip2930(tx) => (tx.signature(), tx.signature_hash()),
            Self::Eip1559(tx) => (tx.signature(), tx.signature_hash()),
            Self::Eip4844(tx) => (tx.signature(), tx.signature_hash()),
            Self::Eip7702(tx) => (tx.signature(), tx.signature_hash()),
            Self::Deposit(_) => return None,
        })
    }
}

/// A transaction with what is derived from its bytes alone, so that it can be computed beside the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredTransaction {
    pub transaction: Transaction,
    pub sender: Address,
    /// Chargeable size in 10^-6 bytes (spec/fees.md); zero for deposits.
    pub data_size: u64,
}

impl RecoveredTransaction {
    /// Recovers the sender; a deposit's is its `from`.
    pub fn recover(transaction: Transaction) -> Result<Self, SignatureError> {
        let (sender, data_size) = match &transaction {
            Transaction::Deposit(deposit) => (deposit.from, 0),
            signed => {
                let (signature, hash) = signed.signature().ok_or(SignatureError::Invalid)?;
                let sender = recover_signer(signature, hash)?;
                (sender, fees::data_size(&signed.encoded_2718()))
            }
        };
        Ok(Self { transaction, sender, data_size })
    }
}

/// Why no signer can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// EIP-2: the signature's s lies in the upper half of the curve order.
    #[error("invalid signature: s is in the upper half of the curve order (EIP-2)")]
    HighS,
    #[error("invalid signature: no public key matches it")]
    Invalid,
}

const HALF_ORDER: U256 =
    uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);

/// The address whose key signed `hash`; rejects high-s signatures (EIP-2).
pub fn recover_signer(signature: &Signature, hash: B256) -> Result<Address, SignatureError> {
    if signature.s() > HALF_ORDER {
        return Err(SignatureError::HighS);
    }
    let mut rs = [0u8; 64];
    rs[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
    rs[32..].copy_from_slice(&signature.s().to_be_bytes::<32>());
    let key = public_key(&rs, signature.v(), hash).ok_or(SignatureError::Invalid)?;
    Ok(Address::from_slice(&keccak256(key)[12..]))
}

/// Uncompressed public key, without its first byte.
#[cfg(feature = "host")]
fn public_key(rs: &[u8; 64], odd_y: bool, hash: B256) -> Option<[u8; 64]> {
    use secp256k1::{Message, SECP256K1, ecdsa};
    let id = ecdsa::RecoveryId::from_u8_masked(u8::from(odd_y));
    let signature = ecdsa::RecoverableSignature::from_compact(rs, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature).ok()?;
    key.serialize_uncompressed()[1..].try_into().ok()
}

#[cfg(not(feature = "host"))]
use crate::secp256k1::recover as public_key;

impl RecoveredTransaction {
    /// [`Self::recover`] of each, in order. Where the processor can, several at once.
    #[cfg(feature = "host")]
    pub fn recover_all(
        transactions: Vec<Transaction>,
    ) -> impl Iterator<Item = Result<Self, SignatureError>> {
        let signed: Vec<_> = transactions
            .iter()
            .filter_map(|tx| tx.signature().map(|(signature, hash)| (*signature, hash)))
            .collect();
        let mut signers = recover_signers(&signed).into_iter();
        transactions.into_iter().map(move |transaction| {
            if let Transaction::Deposit(_) = &transaction {
                return Self::recover(transaction);
            }
            let sender = signers.next().unwrap_or(Err(SignatureError::Invalid))?;
            let data_size = fees::data_size(&transaction.encoded_2718());
            Ok(Self { transaction, sender, data_size })
        })
    }

    /// [`Self::recover`] of each, in order.
    #[cfg(not(feature = "host"))]
    pub fn recover_all(
        transactions: Vec<Transaction>,
    ) -> impl Iterator<Item = Result<Self, SignatureError>> {
        transactions.into_iter().map(Self::recover)
    }
}

/// [`recover_signer`] of each, in order. Where the processor can, several at once.
#[cfg(feature = "host")]
pub fn recover_signers(signed: &[(Signature, B256)]) -> Vec<Result<Address, SignatureError>> {
    use crate::secp256k1::{Recovered, recover_many};
    let inputs: Vec<_> = signed
        .iter()
        .filter(|(signature, _)| signature.s() <= HALF_ORDER)
        .map(|(signature, hash)| {
            let bytes = signature.as_bytes();
            let rs = *bytes.first_chunk().expect("65 bytes are more than 64");
            (rs, signature.v(), *hash)
        })
        .collect();
    let mut keys = recover_many(&inputs).into_iter();
    let recover = |(signature, hash): &(Signature, B256)| {
        if signature.s() > HALF_ORDER {
            return Err(SignatureError::HighS);
        }
        match keys.next() {
            Some(Recovered::Key(key)) => Ok(Address::from_slice(&keccak256(key)[12..])),
            Some(Recovered::Invalid) => Err(SignatureError::Invalid),
            Some(Recovered::Left) | None => recover_signer(signature, *hash),
        }
    };
    signed.iter().map(recover).collect()
}

#[cfg(test)]
mod tests;
