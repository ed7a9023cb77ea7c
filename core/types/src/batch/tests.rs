use super::*;
use crate::{BatchBlock, Transaction};
use alloy_consensus::{Signed, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip4844::Blob;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use proptest::collection::vec;
use proptest::prelude::*;

const CHAIN: u64 = 901;
const LIMITS: Limits = Limits::SPEC;

fn compress(content: &[u8]) -> Vec<u8> {
    payload(&zstd::bulk::compress(content, 3).expect("compression of bytes in memory"))
}

fn decode(data: &[u8]) -> Result<Option<Batch>, BatchError> {
    super::decode(data, &LIMITS, CHAIN)
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::from)
}

fn hash() -> impl Strategy<Value = B256> {
    any::<[u8; 32]>().prop_map(B256::from)
}

fn u256() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        any::<u64>().prop_map(U256::from),
        hash().prop_map(|h| U256::from_be_bytes(h.0))
    ]
}

/// Small and extreme numbers, because both ends of a varint matter.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..300, any::<u64>(), Just(u64::MAX)]
}

fn wide() -> impl Strategy<Value = u128> {
    prop_oneof![0u128..300, any::<u128>(), Just(u128::MAX)]
}

fn kind() -> impl Strategy<Value = TxKind> {
    prop_oneof![Just(TxKind::Create), address().prop_map(TxKind::Call)]
}

fn signature() -> impl Strategy<Value = Signature> {
    (u256(), u256(), any::<bool>()).prop_map(|(r, s, odd)| Signature::new(r, s, odd))
}

fn access_list() -> impl Strategy<Value = AccessList> {
    let item = (address(), vec(hash(), 0..3))
        .prop_map(|(address, storage_keys)| AccessListItem { address, storage_keys });
    vec(item, 0..3).prop_map(AccessList)
}

/// Every type a batch may carry, with and without what makes the columns take it.
fn transaction() -> impl Strategy<Value = Transaction> {
    let chain = prop_oneof![3 => Just(CHAIN), 1 => 1u64..5000];
    let fields = (chain, number(), number(), wide(), wide(), kind(), u256());
    let rest = (vec(any::<u8>(), 0..200), access_list(), signature(), 0u8..6);
    (fields, rest, address()).prop_map(|(fields, rest, account)| {
        let (chain_id, nonce, gas_limit, fee, tip, to, value) = fields;
        let (input, access_list, signature, ty) = rest;
        let input = Bytes::from(input);
        let eip1559 = TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: tip,
            to,
            value,
            access_list: access_list.clone(),
            input: input.clone(),
        };
        match ty {
            0 | 1 => {
                let chain_id = (ty == 0).then_some(chain_id);
                let tx = TxLegacy { chain_id, nonce, gas_price: fee, gas_limit, to, value, input };
                Transaction::Legacy(Signed::new_unhashed(tx, signature))
            }
            2 => {
                let tx = TxEip2930 {
                    chain_id,
                    nonce,
                    gas_price: fee,
                    gas_limit,
                    to,
                    value,
                    access_list,
                    input,
                };
                Transaction::Eip2930(Signed::new_unhashed(tx, signature))
            }
            3 => {
                let authorization =
                    Authorization { chain_id: U256::from(chain_id), address: account, nonce };
                let authorization = SignedAuthorization::new_unchecked(
                    authorization,
                    u8::from(signature.v()),
                    signature.r(),
                    signature.s(),
                );
                let tx = TxEip7702 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: fee,
                    max_priority_fee_per_gas: tip,
                    to: account,
                    value,
                    access_list,
                    authorization_list: vec![authorization],
                    input,
                };
                Transaction::Eip7702(Signed::new_unhashed(tx, signature))
            }
            4 => Transaction::Eip1559(Signed::new_unhashed(eip1559, signature)),
            _ => {
                let tx = TxEip1559 { access_list: AccessList::default(), ..eip1559 };
                Transaction::Eip1559(Signed::new_unhashed(tx, signature))
            }
        }
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let block = (0u64..40, 0u64..9, number(), 0u8..3, vec(transaction(), 0..5));
    (hash(), vec(block, 0..8)).prop_map(|(parent_hash, blocks)| {
        let (mut timestamp, mut origin) = (1_760_000_000, 7);
        let blocks = blocks.into_iter().map(|(later, up, forced, who, transactions)| {
            timestamp += later;
            origin += up;
            BatchBlock {
                timestamp,
                beneficiary: Address::repeat_byte(who),
                origin,
                forced,
                transactions,
            }
        });
        Batch { parent_hash, blocks: blocks.collect() }
    })
}

