#![no_main]
use annex_types::ExtraData;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(extra) = ExtraData::decode(data) {
        assert_eq!(&extra.encode()[..], data);
    }
});
