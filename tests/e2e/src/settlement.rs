//! What settlement comes to on L1: who owns what, who paid for what, how far disputes went.

use crate::{Rpc, number};
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolEvent, sol};
use serde_json::{Value, json};
use std::fmt;

sol! {
    interface Tournament {
        function credits(address account) external view returns (uint256);
        function prove(uint256 matchId, bytes proof) external;
        event Opened(uint256 indexed id, uint256 parentMatch, uint8 level, bytes32 start);
        event Joined(uint256 indexed id, bytes32 indexed root, address indexed claimer, bytes32 last);
        event Refunded(uint256 indexed matchId, address indexed who, uint256 amount);
    }
    interface Claims {
        function lastOpened() external view returns (uint64);
    }
}

/// A chain's settlement, asked on L1.
#[derive(Debug)]
pub struct Settlement {
    pub l1: Rpc,
    pub claims: Address,
    pub tournament: Address,
}

/// What accounts sent on L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub transactions: u64,
    pub reverted: u64,
    /// Of those, how many had not gas enough.
    pub starved: u64,
    pub gas: u64,
    /// Wei for gas.
    pub wei: U256,
    /// Instructions that L1 executed for them.
    pub proofs: u64,
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, reverted, gas, proofs, .. } = self;
        write!(f, "{transactions} transactions ({reverted} reverted, {proofs} proofs), {gas} gas")
    }
}

impl Settlement {
    pub fn balance(&self, account: Address) -> U256 {
        quantity(&self.l1.get_result("eth_getBalance", json!([account, "latest"])))
    }

    /// What an account owns in wei, what it can take out of the Tournament included.
    pub fn wealth(&self, account: Address) -> U256 {
        self.balance(account) + self.call(self.tournament, Tournament::creditsCall { account })
    }

    /// Timestamp of the newest opening of a range.
    pub fn opened(&self) -> u64 {
        self.call(self.claims, Claims::lastOpenedCall {})
    }

    fn call<C: SolCall>(&self, to: Address, call: C) -> C::Return {
        let request = json!([{"to": to, "data": Bytes::from(call.abi_encode())}, "latest"]);
        let output = self.l1.get_result("eth_call", request);
        let output = hex::decode(output.as_str().expect("bytes")).expect("hex");
        C::abi_decode_returns(&output).expect("what the contract returns")
    }

    /// Logs of an event of the Tournament, oldest first.
    fn events<E: SolEvent>(&self) -> Vec<E> {
        let topics = json!([E::SIGNATURE_HASH]);
        let filter = json!([{"fromBlock": "0x0", "address": self.tournament, "topics": topics}]);
        let logs = self.l1.get_result("eth_getLogs", filter);
        let logs = logs.as_array().expect("logs").iter().map(|log| {
            let topics = log["topics"].as_array().expect("topics").iter();
            let topics =
                topics.map(|it| it.as_str().expect("a word").parse::<B256>().expect("a word"));
            let data = hex::decode(log["data"].as_str().expect("data")).expect("hex");
            E::decode_raw_log(topics, &data).expect("the contract's event")
        });
        logs.collect()
    }

    /// Tournaments by level.
    pub fn tournaments(&self) -> [usize; 3] {
        let mut count = [0; 3];
        for opened in self.events::<Tournament::Opened>() {
            count[usize::from(opened.level)] += 1;
        }
        count
    }

    /// Bonds that an account has staked.
    pub fn bonds(&self, account: Address) -> usize {
        let joined = self.events::<Tournament::Joined>();
        joined.iter().filter(|joined| joined.claimer == account).count()
    }

    /// Wei that moves of an account were refunded.
    pub fn refunds(&self, account: Address) -> U256 {
        let refunded = self.events::<Tournament::Refunded>();
        refunded.iter().filter(|it| it.who == account).map(|it| it.amount).sum()
    }

    /// What these accounts sent from an L1 block on.
    pub fn spent(&self, accounts: &[Address], from: u64) -> Spent {
        let head = self.l1.block_number("latest");
        let numbers: Vec<u64> = (from..=head).collect();
        let blocks = numbers.chunks(200).flat_map(|chunk| {
            let params = chunk.iter().map(|number| json!([format!("{number:#x}"), true]));
            self.l1.batch("eth_getBlockByNumber", params)
        });
        let transactions = blocks.flat_map(|block| {
            let list = block["transactions"].as_array().expect("transactions").clone();
            list.into_iter().filter(|tx| accounts.contains(&address(&tx["from"])))
        });
        let prove = hex::encode_prefixed(Tournament::proveCall::SELECTOR);
        let mut spent = Spent::default();
        for tx in transactions {
            let receipt = self.l1.receipt(tx["hash"].as_str().expect("a hash"));
            let receipt = receipt.expect("what is in a block has a receipt");
            let gas = number(&receipt["gasUsed"]);
            let fine = receipt["status"] == "0x1";
            let proves = tx["input"].as_str().is_some_and(|input| input.starts_with(&prove));
            spent.transactions += 1;
            spent.reverted += u64::from(!fine);
            // A call keeps back a 64th from those that it makes.
            spent.starved += u64::from(!fine && gas > number(&tx["gas"]) / 20 * 19);
            spent.proofs += u64::from(fine && proves);
            spent.gas += gas;
            spent.wei += U256::from(gas) * quantity(&receipt["effectiveGasPrice"]);
        }
        spent
    }
}

fn quantity(value: &Value) -> U256 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("not a number: {value}"))
}

fn address(value: &Value) -> Address {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no address: {value}"))
}

/// An `annex_settlement` report, if the node answers and plays.
pub fn report(node: &Rpc) -> Option<Value> {
    node.call("annex_settlement", json!([])).ok().filter(|report| !report.is_null())
}

/// Bonds of parties of a role that are at stake, by a report.
pub fn staked(report: &Value, role: &str) -> u64 {
    let parties = report["parties"].as_array().expect("parties").iter();
    parties.filter(|party| party["role"] == role).map(|party| number(&party["staked"])).sum()
}

/// Bonds of the truth: claimer and challenger of a node both play for it, and either may be first.
pub fn honest_staked(report: &Value) -> u64 {
    staked(report, "claimer") + staked(report, "challenger")
}

/// Accounts that a test has made up.
pub fn stranger(name: &str) -> Address {
    Address::from_word(keccak256(name))
}
