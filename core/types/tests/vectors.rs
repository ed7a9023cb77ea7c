//! The vectors in spec/vectors, which scripts compute from the pages of spec/ without this crate.

#![expect(clippy::unwrap_used, reason = "a test, but its helpers are no test functions")]

use alloy_consensus::Typed2718;
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use annex_types::batch::{self, Batch, BatchError, Limits};
use annex_types::{
    BatchBlock, BatchData, BatchRecord, ChainConfig, ExtraData, ForcedItem, Origin, Promise,
    Record, RecordEnv, RecordPayload, Transaction, fees, promise, record,
};
use serde_json::Value;

const CHAIN: u64 = 901;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../spec/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is no list"))
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

/// A JSON number, or a quantity.
fn wide(value: &Value, key: &str) -> U256 {
    match &value[key] {
        Value::Number(n) => U256::from(n.as_u64().unwrap()),
        Value::String(s) => s.parse().unwrap(),
        other => panic!("{key}: {other}"),
    }
}

fn number(value: &Value, key: &str) -> u64 {
    wide(value, key).to()
}

fn bytes(value: &Value) -> Bytes {
    serde_json::from_value(value.clone()).unwrap()
}

fn transaction(value: &Value) -> Transaction {
    Transaction::decode_2718_exact(&bytes(value)).unwrap()
}

/// The transactions of a batch vector, or the one of the long vector.
fn transactions(vector: &Value) -> Vec<Transaction> {
    if let Some(list) = vector["transactions"].as_array() {
        return list.iter().map(transaction).collect();
    }
    let Transaction::Eip1559(signed) = transaction(&vector["transaction"]) else {
        panic!("the long vector is EIP-1559")
    };
    let signature = *signed.signature();
    let mut tx = signed.strip_signature();
    tx.input = vec![0x5a; 140_000].into();
    vec![Transaction::Eip1559(alloy_consensus::Signed::new_unhashed(tx, signature))]
}

#[test]
fn batches_encode_as_the_vectors() {
    let vectors = vectors("batch");
    assert_eq!(number(&vectors, "l2ChainId"), CHAIN);
    for vector in list(&vectors, "batches") {
        let name = &vector["name"];
        let mut transactions = transactions(vector).into_iter();
        let blocks = list(vector, "blocks").iter().map(|block| BatchBlock {
            timestamp: number(block, "timestamp"),
            beneficiary: parse(block, "beneficiary"),
            origin: number(block, "origin"),
            forced: number(block, "forced"),
            transactions: transactions
                .by_ref()
                .take(number(block, "transactions") as usize)
                .collect(),
        });
        let batch = Batch { parent_hash: parse(vector, "parentHash"), blocks: blocks.collect() };
        let hashes: Vec<B256> =
            batch.blocks.iter().flat_map(|b| &b.transactions).map(Transaction::hash).collect();
        assert_eq!(hashes, parse::<Vec<B256>>(vector, "transactionHashes"), "{name}");

        let content = batch::encode_content(&batch, CHAIN);
        if let Some(expected) = vector.get("content") {
            assert_eq!(Bytes::from(content.clone()), bytes(expected), "{name}");
        }
        assert_eq!(keccak256(&content), parse::<B256>(vector, "contentHash"), "{name}");

        let payload = batch::payload(&raw_frame(&content));
        assert_eq!(keccak256(&payload), parse::<B256>(vector, "payloadHash"), "{name}");
        let blobs = batch::pack_blobs(&payload);
        let hashes: Vec<B256> = blobs.iter().map(keccak256).collect();
        assert_eq!(hashes, parse::<Vec<B256>>(vector, "blobHashes"), "{name}");
        let data = batch::unpack_blobs(&blobs).unwrap();
        assert_eq!(batch::decode(&data, &Limits::SPEC, CHAIN), Ok(Some(batch)), "{name}");
    }
}

