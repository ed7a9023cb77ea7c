//! annex-evm
