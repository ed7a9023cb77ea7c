//! Against Anvil (Osaka): what a node and its operator do on L1.

mod support;

use alloy_consensus::Header;
use alloy_eips::eip4844::Blob;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use annex_l1::contracts::{Inbox, Lease, Machine};
use annex_l1::{
    BatchBody, DeployError, Deployment, Deposit, DepositOutcome, DepositReceipt, Event, Follower,
    L1Client, L1Error, L1Record, LogFault, LogPosition, Poster, ProgramBoot, SendLimits,
    SendOutcome, Sender, SettlementError, StepError, check_settlement, deploy, deposit,
    settlement::{RangeStatus, Wealth, settlement},
    versioned_hash,
};
use annex_types::{BatchData, RecordPayload};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::{Anvil, Lie, beacon, chain, genesis, key, limits, mine, proxy, request};

fn blob(seed: u8) -> Blob {
    let mut blob = Blob::ZERO;
    for (i, byte) in blob.iter_mut().enumerate().filter(|(i, _)| i % 32 != 0) {
        *byte = (i as u8).wrapping_mul(31).wrapping_add(seed);
    }
    blob
}

fn small_deposit(data: &[u8]) -> Deposit {
    Deposit {
        to: TxKind::Call(Address::repeat_byte(0xb0)),
        mint: U256::from(10u64.pow(18)),
        value: U256::from(7),
        gas_limit: 100_000 + 64 * data.len() as u64,
        data: Bytes::copy_from_slice(data),
    }
}

async fn deposit_with(client: &L1Client, chain: &Deployment, data: &[u8]) -> DepositReceipt {
    let outcome =
        deposit(client, key(2), chain.contracts.portal, &small_deposit(data), limits()).await;
    match outcome.expect("Anvil answers") {
        DepositOutcome::Taken(receipt) => *receipt,
        DepositOutcome::Failed(outcome) => panic!("the deposit failed: {outcome:?}"),
    }
}

fn poster(client: &L1Client, chain: &Deployment, limits: SendLimits) -> Poster {
    Poster::new(client.clone(), key(1), chain.contracts.inbox, limits)
}

fn included(outcome: SendOutcome) -> annex_l1::Included {
    match outcome {
        SendOutcome::Included(included) => included,
        other => panic!("not included: {other:?}"),
    }
}

async fn all_records(client: &L1Client, chain: &Deployment) -> Result<Vec<L1Record>, L1Error> {
    let head = client.head().await?;
    let mut position = LogPosition::default();
    client
        .records(chain.contracts.inbox, chain.parameters.l1_start_block, head.number, &mut position)
        .await
}

/// Polls until idle.
async fn drain(follower: &mut Follower, client: &L1Client) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match follower.poll(client).await.expect("Anvil answers") {
            Event::Idle => return events,
            event => events.push(event),
        }
    }
}

#[tokio::test]
async fn deploys_what_the_file_says_and_resumes() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    mine(&client, 3).await;
    let request = request(&client).await;
    let deployment = deploy(&client, key(0), &request, genesis, limits()).await.expect("deploys");

    let config = deployment.chain_config();
    let inbox = deployment.contracts.inbox;
    let hash = client.read(inbox, &Inbox::configHashCall {}).await.expect("configHash");
    assert_eq!(hash, config.hash());
    let call = Lease::leaderAtCall(U256::from(9));
    let leader = client.read(deployment.contracts.lease, &call).await.expect("leaderAt");
    assert_eq!(leader.submitter, key(1).address());
    let oracle = client.read(deployment.contracts.machine, &Machine::oracleCall {}).await;
    assert_eq!(oracle.expect("oracle"), deployment.contracts.preimage_oracle);

    let records = all_records(&client, &deployment).await.expect("records");
    assert_eq!(records[0].record.env.l1_block_number, deployment.parameters.l1_start_block);
    assert_eq!(
        records[0].record.payload,
        RecordPayload::Genesis {
            config_hash: config.hash(),
            genesis_hash: deployment.genesis_hash
        }
    );

    // Everything is there already: nothing is sent, and the same comes out.
    let nonce = client.nonce(key(0).address()).await.expect("nonce");
    let again = annex_l1::DeployRequest { resume_from: Some(0), ..request.clone() };
    let resumed = deploy(&client, key(0), &again, genesis, limits()).await.expect("resumes");
    assert_eq!(resumed, deployment);
    assert_eq!(client.nonce(key(0).address()).await.expect("nonce"), nonce);

    // Other parameters are not what is there.
    let mut other = again;
    other.parameters.forced_delay += 1;
    let refused = deploy(&client, key(0), &other, genesis, limits()).await;
    assert!(
        matches!(
            refused,
            Err(DeployError::Interrupted { cause: StepError::Code { .. }, first_nonce: 0, .. })
        ),
        "{refused:?}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deployment.json");
    deployment.write(&path).expect("writes");
    assert_eq!(Deployment::read(&path).expect("reads"), deployment);
}

