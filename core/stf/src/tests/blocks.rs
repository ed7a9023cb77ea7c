use alloy_consensus::proofs::{state_root_unhashed, storage_root_unhashed};
use alloy_primitives::keccak256;

use super::*;

#[test]
fn genesis_state_is_what_another_trie_computes() {
    let genesis = genesis(&config(), &predeploys());
    let account = |address: &Address, code: &Bytes| {
        let slots: Vec<(B256, U256)> = match *address {
            L1_BLOCK => vec![
                (B256::with_last_byte(7), U256::from(200_000)),
                (B256::with_last_byte(8), U256::from(1_050_000)),
            ],
            L2_STANDARD_BRIDGE => {
                let bridge = Address::repeat_byte(4).into_word();
                vec![(B256::ZERO, U256::from_be_bytes(bridge.0))]
            }
            _ => vec![],
        };
        let account = alloy_consensus::TrieAccount {
            nonce: 1,
            balance: U256::ZERO,
            storage_root: storage_root_unhashed(slots),
            code_hash: keccak256(code),
        };
        (*address, account)
    };
    let expected = state_root_unhashed(predeploys().iter().map(|(a, c)| account(a, c)));
    assert_eq!(genesis.header.state_root, expected);
    let header = &genesis.header;
    assert_eq!((header.number, header.parent_hash), (0, B256::ZERO));
    assert_eq!(header.extra_data, ExtraData::default().encode());
    assert_eq!(header.base_fee_per_gas, Some(fees::MIN_BASE_FEE));
    assert_eq!((header.mix_hash, header.beneficiary), (B256::ZERO, Address::ZERO));
}

#[test]
fn header_has_the_fields_of_the_specification() {
    let mut chain = Chain::new();
    let genesis = chain.head.clone();
    let forced = vec![mint(0, user(0), 10 * ETHER)];
    let transactions = vec![from(user(0), TxEip1559 { nonce: 1, ..transfer(0) })];
    let attributes = chain.attributes(2);
    let sealed = chain.apply(&BlockInput { attributes, forced, transactions }).unwrap();
    let header = &sealed.header;
    assert_eq!(header.parent_hash, genesis.hash_slow());
    assert_eq!((header.number, header.timestamp), (1, 1_760_000_002));
    assert_eq!((header.gas_limit, header.gas_used), (30_000_000, 42_000));
    let mut seed = [0x55; 40];
    seed[32..].copy_from_slice(&1u64.to_be_bytes());
    assert_eq!(header.mix_hash, keccak256(seed));
    let extra = ExtraData { origin: 5, forced_count: 1, excess: 0, blocks_in_second: 1 };
    assert_eq!(ExtraData::decode(&header.extra_data).unwrap(), extra);
    assert_eq!(header.withdrawals_root, genesis.withdrawals_root);
    assert_eq!((header.blob_gas_used, header.excess_blob_gas), (Some(0), Some(0)));
    assert_eq!(header.parent_beacon_block_root, Some(B256::ZERO));
    let nothing =
        alloy_primitives::b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(header.requests_hash, Some(nothing));
    // 100 bytes at (200,000 * 1 gwei + 1,050,000 * 3 wei) / 10^6 a byte, in gas of 0.01 gwei.
    let data_gas = 2_001;
    assert_eq!(sealed.receipts[0].cumulative_gas_used, 21_000);
    assert_eq!(sealed.receipts[1].cumulative_gas_used, 42_000 + data_gas);
}

#[test]
fn attributes_and_parent_hash_are_in_the_state() {
    let mut chain = Chain::new();
    let parent_hash = chain.head.hash_slow();
    chain.fund();
    let state = chain.flat.over(Nothing);
    let slot = |n: u64| state.storage(L1_BLOCK, U256::from(n)).unwrap();
    assert_eq!(slot(0), U256::from(77));
    assert_eq!(slot(1), U256::from(1_759_999_990));
    assert_eq!(slot(2), U256::from(10u64.pow(9)));
    assert_eq!(slot(3), U256::from(3));
    assert_eq!(slot(4), U256::from_be_bytes([0x11; 32]));
    assert_eq!(slot(5), U256::from(5));
    assert_eq!(slot(6), U256::from_be_bytes([0x55; 32]));
    assert_eq!(slot(7), U256::from(200_000));
    let history = state.storage(BLOCK_HASH_HISTORY, history_slot(0)).unwrap();
    assert_eq!(history, U256::from_be_bytes(parent_hash.0));
}

#[test]
fn withdrawals_root_is_the_message_passers_storage() {
    let mut chain = Chain::new();
    let before = chain.fund().header.withdrawals_root;
    let tx = TxEip1559 {
        to: TxKind::Call(L2_TO_L1_MESSAGE_PASSER),
        input: words([1, 1]),
        value: U256::ZERO,
        ..transfer(1)
    };
    let attributes = chain.attributes(1);
    let transactions = vec![from(user(0), tx)];
    let input = BlockInput { attributes, forced: vec![], transactions };
    let after = chain.apply(&input).unwrap().header.withdrawals_root;
    assert_ne!(before, after);
    let slot = (B256::with_last_byte(1), U256::from(1));
    assert_eq!(after, Some(storage_root_unhashed([slot])));
    // It stays when the next block does not touch the contract.
    let attributes = chain.attributes(1);
    let transactions = vec![from(user(0), transfer(2))];
    let input = BlockInput { attributes, forced: vec![], transactions };
    assert_eq!(chain.apply(&input).unwrap().header.withdrawals_root, after);
}

