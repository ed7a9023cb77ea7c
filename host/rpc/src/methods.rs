//! The methods and their parameters.

use crate::api::Api;
use crate::call::Overrides;
use crate::chain::Chain;
use crate::error::RpcError;
use crate::limits::Limits;
use crate::{send, subscribe};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256, keccak256};
use alloy_rpc_types_eth::{Filter, Index, TransactionRequest};
use alloy_serde::JsonStorageKey;
use annex_state::{KECCAK_EMPTY, StateReader};
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{IntoResponse, RpcModule};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

type Result<T> = core::result::Result<T, RpcError>;

/// What `web3_clientVersion` answers.
const CLIENT_VERSION: &str = concat!("annex/v", env!("CARGO_PKG_VERSION"));

/// All methods of spec/rpc.md for a chain. Namespaces that only one chain has are merged by the caller.
pub(crate) fn module<C: Chain>(
    chain: Arc<C>,
    limits: Limits,
) -> RpcModule<impl Send + Sync + 'static> {
    let mut methods = Methods(RpcModule::new(Api::new(chain, limits)));
    let registered = register(&mut methods);
    registered.expect("every name is registered once");
    methods.0
}

fn register<C: Chain>(methods: &mut Methods<C>) -> core::result::Result<(), RegisterMethodError> {
    chain(methods)?;
    accounts(methods)?;
    calls(methods)?;
    traces(methods)?;
    blocks(methods)?;
    transactions(methods)?;
    logs(methods)?;
    sending(methods)?;
    node(methods)
}

struct Methods<C>(RpcModule<Api<C>>);

type Registered = core::result::Result<(), RegisterMethodError>;

/// What an answer takes.
#[derive(Clone, Copy, Debug)]
enum Cost {
    /// It is given at once.
    Light,
    /// It may take long: worked out beside the runtime, at most some at a time.
    Heavy,
    /// Whole blocks are executed, or what an execution does is recorded: fewer of them at a time, so that they leave the
    /// others their places.
    Trace,
}

use Cost::{Heavy, Light, Trace};

impl<C: Chain> Methods<C> {
    fn add<R>(
        &mut self,
        cost: Cost,
        name: &'static str,
        method: impl Fn(&Api<C>, &mut Arguments<'_>) -> Result<R> + Copy + Send + Sync + 'static,
    ) -> Registered
    where
        R: Serialize + Clone + Send + 'static,
    {
        let places: fn(&Api<C>) -> &Arc<Semaphore> = match cost {
            Light => {
                self.0.register_method(name, move |params, api, _| {
                    answer(method(api, &mut Arguments(params.sequence())))
                })?;
                return Ok(());
            }
            Heavy => |api| &api.heavy,
            Trace => |api| &api.traces,
        };
        self.0.register_async_method(name, move |params, api, _| async move {
            let place = places(&api).clone().acquire_owned();
            let permit = match tokio::time::timeout(api.limits.queue_timeout, place).await {
                Ok(permit) => permit.expect("the semaphore is never closed"),
                Err(_) => return answer(Err(RpcError::Busy)),
            };
            let shared = api.clone();
            let run = move || {
                // Held by the work itself: who asked may hang up.
                let _permit = permit;
                method(&shared, &mut Arguments(params.sequence()))
            };
            answer(tokio::task::spawn_blocking(run).await.unwrap_or(Err(RpcError::Cancelled)))
        })?;
        Ok(())
    }

    /// Two methods about a block, one that takes its number or tag, and one that takes its hash.
    fn of_block<R>(
        &mut self,
        cost: Cost,
        [by_number, by_hash]: [&'static str; 2],
        method: impl Fn(&Api<C>, BlockId, &mut Arguments<'_>) -> Result<R>
        + Copy
        + Send
        + Sync
        + 'static,
    ) -> Registered
    where
        R: Serialize + Clone + Send + 'static,
    {
        self.add(cost, by_number, move |api, args| method(api, args.tag()?, args))?;
        self.add(cost, by_hash, move |api, args| method(api, args.hash()?, args))
    }
}

fn answer<R: Serialize + Clone>(result: Result<R>) -> impl IntoResponse<Output = R> {
    result.map_err(ErrorObjectOwned::from)
}

/// Positional parameters.
pub(crate) struct Arguments<'a>(jsonrpsee::types::params::ParamsSequence<'a>);

impl<'a> Arguments<'a> {
    pub fn new(params: &'a Params<'_>) -> Self {
        Self(params.sequence())
    }

    pub fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        Ok(self.0.next()?)
    }

    /// Missing or null.
    fn optional<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        Ok(self.0.optional_next()?)
    }

    /// Missing or null means `latest`.
    fn block(&mut self) -> Result<BlockId> {
        Ok(self.optional()?.unwrap_or_else(BlockId::latest))
    }

