use super::*;
use annex_types::{Origin, RecordEnv};
use proptest::prelude::*;

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

proptest! {
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
