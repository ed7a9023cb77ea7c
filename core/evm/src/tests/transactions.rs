use alloy_eips::eip7702::Authorization;
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use annex_types::predeploys::{BLOCK_HASH_HISTORY, history_slot};

use super::*;

const DATA_GAS: u64 = 2_000;

#[test]
fn l2_transfer_pays_execution_and_data_to_the_beneficiary() {
    let mut evm = evm(Rules::L2, funded());
    let outcome = evm.execute(&signed(eip1559())).unwrap().unwrap();
    assert!(outcome.success());
    assert_eq!((outcome.execution_gas, outcome.data_gas), (21_000, DATA_GAS));
    let paid = U256::from(2 * GWEI) * U256::from(23_000);
    assert_eq!(balance(&evm, BENEFICIARY), paid);
    assert_eq!(balance(&evm, RECEIVER), U256::from(5));
    assert_eq!(balance(&evm, SENDER), U256::from(ETHER) - paid - U256::from(5));
    assert_eq!(nonce(&evm, SENDER), 1);
}

#[test]
fn l1_transfer_burns_the_base_fee_and_pays_no_data_gas() {
    let mut evm = evm(Rules::L1, funded());
    let outcome = evm.execute(&signed(eip1559())).unwrap().unwrap();
    assert_eq!((outcome.execution_gas, outcome.data_gas), (21_000, 0));
    assert_eq!(balance(&evm, BENEFICIARY), U256::from(GWEI) * U256::from(21_000));
    let paid = U256::from(2 * GWEI) * U256::from(21_000);
    assert_eq!(balance(&evm, SENDER), U256::from(ETHER) - paid - U256::from(5));
}

#[test]
fn l1_blob_transaction_burns_its_blob_fee() {
    let tx = TxEip4844 {
        chain_id: 901,
        gas_limit: 21_000,
        max_fee_per_gas: 3 * GWEI,
        to: RECEIVER,
        blob_versioned_hashes: vec![
            B256::with_last_byte(1)
                | B256::new({
                    let mut version = [0; 32];
                    version[0] = 1;
                    version
                }),
        ],
        max_fee_per_blob_gas: 7,
        ..Default::default()
    };
    let mut evm = evm(Rules::L1, funded());
    evm.execute(&signed(tx)).unwrap().unwrap();
    let gas = U256::from(GWEI) * U256::from(21_000);
    assert_eq!(balance(&evm, SENDER), U256::from(ETHER) - gas - U256::from(131_072));
}

#[test]
fn calldata_floor_applies_to_execution_beside_data_gas() {
    let input = Bytes::from(vec![1; 1_000]);
    let floor = 21_000 + 40 * 1_000;
    let mut evm = evm(Rules::L2, funded());
    let tx = TxEip1559 { input, gas_limit: floor + DATA_GAS, ..eip1559() };
    let outcome = evm.execute(&signed(tx)).unwrap().unwrap();
    assert_eq!((outcome.execution_gas, outcome.data_gas), (floor, DATA_GAS));
}

#[test]
fn reverted_and_halted_transactions_are_paid_for() {
    let memory =
        funded().with_code(CONTRACT, &[0x60, 0, 0x60, 0, 0xfd]).with_code(RECEIVER, &[0xfe]);
    let mut evm = evm(Rules::L2, memory);
    let to = TxKind::Call(CONTRACT);
    let value = U256::ZERO;
    let reverted = evm.execute(&signed(TxEip1559 { to, value, ..eip1559() })).unwrap().unwrap();
    assert_eq!(reverted.status, Status::Revert);
    assert!(reverted.execution_gas < 22_000);
    let tx = TxEip1559 { nonce: 1, ..eip1559() };
    let halted = evm.execute(&signed(tx)).unwrap().unwrap();
    assert_eq!(halted.status, Status::Halt(Halt::InvalidOpcode));
    assert_eq!(halted.gas_used(), 100_000);
    assert_eq!(balance(&evm, RECEIVER), U256::ZERO);
    let total = U256::from(2 * GWEI) * U256::from(reverted.gas_used() + halted.gas_used());
    assert_eq!(balance(&evm, BENEFICIARY), total);
    assert_eq!(nonce(&evm, SENDER), 2);
}

