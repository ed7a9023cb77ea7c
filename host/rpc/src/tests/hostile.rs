//! Clients that want to hurt.

use super::*;
use crate::Local;
use tokio::io::AsyncReadExt;

/// Whether the server has closed the socket.
async fn is_closed(socket: &mut TcpStream, patience: Duration) -> bool {
    let mut byte = [0; 1];
    match tokio::time::timeout(patience, socket.read(&mut byte)).await {
        Ok(Ok(0)) | Ok(Err(_)) => true,
        Ok(Ok(_)) | Err(_) => false,
    }
}

async fn ask(addr: std::net::SocketAddr) -> Result<(u16, String), std::io::Error> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(addr).await?;
    Ok(exchange(&mut socket, request.as_bytes()).await)
}

#[tokio::test]
async fn idle_sockets_make_place_for_those_that_ask() {
    let node = Node::with(Rules::L2, |config| config.limits.max_connections = 8).await;
    let addr = node.handle.addr;
    let mut idle = Vec::new();
    for index in 0..32 {
        let mut socket = TcpStream::connect(addr).await.expect("connect");
        if index % 2 == 0 {
            socket
                .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-le")
                .await
                .expect("half a head");
        }
        idle.push(socket);
        assert_eq!(ask(addr).await.expect("an answer").0, 200);
    }
    let mut closed = 0;
    for socket in &mut idle {
        closed += usize::from(is_closed(socket, Duration::from_millis(50)).await);
    }
    assert!(closed >= 24, "{closed} of 32 sockets were closed");
}

#[tokio::test]
async fn a_request_that_never_arrives_is_given_up() {
    let node = Node::with(Rules::L2, |config| {
        config.limits.idle_timeout = Duration::from_millis(300);
        config.limits.request_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = TcpStream::connect(node.handle.addr).await.expect("connect");
    let mut head = TcpStream::connect(node.handle.addr).await.expect("connect");
    head.write_all(b"POST / HTTP/1.1\r\nhost: x\r\n").await.expect("half a head");
    let mut body = TcpStream::connect(node.handle.addr).await.expect("connect");
    let begun = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    body.write_all(begun).await.expect("half a body");
    assert!(is_closed(&mut silent, Duration::from_secs(5)).await);
    assert!(is_closed(&mut head, Duration::from_secs(5)).await);
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), body.read_to_string(&mut answer)).await;
    read.expect("in time").expect("text");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

async fn websocket(addr: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.expect("connect");
    let upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade).await.expect("upgrade");
    let mut answer = [0; 1024];
    let read = socket.read(&mut answer).await.expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 101"));
    socket
}

