//! Nodes that lie, lag and fail: whatever they do, nothing wrong is settled, and what is right is settled once.

use std::time::Duration;

use alloy::{primitives::Bytes, providers::Provider};
use devstack::scripted_node::{Fault, Rule};
use e2e::{Env, Wallet, on_hasty_finality, on_lying_nodes, wait};

/// How long the ingester has for what it must not do.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whatever is in a block, neither its logs nor its receipts show it.
const HIDDEN: [Rule; 2] = [
    Rule::always("eth_getLogs", Fault::NoLogs),
    Rule::always("eth_getBlockReceipts", Fault::NoLogs),
];

/// Both nodes follow the same rules.
fn both_follow(env: &Env, rules: &[Rule]) {
    env.nodes.iter().for_each(|node| node.follow(rules.to_vec()));
}

#[test]
fn an_operation_is_settled_once_though_both_nodes_fail_by_chance() {
    on_lying_nodes(async |env| {
        let user = env.user("chance", Wallet::SIMPLE_08).await;
        let op = user.prepares(&user.increment()).await;
        both_follow(env, &Rule::by_chance(20));
        let sent = user.signs_and_submits(&user.increment(), &op).await;
        user.reaches("settled_provisional", &sent.op).await;
        env.make_final().await;
        user.settled_exactly(env, &sent).await;
        for node in &env.nodes {
            assert!(node.faults() > 0, "nothing went wrong");
        }
    });
}

#[test]
fn a_node_that_lies_alone_is_not_believed() {
    on_lying_nodes(async |env| {
        let lies = [
            Rule::always("eth_getBlockByNumber", Fault::WrongBlock),
            Rule::always("eth_getBlockByNumber", Fault::StaleHead(1)),
            Rule::always("eth_getBlockReceipts", Fault::TruncatedLogs),
            Rule::always("eth_getLogs", Fault::NoLogs),
            Rule::always("eth_getLogs", Fault::Status(429)),
            Rule::always("eth_getLogs", Fault::Disconnect),
        ];
        let mut told = env.nodes[0].faults();
        for (number, lie) in lies.into_iter().enumerate() {
            let user = env.user(&format!("liar-{number}"), Wallet::SIMPLE_07).await;
            let op = user.prepares(&user.increment()).await;
            env.nodes[0].follow(vec![lie]);
            let sent = user.signs_and_submits(&user.increment(), &op).await;
            user.reaches("settled_provisional", &sent.op).await;
            assert!(env.nodes[0].faults() > told, "the lie was not told");
            told = env.nodes[0].faults();
            env.nodes[0].behave();
            env.make_final().await;
            user.settled_exactly(env, &sent).await;
        }
    });
}

#[test]
fn a_block_whose_logs_are_missing_is_not_passed_and_nothing_is_released_behind_it() {
    on_lying_nodes(async |env| {
        let user = env.user("hidden", Wallet::SIMPLE_08).await;
        let op = user.prepares(&user.increment()).await;
        both_follow(env, &HIDDEN);
        let request = user.increment();
        let sent = user.signs_and_submits(&request, &op).await;
        assert!(user.lands(&request, &sent).await.success);
        let landed = env.head().await;
        // Past every window, and final.
        env.pass_seconds(4_000).await;
        env.mine(100).await;
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(user.reservation().await.state, "open");
        assert!(env.ledger.head_block().await < Some(landed), "the block was passed");

        both_follow(env, &[]);
        user.settled_exactly(env, &sent).await;
        assert_eq!(user.count().await, 1);
    });
}

