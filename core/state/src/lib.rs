//! annex-state
