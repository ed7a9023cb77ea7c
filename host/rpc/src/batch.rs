//! Batches: consecutive `eth_sendRawTransaction` items are handed over as one.

use crate::chain::{Chain, Rejected};
use crate::connection::{Connection, Growing};
use crate::error::RpcError;
use crate::methods::Arguments;
use crate::send::send_all;
use alloy_primitives::Bytes;
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::core::server::{BatchResponseBuilder, MethodResponse, ResponsePayload};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params, Request};
use std::sync::Arc;

/// What layers of calls are around: more of them, and in the end the methods.
pub(crate) trait Service:
    RpcServiceT<
        MethodResponse = MethodResponse,
        NotificationResponse = MethodResponse,
        BatchResponse = MethodResponse,
    > + Send
    + Sync
    + Clone
    + 'static
{
}

impl<S> Service for S where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Send
        + Sync
        + Clone
        + 'static
{
}

pub(crate) struct BatchLayer<C> {
    pub chain: Arc<C>,
    /// Bytes.
    pub max_response: usize,
}

impl<C> Clone for BatchLayer<C> {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), max_response: self.max_response }
    }
}

impl<S, C> tower::Layer<S> for BatchLayer<C> {
    type Service = BatchService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        BatchService { inner, layer: self.clone() }
    }
}

pub(crate) struct BatchService<S, C> {
    inner: S,
    layer: BatchLayer<C>,
}

impl<S: Clone, C> Clone for BatchService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

/// Transactions of consecutive items and the ids of their answers.
#[derive(Default)]
struct Group<'a> {
    ids: Vec<Id<'a>>,
    raw: Vec<Bytes>,
}

/// The answer to a batch as it grows.
struct Answers {
    responses: BatchResponseBuilder,
    growing: Option<Growing>,
}

impl Answers {
    fn new(batch: &mut Batch<'_>, max_response: usize) -> Self {
        let connection = batch.extensions().get::<Arc<Connection>>().cloned();
        Self {
            responses: BatchResponseBuilder::new_with_limit(max_response),
            growing: connection.map(Growing::new),
        }
    }

    /// An error is the answer to the whole batch.
    fn append(&mut self, response: MethodResponse) -> Result<(), MethodResponse> {
        let bytes = response.as_json().get().len();
        self.responses.append(response)?;
        if let Some(growing) = &mut self.growing {
            growing.by(bytes);
        }
        Ok(())
    }
}

impl<S, C: Chain> BatchService<S, C> {
    /// Hands a group over and adds its answers. An error is the answer to the whole batch.
    async fn flush(
        layer: &BatchLayer<C>,
        group: &mut Group<'_>,
        answers: &mut Answers,
    ) -> Result<(), MethodResponse> {
        if group.ids.is_empty() {
            return Ok(());
        }
        let Group { ids, raw } = std::mem::take(group);
        let mut results = send_all(&*layer.chain, raw).await.into_iter();
        for id in ids {
            let result = results.next().unwrap_or(Err(Rejected::Stopping));
            let payload = match result {
                Ok(hash) => ResponsePayload::success(hash),
                Err(error) => ResponsePayload::error(ErrorObjectOwned::from(RpcError::from(error))),
            };
            answers.append(MethodResponse::response(id, payload, layer.max_response))?;
        }
        Ok(())
    }
}

impl<S: Service, C: Chain> BatchService<S, C> {
    async fn answer(self, mut batch: Batch<'_>) -> Result<MethodResponse, MethodResponse> {
        let mut answers = Answers::new(&mut batch, self.layer.max_response);
        let mut group = Group::default();
        let mut notified = false;
        for entry in batch {
            let entry = match entry {
                Ok(BatchEntry::Call(request)) => match transaction(&request) {
                    Some(raw) => {
                        group.ids.push(request.id);
                        group.raw.push(raw);
                        continue;
                    }
                    None => Ok(BatchEntry::Call(request)),
                },
                other => other,
            };
            Self::flush(&self.layer, &mut group, &mut answers).await?;
            match entry {
                Ok(BatchEntry::Call(request)) => {
                    answers.append(self.inner.call(request).await)?;
                }
                Ok(BatchEntry::Notification(notification)) => {
                    notified = true;
                    self.inner.notification(notification).await;
                }
                Err(error) => {
                    let (error, id) = error.into_parts();
                    answers.append(MethodResponse::error(id, error))?;
                }
            }
        }
        Self::flush(&self.layer, &mut group, &mut answers).await?;
        Ok(match answers.responses.is_empty() && notified {
            true => MethodResponse::notification(),
            false => MethodResponse::from_batch(answers.responses.finish()),
        })
    }
}

/// The transaction of an `eth_sendRawTransaction`; what does not parse is left to the method.
fn transaction(request: &Request<'_>) -> Option<Bytes> {
    if request.method != "eth_sendRawTransaction" {
        return None;
    }
    let params = Params::new(request.params.as_ref().map(|params| params.get()));
    Arguments::new(&params).next().ok()
}

impl<S: Service, C: Chain> RpcServiceT for BatchService<S, C> {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        self.inner.call(request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        let service = self.clone();
        async move { service.answer(batch).await.unwrap_or_else(|error| error) }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}
