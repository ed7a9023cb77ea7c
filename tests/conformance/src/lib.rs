//! annex-conformance
