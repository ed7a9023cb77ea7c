use alloy_primitives::{Address, Bytes, Log, U256};
use revm::context::result::HaltReason;

/// What an included transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    /// Gas of the execution, after refunds; counts in the block.
    pub execution_gas: u64,
    /// Gas charged on top for the transaction's bytes; zero on L1 and for deposits.
    pub data_gas: u64,
    pub logs: Vec<Log>,
    /// Returned or revert data; of a creation the deployed code.
    pub output: Bytes,
    /// Where a successful creation put its contract.
    pub contract_address: Option<Address>,
}

impl Outcome {
    pub fn success(&self) -> bool {
        self.status == Status::Success
    }

    /// Gas the receipt shows and the sender pays.
    pub fn gas_used(&self) -> u64 {
        self.execution_gas.saturating_add(self.data_gas)
    }
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    /// By `REVERT`; the output is its data.
    Revert,
    /// Exceptionally, with all gas consumed.
    Halt(Halt),
}

/// Why an execution halted; the messages are go-ethereum's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error("out of gas")]
    OutOfGas,
    #[error("invalid opcode")]
    InvalidOpcode,
    #[error("invalid jump destination")]
    InvalidJump,
    #[error("stack underflow")]
    StackUnderflow,
    #[error("stack limit reached 1024")]
    StackOverflow,
    #[error("return data out of bounds")]
    ReturnDataOutOfBounds,
    #[error("contract address collision")]
    CreateCollision,
    #[error("precompile failed")]
    Precompile,
    #[error("nonce uint64 overflow")]
    NonceOverflow,
    #[error("max code size exceeded")]
    CodeTooLarge,
    #[error("invalid code: must not begin with 0xef")]
    CodeStartsWithEf,
    #[error("max initcode size exceeded")]
    InitCodeTooLarge,
    #[error("write protection")]
    StaticCall,
    #[error("insufficient balance for transfer")]
    InsufficientBalance,
    #[error("balance overflow")]
    BalanceOverflow,
    #[error("max call depth exceeded")]
    CallTooDeep,
    /// A deposit that could not start (`spec/block.md`, "Deposits").
    #[error("deposit could not start")]
    DepositNotStarted,
}

impl From<HaltReason> for Halt {
    fn from(reason: HaltReason) -> Self {
        match reason {
            HaltReason::OutOfGas(_) => Self::OutOfGas,
            HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
                Self::InvalidOpcode
            }
            HaltReason::InvalidJump => Self::InvalidJump,
            HaltReason::StackUnderflow => Self::StackUnderflow,
            HaltReason::StackOverflow => Self::StackOverflow,
            HaltReason::OutOfOffset => Self::ReturnDataOutOfBounds,
            HaltReason::CreateCollision => Self::CreateCollision,
            HaltReason::PrecompileError | HaltReason::PrecompileErrorWithContext(_) => {
                Self::Precompile
            }
            HaltReason::NonceOverflow => Self::NonceOverflow,
            HaltReason::CreateContractSizeLimit => Self::CodeTooLarge,
            HaltReason::CreateContractStartingWithEF => Self::CodeStartsWithEf,
            HaltReason::CreateInitCodeSizeLimit => Self::InitCodeTooLarge,
            HaltReason::OverflowPayment => Self::BalanceOverflow,
            HaltReason::StateChangeDuringStaticCall | HaltReason::CallNotAllowedInsideStatic => {
                Self::StaticCall
            }
            HaltReason::OutOfFunds => Self::InsufficientBalance,
            HaltReason::CallTooDeep => Self::CallTooDeep,
        }
    }
}

/// Why a transaction cannot be in the block. Nothing of the state has changed. The messages are go-ethereum's where
/// it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransaction {
    #[error("transaction type not supported: {0}")]
    TypeNotSupported(u8),
    #[error("invalid chain id for signer: have {have} want {want}")]
    WrongChainId { have: u64, want: u64 },
    /// EIP-7825, less data gas.
    #[error("transaction gas limit too high (cap: {cap}, tx: {limit})")]
    GasLimitAboveCap { limit: u64, cap: u64 },
    /// More execution gas than is left in the block.
    #[error("exceeds block gas limit: execution gas limit {limit}, gas left {left}")]
    GasLimitAboveBlock { limit: u64, left: u64 },
    /// `required` is the intrinsic gas, or EIP-7623's floor if higher, with `data_gas`.
    #[error("intrinsic gas too low: have {limit}, want {required} (of it {data_gas} for data)")]
    IntrinsicGas { limit: u64, required: u64, data_gas: u64 },
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee_cap}"
    )]
    TipAboveFeeCap { tip: u128, fee_cap: u128 },
    #[error(
        "max fee per gas less than block base fee: maxFeePerGas: {fee_cap}, baseFee: {base_fee}"
    )]
    FeeCapBelowBaseFee { fee_cap: u128, base_fee: u64 },
    #[error(
        "max fee per blob gas less than block blob gas fee: maxFeePerBlobGas: {fee_cap}, blobBaseFee: {blob_base_fee}"
    )]
    BlobFeeCapBelowBaseFee { fee_cap: u128, blob_base_fee: u128 },
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitCodeTooLarge { size: usize, limit: usize },
    #[error("nonce too low: next nonce {state}, tx nonce {tx}")]
    NonceTooLow { tx: u64, state: u64 },
    #[error("nonce too high: tx nonce {tx}, next nonce {state}")]
    NonceTooHigh { tx: u64, state: u64 },
    /// EIP-2681.
    #[error("nonce has max value")]
    NonceAtMaximum,
    /// EIP-3607.
    #[error("sender not an eoa: address {0}")]
    SenderHasCode(Address),
    #[error("insufficient funds for gas * price + value: have {have} want {want}")]
    InsufficientFunds { have: U256, want: U256 },
    #[error("EIP-7702 transaction with empty auth list")]
    EmptyAuthorizationList,
    #[error("blob transaction missing blob hashes")]
    NoBlobs,
    #[error("too many blobs in transaction: have {count}, permitted {limit}")]
    TooManyBlobs { count: usize, limit: usize },
    #[error("blob has an invalid hash version")]
    BlobVersion,
}
