//! HTTP and WebSocket on one port.

use crate::batch::BatchLayer;
use crate::chain::Chain;
use crate::connection::{Connection, Connections, Socket};
use crate::fair::FairLayer;
use crate::limits::Limits;
use crate::methods::module;
use crate::routes::{Route, RoutesLayer};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::core::BoxError;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::server::Methods;
use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, HttpBody, HttpRequest, HttpResponse, IdProvider, PingConfig, Server,
    ServerConfig as JsonRpcConfig, ServerHandle, StopHandle, stop_channel, ws,
};
use jsonrpsee::types::SubscriptionId;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::Service;

/// How often a WebSocket is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Messages that wait for one WebSocket before who sends them waits.
const MESSAGES: u32 = 256;
/// Bodies up to this size are read without asking for a place.
const SMALL_BODY: u64 = 64 << 10;
/// Bytes of greater bodies that are read or worked on at the same time.
const LARGE_BODIES: usize = 128 << 20;
/// Bytes of a connection's buffers, and of a request's head.
const BUFFERS: usize = 64 << 10;
/// How long connections may go on after [`Handle::stop`].
const FAREWELL: Duration = Duration::from_secs(5);
/// Pause after the system could not give a socket.
const NO_SOCKET: Duration = Duration::from_millis(20);

/// Where the server listens and what it bears.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// Use a loopback address unless a proxy stands in front; port 0 takes a free one.
    pub addr: SocketAddr,
    pub limits: Limits,
}

impl ServerConfig {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, limits: Limits::default() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    /// `extra` names a method that exists already.
    #[error(transparent)]
    Methods(#[from] RegisterMethodError),
}

/// A running server. It runs until [`Handle::stop`], or until the handle is dropped.
#[derive(Debug)]
pub struct Handle {
    pub addr: SocketAddr,
    server: ServerHandle,
    connections: Arc<Connections>,
}

impl Handle {
    /// Takes no more requests, answers those it has, for a while, and waits until all connections are closed.
    pub async fn stop(self) {
        // An error says that it had stopped already.
        if self.server.stop().is_ok() {
            let stopped = self.server.clone().stopped();
            if tokio::time::timeout(FAREWELL, stopped).await.is_err() {
                self.connections.close_all();
                self.server.stopped().await;
            }
        }
    }
}

#[cfg(test)]
impl Handle {
    /// Bytes that count as held by what has arrived and is not answered.
    pub(crate) fn held(&self) -> usize {
        self.connections.held()
    }

    /// Bytes that count as answers that no client has taken.
    pub(crate) fn unread(&self) -> usize {
        self.connections.unread()
    }
}

/// Subscription ids count up: they mean something on their own connection only.
#[derive(Debug, Default)]
struct SubscriptionIds(AtomicU64);

impl IdProvider for SubscriptionIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let id = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{id:#x}").into())
    }
}

/// A chain's methods without a socket: what arrives in a request's body, and what its answer's body is.
#[derive(Clone)]
pub struct Local {
    methods: Methods,
    service: Arc<dyn Fn(Methods, StopHandle) -> BoxedService + Send + Sync>,
}

type BoxedService = tower::util::BoxCloneSyncService<HttpRequest, HttpResponse, BoxError>;

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

impl Local {
    pub fn new<C: Chain>(
        limits: Limits,
        chain: Arc<C>,
        extra: impl Into<Methods>,
        routes: Vec<Route>,
    ) -> Result<Self, RegisterMethodError> {
        let mut methods: Methods = module(chain.clone(), limits).into();
        methods.merge(extra)?;
        let builder = Server::builder()
            .set_config(json_rpc(&limits))
            .set_rpc_middleware(
                RpcServiceBuilder::new()
                    .layer(FairLayer)
                    .layer(BatchLayer { chain, max_response: limits.max_response as usize }),
            )
            .set_http_middleware(tower::ServiceBuilder::new().layer(RoutesLayer::new(routes)))
            .to_service_builder();
        let service =
            move |methods: Methods, stop| BoxedService::new(builder.clone().build(methods, stop));
        Ok(Self { methods, service: Arc::new(service) })
    }

    fn service(&self, stop: StopHandle) -> BoxedService {
        (self.service)(self.methods.clone(), stop)
    }

    /// The answer to a POST, with its HTTP status.
    pub async fn post(&self, body: Vec<u8>) -> Result<(u16, Vec<u8>), BoxError> {
        let (stop, _server) = stop_channel();
        let request = HttpRequest::builder()
            .method("POST")
            .header("content-type", "application/json")
            .body(HttpBody::from(body))?;
        let response = self.service(stop).call(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes().to_vec()))
    }
}