proptest! {
    #[test]
    fn every_batch_round_trips(batch in batch()) {
        let content = encode_content(&batch, CHAIN);
        let decoded = decode(&compress(&content)).expect("own encoding").expect("not empty");
        for (a, b) in batch.blocks.iter().zip(&decoded.blocks) {
            for (a, b) in a.transactions.iter().zip(&b.transactions) {
                prop_assert_eq!(a.hash(), b.hash());
                prop_assert_eq!(a.encoded_2718(), b.encoded_2718());
            }
        }
        prop_assert_eq!(&decoded, &batch);
        prop_assert_eq!(encode_content(&decoded, CHAIN), content);
    }

    #[test]
    fn sizes_are_bounded_as_stated(batch in batch()) {
        let transactions = batch.blocks.iter().flat_map(|b| &b.transactions);
        let bound = CONTENT_OVERHEAD_BOUND
            + BLOCK_LEN_BOUND * batch.blocks.len()
            + transactions.map(|t| transaction_len(t, CHAIN)).sum::<usize>();
        prop_assert!(encode_content(&batch, CHAIN).len() <= bound);
    }

    #[test]
    fn cut_content_is_refused(batch in batch(), cut in any::<proptest::sample::Index>()) {
        let content = encode_content(&batch, CHAIN);
        let cut = &content[..cut.index(content.len())];
        prop_assert_eq!(decode(&compress(cut)), Err(BatchError::Truncated));
    }

    #[test]
    fn left_over_content_is_refused(batch in batch(), byte in any::<u8>()) {
        let mut content = encode_content(&batch, CHAIN);
        content.push(byte);
        prop_assert_eq!(decode(&compress(&content)), Err(BatchError::Trailing));
    }

    /// What decodes at all is what some batch encodes to, so its hashes are fixed.
    #[test]
    fn damaged_content_is_refused_or_another_batch(
        batch in batch(), at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let mut content = encode_content(&batch, CHAIN);
        let at = at.index(content.len());
        content[at] = byte;
        if let Ok(decoded) = decode_content(&content, &LIMITS, CHAIN) {
            let again = encode_content(&decoded, CHAIN);
            prop_assert_eq!(decode_content(&again, &LIMITS, CHAIN), Ok(decoded));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in vec(any::<u8>(), 0..4000)) {
        let _ = decode(&data);
        let _ = decode_content(&data, &LIMITS, CHAIN);
    }

    /// Damage inside a frame reaches the decompressor's inner tables.
    #[test]
    fn damaged_frames_never_panic(
        batch in batch(), damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6), level in 1i32..20
    ) {
        let content = encode_content(&batch, CHAIN).repeat(4);
        let mut data = payload(&zstd::bulk::compress(&content, level).expect("compression"));
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        let _ = decode(&data);
    }

    #[test]
    fn blobs_round_trip(data in vec(any::<u8>(), 0..300_000)) {
        let blobs = pack_blobs(&data);
        prop_assert_eq!(blobs.len(), (data.len() + 4).div_ceil(BLOB_CAPACITY));
        prop_assert_eq!(unpack_blobs(&blobs), Ok(Bytes::from(data)));
    }
}

fn empty_batch(blocks: usize) -> Batch {
    let block = BatchBlock {
        timestamp: 0,
        beneficiary: Address::ZERO,
        origin: 0,
        forced: 1,
        transactions: Vec::new(),
    };
    Batch { parent_hash: B256::ZERO, blocks: vec![block; blocks] }
}

/// A content from columns that a test breaks one of.
fn content_of(blocks: u8, columns: &[(usize, &[u8])]) -> Vec<u8> {
    let mut out = vec![0u8; 32];
    out.push(blocks);
    for i in 0..18 {
        let column = columns.iter().find(|(at, _)| *at == i).map_or(&[][..], |(_, bytes)| bytes);
        out.push(u8::try_from(column.len()).expect("short columns"));
        out.extend_from_slice(column);
    }
    out
}

fn refusal(content: &[u8]) -> BatchError {
    decode_content(content, &LIMITS, CHAIN).expect_err("broken on purpose")
}

#[test]
fn no_data_is_the_empty_batch() {
    assert_eq!(decode(&[]), Ok(None));
}

#[test]
fn wrong_version_is_refused() {
    let mut data = compress(&encode_content(&empty_batch(1), CHAIN));
    data[0] = 1;
    assert_eq!(decode(&data), Err(BatchError::Version));
}

#[test]
fn garbage_is_refused() {
    assert_eq!(decode(b"\0not a frame at all"), Err(BatchError::Compression));
    assert_eq!(decode(&[0]), Err(BatchError::Compression));
    assert_eq!(decode(&compress(b"short")), Err(BatchError::Truncated));
}

