use super::*;
use alloy_primitives::Bytes;
use annex_l1::{Parameters, withdrawal::Withdrawal};

fn market() -> Market {
    let contracts = Contracts {
        inbox: Address::ZERO,
        lease: Address::ZERO,
        portal: Address::ZERO,
        l1_standard_bridge: Address::ZERO,
        preimage_oracle: Address::ZERO,
        machine: Address::ZERO,
        tournament: Address::ZERO,
        claims: Address::ZERO,
        exit_market: Address::repeat_byte(0xe1),
        dispute_game_factory: Address::ZERO,
        anchor_state_registry: Address::ZERO,
        multicall3: Address::ZERO,
    };
    let deployment = Deployment {
        l1_chain_id: 900,
        l2_chain_id: 901,
        contracts,
        parameters: Parameters::development(0),
        genesis_hash: B256::ZERO,
    };
    Market::new(Address::repeat_byte(0xb0), &deployment)
}

fn offer(nonce: u64, price: u64) -> Offer {
    let withdrawal = Withdrawal {
        nonce: U256::from(nonce),
        sender: Address::ZERO,
        target: Address::repeat_byte(0xe1),
        value: U256::from(1_000),
        gas_limit: MAX_GAS,
        data: Bytes::new(),
    };
    Offer { withdrawal, seller: Address::repeat_byte(0x5e), price: U256::from(price) }
}

#[test]
fn hopeless_offers_are_forgotten() {
    let mut market = market();
    market.offered(offer(1, 999));
    assert_eq!(market.offers(), [offer(1, 999)]);
    // The same at a price that nobody should pay.
    market.offered(offer(1, 1_000));
    assert_eq!(market.offers(), []);
    let mut dear = offer(2, 1);
    dear.withdrawal.gas_limit = MAX_GAS + U256::ONE;
    market.offered(dear);
    market.offered(Offer { seller: market.account, ..offer(3, 1) });
    assert_eq!(market.offers(), []);
}

#[test]
fn what_fails_again_and_again_is_left_to_others() {
    let mut market = market();
    market.offered(offer(1, 500));
    let hash = offer(1, 500).withdrawal.hash();
    for price in [500, 400, 300] {
        // A seller that offers it anew each time starts nothing anew.
        market.offered(offer(1, price));
        assert_eq!(market.offers().len(), 1);
        market.failed(hash);
    }
    market.offered(offer(1, 200));
    assert_eq!(market.offers(), []);
}

#[test]
fn offers_without_a_withdrawal_do_not_displace_real_ones() {
    let mut market = market();
    market.offered(offer(0, 1));
    market.verified(offer(0, 1).withdrawal.hash());
    for nonce in 1..3 * MAX_OFFERS as u64 {
        market.offered(offer(nonce, 1));
    }
    let offers = market.offers();
    assert_eq!(offers.len(), MAX_OFFERS);
    assert_eq!(offers[0], offer(0, 1));
    // Of the others the oldest went first.
    assert_eq!(offers[MAX_OFFERS - 1], offer(3 * MAX_OFFERS as u64 - 1, 1));
    assert_eq!(offers[1], offer(2 * MAX_OFFERS as u64 + 1, 1));
}

#[test]
fn purchases_count_once() {
    let mut market = market();
    market.offered(offer(1, 500));
    market.bought(&offer(1, 500));
    assert_eq!((market.offers().len(), market.spent()), (0, U256::from(500)));
    // Its event is read.
    market.held.insert(offer(1, 500).withdrawal.hash(), offer(1, 500));
    assert_eq!((market.held().count(), market.spent()), (1, U256::from(500)));
}
