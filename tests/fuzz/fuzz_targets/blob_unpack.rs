#![no_main]
use alloy_eips::eip4844::Blob;
use annex_types::batch::{pack_blobs, unpack_blobs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the second blob starts to be filled.
    let Some((count, data)) = data.split_first() else { return };
    let mut blobs = vec![Blob::ZERO; usize::from(count % 3)];
    let half = data.len().div_ceil(2).max(1);
    for (blob, part) in blobs.iter_mut().zip(data.chunks(half)) {
        let len = part.len().min(blob.len());
        blob[..len].copy_from_slice(&part[..len]);
    }
    if let Ok(unpacked) = unpack_blobs(&blobs) {
        assert_eq!(unpack_blobs(&pack_blobs(&unpacked)), Ok(unpacked));
    }
    let unpacked = unpack_blobs(&pack_blobs(data)).expect("own packing");
    assert_eq!(&unpacked[..], data);
});
