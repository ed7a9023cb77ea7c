//! Bad input by JSON-RPC, under load: the field's code and message, nothing lost, and the node serves on.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use annex_e2e::{Dev, DevOptions, ETHER, Folder, GWEI, Process, Shared, Wallet, full_load, seed};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Order of secp256k1.
const ORDER: U256 = U256::from_limbs([
    0xbfd2_5e8c_d036_4141,
    0xbaae_dce6_af48_a03b,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
]);
const INVALID: i64 = -32000;

struct Setup {
    _load: Process,
    dev: Dev,
    seed: u64,
    _folder: Folder,
}

fn setup() -> Arc<Setup> {
    static SETUP: Shared<Setup> = Shared::new();
    SETUP.get(|| {
        let folder = Folder::new();
        let options = DevOptions { l1_block_time: Some(1), ..DevOptions::default() };
        let dev = Dev::start(&folder, "dev", &options);
        Setup { _load: full_load(&dev), dev, seed: seed(), _folder: folder }
    })
}

impl Setup {
    /// Something acknowledged before `bad`, and something after: both are there, in order.
    fn around(&self, index: u64, bad: impl FnOnce(&Wallet)) {
        let wallet = self.dev.wallet(self.seed, index);
        let to = Address::repeat_byte(0xaa);
        let first = self.dev.send(&wallet.transfer(0, to, U256::ONE));
        bad(&wallet);
        assert_eq!(self.dev.nonce(wallet.address()), 1, "what was refused left a trace");
        let second = self.dev.send(&wallet.transfer(1, to, U256::ONE));
        let place = |receipt: &Value| {
            (
                annex_e2e::number(&receipt["blockNumber"]),
                annex_e2e::number(&receipt["transactionIndex"]),
            )
        };
        assert!(place(&first) < place(&second));
        let hash = first["transactionHash"].as_str().expect("a hash");
        let kept = self.dev.rpc.receipt(hash).expect("what was acknowledged is there");
        assert_eq!(place(&kept), place(&first));
        assert_eq!(kept["cumulativeGasUsed"], first["cumulativeGasUsed"]);
    }

    /// Both ways to send refuse with the same code and a message that starts so.
    fn refused(&self, encoded: &Bytes, code: i64, message: &str) {
        for method in ["eth_sendRawTransaction", "eth_sendRawTransactionSync"] {
            let error = self.dev.rpc.call(method, json!([encoded])).expect_err("a refusal");
            let (found, text) = error.refusal();
            assert_eq!(found, code, "{method}: {text}");
            assert!(text.starts_with(message), "{method}: {text}");
        }
    }

    /// A body that is no good request: its JSON-RPC error code.
    fn post(&self, body: impl Into<Vec<u8>>) -> (u16, Value) {
        let (status, text) = self.dev.rpc.post(body.into()).expect("an answer");
        let answer: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("HTTP {status}: {text}"));
        (status, answer["error"]["code"].clone())
    }
}

impl Setup {
    /// Announces a body of `length` bytes and reads the answer, which comes before the body is sent.
    fn announce(&self, length: usize) -> String {
        let address = self.dev.rpc.url().strip_prefix("http://").expect("an HTTP URL");
        let mut stream = TcpStream::connect(address).expect("the node listens");
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the head is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

/// A transfer changed by `change`.
fn with(wallet: &Wallet, nonce: u64, change: impl FnOnce(&mut TxEip1559)) -> Bytes {
    let mut tx = wallet.transaction(nonce, Address::repeat_byte(0xaa).into(), U256::ONE);
    change(&mut tx);
    wallet.sign(tx)
}

/// A transfer whose signature `change` changed.
fn signed(wallet: &Wallet, change: impl FnOnce(Signature) -> Signature) -> Bytes {
    let tx = wallet.transaction(1, Address::repeat_byte(0xaa).into(), U256::ONE);
    let signature = wallet.signer.sign_hash_sync(&tx.signature_hash()).expect("a local key signs");
    tx.into_signed(change(signature)).encoded_2718().into()
}

#[test]
fn malformed_json() {
    let setup = setup();
    setup.around(1, |_| {
        assert_eq!(setup.post("{\"jsonrpc\":").1, -32700);
        assert_eq!(setup.post("\u{0}\u{1}").1, -32700);
        assert_eq!(setup.post("{\"jsonrpc\":\"2.0\",\"id\":1}").1, -32600);
        assert_eq!(setup.post("[]").1, -32600);
        // Deep nesting ends no thread's stack.
        assert_eq!(setup.post("[".repeat(1 << 20)).1, -32700);
        let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_nothing", "params": []});
        assert_eq!(setup.post(unknown.to_string()).1, -32601);
        for params in [json!([]), json!(["0xzz"]), json!([7]), json!({"a": 1})] {
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": params});
            assert_eq!(setup.post(call.to_string()).1, -32602, "{params}");
        }
        for raw in ["0x", "0x02", "0xc0", "0xffffffff"] {
            setup.refused(&raw.parse().expect("hex"), -32602, "failed to decode transaction");
        }
        // Deposits come from L1 alone.
        let deposit = "0x7e01".parse().expect("hex");
        setup.refused(&deposit, INVALID, "transaction type not supported: 126");
    });
}

#[test]
fn oversize_body() {
    let setup = setup();
    setup.around(2, |wallet| {
        let answer = setup.announce((5 << 20) + 1);
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("-32007"), "{answer}");
        let calls: Vec<Value> = (0..3_000)
            .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "eth_chainId", "params": []}))
            .collect();
        assert_eq!(setup.post(json!(calls).to_string()).1, -32010);
        // Within the body's limit, beyond a transaction's.
        let large = with(wallet, 1, |tx| tx.input = vec![0; 131_072].into());
        setup.refused(&large, INVALID, "oversized data");
    });
}