#[tokio::test]
async fn disputes_are_about_this_chain_and_this_program() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let request = request(&client).await;
    let deployment = deploy(&client, key(0), &request, genesis, limits()).await.expect("deploys");
    let (program, header) = (request.program, genesis(&deployment.chain_config()));
    let check = async |deployment: &Deployment, program: ProgramBoot, header: &Header| {
        check_settlement(&client, deployment, &program, header).await
    };
    check(&deployment, program, &header).await.expect("ours");
    let other = ProgramBoot { pc: program.pc + 4, ..program };
    let refused = check(&deployment, other, &header).await;
    assert!(matches!(refused, Err(SettlementError::Program { .. })), "{refused:?}");
    let mut other = deployment.clone();
    other.parameters.move_grace += 1;
    let refused = check(&other, program, &header).await;
    assert!(matches!(refused, Err(SettlementError::Settings { .. })), "{refused:?}");
    let mut other = deployment.clone();
    other.parameters.claim_interval += 1;
    let refused = check(&other, program, &header).await;
    assert!(matches!(refused, Err(SettlementError::Claims { .. })), "{refused:?}");
    let other = Header { gas_used: 1, ..header };
    let refused = check(&deployment, program, &other).await;
    assert!(matches!(refused, Err(SettlementError::Genesis { .. })), "{refused:?}");

    let asked = [key(0).address(), Address::repeat_byte(0x5e)];
    let head = client.head().await.expect("head");
    let state = settlement(&client, &deployment.contracts, head, &asked).await;
    let state = state.expect("settlement can be read");
    assert!(state.ranges.is_empty() && state.tournaments.is_empty() && !state.faulted);
    assert_eq!((state.settled.range, state.settled.block), (0, 0));
    assert_eq!((state.record_count, state.at), (1, head));
    let balance = client.balance(key(0).address()).await.expect("balance");
    let wealth = |balance| Wealth { balance, credits: U256::ZERO };
    assert_eq!(state.wealth, [wealth(balance), wealth(U256::ZERO)]);
    let open = annex_l1::contracts::Claims::openCall {};
    let call = annex_l1::Call {
        to: TxKind::Call(deployment.contracts.claims),
        input: alloy_sol_types::SolCall::abi_encode(&open).into(),
        value: U256::ZERO,
        sidecar: None,
    };
    included(Sender::new(client.clone(), key(1), limits()).send(&call).await.expect("sent"));
    let head = client.head().await.expect("head");
    let state = settlement(&client, &deployment.contracts, head, &[]).await;
    let state = state.expect("settlement can be read");
    assert_eq!(state.ranges.len(), 1);
    assert_eq!((state.ranges[0].id, state.ranges[0].end), (1, 1));
    assert_eq!(state.ranges[0].start, state.settled.leaf);
    assert_eq!(state.ranges[0].status, RangeStatus::Open);
    let tournament = &state.tournaments[&U256::from(1)];
    assert!(tournament.commitments.is_empty() && tournament.matches.is_empty());
    assert_eq!(tournament.view.start, state.settled.leaf);
    // The first range's start is genesis from now on.
    check_settlement(&client, &deployment, &program, &genesis(&deployment.chain_config()))
        .await
        .expect("ours");
}