/// A WebSocket message with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0xff];
    frame.extend((text.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// Asks for much over a WebSocket and reads nothing.
#[tokio::test]
async fn who_reads_nothing_is_left() {
    let node = Node::with(Rules::L2, |config| {
        config.limits.write_timeout = Duration::from_millis(500);
        config.limits.max_unread = 1 << 20;
    })
    .await;
    let mut socket = websocket(node.handle.addr).await;
    let request =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": [] });
    let batch = vec![request; 500];
    let frame = frame(&json!(batch).to_string());
    let flood = async {
        // Each answer is 30 KiB: far more than sockets hold.
        for _ in 0..20_000 {
            if socket.write_all(&frame).await.is_err() {
                return true;
            }
        }
        false
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), flood).await;
    assert_eq!(ended, Ok(true), "the connection is closed");
    assert_eq!(ask(node.handle.addr).await.expect("an answer").0, 200);
}

/// Calls wait for a client that reads nothing; it cannot make them wait in the server's memory.
#[tokio::test]
async fn who_reads_nothing_is_not_read() {
    let node = Node::with(Rules::L2, |config| {
        config.limits.write_timeout = Duration::from_secs(60);
        config.limits.max_unread = 1 << 20;
        config.limits.max_request = 1 << 20;
    })
    .await;
    let mut socket = websocket(node.handle.addr).await;
    let request =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": [] });
    let small = frame(&json!(vec![request; 500]).to_string());
    let padded = json!({ "jsonrpc": "2.0", "id": 1, "method": "web3_clientVersion", "params": ["x".repeat(1_000_000)] });
    let large = frame(&padded.to_string());
    let mut sent = 0;
    // Answers to the small ones fill what sockets hold, and the limit.
    for message in std::iter::repeat_n(&small, 2_000).chain(std::iter::repeat_n(&large, 200)) {
        match tokio::time::timeout(Duration::from_secs(1), socket.write_all(message)).await {
            Ok(written) => written.expect("it stays open"),
            Err(_) => break,
        }
        sent += message.len();
    }
    // Of which the system's own buffers hold some.
    assert!(sent < 200 * large.len() / 2, "{sent} bytes were taken");
    assert_eq!(ask(node.handle.addr).await.expect("an answer").0, 200);
}

/// Messages that never end are held up to a limit for all.
#[tokio::test]
async fn unfinished_messages_are_bounded_together() {
    let node = Node::with(Rules::L2, |config| config.limits.max_unread_in_all = 8 << 20).await;
    let message = frame(&"[".repeat(4 << 20));
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let mut socket = websocket(node.handle.addr).await;
        // An error says that it was closed meanwhile.
        let _closed = socket.write_all(&message[..message.len() - 1]).await;
        sockets.push(socket);
    }
    let mut closed = 0;
    for socket in &mut sockets {
        let mut pings = Vec::new();
        let end = socket.read_to_end(&mut pings);
        closed += usize::from(tokio::time::timeout(Duration::from_millis(500), end).await.is_ok());
    }
    assert!((6..8).contains(&closed), "{closed} of 8 were closed");
    assert_eq!(ask(node.handle.addr).await.expect("an answer").0, 200);
}

/// A server on which a call of `annex_wait` waits until there is a permit.
async fn waiting_server(limits: Limits) -> (crate::Handle, Arc<tokio::sync::Semaphore>) {
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let mut extra = jsonrpsee::RpcModule::new(permits.clone());
    extra
        .register_async_method("annex_wait", |_, permits, _| async move {
            permits.acquire().await.expect("never closed").forget();
        })
        .expect("a new name");
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.limits = limits;
    let chain = TestChain::new(Rules::L2, &[]);
    (serve(config, chain, extra, Vec::new()).await.expect("serve"), permits)
}

/// A batch of which the first call waits.
fn waiting_batch(calls: usize) -> Vec<u8> {
    let calls: Vec<_> = (0..calls)
        .map(|id| match id {
            0 => json!({ "jsonrpc": "2.0", "id": id, "method": "annex_wait" }),
            _ => json!({ "jsonrpc": "2.0", "id": id, "method": "none" }),
        })
        .collect();
    let body = json!(calls).to_string();
    let length = body.len();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {length}\r\n\r\n{body}").into_bytes()
}