fn json_rpc(limits: &Limits) -> JsonRpcConfig {
    JsonRpcConfig::builder()
        .max_request_body_size(limits.max_request)
        .max_response_body_size(limits.max_response)
        // Sockets are counted here, where they are accepted; there, only requests are.
        .max_connections(u32::MAX)
        .max_subscriptions_per_connection(limits.max_subscriptions_per_connection)
        .set_batch_request_config(BatchRequestConfig::Limit(limits.max_batch))
        .set_message_buffer_capacity(MESSAGES)
        .set_id_provider(SubscriptionIds::default())
        .enable_ws_ping(
            PingConfig::new()
                .ping_interval(PING_INTERVAL.min(limits.idle_timeout / 2))
                .inactive_limit(limits.idle_timeout),
        )
        .build()
}

/// Serves a chain's methods, `extra` ones and plain GET `routes`.
pub async fn serve<C: Chain>(
    config: ServerConfig,
    chain: Arc<C>,
    extra: impl Into<Methods>,
    routes: Vec<Route>,
) -> Result<Handle, ServeError> {
    let limits = config.limits;
    let local = Local::new(limits, chain, extra, routes)?;
    let listen = |source| ServeError::Listen { addr: config.addr, source };
    let listener = TcpListener::bind(config.addr).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let (stop, server) = stop_channel();
    let connections = Connections::new(limits);
    let bodies = Arc::new(Semaphore::new(LARGE_BODIES));
    let accepting = stop.clone();
    let open = connections.clone();
    let accept = async move {
        accept(&listener, &open, |stream, connection| {
            let service = local.service(stop.clone());
            tokio::spawn(converse(stream, connection, service, bodies.clone(), stop.clone()));
        })
        .await
    };
    tokio::spawn(async move {
        tokio::select! {
            () = accept => {}
            () = accepting.shutdown() => {}
        }
    });
    Ok(Handle { addr, server, connections })
}

/// Takes connections for ever.
async fn accept(
    listener: &TcpListener,
    open: &Arc<Connections>,
    serve: impl Fn(TcpStream, Arc<Connection>),
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // 40 ms that an answer may wait for the client's acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection was gone at once");
                    continue;
                }
                // Without a place the socket is closed.
                if let Some(connection) = open.admit() {
                    serve(stream, connection);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no connection could be taken");
                open.shed_idle();
                tokio::time::sleep(NO_SOCKET).await;
            }
        }
    }
}

/// Serves one socket until it ends.
async fn converse(
    stream: TcpStream,
    connection: Arc<Connection>,
    service: BoxedService,
    bodies: Arc<Semaphore>,
    stop: StopHandle,
) {
    let limits = *connection.limits();
    let socket = Socket::new(stream, connection.clone());
    let answer =
        service_fn(|request| answer(request, connection.clone(), service.clone(), bodies.clone()));
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Counts from the end of the request before.
        .header_read_timeout(limits.idle_timeout)
        // Kept for as long as the connection is.
        .max_buf_size(BUFFERS)
        .serve_connection(TokioIo::new(socket), answer)
        .with_upgrades();
    let mut http = std::pin::pin!(http);
    let result = tokio::select! {
        result = &mut http => result,
        () = stop.shutdown() => {
            http.as_mut().graceful_shutdown();
            tokio::select! {
                result = http => result,
                () = connection.until_closed() => Ok(()),
            }
        }
        () = connection.until_closed() => Ok(()),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection failed");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    connection: Arc<Connection>,
    mut service: BoxedService,
    bodies: Arc<Semaphore>,
) -> Result<HttpResponse, BoxError> {
    let _under_way = connection.request();
    let limits = *connection.limits();
    let mut request = request.map(HttpBody::new);
    request.extensions_mut().insert(connection.clone());
    if ws::is_upgrade_request(&request) {
        let response = service.call(request).await?;
        if response.status() == hyper::StatusCode::SWITCHING_PROTOCOLS {
            connection.upgrade();
        }
        return Ok(response);
    }
    let announced = hyper::body::Body::size_hint(request.body());
    let most = u64::from(limits.max_request);
    if announced.lower() > most {
        // Refused without being read.
        return service.call(request).await;
    }
    let size = announced.exact().unwrap_or(most);
    let (parts, body) = request.into_parts();
    let read = async {
        let place = match size > SMALL_BODY {
            true => {
                let size = u32::try_from(size).unwrap_or(u32::MAX).min(LARGE_BODIES as u32);
                Some(bodies.acquire_many(size).await.expect("the semaphore is never closed"))
            }
            false => None,
        };
        let body = http_body_util::Limited::new(body, most as usize).collect().await;
        (place, body)
    };
    let Ok((_place, body)) = tokio::time::timeout(limits.request_timeout, read).await else {
        return Ok(refusal(hyper::StatusCode::REQUEST_TIMEOUT));
    };
    let body = match body {
        Ok(body) => HttpBody::from(body.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Ok(refusal(hyper::StatusCode::PAYLOAD_TOO_LARGE));
        }
        Err(error) => return Err(error),
    };
    service.call(HttpRequest::from_parts(parts, body)).await
}

fn refusal(status: hyper::StatusCode) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(String::new()));
    *response.status_mut() = status;
    response.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
    response
}