    fn tag(&mut self) -> Result<BlockId> {
        Ok(self.next::<BlockNumberOrTag>()?.into())
    }

    fn hash(&mut self) -> Result<BlockId> {
        Ok(self.next::<B256>()?.into())
    }

    fn index(&mut self) -> Result<usize> {
        Ok(self.next::<Index>()?.into())
    }
}

fn chain<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Light, "eth_chainId", |api, _| Ok(U64::from(api.chain.chain_id())))?;
    m.add(Light, "net_version", |api, _| Ok(api.chain.chain_id().to_string()))?;
    m.add(Light, "eth_blockNumber", |api, _| Ok(U64::from(api.head()?)))?;
    m.add(Light, "eth_syncing", |api, _| {
        let Some(highest) = api.chain.syncing() else { return Ok(Value::Bool(false)) };
        let current = U64::from(api.head()?);
        let highest = U64::from(highest);
        Ok(json!({ "startingBlock": U64::ZERO, "currentBlock": current, "highestBlock": highest }))
    })?;
    m.add(Light, "eth_capabilities", |api, _| api.capabilities())?;
    m.add(Light, "eth_config", |api, _| api.config())?;
    m.add(Light, "eth_coinbase", |api, _| Ok(api.chain.pending()?.env.beneficiary))?;
    m.add(Light, "eth_gasPrice", |api, _| Ok(U128::from(api.gas_price()?)))?;
    m.add(Light, "eth_maxPriorityFeePerGas", |api, _| Ok(U128::from(api.tip())))?;
    m.add(Light, "eth_blobBaseFee", |api, _| {
        Ok(U128::from(api.chain.pending()?.env.blob_base_fee))
    })?;
    m.add(Heavy, "eth_feeHistory", |api, args| {
        let count = args.next::<U64>()?.to();
        let newest = args.optional()?.unwrap_or(BlockNumberOrTag::Latest);
        api.fee_history(count, newest, args.optional()?)
    })
}

fn accounts<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Light, "eth_accounts", |_, _| Ok(Vec::<Address>::new()))?;
    m.add(Light, "eth_getBalance", |api, args| {
        let address = args.next()?;
        Ok(api.account(args.block()?, address)?.balance)
    })?;
    m.add(Light, "eth_getTransactionCount", |api, args| {
        let address = args.next()?;
        Ok(U64::from(api.account(args.block()?, address)?.nonce))
    })?;
    m.add(Light, "eth_getCode", |api, args| {
        let address = args.next()?;
        let (state, _) = api.state(args.block()?)?;
        match state.account(address)?.map(|account| account.code_hash) {
            None | Some(KECCAK_EMPTY) => Ok(Bytes::new()),
            Some(hash) => Ok(state.code(hash)?),
        }
    })?;
    m.add(Light, "eth_getStorageAt", |api, args| {
        let (address, slot) = (args.next()?, args.next::<JsonStorageKey>()?);
        let (state, _) = api.state(args.block()?)?;
        Ok(B256::from(state.storage(address, U256::from_be_bytes(slot.as_b256().0))?))
    })?;
    m.add(Heavy, "eth_getStorageValues", |api, args| {
        let wanted = args.next()?;
        api.storage_values(wanted, args.block()?)
    })?;
    m.add(Heavy, "eth_getProof", |api, args| {
        let (address, keys) = (args.next()?, args.next()?);
        api.proof(address, keys, args.block()?)
    })
}

fn calls<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Heavy, "eth_call", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        let overrides = Overrides { state: args.optional()?, block: args.optional()? };
        api.call(request, at, overrides)
    })?;
    m.add(Heavy, "eth_estimateGas", |api, args| {
        let request = args.next::<TransactionRequest>()?;
        let at = args.optional()?.unwrap_or_else(BlockId::pending);
        let overrides = Overrides { state: args.optional()?, block: args.optional()? };
        api.estimate_gas(request, at, overrides)
    })
}

fn traces<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Heavy, "eth_createAccessList", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        api.create_access_list(request, at, args.optional()?)
    })?;
    m.add(Trace, "eth_simulateV1", |api, args| {
        let payload = args.next()?;
        api.simulate(payload, args.block()?)
    })?;
    m.add(Trace, "debug_traceTransaction", |api, args| {
        let hash = args.next()?;
        api.trace_transaction(hash, args.optional()?)
    })?;
    m.of_block(Trace, ["debug_traceBlockByNumber", "debug_traceBlockByHash"], |api, id, args| {
        api.trace_block(id, args.optional()?)
    })?;
    m.add(Trace, "debug_traceCall", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        api.trace_call(request, at, args.optional()?.unwrap_or_default())
    })?;
    m.add(Light, "debug_getRawHeader", |api, args| api.raw_header(args.next()?))?;
    m.add(Heavy, "debug_getRawReceipts", |api, args| api.raw_receipts(args.next()?))?;
    for name in ["debug_getRawTransaction", "eth_getRawTransactionByHash"] {
        m.add(Light, name, |api, args| {
            let Some(tx) = api.raw_transaction(args.next()?)? else { return Ok(None) };
            Ok(Some(Bytes::from(tx.transaction.encoded_2718())))
        })?;
    }
    Ok(())
}