/// 8 MiB of zeros are a legal content length and decode as far as their columns; one byte more is refused.
#[test]
fn a_decompression_bomb_stops_at_the_limit() {
    let limit = LIMITS.max_content;
    assert_eq!(decode(&compress(&vec![0; limit])), Err(BatchError::Trailing));
    assert_eq!(decode(&compress(&vec![0; limit + 1])), Err(BatchError::Compression));

    // 700 KiB that claim nothing and would unfold to 22 GiB: blocks of 128 KiB in four bytes each.
    let mut bomb = vec![0, 0x28, 0xb5, 0x2f, 0xfd, 0, (23 - 10) << 3];
    let repeated = ((128u32 << 10) << 3 | 1 << 1).to_le_bytes();
    for _ in 0..180_000 {
        bomb.extend_from_slice(&[repeated[0], repeated[1], repeated[2], 0]);
    }
    let start = std::time::Instant::now();
    assert_eq!(decode(&bomb), Err(BatchError::Compression));
    assert!(start.elapsed().as_secs() < 2, "unfolded far beyond the limit");
}

#[test]
fn a_frame_that_lies_about_its_size_is_refused() {
    let content = encode_content(&empty_batch(1), CHAIN);
    let data = compress(&content);
    assert_eq!(data[1 + DESCRIPTOR_AT], 0x20, "single segment, one byte of size");
    for size in [data[6] - 1, data[6] + 1] {
        let mut lie = data.clone();
        lie[6] = size;
        assert_eq!(decode(&lie), Err(BatchError::Compression));
    }
}

#[test]
fn a_large_window_is_refused() {
    for (log, refused) in [(23u8, false), (24, true), (31, true)] {
        let content = encode_content(&empty_batch(1), CHAIN);
        let mut data = vec![0, 0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3];
        let header = ((content.len() as u32) << 3 | 1).to_le_bytes();
        data.extend_from_slice(&header[..3]);
        data.extend_from_slice(&content);
        assert_eq!(decode(&data) == Err(BatchError::Compression), refused, "window 2^{log}");
    }
}

#[test]
fn one_plain_frame_and_nothing_else() {
    let data = compress(&encode_content(&empty_batch(1), CHAIN));
    assert!(decode(&data).is_ok());
    let frame = &data[1..];
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    for broken in [
        [frame, frame].concat(),
        [frame, &[0]].concat(),
        [frame, &skippable].concat(),
        [&skippable, frame].concat(),
        frame[..frame.len() - 1].to_vec(),
    ] {
        assert_eq!(decode(&payload(&broken)), Err(BatchError::Compression));
    }
    // Checksum, dictionary id, reserved bit.
    for bit in [0, 1, 2, 3] {
        let mut broken = data.clone();
        broken[1 + DESCRIPTOR_AT] |= 1 << bit;
        assert_eq!(decode(&broken), Err(BatchError::Compression));
    }
}

#[test]
fn limits_are_inclusive() {
    let at = |blocks, limits: &Limits| {
        decode_content(&encode_content(&empty_batch(blocks), CHAIN), limits, CHAIN).map(|_| ())
    };
    assert_eq!(at(4096, &LIMITS), Ok(()));
    assert_eq!(at(4097, &LIMITS), Err(BatchError::TooManyBlocks));

    let raw = Transaction::Legacy(Signed::new_unhashed(
        TxLegacy::default(),
        Signature::new(U256::from(1), U256::from(1), false),
    ));
    let len = raw.encoded_2718().len();
    let mut batch = empty_batch(2);
    batch.blocks[1].transactions = vec![raw; 3];
    let content = encode_content(&batch, CHAIN);
    let with = |limits| decode_content(&content, &limits, CHAIN).map(|_| ());
    assert_eq!(with(Limits { max_transactions: 3, ..LIMITS }), Ok(()));
    assert_eq!(
        with(Limits { max_transactions: 2, ..LIMITS }),
        Err(BatchError::TooManyTransactions)
    );
    assert_eq!(with(Limits { max_raw: len, ..LIMITS }), Ok(()));
    assert_eq!(with(Limits { max_raw: len - 1, ..LIMITS }), Err(BatchError::RawTooLong));
}

#[test]
fn counts_that_overflow_are_refused() {
    let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let counts = [&max[..], &max].concat();
    let address = [0u8; 20];
    let blocks: [(usize, &[u8]); 6] =
        [(0, &[1, 0]), (1, &address), (2, &[1, 0]), (3, &[0, 0]), (4, &[0, 0]), (5, &counts)];
    assert_eq!(refusal(&content_of(2, &blocks)), BatchError::TooManyTransactions);
    let timestamps = [&max[..], &[1]].concat();
    assert_eq!(refusal(&content_of(2, &[(0, &timestamps)])), BatchError::Overflow);
}