#[test]
fn while_two_nodes_disagree_nothing_is_signed_and_nothing_is_final() {
    on_lying_nodes(async |env| {
        let user = env.user("disputed", Wallet::SIMPLE_07).await;
        let sent = user.sends(&user.increment()).await;
        user.reaches("settled_provisional", &sent.op).await;
        let body = user.sponsorship_body(&user.estimates().await);
        let before = env.ledger.final_block().await;
        env.nodes[1].follow(vec![Rule::always("eth_getBlockByNumber", Fault::OtherBranch)]);
        wait::until("the disagreement is noticed", 10, async || {
            env.ledger.doubt().await.ok_or_else(|| "it is not".to_owned())
        })
        .await;
        let refused = env.api.post_keyed("v1/sponsorships", "disputed", &body).await;
        assert_eq!((refused.status, refused.code()), (503, "chain_halted".to_owned()));
        env.mine(100).await;
        tokio::time::sleep(PATIENCE).await;
        assert_eq!(env.ledger.final_block().await, before);
        assert_eq!(user.reservations().await[0].state, "settled_provisional");

        env.nodes[1].behave();
        user.settled_exactly(env, &sent).await;
        let other = env.user("undisputed", Wallet::SIMPLE_08).await;
        let sent = other.sends(&other.increment()).await;
        other.reaches("settled_provisional", &sent.op).await;
    });
}

#[test]
fn what_happened_while_nobody_read_is_caught_up_in_stretches_that_the_nodes_give() {
    on_lying_nodes(async |env| {
        let user = env.user("absent", Wallet::SIMPLE_07).await;
        // What others left open would be looked for block by block.
        env.pass_seconds(4_000).await;
        env.make_final().await;
        wait::until("nothing is open", 30, async || match env.ledger.open().await {
            0 => Ok(()),
            open => Err(format!("{open} reservations are")),
        })
        .await;
        env.crash_service().await;
        env.mine(600).await;
        let head = env.head().await;

        env.nodes[1].follow(vec![Rule::always("eth_getLogs", Fault::RangeLimit(50))]);
        let asked = || env.nodes.iter().map(|node| node.asked("eth_getLogs")).sum::<usize>();
        let before = asked();
        env.restart_service().await;
        wait::until("the service has read what happened", 30, async || {
            let read = env.ledger.head_block().await;
            if read >= Some(head) { Ok(()) } else { Err(format!("it is at {read:?}")) }
        })
        .await;
        // 500 final blocks by 50 at most, three times each, and 80 one by one.
        let questions = asked() - before;
        assert!(questions < 200, "{questions} questions");

        let sent = user.sends(&user.increment()).await;
        user.reaches("settled_provisional", &sent.op).await;
    });
}

#[test]
fn an_operation_that_landed_while_nobody_read_is_looked_for_block_by_block() {
    on_lying_nodes(async |env| {
        let user = env.user("unread", Wallet::SIMPLE_07).await;
        env.stack.bundler.hold().await.unwrap();
        let request = user.increment();
        let sent = user.sends(&request).await;
        env.crash_service().await;
        env.mine(20).await;
        env.stack.bundler.bundle_now().await.unwrap();
        assert!(user.lands(&request, &sent).await.success);
        let landed = env.head().await;
        env.stack.bundler.release().await.unwrap();
        env.pass_seconds(4_000).await;
        env.mine(100).await;

        // Final, and both nodes leave it out.
        both_follow(env, &HIDDEN);
        env.restart_service().await;
        tokio::time::sleep(PATIENCE).await;
        assert!(env.ledger.head_block().await < Some(landed), "the block was passed");
        assert_eq!(user.reservation().await.state, "open");
        both_follow(env, &[]);
        user.settled_exactly(env, &sent).await;
        assert_eq!(user.count().await, 1);
    });
}

#[test]
fn a_reorganisation_of_any_depth_up_to_finality_is_undone_and_redone() {
    on_lying_nodes(async |env| {
        let provider = env.stack.node().provider();
        for depth in [1, 2, 7, 33, 64] {
            let user = env.user(&format!("depth-{depth}"), Wallet::SIMPLE_08).await;
            let sent = user.sends(&user.increment()).await;
            let first = user.reaches("settled_provisional", &sent.op).await.settlement.unwrap();
            let bundle: Bytes = provider
                .raw_request("eth_getRawTransactionByHash".into(), (first.transaction_hash,))
                .await
                .unwrap();
            env.mine(depth - 1).await;
            env.reorganise_from(first.block_number, first.block_hash).await;
            let undone = user.reaches("open", &sent.op).await;
            assert_eq!(undone.settlement, None);
            user.books_agree(env).await;

            let again = provider.send_raw_transaction(&bundle).await.unwrap();
            assert_eq!(*again.tx_hash(), first.transaction_hash);
            let second = user.reaches("settled_provisional", &sent.op).await.settlement.unwrap();
            assert_ne!(second.block_hash, first.block_hash);
            env.make_final().await;
            user.settled_exactly(env, &sent).await;
        }
    });
}

