//! The columns of a batch's content.

use super::{Batch, BatchError, Limits};
use crate::{BatchBlock, Transaction};
use alloy_consensus::{Signed, TxEip1559, TxLegacy};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};

/// Columns of blocks, then of transactions, in the order of spec/batch.md.
#[derive(Clone, Copy)]
enum Column {
    Timestamps,
    Beneficiaries,
    Flags,
    Origins,
    Forced,
    Counts,
    Kinds,
    Nonces,
    GasLimits,
    Tips,
    Fees,
    To,
    Values,
    InputLengths,
    Inputs,
    Signatures,
    RawLengths,
    Raw,
}

const COLUMNS: usize = Column::Raw as usize + 1;
const VARINT_64: usize = 10;
const VARINT_128: usize = 19;

/// No block adds more to a content than this, its transactions aside.
pub const BLOCK_LEN_BOUND: usize = 4 * VARINT_64 + 21;
/// No content has more than this besides its blocks.
pub const CONTENT_OVERHEAD_BOUND: usize = 32 + VARINT_64 * (1 + COLUMNS);

const NEW_BENEFICIARY: u8 = 1;
const RAW: u8 = 0;
const EIP1559: u8 = 1;
const LEGACY: u8 = 2;
const CREATION: u8 = 1 << 6;
const ODD_Y: u8 = 1 << 7;

/// Content of a batch, to be compressed.
pub fn encode_content(batch: &Batch, chain_id: u64) -> Vec<u8> {
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let (mut timestamp, mut origin, mut beneficiary) = (0u64, 0u64, None);
    for block in &batch.blocks {
        let mut number = |c: Column, n: u64| put_varint(&mut columns[c as usize], n.into());
        // A decrease, which the caller excludes, wraps and so does not decode.
        number(Column::Timestamps, block.timestamp.wrapping_sub(timestamp));
        number(Column::Origins, block.origin.wrapping_sub(origin));
        number(Column::Forced, block.forced);
        number(Column::Counts, block.transactions.len() as u64);
        let is_new = beneficiary != Some(block.beneficiary);
        columns[Column::Flags as usize].push(if is_new { NEW_BENEFICIARY } else { 0 });
        if is_new {
            columns[Column::Beneficiaries as usize].extend_from_slice(block.beneficiary.as_slice());
        }
        (timestamp, origin, beneficiary) = (block.timestamp, block.origin, Some(block.beneficiary));
        for transaction in &block.transactions {
            put_transaction(transaction, chain_id, |c, bytes| {
                columns[c as usize].extend_from_slice(bytes);
            });
        }
    }
    let mut out = batch.parent_hash.to_vec();
    put_varint(&mut out, batch.blocks.len() as u128);
    for column in &columns {
        put_varint(&mut out, column.len() as u128);
        out.extend_from_slice(column);
    }
    out
}

/// Bytes a transaction adds to a content. With [`BLOCK_LEN_BOUND`] and [`CONTENT_OVERHEAD_BOUND`] this bounds the
/// content of blocks not yet encoded, to be compared with [`MAX_BLOB_CONTENT`](super::MAX_BLOB_CONTENT).
pub fn transaction_len(transaction: &Transaction, chain_id: u64) -> usize {
    let mut len = 0;
    put_transaction(transaction, chain_id, |_, bytes| len += bytes.len());
    len
}

/// What the columns hold of a transaction of kind 1 or 2.
struct Plain<'a> {
    kind: u8,
    nonce: u64,
    gas_limit: u64,
    /// None for kind 2.
    tip: Option<u128>,
    fee: u128,
    to: TxKind,
    value: U256,
    input: &'a Bytes,
    signature: &'a Signature,
}

