//! annex-derive