#[test]
fn base_fee_follows_the_gas_of_the_second() {
    let mut chain = Chain::new();
    chain.fund();
    let mut fee = chain.head.base_fee_per_gas.unwrap();
    let nonce = 1;
    let gas_limit = TX_GAS_LIMIT_CAP;
    let burn = |nonce| {
        let value = U256::ZERO;
        from(
            user(0),
            TxEip1559 { to: TxKind::Call(contract(3)), gas_limit, value, ..transfer(nonce) },
        )
    };
    for nonce in nonce..nonce + 40 {
        let attributes = chain.attributes(0);
        let transactions = vec![burn(nonce)];
        chain.apply(&BlockInput { attributes, forced: vec![], transactions }).unwrap();
    }
    // The second's first block drained what came before; each one after it adds its parent's gas.
    let next = chain.open(0);
    assert!(next.env().base_fee > fee);
    fee = next.env().base_fee;
    assert!(chain.open(1).env().base_fee < fee);
    assert_eq!(chain.open(3_600).env().base_fee, fees::MIN_BASE_FEE);
}

#[test]
fn gas_left_in_the_block_bounds_forced_items_and_transactions() {
    let mut chain = Chain::new();
    chain.fund();
    let mut block = chain.open(1);
    let full =
        ForcedItem { gas_limit: TX_GAS_LIMIT_CAP, to: contract(3), ..mint(6, user(0), ETHER) };
    let over_cap = ForcedItem { gas_limit: TX_GAS_LIMIT_CAP + 1, ..full.clone() };
    assert!(block.push_forced(&over_cap).unwrap().is_none());
    let included = block.push_forced(&full).unwrap().unwrap();
    assert_eq!(included.execution_gas, TX_GAS_LIMIT_CAP);
    assert!(block.push_forced(&full).unwrap().is_none());
    let left = BLOCK_GAS_LIMIT - TX_GAS_LIMIT_CAP;
    assert_eq!(block.gas_left(), left);
    // Data gas does not count in the block.
    let data_gas = block.env().data_gas(100_000_000);
    let nonce = 2;
    let limit = left + 1;
    let tx =
        |gas_limit| from(user(0), TxEip1559 { gas_limit: gas_limit + data_gas, ..transfer(nonce) });
    let invalid = block.execute(&tx(limit)).unwrap().unwrap_err();
    assert_eq!(invalid, InvalidTransaction::GasLimitAboveBlock { limit, left });
    assert!(block.execute(&tx(left)).unwrap().is_ok());
    assert_eq!(block.gas_left(), left - 21_000);
}

#[test]
fn invalid_block_names_what_is_wrong() {
    let mut chain = Chain::new();
    chain.fund();
    let attributes = chain.attributes(1);
    let good = from(user(0), transfer(1));
    let input = |transactions| BlockInput { attributes, forced: vec![], transactions };
    assert_eq!(
        chain.apply(&input(vec![good.clone(), good.clone()])).unwrap_err(),
        InvalidBlock::Transaction {
            index: 1,
            reason: InvalidTransaction::NonceTooLow { tx: 1, state: 2 },
        }
    );
    let deposit = mint(6, user(0), 1).to_deposit(config().inbox);
    let deposit = RecoveredTransaction {
        transaction: Transaction::Deposit(alloy_primitives::Sealable::seal_slow(deposit)),
        sender: user(0),
        data_size: 0,
    };
    assert_eq!(
        chain.apply(&input(vec![deposit])).unwrap_err(),
        InvalidBlock::Transaction { index: 0, reason: InvalidTransaction::TypeNotSupported(0x7e) }
    );
    let gas_limit = TX_GAS_LIMIT_CAP + 1;
    let forced = vec![mint(6, user(0), 1), ForcedItem { gas_limit, ..mint(7, user(0), 1) }];
    assert_eq!(
        chain.apply(&BlockInput { attributes, forced, transactions: vec![] }).unwrap_err(),
        InvalidBlock::ForcedGas { index: 1 }
    );
    assert_eq!(chain.head.number, 1);
}

/// The leader opens a block on one whose root and hash do not exist yet.
#[test]
fn block_opened_on_an_unsealed_one_is_the_same_block() {
    let mut chain = Chain::new();
    chain.fund();
    let base = chain.flat.clone();
    let mut first = chain.open(1);
    first.execute(&from(user(0), transfer(1))).unwrap().unwrap();
    let (first, codes) = first.finish();

    let mut flat = base;
    flat.merge(first.overlay.clone());
    let second_attributes = chain.attributes(2);
    let reader = flat.over(Nothing);
    let mut second =
        OpenBlock::open(&chain.config, first.as_parent(), second_attributes, reader, codes);
    second.execute(&from(user(0), transfer(2))).unwrap().unwrap();
    let (second, _) = second.finish();

    let sealed = seal(first, &chain.head, &chain.store).unwrap();
    chain.store.write(&sealed);
    let ahead = seal(second, &sealed.header, &chain.store).unwrap();

    let mut whole = Chain::new();
    whole.fund();
    for (elapsed, nonce) in [(1, 1), (1, 2)] {
        let attributes = whole.attributes(elapsed);
        let transactions = vec![from(user(0), transfer(nonce))];
        whole.apply(&BlockInput { attributes, forced: vec![], transactions }).unwrap();
    }
    assert_eq!(ahead.header, whole.head);
}

#[test]
fn delta_starts_with_the_attributes() {
    let chain = Chain::new();
    let mut block = chain.open(1);
    block.track_delta();
    let delta = block.take_delta().into_changes();
    assert_eq!(delta.storage[&L1_BLOCK].len(), 7);
    assert!(block.take_delta().is_empty());
}