#[tokio::test]
async fn a_deposit_is_a_record_with_both_hashes() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let first = deposit_with(&client, &chain, b"").await;
    let second = deposit_with(&client, &chain, &[0xab; 5_000]).await;
    assert_eq!((first.item.index, second.item.index), (0, 1));
    assert_eq!((first.record, second.record), (1, 2));
    assert_eq!(first.item.from, key(2).address());

    let records = all_records(&client, &chain).await.expect("records");
    assert_eq!(records.len(), 3);
    for (receipt, record) in [&first, &second].into_iter().zip(&records[1..]) {
        assert_eq!(record.record.payload, RecordPayload::Forced(receipt.item.clone()));
        assert_eq!(record.op_alias(), Some(receipt.op_alias));
        assert_eq!(record.block_hash, receipt.l1_block.hash);
        assert_eq!(record.tx_hash, receipt.l1_tx);
        assert_ne!(receipt.op_alias, receipt.l2_hash);
    }
    assert_eq!(records[0].op_alias(), None);

    // What the Portal refuses costs nothing.
    let balance = client.balance(key(2).address()).await.expect("balance");
    let poor = Deposit { gas_limit: 1_000, ..small_deposit(b"") };
    let outcome = deposit(&client, key(2), chain.contracts.portal, &poor, limits()).await;
    let Ok(DepositOutcome::Failed(SendOutcome::Reverted { reason, tx: None })) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.to_string().contains("GasLimitTooLow"), "{reason}");
    assert_eq!(client.balance(key(2).address()).await.expect("balance"), balance);
}

