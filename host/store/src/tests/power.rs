//! Power losses on a modelled disk: of what was written since the last sync, any part is there or not.

use super::*;
use std::io;
use std::sync::Mutex;

/// What a disk writes as a whole.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct Model {
    /// What the process reads.
    now: Vec<u8>,
    /// What survives for sure.
    synced: Vec<u8>,
    /// What came since.
    unsynced: Vec<Change>,
    /// Calls until the power goes.
    left: usize,
}

fn apply(disk: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => disk.resize(*length, 0),
        Change::Bytes(at, bytes) => {
            disk.resize(disk.len().max(at + bytes.len()), 0);
            disk[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

impl Model {
    fn call(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(io::Error::other("no power"))?;
        Ok(())
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.call()?;
        apply(&mut self.now, &change);
        self.unsynced.push(change);
        Ok(())
    }

    /// The disk after the loss: changes in any order, each of them as a whole, in part or not at all.
    fn lose_power(&mut self, rng: &mut SmallRng) {
        let mut changes = std::mem::take(&mut self.unsynced);
        for last in (1..changes.len()).rev() {
            changes.swap(last, rng.random_range(0..=last));
        }
        let kept = rng.random_range(0..=100);
        for change in changes {
            match change {
                Change::Bytes(at, bytes) => {
                    for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                        if rng.random_range(0..100) < kept {
                            let piece = Change::Bytes(at + index * SECTOR, sector.to_vec());
                            apply(&mut self.synced, &piece);
                        }
                    }
                }
                length if rng.random_bool(0.5) => apply(&mut self.synced, &length),
                Change::Length(_) => {}
            }
        }
        self.now = self.synced.clone();
    }
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Model>>);

impl Disk {
    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.model().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let model = self.model();
        let at = offset as usize;
        let bytes = model.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.model().change(Change::Length(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut model = self.model();
        model.call()?;
        for change in std::mem::take(&mut model.unsynced) {
            apply(&mut model.synced, &change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.model().change(Change::Bytes(offset as usize, data.to_vec()))
    }
}

fn open(disk: &Disk, dir: &Path) -> Result<Store> {
    let options = Options { cache: 1 << 20, history: 4, durability: Durability::Power };
    Store::on(disk.clone(), DirLock::take(dir)?, options)
}

fn block(store: &Store, rng: &mut SmallRng) -> Result<Header> {
    let mut changes = StateChanges::default();
    for _ in 0..rng.random_range(0..20) {
        let info = info(rng.random_range(1..1_000_000));
        changes.accounts.insert(address(rng.random()), Some(info));
    }
    commit_with(store, &changes, &[], &[], &[])
}

#[test]
fn every_finished_write_survives_power_losses() {
    let cases = std::env::var("ANNEX_CASES").ok().and_then(|text| text.parse().ok());
    for seed in 0..12 * cases.unwrap_or(1) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.model().left = usize::MAX;
        let store = open(&disk, dir.path()).unwrap();
        block(&store, &mut rng).unwrap();
        let mut answered = (store.head().unwrap().unwrap(), dump(&store));
        drop(store);
        for _ in 0..10 {
            // Perhaps while it is still repairing what the loss before left.
            disk.model().left = rng.random_range(0..400);
            if let Ok(store) = open(&disk, dir.path()) {
                let found = store.head().unwrap().unwrap();
                let expected = answered.0;
                assert!(found.number <= expected.number + 1, "seed {seed}");
                if found.number == expected.number {
                    assert_eq!((found, dump(&store)), answered.clone(), "seed {seed}");
                }
                assert!(found.number >= expected.number, "seed {seed}: {found:?} {expected:?}");
                answered = (found, dump(&store));
                while block(&store, &mut rng).is_ok() {
                    answered = (store.head().unwrap().unwrap(), dump(&store));
                }
            }
            disk.model().lose_power(&mut rng);
        }
        disk.model().left = usize::MAX;
        let store = open(&disk, dir.path()).unwrap();
        let found = store.head().unwrap().unwrap();
        assert!(found.number >= answered.0.number, "seed {seed}: {found:?} {:?}", answered.0);
    }
}

/// That the test above can fail: a disk that lies about syncs loses what was answered.
#[test]
fn a_disk_that_does_not_sync_loses() {
    let mut lost = 0;
    for seed in 0..8 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        disk.model().left = usize::MAX;
        let store = open(&disk, dir.path()).unwrap();
        block(&store, &mut rng).unwrap();
        let before = disk.model().now.clone();
        (0..3).for_each(|_| drop(block(&store, &mut rng).unwrap()));
        let head = store.head().unwrap();
        drop(store);
        let mut model = disk.model();
        (model.now, model.unsynced) = (before, Vec::new());
        drop(model);
        let found = open(&disk, dir.path()).map(|store| store.head().unwrap());
        lost += usize::from(found.is_ok_and(|found| found != head));
    }
    assert_eq!(lost, 8);
}
