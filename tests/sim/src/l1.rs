//! An L1 in memory: accounts, contracts and blocks, executed by the node's EVM.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use alloy_consensus::{Signed, TxEip1559, TxEip4844};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{Address, B256, Bytes, Log, Signature, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use annex_evm::{BlockEnv, CallRequest, Evm, InvalidTransaction, Outcome, Rules, Status};
use annex_state::{AccountInfo, Overlay, StateReader};
use annex_types::{RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction};

/// Chain id of the L1.
pub const CHAIN_ID: u64 = 900;
/// Wei a gas that blocks burn, and that their beneficiary gets on top.
const BASE_FEE: u64 = 10_000_000_000;
const TIP: u64 = 1_000_000_000;
/// What every transaction pays for a gas, in wei.
pub const GAS_PRICE: u64 = BASE_FEE + TIP;
/// Gas of a block.
pub const BLOCK_GAS: u64 = 60_000_000;
/// Seconds between two blocks.
pub const BLOCK_TIME: u64 = 12;
const BENEFICIARY: Address = Address::repeat_byte(0xbf);
/// Timestamp of the first block.
pub const START: u64 = 1_760_000_000;

/// A transaction before it has a nonce, which its inclusion gives it.
#[derive(Clone, Debug)]
pub struct Call {
    pub from: Address,
    pub to: TxKind,
    pub value: U256,
    pub input: Bytes,
    /// Versioned hashes.
    pub blobs: Vec<B256>,
    /// Its sender pays for all of it first, and gets back what is left.
    pub gas_limit: u64,
}

impl Call {
    /// A call of a contract's function.
    pub fn new(from: Address, to: Address, call: &impl SolCall) -> Self {
        let (input, gas_limit) = (call.abi_encode().into(), TX_GAS_LIMIT_CAP);
        Self { from, to: TxKind::Call(to), value: U256::ZERO, input, blobs: Vec::new(), gas_limit }
    }

    pub fn with_value(self, value: U256) -> Self {
        Self { value, ..self }
    }
}

/// What an account spent on gas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub transactions: u64,
    /// Those that reverted.
    pub reverted: u64,
    pub gas: u64,
    /// Most gas of one of its transactions.
    pub most_gas: u64,
    /// Wei.
    pub wei: U256,
}

/// Nothing is below the overlay but the hashes of earlier blocks.
#[derive(Clone, Copy, Debug)]
struct Below<'a>(&'a [B256]);

impl StateReader for Below<'_> {
    type Error = Infallible;

    fn account(&self, _: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(None)
    }

    fn storage(&self, _: Address, _: U256) -> Result<U256, Infallible> {
        Ok(U256::ZERO)
    }

    fn code(&self, _: B256) -> Result<Bytes, Infallible> {
        Ok(Bytes::new())
    }

    fn block_hash(&self, number: u64) -> Result<B256, Infallible> {
        let hash = usize::try_from(number).ok().and_then(|number| self.0.get(number));
        Ok(hash.copied().unwrap_or_default())
    }
}

/// The chain. A clone of it is a snapshot.
#[derive(Clone, Debug)]
pub struct L1 {
    state: Overlay,
    /// Of the blocks so far.
    hashes: Vec<B256>,
    timestamp: u64,
    /// Goes into block hashes, so that a branch is another one.
    branch: u64,
    logs: Vec<Log>,
    spent: BTreeMap<Address, Spent>,
    /// Wei that exists: what was given less what was burned.
    supply: U256,
    funded: BTreeSet<Address>,
}

impl Default for L1 {
    fn default() -> Self {
        let mut l1 = Self {
            state: Overlay::default(),
            hashes: Vec::new(),
            timestamp: START - BLOCK_TIME,
            branch: 0,
            logs: Vec::new(),
            spent: BTreeMap::new(),
            supply: U256::ZERO,
            funded: BTreeSet::new(),
        };
        l1.mine(BLOCK_TIME, Vec::new());
        l1
    }
}

impl L1 {
    /// Gives an account ether.
    pub fn fund(&mut self, address: Address, wei: U256) {
        let account = self.account(address);
        let balance = account.balance + wei;
        self.state.set_account(address, Some(AccountInfo { balance, ..account }));
        self.supply += wei;
        self.funded.insert(address);
    }

    fn account(&self, address: Address) -> AccountInfo {
        self.state.account(&address).flatten().unwrap_or_default()
    }

    pub fn balance(&self, address: Address) -> U256 {
        self.account(address).balance
    }

    /// All wei there is.
    pub fn supply(&self) -> U256 {
        self.supply
    }

    /// Everybody who ever had wei of [`L1::fund`], and who builds blocks.
    pub fn funded(&self) -> impl Iterator<Item = Address> {
        self.funded.iter().copied().chain([BENEFICIARY])
    }

    pub fn nonce(&self, address: Address) -> u64 {
        self.account(address).nonce
    }

    pub fn spent(&self, address: Address) -> Spent {
        self.spent.get(&address).copied().unwrap_or_default()
    }

    /// Timestamp of the newest block, in seconds.
    pub fn now(&self) -> u64 {
        self.timestamp
    }

    /// Number of the newest block.
    pub fn number(&self) -> u64 {
        self.hashes.len() as u64 - 1
    }

    /// Everything that was logged, in order.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Blocks from here on have other hashes than on the branch this one was cloned from.
    pub fn fork(&mut self) {
        self.branch += 1;
    }

    fn env(&self, number: u64, timestamp: u64) -> BlockEnv {
        BlockEnv {
            chain_id: CHAIN_ID,
            number,
            timestamp,
            beneficiary: BENEFICIARY,
            gas_limit: BLOCK_GAS,
            base_fee: BASE_FEE,
            prev_randao: B256::ZERO,
            blob_base_fee: 1,
            byte_cost: U256::ZERO,
        }
    }