fn blocks<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.of_block(Heavy, ["eth_getBlockByNumber", "eth_getBlockByHash"], |api, id, args| {
        let full = args.optional()?.unwrap_or_default();
        Ok(api.block(id)?.map(|block| block.json(full)))
    })?;
    m.add(Heavy, "eth_getBlockReceipts", |api, args| {
        Ok(api.block(args.next()?)?.map(|block| block.receipts()))
    })?;
    m.of_block(Light, ["eth_getHeaderByNumber", "eth_getHeaderByHash"], |api, id, _| {
        api.header_json(id)
    })?;
    m.of_block(
        Light,
        ["eth_getBlockTransactionCountByNumber", "eth_getBlockTransactionCountByHash"],
        |api, id, _| Ok(api.transaction_count(id)?.map(U64::from)),
    )?;
    m.of_block(
        Light,
        ["eth_getUncleCountByBlockNumber", "eth_getUncleCountByBlockHash"],
        |api, id, _| Ok(api.number(id)?.map(|_| U64::ZERO)),
    )?;
    m.add(Light, "eth_getUncleByBlockNumberAndIndex", |_, _| Ok(Value::Null))?;
    m.add(Light, "eth_getUncleByBlockHashAndIndex", |_, _| Ok(Value::Null))
}

fn transactions<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Light, "eth_getTransactionByHash", |api, args| api.transaction(args.next()?))?;
    m.add(Light, "eth_getTransactionReceipt", |api, args| api.receipt(args.next()?))?;
    m.of_block(
        Light,
        ["eth_getTransactionByBlockNumberAndIndex", "eth_getTransactionByBlockHashAndIndex"],
        |api, id, args| api.transaction_at(id, args.index()?),
    )
}

fn logs<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Heavy, "eth_getLogs", |api, args| api.logs(&args.next::<Filter>()?))?;
    m.add(Light, "eth_newFilter", |api, args| api.new_filter(args.next()?))?;
    m.add(Light, "eth_newBlockFilter", |api, _| api.new_block_filter())?;
    m.add(Light, "eth_newPendingTransactionFilter", |api, _| api.new_pending_transaction_filter())?;
    m.add(Light, "eth_uninstallFilter", |api, args| Ok(api.uninstall_filter(args.next()?)))?;
    m.add(Heavy, "eth_getFilterChanges", |api, args| api.filter_changes(args.next()?))?;
    m.add(Heavy, "eth_getFilterLogs", |api, args| api.filter_logs(args.next()?))?;
    m.0.register_subscription(
        "eth_subscribe",
        "eth_subscription",
        "eth_unsubscribe",
        |params, pending, api, extensions| {
            let connection = extensions.get().cloned();
            subscribe::subscribe(params, pending, api, connection)
        },
    )?;
    Ok(())
}

fn sending<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.0.register_async_method("eth_sendRawTransaction", |params, api, _| async move {
        let raw = match Arguments::new(&params).next() {
            Ok(raw) => raw,
            Err(error) => return answer(Err(error)),
        };
        answer(api.send_one(raw).await.map_err(RpcError::from))
    })?;
    m.0.register_async_method("eth_sendRawTransactionSync", |params, api, _| async move {
        let parsed = {
            let mut args = Arguments::new(&params);
            args.next().and_then(|raw| Ok((raw, send::timeout(args.optional()?))))
        };
        match parsed {
            Ok((raw, timeout)) => answer(api.send_sync(raw, timeout).await),
            Err(error) => answer(Err(error)),
        }
    })?;
    Ok(())
}

fn node<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.add(Light, "net_listening", |_, _| Ok(true))?;
    m.add(Light, "net_peerCount", |_, _| Ok(U64::ZERO))?;
    m.add(Light, "web3_clientVersion", |_, _| Ok(CLIENT_VERSION))?;
    m.add(Light, "web3_sha3", |_, args| Ok(keccak256(args.next::<Bytes>()?)))?;
    m.add(Light, "rpc_modules", |_, _| {
        Ok(json!({ "debug": "1.0", "eth": "1.0", "net": "1.0", "rpc": "1.0", "txpool": "1.0", "web3": "1.0" }))
    })?;
    m.add(Light, "txpool_status", |api, _| Ok(api.pool_status()))?;
    m.add(Heavy, "txpool_content", |api, _| Ok(api.pool_content()))?;
    m.add(Heavy, "txpool_contentFrom", |api, args| Ok(api.pool_content_from(args.next()?)))?;
    m.add(Heavy, "txpool_inspect", |api, _| Ok(api.pool_inspect()))
}
