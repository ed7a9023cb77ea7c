//! An L1 endpoint as providers sell it: in front of a good one, it fails, dawdles and lies as told.

use alloy_primitives::{B256, keccak256};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::sleep;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed without one.
    Cut,
    /// It comes late.
    Slow(Duration),
    /// An HTTP status and a page for humans.
    Status(u16),
    /// A JSON-RPC error.
    Error(i32, &'static str),
    /// Bytes at random.
    Garbage,
    /// Half of it.
    Truncated,
    /// A valid answer to another question.
    Absurd,
    /// This one.
    Result(&'static str),
    /// For a transaction sent: its hash, and the transaction goes nowhere.
    Swallowed,
    /// It is right for another state of the chain.
    View(View),
    /// Blobs with one digit changed.
    OtherBlobs,
}

/// The chain as an endpoint shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Without that many of its newest blocks.
    Behind(u64),
    /// Without the blocks after this one.
    Until(u64),
    /// With a head that is not there, so many blocks after the newest.
    Ahead(u64),
    /// Another branch, empty, from the block after this one on.
    Fork(u64),
}

/// A fault, of which answers, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub fault: Fault,
    /// What the method's name or the path contains.
    pub only: &'static str,
    pub percent: u8,
}

impl Rule {
    /// Of every answer.
    pub fn always(fault: Fault) -> Self {
        Self { fault, only: "", percent: 100 }
    }

    /// Of some answers.
    pub fn sometimes(percent: u8, fault: Fault) -> Self {
        Self { fault, only: "", percent }
    }

    /// Of every answer to these.
    pub fn of(only: &'static str, fault: Fault) -> Self {
        Self { fault, only, percent: 100 }
    }
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    random: StdRng,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    state: Mutex<State>,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl Proxy {
    /// In front of `upstream`, honest at first. What is random comes from `seed`.
    pub fn start(upstream: &str, seed: u64) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        // An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let state = State { rules: Vec::new(), random: StdRng::seed_from_u64(seed) };
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::new(),
            state: Mutex::new(state),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let serving = shared.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { url, shared, _runtime: runtime }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on these alone are wrong; of several that fit, the first.
    pub fn set(&self, rules: &[Rule]) {
        self.shared.state.lock().expect("no holder panics").rules = rules.to_vec();
    }
}

impl Shared {
    fn fault(&self, what: &str) -> Option<Fault> {
        let mut state = self.state.lock().expect("no holder panics");
        let State { rules, random } = &mut *state;
        let mut fits = rules.iter().filter(|rule| what.contains(rule.only));
        fits.find(|rule| random.random_range(0..100) < rule.percent).map(|rule| rule.fault)
    }

    fn noise(&self) -> Vec<u8> {
        let mut noise = vec![0; 300];
        self.state.lock().expect("no holder panics").random.fill(&mut noise[..]);
        noise
    }

    async fn forward(&self, request: &Request, body: Vec<u8>) -> Option<(u16, Vec<u8>)> {
        let url = format!("{}{}", self.upstream, request.path);
        let sent = match request.is_get {
            true => self.client.get(url),
            false => self.client.post(url).header("content-type", "application/json").body(body),
        };
        let answer = sent.send().await.ok()?;
        Some((answer.status().as_u16(), answer.bytes().await.ok()?.to_vec()))
    }