#[test]
fn wrong_chain_id() {
    let setup = setup();
    setup.around(3, |wallet| {
        let other = with(wallet, 1, |tx| tx.chain_id = 1);
        setup.refused(&other, INVALID, "invalid chain id for signer: have 1 want 901");
    });
}

#[test]
fn bad_signature() {
    let setup = setup();
    setup.around(4, |wallet| {
        let zero = signed(wallet, |s| Signature::new(U256::ZERO, s.s(), s.v()));
        setup.refused(&zero, INVALID, "invalid signature");
        let beyond = signed(wallet, |s| Signature::new(U256::MAX, s.s(), s.v()));
        setup.refused(&beyond, INVALID, "invalid signature");
        // Well-formed, but of nobody who has anything.
        let other = with(&Wallet::fresh(901, setup.seed, 1_004), 0, |_| {});
        setup.refused(&other, INVALID, "insufficient funds for gas * price + value: have 0 want ");
    });
}

#[test]
fn high_s_signature() {
    let setup = setup();
    setup.around(5, |wallet| {
        // The same signature's other form, which Ethereum refuses since Homestead (EIP-2).
        let high = signed(wallet, |s| Signature::new(s.r(), ORDER - s.s(), !s.v()));
        setup.refused(&high, INVALID, "invalid signature");
    });
}

#[test]
fn nonce_too_low() {
    let setup = setup();
    setup.around(6, |wallet| {
        let old = with(wallet, 0, |tx| tx.value = U256::from(99));
        setup.refused(&old, INVALID, "nonce too low: next nonce 1, tx nonce 0");
    });
}

#[test]
fn nonce_gap() {
    let setup = setup();
    let dev = &setup.dev;
    let wallet = dev.wallet(setup.seed, 7);
    let to = Address::repeat_byte(0xaa);
    let early = wallet.transfer(2, to, U256::ONE);
    let error = dev.rpc.call("eth_sendRawTransactionSync", json!([early])).expect_err("a gap");
    let annex_e2e::CallError::Refused { code, data, .. } = error else { panic!("{error:?}") };
    assert_eq!((code, data), (6, json!("0x0")));
    let waiting = dev.rpc.get_result("annex_transactionStatus", json!([Wallet::hash(&early)]));
    assert_eq!(waiting["stage"], "waiting");
    dev.send(&wallet.transfer(0, to, U256::ONE));
    assert_eq!(dev.nonce(wallet.address()), 1);
    // It runs as soon as nothing is missing.
    dev.send(&wallet.transfer(1, to, U256::ONE));
    assert_eq!(dev.nonce(wallet.address()), 3);
    let receipt = dev.rpc.receipt(&Wallet::hash(&early).to_string()).expect("it ran");
    assert_eq!(receipt["status"], "0x1");
}

#[test]
fn underpriced() {
    let setup = setup();
    setup.around(8, |wallet| {
        let cheap = with(wallet, 1, |tx| tx.max_fee_per_gas = 1);
        setup.refused(&cheap, INVALID, "max fee per gas less than block base fee");
        let swapped = with(wallet, 1, |tx| tx.max_priority_fee_per_gas = tx.max_fee_per_gas + 1);
        setup.refused(&swapped, INVALID, "max priority fee per gas higher than max fee per gas");
    });
}

#[test]
fn no_funds() {
    let setup = setup();
    setup.around(9, |wallet| {
        let rich = with(wallet, 1, |tx| tx.value = ETHER * U256::from(1_000_000));
        setup.refused(&rich, INVALID, "insufficient funds for gas * price + value: have ");
        let poor = Wallet::fresh(901, setup.seed, 1_009);
        setup.refused(
            &with(&poor, 0, |_| {}),
            INVALID,
            "insufficient funds for gas * price + value: have 0 want ",
        );
    });
}

#[test]
fn gas_over_limit() {
    let setup = setup();
    setup.around(10, |wallet| {
        // EIP-7825.
        let high =
            with(wallet, 1, |tx| (tx.gas_limit, tx.max_fee_per_gas) = (100_000_000, GWEI / 10));
        setup.refused(&high, INVALID, "transaction gas limit too high (cap: 16777216");
        let low = with(wallet, 1, |tx| tx.gas_limit = 20_000);
        setup.refused(&low, INVALID, "intrinsic gas too low: have 20000");
    });
}

#[test]
fn blob_transaction() {
    let setup = setup();
    setup.around(11, |wallet| {
        let tx = TxEip4844 {
            chain_id: 901,
            nonce: 1,
            gas_limit: 100_000,
            max_fee_per_gas: GWEI,
            max_fee_per_blob_gas: GWEI,
            blob_versioned_hashes: vec![B256::with_last_byte(1)],
            ..TxEip4844::default()
        };
        let signature =
            wallet.signer.sign_hash_sync(&tx.signature_hash()).expect("a local key signs");
        let encoded = tx.into_signed(signature).encoded_2718().into();
        setup.refused(&encoded, INVALID, "transaction type not supported");
    });
}

#[test]
fn init_code_too_large() {
    let setup = setup();
    setup.around(12, |wallet| {
        let large = with(wallet, 1, |tx| {
            tx.to = TxKind::Create;
            tx.value = U256::ZERO;
            tx.gas_limit = 10_000_000;
            tx.max_fee_per_gas = GWEI;
            // EIP-3860: at most 49,152 bytes.
            tx.input = vec![0; 49_153].into();
        });
        setup.refused(&large, INVALID, "max initcode size exceeded: code size 49153, limit 49152");
    });
}
