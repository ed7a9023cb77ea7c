use super::*;

fn request() -> CallRequest {
    CallRequest {
        from: SENDER,
        to: TxKind::Call(RECEIVER),
        gas_limit: 30_000_000,
        ..Default::default()
    }
}

#[test]
fn call_needs_no_balance_nonce_or_signature_and_keeps_nothing() {
    let mut evm = evm(Rules::L2, Memory::default().with_code(RECEIVER, STORE));
    let call = CallRequest { input: words([1, 2]), ..request() };
    let outcome = evm.call(&call).unwrap().unwrap();
    assert!(outcome.success());
    assert_eq!(outcome.logs.len(), 1);
    assert!(evm.overlay().is_empty());
    assert_eq!(evm.call(&call).unwrap().unwrap(), outcome);
}

#[test]
fn call_with_value_or_fees_needs_them() {
    let mut evm = evm(Rules::L2, Memory::default().with(SENDER, 0, 10));
    let value = U256::from(11);
    let (have, want) = (U256::from(10), value);
    assert_eq!(
        evm.call(&CallRequest { value, ..request() }).unwrap().unwrap_err(),
        InvalidTransaction::InsufficientFunds { have, want }
    );
    let max_fee_per_gas = GWEI - 1;
    assert_eq!(
        evm.call(&CallRequest { max_fee_per_gas, ..request() }).unwrap().unwrap_err(),
        InvalidTransaction::FeeCapBelowBaseFee { fee_cap: GWEI - 1, base_fee: GWEI as u64 }
    );
}

#[test]
fn overrides_replace_account_code_and_storage() {
    // RETURN(SLOAD(calldata[0]))
    let code = [0x60, 0, 0x35, 0x54, 0x60, 0, 0x52, 0x60, 0x20, 0x60, 0, 0xf3];
    let mut memory = Memory::default().with_code(RECEIVER, &code);
    memory.storage.insert((RECEIVER, U256::from(1)), U256::from(11));
    memory.storage.insert((RECEIVER, U256::from(2)), U256::from(22));
    let read = |evm: &mut Evm<Memory>, slot: u64| {
        let call = CallRequest { input: words([slot, 0]), ..request() };
        U256::from_be_slice(&evm.call(&call).unwrap().unwrap().output)
    };
    let mut diff = evm(Rules::L2, memory.clone());
    let storage_diff = BTreeMap::from([(U256::from(1), U256::from(5))]);
    diff.override_account(RECEIVER, AccountOverride { storage_diff, ..Default::default() })
        .unwrap();
    assert_eq!((read(&mut diff, 1), read(&mut diff, 2)), (U256::from(5), U256::from(22)));

    let mut whole = evm(Rules::L2, memory.clone());
    let storage = Some(BTreeMap::from([(U256::from(1), U256::from(5))]));
    whole.override_account(RECEIVER, AccountOverride { storage, ..Default::default() }).unwrap();
    assert_eq!((read(&mut whole, 1), read(&mut whole, 2)), (U256::from(5), U256::ZERO));

    let mut code = evm(Rules::L2, memory);
    let empty = AccountOverride {
        code: Some(Bytes::from_static(&[0xfe])),
        balance: Some(U256::from(7)),
        ..Default::default()
    };
    code.override_account(RECEIVER, empty).unwrap();
    let outcome = code.call(&request()).unwrap().unwrap();
    assert_eq!(outcome.status, Status::Halt(Halt::InvalidOpcode));
    assert_eq!(balance(&code, RECEIVER), U256::from(7));
}

#[test]
fn estimate_is_the_least_gas_that_works() {
    // Calls the store contract with all but a 64th, so it needs more than it uses.
    let mut outer = vec![0x60, 0x20, 0x60, 0, 0x52, 0x60, 7, 0x60, 0x20, 0x52];
    outer.extend([0x60, 0, 0x60, 0, 0x60, 0x40, 0x60, 0, 0x60, 0, 0x73]);
    outer.extend(CONTRACT.as_slice());
    outer.extend([0x5a, 0xf1]);
    // Revert unless the inner call succeeded.
    let success = outer.len() as u8 + 8;
    outer.extend([0x60, success, 0x57, 0x60, 0, 0x60, 0, 0xfd, 0x5b, 0]);
    let memory = funded().with_code(RECEIVER, &outer).with_code(CONTRACT, STORE);
    let mut evm = evm(Rules::L2, memory);
    let gas = evm.estimate_gas(&request(), &mut unbounded()).unwrap().unwrap().unwrap();
    let with = |evm: &mut Evm<Memory>, gas_limit| {
        evm.call(&CallRequest { gas_limit, ..request() }).unwrap().unwrap()
    };
    let outcome = with(&mut evm, gas);
    assert!(outcome.success());
    assert!(outcome.execution_gas < gas);
    assert!(!with(&mut evm, gas - 1).success());

    let transfer = CallRequest { to: TxKind::Call(BENEFICIARY), ..request() };
    assert_eq!(evm.estimate_gas(&transfer, &mut unbounded()).unwrap().unwrap().unwrap(), 21_000);
}

#[test]
fn estimate_of_a_call_that_reverts_is_its_outcome() {
    let mut evm = evm(Rules::L2, Memory::default().with_code(RECEIVER, &[0x60, 0, 0x60, 0, 0xfd]));
    let outcome = evm.estimate_gas(&request(), &mut unbounded()).unwrap().unwrap().unwrap_err();
    assert_eq!(outcome.status, Status::Revert);
}
