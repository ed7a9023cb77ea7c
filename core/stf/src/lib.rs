//! annex-stf
