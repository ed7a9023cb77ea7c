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

impl<C: Chain> Methods<C> {
    /// A method that is answered at once.
    fn light<R>(
        &mut self,
        name: &'static str,
        method: fn(&Api<C>, &mut Arguments<'_>) -> Result<R>,
    ) -> Registered
    where
        R: Serialize + Clone + 'static,
    {
        self.0.register_method(name, move |params, api, _| {
            answer(method(api, &mut Arguments(params.sequence())))
        })?;
        Ok(())
    }

    /// A method that may take long: runs beside the runtime, at most some at a time.
    fn heavy<R>(
        &mut self,
        name: &'static str,
        method: fn(&Api<C>, &mut Arguments<'_>) -> Result<R>,
    ) -> Registered
    where
        R: Serialize + Clone + Send + 'static,
    {
        self.beside(name, |api| &api.heavy, method)
    }

    /// A method that executes whole blocks, or records what an execution does: fewer of them at a time, so that they
    /// leave the others their places.
    fn trace<R>(
        &mut self,
        name: &'static str,
        method: fn(&Api<C>, &mut Arguments<'_>) -> Result<R>,
    ) -> Registered
    where
        R: Serialize + Clone + Send + 'static,
    {
        self.beside(name, |api| &api.traces, method)
    }

    fn beside<R>(
        &mut self,
        name: &'static str,
        places: fn(&Api<C>) -> &Arc<Semaphore>,
        method: fn(&Api<C>, &mut Arguments<'_>) -> Result<R>,
    ) -> Registered
    where
        R: Serialize + Clone + Send + 'static,
    {
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
    m.light("eth_chainId", |api, _| Ok(U64::from(api.chain.chain_id())))?;
    m.light("net_version", |api, _| Ok(api.chain.chain_id().to_string()))?;
    m.light("eth_blockNumber", |api, _| Ok(U64::from(api.head()?)))?;
    m.light("eth_syncing", |api, _| {
        let Some(highest) = api.chain.syncing() else { return Ok(Value::Bool(false)) };
        let current = U64::from(api.head()?);
        let highest = U64::from(highest);
        Ok(json!({ "startingBlock": U64::ZERO, "currentBlock": current, "highestBlock": highest }))
    })?;
    m.light("eth_capabilities", |api, _| api.capabilities())?;
    m.light("eth_coinbase", |api, _| Ok(api.chain.pending()?.env.beneficiary))?;
    m.light("eth_gasPrice", |api, _| Ok(U128::from(api.gas_price()?)))?;
    m.light("eth_maxPriorityFeePerGas", |api, _| Ok(U128::from(api.tip())))?;
    m.light("eth_blobBaseFee", |api, _| Ok(U128::from(api.chain.pending()?.env.blob_base_fee)))?;
    m.heavy("eth_feeHistory", |api, args| {
        let count = args.next::<U64>()?.to();
        let newest = args.optional()?.unwrap_or(BlockNumberOrTag::Latest);
        api.fee_history(count, newest, args.optional()?)
    })
}

fn accounts<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.light("eth_accounts", |_, _| Ok(Vec::<Address>::new()))?;
    m.light("eth_getBalance", |api, args| {
        let address = args.next()?;
        Ok(api.account(args.block()?, address)?.balance)
    })?;
    m.light("eth_getTransactionCount", |api, args| {
        let address = args.next()?;
        Ok(U64::from(api.account(args.block()?, address)?.nonce))
    })?;
    m.light("eth_getCode", |api, args| {
        let address = args.next()?;
        let (state, _) = api.state(args.block()?)?;
        match state.account(address)?.map(|account| account.code_hash) {
            None | Some(KECCAK_EMPTY) => Ok(Bytes::new()),
            Some(hash) => Ok(state.code(hash)?),
        }
    })?;
    m.light("eth_getStorageAt", |api, args| {
        let (address, slot) = (args.next()?, args.next::<JsonStorageKey>()?);
        let (state, _) = api.state(args.block()?)?;
        Ok(B256::from(state.storage(address, U256::from_be_bytes(slot.as_b256().0))?))
    })?;
    m.heavy("eth_getStorageValues", |api, args| {
        let wanted = args.next()?;
        api.storage_values(wanted, args.block()?)
    })?;
    m.heavy("eth_getProof", |api, args| {
        let (address, keys) = (args.next()?, args.next()?);
        api.proof(address, keys, args.block()?)
    })
}

fn calls<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.heavy("eth_call", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        let overrides = Overrides { state: args.optional()?, block: args.optional()? };
        api.call(request, at, overrides)
    })?;
    m.heavy("eth_estimateGas", |api, args| {
        let request = args.next::<TransactionRequest>()?;
        let at = args.optional()?.unwrap_or_else(BlockId::pending);
        let overrides = Overrides { state: args.optional()?, block: args.optional()? };
        api.estimate_gas(request, at, overrides)
    })
}

fn traces<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.heavy("eth_createAccessList", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        api.create_access_list(request, at, args.optional()?)
    })?;
    m.trace("eth_simulateV1", |api, args| {
        let payload = args.next()?;
        api.simulate(payload, args.block()?)
    })?;
    m.trace("debug_traceTransaction", |api, args| {
        let hash = args.next()?;
        api.trace_transaction(hash, args.optional()?)
    })?;
    m.trace("debug_traceBlockByNumber", |api, args| {
        let id = args.tag()?;
        api.trace_block(id, args.optional()?)
    })?;
    m.trace("debug_traceBlockByHash", |api, args| {
        let id = args.hash()?;
        api.trace_block(id, args.optional()?)
    })?;
    m.trace("debug_traceCall", |api, args| {
        let (request, at) = (args.next::<TransactionRequest>()?, args.block()?);
        api.trace_call(request, at, args.optional()?.unwrap_or_default())
    })?;
    m.light("debug_getRawHeader", |api, args| api.raw_header(args.next()?))?;
    m.heavy("debug_getRawReceipts", |api, args| api.raw_receipts(args.next()?))?;
    m.light("debug_getRawTransaction", |api, args| {
        let Some(tx) = api.raw_transaction(args.next()?)? else { return Ok(None) };
        Ok(Some(Bytes::from(tx.transaction.encoded_2718())))
    })
}

