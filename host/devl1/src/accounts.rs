//! The ten accounts every development chain funds.

use alloy_primitives::{Address, B256, U256};
use alloy_signer_local::{
    LocalSignerError, MnemonicBuilder, PrivateKeySigner, coins_bip39::English,
};

/// The mnemonic of Anvil and Hardhat.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";
/// Number of accounts.
pub const COUNT: u32 = 10;

/// 10,000 ETH in wei.
pub fn balance() -> U256 {
    U256::from(10_000) * U256::from(10u64.pow(18))
}

/// A funded account whose key everybody knows.
#[derive(Clone, Debug)]
pub struct DevAccount {
    pub address: Address,
    pub signer: PrivateKeySigner,
}

impl DevAccount {
    /// The private key.
    pub fn key(&self) -> B256 {
        self.signer.to_bytes()
    }
}

/// Accounts `m/44'/60'/0'/0/0` to `…/9` of [`MNEMONIC`].
pub fn dev_accounts() -> Result<Vec<DevAccount>, LocalSignerError> {
    (0..COUNT)
        .map(|index| {
            let builder = MnemonicBuilder::<English>::default().phrase(MNEMONIC).index(index)?;
            let signer = builder.build()?;
            Ok(DevAccount { address: signer.address(), signer })
        })
        .collect()
}
