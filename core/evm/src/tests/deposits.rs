use proptest::prelude::*;

use super::*;

fn mint(mint: u128) -> TxDeposit {
    TxDeposit {
        from: SENDER,
        to: TxKind::Call(RECEIVER),
        mint,
        value: U256::from(mint),
        gas_limit: 100_000,
        ..Default::default()
    }
}

#[test]
fn mints_and_transfers_for_free() {
    let mut evm = evm(Rules::L2, Memory::default());
    let outcome = evm.execute(&deposit(mint(ETHER))).unwrap().unwrap();
    assert_eq!((outcome.execution_gas, outcome.data_gas), (21_000, 0));
    assert_eq!(balance(&evm, RECEIVER), U256::from(ETHER));
    assert_eq!(balance(&evm, SENDER), U256::ZERO);
    assert_eq!(balance(&evm, BENEFICIARY), U256::ZERO);
    assert_eq!(nonce(&evm, SENDER), 1);
}

#[test]
fn pays_no_gas_price() {
    // SSTORE(0, GASPRICE)
    let code = [0x3a, 0x60, 0, 0x55];
    let mut evm = evm(Rules::L2, Memory::default().with_code(RECEIVER, &code));
    evm.execute(&deposit(mint(1))).unwrap().unwrap();
    assert_eq!(evm.state().storage(RECEIVER, U256::ZERO).unwrap(), U256::ZERO);
}

#[test]
fn that_cannot_start_is_included_as_failed_with_its_mint() {
    let not_covered = TxDeposit { value: U256::from(ETHER) + U256::from(1), ..mint(ETHER) };
    let little_gas = TxDeposit { gas_limit: 20_999, ..mint(ETHER) };
    let below_floor = TxDeposit {
        gas_limit: 21_000 + 40 * 100 - 1,
        input: Bytes::from(vec![1; 100]),
        ..mint(ETHER)
    };
    let long_initcode = TxDeposit {
        to: TxKind::Create,
        input: Bytes::from(vec![0; 49_153]),
        gas_limit: 16_000_000,
        ..mint(ETHER)
    };
    for failing in [not_covered, little_gas, below_floor, long_initcode] {
        let mut evm = evm(Rules::L2, Memory::default());
        let outcome = evm.execute(&deposit(failing.clone())).unwrap().unwrap();
        assert_eq!(outcome.status, Status::Halt(Halt::DepositNotStarted));
        assert_eq!(outcome.execution_gas, failing.gas_limit);
        assert!(outcome.logs.is_empty());
        assert_eq!(balance(&evm, SENDER), U256::from(ETHER));
        assert_eq!(nonce(&evm, SENDER), 1);
        // The chain goes on.
        assert!(evm.execute(&deposit(mint(1))).unwrap().unwrap().success());
    }
}

#[test]
fn from_a_sender_with_the_last_nonce_keeps_its_mint() {
    let mut evm = evm(Rules::L2, Memory::default().with(SENDER, u64::MAX, 0));
    let outcome = evm.execute(&deposit(mint(ETHER))).unwrap().unwrap();
    assert_eq!(outcome.status, Status::Halt(Halt::DepositNotStarted));
    assert_eq!(balance(&evm, SENDER), U256::from(ETHER));
    assert_eq!(nonce(&evm, SENDER), u64::MAX);
}

#[test]
fn that_reverts_keeps_mint_and_nonce() {
    for code in [&[0x60, 0, 0x60, 0, 0xfd][..], &[0xfe]] {
        let mut evm = evm(Rules::L2, Memory::default().with_code(RECEIVER, code));
        let outcome = evm.execute(&deposit(mint(ETHER))).unwrap().unwrap();
        assert!(!outcome.success());
        assert_eq!(balance(&evm, SENDER), U256::from(ETHER));
        assert_eq!(nonce(&evm, SENDER), 1);
    }
}

#[test]
fn that_creates_bumps_the_nonce_once() {
    let creating = TxDeposit {
        to: TxKind::Create,
        input: deploying(STORE),
        gas_limit: 1_000_000,
        ..mint(ETHER)
    };
    let mut evm = evm(Rules::L2, Memory::default());
    let outcome = evm.execute(&deposit(creating)).unwrap().unwrap();
    assert_eq!(outcome.contract_address, Some(SENDER.create(0)));
    assert_eq!(nonce(&evm, SENDER), 1);
    assert_eq!(balance(&evm, SENDER.create(0)), U256::from(ETHER));
}

/// A sender with code (an L2 contract at an aliased address) deposits like any other.
#[test]
fn from_an_account_with_code_runs() {
    let mut evm = evm(Rules::L2, Memory::default().with_code(SENDER, STORE));
    assert!(evm.execute(&deposit(mint(1))).unwrap().unwrap().success());
    assert_eq!(nonce(&evm, SENDER), 2);
}

fn any_deposit() -> impl Strategy<Value = TxDeposit> {
    let target = prop_oneof![
        Just(TxKind::Create),
        Just(TxKind::Call(SENDER)),
        Just(TxKind::Call(CONTRACT)),
        // Precompiles, and accounts that do not exist.
        (0u8..=0x12).prop_map(|n| TxKind::Call(Address::with_last_byte(n))),
        any::<[u8; 20]>().prop_map(|a| TxKind::Call(a.into())),
    ];
    let value = prop_oneof![
        Just(U256::ZERO),
        any::<u64>().prop_map(U256::from),
        any::<[u8; 32]>().prop_map(U256::from_be_bytes),
    ];
    let gas = prop_oneof![0u64..100_000, 0u64..=1 << 24, any::<u64>()];
    let input = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..300),
        1 => Just(vec![0; 50_000]),
    ];
    (target, value, gas, input, prop_oneof![Just(0), any::<u64>().prop_map(u128::from)]).prop_map(
        |(to, value, gas_limit, input, mint)| TxDeposit {
            from: SENDER,
            to,
            mint,
            value,
            gas_limit,
            input: input.into(),
            ..Default::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Whatever L1 forces is included, mints exactly once and bumps the sender's nonce.
    #[test]
    fn are_total(
        deposits in proptest::collection::vec(any_deposit(), 1..4),
        code in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut evm = evm(Rules::L2, funded().with_code(CONTRACT, &code));
        let mut minted = U256::from(ETHER);
        let burns = code.contains(&0xff) || deposits.iter().any(|item| item.input.contains(&0xff));
        for (i, item) in deposits.into_iter().enumerate() {
            let gas_limit = item.gas_limit;
            minted += U256::from(item.mint);
            let outcome = evm.execute(&deposit(item)).unwrap().expect("deposits are never invalid");
            prop_assert!(outcome.execution_gas <= gas_limit);
            prop_assert_eq!(outcome.data_gas, 0);
            prop_assert!(nonce(&evm, SENDER) > i as u64);
        }
        let changes = evm.overlay().clone().into_changes();
        let total: U256 = changes.accounts.values().flatten().map(|info| info.balance).sum();
        // SELFDESTRUCT to itself in the creating transaction is the one way to burn, and only that.
        prop_assert!(total <= minted);
        if !burns {
            prop_assert_eq!(total, minted);
        }
    }
}
