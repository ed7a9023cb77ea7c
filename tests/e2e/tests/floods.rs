//! Floods: clients that hold sockets, read nothing, ask for everything or send what is no request. During each a normal
//! client is served, and afterwards the process is as it was.

use annex_e2e::{Dev, DevOptions, Folder, Shared, Usage, seconds, seed};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a normal client waits at most, on a machine that does other things as well.
const PATIENCE: Duration = seconds(10);
/// Megabytes by which the process may have grown over all floods: caches and what the allocator keeps at hand.
const KEPT: u64 = 200;
/// When it must have given the rest back.
const GIVEN_BACK: Duration = seconds(60);
const LIMITS: &[&str] = &[
    "--rpc-idle-timeout=4",
    "--rpc-request-timeout=3",
    "--rpc-write-timeout=2",
    "--rpc-call-timeout=1",
    "--rpc-trace-timeout=1",
    "--rpc-call-gas=1000000000000",
    "--rpc-unread-mib=2",
    "--rpc-unread-total-mib=64",
    "--rpc-subscriptions=32",
];

struct Setup {
    dev: Dev,
    addr: SocketAddr,
    seed: u64,
    /// One flood at a time.
    turn: Mutex<()>,
    /// Megabytes.
    memory_at_start: u64,
    _folder: Folder,
}

fn setup() -> Arc<Setup> {
    static SETUP: Shared<Setup> = Shared::new();
    SETUP.get(|| {
        let folder = Folder::new();
        let options = DevOptions { l1_block_time: Some(1), more: LIMITS, ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        let addr = dev.rpc.ws_url().trim_start_matches("ws://").trim_end_matches('/').parse();
        let addr = addr.expect("a loopback address and a port");
        let memory_at_start = Usage::of(&dev.process).megabytes();
        let seed = seed();
        Setup { dev, addr, seed, turn: Mutex::default(), memory_at_start, _folder: folder }
    })
}

impl Setup {
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Open files and sockets of the process.
    fn files(&self) -> usize {
        Usage::of(&self.dev.process).descriptors
    }

    /// Megabytes of memory.
    fn memory(&self) -> u64 {
        Usage::of(&self.dev.process).megabytes()
    }

    /// What a wallet does, over fresh connections, until the flood ends: every answer comes, and in time.
    fn during(&self, index: u64, flood: impl FnOnce()) {
        let _turn = self.turn();
        let wallet = self.dev.wallet(self.seed, index);
        let (files, memory) = (self.files(), self.memory());
        let over = AtomicBool::new(false);
        let (slowest, rounds) = std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let (mut slowest, mut nonce) = (Duration::ZERO, 0);
                while !over.load(Ordering::Relaxed) || nonce < 3 {
                    let rpc = self.dev.rpc.another();
                    let started = Instant::now();
                    let to = alloy_primitives::Address::repeat_byte(0x77);
                    self.dev.send(&wallet.transfer(nonce, to, alloy_primitives::U256::ONE));
                    rpc.get_result("eth_call", json!([{ "to": to }, "latest"]));
                    rpc.get_result("eth_getBlockByNumber", json!(["latest", true]));
                    slowest = slowest.max(started.elapsed());
                    nonce += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                (slowest, nonce)
            });
            // Also where the flood panics, the client must end.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(flood));
            over.store(true, Ordering::Relaxed);
            let seen = client.join().expect("the normal client was served");
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic);
            }
            seen
        });
        println!(
            "{rounds} rounds of a normal client, the slowest {slowest:?}; files {files}, {memory} MB before"
        );
        assert!(slowest < PATIENCE, "a normal client waited {slowest:?}");
        annex_e2e::eventually("files and sockets are given back", seconds(20), || {
            (self.files() <= files + 24).then_some(())
        });
        let peak = self.memory();
        let start = Instant::now();
        annex_e2e::eventually("memory is given back", GIVEN_BACK, || {
            // The allocator looks for what is free when it is asked for more.
            self.dev.rpc.block_number("latest");
            (self.memory() <= self.memory_at_start + KEPT).then_some(())
        });
        println!("{peak} MB after, {} MB {:?} later", self.memory(), start.elapsed());
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect_timeout(&self.addr, PATIENCE).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        socket
    }

    fn websocket(&self) -> TcpStream {
        let mut socket = self.connect();
        let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(upgrade.as_bytes()).expect("an upgrade");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        socket
    }

    fn refused(&self, method: &str, params: Value) -> (i64, String) {
        let rpc = self.dev.rpc.another();
        rpc.call(method, params).expect_err("a refusal").refusal()
    }
}

