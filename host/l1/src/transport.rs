//! HTTP with a bound on everything the other side decides: how long it takes and how much it sends.

use crate::error::L1Error;
use alloy_json_rpc::{RequestPacket, ResponsePacket};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use reqwest::{Client, ClientBuilder, Response};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::sleep;
use tower::Service;
use url::Url;

/// Longest answer of a JSON-RPC or beacon endpoint, in bytes. The logs of a full L1 block fit several times.
pub(crate) const RESPONSE_LIMIT: usize = 64 << 20;
/// Time for one request and its whole answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an error page that are kept for the message.
const ERROR_BODY: usize = 512;

/// Tries of one call before the error is the caller's.
const ATTEMPTS: u32 = 4;
/// Wait after the first failure; doubles with each.
const BACKOFF: Duration = Duration::from_millis(250);

/// Repeats a call while the other side is unavailable.
pub(crate) async fn retry<T, F>(what: &str, mut call: impl FnMut() -> F) -> Result<T, L1Error>
where
    F: Future<Output = Result<T, L1Error>>,
{
    let mut wait = BACKOFF;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error @ (L1Error::Unavailable(_) | L1Error::Malformed(_) | L1Error::Beacon(_))) => {
                tracing::debug!(what, %error, "call failed, trying again");
            }
            answer => return answer,
        }
        sleep(wait).await;
        wait *= 2;
    }
    call().await
}

/// The answer is longer than is read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is longer than {0} bytes")]
pub(crate) struct TooLarge(usize);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// A client with timeouts; see [`http_client_with`].
pub fn http_client() -> Result<Client, reqwest::Error> {
    http_client_with(|builder| {
        builder.timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true)
    })
}

/// A client whose TLS (ring, the system's roots) needs no provider installed by the process; reqwest's own builder panics without
/// one. On a machine without root certificates it speaks plain HTTP only.
pub fn http_client_with(
    configure: impl Fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, reqwest::Error> {
    // Fails only if a provider is installed already, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    configure(Client::builder()).build().or_else(|error| {
        tracing::warn!(%error, "no root certificates: https endpoints will be refused");
        configure(Client::builder()).tls_certs_only([]).build()
    })
}

/// The body, unless it is longer than `limit`.
pub(crate) async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(TooLarge(limit).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// alloy's transport over a bounded body.
#[derive(Clone, Debug)]
pub(crate) struct BoundedHttp {
    pub client: Client,
    pub url: Url,
}

impl BoundedHttp {
    async fn send(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let response = self
            .client
            .post(self.url)
            .json(&request)
            .send()
            .await
            .map_err(|error| TransportErrorKind::custom(error.without_url()))?;
        let status = response.status();
        let body = match read_body(response, RESPONSE_LIMIT).await {
            Ok(body) => body,
            Err(BodyError::TooLarge(error)) => {
                return Err(TransportErrorKind::non_retryable(error));
            }
            Err(BodyError::Http(error)) => {
                return Err(TransportErrorKind::custom(error.without_url()));
            }
        };
        // Some endpoints put a JSON-RPC error under an HTTP error.
        if let Ok(packet) = serde_json::from_slice(&body) {
            return Ok(packet);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_BODY)]).into_owned();
        if !status.is_success() {
            return Err(TransportErrorKind::http_error(status.as_u16(), text));
        }
        Err(TransportErrorKind::http_error(502, text))
    }
}

impl Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
