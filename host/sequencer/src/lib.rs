//! annex-sequencer