/// Single segment, four bytes of size, raw blocks.
fn raw_frame(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let count = content.chunks(128 << 10).count();
    for (i, block) in content.chunks(128 << 10).enumerate() {
        let header = (block.len() as u32) << 3 | u32::from(i + 1 == count);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out
}

#[test]
fn refused_batches_name_the_vectors_reason() {
    for vector in list(&vectors("batch"), "refused") {
        let expected = match vector["error"].as_str().unwrap() {
            "Version" => BatchError::Version,
            "Compression" => BatchError::Compression,
            "Truncated" => BatchError::Truncated,
            "Trailing" => BatchError::Trailing,
            "TooManyBlocks" => BatchError::TooManyBlocks,
            "Varint" => BatchError::Varint,
            other => panic!("unknown reason {other}"),
        };
        let data = bytes(&vector["data"]);
        assert_eq!(batch::decode(&data, &Limits::SPEC, CHAIN), Err(expected), "{data}");
    }
}

#[test]
fn promises_hash_as_the_vectors() {
    let vectors = vectors("promise");
    let domain = promise::domain(number(&vectors, "l1ChainId"), parse(&vectors, "lease"));
    let mut previous = B256::ZERO;
    for vector in list(&vectors, "promises") {
        let leaves: Vec<B256> = list(vector, "transactions")
            .iter()
            .map(|t| promise::leaf(parse(t, "txHash"), parse(t, "receiptHash")))
            .collect();
        assert_eq!(leaves.len() as u64, number(vector, "count"));
        assert_eq!(promise::root(&leaves), parse::<B256>(vector, "root"));
        assert_eq!(previous, parse::<B256>(vector, "previous"));
        let promise = Promise {
            l2ChainId: number(vector, "l2ChainId"),
            leaseId: wide(vector, "leaseId"),
            sequence: number(vector, "sequence"),
            previous,
            blockNumber: number(vector, "blockNumber"),
            timestamp: number(vector, "timestamp"),
            beneficiary: parse(vector, "beneficiary"),
            baseFee: wide(vector, "baseFee"),
            origin: parse(vector, "origin"),
            firstIndex: number(vector, "firstIndex") as u32,
            count: number(vector, "count") as u32,
            root: parse(vector, "root"),
        };
        previous = promise::digest(&promise, &domain);
        assert_eq!(previous, parse::<B256>(vector, "digest"));
    }
}

#[test]
fn base_fees_are_the_vectors() {
    for vector in list(&vectors("fees"), "cases") {
        let target = number(vector, "target");
        let excess = fees::next_excess(
            number(vector, "parentExcess"),
            number(vector, "parentGasUsed"),
            number(vector, "elapsed"),
            target,
        );
        assert_eq!(excess, number(vector, "excess"), "{vector}");
        assert_eq!(fees::base_fee(excess, target), number(vector, "baseFee"), "{vector}");
    }
}

#[test]
fn data_gas_is_the_vectors() {
    for vector in list(&vectors("data-fees"), "cases") {
        let data = bytes(&vector["data"]);
        assert_eq!(fees::flz_len(&data) as u64, number(vector, "flzLength"), "{data}");
        let size = fees::data_size(&data);
        assert_eq!(size, number(vector, "size"), "{data}");
        let env = RecordEnv {
            base_fee: wide(vector, "baseFee"),
            blob_base_fee: wide(vector, "blobBaseFee"),
            ..RecordEnv::default()
        };
        let cost = fees::byte_cost(
            &env,
            number(vector, "baseFeeScalar"),
            number(vector, "blobBaseFeeScalar"),
        );
        let gas = fees::data_gas(size, cost, number(vector, "l2BaseFee"));
        assert_eq!(gas, number(vector, "dataGas"), "{data}");
    }
}

#[test]
fn header_fields_are_the_vectors() {
    let vectors = vectors("headers");
    for vector in list(&vectors, "extraData") {
        let extra = ExtraData {
            origin: number(vector, "origin"),
            forced_count: number(vector, "forcedCount"),
            excess: number(vector, "excess"),
            blocks_in_second: number(vector, "blocksInSecond") as u16,
        };
        let expected = bytes(&vector["extraData"]);
        assert_eq!(extra.encode(), expected);
        assert_eq!(ExtraData::decode(&expected), Ok(extra));
    }
    for refused in list(&vectors, "refusedExtraData") {
        assert!(ExtraData::decode(&bytes(refused)).is_err(), "{refused}");
    }
    for vector in list(&vectors, "prevRandao") {
        let accumulator = parse(vector, "accumulator");
        let origin = Origin { index: 0, accumulator, env: RecordEnv::default() };
        let expected: B256 = parse(vector, "prevRandao");
        assert_eq!(origin.prev_randao(number(vector, "number")), expected);
    }
    let inbox: Address = parse(&vectors, "inbox");
    for vector in list(&vectors, "sourceHashes") {
        let hash = record::source_hash(inbox, number(vector, "forcedIndex"));
        assert_eq!(hash, parse::<B256>(vector, "sourceHash"));
    }
}

fn config(value: &Value) -> ChainConfig {
    ChainConfig {
        l1_chain_id: 900,
        l2_chain_id: number(value, "l2ChainId"),
        inbox: Address::ZERO,
        lease: parse(value, "lease"),
        portal: parse(value, "portal"),
        l1_standard_bridge: parse(value, "l1StandardBridge"),
        forced_delay: number(value, "forcedDelay"),
        liveness_window: number(value, "livenessWindow"),
        max_origin_lag: number(value, "maxOriginLag"),
        timestamp_drift: number(value, "timestampDrift"),
        gas_target_per_second: number(value, "gasTargetPerSecond"),
        base_fee_scalar: number(value, "baseFeeScalar"),
        blob_base_fee_scalar: number(value, "blobBaseFeeScalar"),
        genesis_timestamp: number(value, "genesisTimestamp"),
    }
}

fn record_payload(kind: &str, value: &Value) -> RecordPayload {
    let batch = |data| {
        RecordPayload::Batch(BatchRecord {
            submitter: parse(value, "submitter"),
            lease_id: wide(value, "leaseId"),
            forced_up_to: number(value, "forcedUpTo"),
            data,
        })
    };
    match kind {
        "genesis" => RecordPayload::Genesis {
            config_hash: parse(value, "configHash"),
            genesis_hash: parse(value, "genesisHash"),
        },
        "forced" => RecordPayload::Forced(ForcedItem {
            index: number(value, "forcedIndex"),
            from: parse(value, "from"),
            to: parse(value, "to"),
            mint: wide(value, "mint").to(),
            value: wide(value, "value"),
            gas_limit: number(value, "gasLimit"),
            is_creation: parse(value, "isCreation"),
            data: parse(value, "data"),
        }),
        "batchBlobs" => batch(BatchData::Blobs(parse(value, "blobHashes"))),
        "batchCalldata" => batch(BatchData::Calldata(parse(value, "data"))),
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn records_hash_as_the_vectors() {
    let vectors = vectors("records");
    assert_eq!(config(&vectors["config"]).hash(), parse::<B256>(&vectors, "configHash"));
    let mut previous = B256::ZERO;
    for vector in list(&vectors, "records") {
        let env = &vector["env"];
        let env = RecordEnv {
            l1_block_number: number(env, "l1BlockNumber"),
            timestamp: number(env, "timestamp"),
            base_fee: wide(env, "baseFee"),
            blob_base_fee: wide(env, "blobBaseFee"),
            l1_parent_hash: parse(env, "l1ParentHash"),
        };
        let payload = record_payload(vector["kind"].as_str().unwrap(), &vector["payload"]);
        assert_eq!(payload.kind(), parse::<B256>(vector, "kindTag"));
        assert_eq!(payload.hash(), parse::<B256>(vector, "payloadHash"));
        assert_eq!(previous, parse::<B256>(vector, "previous"));
        let record = Record::new(number(vector, "index"), previous, env, payload);
        assert_eq!(record.accumulator, parse::<B256>(vector, "accumulator"), "{}", record.index);
        previous = record.accumulator;
    }
    assert_ne!(previous, B256::ZERO, "at least one record");
}

/// Every encoding in the vectors is its transaction's own.
#[test]
fn transactions_in_the_vectors_encode_to_themselves() {
    let vectors = vectors("batch");
    let all = list(&vectors, "batches").iter().filter_map(|v| v["transactions"].as_array());
    let mut types = [0u8; 5];
    for encoded in all.flatten() {
        let transaction = transaction(encoded);
        types[usize::from(transaction.ty())] += 1;
        assert_eq!(Bytes::from(transaction.encoded_2718()), bytes(encoded));
    }
    assert!(types[0] > 1 && types[1] > 0 && types[2] > 1 && types[4] > 0, "{types:?}");
}
