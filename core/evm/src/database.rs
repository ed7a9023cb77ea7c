use alloy_primitives::map::{AddressSet, B256Map};
use alloy_primitives::{Address, B256, U256};
use annex_state::{AccountInfo, KECCAK_EMPTY, Overlay, StateReader};
use annex_types::predeploys::{BLOCK_HASH_HISTORY, HISTORY_SERVE_WINDOW};
use revm::Database;
use revm::bytecode::Bytecode;
use revm::database_interface::DBErrorMarker;
use revm::state::{Account, AccountInfo as RevmAccountInfo};

/// Blocks that `BLOCKHASH` reaches.
const RECENT_BLOCKS: u64 = 256;
const CACHED_CODE_BYTES: usize = 64 << 20;

/// Contract codes with their jump destinations, worth keeping from block to block.
#[derive(Debug, Default)]
pub struct CodeCache {
    codes: B256Map<Bytecode>,
    bytes: usize,
}

impl CodeCache {
    fn insert(&mut self, hash: B256, code: Bytecode) {
        self.bytes += code.len();
        if self.bytes > CACHED_CODE_BYTES {
            self.codes.clear();
            self.bytes = code.len();
        }
        self.codes.insert(hash, code);
    }
}

/// The reader's error waits in [`StateDb::failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state could not be read")]
pub(crate) struct Interrupted;

impl DBErrorMarker for Interrupted {}

/// The state transactions run on: the reader below what the block changed so far.
#[derive(Debug)]
pub(crate) struct StateDb<R: StateReader> {
    pub reader: R,
    pub overlay: Overlay,
    /// The same changes since they were last taken, where somebody asked for them.
    pub delta: Option<Overlay>,
    pub codes: CodeCache,
    /// Accounts whose storage in the reader is hidden.
    pub cleared: AddressSet,
    /// The executing block, if recent block hashes in the history contract come from [`StateReader::block_hash`].
    pub history_of: Option<u64>,
    pub failure: Option<R::Error>,
}

impl<R: StateReader> StateDb<R> {
    pub fn set_account(&mut self, address: Address, account: Option<AccountInfo>) {
        self.overlay.set_account(address, account);
        if let Some(delta) = &mut self.delta {
            delta.set_account(address, account);
        }
    }

    pub fn set_storage(&mut self, address: Address, slot: U256, value: U256) {
        self.overlay.set_storage(address, slot, value);
        if let Some(delta) = &mut self.delta {
            delta.set_storage(address, slot, value);
        }
    }

    pub fn set_code(&mut self, hash: B256, code: Bytecode) {
        let bytes = code.original_bytes();
        self.overlay.set_code(hash, bytes.clone());
        if let Some(delta) = &mut self.delta {
            delta.set_code(hash, bytes);
        }
        self.codes.insert(hash, code);
    }

    /// Takes over what one transaction left of an account.
    pub fn absorb(&mut self, address: Address, account: Account) {
        if !account.is_touched() {
            return;
        }
        let info = &account.info;
        if account.is_selfdestructed() || info.is_empty() {
            // EIP-6780: only an account made by this transaction, which has no storage below.
            if !account.is_loaded_as_not_existing() {
                self.set_account(address, None);
            }
            return;
        }
        if account.is_changed() {
            let AccountInfo { nonce, balance, code_hash } =
                AccountInfo { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash };
            if code_hash != KECCAK_EMPTY
                && let Some(code) = &info.code
                && account.original_info().code_hash != code_hash
            {
                self.set_code(code_hash, code.clone());
            }
            self.set_account(address, Some(AccountInfo { nonce, balance, code_hash }));
        }
        for (slot, value) in account.changed_storage_slots() {
            self.set_storage(address, *slot, value.present_value());
        }
    }

    fn guard<T>(&mut self, result: Result<T, R::Error>) -> Result<T, Interrupted> {
        result.map_err(|error| {
            self.failure = Some(error);
            Interrupted
        })
    }

    /// The recent block whose hash belongs in a slot of the history contract.
    fn recent_block(&self, address: Address, slot: U256) -> Option<u64> {
        if address != BLOCK_HASH_HISTORY || slot >= U256::from(HISTORY_SERVE_WINDOW) {
            return None;
        }
        let last = self.history_of?.checked_sub(1)?;
        let slot: u64 = slot.to();
        let distance =
            (last % HISTORY_SERVE_WINDOW + HISTORY_SERVE_WINDOW - slot) % HISTORY_SERVE_WINDOW;
        if distance < RECENT_BLOCKS { last.checked_sub(distance) } else { None }
    }
}

impl<R: StateReader> Database for StateDb<R> {
    type Error = Interrupted;

    fn basic(&mut self, address: Address) -> Result<Option<RevmAccountInfo>, Interrupted> {
        let account = self.overlay.over(&self.reader).account(address);
        let account = self.guard(account)?;
        Ok(account.map(|AccountInfo { nonce, balance, code_hash }| RevmAccountInfo {
            balance,
            nonce,
            code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Interrupted> {
        if let Some(code) = self.codes.codes.get(&hash) {
            return Ok(code.clone());
        }
        let bytes = self.overlay.over(&self.reader).code(hash);
        let bytes = self.guard(bytes)?;
        // Code with EIP-7702's prefix is a delegation; a malformed one can only stem from a genesis file.
        let code = Bytecode::new_raw_checked(bytes.clone())
            .unwrap_or_else(|_| Bytecode::new_legacy(bytes));
        self.codes.insert(hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Interrupted> {
        if let Some(number) = self.recent_block(address, slot) {
            return Ok(self.block_hash(number)?.into());
        }
        let value = if self.cleared.contains(&address) {
            self.overlay.over(NoStorage(&self.reader)).storage(address, slot)
        } else {
            self.overlay.over(&self.reader).storage(address, slot)
        };
        self.guard(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Interrupted> {
        let hash = self.overlay.over(&self.reader).block_hash(number);
        self.guard(hash)
    }
}

/// A state in which no storage is set.
struct NoStorage<'a, R>(&'a R);

impl<R: StateReader> StateReader for NoStorage<'_, R> {
    type Error = R::Error;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, R::Error> {
        self.0.account(address)
    }

    fn storage(&self, _: Address, _: U256) -> Result<U256, R::Error> {
        Ok(U256::ZERO)
    }

    fn code(&self, hash: B256) -> Result<alloy_primitives::Bytes, R::Error> {
        self.0.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, R::Error> {
        self.0.block_hash(number)
    }
}
