//! Batch payloads and blob packing (spec/batch.md).
