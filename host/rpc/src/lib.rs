//! annex-rpc
