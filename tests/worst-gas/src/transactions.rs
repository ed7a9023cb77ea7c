//! What costs before and beside execution: signatures, authorisations, calldata, forced items, batches.

use alloy_consensus::{TxEip1559, TxEip2930, TxEip7702};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7702::Authorization;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use annex_types::{BatchBlock, ForcedItem, TX_GAS_LIMIT_CAP, Transaction};

use crate::Case;
use crate::world::{Block, CHAIN_ID, Key, config};

const TRANSFER_GAS: u64 = 21_000;
const AUTHORIZATION_GAS: u64 = 25_000;
/// What the Portal asks for a deposit with 64 KiB of data.
const FULL_DEPOSIT_GAS: u64 = 21_000 + 64 * 65_536;

pub fn cases() -> Vec<Case> {
    vec![
        Case::block("transfers", transfers),
        Case::block("authorizations", authorizations),
        Case::block("access list", access_list),
        Case::block("calldata, zeros", |gas| calldata(gas, 0, 10)),
        Case::block("calldata", |gas| calldata(gas, 0xff, 40)),
        Case::block("forced items, 64 KiB each", |gas| forced(gas, 65_536, FULL_DEPOSIT_GAS)),
        Case::block("forced items, empty", |gas| forced(gas, 0, TRANSFER_GAS)),
        Case::block("largest batch", largest_batch),
        Case::block("10,000 records behind", records_behind),
    ]
}

fn transfers(gas: u64) -> Block {
    let mut block = Block::default();
    for index in 0..gas / TRANSFER_GAS {
        let to = TxKind::Call(Address::from_word(B256::from(U256::from(index + 1000))));
        let tx = TxEip1559 { to, value: U256::from(1), gas_limit: TRANSFER_GAS, ..block.eip1559() };
        block.send(tx, Transaction::Eip1559);
    }
    block
}

fn authorizations(gas: u64) -> Block {
    let mut block = Block::default();
    for gas_limit in split(gas) {
        let list = (0..gas_limit.saturating_sub(60_000) / AUTHORIZATION_GAS).map(|index| {
            let key = Key::new(1000 + index as u32 + 10_000 * block.transactions.len() as u32);
            let chain_id = U256::from(CHAIN_ID);
            key.authorize(Authorization { chain_id, address: Address::repeat_byte(0xde), nonce: 0 })
        });
        let authorization_list = list.collect();
        let TxEip1559 { nonce, max_fee_per_gas, .. } = block.eip1559();
        let tx = TxEip7702 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas,
            to: Address::repeat_byte(0xee),
            authorization_list,
            ..Default::default()
        };
        block.send(tx, Transaction::Eip7702);
    }
    block
}

fn access_list(gas: u64) -> Block {
    let mut block = Block::default();
    for gas_limit in split(gas) {
        let keys =
            (0..gas_limit.saturating_sub(60_000) / 1900).map(|key| B256::from(U256::from(key)));
        let item =
            AccessListItem { address: Address::repeat_byte(0xac), storage_keys: keys.collect() };
        let TxEip1559 { nonce, max_fee_per_gas, .. } = block.eip1559();
        let tx = TxEip2930 {
            chain_id: CHAIN_ID,
            nonce,
            gas_price: max_fee_per_gas,
            gas_limit,
            to: TxKind::Call(Address::repeat_byte(0xee)),
            access_list: AccessList(vec![item]),
            ..Default::default()
        };
        block.send(tx, Transaction::Eip2930);
    }
    block
}

/// `floor` is EIP-7623's price of a byte.
fn calldata(gas: u64, byte: u8, floor: u64) -> Block {
    let mut block = Block::default();
    let full = (1_000_000 * floor + 2 * TRANSFER_GAS).min(TX_GAS_LIMIT_CAP);
    for _ in 0..(gas / full).max(1) {
        let size = (full.min(gas) - 2 * TRANSFER_GAS) / floor;
        let to = TxKind::Call(Address::repeat_byte(0xee));
        let input = Bytes::from(vec![byte; size as usize]);
        // What is not used for execution pays for data.
        let tx = TxEip1559 { to, input, gas_limit: full.min(gas) + 100_000, ..block.eip1559() };
        block.send(tx, Transaction::Eip1559);
    }
    block
}

fn forced(gas: u64, size: usize, gas_limit: u64) -> Block {
    let mut block = Block::default();
    for index in 0..(gas / gas_limit).max(1) {
        block.forced.push(ForcedItem {
            index,
            from: Address::from_word(B256::from(U256::from(index + 1000))),
            to: Address::repeat_byte(0xee),
            mint: 1,
            value: U256::ZERO,
            gas_limit,
            is_creation: false,
            data: Bytes::from(vec![0xff; size]),
        });
    }
    block
}

/// One transfer, whose origin lies far back.
fn records_behind(_: u64) -> Block {
    let mut block = transfers(TRANSFER_GAS);
    block.idle_records = 10_000;
    block
}

/// One transfer, and behind it all the blocks, transactions and bytes that a payload may have.
fn largest_batch(_: u64) -> Block {
    let mut block = transfers(TRANSFER_GAS);
    let transfer = block.transactions[0].clone();
    let timestamp = config().genesis_timestamp + 1;
    let beneficiary = Address::repeat_byte(0xbe);
    let follower =
        |transactions| BatchBlock { timestamp, beneficiary, origin: 0, forced: 0, transactions };
    block.rest = (0..4_095).map(|_| follower(vec![transfer.clone(); 15])).collect();
    // 61,426 transfers of some 110 bytes; the rest of 8 MiB is one transaction's input.
    let mut filler = Block::default();
    let tx = TxEip1559 { input: Bytes::from(vec![0x55; 900_000]), ..filler.eip1559() };
    filler.send(tx, Transaction::Eip1559);
    if let Some(last) = block.rest.last_mut() {
        last.transactions.append(&mut filler.transactions);
    }
    block
}

/// Gas limits of transactions that together have `gas`.
pub fn split(gas: u64) -> Vec<u64> {
    let count = gas.div_ceil(15_000_000).max(1);
    vec![gas / count; count as usize]
}
