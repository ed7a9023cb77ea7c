//! annex-devl1
