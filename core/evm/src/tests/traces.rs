//! What is traced must be what is executed.

use alloy_primitives::Log;
use alloy_rpc_types_trace::geth::{GethDebugTracingOptions, GethTrace};
use proptest::prelude::*;
use revm_inspectors::transfer::TRANSFER_LOG_EMITTER;

use super::*;

/// Calls the contract in `calldata[0]` with 100,000 gas and no value, and returns nothing.
const FORWARD: &[u8] =
    &[0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x60, 0, 0x35, 0x62, 0x01, 0x86, 0xa0, 0xf1, 0];
/// Stores, then reverts.
const STORE_AND_REVERT: &[u8] = &[0x60, 1, 0x60, 0, 0x55, 0x60, 0, 0x60, 0, 0xfd];
/// Jumps to itself.
const ENDLESS: &[u8] = &[0x5b, 0x60, 0, 0x56];

fn tracer(json: serde_json::Value) -> Tracer {
    let options: GethDebugTracingOptions = serde_json::from_value(json).unwrap();
    Tracer::new(options).unwrap()
}

fn tracers() -> Vec<Tracer> {
    let config = |name: &str, config: serde_json::Value| {
        tracer(serde_json::json!({ "tracer": name, "tracerConfig": config }))
    };
    let none = serde_json::json!({});
    vec![
        tracer(serde_json::json!({})),
        tracer(serde_json::json!({ "enableMemory": true, "enableReturnData": true })),
        config("callTracer", serde_json::json!({ "withLog": true })),
        config("callTracer", serde_json::json!({ "onlyTopCall": true })),
        config("prestateTracer", none.clone()),
        config("prestateTracer", serde_json::json!({ "diffMode": true })),
        config("4byteTracer", none.clone()),
        config("flatCallTracer", none.clone()),
        config("noopTracer", none),
        config(
            "muxTracer",
            serde_json::json!({ "callTracer": {}, "prestateTracer": null, "4byteTracer": {} }),
        ),
    ]
}

fn memory() -> Memory {
    funded()
        .with_code(CONTRACT, STORE)
        .with_code(RECEIVER, FORWARD)
        .with_code(Address::repeat_byte(3), STORE_AND_REVERT)
}

fn transaction() -> impl Strategy<Value = RecoveredTransaction> {
    let to = prop_oneof![
        Just(TxKind::Create),
        Just(TxKind::Call(RECEIVER)),
        Just(TxKind::Call(CONTRACT)),
        Just(TxKind::Call(Address::repeat_byte(3))),
        Just(TxKind::Call(SENDER)),
    ];
    let input = prop_oneof![
        Just(Bytes::new()),
        Just(deploying(STORE)),
        Just(Bytes::from(CONTRACT.into_word().to_vec())),
        Just(Bytes::from(Address::repeat_byte(3).into_word().to_vec())),
        (0u64..3, 0u64..3).prop_map(|(slot, value)| words([slot, value])),
    ];
    (to, input, 20_000u64..400_000, 0u64..3, 0u64..2, any::<bool>()).prop_map(
        |(to, input, gas_limit, value, nonce, deposited)| {
            let value = U256::from(value);
            if deposited {
                let (from, mint) = (SENDER, 1);
                let tx =
                    TxDeposit { from, to, mint, value, gas_limit, input, ..Default::default() };
                return deposit(tx);
            }
            signed(TxEip1559 { nonce, gas_limit, to, value, input, ..eip1559() })
        },
    )
}

