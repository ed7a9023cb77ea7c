//! Blobs from beacon endpoints, or from whatever answers like one.

use crate::error::L1Error;
use crate::transport::{BodyError, RESPONSE_LIMIT, read_body, retry};
use alloy_eips::eip4844::{Blob, kzg_to_versioned_hash};
use alloy_primitives::B256;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use url::Url;

/// Where blobs are looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobLocation {
    /// Of the execution block.
    pub number: u64,
    /// Of the execution block.
    pub hash: B256,
    /// Seconds.
    pub timestamp: u64,
    /// Root of the beacon block, as the next execution block tells it (EIP-4788).
    pub beacon_root: Option<B256>,
}

/// A beacon endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Beacon {
    client: Client,
    base: Url,
    /// None: the endpoint does not tell how it counts slots.
    clock: Arc<OnceCell<Option<Clock>>>,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    genesis: u64,
    seconds_per_slot: u64,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Genesis {
    genesis_time: String,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "SECONDS_PER_SLOT")]
    seconds_per_slot: String,
}

#[derive(Deserialize)]
struct Sidecar {
    blob: Box<Blob>,
}

impl Beacon {
    pub fn new(client: Client, base: Url) -> Self {
        Self { client, base, clock: Arc::default() }
    }

    /// Fills the gaps of `found` with what this endpoint has of the blobs.
    pub async fn collect(
        &self,
        location: &BlobLocation,
        hashes: &[B256],
        found: &mut Vec<Option<Box<Blob>>>,
    ) -> Result<(), L1Error> {
        let mut failure = None;
        for id in self.block_ids(location).await? {
            let wanted: Vec<B256> = hashes
                .iter()
                .zip(found.iter())
                .filter(|(_, blob)| blob.is_none())
                .map(|(hash, _)| *hash)
                .collect();
            match self.fetch(&id, &wanted).await {
                Ok(blobs) => {
                    *found = match_blobs(blobs, hashes.to_vec(), std::mem::take(found)).await;
                }
                Err(error) => failure = Some(error),
            }
            if found.iter().all(Option::is_some) {
                return Ok(());
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// How the block may be called here. A beacon node counts slots; where nothing tells how, it takes the beacon block's root;
    /// Anvil, which has no beacon chain, takes the execution block's hash and number in the place of both.
    async fn block_ids(&self, location: &BlobLocation) -> Result<Vec<String>, L1Error> {
        let clock = self.clock.get_or_try_init(|| self.clock()).await?;
        if let Some(Clock { genesis, seconds_per_slot }) = clock
            && let Some(elapsed) = location.timestamp.checked_sub(*genesis)
        {
            return Ok(vec![(elapsed / seconds_per_slot).to_string()]);
        }
        let root = location.beacon_root.map(|root| root.to_string());
        Ok(root
            .into_iter()
            .chain([location.hash.to_string(), location.number.to_string()])
            .collect())
    }

    async fn clock(&self) -> Result<Option<Clock>, L1Error> {
        let Some(spec) = self.get::<Data<Spec>>("eth/v1/config/spec").await? else {
            return Ok(None);
        };
        let Some(genesis) = self.get::<Data<Genesis>>("eth/v1/beacon/genesis").await? else {
            return Ok(None);
        };
        let number = |text: &str| {
            text.parse::<u64>().map_err(|e| L1Error::Malformed(serde::de::Error::custom(e)))
        };
        let seconds_per_slot = number(&spec.data.seconds_per_slot)?.max(1);
        Ok(Some(Clock { genesis: number(&genesis.data.genesis_time)?, seconds_per_slot }))
    }

    /// Blobs of a block, unchecked, in no order that means anything.
    async fn fetch(&self, id: &str, wanted: &[B256]) -> Result<Vec<Box<Blob>>, L1Error> {
        let hashes: Vec<String> = wanted.iter().map(B256::to_string).collect();
        let path = format!("eth/v1/beacon/blobs/{id}?versioned_hashes={}", hashes.join(","));
        if let Some(blobs) = self.get::<Data<Vec<Box<Blob>>>>(&path).await?
            && !blobs.data.is_empty()
        {
            return Ok(blobs.data);
        }
        let path = format!("eth/v1/beacon/blob_sidecars/{id}");
        let sidecars = self.get::<Data<Vec<Sidecar>>>(&path).await?;
        Ok(sidecars.map_or_else(Vec::new, |s| s.data.into_iter().map(|s| s.blob).collect()))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, L1Error> {
        retry("beacon", || self.get_once(path)).await
    }

    /// None where the endpoint says that there is no such thing.
    async fn get_once<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, L1Error> {
        let mut url = self.base.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        // An endpoint's own query may carry its key.
        let query: Vec<&str> = self.base.query().into_iter().chain(query).collect();
        url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
        let response = self
            .client
            .get(url)
            .header(reqwest::header::ACCEPT, "application/json")
            .send()
            .await
            .map_err(|error| L1Error::Beacon(error.without_url()))?;
        match response.status() {
            StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            _ => {}
        }
        let response =
            response.error_for_status().map_err(|error| L1Error::Beacon(error.without_url()))?;
        let body = read_body(response, RESPONSE_LIMIT).await.map_err(|error| match error {
            BodyError::TooLarge(_) => L1Error::TooLarge,
            BodyError::Http(error) => L1Error::Beacon(error.without_url()),
        })?;
        serde_json::from_slice(&body).map(Some).map_err(L1Error::Malformed)
    }
}

/// Puts each blob where its hash is asked for; a blob nobody asked for is dropped.
pub(crate) async fn match_blobs(
    blobs: Vec<Box<Blob>>,
    hashes: Vec<B256>,
    mut found: Vec<Option<Box<Blob>>>,
) -> Vec<Option<Box<Blob>>> {
    let task = spawn_blocking(move || {
        for (blob, made) in blobs.iter().zip(versioned_hashes(&blobs)) {
            // Not made of field elements: no blob has this hash.
            let Some(made) = made else { continue };
            for (slot, _) in found.iter_mut().zip(&hashes).filter(|(_, hash)| **hash == made) {
                *slot = Some(blob.clone());
            }
        }
        found
    });
    task.await.expect("hashing blobs does not panic and is not cancelled")
}

/// [`versioned_hash`] of each, on all processors: one takes some tens of milliseconds, more than the execution of what is in it.
fn versioned_hashes(blobs: &[Box<Blob>]) -> Vec<Option<B256>> {
    let mut hashes = vec![None; blobs.len()];
    let queue = Mutex::new(blobs.iter().zip(&mut hashes));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((blob, hash)) = next() {
            *hash = versioned_hash(blob).ok();
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(blobs.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            let started = thread::Builder::new().name("blob-hash".into()).spawn_scoped(scope, work);
            if let Err(error) = started {
                // The others do it.
                tracing::warn!(%error, "no helper thread for commitments");
            }
        }
        work();
    });
    hashes
}

/// The ceremony's settings. The first call in a process decides on tables: they would only make cell proofs faster, at 100 MB.
pub(crate) fn kzg() -> &'static c_kzg::KzgSettings {
    c_kzg::ethereum_kzg_settings(0)
}

/// EIP-4844 versioned hash of the blob's KZG commitment. Fails where a field element is not below the modulus.
pub fn versioned_hash(blob: &Blob) -> Result<B256, c_kzg::Error> {
    let blob = c_kzg::Blob::from_bytes(blob.as_slice())?;
    let commitment = kzg().blob_to_kzg_commitment(&blob)?;
    Ok(kzg_to_versioned_hash(commitment.as_slice()))
}
