//! A chain as a follower derives it from L1's log, and as a liar does.

use std::sync::Arc;

use alloy_eips::eip4844::Blob;
use alloy_primitives::map::HashMap;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use annex_claim::{ClaimInput, Kind, Leaf, Missing, OutputRoot, Preimages, StepData, prepare};
use annex_derive::{Cursor, Derivation, Step};
use annex_l1::predeploys;
use annex_state::{
    AccountInfo, Nibbles, NodeSource, Recorder, StateReader, StateUpdate, Trie, TrieReader, Witness,
};
use annex_stf::{apply_block, genesis};
use annex_types::predeploys::L2_TO_L1_MESSAGE_PASSER;
use annex_types::{BlockInput, ChainConfig, Header, Record};

/// Nodes and codes by hash. Nothing is ever removed.
#[derive(Clone, Debug, Default)]
struct Store(HashMap<B256, Bytes>);

impl Store {
    fn keep(&mut self, update: &StateUpdate, codes: impl IntoIterator<Item = Bytes>) {
        let nodes = update.nodes.iter().filter_map(|change| change.node.clone());
        for bytes in nodes.chain(codes) {
            self.0.insert(keccak256(&bytes), bytes);
        }
    }

    fn get(&self, hash: B256) -> Result<Bytes, Missing> {
        self.0.get(&hash).cloned().ok_or(Missing { kind: Kind::Keccak, key: hash })
    }
}

impl NodeSource for Store {
    type Error = Missing;

    fn node(&self, _: Option<B256>, _: &Nibbles, hash: B256) -> Result<Bytes, Missing> {
        self.get(hash)
    }

    fn code(&self, hash: B256) -> Result<Bytes, Missing> {
        self.get(hash)
    }
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A block with as many forced items.
    Block {
        derived: bool,
        forced: usize,
        transactions: usize,
    },
    Rejected,
    Exhausted {
        skipped: bool,
    },
    /// What a liar says instead.
    Lie(Lie),
}

/// How a follower lies about a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// This one leaf has a state that nobody can know; those after it are true.
    State,
    /// A block of a batch is rejected that breaks no rule.
    SkippedBatch,
    /// A forced item mints more than was deposited.
    ForcedMint,
    /// Forced items are left out.
    ForcedLeftOut,
    /// The block's origin has another accumulator, and with it another `prevRandao`.
    Origin,
    /// The block's origin had another price of data.
    DataPrice,
}

/// A step, and the leaf after it.
#[derive(Clone, Debug)]
pub struct Leap {
    /// Before the step.
    pub head: Header,
    pub cursor: Cursor,
    pub witness: Witness,
    pub what: What,
    /// After the step.
    pub next: Header,
    pub leaf: Leaf,
}

/// A follower.
pub struct Chain {
    pub config: ChainConfig,
    pub genesis: Header,
    store: Store,
    pub records: Vec<Record>,
    /// By record.
    pub blobs: Vec<Vec<Blob>>,
    pub head: Header,
    derivation: Derivation,
    pub leaps: Vec<Leap>,
    lie: Option<(usize, Lie)>,
}

/// Header of block 0.
pub fn genesis_header(config: &ChainConfig) -> Header {
    genesis(config, &predeploys()).header
}

impl Chain {
    /// At genesis. With `lie`, that step is taken as the lie has it.
    pub fn new(config: ChainConfig, lie: Option<(usize, Lie)>) -> Self {
        let codes = predeploys();
        let start = genesis(&config, &codes);
        let mut store = Store::default();
        store.keep(&start.update, codes.into_values());
        let derivation = Derivation::new(config.clone(), &start.header).expect("a genesis header");
        Self {
            config,
            genesis: start.header.clone(),
            store,
            records: Vec::new(),
            blobs: Vec::new(),
            head: start.header,
            derivation,
            leaps: Vec::new(),
            lie,
        }
    }

    /// The leaf that nothing led to.
    pub fn first_leaf(&self) -> Leaf {
        Leaf { output: OutputRoot::of(&self.genesis), cursor: Cursor::default() }
    }

    /// Takes the next record and works off what there is.
    pub fn push(&mut self, record: Record, blobs: Vec<Blob>) {
        self.records.push(record.clone());
        self.derivation.push(record, &blobs).expect("a record of the Inbox");
        self.blobs.push(blobs);
        while self.leap() {}
    }