    async fn ask(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = self.client.post(&self.upstream).json(&body).send();
        let mut answer: Value = sent.await.ok()?.json().await.ok()?;
        Some(answer["result"].take())
    }
}

struct Request {
    is_get: bool,
    path: String,
    body: Vec<u8>,
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else { return };
    // The client may have gone.
    if let Some((status, body, length)) = answer(&request, &shared).await {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.flush().await;
    }
}

/// Status, body, and the length that it pretends to have.
async fn answer(request: &Request, shared: &Shared) -> Option<(u16, Vec<u8>, usize)> {
    let call: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let what = call["method"].as_str().unwrap_or(&request.path);
    let result = |value: Value| {
        let body = json!({"jsonrpc": "2.0", "id": call["id"], "result": value}).to_string();
        (200, body.into_bytes())
    };
    let forward = async || shared.forward(request, request.body.clone()).await;
    let (status, body) = match shared.fault(what) {
        None => forward().await?,
        Some(Fault::Cut) => return None,
        Some(Fault::Slow(delay)) => {
            sleep(delay).await;
            forward().await?
        }
        Some(Fault::Status(status)) => (status, b"<html>try again later</html>".to_vec()),
        Some(Fault::Error(code, message)) => {
            let error = json!({"code": code, "message": message});
            let body = json!({"jsonrpc": "2.0", "id": call["id"], "error": error});
            (200, body.to_string().into_bytes())
        }
        Some(Fault::Garbage) => (200, shared.noise()),
        Some(Fault::Truncated) => {
            let (status, body) = forward().await?;
            return Some((status, body[..body.len() / 2].to_vec(), body.len()));
        }
        Some(Fault::Absurd) => result(json!({"number": "0x-1", "blobs": [null]})),
        Some(Fault::Result(value)) => result(json!(value)),
        Some(Fault::Swallowed) => {
            let raw = call["params"][0].as_str().unwrap_or_default();
            let raw = alloy_primitives::hex::decode(raw).unwrap_or_default();
            result(json!(keccak256(raw)))
        }
        Some(Fault::View(view)) => match call["method"].as_str() {
            Some(method) => result(seen(shared, view, method, &call["params"]).await?),
            None => forward().await?,
        },
        Some(Fault::OtherBlobs) => {
            let (status, body) = forward().await?;
            let text = String::from_utf8_lossy(&body);
            // A digit in the middle of the first blob.
            let changed = text.char_indices().map(|(at, digit)| match (at, digit) {
                (9_000, '7') => '8',
                (9_000, _) => '7',
                (_, digit) => digit,
            });
            (status, changed.collect::<String>().into_bytes())
        }
    };
    let length = body.len();
    Some((status, body, length))
}

fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

/// What an endpoint answers that has this view of the chain.
async fn seen(shared: &Shared, view: View, method: &str, params: &Value) -> Option<Value> {
    let head = quantity(&shared.ask("eth_blockNumber", json!([])).await?)?;
    let (cut, fork) = match view {
        View::Behind(blocks) => (head.saturating_sub(blocks), None),
        View::Until(block) => (head.min(block), None),
        View::Ahead(_) => (head, None),
        View::Fork(block) => (head.min(block), Some(block)),
    };
    let mut params = params.clone();
    match (method, view) {
        ("eth_getBlockByNumber", View::Ahead(blocks)) if params[0] == "latest" => {
            let mut block = shared.ask(method, params).await?;
            block["number"] = hex(head + blocks);
            block["hash"] = json!(keccak256(block["hash"].to_string()));
            return Some(block);
        }
        ("eth_blockNumber", _) => return Some(hex(if fork.is_some() { head } else { cut })),
        ("eth_getBlockByNumber", _) => {
            let last = if fork.is_some() { head } else { cut };
            let number = quantity(&params[0]).unwrap_or(last);
            if number > last {
                return Some(Value::Null);
            }
            params[0] = hex(number);
            let block = shared.ask(method, params).await?;
            return Some(fork.map_or(block.clone(), |fork| on_branch(block, number, fork)));
        }
        ("eth_getLogs", _) => {
            let to = quantity(&params[0]["toBlock"]).unwrap_or(cut).min(cut);
            if quantity(&params[0]["fromBlock"]).is_some_and(|from| from > to) {
                return Some(json!([]));
            }
            params[0]["toBlock"] = hex(to);
        }
        ("eth_getTransactionReceipt", _) => {
            let receipt = shared.ask(method, params).await?;
            let there = quantity(&receipt["blockNumber"]).is_some_and(|number| number <= cut);
            return Some(if there { receipt } else { Value::Null });
        }
        ("eth_call" | "eth_getBalance" | "eth_getTransactionCount" | "eth_getCode", _) => {
            let number = match params[1]["blockHash"].as_str() {
                Some(hash) => number_of(shared, hash, cut, head, fork).await?,
                None => quantity(&params[1]).unwrap_or(cut),
            };
            params[1] = hex(number.min(cut));
        }
        ("eth_estimateGas", _) => params[1] = hex(cut),
        _ => {}
    }
    shared.ask(method, params).await
}

/// Of a block that the view has, among the last that a test may ask for.
async fn number_of(
    shared: &Shared,
    hash: &str,
    cut: u64,
    head: u64,
    fork: Option<u64>,
) -> Option<u64> {
    let last = if fork.is_some() { head } else { cut };
    for number in (last.saturating_sub(100)..=last).rev() {
        let block = shared.ask("eth_getBlockByNumber", json!([hex(number), false])).await?;
        let block = fork.map_or(block.clone(), |fork| on_branch(block, number, fork));
        if block["hash"] == hash {
            return Some(number);
        }
    }
    None
}

/// A block of the other branch.
fn on_branch(mut block: Value, number: u64, fork: u64) -> Value {
    let other = |hash: &Value| -> B256 { keccak256(hash.to_string()) };
    if number > fork {
        block["hash"] = json!(other(&block["hash"]));
    }
    if number > fork + 1 {
        block["parentHash"] = json!(other(&block["parentHash"]));
    }
    block
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { is_get: method == "GET", path: path.to_owned(), body })
}