/// Asks over a fresh connection; the answer is the task's.
fn ask_aside(addr: std::net::SocketAddr, request: Vec<u8>) -> tokio::task::JoinHandle<Value> {
    tokio::spawn(async move {
        let mut socket = TcpStream::connect(addr).await.expect("connect");
        let (status, answer) = exchange(&mut socket, &request).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    })
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let ends = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < ends, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Calls take more memory than their bytes on the way: all that wait are counted, large batches are refused beyond the
/// limit, and small ones never.
#[tokio::test]
async fn what_http_requests_hold_is_bounded_together() {
    const ALL: usize = 8 << 20;
    let limits = Limits { max_unread_in_all: ALL, max_connections: 128, ..Limits::default() };
    let (server, permits) = waiting_server(limits).await;
    let large = waiting_batch(500);
    let attack: Vec<_> = (0..60).map(|_| ask_aside(server.addr, large.clone())).collect();
    // 384,000 bytes each: ten within the limit of 4 MiB, if they come one after another.
    let finished = |attack: &[tokio::task::JoinHandle<Value>]| {
        attack.iter().filter(|asked| asked.is_finished()).count()
    };
    until("each is refused or waits", || finished(&attack) + server.held() / 384_000 == 60).await;
    let held = server.held();
    assert!((ALL / 4..=ALL / 2).contains(&held), "{held} bytes");
    let (refused, waiting): (Vec<_>, Vec<_>) =
        attack.into_iter().partition(|asked| asked.is_finished());
    assert_eq!(waiting.len() * 384_000, held);
    for answer in refused {
        let answer = answer.await.expect("no panic");
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("batch")));
    }

    // Whoever asks for little is answered, over HTTP and over a WebSocket, and all of them remain within the limit.
    assert_eq!(ask(server.addr).await.expect("an answer").0, 200);
    let url = format!("ws://{}", server.addr).parse().expect("URL");
    let builder = jsonrpsee::client_transport::ws::WsTransportClientBuilder::default();
    let (sender, receiver) = builder.build(url).await.expect("connect");
    let websocket = Client::builder().build_with_tokio(sender, receiver);
    let mut subscription: Subscription<Value> = websocket
        .subscribe("eth_subscribe", rpc_params!["newHeads"], "eth_unsubscribe")
        .await
        .expect("taken");
    let small: Vec<_> = (0..90).map(|_| ask_aside(server.addr, waiting_batch(40))).collect();
    until("the small ones wait", || server.held() > held + 90 * 40 * 700).await;
    assert!(server.held() <= ALL);
    assert!(small.iter().all(|asked| !asked.is_finished()));
    tokio::time::timeout(Duration::from_millis(10), subscription.next())
        .await
        .expect_err("it is open");
    // What it has sent that is no call counts as well.
    drop((websocket, subscription));

    // They end, and nothing is held.
    permits.add_permits(waiting.len() + small.len());
    for (answers, calls) in waiting
        .into_iter()
        .map(|asked| (asked, 500))
        .chain(small.into_iter().map(|asked| (asked, 40)))
    {
        let answer = answers.await.expect("no panic");
        assert_eq!(answer.as_array().map(Vec::len), Some(calls), "{answer}");
    }
    until("nothing is held", || server.held() == 0).await;

    // Likewise where clients hang up.
    let gone: Vec<_> = (0..8).map(|_| ask_aside(server.addr, large.clone())).collect();
    until("they wait", || server.held() > 8 * 500 * 700).await;
    gone.iter().for_each(tokio::task::JoinHandle::abort);
    until("nothing is held", || server.held() == 0).await;
    let next = ask_aside(server.addr, large);
    permits.add_permits(1);
    assert_eq!(next.await.expect("no panic").as_array().map(Vec::len), Some(500));
}

