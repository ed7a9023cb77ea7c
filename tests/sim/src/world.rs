//! Contracts on an L1, and the L2 chain that its log makes.

use std::collections::BTreeMap;

use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{SolEvent, SolValue};
use annex_l1::contracts::{
    Claims, ExitMarket, Inbox, Lease, Machine, Portal, PreimageOracle, Tournament,
};
use annex_l1::decode_payload;
use annex_riscv::Program;
use annex_settle::Params;
use annex_types::{BatchData, BatchRecord, ChainConfig, Record, RecordEnv, RecordPayload};

use crate::chain::{Chain, genesis_header};
use crate::l1::{self, L1};
use crate::l2::{ETHER, L2_CHAIN_ID};

/// Where the contracts are, and who has parts to play.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub leader: Address,
    pub lease: Address,
    pub inbox: Address,
    pub portal: Address,
    pub oracle: Address,
    pub machine: Address,
    pub tournament: Address,
    pub claims: Address,
    pub exit_market: Address,
}

/// Times in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub claim_interval: u64,
    pub challenge_window: u64,
    pub move_grace: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { claim_interval: 150, challenge_window: 1_200, move_grace: 60 }
    }
}

/// L1, and L2 as an honest follower sees it.
pub struct World {
    pub l1: L1,
    pub at: Addresses,
    pub params: Params,
    pub truth: Chain,
    /// By versioned hash.
    pub blobs: BTreeMap<B256, Blob>,
    /// Logs of L1 that were looked through for records.
    synced: usize,
}

const DEPLOYER: Address = Address::repeat_byte(0xde);
const LEADER: Address = Address::repeat_byte(0x1e);
/// Wei.
const BOND: u128 = ETHER / 4;
const REFUND_GAS_PRICE: u64 = 30_000_000_000;

fn config(at: &Addresses) -> ChainConfig {
    ChainConfig {
        l1_chain_id: l1::CHAIN_ID,
        l2_chain_id: L2_CHAIN_ID,
        inbox: at.inbox,
        lease: at.lease,
        portal: at.portal,
        l1_standard_bridge: Address::repeat_byte(0xb1),
        forced_delay: 600,
        liveness_window: 1_200,
        max_origin_lag: 600,
        timestamp_drift: 12,
        gas_target_per_second: 480_000_000,
        base_fee_scalar: 200_000,
        blob_base_fee_scalar: 1_050_000,
        genesis_timestamp: l1::START,
    }
}

/// Init code of the contracts in the order of their creation.
fn creations(
    at: &Addresses,
    config: &ChainConfig,
    program: &Program,
    settings: Settings,
) -> Vec<Bytes> {
    let genesis = genesis_header(config);
    let boot = annex_riscv::Machine::boot(program, B256::ZERO);
    let tournament = Tournament::Settings {
        claims: at.claims,
        inbox: at.inbox,
        machine: at.machine,
        bootMemoryRoot: program.memory_root(),
        bootPc: boot.pc(),
        challengeWindow: settings.challenge_window,
        moveGrace: settings.move_grace,
        bond: BOND,
        refundGasPrice: REFUND_GAS_PRICE,
    };
    let header = Bytes::from(alloy_rlp::encode(&genesis));
    let claims = (at.inbox, at.tournament, settings.claim_interval, header);
    let code = |bytecode: &[u8], arguments: Vec<u8>| [bytecode, &arguments].concat().into();
    vec![
        code(&Lease::BYTECODE, (LEADER, LEADER).abi_encode_params()),
        code(&Inbox::BYTECODE, (config.to_abi(), genesis.hash_slow()).abi_encode_params()),
        code(&Portal::BYTECODE, (at.inbox, L2_CHAIN_ID, at.claims).abi_encode_params()),
        code(&PreimageOracle::BYTECODE, vec![]),
        code(&Machine::BYTECODE, at.oracle.abi_encode()),
        code(&Tournament::BYTECODE, tournament.abi_encode()),
        code(&Claims::BYTECODE, claims.abi_encode_params()),
        code(&ExitMarket::BYTECODE, at.portal.abi_encode()),
    ]
}

impl World {
    /// Deploys everything for a program.
    pub fn new(program: &Program, settings: Settings) -> Self {
        let mut l1 = L1::default();
        for account in [DEPLOYER, LEADER] {
            l1.fund(account, U256::from(1_000 * ETHER));
        }
        let at = |nonce| DEPLOYER.create(nonce);
        let at = Addresses {
            leader: LEADER,
            lease: at(0),
            inbox: at(1),
            portal: at(2),
            oracle: at(3),
            machine: at(4),
            tournament: at(5),
            claims: at(6),
            exit_market: at(7),
        };
        let config = config(&at);
        for init_code in creations(&at, &config, program, settings) {
            l1.create(DEPLOYER, init_code);
        }
        let params = Params {
            claim_interval: settings.claim_interval,
            challenge_window: settings.challenge_window,
            move_grace: settings.move_grace,
            bond: BOND,
            heights: Params::HEIGHTS,
        };
        let truth = Chain::new(config, None);
        let mut world = Self { l1, at, params, truth, blobs: BTreeMap::new(), synced: 0 };
        world.sync();
        world
    }

    /// The same world, to go on otherwise.
    pub fn branch(&self) -> Self {
        let Self { l1, at, params, blobs, synced, .. } = self;
        let mut truth = Chain::new(self.truth.config.clone(), None);
        for (record, blobs) in self.truth.records.iter().zip(&self.truth.blobs) {
            truth.push(record.clone(), blobs.clone());
        }
        let (mut l1, blobs) = (l1.clone(), blobs.clone());
        l1.fork();
        Self { l1, at: *at, params: *params, truth, blobs, synced: *synced }
    }

    /// Hands the honest follower what the Inbox logged.
    pub fn sync(&mut self) {
        let new = self.l1.logs()[self.synced..].to_vec();
        self.synced = self.l1.logs().len();
        for log in new.iter().filter(|log| log.address == self.at.inbox) {
            let event = Inbox::Record::decode_log_data(&log.data).expect("the Inbox's only event");
            let env = RecordEnv {
                l1_block_number: event.l1BlockNumber,
                timestamp: event.timestamp,
                base_fee: event.baseFee,
                blob_base_fee: event.blobBaseFee,
                l1_parent_hash: event.l1ParentHash,
            };
            let payload = decode_payload(event.kind, &event.payload).expect("an Inbox's record");
            let previous = self.truth.records.last().map_or(B256::ZERO, |it| it.accumulator);
            let record = Record::new(event.index.to(), previous, env, payload);
            assert_eq!(record.accumulator, event.accumulator);
            let hashes = match &record.payload {
                RecordPayload::Batch(BatchRecord { data: BatchData::Blobs(hashes), .. }) => {
                    &hashes[..]
                }
                _ => &[],
            };
            let blobs = hashes.iter().map(|hash| self.blobs[hash]).collect();
            self.truth.push(record, blobs);
        }
    }
}
