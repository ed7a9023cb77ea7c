//! L1 rules against the EVM library's own mainnet pipeline.

use proptest::prelude::*;
use revm::context::TxEnv;
use revm::context::result::EVMError;
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo as RevmInfo, Bytecode};
use revm::{Context, ExecuteCommitEvm, MainBuilder, MainContext};

use super::*;

#[derive(Clone, Debug)]
struct Generated {
    kind: u8,
    to: Option<Address>,
    value: u64,
    gas_limit: u64,
    fee: u64,
    tip: u64,
    nonce_off: u8,
    input: Bytes,
}

fn generated() -> impl Strategy<Value = Generated> {
    let to = prop_oneof![
        Just(None),
        Just(Some(RECEIVER)),
        Just(Some(CONTRACT)),
        Just(Some(SENDER)),
        Just(Some(BENEFICIARY)),
    ];
    let input = prop_oneof![
        Just(Bytes::new()),
        Just(deploying(STORE)),
        (0u64..3, 0u64..3).prop_map(|(slot, value)| words([slot, value])),
        proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from),
    ];
    let gas = prop_oneof![20_000u64..60_000, 60_000u64..500_000];
    (0u8..3, to, 0u64..1_000_000, gas, 0u64..4 * GWEI as u64, 0u64..2 * GWEI as u64, 0u8..12, input)
        .prop_map(|(kind, to, value, gas_limit, fee, tip, nonce_off, input)| Generated {
            kind,
            to,
            value,
            gas_limit,
            fee,
            tip,
            nonce_off,
            input,
        })
}

impl Generated {
    fn transaction(&self, next_nonce: u64) -> RecoveredTransaction {
        // Mostly right.
        let nonce = if self.nonce_off == 11 { next_nonce + 1 } else { next_nonce };
        let to = self.to.map_or(TxKind::Create, TxKind::Call);
        let (value, input, gas_limit) =
            (U256::from(self.value), self.input.clone(), self.gas_limit);
        let fee = u128::from(self.fee);
        match self.kind {
            0 => signed(TxLegacy {
                chain_id: Some(901),
                nonce,
                gas_price: fee,
                gas_limit,
                to,
                value,
                input,
            }),
            1 => signed(TxEip2930 {
                chain_id: 901,
                nonce,
                gas_price: fee,
                gas_limit,
                to,
                value,
                input,
                access_list: Default::default(),
            }),
            _ => signed(TxEip1559 {
                chain_id: 901,
                nonce,
                gas_limit,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: u128::from(self.tip),
                to,
                value,
                input,
                access_list: Default::default(),
            }),
        }
    }

    fn env(&self, transaction: &RecoveredTransaction) -> TxEnv {
        use alloy_consensus::Transaction as _;
        let tx = &transaction.transaction;
        TxEnv {
            tx_type: self.kind,
            caller: SENDER,
            gas_limit: self.gas_limit,
            gas_price: u128::from(self.fee),
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            value: U256::from(self.value),
            data: self.input.clone(),
            nonce: tx.nonce(),
            chain_id: Some(901),
            gas_priority_fee: (self.kind == 2).then_some(u128::from(self.tip)),
            ..Default::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn l1_rules_are_mainnets(list in proptest::collection::vec(generated(), 1..12)) {
        let mut ours = evm(Rules::L1, funded().with_code(CONTRACT, STORE));
        let mut database = CacheDB::new(EmptyDB::new());
        database.insert_account_info(SENDER, RevmInfo { balance: U256::from(ETHER), ..Default::default() });
        let code = Bytecode::new_raw(Bytes::from_static(STORE));
        let contract = RevmInfo { nonce: 1, code_hash: keccak256(STORE), code: Some(code), ..Default::default() };
        database.insert_account_info(CONTRACT, contract);
        let mut theirs = Context::mainnet()
            .with_db(database)
            .with_block(block().to_revm())
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
                cfg.chain_id = 901;
            })
            .build_mainnet();
        for item in list {
            let tx = item.transaction(nonce(&ours, SENDER));
            let result = ours.execute(&tx).unwrap();
            match theirs.transact_commit(item.env(&tx)) {
                Ok(expected) => {
                    let outcome = result.expect("valid there");
                    prop_assert_eq!(outcome.success(), expected.is_success());
                    prop_assert_eq!(outcome.execution_gas, expected.tx_gas_used());
                    prop_assert_eq!(outcome.logs, expected.logs());
                }
                Err(EVMError::Transaction(_)) => prop_assert!(result.is_err()),
                Err(other) => prop_assert!(false, "{other}"),
            }
            let database = &theirs.ctx.journaled_state.database;
            for address in [SENDER, RECEIVER, CONTRACT, BENEFICIARY] {
                let account = database.cache.accounts.get(&address);
                let info = account.map(|a| a.info.clone()).unwrap_or_default();
                prop_assert_eq!(balance(&ours, address), info.balance, "{}", address);
                prop_assert_eq!(nonce(&ours, address), info.nonce, "{}", address);
            }
            for slot in 0..3 {
                let slot = U256::from(slot);
                let account = &database.cache.accounts[&CONTRACT];
                let stored = account.storage.get(&slot).copied().unwrap_or_default();
                prop_assert_eq!(ours.state().storage(CONTRACT, slot).unwrap(), stored);
            }
        }
    }
}
