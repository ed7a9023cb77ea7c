#![no_main]
use annex_types::batch::{Limits, decode, encode_content, payload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Small limits reach the bounds as well.
    let small = Limits { max_content: 1 << 16, max_blocks: 3, max_transactions: 4, max_raw: 200 };
    let narrow = decode(data, &small, 901);
    let wide = decode(data, &Limits::SPEC, 901);
    if let Ok(batch) = narrow {
        assert_eq!(wide.as_ref(), Ok(&batch), "a larger limit accepts what a smaller one does");
    }
    if let Ok(Some(batch)) = wide {
        assert!(payload(&encode_content(&batch, 901)).len() > 32);
    }
});
