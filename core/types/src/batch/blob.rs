//! Bytes in the field elements of blobs.

use super::BatchError;
use alloy_eips::eip4844::{BYTES_PER_BLOB, Blob, FIELD_ELEMENTS_PER_BLOB};
use alloy_primitives::Bytes;

const ELEMENT: usize = 32;
/// Bytes of the length before the data.
const LENGTH: usize = 4;

/// Bytes of the stream one blob carries.
pub const BLOB_CAPACITY: usize = FIELD_ELEMENTS_PER_BLOB as usize * (ELEMENT - 1);

/// Bytes of data that `blobs` blobs carry.
pub const fn data_capacity(blobs: usize) -> usize {
    (blobs * BLOB_CAPACITY).saturating_sub(LENGTH)
}

/// As few blobs as hold `data`, at least one. The caller keeps `data` within [`data_capacity`] of the most it may send.
pub fn pack_blobs(data: &[u8]) -> Vec<Blob> {
    let length = (data.len() as u32).to_be_bytes();
    let count = (LENGTH + data.len()).div_ceil(BLOB_CAPACITY);
    let mut blobs = vec![Blob::ZERO; count];
    let mut stream = length.iter().chain(data);
    for element in blobs.iter_mut().flat_map(|blob| blob.chunks_exact_mut(ELEMENT)) {
        for (to, from) in element[1..].iter_mut().zip(&mut stream) {
            *to = *from;
        }
    }
    blobs
}

/// The data in `blobs`; what follows it is ignored, but every high byte must be zero.
pub fn unpack_blobs(blobs: &[Blob]) -> Result<Bytes, BatchError> {
    let mut stream = Vec::with_capacity(blobs.len() * BLOB_CAPACITY);
    for element in blobs.iter().flat_map(|blob| blob.chunks_exact(ELEMENT)) {
        if element[0] != 0 {
            return Err(BatchError::BlobElement);
        }
        stream.extend_from_slice(&element[1..]);
    }
    let length: [u8; LENGTH] =
        stream.get(..LENGTH).and_then(|b| b.try_into().ok()).ok_or(BatchError::BlobLength)?;
    let end = LENGTH + u32::from_be_bytes(length) as usize;
    let data = stream.get(LENGTH..end).ok_or(BatchError::BlobLength)?;
    Ok(Bytes::copy_from_slice(data))
}

const _: () = assert!(BYTES_PER_BLOB == FIELD_ELEMENTS_PER_BLOB as usize * ELEMENT);