/// A WebSocket message with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0xff];
    frame.extend((text.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

#[test]
fn a_thousand_idle_and_a_thousand_half_open_sockets() {
    let setup = setup();
    setup.during(1, || {
        let mut sockets = Vec::new();
        for index in 0..2_000 {
            let mut socket = setup.connect();
            if index % 2 == 1 {
                // An error says that it was closed at once, to make place.
                let _closed = socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9");
            }
            sockets.push(socket);
        }
        let files = setup.files();
        assert!(files < 1_024 + 200, "{files} files");
        // Those that are left are closed for being idle.
        std::thread::sleep(seconds(5));
        let is_open = |socket: &mut TcpStream| {
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            matches!(socket.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        };
        let open = sockets.iter_mut().map(is_open).filter(|open| *open).count();
        assert!(open < 200, "{open} idle sockets are open");
    });
}

#[test]
fn clients_that_read_nothing() {
    let setup = setup();
    setup.during(2, || {
        let batch = vec![request("eth_getBlockByNumber", json!(["0x1", true])); 200];
        let message = frame(&json!(batch).to_string());
        let mut sockets: Vec<_> = (0..30).map(|_| setup.websocket()).collect();
        for socket in &mut sockets {
            socket.set_write_timeout(Some(Duration::from_millis(20))).expect("a socket");
        }
        let started = Instant::now();
        while started.elapsed() < seconds(4) {
            for socket in &mut sockets {
                // Full, or closed.
                let _full = socket.write(&message);
            }
        }
        let memory = setup.memory();
        assert!(memory < 600, "{memory} MB");
    });
}

fn post(calls: &[&Value]) -> String {
    let body = json!(calls).to_string();
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Parsed, calls take many times what they take on the way.
#[test]
fn batches_over_http_that_wait() {
    let setup = setup();
    setup.during(7, || {
        // Endless code, of which little is executed at a time.
        let first = json!([{ "data": "0x5b600056" }, "latest", { "tracer": "callTracer" }]);
        let first = request("debug_traceCall", first);
        let small = json!({ "jsonrpc": "2.0", "id": 1, "method": "x" });
        let mut calls = vec![&small; 1_650];
        calls[0] = &first;
        let message = post(&calls);
        let mut sockets: Vec<_> = (0..900).map(|_| setup.connect()).collect();
        let mut peak = 0;
        for socket in &mut sockets {
            socket.write_all(message.as_bytes()).expect("a request");
            peak = peak.max(setup.memory());
        }
        let mut refused = 0;
        for socket in &mut sockets {
            socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a socket");
            let mut answer = [0; 1_024];
            let read = socket.read(&mut answer).unwrap_or_default();
            refused += usize::from(String::from_utf8_lossy(&answer[..read]).contains("-32005"));
        }
        peak = peak.max(setup.memory());
        println!("{refused} of {} refused, {peak} MB", sockets.len());
        assert!(peak < 600, "{peak} MB");
        assert!(refused > 100, "{refused} refused");
    });
}

/// The answer to a batch grows while its calls are executed.
#[test]
fn small_batches_with_large_answers() {
    let setup = setup();
    setup.during(8, || {
        let at = "0x00000000000000000000000000000000000000e1";
        // Returns 256 KiB of zeros: twice that of hex.
        let overrides = json!({ at: { "code": "0x6203ffff5ff3" } });
        let call = request("eth_call", json!([{ "to": at }, "latest", overrides]));
        let message = post(&[&call; 100]);
        let mut sockets: Vec<_> = (0..60).map(|_| setup.connect()).collect();
        for socket in &mut sockets {
            socket.write_all(message.as_bytes()).expect("a request");
        }
        // All have been answered, or closed, when this is over.
        let mut peak = 0;
        let is_silent = |socket: &mut TcpStream| {
            socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
            matches!(socket.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        };
        while sockets.iter_mut().filter_map(|socket| is_silent(socket).then_some(())).count() > 0 {
            peak = peak.max(setup.memory());
        }
        // Of 3 GB. What calls at work take comes on top, and what the allocator has not given back.
        println!("{peak} MB");
        assert!(peak < 1_000, "{peak} MB");
    });
}

#[test]
fn floods_of_subscriptions() {
    let setup = setup();
    setup.during(3, || {
        let mut sockets: Vec<_> = (0..40).map(|_| setup.websocket()).collect();
        let kinds = ["newHeads", "newPendingTransactions", "miniBlocks", "logs"];
        for socket in &mut sockets {
            for index in 0..64 {
                let kind = if kinds[index % 4] == "logs" {
                    json!(["logs", {}])
                } else {
                    json!([kinds[index % 4]])
                };
                socket
                    .write_all(&frame(&request("eth_subscribe", kind).to_string()))
                    .expect("a request");
            }
        }
        // Only so many are taken; some of the sockets are read, some not.
        let mut answers = String::new();
        while answers.matches("\"id\":1").count() < 64 {
            let mut chunk = [0; 65_536];
            let read = sockets[0].read(&mut chunk).expect("answers");
            assert_ne!(read, 0, "closed after {answers}");
            answers.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
        assert!(
            answers.contains("Too many subscriptions") || answers.contains("-32006"),
            "{answers}"
        );
        std::thread::sleep(seconds(2));
    });
}

#[test]
fn executions_without_end() {
    let setup = setup();
    setup.during(4, || {
        let at = "0x00000000000000000000000000000000000000e1";
        let endless = json!({ at: { "code": "0x5b600056" } });
        // Calls itself with all gas, as deep as it goes, again and again.
        let deep = json!({ at: { "code": "0x5b600060006000600060003060fff15060005600" } });
        let call = json!({ "to": at, "gas": "0xe8d4a51000" });
        std::thread::scope(|scope| {
            for index in 0..24 {
                let (setup, endless, deep, call) = (&setup, &endless, &deep, &call);
                scope.spawn(move || {
                    let (method, params) = match index % 4 {
                        0 => ("eth_call", json!([call, "latest", endless])),
                        1 => ("eth_call", json!([call, "latest", deep])),
                        2 => ("debug_traceCall", json!([call, "latest", { "stateOverrides": endless }])),
                        _ => ("debug_traceCall", json!([call, "latest", { "tracer": "callTracer", "stateOverrides": deep }])),
                    };
                    let (code, message) = setup.refused(method, params);
                    assert!(matches!(code, -32000 | -32005), "{method}: {code} {message}");
                });
            }
        });
    });
}

#[test]
fn requests_for_everything() {
    let setup = setup();
    setup.during(5, || {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let all = json!([{ "fromBlock": "0x0", "toBlock": "0xffffffffffffffff" }]);
                    let rpc = setup.dev.rpc.another();
                    for _ in 0..5 {
                        // What there is, or that it is too much.
                        let _answer = rpc.call("eth_getLogs", all.clone());
                    }
                    let (code, _) = setup
                        .refused("eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x1" }]));
                    assert_eq!(code, -32602);
                    rpc.call("eth_feeHistory", json!(["0xffffffff", "latest", []]))
                        .expect("what there is");
                    let blocks = json!([{ "blockStateCalls": vec![json!({}); 257] }]);
                    assert_eq!(setup.refused("eth_simulateV1", blocks).0, -38026);
                });
            }
        });
    });
}

