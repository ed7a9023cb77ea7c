//! `annex_*`: what is ours.

use crate::{
    chain::L2,
    feed::{self, FeedState, HeardJson},
    node, status,
};
use alloy_primitives::{B256, U64, U256};
use annex_l1::{Deployment, L1Client};
use annex_rpc::PromiseJson;
use annex_sequencer::{ChangedPromise, promises_key};
use annex_types::promise::SignedPromise;
use jsonrpsee::{
    RpcModule,
    types::{ErrorObjectOwned, error::INTERNAL_ERROR_CODE},
};
use serde_json::{Value, json};
use std::sync::Arc;

struct Context {
    deployment: Deployment,
    client: L1Client,
    l2: Arc<L2>,
    feed: Arc<FeedState>,
}

pub(crate) fn internal(error: impl std::error::Error) -> ErrorObjectOwned {
    tracing::warn!(%error, "an annex_* call failed");
    ErrorObjectOwned::owned(INTERNAL_ERROR_CODE, error.to_string(), None::<()>)
}

pub(crate) fn module(
    deployment: &Deployment,
    client: &L1Client,
    l2: &Arc<L2>,
    feed: &Arc<FeedState>,
) -> RpcModule<impl Send + Sync + 'static> {
    let mut module = RpcModule::new(Context {
        deployment: deployment.clone(),
        client: client.clone(),
        l2: l2.clone(),
        feed: feed.clone(),
    });
    register(&mut module).expect("the names below are distinct");
    module
}

/// Changed promises of one answer.
const CHANGES_PAGE: usize = 256;

fn changed_promise(changed: &ChangedPromise) -> Value {
    json!({
        "number": U64::from(changed.number),
        "transaction": changed.transaction,
        "promisedBlock": changed.promised_block.map(U64::from),
        "promise": changed.promise.as_deref().map(PromiseJson::from),
        "newBlock": changed.new_block.map(U64::from),
        "reason": changed.reason,
    })
}

fn register(module: &mut RpcModule<Context>) -> Result<(), jsonrpsee::core::RegisterMethodError> {
    module.register_method("annex_deployment", |_, context, _| {
        Ok::<_, ErrorObjectOwned>(context.deployment.clone())
    })?;
    module.register_async_method("annex_leader", |_, context, _| async move {
        let lease = context.deployment.contracts.lease;
        let held = node::leader(&context.client, lease).await.map_err(internal)?;
        Ok::<_, ErrorObjectOwned>(json!({
            "leaseId": U256::from(held.leaseId),
            "submitter": held.submitter,
            "promiseSigner": held.promiseSigner,
        }))
    })?;
    module.register_method("annex_transactionStatus", |params, context, _| {
        let hash: B256 = params.one()?;
        status::status(&context.l2, hash).map_err(internal)
    })?;
    module.register_method("annex_promises", |params, context, _| {
        let block: U64 = params.one()?;
        let key = promises_key(block.to());
        let bytes = context.l2.store.get_meta(&key).map_err(internal)?.unwrap_or(b"[]".to_vec());
        let promises: Vec<SignedPromise> = serde_json::from_slice(&bytes).map_err(internal)?;
        let promises: Vec<_> = promises.iter().map(PromiseJson::from).collect();
        Ok::<_, ErrorObjectOwned>(promises)
    })?;
    module.register_method("annex_changedPromises", |params, context, _| {
        let from: Option<U64> = params.sequence().optional_next()?;
        let from = from.unwrap_or_default().to();
        let page = context.l2.engine.changed_promises(from, CHANGES_PAGE);
        Ok::<_, ErrorObjectOwned>(page.iter().map(changed_promise).collect::<Vec<_>>())
    })?;
    module.register_method("annex_heard", |_, context, _| {
        Ok::<_, ErrorObjectOwned>(context.feed.heard.summary(context.l2.progress.safe()))
    })?;
    module.register_method("annex_heardPromises", |params, context, _| {
        let block: U64 = params.one()?;
        let heard = context.feed.heard.of_block(&context.l2.store, block.to()).map_err(internal)?;
        let heard = match heard.is_empty() {
            true => feed::own_promises(&context.l2.store, &context.l2.engine, block.to()),
            false => Ok(heard),
        };
        let heard = heard.map_err(internal)?.into_iter();
        Ok::<_, ErrorObjectOwned>(heard.map(HeardJson::from).collect::<Vec<_>>())
    })?;
    module.register_method("annex_brokenPromises", |_, context, _| {
        Ok::<_, ErrorObjectOwned>(context.feed.broken())
    })?;
    Ok(())
}
