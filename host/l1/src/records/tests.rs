use super::*;
use alloy_primitives::{address, b256};

fn item(
    to: Address,
    is_creation: bool,
    mint: u128,
    value: u64,
    gas: u64,
    data: &[u8],
) -> ForcedItem {
    ForcedItem {
        index: 0,
        from: address!("00000000000000000000000000000000000000aa"),
        to,
        mint,
        value: U256::from(value),
        gas_limit: gas,
        is_creation,
        data: Bytes::copy_from_slice(data),
    }
}

/// Values from viem 2.57 (`getL2TransactionHash` of `viem/op-stack`) for logs with this block hash and index.
#[test]
fn op_alias_is_what_viem_computes() {
    let block = B256::repeat_byte(0x11);
    let to = address!("00000000000000000000000000000000000000bb");
    let call = item(to, false, 10u128.pow(18), 5, 100_000, &[0x12, 0x34]);
    assert_eq!(
        op_alias_hash(block, 7, &call),
        b256!("41ff518c50828ef1af9b7d6ec83204f3798e2eefdc7ca904548fd5043c8abe5e")
    );
    let creation = item(Address::ZERO, true, 0, 0, 21_000, &[]);
    assert_eq!(
        op_alias_hash(block, 7, &creation),
        b256!("f7eab0d543c5a77ab5945d5030c579b75213b65cd54544edacc9e9d720fc103d")
    );
}

proptest::proptest! {
    #[test]
    fn payloads_are_read_back(
        kind in 0usize..4,
        numbers: [u64; 4],
        mint: u128,
        bytes in proptest::collection::vec(0u8.., 0..200),
        blobs in 1usize..=MAX_BLOBS,
    ) {
        let word = |n: u64| B256::from(U256::from(n));
        let batch = |data| {
            let submitter = Address::from_word(word(numbers[0]));
            let lease_id = U256::from(numbers[1]);
            RecordPayload::Batch(BatchRecord { submitter, lease_id, forced_up_to: numbers[2], data })
        };
        let payload = match kind {
            0 => RecordPayload::Genesis { config_hash: word(1), genesis_hash: word(numbers[0]) },
            1 => {
                let to = Address::from_word(word(numbers[0]));
                let item = item(to, numbers[1] % 2 == 0, mint, numbers[1], numbers[2], &bytes);
                RecordPayload::Forced(ForcedItem { index: numbers[3], ..item })
            }
            2 => batch(BatchData::Blobs((0..blobs as u64).map(word).collect())),
            _ => batch(BatchData::Calldata(bytes.into())),
        };
        let decoded = decode_payload(payload.kind(), &encode_payload(&payload));
        proptest::prop_assert_eq!(decoded, Ok(payload));
    }

    #[test]
    fn foreign_payloads_never_panic(kind in 0usize..5, payload in proptest::collection::vec(0u8.., 0..600)) {
        let kinds = [*kinds::GENESIS, *kinds::FORCED, *kinds::BATCH_BLOBS, *kinds::BATCH_CALLDATA, B256::ZERO];
        let _ = decode_payload(kinds[kind], &payload);
    }
}

#[test]
fn payloads_out_of_range_are_refused() {
    let forced = |mint: U256, index: U256| {
        let to = Address::ZERO;
        (index, to, to, mint, U256::ZERO, 1u64, false, Bytes::new()).abi_encode_params()
    };
    let max = U256::from(u128::MAX);
    assert!(decode_payload(*kinds::FORCED, &forced(max, U256::ZERO)).is_ok());
    let over = decode_payload(*kinds::FORCED, &forced(max + U256::from(1), U256::ZERO));
    assert_eq!(over, Err(LogFault::Payload));
    let over = decode_payload(*kinds::FORCED, &forced(max, U256::from(u64::MAX) + U256::from(1)));
    assert_eq!(over, Err(LogFault::Payload));
    for count in [0, 1, 6, 7] {
        let hashes = vec![B256::ZERO; count];
        let payload = (Address::ZERO, U256::ZERO, U256::ZERO, hashes).abi_encode_params();
        let decoded = decode_payload(*kinds::BATCH_BLOBS, &payload);
        assert_eq!(decoded.is_ok(), (1..=6).contains(&count), "{count} blobs");
    }
    assert_eq!(decode_payload(B256::ZERO, &[]), Err(LogFault::Kind));
}
