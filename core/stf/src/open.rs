use alloy_consensus::{Transaction as _, TransactionEnvelope};
use alloy_primitives::{Address, B256, Bytes, Sealable, U256};
use annex_evm::{BlockEnv, CodeCache, Evm, InvalidTransaction, Outcome, Rules, Status};
use annex_state::{Overlay, StateReader};
use annex_types::block::ExtraDataError;
use annex_types::predeploys::L1_BLOCK;
use annex_types::{
    BLOCK_GAS_LIMIT, BlockAttributes, ChainConfig, ExtraData, ForcedItem, Header, Origin, Receipt,
    RecoveredTransaction, TX_GAS_LIMIT_CAP, Transaction, TxType, fees,
};

/// What a block needs to know of its parent while it is open: all of it is known before the parent's root and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentBlock {
    pub number: u64,
    /// Seconds.
    pub timestamp: u64,
    /// Execution gas.
    pub gas_used: u64,
    pub extra: ExtraData,
}

impl TryFrom<&Header> for ParentBlock {
    type Error = ExtraDataError;

    fn try_from(header: &Header) -> Result<Self, ExtraDataError> {
        Ok(Self {
            number: header.number,
            timestamp: header.timestamp,
            gas_used: header.gas_used,
            extra: ExtraData::decode(&header.extra_data)?,
        })
    }
}

/// The environment of the block that follows `parent`, and the gas excess its base fee comes from.
pub fn block_env(
    config: &ChainConfig,
    parent: &ParentBlock,
    attributes: &BlockAttributes,
) -> (BlockEnv, u64) {
    let number = parent.number + 1;
    let elapsed = attributes.timestamp.saturating_sub(parent.timestamp);
    let target = config.gas_target_per_second;
    let excess = fees::next_excess(parent.extra.excess, parent.gas_used, elapsed, target);
    let env = BlockEnv {
        chain_id: config.l2_chain_id,
        number,
        timestamp: attributes.timestamp,
        beneficiary: attributes.beneficiary,
        gas_limit: BLOCK_GAS_LIMIT,
        base_fee: fees::base_fee(excess, target),
        prev_randao: attributes.origin.prev_randao(number),
        // EIP-4844's minimum, for an excess of zero.
        blob_base_fee: 1,
        byte_cost: fees::byte_cost(
            &attributes.origin.env,
            config.base_fee_scalar,
            config.blob_base_fee_scalar,
        ),
    };
    (env, excess)
}

/// A block that takes transactions.
#[derive(Debug)]
pub struct OpenBlock<R: StateReader> {
    evm: Evm<R>,
    inbox: Address,
    attributes: BlockAttributes,
    parent: ParentBlock,
    excess: u64,
    forced: u64,
    gas_used: u64,
    /// Execution and data gas.
    cumulative_gas: u64,
    transactions: Vec<RecoveredTransaction>,
    receipts: Vec<Receipt>,
}

/// A transaction that is now in the block.
#[derive(Clone, Debug)]
pub struct Included<'a> {
    /// Index in the block.
    pub index: usize,
    pub receipt: &'a Receipt,
    pub status: Status,
    pub execution_gas: u64,
    pub data_gas: u64,
    /// Returned or revert data.
    pub output: Bytes,
    pub contract_address: Option<Address>,
}

impl<R: StateReader> OpenBlock<R> {
    /// Opens the block after `parent`; `reader` is the state the parent left. The hash of the parent is asked for
    /// ([`StateReader::block_hash`]) only if a transaction reads it.
    pub fn open(
        config: &ChainConfig,
        parent: ParentBlock,
        attributes: BlockAttributes,
        reader: R,
        codes: CodeCache,
    ) -> Self {
        let (env, excess) = block_env(config, &parent, &attributes);
        let mut evm = Evm::with_codes(Rules::L2, env, reader, codes);
        for (slot, value) in l1_block_slots(&attributes.origin).into_iter().enumerate() {
            evm.set_storage(L1_BLOCK, U256::from(slot), value);
        }
        Self {
            evm,
            inbox: config.inbox,
            attributes,
            parent,
            excess,
            forced: 0,
            gas_used: 0,
            cumulative_gas: 0,
            transactions: Vec::new(),
            receipts: Vec::new(),
        }
    }

