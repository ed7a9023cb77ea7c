#![no_main]
//! A snapshot's file as it is, and what is decompressed of one.

use annex_store::archive::{ArchiveError, ArchiveReader, ArchiveWriter, Entry, MAGIC, VERSION};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<Entry>), ArchiveError> {
    let mut reader = ArchiveReader::new(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok((reader.preamble().to_vec(), entries))
}

fn check(bytes: &[u8]) {
    let Ok((preamble, entries)) = read(bytes) else { return };
    let mut writer = ArchiveWriter::new(Vec::new(), &preamble).expect("it was short enough");
    entries.iter().for_each(|entry| writer.push(entry).expect("memory is writable"));
    let (again, counts) = writer.finish().expect("memory is writable");
    assert_eq!(counts.accounts + counts.slots + counts.codes, entries.len() as u64);
    assert_eq!(read(&again).expect("it was just written"), (preamble, entries));
}

fuzz_target!(|data: &[u8]| {
    check(data);
    let compressed = zstd::encode_all(data, 1).expect("memory is writable");
    check(&[MAGIC.as_slice(), &VERSION.to_be_bytes(), &compressed].concat());
});
