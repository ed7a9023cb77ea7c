//! annex-l1