#[test]
fn what_is_no_request() {
    let setup = setup();
    setup.during(6, || {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let objects = "{\"a\":".repeat(200_000);
        let bombs: Vec<Vec<u8>> = vec![
            deep.clone().into_bytes(),
            objects.into_bytes(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{deep}]}}"#)
                .into_bytes(),
            b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\",\"params\":[]}".to_vec(),
            vec![0xff; 4096],
            b"[]".to_vec(),
            b"[1,2,3]".to_vec(),
            b"null".to_vec(),
            b"".to_vec(),
        ];
        for bomb in &bombs {
            for _ in 0..20 {
                let (status, text) = setup.dev.rpc.post(bomb.clone()).expect("an answer");
                let json: Result<Value, _> = serde_json::from_str(&text);
                let refused =
                    json.is_ok_and(|json| json["error"]["code"].is_i64() || json.is_array());
                assert!(refused || status >= 400, "HTTP {status}: {text}");
            }
        }
        let paths = [
            "/",
            "/admin",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/.git/config",
            "/metrics/x",
            "/eth/v1/",
        ];
        for path in paths {
            let mut socket = setup.connect();
            socket
                .write_all(
                    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                        .as_bytes(),
                )
                .expect("a request");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
            assert!(!answer.contains("root:"), "{path}");
        }
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n\r\n\r\n",
            &[0; 9000],
        ] {
            let mut socket = setup.connect();
            let _refused = socket.write_all(garbage);
            let mut answer = Vec::new();
            // Closed or refused, never hanging: the timeout of a request is shorter than ours.
            let read = socket.read_to_end(&mut answer);
            assert!(
                !matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "{garbage:?}"
            );
        }
    });
}