#[test]
fn a_reorganisation_past_finality_halts_signing_on_that_chain() {
    on_hasty_finality("stipend_reorganised", async |env| {
        let user = env.user("hasty", Wallet::SIMPLE_07).await;
        let body = user.sponsorship_body(&user.estimates().await);
        let sent = user.sends(&user.increment()).await;
        let settled = user.settles(&sent).await.settlement.unwrap();
        env.reorganise_from(settled.block_number, settled.block_hash).await;
        wait::until("the chain is halted", 30, async || {
            env.ledger.halted().await.ok_or_else(|| "it is not".to_owned())
        })
        .await;
        assert_eq!(env.ledger.halted().await.unwrap(), "reorganisation_past_finality");
        let refused = env.api.post_keyed("v1/sponsorships", "halted", &body).await;
        assert_eq!((refused.status, refused.code()), (503, "chain_halted".to_owned()));
        user.reaches("settled_final", &sent.op).await;

        let at = (settled.block_number - 1).to_string();
        let order = ["admin", "chain", "resume", "--chain", "31337", "--at", &at];
        let said = env.stipend(&order).await.unwrap();
        assert!(
            said.contains("1 events lie above") && said.contains("nothing was changed"),
            "{said}"
        );
        assert!(env.ledger.halted().await.is_some());
        env.stipend(&[&order[..], &["--send"]].concat()).await.unwrap();
        assert_eq!(env.ledger.halted().await, None);
        env.stipend(&order).await.unwrap_err();

        // Who was charged for good stays charged, and everybody is served again.
        let other = env.user("resumed", Wallet::SIMPLE_08).await;
        let sent_again = other.sends(&other.increment()).await;
        other.settles(&sent_again).await;
        user.reaches("settled_final", &sent.op).await;
        assert_eq!(env.ledger.halted().await, None);
    });
}

#[test]
fn an_operation_that_no_event_told_of_is_found_by_its_nonce_and_never_released() {
    on_hasty_finality("stipend_missed", async |env| {
        let user = env.user("missed", Wallet::SIMPLE_08).await;
        let request = user.increment();
        let op = user.prepares(&request).await;
        both_follow(
            env,
            &[
                Rule::always("eth_getLogs", Fault::NoLogs),
                Rule::always("eth_getBlockByNumber", Fault::NoBloom),
                Rule::always("eth_getBlockByHash", Fault::NoBloom),
            ],
        );
        let sent = user.signs_and_submits(&request, &op).await;
        assert!(user.lands(&request, &sent).await.success);
        let landed = env.head().await;
        wait::until("the block is passed without its event", 30, async || {
            let read = env.ledger.head_block().await;
            if read >= Some(landed) { Ok(()) } else { Err(format!("it is at {read:?}")) }
        })
        .await;
        both_follow(env, &[]);
        env.pass_seconds(4_000).await;
        env.make_final().await;
        wait::until("the chain is halted", 30, async || {
            env.mine(1).await;
            env.ledger.halted().await.ok_or_else(|| "it is not".to_owned())
        })
        .await;
        assert_eq!(env.ledger.halted().await.unwrap(), "missed_event");
        let held = user.reservation().await;
        assert_eq!(held.state, "open");
        assert_eq!(user.balances().await.reserved, held.reserved);

        let (from, to) = ((landed - 1).to_string(), landed.to_string());
        let order = ["admin", "chain", "reread", "--chain", "31337", "--from", &from, "--to", &to];
        let said = env.stipend(&order).await.unwrap();
        assert!(said.contains("1 events were left out"), "{said}");
        env.stipend(&[&order[..], &["--send"]].concat()).await.unwrap();
        user.settled_exactly(env, &sent).await;
        assert_eq!(env.ledger.halted().await, None);
    });
}
