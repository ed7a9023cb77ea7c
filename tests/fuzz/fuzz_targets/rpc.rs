#![no_main]
//! A request's body, to the embedded L1's JSON-RPC without a socket: whatever it holds, the answer is JSON-RPC.
use annex_devl1::{DevChain, DevL1Config, Engine, dev_accounts};
use annex_rpc::{Limits, Local};
use jsonrpsee::RpcModule;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::Runtime;

struct Server {
    local: Local,
    runtime: Runtime,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("annex-fuzz-rpc-{}", std::process::id()));
    let accounts = dev_accounts().expect("the mnemonic is a constant");
    let engine = Engine::open(&DevL1Config::new(folder), accounts).expect("a new chain");
    engine.mine().expect("a block");
    // Small limits are reached.
    let limits = Limits {
        max_request: 1 << 16,
        max_response: 1 << 20,
        max_batch: 16,
        call_gas: 3_000_000,
        call_timeout: Duration::from_secs(1),
        trace_timeout: Duration::from_secs(1),
        max_trace: 1 << 20,
        ..Limits::default()
    };
    let chain = Arc::new(DevChain(Arc::new(engine)));
    let local = Local::new(limits, chain, RpcModule::new(()), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Server { local: local.expect("methods"), runtime: runtime.expect("a runtime") }
});

fuzz_target!(|data: &[u8]| {
    let Server { local, runtime } = &*SERVER;
    let (status, body) = runtime.block_on(local.post(data.to_vec())).expect("an answer");
    match serde_json::from_slice::<serde_json::Value>(&body) {
        // What jsonrpsee writes where a notification, or a batch of them, has no answer.
        Ok(serde_json::Value::Null) => assert_eq!(status, 200),
        Ok(serde_json::Value::Array(answers)) => answers.iter().for_each(check),
        Ok(answer) => check(&answer),
        Err(_) => assert!(status >= 400, "HTTP {status}"),
    }
});

fn check(answer: &serde_json::Value) {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    assert!(answer.get("result").is_some() != answer.get("error").is_some(), "{answer}");
    let code = answer["error"]["code"].as_i64();
    // Of ours none is the node's own fault; jsonrpsee says so of subscriptions without a WebSocket.
    assert!(code != Some(-32603) || answer["error"]["message"] == "Internal error", "{answer}");
}
