use alloy_primitives::map::{AddressMap, B256Map, HashMap};
use alloy_primitives::{Address, B256, Bytes, U256};

use crate::{AccountInfo, StateChanges, StateReader};

/// Changes collected in memory, read over a base state: the state a block is executed on while its
/// parent's root is still being computed, or the pending state within a block.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    accounts: AddressMap<Option<AccountInfo>>,
    storage: AddressMap<HashMap<U256, U256>>,
    codes: B256Map<Bytes>,
    block_hashes: HashMap<u64, B256>,
}

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.storage.is_empty() && self.codes.is_empty()
    }

    /// What the overlay says of an account: `None` nothing, `Some(None)` that it is absent.
    pub fn account(&self, address: &Address) -> Option<Option<AccountInfo>> {
        self.accounts.get(address).copied()
    }

    /// `None` removes the account and its storage.
    pub fn set_account(&mut self, address: Address, account: Option<AccountInfo>) {
        let account = account.filter(|info| !info.is_empty());
        if account.is_none() {
            self.storage.remove(&address);
        }
        self.accounts.insert(address, account);
    }

    pub fn set_storage(&mut self, address: Address, slot: U256, value: U256) {
        self.storage.entry(address).or_default().insert(slot, value);
    }

    pub fn set_code(&mut self, hash: B256, code: Bytes) {
        self.codes.insert(hash, code);
    }

    /// Makes the hash of a block known that the base does not know yet.
    pub fn set_block_hash(&mut self, number: u64, hash: B256) {
        self.block_hashes.insert(number, hash);
    }

    /// Applies later changes on top.
    pub fn apply(&mut self, changes: &StateChanges) {
        for (address, account) in &changes.accounts {
            self.set_account(*address, *account);
        }
        for (address, slots) in &changes.storage {
            self.storage.entry(*address).or_default().extend(slots);
        }
        self.codes.extend(changes.codes.iter().map(|(hash, code)| (*hash, code.clone())));
    }

    /// Applies a later overlay on top.
    pub fn merge(&mut self, later: Overlay) {
        for (address, account) in later.accounts {
            self.set_account(address, account);
        }
        for (address, slots) in later.storage {
            self.storage.entry(address).or_default().extend(slots);
        }
        self.codes.extend(later.codes);
        self.block_hashes.extend(later.block_hashes);
    }

    /// The changes in order, for [`crate::apply_changes`].
    pub fn into_changes(self) -> StateChanges {
        let sorted = |(address, slots): (Address, HashMap<U256, U256>)| {
            (address, slots.into_iter().collect())
        };
        StateChanges {
            accounts: self.accounts.into_iter().collect(),
            storage: self.storage.into_iter().map(sorted).collect(),
            codes: self.codes.into_iter().collect(),
        }
    }

    /// Reads through the overlay over `base`.
    pub fn over<R: StateReader>(&self, base: R) -> OverlayReader<'_, R> {
        OverlayReader { overlay: self, base }
    }
}

/// An [`Overlay`] over a base state.
#[derive(Clone, Copy, Debug)]
pub struct OverlayReader<'a, R> {
    overlay: &'a Overlay,
    base: R,
}

impl<R: StateReader> StateReader for OverlayReader<'_, R> {
    type Error = R::Error;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, R::Error> {
        match self.overlay.accounts.get(&address) {
            Some(account) => Ok(*account),
            None => self.base.account(address),
        }
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, R::Error> {
        if let Some(value) = self.overlay.storage.get(&address).and_then(|s| s.get(&slot)) {
            return Ok(*value);
        }
        // Since EIP-6780 only accounts created in the same transaction are removed, so an account
        // that is removed and made again hides nothing in the base.
        match self.overlay.accounts.get(&address) {
            Some(None) => Ok(U256::ZERO),
            _ => self.base.storage(address, slot),
        }
    }

    fn code(&self, hash: B256) -> Result<Bytes, R::Error> {
        match self.overlay.codes.get(&hash) {
            Some(code) => Ok(code.clone()),
            None => self.base.code(hash),
        }
    }

    fn block_hash(&self, number: u64) -> Result<B256, R::Error> {
        match self.overlay.block_hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None => self.base.block_hash(number),
        }
    }
}
