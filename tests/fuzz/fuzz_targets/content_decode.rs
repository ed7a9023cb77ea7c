#![no_main]
use annex_types::batch::{
    BLOCK_LEN_BOUND, CONTENT_OVERHEAD_BOUND, Limits, decode_content, encode_content,
    transaction_len,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = decode_content(data, &Limits::SPEC, 901) else { return };
    let again = encode_content(&batch, 901);
    assert_eq!(decode_content(&again, &Limits::SPEC, 901).as_ref(), Ok(&batch));
    let transactions = batch.blocks.iter().flat_map(|block| &block.transactions);
    let bound = CONTENT_OVERHEAD_BOUND
        + BLOCK_LEN_BOUND * batch.blocks.len()
        + transactions.map(|tx| transaction_len(tx, 901)).sum::<usize>();
    assert!(again.len() <= bound);
});
