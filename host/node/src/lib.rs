//! annex-node
