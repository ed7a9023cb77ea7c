use annex_types::TX_GAS_LIMIT_CAP;

use super::*;

/// The reason, after checking that nothing changed.
#[track_caller]
fn reason(rules: Rules, memory: Memory, tx: RecoveredTransaction) -> InvalidTransaction {
    let mut evm = evm(rules, memory);
    let invalid = evm.execute(&tx).unwrap().expect_err("an invalid transaction");
    assert!(evm.overlay().is_empty());
    // The next transaction is not affected.
    let mut other = signed(TxEip1559 { value: U256::ZERO, ..eip1559() });
    other.sender = Address::repeat_byte(0x77);
    evm.set_account(other.sender, AccountInfo { balance: U256::from(ETHER), ..Default::default() });
    let outcome = evm.execute(&other).unwrap().unwrap();
    assert_eq!(outcome.execution_gas, 21_000);
    invalid
}

#[test]
fn sender() {
    let nonce_5 = || Memory::default().with(SENDER, 5, ETHER);
    assert_eq!(
        reason(Rules::L2, nonce_5(), signed(TxEip1559 { nonce: 4, ..eip1559() })),
        InvalidTransaction::NonceTooLow { tx: 4, state: 5 }
    );
    assert_eq!(
        reason(Rules::L2, nonce_5(), signed(TxEip1559 { nonce: 6, ..eip1559() })),
        InvalidTransaction::NonceTooHigh { tx: 6, state: 5 }
    );
    assert_eq!(
        reason(Rules::L2, nonce_5(), signed(TxEip1559 { nonce: u64::MAX, ..eip1559() })),
        InvalidTransaction::NonceAtMaximum
    );
    let contract = Memory::default().with_code(SENDER, STORE);
    assert_eq!(
        reason(Rules::L2, contract, signed(TxEip1559 { nonce: 1, ..eip1559() })),
        InvalidTransaction::SenderHasCode(SENDER)
    );
}

#[test]
fn funds_cover_the_gas_limit_at_the_fee_cap_and_the_value() {
    let want = 3 * GWEI * 100_000 + 5;
    let memory = Memory::default().with(SENDER, 0, want - 1);
    let (have, want) = (U256::from(want - 1), U256::from(want));
    assert_eq!(
        reason(Rules::L2, memory, signed(eip1559())),
        InvalidTransaction::InsufficientFunds { have, want }
    );
    let mut exact = evm(Rules::L2, Memory::default().with(SENDER, 0, have.to::<u128>() + 1));
    assert!(exact.execute(&signed(eip1559())).unwrap().is_ok());
    let tx = TxEip1559 { value: U256::MAX, ..eip1559() };
    let have = U256::from(ETHER);
    assert_eq!(
        reason(Rules::L2, funded(), signed(tx)),
        InvalidTransaction::InsufficientFunds { have, want: U256::MAX }
    );
}

#[test]
fn fees() {
    let tx = TxEip1559 { max_priority_fee_per_gas: 4 * GWEI, ..eip1559() };
    assert_eq!(
        reason(Rules::L2, funded(), signed(tx)),
        InvalidTransaction::TipAboveFeeCap { tip: 4 * GWEI, fee_cap: 3 * GWEI }
    );
    let below = InvalidTransaction::FeeCapBelowBaseFee { fee_cap: GWEI - 1, base_fee: GWEI as u64 };
    let tx = TxEip1559 { max_fee_per_gas: GWEI - 1, max_priority_fee_per_gas: 0, ..eip1559() };
    assert_eq!(reason(Rules::L2, funded(), signed(tx)), below);
    let legacy = TxLegacy {
        chain_id: Some(901),
        gas_price: GWEI - 1,
        gas_limit: 50_000,
        to: TxKind::Call(RECEIVER),
        ..Default::default()
    };
    assert_eq!(reason(Rules::L2, funded(), signed(legacy)), below);
}

#[test]
fn chain_id() {
    let wrong = InvalidTransaction::WrongChainId { have: 1, want: 901 };
    assert_eq!(reason(Rules::L2, funded(), signed(TxEip1559 { chain_id: 1, ..eip1559() })), wrong);
    let legacy = |chain_id| {
        signed(TxLegacy {
            chain_id,
            gas_price: GWEI,
            gas_limit: 50_000,
            to: TxKind::Call(RECEIVER),
            ..Default::default()
        })
    };
    assert_eq!(reason(Rules::L2, funded(), legacy(Some(1))), wrong);
    // Signed before EIP-155: valid everywhere.
    assert!(evm(Rules::L2, funded()).execute(&legacy(None)).unwrap().is_ok());
}