impl<'a> Plain<'a> {
    fn new(transaction: &'a Transaction, chain_id: u64) -> Option<Self> {
        match transaction {
            Transaction::Eip1559(signed) => {
                let tx = signed.tx();
                (tx.chain_id == chain_id && tx.access_list.is_empty()).then(|| Self {
                    kind: EIP1559,
                    nonce: tx.nonce,
                    gas_limit: tx.gas_limit,
                    tip: Some(tx.max_priority_fee_per_gas),
                    fee: tx.max_fee_per_gas,
                    to: tx.to,
                    value: tx.value,
                    input: &tx.input,
                    signature: signed.signature(),
                })
            }
            Transaction::Legacy(signed) => {
                let tx = signed.tx();
                (tx.chain_id == Some(chain_id)).then(|| Self {
                    kind: LEGACY,
                    nonce: tx.nonce,
                    gas_limit: tx.gas_limit,
                    tip: None,
                    fee: tx.gas_price,
                    to: tx.to,
                    value: tx.value,
                    input: &tx.input,
                    signature: signed.signature(),
                })
            }
            _ => None,
        }
    }
}

fn put_transaction(transaction: &Transaction, chain_id: u64, mut put: impl FnMut(Column, &[u8])) {
    let mut scratch = Vec::with_capacity(VARINT_128);
    let mut varint = |put: &mut dyn FnMut(Column, &[u8]), column: Column, value: u128| {
        scratch.clear();
        put_varint(&mut scratch, value);
        put(column, &scratch);
    };
    let Some(plain) = Plain::new(transaction, chain_id) else {
        let raw = transaction.encoded_2718();
        put(Column::Kinds, &[RAW]);
        varint(&mut put, Column::RawLengths, raw.len() as u128);
        put(Column::Raw, &raw);
        return;
    };
    let odd_y = if plain.signature.v() { ODD_Y } else { 0 };
    let creation = if plain.to.is_create() { CREATION } else { 0 };
    put(Column::Kinds, &[plain.kind | odd_y | creation]);
    varint(&mut put, Column::Nonces, plain.nonce.into());
    varint(&mut put, Column::GasLimits, plain.gas_limit.into());
    if let Some(tip) = plain.tip {
        varint(&mut put, Column::Tips, tip);
    }
    varint(&mut put, Column::Fees, plain.fee);
    if let TxKind::Call(to) = plain.to {
        put(Column::To, to.as_slice());
    }
    let value = plain.value.to_be_bytes_trimmed_vec();
    put(Column::Values, &[value.len() as u8]);
    put(Column::Values, &value);
    varint(&mut put, Column::InputLengths, plain.input.len() as u128);
    put(Column::Inputs, plain.input);
    put(Column::Signatures, &plain.signature.r().to_be_bytes::<32>());
    put(Column::Signatures, &plain.signature.s().to_be_bytes::<32>());
}

fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes not yet read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BatchError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BatchError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BatchError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, BatchError> {
        self.array().map(|[byte]| byte)
    }

    /// At most `max_len` bytes, which are those of `bits` bits.
    fn varint(&mut self, max_len: usize, bits: u32) -> Result<u128, BatchError> {
        let mut value = 0u128;
        for i in 0..max_len {
            let byte = self.byte()?;
            let group = u128::from(byte & 0x7f);
            let shift = 7 * i as u32;
            if shift + 7 > bits && group >> (bits - shift) != 0 {
                return Err(BatchError::Varint);
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                let is_shortest = byte != 0 || i == 0;
                return if is_shortest { Ok(value) } else { Err(BatchError::Varint) };
            }
        }
        Err(BatchError::Varint)
    }

    fn u128(&mut self) -> Result<u128, BatchError> {
        self.varint(VARINT_128, 128)
    }

    fn u64(&mut self) -> Result<u64, BatchError> {
        self.varint(VARINT_64, 64).map(|value| value as u64)
    }

    fn end(&self) -> Result<(), BatchError> {
        if self.0.is_empty() { Ok(()) } else { Err(BatchError::Trailing) }
    }

    /// Reads a whole column of `count` entries.
    fn entries<T>(
        mut self,
        count: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, BatchError>,
    ) -> Result<Vec<T>, BatchError> {
        // No entry but a zero-length one is free, so the column's own length bounds what is reserved.
        let mut entries = Vec::with_capacity(count.min(self.0.len()));
        for _ in 0..count {
            entries.push(entry(&mut self)?);
        }
        self.end()?;
        Ok(entries)
    }
}

/// The columns, cut apart.
struct Columns<'a>([&'a [u8]; COLUMNS]);