fn blocks<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.heavy("eth_getBlockByNumber", |api, args| {
        let (id, full) = (args.tag()?, args.optional()?.unwrap_or_default());
        Ok(api.block(id)?.map(|block| block.json(full)))
    })?;
    m.heavy("eth_getBlockByHash", |api, args| {
        let (id, full) = (args.hash()?, args.optional()?.unwrap_or_default());
        Ok(api.block(id)?.map(|block| block.json(full)))
    })?;
    m.heavy("eth_getBlockReceipts", |api, args| {
        Ok(api.block(args.next()?)?.map(|block| block.receipts()))
    })?;
    m.light("eth_getHeaderByNumber", |api, args| api.header_json(args.tag()?))?;
    m.light("eth_getHeaderByHash", |api, args| api.header_json(args.hash()?))?;
    m.light("eth_getBlockTransactionCountByNumber", |api, args| {
        Ok(api.transaction_count(args.tag()?)?.map(U64::from))
    })?;
    m.light("eth_getBlockTransactionCountByHash", |api, args| {
        Ok(api.transaction_count(args.hash()?)?.map(U64::from))
    })?;
    m.light("eth_getUncleCountByBlockNumber", |api, args| {
        Ok(api.number(args.tag()?)?.map(|_| U64::ZERO))
    })?;
    m.light("eth_getUncleCountByBlockHash", |api, args| {
        Ok(api.number(args.hash()?)?.map(|_| U64::ZERO))
    })?;
    m.light("eth_getUncleByBlockNumberAndIndex", |_, _| Ok(Value::Null))?;
    m.light("eth_getUncleByBlockHashAndIndex", |_, _| Ok(Value::Null))
}

fn transactions<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.light("eth_getTransactionByHash", |api, args| api.transaction(args.next()?))?;
    m.light("eth_getTransactionReceipt", |api, args| api.receipt(args.next()?))?;
    m.light("eth_getTransactionByBlockNumberAndIndex", |api, args| {
        let id = args.tag()?;
        api.transaction_at(id, args.index()?)
    })?;
    m.light("eth_getTransactionByBlockHashAndIndex", |api, args| {
        let id = args.hash()?;
        api.transaction_at(id, args.index()?)
    })
}

fn logs<C: Chain>(m: &mut Methods<C>) -> Registered {
    m.heavy("eth_getLogs", |api, args| api.logs(&args.next::<Filter>()?))?;
    m.light("eth_newFilter", |api, args| api.new_filter(args.next()?))?;
    m.light("eth_newBlockFilter", |api, _| api.new_block_filter())?;
    m.light("eth_newPendingTransactionFilter", |api, _| api.new_pending_transaction_filter())?;
    m.light("eth_uninstallFilter", |api, args| Ok(api.uninstall_filter(args.next()?)))?;
    m.heavy("eth_getFilterChanges", |api, args| api.filter_changes(args.next()?))?;
    m.heavy("eth_getFilterLogs", |api, args| api.filter_logs(args.next()?))?;
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
    m.light("net_listening", |_, _| Ok(true))?;
    m.light("net_peerCount", |_, _| Ok(U64::ZERO))?;
    m.light("web3_clientVersion", |_, _| Ok(CLIENT_VERSION))?;
    m.light("web3_sha3", |_, args| Ok(keccak256(args.next::<Bytes>()?)))?;
    m.light("rpc_modules", |_, _| {
        Ok(json!({ "debug": "1.0", "eth": "1.0", "net": "1.0", "rpc": "1.0", "txpool": "1.0", "web3": "1.0" }))
    })?;
    m.light("txpool_status", |api, _| Ok(api.pool_status()))?;
    m.heavy("txpool_content", |api, _| Ok(api.pool_content()))?;
    m.heavy("txpool_contentFrom", |api, args| Ok(api.pool_content_from(args.next()?)))?;
    m.heavy("txpool_inspect", |api, _| Ok(api.pool_inspect()))?;
    m.light("eth_getRawTransactionByHash", |api, args| {
        let Some(tx) = api.raw_transaction(args.next()?)? else { return Ok(None) };
        Ok(Some(Bytes::from(tx.transaction.encoded_2718())))
    })
}