#[tokio::test]
async fn posts_blobs_and_gets_them_back() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    assert!(client.head().await.expect("head").has_blobs());
    let chain = chain(&client).await;
    let mut poster = poster(&client, &chain, limits());

    for count in [1u8, 6] {
        let blobs: Vec<Blob> = (0..count).map(blob).collect();
        let hashes: Vec<B256> =
            blobs.iter().map(|blob| versioned_hash(blob).expect("a blob")).collect();
        let posted =
            included(poster.post(None, 0, BatchBody::Blobs(blobs.clone())).await.expect("posts"));
        let records = all_records(&client, &chain).await.expect("records");
        let last = records.last().expect("a record");
        assert_eq!(poster.record(&posted), Some(last.record.index));
        let RecordPayload::Batch(batch) = &last.record.payload else { panic!("{last:?}") };
        assert_eq!(batch.data, BatchData::Blobs(hashes.clone()));
        assert_eq!((batch.submitter, batch.lease_id), (key(1).address(), U256::from(1)));

        // In another order, and one of them twice.
        let asked: Vec<B256> = hashes.iter().rev().chain(&hashes[..1]).copied().collect();
        let found = client.blobs(posted.block.number, &asked).await.expect("blobs");
        let wanted: Vec<&Blob> = blobs.iter().rev().chain(&blobs[..1]).collect();
        assert!(found.iter().map(|blob| &**blob).eq(wanted));
    }

    let absent = B256::with_last_byte(1);
    let head = client.head().await.expect("head").number;
    let error = client.blobs(head, &[absent]).await.expect_err("there is no such blob");
    assert!(matches!(error, L1Error::MissingBlob { hash, .. } if hash == absent), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn posts_calldata_and_reports_reverts_by_name() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let data = Bytes::from(vec![0x5a; 65_536]);
    let mut leader = poster(&client, &chain, limits());
    let posted =
        included(leader.post(None, 0, BatchBody::Calldata(data.clone())).await.expect("posts"));
    let records = all_records(&client, &chain).await.expect("records");
    let last = records.last().expect("a record");
    assert_eq!(leader.record(&posted), Some(last.record.index));
    let RecordPayload::Batch(batch) = &last.record.payload else { panic!("{last:?}") };
    assert_eq!(batch.data, BatchData::Calldata(data));

    let small = BatchBody::Calldata(Bytes::from_static(b"x"));
    let mut stranger = Poster::new(client.clone(), key(2), chain.contracts.inbox, limits());
    let mut refusals = vec![(stranger.post(None, 0, small.clone()).await, "NotAllowed")];
    refusals.push((leader.post(None, 1, small.clone()).await, "ForcedUpToOutOfRange"));
    deposit_with(&client, &chain, b"").await;
    let _: i64 = client.request("evm_increaseTime", (21,)).await.expect("evm_increaseTime");
    mine(&client, 1).await;
    refusals.push((leader.post(None, 0, small.clone()).await, "ForcedItemOmitted"));
    for (outcome, name) in refusals {
        let Ok(SendOutcome::Reverted { reason, tx: None }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(reason.to_string().starts_with(name), "{reason} is not {name}");
    }
    included(leader.post(None, 1, small).await.expect("posts"));
}

#[tokio::test]
async fn follows_reorganisations() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let (inbox, start) = (chain.contracts.inbox, chain.parameters.l1_start_block);
    let mut follower = Follower::new(inbox, start, 0, []);
    deposit_with(&client, &chain, b"one").await;
    mine(&client, 2).await;
    let lost = deposit_with(&client, &chain, b"two").await;
    drain(&mut follower, &client).await;
    assert_eq!(follower.position().next, 3);

    // Two blocks go, and with them the second deposit.
    let no_transactions: Vec<(B256, u64)> = Vec::new();
    let _: Option<bool> =
        client.request("anvil_reorg", (2u64, no_transactions)).await.expect("anvil_reorg");
    let restarted = follower.clone();
    let events = drain(&mut follower, &client).await;
    let Event::Reorg { keep: 2, common_ancestor: Some(ancestor) } = &events[0] else {
        panic!("{events:?}");
    };
    let canonical = client.block(ancestor.number).await.expect("block").expect("there");
    assert_eq!(canonical.hash, ancestor.hash);
    assert!(ancestor.number < lost.l1_block.number);
    assert_eq!(follower.position().next, 2);

    let replaced = deposit_with(&client, &chain, b"three").await;
    let events = drain(&mut follower, &client).await;
    let [Event::Records { records, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(records[0].record.payload, RecordPayload::Forced(replaced.item));
    assert_eq!(records[0].record.index, 2);

    // From what was stored before the reorganisation, a new process finds the same.
    let stored: Vec<_> = restarted.checkpoints().copied().collect();
    let mut restarted = Follower::new(inbox, start, 0, stored);
    assert!(matches!(drain(&mut restarted, &client).await[0], Event::Reorg { keep: 2, .. }));
    assert_eq!(restarted.position(), follower.position());

    // And so does one that starts from nothing and waits for confirmations.
    mine(&client, 1).await;
    let mut patient = Follower::new(inbox, start, 2, []);
    drain(&mut patient, &client).await;
    assert_eq!(patient.position().next, 2);
    mine(&client, 1).await;
    drain(&mut patient, &client).await;
    assert_eq!(patient.position(), follower.position());
}

#[tokio::test]
async fn a_whole_chain_that_vanished_starts_over() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let snapshot: U256 = client.request("evm_snapshot", ()).await.expect("evm_snapshot");
    let chain = chain(&client).await;
    let mut follower = Follower::new(chain.contracts.inbox, chain.parameters.l1_start_block, 0, []);
    drain(&mut follower, &client).await;
    assert_eq!(follower.position().next, 1);
    let _: bool = client.request("evm_revert", (snapshot,)).await.expect("evm_revert");
    let events = drain(&mut follower, &client).await;
    assert_eq!(events, [Event::Reorg { keep: 0, common_ancestor: None }]);
}

#[tokio::test]
async fn raises_the_fee_of_a_stuck_batch() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let _: Option<bool> = client.request("evm_setAutomine", (false,)).await.expect("automine off");

    for body in [BatchBody::Blobs(vec![blob(1)]), BatchBody::Calldata(Bytes::from_static(b"z"))] {
        // A block without a batch, as L1 always makes one meanwhile.
        mine(&client, 1).await;
        // Given up after two attempts ...
        let two = SendLimits { attempts: 2, ..limits() };
        let mut poster = poster(&client, &chain, two);
        let stuck = poster.post(None, 0, body.clone()).await.expect("Anvil answers");
        let SendOutcome::Stuck { tx: Some(first), attempts: 2 } = stuck else {
            panic!("{stuck:?}");
        };
        // ... by a process that then stops; the next one replaces what it left.
        let mut poster = Poster::new(client.clone(), key(1), chain.contracts.inbox, limits());
        let task = tokio::spawn(async move { poster.post(None, 0, body).await });
        let mut replaced = false;
        for _ in 0..600 {
            let known: Option<serde_json::Value> =
                client.request("eth_getTransactionByHash", (first,)).await.expect("Anvil answers");
            replaced = known.is_none();
            if replaced {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(replaced, "the first transaction is still in the pool");
        mine(&client, 1).await;
        let included = included(task.await.expect("no panic").expect("Anvil answers"));
        assert_ne!(included.tx, first);
        assert!(client.receipt(first).await.expect("Anvil answers").is_none());
    }
    let records = all_records(&client, &chain).await.expect("records");
    assert_eq!(records.len(), 3, "each batch once");
}

#[tokio::test]
async fn never_pays_more_than_its_limit() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let balance = client.balance(key(1).address()).await.expect("balance");
    let mean = SendLimits { max_fee_per_gas: 1, ..limits() };
    let outcome = poster(&client, &chain, mean)
        .post(None, 0, BatchBody::Calldata(Bytes::from_static(b"z")))
        .await
        .expect("Anvil answers");
    assert!(matches!(outcome, SendOutcome::FeeTooHigh { .. }), "{outcome:?}");
    assert_eq!(client.balance(key(1).address()).await.expect("balance"), balance);
    assert_eq!(client.nonce(key(1).address()).await.expect("nonce"), 0);
}

#[tokio::test]
async fn every_changed_digit_of_a_log_is_noticed() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    deposit_with(&client, &chain, &[0xcd; 70]).await;
    let body = BatchBody::Calldata(Bytes::from_static(b"batch"));
    included(poster(&client, &chain, limits()).post(None, 0, body).await.expect("posts"));
    let honest = all_records(&client, &chain).await.expect("records");
    assert_eq!(honest.len(), 3);

    let at = Arc::new(AtomicUsize::new(0));
    let digits = Arc::new(AtomicUsize::new(usize::MAX));
    let (place, count) = (at.clone(), digits.clone());
    let url = proxy(
        anvil.url.clone(),
        Arc::new(move |request, answer| {
            if !request.contains("eth_getLogs") {
                return answer;
            }
            // Hexadecimal digits of topics and data.
            let places: Vec<usize> = answer
                .match_indices("\"data\":\"0x")
                .chain(answer.match_indices("\"topics\":["))
                .flat_map(|(start, found)| {
                    let start = start + found.len();
                    let end = start + answer[start..].find(['"', ']']).expect("it ends");
                    start..end
                })
                .filter(|i| answer.as_bytes()[*i].is_ascii_hexdigit())
                .collect();
            count.store(places.len(), Ordering::SeqCst);
            let mut bytes = answer.into_bytes();
            let digit = &mut bytes[places[place.load(Ordering::SeqCst)]];
            *digit = if *digit == b'1' { b'2' } else { b'1' };
            String::from_utf8(bytes).expect("still ASCII")
        }),
    )
    .await;
    let liar = L1Client::connect(&url, &[]).await.expect("the proxy answers");
    let (mut caught, mut harmless) = (0, 0);
    for place in (0..).step_by(11).take_while(|place| *place < digits.load(Ordering::SeqCst)) {
        at.store(place, Ordering::SeqCst);
        match all_records(&liar, &chain).await {
            Err(L1Error::Log { index, fault }) => {
                assert!(index < 3, "{fault}");
                caught += 1;
            }
            // Padding that no field is read from.
            Ok(records) => {
                assert_eq!(records, honest, "digit {place}");
                harmless += 1;
            }
            Err(other) => panic!("digit {place}: {other}"),
        }
    }
    assert!(caught > 50 && harmless < caught, "{caught} caught, {harmless} harmless");
}

