//! Methods that steer the chain in tests, named and answering as Anvil's (spec/rpc.md, "Embedded L1").

use crate::DevL1Error;
use crate::engine::{Engine, Extra};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use jsonrpsee::RpcModule;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::error::{INTERNAL_ERROR_CODE, INVALID_PARAMS_CODE};
use jsonrpsee::types::params::ParamsSequence;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

type Answer = Result<Value, ErrorObjectOwned>;

/// Blocks one call may mine.
const MAX_BLOCKS: u64 = 10_000;

/// A number as JSON number or as hexadecimal string.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Number {
    Decimal(u64),
    Hex(U64),
}

impl Number {
    fn get(self) -> u64 {
        match self {
            Self::Decimal(number) => number,
            Self::Hex(number) => number.to(),
        }
    }
}

/// What `evm_mine` takes.
#[derive(Deserialize)]
#[serde(untagged)]
enum MineOptions {
    Timestamp(Number),
    Options { timestamp: Option<Number>, blocks: Option<Number> },
}

/// A transaction of `anvil_reorg` and the new block it goes to.
#[derive(Deserialize)]
struct Placed(Bytes, Number);

impl From<DevL1Error> for ErrorObjectOwned {
    fn from(error: DevL1Error) -> Self {
        let code = match &error {
            DevL1Error::Timestamp(_) | DevL1Error::ReorgDepth { .. } | DevL1Error::Rejected(_) => {
                INVALID_PARAMS_CODE
            }
            cause => {
                tracing::error!(%cause, "request failed");
                INTERNAL_ERROR_CODE
            }
        };
        Self::owned(code, error.to_string(), None::<()>)
    }
}

/// All methods.
pub fn module(engine: Arc<Engine>) -> RpcModule<Arc<Engine>> {
    let mut module = RpcModule::new(engine);
    register(&mut module).expect("every name is registered once");
    module
}

