//! annex-sim
