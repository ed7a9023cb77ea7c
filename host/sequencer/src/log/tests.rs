use super::*;
use annex_types::{Origin, RecordEnv};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};

fn open_entry(number: u64) -> OpenEntry {
    let origin = Origin { index: 3, accumulator: B256::repeat_byte(7), env: RecordEnv::default() };
    OpenEntry {
        number,
        attributes: BlockAttributes {
            timestamp: 5,
            beneficiary: Default::default(),
            origin,
            blocks_in_second: 1,
        },
        forced: vec![],
        lease_id: U256::from(1),
        sequence: number,
        previous: B256::ZERO,
    }
}

fn write(dir: &Path, blocks: u64) -> Vec<Entry> {
    let (mut log, mut entries) = PromiseLog::open(dir, Durability::Process).expect("opens");
    for number in entries.len() as u64 / 3..blocks {
        let group = vec![Bytes::from(vec![1, 2, 3]), Bytes::from(vec![number as u8; 9])];
        log.push_open(&open_entry(number)).expect("writes");
        log.push_group(group.iter().map(|b| b.as_ref()));
        log.push_seal();
        log.commit().expect("writes");
        entries.extend([
            Entry::Open(Box::new(open_entry(number))),
            Entry::Group(group),
            Entry::Seal,
        ]);
    }
    entries
}

#[test]
fn holds_what_was_committed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = write(dir.path(), 3);
    assert_eq!(PromiseLog::open(dir.path(), Durability::Power).expect("opens").1, first);
    let second = write(dir.path(), 5);
    assert_eq!(PromiseLog::open(dir.path(), Durability::Process).expect("opens").1, second);
}

#[test]
fn prune_keeps_the_newest_segment() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut log, _) = PromiseLog::open(dir.path(), Durability::Process).expect("opens");
    for number in 1..=3 {
        log.len = SEGMENT_SIZE + 1;
        log.push_open(&open_entry(number)).expect("writes");
        log.commit().expect("writes");
    }
    log.prune(2).expect("prunes");
    assert_eq!(log.segments, [3]);
    log.replace(2, [&[9u8][..]].into_iter()).expect("replaces");
    let (_, entries) = PromiseLog::open(dir.path(), Durability::Process).expect("opens");
    assert_eq!(entries, [Entry::Requeue(vec![Bytes::from_static(&[9])])]);
}

/// A crash after blocks were replaced may leave any of the old segments: they count for nothing.
#[test]
fn what_replaces_older_segments_stands_though_they_remain() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut log, _) = PromiseLog::open(dir.path(), Durability::Power).expect("opens");
    let mut old = Vec::new();
    for number in 1..=3 {
        log.len = SEGMENT_SIZE + 1;
        log.push_open(&open_entry(number)).expect("writes");
        log.push_group([&[number as u8][..]].into_iter());
        log.commit().expect("writes");
        let path = segment_path(dir.path(), number);
        old.push((path.clone(), fs::read(&path).expect("written")));
    }
    log.replace(2, [&[9u8][..]].into_iter()).expect("replaces");
    log.push_skip(&Link { sequence: 7, previous: B256::ZERO });
    log.commit().expect("writes");
    let expected = [
        Entry::Requeue(vec![Bytes::from_static(&[9])]),
        Entry::Skip(Link { sequence: 7, previous: B256::ZERO }),
    ];
    for left in 0..8 {
        for (index, (path, bytes)) in old.iter().enumerate() {
            if left >> index & 1 == 1 {
                fs::write(path, bytes).expect("writes");
            }
        }
        let (_, entries) = PromiseLog::open(dir.path(), Durability::Process).expect("opens");
        assert_eq!(entries, expected, "{left:b}");
        old.iter().for_each(|(path, _)| drop(fs::remove_file(path)));
    }
    // Beside what the log holds, nothing is replaced.
    let (mut log, _) = PromiseLog::open(dir.path(), Durability::Power).expect("opens");
    log.push_open(&open_entry(4)).expect("writes");
    log.requeue(4, [&[8u8][..]].into_iter()).expect("writes");
    let (_, entries) = PromiseLog::open(dir.path(), Durability::Process).expect("opens");
    assert_eq!((entries.len(), &entries[..2]), (4, &expected[..]));
}

/// What is left of a log when the power goes, one bit for each write: those after the last sync are there or not, or half.
fn lose_power(path: &Path, synced: u64, seed: u64) {
    let bytes = fs::read(path).expect("written");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut left = bytes[..synced as usize].to_vec();
    for piece in bytes[synced as usize..].chunks(rng.random_range(1..600)) {
        match rng.random_range(0..4) {
            0 => break,
            // The length is there, the data is not.
            1 => left.extend(vec![0; piece.len()]),
            2 => left.extend(piece.iter().map(|byte| byte ^ rng.random::<u8>())),
            _ => left.extend(piece),
        }
    }
    fs::write(path, left).expect("writes");
}

proptest! {
    /// Everything before the last sync is read, and of what came after only whole entries, in order.
    #[test]
    fn what_was_synced_survives_a_power_loss(blocks in 1u64..6, synced in 0u64..6, seed: u64) {
        let dir = tempfile::tempdir().expect("temp dir");
        let synced = synced.min(blocks);
        let before = write(dir.path(), synced);
        let path = segment_path(dir.path(), 0);
        let length = fs::metadata(&path).map_or(0, |file| file.len());
        let mut all = before.clone();
        all.extend(write(dir.path(), blocks).split_off(before.len()));
        if path.exists() {
            lose_power(&path, length, seed);
        }
        let (_, read) = PromiseLog::open(dir.path(), Durability::Power).expect("opens");
        prop_assert!(read.len() >= before.len());
        prop_assert_eq!(&all[..read.len()], &read[..]);
        // It goes on from there.
        let (mut log, _) = PromiseLog::open(dir.path(), Durability::Power).expect("opens");
        log.push_open(&open_entry(9)).expect("writes");
        log.commit().expect("writes");
        let (_, again) = PromiseLog::open(dir.path(), Durability::Power).expect("opens");
        prop_assert_eq!(again.len(), read.len() + 1);
    }

    /// Cut or damage the last segment anywhere: what comes back is a prefix of what was written.
    #[test]
    fn a_torn_tail_is_cut_off(cut in 0usize..2000, flip in any::<Option<u8>>()) {
        let dir = tempfile::tempdir().expect("temp dir");
        let entries = write(dir.path(), 3);
        let path = segment_path(dir.path(), 0);
        let mut bytes = fs::read(&path).expect("written");
        let cut = cut % bytes.len();
        match flip {
            Some(bit) => bytes[cut] ^= 1 << (bit % 8),
            None => bytes.truncate(cut),
        }
        fs::write(&path, &bytes).expect("writes");
        let (_, read) = PromiseLog::open(dir.path(), Durability::Process).expect("opens");
        prop_assert!(read.len() < entries.len());
        prop_assert_eq!(&entries[..read.len()], &read[..]);
        prop_assert_eq!(PromiseLog::open(dir.path(), Durability::Process).expect("opens").1, read);
    }
}
