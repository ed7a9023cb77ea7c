//! Plain HTTP beside JSON-RPC: GET routes such as `/health`, and the headers that let web pages call the node.

use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// What a GET route answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: "application/json", body: body.into() }
    }
}

type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers GET requests for a path, and below it if it ends in a slash.
#[derive(Clone)]
pub struct Route {
    path: &'static str,
    handler: Arc<dyn Fn(String) -> ReplyFuture + Send + Sync>,
}

impl Route {
    /// `handler` is given the path and query of the request.
    pub fn new<F, Fut>(path: &'static str, handler: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Reply> + Send + 'static,
    {
        let handler = move |path| -> ReplyFuture { Box::pin(handler(path)) };
        Self { path, handler: Arc::new(handler) }
    }

    fn matches(&self, path: &str) -> bool {
        path == self.path || (self.path.ends_with('/') && path.starts_with(self.path))
    }
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(crate) struct RoutesLayer {
    routes: Arc<[Route]>,
}

impl RoutesLayer {
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes: routes.into() }
    }
}

impl<S> Layer<S> for RoutesLayer {
    type Service = Routes<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Routes { inner, routes: self.routes.clone() }
    }
}

#[derive(Clone)]
pub(crate) struct Routes<S> {
    inner: S,
    routes: Arc<[Route]>,
}

impl<S> Service<HttpRequest> for Routes<S>
where
    S: Service<HttpRequest, Response = HttpResponse>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let method = request.method().as_str();
        let path = request.uri().path();
        let route = self.routes.iter().find(|route| method == "GET" && route.matches(path));
        if let Some(route) = route {
            let target = request.uri().path_and_query().map_or(path, |target| target.as_str());
            let reply = (route.handler)(target.to_owned());
            return Box::pin(async move { Ok(open(response(reply.await))) });
        }
        if method == "OPTIONS" {
            let reply = Reply { status: 204, content_type: "text/plain", body: Vec::new() };
            return Box::pin(async move { Ok(open(response(reply))) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(open(answer.await?)) })
    }
}

fn response(reply: Reply) -> HttpResponse {
    HttpResponse::builder()
        .status(reply.status)
        .header("content-type", reply.content_type)
        .body(HttpBody::from(reply.body))
        .unwrap_or_else(|_| HttpResponse::new(HttpBody::from("route replied with no HTTP status")))
}

/// Lets pages of any origin call: the node holds no secret and no key that a request could use.
fn open(mut response: HttpResponse) -> HttpResponse {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        ("access-control-allow-headers", "content-type"),
    ] {
        let value = value.parse().expect("a header value");
        response.headers_mut().insert(name, value);
    }
    response
}
