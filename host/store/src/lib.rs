//! annex-store
