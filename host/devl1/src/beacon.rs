//! The part of the Beacon API that clients of blobs use, on the JSON-RPC port (spec/rpc.md, "Embedded L1").
//!
//! A slot lasts one second and starts with genesis, so that each block has its own: `timestamp - genesis_time`.

use crate::DevL1Error;
use crate::blobs;
use crate::engine::Engine;
use crate::sidecars::StoredBlob;
use alloy_eips::eip4844::kzg_to_versioned_hash;
use alloy_primitives::{B256, FixedBytes};
use annex_types::{Header, Transaction};
use serde_json::{Value, json};

/// Status and JSON body of a response.
pub type Response = (u16, Value);

/// `SECONDS_PER_SLOT`.
const SECONDS_PER_SLOT: u64 = 1;
/// Path from a commitment to the root of a beacon block's body.
const INCLUSION_PROOF_LENGTH: usize = 17;

/// Why a request gets no data.
#[derive(Debug, thiserror::Error)]
enum BeaconError {
    #[error("Invalid block ID: {0}")]
    BlockId(String),
    #[error("Invalid {0}")]
    Query(&'static str),
    #[error("Block not found")]
    UnknownBlock,
    #[error("Blobs are no longer kept")]
    Pruned,
    #[error("Internal error")]
    Internal(#[from] DevL1Error),
}

impl BeaconError {
    fn status(&self) -> u16 {
        match self {
            Self::BlockId(_) | Self::Query(_) => 400,
            Self::UnknownBlock | Self::Pruned => 404,
            Self::Internal(_) => 500,
        }
    }
}

/// Answers `GET path?query`; `None` if the path is none of the Beacon API served here.
pub fn answer(engine: &Engine, path: &str, query: &str) -> Option<Response> {
    let path = path.strip_prefix("/eth/v1/")?;
    let result = match path {
        "beacon/genesis" => Ok(genesis(engine)),
        "config/spec" => Ok(spec(engine)),
        "node/version" => Ok(json!({"data": {"version": crate::CLIENT_VERSION}})),
        _ => match path.strip_prefix("beacon/")?.split_once('/')? {
            ("blobs", id) => blobs_of(engine, id, query),
            ("blob_sidecars", id) => sidecars_of(engine, id, query),
            _ => return None,
        },
    };
    Some(match result {
        Ok(body) => (200, body),
        Err(error) => {
            if let BeaconError::Internal(cause) = &error {
                tracing::error!(%cause, "beacon request failed");
            }
            (error.status(), json!({"code": error.status(), "message": error.to_string()}))
        }
    })
}

fn genesis(engine: &Engine) -> Value {
    json!({"data": {
        "genesis_time": engine.genesis_time().to_string(),
        "genesis_validators_root": B256::ZERO,
        "genesis_fork_version": FixedBytes::<4>::ZERO,
    }})
}

fn spec(engine: &Engine) -> Value {
    json!({"data": {
        "CONFIG_NAME": "annex-dev",
        "PRESET_BASE": "mainnet",
        "SECONDS_PER_SLOT": SECONDS_PER_SLOT.to_string(),
        "SLOTS_PER_EPOCH": "32",
        "DEPOSIT_CHAIN_ID": engine.chain_id().to_string(),
        "DEPOSIT_NETWORK_ID": engine.chain_id().to_string(),
        "MAX_BLOBS_PER_BLOCK": crate::block::BLOBS.max_blob_count.to_string(),
        "FIELD_ELEMENTS_PER_BLOB": "4096",
    }})
}

/// A block by slot, `head`, `genesis`, `finalized`, or execution block hash.
fn block(engine: &Engine, id: &str) -> Result<Header, BeaconError> {
    let header = match id {
        "head" | "justified" | "finalized" => Some(engine.head()?),
        "genesis" => engine.header(0)?,
        hash if hash.starts_with("0x") => {
            let hash = hash.parse().map_err(|_| BeaconError::BlockId(id.to_owned()))?;
            engine.header_by_hash(hash)?
        }
        slot => {
            let slot: u64 = slot.parse().map_err(|_| BeaconError::BlockId(id.to_owned()))?;
            engine.header_at_time(engine.genesis_time().saturating_add(slot))?
        }
    };
    header.ok_or(BeaconError::UnknownBlock)
}

/// All blobs of a block in order.
fn stored(engine: &Engine, header: &Header) -> Result<Vec<StoredBlob>, BeaconError> {
    let mut all = Vec::new();
    if header.blob_gas_used.unwrap_or(0) == 0 {
        return Ok(all);
    }
    for tx in engine.transactions(header.number)? {
        if let Transaction::Eip4844(tx) = &tx {
            let kept = engine.blobs(header.number, *tx.hash())?;
            all.extend(kept.ok_or(BeaconError::Pruned)?);
        }
    }
    Ok(all)
}

/// The values of a query parameter, given once with commas or several times.
fn parameter<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    query
        .split('&')
        .filter_map(move |pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .flat_map(|(_, values)| values.split(','))
        .flat_map(|values| values.split("%2C"))
        .filter(|value| !value.is_empty())
}

fn blobs_of(engine: &Engine, id: &str, query: &str) -> Result<Value, BeaconError> {
    let wanted: Vec<B256> = parameter(query, "versioned_hashes")
        .map(|hash| hash.parse().map_err(|_| BeaconError::Query("versioned_hashes")))
        .collect::<Result<_, _>>()?;
    let header = block(engine, id)?;
    let blobs = stored(engine, &header)?;
    let is_wanted = |blob: &&StoredBlob| {
        wanted.is_empty() || wanted.contains(&kzg_to_versioned_hash(blob.commitment.as_slice()))
    };
    let data: Vec<_> = blobs.iter().filter(is_wanted).map(|blob| json!(blob.blob)).collect();
    Ok(json!({"execution_optimistic": false, "finalized": false, "data": data}))
}

fn sidecars_of(engine: &Engine, id: &str, query: &str) -> Result<Value, BeaconError> {
    let wanted: Vec<usize> = parameter(query, "indices")
        .map(|index| index.parse().map_err(|_| BeaconError::Query("indices")))
        .collect::<Result<_, _>>()?;
    let header = block(engine, id)?;
    let slot = header.timestamp.saturating_sub(engine.genesis_time());
    let blobs = stored(engine, &header)?;
    let is_wanted = |(index, _): &(usize, &StoredBlob)| wanted.is_empty() || wanted.contains(index);
    let data: Vec<_> = blobs
        .iter()
        .enumerate()
        .filter(is_wanted)
        .map(|(index, blob)| sidecar(index, slot, blob))
        .collect();
    Ok(json!({
        "version": "fulu", "execution_optimistic": false, "finalized": false, "data": data,
    }))
}

/// A sidecar. There is no beacon block, so what would prove the commitment to be in one is zero.
fn sidecar(index: usize, slot: u64, blob: &StoredBlob) -> Value {
    let c_blob = c_kzg::Blob::new(blob.blob.0);
    let commitment = c_kzg::Bytes48::new(blob.commitment.0);
    let proof = blobs::kzg()
        .compute_blob_kzg_proof(&c_blob, &commitment)
        .expect("the pool verified blob and commitment");
    json!({
        "index": index.to_string(),
        "blob": blob.blob,
        "kzg_commitment": blob.commitment,
        "kzg_proof": FixedBytes::<48>::from(*proof.to_bytes()),
        "signed_block_header": {
            "message": {
                "slot": slot.to_string(),
                "proposer_index": "0",
                "parent_root": B256::ZERO,
                "state_root": B256::ZERO,
                "body_root": B256::ZERO,
            },
            "signature": FixedBytes::<96>::ZERO,
        },
        "kzg_commitment_inclusion_proof": vec![B256::ZERO; INCLUSION_PROOF_LENGTH],
    })
}
