use alloy_consensus::{Signed, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_sol_types::{SolCall, SolInterface, SolValue};
use annex_evm::{AccountOverride, BlockEnv, CallRequest, Evm, Outcome, Rules, Status};
use annex_l1::contracts::Machine::{self, MachineErrors, stepCall};
use annex_l1::contracts::PreimageOracle::{
    self, PreimageOracleErrors, loadBlobElementCall, loadKeccakPartCall, readCall,
};
use annex_state::{AccountInfo, StateReader};
use annex_types::{RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction};
use std::convert::Infallible;

const CALLER: Address = Address::repeat_byte(0xca);
const ORACLE: Address = Address::repeat_byte(0x0c);
const MACHINE: Address = Address::repeat_byte(0x3a);
/// What a byte of calldata may come to cost on L1.
const GAS_PER_BYTE: u64 = 64;

/// An L1 on which nothing stands yet.
#[derive(Debug)]
struct Nothing;

impl StateReader for Nothing {
    type Error = Infallible;

    fn account(&self, _: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(None)
    }

    fn storage(&self, _: Address, _: U256) -> Result<U256, Infallible> {
        Ok(U256::ZERO)
    }

    fn code(&self, _: B256) -> Result<Bytes, Infallible> {
        unreachable!("no account has code")
    }

    fn block_hash(&self, _: u64) -> Result<B256, Infallible> {
        Ok(B256::ZERO)
    }
}

/// An error of the contracts' own. Anything else (a panic, no gas left, an empty revert) is a failed test.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Machine(MachineErrors),
    Oracle(PreimageOracleErrors),
}

/// What a contract said, and at what price.
#[derive(Debug)]
pub struct Verdict<T> {
    pub result: Result<T, Refusal>,
    /// All gas of a transaction that does nothing else, and 64 more for each byte of its calldata: above what any pricing of
    /// calldata in discussion would charge.
    pub gas: u64,
}

/// `Machine` and `PreimageOracle` on an L1 of their own.
#[derive(Debug)]
pub struct Contracts {
    evm: Evm<Nothing>,
    nonce: u64,
}

impl Default for Contracts {
    fn default() -> Self {
        Self::new()
    }
}

impl Contracts {
    /// Creates both by their init code.
    pub fn new() -> Self {
        let block = BlockEnv {
            chain_id: 1,
            number: 1,
            timestamp: 1_760_000_000,
            beneficiary: Address::ZERO,
            gas_limit: 60_000_000,
            base_fee: 0,
            prev_randao: B256::ZERO,
            blob_base_fee: 1,
            byte_cost: U256::ZERO,
        };
        let mut contracts = Self { evm: Evm::new(Rules::L1, block, Nothing), nonce: 0 };
        contracts.create(ORACLE, PreimageOracle::BYTECODE.clone());
        let arguments = ORACLE.abi_encode();
        contracts.create(MACHINE, [&Machine::BYTECODE, &arguments[..]].concat().into());
        contracts
    }

    fn create(&mut self, address: Address, init_code: Bytes) {
        let outcome = self.simulate(TxKind::Create, init_code);
        assert!(outcome.success(), "{outcome:?}");
        let code = AccountOverride { code: Some(outcome.output), ..Default::default() };
        let Ok(()) = self.evm.override_account(address, code);
    }

    /// `Machine.step`: the hashes of the states before and after.
    pub fn step(&mut self, proof: &[u8]) -> Verdict<(B256, B256)> {
        let call = stepCall { proof: Bytes::copy_from_slice(proof) };
        self.view(MACHINE, &call).map(|output| (output.before, output.next))
    }

    /// `PreimageOracle.read`: word and length.
    pub fn read(&mut self, kind: u64, key: B256, offset: u64) -> Verdict<(B256, U256)> {
        let call = readCall { kind: U256::from(kind), key, offset: U256::from(offset) };
        self.view(ORACLE, &call).map(|output| (output.word, output.length))
    }

    pub fn load_keccak(&mut self, offset: u64, data: &[u8]) -> Verdict<()> {
        let data = Bytes::copy_from_slice(data);
        self.transact(ORACLE, &loadKeccakPartCall { offset: U256::from(offset), data })
    }

    pub fn load_blob_element(&mut self, call: &loadBlobElementCall) -> Verdict<()> {
        self.transact(ORACLE, call)
    }

    fn view<C: SolCall>(&mut self, to: Address, call: &C) -> Verdict<C::Return> {
        let input = Bytes::from(call.abi_encode());
        let outcome = self.simulate(TxKind::Call(to), input.clone());
        verdict(&input, outcome)
            .map(|output| C::abi_decode_returns(&output).expect("what the ABI says"))
    }

    fn simulate(&mut self, to: TxKind, input: Bytes) -> Outcome {
        let gas_limit = TX_GAS_LIMIT_CAP;
        let request = CallRequest { from: CALLER, to, gas_limit, input, ..Default::default() };
        let Ok(outcome) = self.evm.call(&request);
        outcome.expect("a valid call")
    }

    fn transact<C: SolCall>(&mut self, to: Address, call: &C) -> Verdict<()> {
        let input = Bytes::from(call.abi_encode());
        let transaction = TxLegacy {
            nonce: self.nonce,
            gas_limit: TX_GAS_LIMIT_CAP,
            to: TxKind::Call(to),
            input: input.clone(),
            ..Default::default()
        };
        self.nonce += 1;
        // Nobody looks at the signature: the sender is given.
        let signature = Signature::new(U256::from(1), U256::from(1), false);
        let signed = Signed::new_unhashed(transaction, signature);
        let transaction = Transaction::Legacy(signed);
        let transaction = RecoveredTransaction { transaction, sender: CALLER, data_size: 0 };
        let Ok(outcome) = self.evm.execute(&transaction);
        verdict(&input, outcome.expect("a valid transaction")).map(drop)
    }
}

fn verdict(input: &Bytes, outcome: Outcome) -> Verdict<Bytes> {
    let result = match outcome.status {
        Status::Success => Ok(outcome.output),
        Status::Revert => Err(refusal(&outcome.output)),
        Status::Halt(halt) => panic!("{halt} with input {input}"),
    };
    Verdict { result, gas: GAS_PER_BYTE * input.len() as u64 + outcome.execution_gas }
}

fn refusal(output: &[u8]) -> Refusal {
    if let Ok(error) = MachineErrors::abi_decode(output) {
        return Refusal::Machine(error);
    }
    let error = PreimageOracleErrors::abi_decode(output);
    Refusal::Oracle(error.unwrap_or_else(|_| panic!("no error of the contracts: {output:02x?}")))
}

impl<T> Verdict<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Verdict<U> {
        Verdict { result: self.result.map(f), gas: self.gas }
    }
}