#[test]
fn gas() {
    let tx = TxEip1559 { gas_limit: 22_999, ..eip1559() };
    assert_eq!(
        reason(Rules::L2, funded(), signed(tx)),
        InvalidTransaction::IntrinsicGas { limit: 22_999, required: 23_000, data_gas: 2_000 }
    );
    let tx = TxEip1559 { gas_limit: 20_999, ..eip1559() };
    assert_eq!(
        reason(Rules::L1, funded(), signed(tx)),
        InvalidTransaction::IntrinsicGas { limit: 20_999, required: 21_000, data_gas: 0 }
    );
    // The cap is on execution: data gas comes on top.
    let cap = TX_GAS_LIMIT_CAP;
    let tx = TxEip1559 { gas_limit: cap + 2_000, ..eip1559() };
    assert!(evm(Rules::L2, funded()).execute(&signed(tx)).unwrap().is_ok());
    let tx = TxEip1559 { gas_limit: cap + 2_001, ..eip1559() };
    assert_eq!(
        reason(Rules::L2, funded(), signed(tx)),
        InvalidTransaction::GasLimitAboveCap { limit: cap + 1, cap }
    );
    let small = BlockEnv { gas_limit: 90_000, ..block() };
    let invalid = Evm::new(Rules::L1, small, funded()).execute(&signed(eip1559())).unwrap();
    let left = 90_000;
    assert_eq!(
        invalid.unwrap_err(),
        InvalidTransaction::GasLimitAboveBlock { limit: 100_000, left }
    );
}

#[test]
fn initcode() {
    let input = Bytes::from(vec![0; 49_153]);
    let tx = TxEip1559 { to: TxKind::Create, input, gas_limit: 16_000_000, ..eip1559() };
    assert_eq!(
        reason(Rules::L2, funded(), signed(tx)),
        InvalidTransaction::InitCodeTooLarge { size: 49_153, limit: 49_152 }
    );
}

#[test]
fn types() {
    let blob = TxEip4844 {
        chain_id: 901,
        gas_limit: 50_000,
        max_fee_per_gas: 3 * GWEI,
        to: RECEIVER,
        max_fee_per_blob_gas: 1,
        ..Default::default()
    };
    let hash = |version: u8| {
        let mut hash = [0; 32];
        hash[0] = version;
        B256::new(hash)
    };
    let with = |hashes: &[B256], fee: u128| {
        let tx = TxEip4844 {
            blob_versioned_hashes: hashes.to_vec(),
            max_fee_per_blob_gas: fee,
            ..blob.clone()
        };
        signed(tx)
    };
    assert_eq!(
        reason(Rules::L2, funded(), with(&[hash(1)], 1)),
        InvalidTransaction::TypeNotSupported(3)
    );
    let l1 = |tx| reason(Rules::L1, funded(), tx);
    assert_eq!(l1(with(&[], 1)), InvalidTransaction::NoBlobs);
    assert_eq!(l1(with(&[hash(2)], 1)), InvalidTransaction::BlobVersion);
    assert_eq!(l1(with(&[hash(1); 7], 1)), InvalidTransaction::TooManyBlobs { count: 7, limit: 6 });
    assert_eq!(
        l1(with(&[hash(1)], 0)),
        InvalidTransaction::BlobFeeCapBelowBaseFee { fee_cap: 0, blob_base_fee: 1 }
    );
    assert_eq!(
        l1(deposit(TxDeposit { gas_limit: 50_000, ..Default::default() })),
        InvalidTransaction::TypeNotSupported(0x7e)
    );
    let empty = TxEip7702 {
        chain_id: 901,
        gas_limit: 50_000,
        max_fee_per_gas: 3 * GWEI,
        to: RECEIVER,
        ..Default::default()
    };
    assert_eq!(
        reason(Rules::L2, funded(), signed(empty)),
        InvalidTransaction::EmptyAuthorizationList
    );
}

#[test]
fn access_list_transactions_are_valid() {
    let tx = TxEip2930 {
        chain_id: 901,
        gas_price: GWEI,
        gas_limit: 50_000,
        to: TxKind::Call(RECEIVER),
        ..Default::default()
    };
    assert!(evm(Rules::L2, funded()).execute(&signed(tx)).unwrap().unwrap().success());
}