/// The answer to a batch counts as unread while it grows, and no longer than its connection is open.
#[tokio::test(flavor = "multi_thread")]
async fn growing_answers_are_bounded_together() {
    const ALL: usize = 8 << 20;
    let limits = Limits { max_unread_in_all: ALL, ..Limits::default() };
    let (server, permits) = waiting_server(limits).await;
    let addr = server.addr;
    // Returns 256 KiB of zeros: 512 of hex.
    let at = Address::repeat_byte(0xe1);
    let overrides = json!({ at.to_string(): { "code": "0x6203ffff5ff3" } });
    let params = json!([{ "to": at }, "latest", overrides]);
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": params });
    let wait = json!({ "jsonrpc": "2.0", "id": 1, "method": "annex_wait" });
    // 3 MiB each: two of them are little enough, more are not, and none can end.
    let batch = json!([large, large, large, large, large, large, wait]).to_string();
    let websocket_batch = frame(&batch);
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length:";
    let http_batch = format!("{head} {}\r\n\r\n{batch}", batch.len()).into_bytes();
    let mut sockets = Vec::new();
    for index in 0..8 {
        let mut socket = match index % 2 {
            0 => TcpStream::connect(addr).await.expect("connect"),
            _ => websocket(addr).await,
        };
        let batch = if index % 2 == 0 { &http_batch } else { &websocket_batch };
        socket.write_all(batch).await.expect("a request");
        sockets.push(socket);
    }
    let ended = |socket: &TcpStream| {
        let mut pings = [0; 1024];
        loop {
            match socket.try_read(&mut pings) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let closed = || sockets.iter().filter(|socket| ended(socket)).count();
    until("all but two are closed", || {
        // What is executed while one is closed may come on top.
        assert!(server.unread() <= 2 * ALL, "{} bytes", server.unread());
        closed() >= 6
    })
    .await;
    until("the rest waits", || (2 << 20..=ALL).contains(&server.unread())).await;
    assert!(closed() < 8);
    assert_eq!(ask(addr).await.expect("an answer").0, 200);
    // Complete, they are counted once, and read not at all.
    permits.add_permits(2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(sockets);
    until("nothing is unread", || server.unread() == 0).await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_those_who_read_nothing() {
    let node = Node::start(Rules::L2).await;
    let _socket = TcpStream::connect(node.handle.addr).await.expect("connect");
    let started = Instant::now();
    let Node { handle, .. } = node;
    handle.stop().await;
    assert!(started.elapsed() < Duration::from_secs(15));
}

/// Whatever a body holds, the answer is JSON-RPC or nothing, and nothing panics.
#[tokio::test]
async fn any_body_has_an_answer() {
    let chain = TestChain::new(Rules::L2, &[]);
    let local = Local::new(Limits::default(), chain, jsonrpsee::RpcModule::new(()), Vec::new());
    let local = local.expect("methods");
    let seed = std::env::var("ANNEX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7u64);
    let mut random = seed;
    let mut next = move || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let params = [
        "null",
        "{}",
        "[]",
        "[[]]",
        "[{}]",
        "[null]",
        "[\"0x\"]",
        "[\"latest\"]",
        "[\"pending\",true]",
        "[-1]",
        "[1e400]",
        "[\"0xffffffffffffffffffffffff\"]",
        "[{\"fromBlock\":\"0x0\",\"toBlock\":\"0xffffffffffffffff\"}]",
        "[{\"to\":\"0x00000000000000000000000000000000000c0001\",\"gas\":\"0xffffffffffffffff\"},\"latest\",{\"x\":1}]",
        "[{\"blockStateCalls\":[{\"calls\":[{}]}]}]",
        "[\"\\ud800\"]",
        "[{\"blockHash\":\"0x0\"}]",
        "{\"a\":{\"b\":[]}}",
    ];
    let names: Vec<String> = {
        let modules = crate::methods::module(TestChain::new(Rules::L2, &[]), Limits::default());
        modules.method_names().map(str::to_owned).collect()
    };
    assert!(names.len() > 60, "{names:?}");
    for name in &names {
        for params in params {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}","params":{params}}}"#);
            let (status, answer) = local.post(body.clone().into_bytes()).await.expect("an answer");
            let answer: Value =
                serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("{body}: HTTP {status}"));
            assert_eq!(answer["jsonrpc"], "2.0", "{body}");
            assert!(
                answer.get("result").is_some() != answer.get("error").is_some(),
                "{body}: {answer}"
            );
            // Subscriptions need a WebSocket; jsonrpsee says so with this code.
            assert!(
                name.ends_with("subscribe") || answer["error"]["code"] != -32603,
                "{body}: {answer}"
            );
        }
    }
    for case in 0..2_000 {
        let name = &names[next() % names.len()];
        let mut body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{name}","params":{}}}"#,
            params[next() % params.len()]
        )
        .into_bytes();
        for _ in 0..next() % 4 {
            let at = next() % body.len();
            body[at] = next() as u8;
        }
        let (status, answer) = local.post(body).await.expect("an answer");
        let answer = serde_json::from_slice::<Value>(&answer);
        assert!(answer.is_ok() || status != 200, "seed {seed}, case {case}: HTTP {status}");
    }
    for bomb in [
        deep.clone(),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{deep}]}}"#),
        "[".repeat(1 << 20),
    ] {
        let (_, answer) = local.post(bomb.into_bytes()).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let error = answer.get(0).unwrap_or(&answer);
        assert!(error["error"]["code"].is_i64(), "{answer}");
    }
}
