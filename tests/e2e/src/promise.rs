//! Promises as anybody checks them who has read spec/promise.md.

use crate::Wallet;
use alloy_primitives::{Address, B256, Signature, U256, hex};
use alloy_signer::SignerSync;
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain, sol};
use serde_json::{Value, json};

sol! {
    #[derive(Debug, PartialEq)]
    struct Promise {
        uint64 l2ChainId;
        uint256 leaseId;
        uint64 sequence;
        bytes32 previous;
        uint64 blockNumber;
        uint64 timestamp;
        address beneficiary;
        uint256 baseFee;
        bytes32 origin;
        uint32 firstIndex;
        uint32 count;
        bytes32 root;
    }
}

/// The domain of a chain's promises.
#[track_caller]
pub fn domain(deployment: &Value) -> Eip712Domain {
    let lease: Address = text(&deployment["contracts"]["lease"]).parse().expect("an address");
    eip712_domain! {
        name: "Annex",
        version: "1",
        chain_id: deployment["l1ChainId"].as_u64().expect("a number"),
        verifying_contract: lease,
    }
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

impl Promise {
    /// What JSON says, whoever signed it.
    #[track_caller]
    pub fn from_json(json: &Value) -> Self {
        let number = |field: &str| crate::number(&json[field]);
        let word = |field: &str| -> B256 { text(&json[field]).parse().expect("32 bytes") };
        let small = |field: &str| u32::try_from(number(field)).expect("32 bits");
        Self {
            l2ChainId: number("l2ChainId"),
            leaseId: U256::from(number("leaseId")),
            sequence: number("sequence"),
            previous: word("previous"),
            blockNumber: number("blockNumber"),
            timestamp: number("timestamp"),
            beneficiary: text(&json["beneficiary"]).parse().expect("an address"),
            baseFee: U256::from(number("baseFee")),
            origin: word("origin"),
            firstIndex: small("firstIndex"),
            count: small("count"),
            root: word("root"),
        }
    }

    pub fn digest(&self, domain: &Eip712Domain) -> B256 {
        self.eip712_signing_hash(domain)
    }

    /// JSON with a signature by `key`.
    pub fn sign(&self, key: &Wallet, domain: &Eip712Domain) -> Value {
        let signature = key.signer.sign_hash_sync(&self.digest(domain));
        let signature = signature.expect("a local key signs").as_bytes();
        json!({
            "l2ChainId": format!("{:#x}", self.l2ChainId),
            "leaseId": self.leaseId,
            "sequence": format!("{:#x}", self.sequence),
            "previous": self.previous,
            "blockNumber": format!("{:#x}", self.blockNumber),
            "timestamp": format!("{:#x}", self.timestamp),
            "beneficiary": self.beneficiary,
            "baseFee": self.baseFee,
            "origin": self.origin,
            "firstIndex": format!("{:#x}", self.firstIndex),
            "count": format!("{:#x}", self.count),
            "root": self.root,
            "signature": hex::encode_prefixed(signature),
        })
    }
}

/// Whose signature a promise in JSON bears.
#[track_caller]
pub fn promiser(json: &Value, domain: &Eip712Domain) -> Address {
    let signature = hex::decode(text(&json["signature"])).expect("hex");
    let signature = Signature::from_raw(&signature).expect("65 bytes");
    let digest = Promise::from_json(json).digest(domain);
    signature.recover_address_from_prehash(&digest).expect("a signature of somebody")
}