    fn leap(&mut self) -> bool {
        let (head, cursor) = (self.head.clone(), self.derivation.cursor());
        let lie = self.lie.filter(|(at, _)| *at == self.leaps.len()).map(|(_, lie)| lie);
        let Some(step) = self.derivation.step() else { return false };
        let (witness, mut what) = match (step, lie) {
            (Step::Block(step), None | Some(Lie::State)) => {
                let forced = step.input.forced.len();
                let transactions = step.input.transactions.len();
                let derived = step.block.is_none();
                match self.execute(&step.input) {
                    (witness, true) => (witness, What::Block { derived, forced, transactions }),
                    (witness, false) => (witness, What::Rejected),
                }
            }
            (Step::Block(step), Some(lie)) => {
                self.pretend(step.input, lie);
                (Witness::default(), What::Lie(lie))
            }
            (Step::Rejected { .. }, _) => (Witness::default(), What::Rejected),
            (Step::Exhausted { skipped, .. }, _) => {
                (Witness::default(), What::Exhausted { skipped: skipped.is_some() })
            }
        };
        let mut next = self.head.clone();
        if let Some(lie) = lie {
            what = What::Lie(lie);
            if lie == Lie::State {
                next.state_root.0[0] ^= 1;
            }
        }
        let leaf = Leaf { output: OutputRoot::of(&next), cursor: self.derivation.cursor() };
        self.leaps.push(Leap { head, cursor, witness, what, next, leaf });
        true
    }

    fn pretend(&mut self, mut input: BlockInput, lie: Lie) {
        match lie {
            Lie::SkippedBatch => return self.derivation.rejected().expect("a batch's block"),
            Lie::ForcedMint => input.forced[0].mint += 1,
            Lie::ForcedLeftOut => input.forced.clear(),
            Lie::Origin => input.attributes.origin.accumulator.0[0] ^= 1,
            Lie::DataPrice => {
                let env = &mut input.attributes.origin.env;
                env.blob_base_fee += U256::from(10u64.pow(10));
                env.base_fee += U256::from(10u64.pow(9));
            }
            Lie::State => unreachable!("the block is executed as it is"),
        }
        let (_, applied) = self.execute(&input);
        assert!(applied, "{lie:?} cannot be pretended here");
    }

    fn execute(&mut self, input: &BlockInput) -> (Witness, bool) {
        let recorder = Recorder::new(&self.store);
        let parent = (self.head.number, self.head.hash_slow());
        let reader = TrieReader::new(&recorder, self.head.state_root, parent);
        let applied = apply_block(&self.config, &self.head, input, reader, &recorder);
        let applied = applied.expect("the store has what was stored");
        let witness = recorder.into_witness();
        match applied {
            Ok(sealed) => {
                self.store.keep(&sealed.update, sealed.changes.codes.values().cloned());
                self.derivation.applied(&sealed.header);
                self.head = sealed.header;
                (witness, true)
            }
            Err(_) => {
                self.derivation.rejected().expect("a derived block is always valid");
                (witness, false)
            }
        }
    }

    /// Input and preimages of a step.
    pub fn prepare(&self, step: usize) -> (ClaimInput, Arc<Preimages>) {
        let leap = &self.leaps[step];
        let record = leap.cursor.record as usize;
        let data = StepData {
            config: &self.config,
            head: &leap.head,
            cursor: leap.cursor,
            records: &self.records[..=record],
            previous: B256::ZERO,
            blobs: &self.blobs[record],
            witness: &leap.witness,
        };
        let (input, preimages) = prepare(&data).expect("records of one log");
        (input, Arc::new(preimages))
    }

    /// An account as the newest block has it.
    pub fn account(&self, address: alloy_primitives::Address) -> Option<AccountInfo> {
        let parent = (self.head.number, self.head.hash_slow());
        let reader = TrieReader::new(&self.store, self.head.state_root, parent);
        reader.account(address).expect("the store has what was stored")
    }

    /// The nodes that prove a slot of the `L2ToL1MessagePasser` after a block.
    pub fn prove_withdrawal(&self, head: &Header, slot: B256) -> Vec<Bytes> {
        let root = head.withdrawals_root.expect("headers of the chain have it");
        let owner = Some(keccak256(L2_TO_L1_MESSAGE_PASSER));
        let trie = Trie::new(&self.store, owner, root);
        trie.prove(keccak256(slot)).expect("the store has what was stored")
    }
}
