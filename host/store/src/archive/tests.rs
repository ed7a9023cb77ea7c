use super::*;
use alloy_primitives::uint;
use proptest::prelude::*;
use std::collections::BTreeMap;

type State = BTreeMap<Address, (AccountInfo, BTreeMap<U256, U256>)>;

fn entries(state: &State, codes: &[Bytes]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (address, (info, slots)) in state {
        entries.push(Entry::Account(*address, *info));
        entries.extend(slots.iter().map(|(slot, value)| Entry::Slot(*slot, *value)));
    }
    let mut codes: Vec<&Bytes> = codes.iter().collect();
    codes.sort_by_key(|code| keccak256(code));
    entries.extend(codes.into_iter().map(|code| Entry::Code(code.clone())));
    entries
}

fn write(preamble: &[u8], entries: &[Entry]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), preamble).expect("memory is writable");
    for entry in entries {
        writer.push(entry).expect("memory is writable");
    }
    writer.finish().expect("memory is writable").0
}

fn read(bytes: &[u8]) -> Result<(Vec<u8>, Vec<Entry>), ArchiveError> {
    let mut reader = ArchiveReader::new(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    assert!(matches!(reader.next_entry(), Ok(None)));
    Ok((reader.preamble().to_vec(), entries))
}

fn sample() -> (State, Vec<Bytes>) {
    let code = Bytes::from_static(&[0x60, 0, 0x55]);
    let account = |nonce, code: Option<&Bytes>| AccountInfo {
        nonce,
        balance: uint!(1_000_000_000_000_000_000_000_U256),
        code_hash: code.map_or(KECCAK_EMPTY, keccak256),
    };
    let mut state = State::new();
    for byte in 1..=40 {
        state.insert(Address::repeat_byte(byte), (account(byte.into(), None), BTreeMap::new()));
    }
    let slots = (0..300).map(|slot| (U256::from(slot), U256::MAX - U256::from(slot))).collect();
    state.insert(Address::repeat_byte(9), (account(1, Some(&code)), slots));
    (state, vec![code])
}

#[test]
fn an_archive_is_read_as_it_was_written() {
    let (state, codes) = sample();
    let entries = entries(&state, &codes);
    let bytes = write(b"preamble", &entries);
    assert_eq!(read(&bytes).expect("well-formed"), (b"preamble".to_vec(), entries));
    assert_eq!(read(&write(&[], &[])).expect("empty"), (Vec::new(), Vec::new()));
}

#[test]
fn what_is_cut_off_altered_or_foreign_is_refused() {
    let (state, codes) = sample();
    let bytes = write(&[7; 100], &entries(&state, &codes));
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]).expect_err("cut off");
        let expected = match length {
            0..12 => matches!(error, ArchiveError::NotAnArchive),
            _ => matches!(error, ArchiveError::Truncated | ArchiveError::Damaged(_)),
        };
        assert!(expected, "{length}: {error}");
    }
    // Some bits of a zstd frame mean nothing.
    let original = read(&bytes).expect("well-formed");
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[place] ^= 1 << bit;
            match read(&altered) {
                Ok(read) => assert!(read == original, "bit {bit} of byte {place}"),
                Err(error) => assert!(!matches!(error, ArchiveError::Io(_)), "{place}: {error}"),
            }
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(read(&longer), Err(ArchiveError::Damaged(_))));
    assert!(matches!(read(b"{\"l1\": 1, \"and\": 2}"), Err(ArchiveError::NotAnArchive)));
    let mut newer = bytes;
    newer[11] = 9;
    assert!(matches!(read(&newer), Err(ArchiveError::Version(9))));
}

#[test]
fn entries_out_of_order_or_place_are_refused() {
    let (state, codes) = sample();
    let good = entries(&state, &codes);
    let account = |i: usize| good[i].clone();
    let (slot, code) = (Entry::Slot(U256::from(1), U256::from(2)), good[good.len() - 1].clone());
    let empty = Entry::Account(
        Address::ZERO,
        AccountInfo { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY },
    );
    let bad = [
        vec![account(1), account(0)],
        vec![account(0), account(0)],
        vec![slot.clone()],
        vec![account(0), slot.clone(), slot.clone()],
        vec![account(0), Entry::Slot(U256::from(1), U256::ZERO)],
        vec![empty],
        vec![code.clone()],
        vec![account(8), code.clone(), account(9)],
        vec![account(8), code.clone(), code.clone()],
        vec![account(8), code, slot],
        vec![account(8)],
    ];
    assert!(matches!(account(8), Entry::Account(_, info) if info.code_hash != KECCAK_EMPTY));
    for entries in bad {
        assert!(
            matches!(read(&write(&[], &entries)), Err(ArchiveError::Damaged(_))),
            "{entries:?}"
        );
    }
}

#[test]
fn a_small_file_does_not_become_a_large_state() {
    let zeros = zstd::encode_all(io::repeat(0).take(1 << 30), 19).expect("compresses");
    let bytes = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &zeros].concat();
    assert!(bytes.len() < 200_000, "{}", bytes.len());
    assert!(read(&bytes).is_err());
    // A preamble that claims much allocates no more than it brings.
    let claim = zstd::encode_all(&(MAX_PREAMBLE as u32).to_be_bytes()[..], 3).expect("compresses");
    let bytes = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &claim].concat();
    assert!(matches!(read(&bytes), Err(ArchiveError::Truncated)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let compressed = zstd::encode_all(bytes.as_slice(), 1).expect("compresses");
        let framed = [MAGIC.as_slice(), &VERSION.to_be_bytes(), &compressed].concat();
        prop_assert!(read(&bytes).is_err());
        if let Ok((preamble, entries)) = read(&framed) {
            prop_assert_eq!(read(&write(&preamble, &entries)).expect("again"), (preamble, entries));
        }
    }
}
