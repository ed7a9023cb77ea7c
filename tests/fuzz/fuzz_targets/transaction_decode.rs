#![no_main]
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use annex_types::{RecoveredTransaction, Transaction};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(transaction) = Transaction::decode_2718_exact(data) else { return };
    let encoded = transaction.encoded_2718();
    let again = Transaction::decode_2718_exact(&encoded).expect("own encoding");
    assert_eq!(again.hash(), transaction.hash());
    if let Ok(recovered) = RecoveredTransaction::recover(transaction) {
        assert!(recovered.data_size > 0 || encoded[0] == 0x7e);
    }
});