    /// Executes the next forced item. `None`, with nothing done, if its gas limit does not fit any more.
    ///
    /// # Panics
    ///
    /// If a transaction was executed already: forced items come first.
    pub fn push_forced(&mut self, item: &ForcedItem) -> Result<Option<Included<'_>>, R::Error> {
        assert_eq!(self.forced, self.transactions.len() as u64, "forced items come first");
        if item.gas_limit > self.gas_left().min(TX_GAS_LIMIT_CAP) {
            return Ok(None);
        }
        let deposit = Transaction::Deposit(item.to_deposit(self.inbox).seal_slow());
        let transaction =
            RecoveredTransaction { transaction: deposit, sender: item.from, data_size: 0 };
        let Ok(outcome) = self.evm.execute(&transaction)? else {
            unreachable!("a deposit is included whatever it does");
        };
        self.forced += 1;
        Ok(Some(self.include(transaction, outcome)))
    }

    /// Executes a transaction, unless it is invalid here: then nothing has changed. One that would fit an empty block
    /// but not this one is [`InvalidTransaction::GasLimitAboveBlock`].
    pub fn execute(
        &mut self,
        transaction: &RecoveredTransaction,
    ) -> Result<Result<Included<'_>, InvalidTransaction>, R::Error> {
        let tx = &transaction.transaction;
        if matches!(tx, Transaction::Deposit(_)) {
            return Ok(Err(InvalidTransaction::TypeNotSupported(TxType::Deposit.into())));
        }
        let data_gas = self.env().data_gas(transaction.data_size);
        let limit = tx.gas_limit().saturating_sub(data_gas);
        let left = self.gas_left();
        if limit > left && limit <= TX_GAS_LIMIT_CAP {
            return Ok(Err(InvalidTransaction::GasLimitAboveBlock { limit, left }));
        }
        match self.evm.execute(transaction)? {
            Ok(outcome) => Ok(Ok(self.include(transaction.clone(), outcome))),
            Err(invalid) => Ok(Err(invalid)),
        }
    }

    fn include(&mut self, transaction: RecoveredTransaction, outcome: Outcome) -> Included<'_> {
        let Outcome { status, execution_gas, data_gas, logs, output, contract_address } = outcome;
        self.gas_used += execution_gas;
        self.cumulative_gas =
            self.cumulative_gas.saturating_add(execution_gas).saturating_add(data_gas);
        let index = self.transactions.len();
        self.receipts.push(Receipt {
            tx_type: transaction.transaction.tx_type(),
            success: status == Status::Success,
            cumulative_gas_used: self.cumulative_gas,
            logs,
        });
        self.transactions.push(transaction);
        let receipt = &self.receipts[index];
        Included { index, receipt, status, execution_gas, data_gas, output, contract_address }
    }

    pub fn env(&self) -> &BlockEnv {
        self.evm.block()
    }

    pub fn attributes(&self) -> &BlockAttributes {
        &self.attributes
    }

    /// Execution gas that transactions may still ask for.
    pub fn gas_left(&self) -> u64 {
        BLOCK_GAS_LIMIT.saturating_sub(self.gas_used)
    }

    pub fn transactions(&self) -> &[RecoveredTransaction] {
        &self.transactions
    }

    pub fn receipts(&self) -> &[Receipt] {
        &self.receipts
    }

    /// The state as the next transaction finds it.
    pub fn state(&self) -> annex_state::OverlayReader<'_, &R> {
        self.evm.state()
    }

    /// From now on changes are kept for [`Self::take_delta`], too; they start with what opening the block wrote.
    pub fn track_delta(&mut self) {
        self.evm.track_delta();
        for (slot, value) in l1_block_slots(&self.attributes.origin).into_iter().enumerate() {
            self.evm.set_storage(L1_BLOCK, U256::from(slot), value);
        }
    }

    /// What was changed since the last call, for a view of the state that readers share.
    pub fn take_delta(&mut self) -> Overlay {
        self.evm.take_delta()
    }

    /// The block with its transactions, to be sealed, and the codes for the next block.
    pub fn finish(self) -> (ExecutedBlock, CodeCache) {
        let env = self.evm.block().clone();
        let (overlay, codes) = self.evm.into_parts();
        let extra = ExtraData {
            origin: self.attributes.origin.index,
            forced_count: self.parent.extra.forced_count + self.forced,
            excess: self.excess,
            blocks_in_second: self.attributes.blocks_in_second,
        };
        let executed = ExecutedBlock {
            env,
            attributes: self.attributes,
            extra,
            gas_used: self.gas_used,
            transactions: self.transactions,
            receipts: self.receipts,
            overlay,
        };
        (executed, codes)
    }
}

/// A block that takes no more transactions. Of its header, only hash of the parent and roots are missing.
#[derive(Clone, Debug)]
pub struct ExecutedBlock {
    pub env: BlockEnv,
    pub attributes: BlockAttributes,
    pub extra: ExtraData,
    /// Execution gas.
    pub gas_used: u64,
    pub transactions: Vec<RecoveredTransaction>,
    pub receipts: Vec<Receipt>,
    /// What the block changed, but for the parent's hash in the EIP-2935 contract, which [`crate::seal`] adds.
    pub overlay: Overlay,
}

impl ExecutedBlock {
    /// What the next block needs to be opened.
    pub fn as_parent(&self) -> ParentBlock {
        ParentBlock {
            number: self.env.number,
            timestamp: self.env.timestamp,
            gas_used: self.gas_used,
            extra: self.extra,
        }
    }
}

/// The slots of `L1Block` from 0 on that every block sets.
pub fn l1_block_slots(origin: &Origin) -> [U256; 7] {
    let env = &origin.env;
    let word = |hash: B256| U256::from_be_bytes(hash.0);
    [
        U256::from(env.l1_block_number),
        U256::from(env.timestamp),
        env.base_fee,
        env.blob_base_fee,
        word(env.l1_parent_hash),
        U256::from(origin.index),
        word(origin.accumulator),
    ]
}