/// The gas that a trace shows, where it shows any.
fn gas(trace: &GethTrace) -> Option<u64> {
    match trace {
        GethTrace::Default(frame) => Some(frame.gas),
        GethTrace::CallTracer(frame) => Some(frame.gas_used.to()),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn tracing_changes_nothing(list in proptest::collection::vec(transaction(), 1..6), rules in any::<bool>()) {
        let rules = if rules { Rules::L2 } else { Rules::L1 };
        for mut tracer in tracers() {
            let (mut plain, mut traced) = (evm(rules, memory()), evm(rules, memory()));
            for tx in &list {
                let expected = plain.execute(tx).unwrap();
                let found = traced.trace(tx, TracedAt::default(), &mut tracer, &mut unbounded());
                match (expected, found.unwrap()) {
                    (Ok(expected), Ok((found, trace))) => {
                        if let Some(gas) = gas(&trace) {
                            prop_assert_eq!(gas, expected.gas_used());
                        }
                        prop_assert_eq!(expected, found);
                    }
                    (Err(expected), Err(found)) => prop_assert_eq!(expected, found),
                    (expected, found) => prop_assert!(false, "{:?} {:?}", expected, found),
                }
            }
            let overlay = |evm: Evm<Memory>| evm.into_parts().0.into_changes();
            prop_assert_eq!(overlay(plain), overlay(traced));
        }
    }
}

#[test]
fn call_frames_show_the_transactions_own_gas() {
    let mut evm = evm(Rules::L2, memory());
    let input = Bytes::from(CONTRACT.into_word().to_vec());
    let tx = signed(TxEip1559 { input, value: U256::ZERO, ..eip1559() });
    let mut tracer = tracer(serde_json::json!({ "tracer": "callTracer" }));
    let traced = evm.trace(&tx, TracedAt::default(), &mut tracer, &mut unbounded());
    let (outcome, trace) = traced.unwrap().unwrap();
    let frame = trace.try_into_call_frame().unwrap();
    assert_eq!(outcome.data_gas, 2_000);
    assert_eq!((frame.gas, frame.gas_used), (U256::from(100_000), U256::from(outcome.gas_used())));
    assert_eq!((frame.calls.len(), frame.calls[0].to), (1, Some(CONTRACT)));
}

#[test]
fn prestate_counts_data_gas_to_the_sender() {
    let mut evm = evm(Rules::L2, funded());
    let tx = signed(eip1559());
    let config =
        serde_json::json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let traced = evm.trace(&tx, TracedAt::default(), &mut tracer(config), &mut unbounded());
    let (_, trace) = traced.unwrap().unwrap();
    let frame = trace.try_into_pre_state_frame().unwrap();
    let diff = frame.as_diff().unwrap();
    assert_eq!(diff.pre[&SENDER].balance, Some(U256::from(ETHER)));
    assert_eq!(diff.post[&SENDER].balance, Some(balance(&evm, SENDER)));
    assert_eq!(diff.post[&BENEFICIARY].balance, Some(balance(&evm, BENEFICIARY)));
}

#[test]
fn what_takes_too_long_or_records_too_much_is_cut() {
    let memory = funded().with_code(CONTRACT, ENDLESS);
    let request = CallRequest {
        from: SENDER,
        to: TxKind::Call(CONTRACT),
        gas_limit: u64::MAX / 2,
        ..Default::default()
    };
    let mut evm = evm(Rules::L2, memory);
    let looks = std::cell::Cell::new(0);
    let expired = || {
        looks.set(looks.get() + 1);
        looks.get() > 3
    };
    let mut watchdog = Watchdog { expired: &expired, bytes: usize::MAX };
    assert_eq!(evm.watched_call(&request, &mut watchdog), Err(WatchError::Expired));
    assert!(looks.get() < 10);
    looks.set(0);
    assert_eq!(evm.estimate_gas(&request, &mut watchdog), Err(WatchError::Expired));
    let mut small = Watchdog { expired: &|| false, bytes: 100_000 };
    let traced = evm.trace_call(&request, &mut tracer(serde_json::json!({})), &mut small);
    assert_eq!(traced, Err(WatchError::TooLarge));
    // The machine is as good as new.
    assert!(evm.overlay().is_empty());
    let transfer = CallRequest { to: TxKind::Call(BENEFICIARY), ..request };
    assert!(evm.watched_call(&transfer, &mut unbounded()).unwrap().unwrap().success());
}

#[test]
fn scripts_are_refused() {
    let options = |json| serde_json::from_value::<GethDebugTracingOptions>(json).unwrap();
    let script = options(serde_json::json!({ "tracer": "{ result: function() {} }" }));
    assert_eq!(Tracer::new(script).unwrap_err(), TracerError::Script);
    let unknown = options(serde_json::json!({ "tracer": "erc7562Tracer" }));
    assert_eq!(Tracer::new(unknown).unwrap_err(), TracerError::Unsupported);
    let config = serde_json::json!({ "tracer": "muxTracer", "tracerConfig": { "muxTracer": {} } });
    assert!(Tracer::new(options(config)).is_err());
}

#[test]
fn access_list_names_what_is_touched() {
    let mut evm = evm(Rules::L2, memory());
    let input = Bytes::from(CONTRACT.into_word().to_vec());
    let request = CallRequest {
        from: SENDER,
        to: TxKind::Call(RECEIVER),
        gas_limit: 1_000_000,
        input,
        ..Default::default()
    };
    let (list, outcome) = evm.access_list(&request, &mut unbounded()).unwrap().unwrap();
    assert_eq!(list.0.len(), 1);
    assert_eq!((list.0[0].address, &list.0[0].storage_keys[..]), (CONTRACT, &[B256::ZERO][..]));
    let with = CallRequest { access_list: list, ..request };
    assert_eq!(evm.call(&with).unwrap().unwrap(), outcome);
}

#[test]
fn simulation_keeps_what_it_did_and_logs_transfers() {
    let mut evm = evm(Rules::L2, memory());
    let request = CallRequest {
        from: SENDER,
        to: TxKind::Call(BENEFICIARY),
        gas_limit: 100_000,
        value: U256::from(9),
        ..Default::default()
    };
    let how = Simulation { transfers: true, ..Default::default() };
    let done = evm.simulate(&request, how, &mut unbounded()).unwrap().unwrap();
    let [Log { address, .. }] = &done.outcome.logs[..] else { panic!("{done:?}") };
    assert_eq!(*address, TRANSFER_LOG_EMITTER);
    assert_eq!(balance(&evm, BENEFICIARY), U256::from(9));
    assert_eq!(nonce(&evm, SENDER), 1);
    let strict = Simulation { validation: true, nonce: Some(0), transfers: false };
    assert_eq!(
        evm.simulate(&request, strict, &mut unbounded()).unwrap().unwrap_err(),
        InvalidTransaction::FeeCapBelowBaseFee { fee_cap: 0, base_fee: GWEI as u64 }
    );
    let paying = CallRequest { max_fee_per_gas: 2 * GWEI, ..request };
    assert_eq!(
        evm.simulate(&paying, strict, &mut unbounded()).unwrap().unwrap_err(),
        InvalidTransaction::NonceTooLow { tx: 0, state: 1 }
    );
    let next = Simulation { nonce: Some(1), ..strict };
    assert!(evm.simulate(&paying, next, &mut unbounded()).unwrap().unwrap().outcome.success());
}
