//! annex-e2e
