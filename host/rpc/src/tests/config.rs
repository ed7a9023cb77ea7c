//! `eth_config` against what the chain does.

use super::*;
use alloy_eips::eip7910::EthConfig;
use std::collections::BTreeSet;

/// CRC-32 of IEEE 802.3, bit by bit (EIP-2124).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[tokio::test]
async fn the_rules_are_those_that_are_told() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
    for rules in [Rules::L1, Rules::L2] {
        let node = Node::start(rules).await;
        let answer = node.get("eth_config", json!([])).await;
        // As clients read it.
        let config: EthConfig = serde_json::from_value(answer.clone()).expect("EIP-7910's");
        assert_eq!(serde_json::to_value(&config).expect("JSON"), answer);
        assert_eq!((config.next, config.last), (None, None));
        let fork = config.current;
        assert_eq!(json!(U64::from(fork.chain_id)), node.get("eth_chainId", json!([])).await);
        assert_eq!(fork.activation_time, 0);
        let genesis = node.get("eth_getBlockByNumber", json!(["0x0", false])).await;
        let genesis: B256 = serde_json::from_value(genesis["hash"].clone()).expect("a hash");
        assert_eq!(fork.fork_id.as_ref(), crc32(genesis.as_slice()).to_be_bytes());
        let blobs = &answer["current"]["blobSchedule"];
        let (target, max) = if rules == Rules::L1 { (6, 9) } else { (0, 0) };
        let expected = json!({ "target": target, "max": max, "baseFeeUpdateFraction": 5_007_716 });
        assert_eq!(*blobs, expected);

        // A call of what is no precompile costs what a transfer does, and never fails.
        let calls: Vec<_> = (1..=0x120u64)
            .map(|number| json!({ "from": node.address(), "to": format!("{number:#042x}"), "gas": "0x15f90" }))
            .collect();
        let blocks = json!({ "blockStateCalls": [{ "calls": calls }] });
        let simulated = node.get("eth_simulateV1", json!([blocks, "latest"])).await;
        let results = simulated[0]["calls"].as_array().expect("results");
        assert_eq!(results.len(), 0x120);
        let works = |result: &Value| result["gasUsed"] != "0x5208" || result["status"] != "0x1";
        let found: BTreeSet<u64> =
            (1..).zip(results).filter(|(_, result)| works(result)).map(|(at, _)| at).collect();
        let told = fork.precompiles.values().map(|address| {
            u64::try_from(U256::from_be_slice(address.as_slice())).expect("a small number")
        });
        assert_eq!(told.collect::<BTreeSet<_>>(), found, "{rules:?}");
    }
}