impl<'a> Columns<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, BatchError> {
        let mut columns = [&[][..]; COLUMNS];
        for column in &mut columns {
            let len = reader.u64()?;
            *column = reader.take(usize::try_from(len).map_err(|_| BatchError::Truncated)?)?;
        }
        Ok(Self(columns))
    }

    fn of(&self, column: Column) -> Reader<'a> {
        Reader(self.0[column as usize])
    }
}

/// Decodes the content of a frame.
pub fn decode_content(content: &[u8], limits: &Limits, chain_id: u64) -> Result<Batch, BatchError> {
    let mut reader = Reader(content);
    let parent_hash = B256::from(reader.array()?);
    let count = reader.u64()?;
    if count > limits.max_blocks as u64 {
        return Err(BatchError::TooManyBlocks);
    }
    let columns = Columns::read(&mut reader)?;
    reader.end()?;

    let mut blocks = read_blocks(&columns, count as usize)?;
    let counts = columns.of(Column::Counts).entries(count as usize, Reader::u64)?;
    let total = counts.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
    let total = total
        .filter(|n| *n <= limits.max_transactions as u64)
        .ok_or(BatchError::TooManyTransactions)?;
    let mut transactions =
        read_transactions(&columns, total as usize, limits, chain_id)?.into_iter();
    for (block, count) in blocks.iter_mut().zip(counts) {
        block.transactions = transactions.by_ref().take(count as usize).collect();
    }
    Ok(Batch { parent_hash, blocks })
}

/// Everything of blocks but their transactions.
fn read_blocks(columns: &Columns<'_>, count: usize) -> Result<Vec<BatchBlock>, BatchError> {
    let running = |column: Column| {
        let mut sum = 0u64;
        columns.of(column).entries(count, |reader| {
            sum = sum.checked_add(reader.u64()?).ok_or(BatchError::Overflow)?;
            Ok(sum)
        })
    };
    let timestamps = running(Column::Timestamps)?;
    let beneficiaries = read_beneficiaries(columns, count)?;
    let origins = running(Column::Origins)?;
    let forced = columns.of(Column::Forced).entries(count, Reader::u64)?;
    let numbers = timestamps.into_iter().zip(beneficiaries).zip(origins).zip(forced);
    Ok(numbers
        .map(|(((timestamp, beneficiary), origin), forced)| BatchBlock {
            timestamp,
            beneficiary,
            origin,
            forced,
            transactions: Vec::new(),
        })
        .collect())
}

fn read_beneficiaries(columns: &Columns<'_>, count: usize) -> Result<Vec<Address>, BatchError> {
    let flags = columns.of(Column::Flags).entries(count, |reader| {
        let flags = reader.byte()?;
        if flags & !NEW_BENEFICIARY == 0 { Ok(flags) } else { Err(BatchError::Flags) }
    })?;
    if flags.first().is_some_and(|flags| flags & NEW_BENEFICIARY == 0) {
        return Err(BatchError::Flags);
    }
    let mut flags = flags.into_iter();
    let mut beneficiary = Address::ZERO;
    columns.of(Column::Beneficiaries).entries(count, |reader| {
        if flags.next() == Some(NEW_BENEFICIARY) {
            beneficiary = Address::from(reader.array()?);
        }
        Ok(beneficiary)
    })
}

fn read_transactions(
    columns: &Columns<'_>,
    count: usize,
    limits: &Limits,
    chain_id: u64,
) -> Result<Vec<Transaction>, BatchError> {
    let kinds = columns.of(Column::Kinds).entries(count, |reader| {
        let kind = reader.byte()?;
        match kind & !(ODD_Y | CREATION) {
            EIP1559 | LEGACY => Ok(kind),
            _ if kind == RAW => Ok(kind),
            _ => Err(BatchError::Kind),
        }
    })?;
    let plain_kinds: Vec<u8> = kinds.iter().copied().filter(|kind| *kind != RAW).collect();
    let mut plain = read_plain(columns, &plain_kinds, chain_id)?.into_iter();
    let mut raw = read_raw(columns, kinds.len() - plain_kinds.len(), limits.max_raw)?.into_iter();
    let next = |kind: u8| if kind == RAW { raw.next() } else { plain.next() };
    Ok(kinds.into_iter().filter_map(next).collect())
}