#[tokio::test]
async fn a_log_that_is_left_out_is_named() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    for _ in 0..2 {
        deposit_with(&client, &chain, b"").await;
    }
    let url = proxy(
        anvil.url.clone(),
        Arc::new(|request, answer| {
            if !request.contains("eth_getLogs") {
                return answer;
            }
            let mut json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            json["result"].as_array_mut().expect("logs").remove(1);
            json.to_string()
        }),
    )
    .await;
    let liar = L1Client::connect(&url, &[]).await.expect("the proxy answers");
    let error = all_records(&liar, &chain).await.expect_err("one is missing");
    let expected = LogFault::Index { found: 2 };
    assert!(matches!(error, L1Error::Log { index: 1, fault } if fault == expected), "{error}");
}

/// What the other nodes under that URL answer about the state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Kept,
    Pruned,
    /// That of a branch without the records, on which the block is not.
    OfAnotherBranch,
}

impl State {
    /// In the place of the answer to `request`, if it is another.
    fn answer(self, request: &str) -> Option<(&'static str, serde_json::Value)> {
        let error = |message| ("error", serde_json::json!({"code": -32000, "message": message}));
        match self {
            _ if !request.contains("eth_call") => None,
            Self::Kept => None,
            Self::Pruned => Some(error("missing trie node")),
            Self::OfAnotherBranch if request.contains("blockHash") => {
                Some(error("header for hash not found"))
            }
            Self::OfAnotherBranch => Some(("result", serde_json::json!(B256::ZERO))),
        }
    }
}