#[test]
fn deploys_and_calls_a_contract() {
    let mut evm = evm(Rules::L2, funded());
    let tx =
        TxEip1559 { to: TxKind::Create, input: deploying(STORE), value: U256::ZERO, ..eip1559() };
    let outcome = evm.execute(&signed(tx)).unwrap().unwrap();
    let contract = outcome.contract_address.unwrap();
    assert_eq!(contract, SENDER.create(0));
    let account = evm.state().account(contract).unwrap().unwrap();
    assert_eq!(account.code_hash, keccak256(STORE));
    assert_eq!(evm.state().code(account.code_hash).unwrap()[..], *STORE);

    let to = TxKind::Call(contract);
    let value = U256::ZERO;
    let tx = TxEip1559 { nonce: 1, to, value, input: words([3, 9]), ..eip1559() };
    let outcome = evm.execute(&signed(tx)).unwrap().unwrap();
    assert_eq!(outcome.logs.len(), 1);
    assert_eq!(outcome.logs[0].topics(), [B256::with_last_byte(3)]);
    assert_eq!(evm.state().storage(contract, U256::from(3)).unwrap(), U256::from(9));
    // Clearing refunds a fifth at most.
    let tx = TxEip1559 { nonce: 2, to, value, input: words([3, 0]), ..eip1559() };
    let cleared = evm.execute(&signed(tx)).unwrap().unwrap();
    assert!(cleared.execution_gas < outcome.execution_gas);
    assert_eq!(evm.state().storage(contract, U256::from(3)).unwrap(), U256::ZERO);
}

#[test]
fn contract_that_destroys_itself_in_its_constructor_leaves_nothing() {
    let mut evm = evm(Rules::L2, funded());
    // SSTORE(0, 1); SELFDESTRUCT(caller)
    let input = Bytes::from_static(&[0x60, 1, 0x60, 0, 0x55, 0x33, 0xff]);
    let tx = TxEip1559 { to: TxKind::Create, input, ..eip1559() };
    let outcome = evm.execute(&signed(tx)).unwrap().unwrap();
    assert!(outcome.success());
    let contract = SENDER.create(0);
    assert_eq!(evm.state().account(contract).unwrap(), None);
    assert_eq!(evm.state().storage(contract, U256::ZERO).unwrap(), U256::ZERO);
    let changes = evm.overlay().clone().into_changes();
    assert!(!changes.storage.contains_key(&contract));
}

#[test]
fn initcode_at_the_limit_runs() {
    let mut evm = evm(Rules::L2, funded());
    let input = Bytes::from(vec![0; 49_152]);
    let tx = TxEip1559 { to: TxKind::Create, input, gas_limit: 16_000_000, ..eip1559() };
    assert!(evm.execute(&signed(tx)).unwrap().unwrap().success());
}

/// `SSTORE(0, BLOCKHASH(NUMBER - back))`
fn stores_block_hash(back: u8) -> Vec<u8> {
    vec![0x60, back, 0x43, 0x03, 0x40, 0x60, 0, 0x55]
}

#[test]
fn block_hashes_are_asked_for_only_when_read() {
    for (back, known) in [(1, 9_999), (200, 9_800)] {
        let mut memory = funded().with_code(CONTRACT, &stores_block_hash(back));
        memory.block_hashes.insert(known, B256::repeat_byte(0x99));
        let mut evm = evm(Rules::L2, memory);
        evm.execute(&signed(eip1559())).unwrap().unwrap();
        let to = TxKind::Call(CONTRACT);
        let tx = TxEip1559 { nonce: 1, to, value: U256::ZERO, ..eip1559() };
        assert!(evm.execute(&signed(tx)).unwrap().unwrap().success());
        let stored = evm.state().storage(CONTRACT, U256::ZERO).unwrap();
        assert_eq!(stored, U256::from_be_bytes([0x99; 32]));
    }
}

#[test]
fn history_contract_answers_recent_slots_with_block_hashes() {
    // SSTORE(0, SLOAD(slot)) as the history contract's code would load it.
    let mut code = vec![0x60, 0, 0x35, 0x54, 0x60, 0, 0x52, 0x60, 0x20, 0x60, 0, 0xf3];
    code.push(0);
    let mut memory = funded().with_code(BLOCK_HASH_HISTORY, &code);
    memory.block_hashes.insert(9_999, B256::repeat_byte(0x99));
    memory.block_hashes.insert(9_744, B256::repeat_byte(0x44));
    memory.storage.insert((BLOCK_HASH_HISTORY, history_slot(9_743)), U256::from(43));
    let mut evm = evm(Rules::L2, memory);
    for (number, word) in [
        (9_999, U256::from_be_bytes([0x99; 32])),
        (9_744, U256::from_be_bytes([0x44; 32])),
        // Older ones are in the contract's own storage.
        (9_743, U256::from(43)),
    ] {
        let request = CallRequest {
            to: TxKind::Call(BLOCK_HASH_HISTORY),
            gas_limit: 100_000,
            input: Bytes::copy_from_slice(&history_slot(number).to_be_bytes::<32>()),
            ..Default::default()
        };
        let outcome = evm.call(&request).unwrap().unwrap();
        assert_eq!(U256::from_be_slice(&outcome.output), word, "block {number}");
    }
}

