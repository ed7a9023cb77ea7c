use super::*;

#[test]
fn replacements_satisfy_the_pools() {
    // geth: blob transactions doubled in every fee, others raised by a tenth.
    for fee in [1u128, 7, 1_000, 1_000_000_007] {
        let fees = Fees { tip: fee, max: 3 * fee, blob: fee };
        let doubled = fees.raised(true);
        assert!(doubled.tip >= 2 * fee && doubled.max >= 6 * fee && doubled.blob >= 2 * fee);
        let raised = fees.raised(false);
        assert!(raised.tip * 10 >= fee * 11 && raised.max * 10 >= 3 * fee * 11);
    }
    let most = Fees { tip: u128::MAX, max: u128::MAX, blob: u128::MAX };
    assert_eq!(most.raised(true), most);
}

#[test]
fn refusals_of_common_clients() {
    let is = |message, accepted| match (refusal(message), accepted) {
        (Some(Accepted::Yes), "yes")
        | (Some(Accepted::Underpriced), "underpriced")
        | (Some(Accepted::NonceUsed), "used")
        | (None, "error") => {}
        _ => panic!("{message} is not {accepted}"),
    };
    is("already known", "yes");
    is("AlreadyKnown", "yes");
    is("ReplacementNotAllowed, existing tx fee 5", "underpriced");
    is("OldNonce, Current nonce: 7, nonce of rejected tx: 6", "used");
    is("replacement transaction underpriced", "underpriced");
    is("replacement transaction underpriced: new tx gas fee cap 1 <= 2 queued", "underpriced");
    is("nonce too low: next nonce 5, tx nonce 4", "used");
    is("insufficient funds for gas * price + value", "error");
}

#[test]
fn an_hour_of_reverts_costs_some_sixty_transactions() {
    let mut passed = Duration::ZERO;
    let mut sent = 0;
    while passed < Duration::from_secs(3_600) {
        sent += 1;
        passed += pause_after(sent);
    }
    assert!((55..70).contains(&sent), "{sent}");
    assert_eq!([0, 1, 2, 3].map(pause_after).map(|pause| pause.as_secs()), [0, 0, 1, 2]);
    assert_eq!(pause_after(u32::MAX), Duration::from_secs(64));
}