/// Several nodes answer in turn under one URL, and the one that is asked for logs lags: blocks whose records it lacks do not count
/// as read, whether or not the others keep the state that tells.
#[tokio::test]
async fn records_that_a_lagging_node_lacks_are_read_later() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    for state in [State::Kept, State::Pruned, State::OfAnotherBranch] {
        let lags = Arc::new(AtomicBool::new(true));
        let lagging = lags.clone();
        let lie: Lie = Arc::new(move |request, answer| {
            let lags = lagging.load(Ordering::SeqCst);
            let result = match () {
                _ if lags && request.contains("eth_getLogs") => ("result", serde_json::json!([])),
                _ if lags || state == State::Pruned => match state.answer(request) {
                    Some(result) => result,
                    None => return answer,
                },
                _ => return answer,
            };
            let request: serde_json::Value = serde_json::from_str(request).expect("JSON");
            serde_json::json!({"jsonrpc": "2.0", "id": request["id"], result.0: result.1})
                .to_string()
        });
        let url = proxy(anvil.url.clone(), lie).await;
        let unreliable = L1Client::connect(&url, &[]).await.expect("the proxy answers");
        let start = chain.parameters.l1_start_block;
        let mut follower = Follower::new(chain.contracts.inbox, start, 0, []);
        let first = follower.poll(&unreliable).await.expect("answers");
        assert_eq!(first == Event::Unsettled, state != State::Pruned, "{state:?}: {first:?}");
        lags.store(false, Ordering::SeqCst);
        deposit_with(&client, &chain, b"").await;
        let mut found = Vec::new();
        for _ in 0..5 {
            match follower.poll(&unreliable).await.expect("answers") {
                Event::Records { records, .. } => found.extend(records),
                Event::Idle => break,
                Event::Unsettled => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found, all_records(&client, &chain).await.expect("records"));
    }
}

/// An endpoint that lacks what it had is behind for a while; only then did L1 get shorter. Another block in the place of one that was
/// read says at once that it reorganised.
#[tokio::test]
async fn an_endpoint_that_is_behind_is_borne_for_a_while() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let (inbox, start) = (chain.contracts.inbox, chain.parameters.l1_start_block);
    let patience = Duration::from_millis(300);
    let mut follower = Follower::new(inbox, start, 0, []).with_patience(patience);
    deposit_with(&client, &chain, b"one").await;
    mine(&client, 3).await;
    drain(&mut follower, &client).await;
    // Read block by block, so that there is something to roll back to.
    mine(&client, 1).await;
    drain(&mut follower, &client).await;
    let read = follower.block().expect("a block");
    let _: Option<bool> = client.request("anvil_rollback", (1u64,)).await.expect("anvil_rollback");
    let event = follower.poll(&client).await.expect("answers");
    let Event::Behind { head } = event else { panic!("{event:?}") };
    assert_eq!(head.number + 1, read.number);
    assert_eq!(follower.block(), Some(read));
    tokio::time::sleep(patience).await;
    let event = follower.poll(&client).await.expect("answers");
    assert!(matches!(event, Event::Reorg { keep: 2, .. }), "{event:?}");
    assert_eq!(follower.block().map(|block| block.number), Some(read.number - 1));
}