#[test]
fn varints_are_shortest_and_in_range() {
    let timestamp = |bytes: &[u8]| refusal(&content_of(1, &[(0, bytes)]));
    assert_eq!(timestamp(&[0x80, 0]), BatchError::Varint, "not shortest");
    assert_eq!(
        timestamp(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        BatchError::Varint
    );
    assert_eq!(timestamp(&[0x80; 11]), BatchError::Varint, "eleven bytes");
    assert_eq!(timestamp(&[0x80]), BatchError::Truncated);
    assert_eq!(timestamp(&[1, 1]), BatchError::Trailing);
    assert_eq!(timestamp(&[1]), BatchError::Truncated, "the next column is empty");
}

#[test]
fn flags_kinds_and_values_are_checked() {
    let address = [0u8; 20];
    let block = |flags: &'static [u8]| -> Vec<(usize, &[u8])> {
        vec![(0, &[1]), (1, &address), (2, flags), (3, &[0]), (4, &[0]), (5, &[1])]
    };
    for flags in [&[0][..], &[2], &[3]] {
        assert_eq!(refusal(&content_of(1, &block(flags))), BatchError::Flags);
    }
    for kind in [3u8, 0x40, 0x80, 0xc0, 0x21, 0x3f] {
        let kind = [kind];
        let columns = [block(&[1]), vec![(6, &kind[..])]].concat();
        assert_eq!(refusal(&content_of(1, &columns)), BatchError::Kind);
    }
    let long = [33u8; 34];
    for value in [&[1, 0][..], &[2, 0, 1], &long] {
        let columns: Vec<(usize, &[u8])> =
            vec![(6, &[0x42]), (7, &[0]), (8, &[0]), (10, &[0]), (12, value)];
        assert_eq!(refusal(&content_of(1, &[block(&[1]), columns].concat())), BatchError::Value);
    }
}

#[test]
fn raw_transactions_of_other_types_are_refused() {
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let blob = Transaction::Eip4844(Signed::new_unhashed(TxEip4844::default(), signature));
    let legacy = Transaction::Legacy(Signed::new_unhashed(TxLegacy::default(), signature));
    let mut typed_legacy = vec![0];
    typed_legacy.extend_from_slice(&legacy.encoded_2718());
    let mut long_form = legacy.encoded_2718();
    assert!(long_form[0] < 0xf8, "short list");
    long_form.splice(0..1, [0xf8, long_form[0] - 0xc0]);
    let deposit = [0x7e, 0xc0];
    for raw in
        [&blob.encoded_2718()[..], &typed_legacy, &long_form, &deposit, &[], &[0x02], &[0xc0]]
    {
        assert_eq!(content::decode_raw(raw), None, "{raw:02x?}");
    }
    assert_eq!(content::decode_raw(&legacy.encoded_2718()), Some(legacy));
}

#[test]
fn a_blob_with_a_high_byte_is_refused() {
    let mut blobs = pack_blobs(&[7; 200_000]);
    assert_eq!(blobs.len(), 2);
    blobs[1][131_040] = 1;
    assert_eq!(unpack_blobs(&blobs), Err(BatchError::BlobElement));
}

#[test]
fn a_truncated_blob_is_refused() {
    let blobs = pack_blobs(&vec![7; data_capacity(2)]);
    assert_eq!(blobs.len(), 2);
    assert_eq!(unpack_blobs(&blobs[..1]), Err(BatchError::BlobLength));
    assert_eq!(unpack_blobs(&[]), Err(BatchError::BlobLength));
    let mut liar = vec![Blob::ZERO; 1];
    liar[0][1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(unpack_blobs(&liar), Err(BatchError::BlobLength));
    let full = data_capacity(6);
    assert_eq!(pack_blobs(&vec![1; full]).len(), 6);
}

/// The size at which a sequencer seals leaves room for what does not compress at all.
#[test]
fn content_of_the_stated_size_fits_whatever_it_is() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    for (content, capacity) in
        [(MAX_BLOB_CONTENT, data_capacity(MAX_BLOBS)), (MAX_CALLDATA_CONTENT, MAX_L1_DATA)]
    {
        let bytes: Vec<u8> = (0..content).map(|_| noise()).collect();
        for level in [1, 3, 9] {
            let frame = zstd::bulk::compress(&bytes, level).expect("compression");
            assert!(payload(&frame).len() <= capacity);
        }
        assert!(zstd::zstd_safe::compress_bound(content) < capacity);
        assert!(zstd::zstd_safe::compress_bound(content + 1) >= capacity, "nothing wasted");
    }
    assert_eq!(max_content(0), 0);
}
