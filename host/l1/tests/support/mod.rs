//! A real Anvil, a chain on it, and a proxy that lies.

use alloy_consensus::Header;
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_signer_local::PrivateKeySigner;
use annex_l1::{
    DeployRequest, Deployment, L1Client, Parameters, ProgramBoot, SendLimits, deploy, http_client,
};
use serde_json::json;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Where npm puts Anvil; `ANVIL` names another.
fn anvil_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ANVIL") {
        return path.into();
    }
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/node_modules");
    let path = PathBuf::from(modules).join("@foundry-rs/anvil-linux-amd64/bin/anvil");
    assert!(
        path.exists(),
        "Anvil is not installed: run `npm ci --prefix tests/clients`, or set ANVIL to a binary of version 1.7"
    );
    path
}

/// An Osaka L1 on a free port, killed when dropped.
pub struct Anvil {
    pub url: String,
    _child: Child,
}

impl Anvil {
    pub async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(anvil_binary())
            .args(["--hardfork", "osaka", "--port", "0", "--chain-id", "900"])
            .args(["--enable-tx-gas-limit"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Anvil starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = loop {
            let line =
                lines.next_line().await.expect("output").expect("Anvil says where it listens");
            if let Some(address) = line.strip_prefix("Listening on ") {
                break address.to_string();
            }
        };
        // Anvil stops when nobody reads what it prints.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { url: format!("http://{address}"), _child: child }
    }

    pub async fn client(&self) -> L1Client {
        L1Client::connect(&self.url, &[]).await.expect("Anvil answers")
    }
}

/// The keys Anvil funds, those of the well-known test mnemonic.
pub fn key(index: usize) -> PrivateKeySigner {
    [
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
        "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    ][index]
        .parse()
        .expect("a key")
}

pub fn limits() -> SendLimits {
    SendLimits {
        poll_interval: Duration::from_millis(20),
        resubmit_after: Duration::from_millis(400),
        ..SendLimits::default()
    }
}

/// The genesis of a chain that nobody executes, yet depends on its configuration.
pub fn genesis(config: &annex_types::ChainConfig) -> Header {
    Header {
        base_fee_per_gas: Some(1),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        extra_data: config.hash().0.into(),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(B256::ZERO),
        withdrawals_root: Some(keccak256("no withdrawals")),
        ..Header::default()
    }
}

pub async fn request(client: &L1Client) -> DeployRequest {
    let head = client.head().await.expect("head");
    DeployRequest {
        l2_chain_id: 901,
        submitter: key(1).address(),
        promise_signer: Address::repeat_byte(0x51),
        program: ProgramBoot { memory_root: B256::repeat_byte(0xb0), pc: 0x1_0000 },
        parameters: Parameters::development(head.timestamp),
        resume_from: None,
    }
}

/// A chain whose leader is key 1, deployed by key 0.
pub async fn chain(client: &L1Client) -> Deployment {
    let request = request(client).await;
    deploy(client, key(0), &request, genesis, limits()).await.expect("deploys")
}

pub async fn mine(client: &L1Client, blocks: u64) {
    let _: Option<bool> =
        client.request("anvil_mine", (U256::from(blocks),)).await.expect("anvil_mine");
}

/// Changes an answer: the request's body (or path, for a GET) and the answer's body.
pub type Lie = Arc<dyn Fn(&str, String) -> String + Send + Sync>;

/// A beacon node of the old kind: slots of 12 seconds since `genesis`, blob sidecars alone, and those of one slot. Returns its URL.
pub async fn beacon(genesis: u64, slot: u64, blobs: Vec<Blob>) -> String {
    let sidecars: Vec<_> =
        blobs.iter().enumerate().map(|(i, b)| json!({"index": i.to_string(), "blob": b})).collect();
    let sidecars = json!({ "data": sidecars }).to_string();
    let answer = move |path: &str| match path.trim_start_matches("/key/eth/v1/") {
        "config/spec?k=1" => (200, json!({"data": {"SECONDS_PER_SLOT": "12"}}).to_string()),
        "beacon/genesis?k=1" => {
            (200, json!({"data": {"genesis_time": genesis.to_string()}}).to_string())
        }
        path if path == format!("beacon/blob_sidecars/{slot}?k=1") => (200, sidecars.clone()),
        _ => (404, "{}".to_string()),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/key?k=1", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (_, path, _) = read_request(&mut stream).await;
            let (status, text) = answer(&path);
            write_answer(&mut stream, status, &text).await;
        }
    });
    url
}

/// Forwards HTTP to `upstream`, with `lie` told in its answers. Returns its URL.
pub async fn proxy(upstream: String, lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(stream, upstream.clone(), lie.clone()));
        }
    });
    url
}

async fn forward(mut stream: TcpStream, upstream: String, lie: Lie) {
    let (method, path, body) = read_request(&mut stream).await;
    let client = http_client().expect("a client");
    let url = format!("{upstream}{path}");
    let answer = if method == "GET" {
        client.get(url).send().await
    } else {
        client.post(url).header("content-type", "application/json").body(body.clone()).send().await
    }
    .expect("Anvil answers");
    let status = answer.status().as_u16();
    let text = lie(if method == "GET" { &path } else { &body }, answer.text().await.expect("text"));
    write_answer(&mut stream, status, &text).await;
}

/// Method, path and body.
async fn read_request(stream: &mut TcpStream) -> (String, String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = String::from_utf8(head).expect("ASCII");
    let mut words = head.split(' ');
    let (method, path) = (words.next().expect("method"), words.next().expect("path"));
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    (method.into(), path.into(), String::from_utf8(body).expect("JSON"))
}

async fn write_answer(stream: &mut TcpStream, status: u16, text: &str) {
    let reply = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // The client may have gone.
    let _ = stream.write_all(reply.as_bytes()).await;
}