#[tokio::test]
async fn splits_ranges_that_are_refused() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    for _ in 0..5 {
        deposit_with(&client, &chain, b"").await;
        mine(&client, 6).await;
    }
    let url = proxy(
        anvil.url.clone(),
        Arc::new(|request, answer| {
            if !request.contains("eth_getLogs") {
                return answer;
            }
            let request: serde_json::Value = serde_json::from_str(request).expect("JSON");
            let number = |name: &str| {
                let hex = request["params"][0][name].as_str().expect("a number");
                u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("hexadecimal")
            };
            if number("toBlock") - number("fromBlock") < 3 {
                return answer;
            }
            let error = serde_json::json!({"code": -32602, "message": "range is too large"});
            serde_json::json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string()
        }),
    )
    .await;
    let strict = L1Client::connect(&url, &[]).await.expect("the proxy answers");
    let records = all_records(&strict, &chain).await.expect("records");
    assert_eq!(records, all_records(&client, &chain).await.expect("records"));

    let mut follower = Follower::new(chain.contracts.inbox, chain.parameters.l1_start_block, 0, []);
    let found: Vec<L1Record> = drain(&mut follower, &strict)
        .await
        .into_iter()
        .flat_map(|event| match event {
            Event::Records { records, .. } => records,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, records);
}

#[tokio::test]
async fn a_changed_blob_is_not_taken_and_another_source_is_asked() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    let chain = chain(&client).await;
    let body = BatchBody::Blobs(vec![blob(3)]);
    let posted =
        included(poster(&client, &chain, limits()).post(None, 0, body).await.expect("posts"));
    let hash = versioned_hash(&blob(3)).expect("a blob");
    let liar =
        proxy(
            anvil.url.clone(),
            Arc::new(|request, answer| {
                if request.contains("/blobs/") { answer.replacen("5d", "5e", 1) } else { answer }
            }),
        )
        .await;
    let deceived =
        L1Client::connect(&anvil.url, std::slice::from_ref(&liar)).await.expect("connects");
    let error = deceived.blobs(posted.block.number, &[hash]).await.expect_err("a lie");
    assert!(matches!(error, L1Error::MissingBlob { .. }), "{error}");

    let sources = [liar, anvil.url.clone()];
    let warned = L1Client::connect(&anvil.url, &sources).await.expect("connects");
    let found = warned.blobs(posted.block.number, &[hash]).await.expect("the second source");
    assert_eq!(*found[0], blob(3));
}

#[tokio::test]
async fn a_beacon_node_is_asked_by_slot() {
    let anvil = Anvil::start(&[]).await;
    let client = anvil.client().await;
    mine(&client, 2).await;
    let head = client.head().await.expect("head");
    // 100 slots and 11 seconds ago, so the head lies in slot 100.
    let genesis = head.timestamp - 1_211;
    let url = beacon(genesis, 100, vec![blob(1), blob(2), blob(3)]).await;
    let client = L1Client::connect(&anvil.url, &[url]).await.expect("connects");
    let hashes = [3, 1].map(|seed| versioned_hash(&blob(seed)).expect("a blob"));
    let found = client.blobs(head.number, &hashes).await.expect("blobs");
    assert_eq!([&*found[0], &*found[1]], [&blob(3), &blob(1)]);
}

#[tokio::test]
async fn nobody_there_is_an_error_that_passes() {
    let error = L1Client::connect("http://127.0.0.1:1", &[]).await.expect_err("nobody");
    assert!(error.is_transient(), "{error}");
    let anvil = Anvil::start(&[]).await;
    let error = anvil.client().await.expect_chain(1).expect_err("another chain");
    assert!(matches!(error, L1Error::WrongChain { expected: 1, actual: 900 }));
    assert!(!error.is_transient());
}