    /// Mines a block `after` seconds after the newest one, with these transactions in order, and says how each went. A transaction
    /// that does not fit any more is not included: `None`.
    pub fn mine(&mut self, after: u64, calls: Vec<Call>) -> Vec<Option<Outcome>> {
        let (number, timestamp) = (self.hashes.len() as u64, self.timestamp + after);
        let reader = self.state.over(Below(&self.hashes));
        let mut evm = Evm::new(Rules::L1, self.env(number, timestamp), reader);
        let mut left = BLOCK_GAS;
        let mut outcomes = Vec::new();
        let (mut logs, mut spent, mut burned) = (Vec::new(), self.spent.clone(), 0);
        for call in calls {
            let limit = left.min(call.gas_limit);
            let outcome = execute(&mut evm, &call, limit).ok();
            if let Some(outcome) = &outcome {
                left -= outcome.execution_gas;
                burned += u128::from(outcome.execution_gas) * u128::from(BASE_FEE);
                burned += u128::from(DATA_GAS_PER_BLOB) * call.blobs.len() as u128;
                spent.entry(call.from).or_default().add(outcome);
                logs.extend(outcome.logs.iter().cloned());
            }
            outcomes.push(outcome);
        }
        let (changed, _) = evm.into_parts();
        self.state.merge(changed);
        self.logs.extend(logs);
        self.spent = spent;
        self.supply -= U256::from(burned);
        self.timestamp = timestamp;
        let parent = self.hashes.last().copied().unwrap_or_default();
        let words = [U256::from(number), U256::from(timestamp), U256::from(self.branch)];
        let words = words.map(B256::from).concat();
        self.hashes.push(keccak256([parent.as_slice(), &words].concat()));
        outcomes
    }

    /// Creates a contract, which must succeed.
    pub fn create(&mut self, from: Address, init_code: Bytes) -> Address {
        let call = Call {
            from,
            to: TxKind::Create,
            value: U256::ZERO,
            input: init_code,
            blobs: Vec::new(),
            gas_limit: TX_GAS_LIMIT_CAP,
        };
        let outcome = self.transact(call);
        assert!(outcome.success(), "{}", said(&outcome));
        outcome.contract_address.expect("a creation")
    }

    /// Mines a block with one transaction.
    pub fn transact(&mut self, call: Call) -> Outcome {
        self.mine(BLOCK_TIME, vec![call]).remove(0).expect("a valid transaction")
    }

    /// What a view says in the newest block.
    pub fn view<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let outcome = self.ask(to, call);
        assert!(outcome.success(), "{}: {}", C::SIGNATURE, said(&outcome));
        C::abi_decode_returns(&outcome.output).expect("what the ABI says")
    }

    /// Makes a call without keeping what it changes.
    pub fn ask(&self, to: Address, call: &impl SolCall) -> Outcome {
        self.simulate(&Call::new(Address::ZERO, to, call))
    }

    /// How a transaction would end if it were in a block at the time of the newest one.
    pub fn simulate(&self, call: &Call) -> Outcome {
        let reader = self.state.over(Below(&self.hashes));
        let mut evm = Evm::new(Rules::L1, self.env(self.number(), self.timestamp), reader);
        let Call { from, to, value, input, blobs: blob_hashes, .. } = call.clone();
        let gas_limit = TX_GAS_LIMIT_CAP;
        let request =
            CallRequest { from, to, gas_limit, value, input, blob_hashes, ..Default::default() };
        let Ok(outcome) = evm.call(&request);
        outcome.expect("a valid call")
    }
}

fn execute<R: StateReader<Error = Infallible>>(
    evm: &mut Evm<R>,
    call: &Call,
    gas_limit: u64,
) -> Result<Outcome, InvalidTransaction> {
    let Ok(sender) = evm.state().account(call.from);
    let nonce = sender.unwrap_or_default().nonce;
    let (max_fee_per_gas, max_priority_fee_per_gas) = (GAS_PRICE.into(), TIP.into());
    let Call { to, value, input, .. } = call.clone();
    // Nobody looks at the signature: the sender is given.
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    let transaction = match (to, call.blobs.is_empty()) {
        (TxKind::Call(to), false) => Transaction::Eip4844(Signed::new_unhashed(
            TxEip4844 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                input,
                blob_versioned_hashes: call.blobs.clone(),
                max_fee_per_blob_gas: 1,
                ..Default::default()
            },
            signature,
        )),
        _ => Transaction::Eip1559(Signed::new_unhashed(
            TxEip1559 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                input,
                ..Default::default()
            },
            signature,
        )),
    };
    let transaction = RecoveredTransaction { transaction, sender: call.from, data_size: 0 };
    let Ok(outcome) = evm.execute(&transaction);
    outcome
}

impl Spent {
    fn add(&mut self, outcome: &Outcome) {
        self.transactions += 1;
        self.reverted += u64::from(!outcome.success());
        self.gas += outcome.execution_gas;
        self.most_gas = self.most_gas.max(outcome.execution_gas);
        self.wei += U256::from(outcome.execution_gas) * U256::from(GAS_PRICE);
    }
}

/// How a transaction ended, for people.
pub fn said(outcome: &Outcome) -> String {
    match outcome.status {
        Status::Success => format!("success, {} gas", outcome.execution_gas),
        Status::Revert => format!("revert {}", outcome.output),
        Status::Halt(halt) => format!("{halt}, {} gas", outcome.execution_gas),
    }
}
