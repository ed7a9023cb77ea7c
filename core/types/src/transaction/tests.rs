use super::*;
use alloy_primitives::hex;
use k256::ecdsa::{SigningKey, VerifyingKey};
use proptest::prelude::*;

proptest! {
    /// The recovery in use agrees with k256's signer.
    #[test]
    fn recovers_what_k256_signed(key in any::<[u8; 32]>(), hash in any::<[u8; 32]>()) {
        let Ok(key) = SigningKey::from_slice(&key) else { return Ok(()) };
        let (signature, id) = key.sign_prehash_recoverable(&hash).expect("any hash can be signed");
        let point = VerifyingKey::from(&key).to_encoded_point(false);
        let address = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
        let (r, s) = signature.split_bytes();
        let (r, s) = (U256::from_be_slice(&r), U256::from_be_slice(&s));
        let signature = Signature::new(r, s, id.is_y_odd());
        prop_assert_eq!(recover_signer(&signature, B256::from(hash)), Ok(address));

        let order = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
        let high = Signature::new(signature.r(), order - signature.s(), !signature.v());
        prop_assert_eq!(recover_signer(&high, B256::from(hash)), Err(SignatureError::HighS));
    }

    #[test]
    fn foreign_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..300), ty in 0u8..5) {
        use alloy_eips::eip2718::Decodable2718;
        for bytes in [data.clone(), [&[ty][..], &data].concat(), [&[0x7e][..], &data].concat()] {
            if let Ok(tx) = Transaction::decode_2718(&mut bytes.as_slice()) {
                let _ = RecoveredTransaction::recover(tx);
            }
        }
    }
}

/// One after the other or all at once: the same senders and the same errors.
#[test]
fn many_are_recovered_like_each() {
    use alloy_consensus::{Sealable, SignableTransaction, TxLegacy};
    let mut transactions = Vec::new();
    for n in 1..30u64 {
        let tx = TxLegacy { nonce: n, ..TxLegacy::default() };
        let key = SigningKey::from_slice(&B256::from(U256::from(n)).0).expect("a key");
        let (signature, id) =
            key.sign_prehash_recoverable(&tx.signature_hash().0).expect("any hash can be signed");
        let (r, s) = signature.split_bytes();
        let mut signature =
            Signature::new(U256::from_be_slice(&r), U256::from_be_slice(&s), id.is_y_odd());
        match n % 7 {
            1 => signature = Signature::new(signature.r(), HALF_ORDER + U256::from(n), false),
            2 => signature = Signature::new(U256::ZERO, signature.s(), false),
            3 => transactions.push(Transaction::Deposit(TxDeposit::default().seal_slow())),
            _ => {}
        }
        transactions.push(Transaction::Legacy(tx.into_signed(signature)));
    }
    let each: Vec<_> = transactions.iter().cloned().map(RecoveredTransaction::recover).collect();
    let all: Vec<_> = RecoveredTransaction::recover_all(transactions).collect();
    assert_eq!(all, each);
}

#[test]
fn zero_signature_is_invalid() {
    let zero = Signature::new(U256::ZERO, U256::ZERO, false);
    assert_eq!(recover_signer(&zero, B256::ZERO), Err(SignatureError::Invalid));
}

/// A mainnet transaction (block 46,147's first ever transfer), signed without EIP-155.
#[test]
fn recovers_the_first_mainnet_transaction() {
    use alloy_eips::eip2718::Decodable2718;
    let raw = hex!(
        "f86780862d79883d2000825208945df9b87991262f6ba471f09758cde1c0fc1de734827a69801ca088ff6cf0fefd94db46111149ae4bfc179e9b94721fffd821d38d16464b3f71d0a045e0aff800961cfce805daef7016b9b675c137a6a41a548f7b60a3484c06a33a"
    );
    let tx = Transaction::decode_2718(&mut &raw[..]).expect("mainnet bytes");
    assert_eq!(
        tx.hash(),
        B256::from(hex!("5c504ed432cb51138bcf09aa5e8a410dd4a1e204ef84bfed1be16dfba1b22060"))
    );
    let tx = RecoveredTransaction::recover(tx).expect("mainnet signature");
    assert_eq!(tx.sender, Address::from(hex!("a1e4380a3b1f749673e270229993ee55f35663b4")));
}