fn authorization() -> Authorization {
    Authorization { chain_id: U256::from(901), address: CONTRACT, nonce: 0 }
}

#[test]
fn delegates_an_authority_and_runs_its_code() {
    let authority = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap();
    let memory = funded().with_code(CONTRACT, STORE).with(authority.address(), 0, ETHER);
    let mut evm = evm(Rules::L2, memory);
    let inner = authorization();
    let signature = authority.sign_hash_sync(&inner.signature_hash()).unwrap();
    let tx = TxEip7702 {
        chain_id: 901,
        gas_limit: 200_000,
        max_fee_per_gas: 3 * GWEI,
        to: authority.address(),
        input: words([1, 2]),
        authorization_list: vec![inner.into_signed(signature)],
        ..Default::default()
    };
    assert!(evm.execute(&signed(tx)).unwrap().unwrap().success());
    assert_eq!(nonce(&evm, authority.address()), 1);
    assert_eq!(evm.state().storage(authority.address(), U256::from(1)).unwrap(), U256::from(2));
    // A delegated account still sends transactions.
    let mut sent = signed(TxEip1559 { nonce: 1, ..eip1559() });
    sent.sender = authority.address();
    assert!(evm.execute(&sent).unwrap().unwrap().success());
}

#[test]
fn skips_authorizations_that_recover_nobody() {
    let authority = PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap();
    let inner = authorization();
    let signature = authority.sign_hash_sync(&inner.signature_hash()).unwrap();
    let order = U256::from_be_slice(&alloy_primitives::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let high_s = Signature::new(signature.r(), order - signature.s(), !signature.v());
    let bad = [
        inner.clone().into_signed(high_s),
        inner.clone().into_signed(Signature::new(U256::ZERO, U256::from(1), false)),
        alloy_eips::eip7702::SignedAuthorization::new_unchecked(
            inner,
            2,
            signature.r(),
            signature.s(),
        ),
    ];
    let mut evm = evm(Rules::L2, funded().with_code(CONTRACT, STORE));
    let tx = TxEip7702 {
        chain_id: 901,
        gas_limit: 200_000,
        max_fee_per_gas: 3 * GWEI,
        to: RECEIVER,
        authorization_list: bad.to_vec(),
        ..Default::default()
    };
    assert!(evm.execute(&signed(tx)).unwrap().unwrap().success());
    assert_eq!(evm.state().account(authority.address()).unwrap(), None);
}

#[test]
fn failed_read_is_the_readers_error_and_changes_nothing() {
    let mut memory = funded();
    memory.failing = Some(RECEIVER);
    let mut evm = evm(Rules::L2, memory);
    assert_eq!(evm.execute(&signed(eip1559())).unwrap_err(), Failing(RECEIVER));
    assert!(evm.overlay().is_empty());
    let tx = TxEip1559 { to: TxKind::Call(CONTRACT), ..eip1559() };
    assert!(evm.execute(&signed(tx)).unwrap().unwrap().success());
}

#[test]
fn delta_holds_what_changed_since_it_was_taken() {
    let mut evm = evm(Rules::L2, funded());
    evm.track_delta();
    evm.execute(&signed(eip1559())).unwrap().unwrap();
    let first = evm.take_delta();
    assert_eq!(first.clone().into_changes(), evm.overlay().clone().into_changes());
    evm.execute(&signed(TxEip1559 { nonce: 1, to: TxKind::Call(CONTRACT), ..eip1559() }))
        .unwrap()
        .unwrap();
    let second = evm.take_delta().into_changes();
    assert!(!second.accounts.contains_key(&RECEIVER));
    let mut both = first.into_changes();
    both.merge(second);
    assert_eq!(both, evm.overlay().clone().into_changes());
}
