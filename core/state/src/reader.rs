use std::cell::RefCell;

use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::Nibbles;

use crate::changes::{decode_account, slot_key};
use crate::{Account, AccountInfo, EMPTY_ROOT, KECCAK_EMPTY, NodeSource, Trie, TrieError};

/// The EIP-2935 contract that holds recent block hashes.
pub const HISTORY_ADDRESS: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");

/// Slots of the EIP-2935 contract: block `n`'s hash is in slot `n mod 8191`.
pub const HISTORY_WINDOW: u64 = 8191;

/// State as execution reads it.
pub trait StateReader {
    type Error: core::error::Error + Send + Sync + 'static;

    /// `None` if the account does not exist.
    fn account(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error>;

    /// Zero if unset.
    fn storage(&self, address: Address, slot: U256) -> Result<U256, Self::Error>;

    fn code(&self, hash: B256) -> Result<Bytes, Self::Error>;

    /// Hash of an earlier block, one of the 256 before the one that executes.
    fn block_hash(&self, number: u64) -> Result<B256, Self::Error>;
}

impl<R: StateReader + ?Sized> StateReader for &R {
    type Error = R::Error;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, R::Error> {
        (**self).account(address)
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, R::Error> {
        (**self).storage(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Bytes, R::Error> {
        (**self).code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, R::Error> {
        (**self).block_hash(number)
    }
}

/// Reads an account from the state trie.
pub fn read_account<S: NodeSource>(
    source: &S,
    root: B256,
    address: Address,
) -> Result<Option<Account>, TrieError<S::Error>> {
    let key = keccak256(address);
    let value = Trie::new(source, None, root).get(key)?;
    value.map(|value| decode_account(&value, key)).transpose()
}

/// Reads a slot from the storage trie with root `storage_root` of `address`.
pub fn read_slot<S: NodeSource>(
    source: &S,
    storage_root: B256,
    address: Address,
    slot: U256,
) -> Result<U256, TrieError<S::Error>> {
    if storage_root == EMPTY_ROOT {
        return Ok(U256::ZERO);
    }
    let owner = Some(keccak256(address));
    let key = slot_key(slot);
    let Some(value) = Trie::new(source, owner, storage_root).get(key)? else {
        return Ok(U256::ZERO);
    };
    let mut rest = &value[..];
    let decoded = U256::decode(&mut rest).ok().filter(|_| rest.is_empty());
    decoded.ok_or(TrieError::Malformed { owner, path: Nibbles::unpack_array(&key.0) })
}

/// State read through the trie from its root.
#[derive(Debug)]
pub struct TrieReader<'a, S> {
    source: &'a S,
    root: B256,
    parent: (u64, B256),
    accounts: RefCell<HashMap<Address, Option<Account>>>,
}

impl<'a, S: NodeSource> TrieReader<'a, S> {
    /// The state with root `root`, after block `parent` (number and hash).
    pub fn new(source: &'a S, root: B256, parent: (u64, B256)) -> Self {
        Self { source, root, parent, accounts: RefCell::default() }
    }

    fn load(&self, address: Address) -> Result<Option<Account>, TrieError<S::Error>> {
        if let Some(account) = self.accounts.borrow().get(&address) {
            return Ok(*account);
        }
        let account = read_account(self.source, self.root, address)?;
        self.accounts.borrow_mut().insert(address, account);
        Ok(account)
    }
}

impl<S: NodeSource> StateReader for TrieReader<'_, S> {
    type Error = TrieError<S::Error>;

    fn account(&self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        Ok(self.load(address)?.map(|account| account.info()))
    }

    fn storage(&self, address: Address, slot: U256) -> Result<U256, Self::Error> {
        match self.load(address)? {
            Some(account) => read_slot(self.source, account.storage_root, address, slot),
            None => Ok(U256::ZERO),
        }
    }

    fn code(&self, hash: B256) -> Result<Bytes, Self::Error> {
        if hash == KECCAK_EMPTY {
            return Ok(Bytes::new());
        }
        self.source.code(hash).map_err(TrieError::Source)
    }

    fn block_hash(&self, number: u64) -> Result<B256, Self::Error> {
        if number == self.parent.0 {
            return Ok(self.parent.1);
        }
        let slot = U256::from(number % HISTORY_WINDOW);
        Ok(B256::from(self.storage(HISTORY_ADDRESS, slot)?))
    }
}