type Method = fn(&Engine, &mut ParamsSequence<'_>) -> Answer;

fn register(module: &mut RpcModule<Arc<Engine>>) -> Result<(), RegisterMethodError> {
    let methods: [(&[&'static str], Method); 17] = [
        (&["evm_mine"], evm_mine),
        (&["anvil_mine", "hardhat_mine"], mine),
        (&["evm_increaseTime", "anvil_increaseTime"], increase_time),
        (&["evm_setNextBlockTimestamp", "anvil_setNextBlockTimestamp"], set_next_timestamp),
        (&["anvil_setBlockTimestampInterval"], set_timestamp_interval),
        (&["anvil_removeBlockTimestampInterval"], remove_timestamp_interval),
        (&["anvil_setBalance", "hardhat_setBalance"], set_balance),
        (&["anvil_setNextBlockBaseFeePerGas", "hardhat_setNextBlockBaseFeePerGas"], set_base_fee),
        (&["anvil_dropTransaction", "hardhat_dropTransaction"], drop_transaction),
        (&["anvil_dropAllTransactions"], drop_all_transactions),
        (&["evm_setAutomine", "anvil_setAutomine"], set_automine),
        (&["anvil_getAutomine", "hardhat_getAutomine"], get_automine),
        (&["evm_setIntervalMining", "anvil_setIntervalMining"], set_interval),
        (&["anvil_getIntervalMining"], get_interval),
        (&["evm_snapshot", "anvil_snapshot"], snapshot),
        (&["evm_revert", "anvil_revert"], revert),
        (&["anvil_rollback"], rollback),
    ];
    for (names, method) in methods {
        for name in names {
            add(module, name, method)?;
        }
    }
    add(module, "anvil_reorg", reorg)?;
    add(module, "anvil_nodeInfo", node_info)
}

fn add(
    module: &mut RpcModule<Arc<Engine>>,
    name: &'static str,
    method: Method,
) -> Result<(), RegisterMethodError> {
    module.register_blocking_method(
        name,
        move |params: Params<'_>, engine: Arc<Arc<Engine>>, _| {
            method(&engine, &mut params.sequence())
        },
    )?;
    Ok(())
}

fn evm_mine(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let (timestamp, blocks) = match params.optional_next()? {
        None => (None, None),
        Some(MineOptions::Timestamp(timestamp)) => (Some(timestamp), None),
        Some(MineOptions::Options { timestamp, blocks }) => (timestamp, blocks),
    };
    if let Some(timestamp) = timestamp {
        set_next(engine, timestamp.get())?;
    }
    for _ in 0..blocks.map_or(1, Number::get).min(MAX_BLOCKS) {
        engine.mine()?;
    }
    Ok(json!("0x0"))
}

/// Parameters: number of blocks, seconds between them.
fn mine(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let blocks: Option<Number> = params.optional_next()?;
    let interval: Option<Number> = params.optional_next()?;
    let mut inner = engine.lock();
    for index in 0..blocks.map_or(1, Number::get).min(MAX_BLOCKS) {
        if let Some(interval) = interval.filter(|_| index > 0) {
            let parent = engine.head()?.timestamp;
            let next = parent.saturating_add(interval.get().max(1));
            inner.clock.set_next(next, parent).map_err(DevL1Error::from)?;
        }
        engine.mine_with(&mut inner, Extra::default())?;
    }
    Ok(Value::Null)
}

fn increase_time(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let seconds = i64::try_from(params.next::<Number>()?.get()).unwrap_or(i64::MAX);
    Ok(json!(engine.lock().clock.increase(seconds)))
}

fn set_next_timestamp(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    set_next(engine, params.next::<Number>()?.get())?;
    Ok(Value::Null)
}

fn set_next(engine: &Engine, timestamp: u64) -> Result<(), DevL1Error> {
    let parent = engine.head()?.timestamp;
    Ok(engine.lock().clock.set_next(timestamp, parent)?)
}

fn set_timestamp_interval(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let seconds = params.next::<Number>()?.get();
    engine.lock().clock.set_interval(Some(seconds));
    Ok(Value::Null)
}

fn remove_timestamp_interval(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    Ok(json!(engine.lock().clock.set_interval(None)))
}

fn set_balance(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let (address, balance): (Address, U256) = (params.next()?, params.next()?);
    engine.set_balance(address, balance)?;
    Ok(Value::Null)
}

fn set_base_fee(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    engine.set_next_base_fee(params.next::<Number>()?.get());
    Ok(Value::Null)
}

fn drop_transaction(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let hash: B256 = params.next()?;
    Ok(engine.lock().pool.remove(hash).map_or(Value::Null, |tx| json!(tx.hash())))
}

fn drop_all_transactions(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    engine.lock().pool.clear();
    Ok(Value::Null)
}

fn set_automine(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    engine.set_automine(params.next()?)?;
    Ok(Value::Null)
}

fn get_automine(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    Ok(json!(engine.lock().automine))
}

/// Seconds; zero stops mining.
fn set_interval(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let seconds = params.next::<Number>()?.get();
    engine.set_interval((seconds > 0).then(|| Duration::from_secs(seconds)));
    Ok(Value::Null)
}

fn get_interval(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    let interval = *engine.block_time().borrow();
    Ok(interval.map_or(Value::Null, |interval| json!(interval.as_secs())))
}

fn snapshot(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    Ok(json!(U64::from(engine.snapshot()?)))
}

fn revert(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    Ok(json!(engine.revert(params.next::<Number>()?.get())?))
}

/// Number of blocks; 1 if missing.
fn rollback(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let depth: Option<Number> = params.optional_next()?;
    engine.rollback(depth.map_or(1, Number::get))?;
    Ok(Value::Null)
}

/// Depth, and pairs of a raw transaction and the index of its new block.
fn reorg(engine: &Engine, params: &mut ParamsSequence<'_>) -> Answer {
    let depth = params.next::<Number>()?.get();
    let placed: Option<Vec<Placed>> = params.optional_next()?;
    let height = engine.head()?.number;
    if depth > height {
        return Err(DevL1Error::ReorgDepth { height, depth }.into());
    }
    let mut blocks = vec![Vec::new(); depth as usize];
    for Placed(raw, index) in placed.unwrap_or_default() {
        let block = usize::try_from(index.get()).ok().and_then(|index| blocks.get_mut(index));
        let outside = || {
            let message = "block index of a transaction is not below the depth";
            ErrorObjectOwned::owned(INVALID_PARAMS_CODE, message, None::<()>)
        };
        block.ok_or_else(outside)?.push(raw);
    }
    engine.reorg(depth, blocks)?;
    Ok(Value::Null)
}

fn node_info(engine: &Engine, _: &mut ParamsSequence<'_>) -> Answer {
    let head = engine.head()?;
    Ok(json!({
        "currentBlockNumber": U64::from(head.number),
        "currentBlockTimestamp": head.timestamp,
        "currentBlockHash": head.hash_slow(),
        "hardFork": "Osaka",
        "transactionOrder": "fees",
        "environment": {
            "baseFee": U64::from(head.base_fee_per_gas.unwrap_or_default()),
            "chainId": engine.chain_id(),
            "gasLimit": U64::from(engine.gas_limit()),
        },
    }))
}