fn read_plain(
    columns: &Columns<'_>,
    kinds: &[u8],
    chain_id: u64,
) -> Result<Vec<Transaction>, BatchError> {
    let count = kinds.len();
    let is_1559 = |kind: &u8| kind & EIP1559 != 0;
    let tip_count = kinds.iter().filter(|kind| is_1559(kind)).count();
    let to_count = kinds.iter().filter(|kind| **kind & CREATION == 0).count();

    let nonces = columns.of(Column::Nonces).entries(count, Reader::u64)?;
    let gas_limits = columns.of(Column::GasLimits).entries(count, Reader::u64)?;
    let tips = columns.of(Column::Tips).entries(tip_count, Reader::u128)?;
    let fees = columns.of(Column::Fees).entries(count, Reader::u128)?;
    let to = columns.of(Column::To).entries(to_count, |r| r.array().map(Address::from))?;
    let values = columns.of(Column::Values).entries(count, read_value)?;
    let input_lengths = columns.of(Column::InputLengths).entries(count, Reader::u64)?;
    let mut input_lengths = input_lengths.into_iter();
    let inputs = columns.of(Column::Inputs).entries(count, |reader| {
        let len = input_lengths.next().map_or(Ok(0), usize::try_from);
        reader.take(len.map_err(|_| BatchError::Truncated)?)
    })?;
    let signatures =
        columns.of(Column::Signatures).entries(count, |r| Ok((r.array()?, r.array()?)))?;

    let (mut tips, mut to) = (tips.into_iter(), to.into_iter());
    let transaction = |i: usize| {
        let kind = kinds[i];
        let (r, s): ([u8; 32], [u8; 32]) = signatures[i];
        let signature =
            Signature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), kind & ODD_Y != 0);
        let to = if kind & CREATION != 0 { None } else { to.next() };
        let to = to.map_or(TxKind::Create, TxKind::Call);
        let (nonce, gas_limit, value) = (nonces[i], gas_limits[i], values[i]);
        let input = Bytes::copy_from_slice(inputs[i]);
        if is_1559(&kind) {
            let tx = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: fees[i],
                max_priority_fee_per_gas: tips.next().unwrap_or_default(),
                to,
                value,
                access_list: Default::default(),
                input,
            };
            Transaction::Eip1559(Signed::new_unhashed(tx, signature))
        } else {
            let chain_id = Some(chain_id);
            let tx = TxLegacy { chain_id, nonce, gas_price: fees[i], gas_limit, to, value, input };
            Transaction::Legacy(Signed::new_unhashed(tx, signature))
        }
    };
    Ok((0..count).map(transaction).collect())
}

fn read_value(reader: &mut Reader<'_>) -> Result<U256, BatchError> {
    let len = usize::from(reader.byte()?);
    if len > 32 {
        return Err(BatchError::Value);
    }
    let bytes = reader.take(len)?;
    if bytes.first() == Some(&0) {
        return Err(BatchError::Value);
    }
    Ok(U256::from_be_slice(bytes))
}

fn read_raw(
    columns: &Columns<'_>,
    count: usize,
    max_raw: usize,
) -> Result<Vec<Transaction>, BatchError> {
    let lengths = columns.of(Column::RawLengths).entries(count, |reader| {
        let len = reader.u64()?;
        if len > max_raw as u64 { Err(BatchError::RawTooLong) } else { Ok(len as usize) }
    })?;
    let mut lengths = lengths.into_iter();
    columns.of(Column::Raw).entries(count, |reader| {
        let raw = reader.take(lengths.next().unwrap_or_default())?;
        decode_raw(raw).ok_or(BatchError::Transaction)
    })
}

/// Only what encodes to the same bytes again, so that the batch fixes transaction hashes.
pub(super) fn decode_raw(raw: &[u8]) -> Option<Transaction> {
    let is_known = matches!(raw.first()?, 1 | 2 | 4 | 0xc0..);
    let transaction = is_known.then(|| Transaction::decode_2718_exact(raw).ok())??;
    (transaction.encoded_2718() == raw).then_some(transaction)
}
