//! What the transactions of a load do, and the contracts they need.

use super::{BenchError, Terms};
use crate::rpc_client::RpcClient;
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use clap::ValueEnum;
use secp256k1::{Message, SECP256K1, SecretKey, ecdsa::RecoverableSignature};
use serde_json::json;
use std::{fs, path::Path};

sol! {
    function transfer(address to, uint256 value);
    function approve(address spender, uint256 value);
    function addLiquidity(address a, address b, uint256 wantedA, uint256 wantedB, uint256 minA, uint256 minB, address to, uint256 deadline);
    function swapExactTokensForTokens(uint256 amountIn, uint256 amountOutMin, address[] path, address to, uint256 deadline);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ether from account to account
    Transfers,
    /// Transfers of a token
    Erc20,
    /// Swaps of two tokens through Uniswap v2's router
    Swaps,
    /// Of ten, six transfers, three of a token and a swap
    Mix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recipients {
    /// The sending accounts
    Own,
    /// Somebody new each time
    Random,
}

/// Gas of a deployment; Uniswap's router takes most.
const DEPLOY_GAS: u64 = 10_000_000;
/// Gas of a call of the preparation.
const CALL_GAS: u64 = 5_000_000;
/// Units of each token that the pool holds, and a millionth of which every account gets.
const POOL: u128 = 10u128.pow(30);
/// Units that a swap sells.
const SOLD: u64 = 1_000;

/// An account that sends.
#[derive(Clone)]
pub(super) struct Account {
    pub address: Address,
    key: SecretKey,
}

impl Account {
    pub fn new(key: &B256) -> Option<Self> {
        let key = SecretKey::from_byte_array(key.0).ok()?;
        let public = key.public_key(SECP256K1).serialize_uncompressed();
        Some(Self { address: Address::from_slice(&keccak256(&public[1..])[12..]), key })
    }

    /// The same accounts in every run.
    pub fn numbered(index: usize) -> Self {
        let key = keccak256(format!("annex bench sender {index}"));
        Self::new(&key).expect("a hash is a key")
    }

    /// EIP-2718 bytes. libsecp256k1 signs in half the time of the wallet's library, and thousands of transactions are signed.
    pub fn sign(&self, tx: &TxEip1559) -> Vec<u8> {
        use alloy_consensus::SignableTransaction;
        use alloy_eips::eip2718::Encodable2718;
        let message = Message::from_digest(tx.signature_hash().0);
        let signature: RecoverableSignature = SECP256K1.sign_ecdsa_recoverable(message, &self.key);
        let (id, rs) = signature.serialize_compact();
        let odd_y = i32::from(id) & 1 == 1;
        let signature = alloy_primitives::Signature::from_bytes_and_parity(&rs, odd_y);
        tx.clone().into_signed(signature).encoded_2718()
    }
}

/// Tokens and Uniswap v2, as deployed for the measurement.
#[derive(Clone, Copy, Debug)]
struct Contracts {
    tokens: [Address; 2],
    router: Address,
    token_gas: u64,
    swap_gas: u64,
}

/// Which transaction an account sends with which nonce.
pub(super) struct Workload {
    pub terms: Terms,
    pub accounts: Vec<Account>,
    kind: Kind,
    recipients: Recipients,
    contracts: Option<Contracts>,
}

impl Workload {
    pub fn new(terms: Terms, accounts: Vec<Account>, kind: Kind, recipients: Recipients) -> Self {
        Self { terms, accounts, kind, recipients, contracts: None }
    }

    /// The transaction of account number `account` with `nonce` at these terms, signed.
    pub fn signed(&self, terms: &Terms, account: usize, nonce: u64) -> Vec<u8> {
        let sender = &self.accounts[account];
        let seed = mixed(((account as u64) << 40) ^ nonce);
        let (to, value, input, gas_limit) = match (self.contracts, self.action(seed)) {
            (Some(contracts), Kind::Erc20) => {
                let call = transferCall { to: self.recipient(seed), value: U256::from(1) };
                (contracts.tokens[0], U256::ZERO, call.abi_encode().into(), contracts.token_gas)
            }
            (Some(contracts), Kind::Swaps) => {
                let input =
                    swap(&contracts, sender.address, nonce.is_multiple_of(2)).abi_encode().into();
                (contracts.router, U256::ZERO, input, contracts.swap_gas)
            }
            _ => (self.recipient(seed), U256::from(1), Bytes::new(), terms.gas_limit),
        };
        sender.sign(&terms.transaction(nonce, TxKind::Call(to), value, input, gas_limit))
    }

    fn action(&self, seed: u64) -> Kind {
        match (self.kind, mixed(seed) % 10) {
            (Kind::Mix, 0..=5) => Kind::Transfers,
            (Kind::Mix, 6..=8) => Kind::Erc20,
            (Kind::Mix, _) => Kind::Swaps,
            (kind, _) => kind,
        }
    }

    fn recipient(&self, seed: u64) -> Address {
        match self.recipients {
            Recipients::Own => self.accounts[seed as usize % self.accounts.len()].address,
            Recipients::Random => {
                let words = [mixed(seed), mixed(seed ^ 1), mixed(seed ^ 2)];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                Address::from_slice(&bytes[..20])
            }
        }
    }

    /// Deploys what the kind needs and gives every account its tokens. `bank` pays.
    pub async fn prepare(
        &mut self,
        client: &RpcClient,
        bank: &Account,
        artifacts: &Path,
    ) -> Result<(), BenchError> {
        if self.kind == Kind::Transfers {
            return Ok(());
        }
        let mut contracts = self.deploy(client, bank, artifacts).await?;
        self.share_out(client, bank, &contracts).await?;
        let first = self.accounts[0].address;
        let sample = transferCall { to: Address::repeat_byte(0xbe), value: U256::from(1) };
        contracts.token_gas =
            2 * estimate(client, first, contracts.tokens[0], sample.abi_encode()).await?;
        let sample = swap(&contracts, first, true).abi_encode();
        contracts.swap_gas = 2 * estimate(client, first, contracts.router, sample).await?;
        self.contracts = Some(contracts);
        Ok(())
    }

    async fn deploy(
        &self,
        client: &RpcClient,
        bank: &Account,
        artifacts: &Path,
    ) -> Result<Contracts, BenchError> {
        let token = code(artifacts, "v2-core/build/ERC20.json")?;
        let factory = code(artifacts, "v2-core/build/UniswapV2Factory.json")?;
        let router = code(artifacts, "v2-periphery/build/UniswapV2Router02.json")?;
        let first = super::nonce_of(client, bank.address).await?;
        let address = |n: u64| bank.address.create(first + n);
        let tokens = [address(0), address(1)];
        let supply = U256::from(POOL) * U256::from(4);
        let codes = [
            [token.clone(), supply.abi_encode()].concat(),
            [token, supply.abi_encode()].concat(),
            [factory, bank.address.abi_encode()].concat(),
            // The router wants a token for wrapped ether, which nothing here uses.
            [router, (address(2), tokens[0]).abi_encode()].concat(),
        ];
        let router = address(3);
        let mut nonces = first..;
        let mut raws = Vec::new();
        let mut sign = |to, input: Vec<u8>, gas| {
            let nonce = nonces.next().unwrap_or_default();
            raws.push(bank.sign(&self.terms.transaction(nonce, to, U256::ZERO, input.into(), gas)));
        };
        codes.into_iter().for_each(|code| sign(TxKind::Create, code, DEPLOY_GAS));
        let approval = approveCall { spender: router, value: U256::MAX }.abi_encode();
        tokens.iter().for_each(|token| sign(TxKind::Call(*token), approval.clone(), CALL_GAS));
        let pool = U256::from(POOL);
        let liquidity = addLiquidityCall {
            a: tokens[0],
            b: tokens[1],
            wantedA: pool,
            wantedB: pool,
            minA: U256::ZERO,
            minB: U256::ZERO,
            to: bank.address,
            deadline: U256::from(u64::MAX),
        };
        sign(TxKind::Call(router), liquidity.abi_encode(), CALL_GAS);
        super::load::send_and_wait(client, &raws).await?;
        Ok(Contracts { tokens, router, token_gas: 0, swap_gas: 0 })
    }

    /// Tokens for every account, and its approvals for the router.
    async fn share_out(
        &self,
        client: &RpcClient,
        bank: &Account,
        contracts: &Contracts,
    ) -> Result<(), BenchError> {
        let mut nonce = super::nonce_of(client, bank.address).await?;
        let mut raws = Vec::new();
        for (account, token) in
            self.accounts.iter().flat_map(|account| contracts.tokens.map(|token| (account, token)))
        {
            let share = U256::from(POOL / 1_000_000);
            let input = transferCall { to: account.address, value: share }.abi_encode();
            let to = TxKind::Call(token);
            let tx = self.terms.transaction(nonce, to, U256::ZERO, input.into(), CALL_GAS / 10);
            raws.push(bank.sign(&tx));
            nonce += 1;
        }
        super::load::send_and_wait(client, &raws).await?;
        raws.clear();
        let input = approveCall { spender: contracts.router, value: U256::MAX }.abi_encode();
        for account in &self.accounts {
            let nonce = super::nonce_of(client, account.address).await?;
            for (nonce, token) in (nonce..).zip(contracts.tokens) {
                let (to, input) = (TxKind::Call(token), input.clone().into());
                let tx = self.terms.transaction(nonce, to, U256::ZERO, input, CALL_GAS / 10);
                raws.push(account.sign(&tx));
            }
        }
        super::load::send_and_wait(client, &raws).await
    }
}

fn swap(contracts: &Contracts, to: Address, forth: bool) -> swapExactTokensForTokensCall {
    let [a, b] = contracts.tokens;
    swapExactTokensForTokensCall {
        amountIn: U256::from(SOLD),
        amountOutMin: U256::ZERO,
        path: if forth { vec![a, b] } else { vec![b, a] },
        to,
        deadline: U256::from(u64::MAX),
    }
}

async fn estimate(
    client: &RpcClient,
    from: Address,
    to: Address,
    input: Vec<u8>,
) -> Result<u64, BenchError> {
    let call = json!([{"from": from, "to": to, "data": Bytes::from(input)}]);
    Ok(client.quantity("eth_estimateGas", call).await? as u64)
}

/// Creation code out of an artifact of Uniswap's packages.
fn code(artifacts: &Path, file: &str) -> Result<Vec<u8>, BenchError> {
    let path = artifacts.join("@uniswap").join(file);
    let bad = || BenchError::Artifact { path: path.clone() };
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).map_err(|_| bad())?).map_err(|_| bad())?;
    hex::decode(json["bytecode"].as_str().ok_or_else(bad)?).map_err(|_| bad())
}

/// SplitMix64: the same transactions in every run.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
