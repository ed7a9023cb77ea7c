//! The outermost layer of calls: each waits for its connection's turn, and what it answers is counted until it is read.

use crate::batch::Service;
use crate::connection::Connection;
use crate::error::RpcError;
use jsonrpsee::core::middleware::{Batch, Notification, RpcServiceT};
use jsonrpsee::core::server::MethodResponse;
use jsonrpsee::types::error::INTERNAL_ERROR_CODE;
use jsonrpsee::types::{ErrorObject, Id, Request};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;

#[derive(Clone, Copy)]
pub(crate) struct FairLayer;

impl<S> tower::Layer<S> for FairLayer {
    type Service = Fair<S>;

    fn layer(&self, inner: S) -> Fair<S> {
        Fair { inner }
    }
}

#[derive(Clone)]
pub(crate) struct Fair<S> {
    inner: S,
}

/// What a call takes besides its parameters, about.
const CALL: usize = 768;

fn weight(params: Option<&RawValue>) -> usize {
    CALL + params.map_or(0, |params| params.get().len())
}

/// What a call is answered on a connection that is gone: nobody reads it.
fn gone(id: Id<'_>) -> MethodResponse {
    let error = ErrorObject::owned(INTERNAL_ERROR_CODE, "connection closed", None::<()>);
    MethodResponse::error(id, error)
}

fn refused(id: Id<'_>, error: RpcError) -> MethodResponse {
    MethodResponse::error(id, ErrorObject::from(error))
}

/// Answers when it is the connection's turn.
async fn in_turn(
    connection: &Connection,
    turn: impl Future<Output = Option<SemaphorePermit<'_>>>,
    id: Id<'_>,
    answer: impl Future<Output = MethodResponse>,
) -> MethodResponse {
    let Some(_turn) = turn.await else { return gone(id) };
    let response = answer.await;
    connection.answered(response.as_json().get().len());
    response
}

impl<S: Service> RpcServiceT for Fair<S> {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        let inner = self.inner.clone();
        async move {
            let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
                return inner.call(request).await;
            };
            let _held = match connection.hold(weight(request.params.as_deref())) {
                Ok(held) => held,
                Err(error) => return refused(request.id, error),
            };
            let id = request.id.clone();
            // Nothing of it is done before its turn.
            let answer = async { inner.call(request).await };
            in_turn(&connection, connection.turn(), id, answer).await
        }
    }

    fn batch<'a>(
        &self,
        mut batch: Batch<'a>,
    ) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        let inner = self.inner.clone();
        async move {
            let Some(connection) = batch.extensions().get::<Arc<Connection>>().cloned() else {
                return inner.batch(batch).await;
            };
            let calls = batch.iter().map(|entry| match entry {
                Ok(entry) => weight(entry.params().map(|params| &**params)),
                Err(_) => weight(None),
            });
            let _held = match connection.hold(calls.sum()) {
                Ok(held) => held,
                Err(error) => return refused(Id::Null, error),
            };
            let answer = async {
                tokio::select! {
                    biased;
                    answer = inner.batch(batch) => answer,
                    // What it has grown to counts no longer.
                    () = connection.until_closed() => gone(Id::Null),
                }
            };
            in_turn(&connection, connection.turn_of_batch(), Id::Null, answer).await
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        if let Some(connection) = notification.extensions().get::<Arc<Connection>>() {
            // It is over at once, and nothing is never too much.
            drop(connection.hold(0));
        }
        self.inner.notification(notification)
    }
}
