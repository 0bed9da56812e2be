//! A real node behind a proxy that lies as it is told, alone and with an honest one beside it.

use chain::logs::{LogsError, OperationLog};
use chain::node::{Header, Node};
use chain::{Agreement, Finality, RpcError};
use devstack::scripted_node::{Fault, Rule, ScriptedNode};

use crate::logs::{OURS, PAYMASTER, echoing_chain, emit, event};
use crate::{Chain, DEADLINE};

/// A chain with two operations in each of its blocks, and the node that lies about it.
struct Scene {
    chain: Chain,
    liar: ScriptedNode,
}

impl Scene {
    async fn start(blocks: u64) -> Self {
        let chain = echoing_chain().await;
        for nonce in 0..blocks {
            emit(&chain, OURS.entry_points[0], &event(PAYMASTER, 2 * nonce)).await;
            emit(&chain, OURS.entry_points[1], &event(PAYMASTER, 2 * nonce + 1)).await;
            chain.mine(1).await;
        }
        let liar = ScriptedNode::start(&chain.url()).await.unwrap();
        Self { chain, liar }
    }

    /// Nobody but the liar is asked.
    fn alone(&self) -> Node {
        Node::connect(&[self.liar.url().clone()], DEADLINE).unwrap()
    }

    /// The liar is asked first, and the chain itself behind it.
    fn with_witness(&self) -> Node {
        Node::connect(&[self.liar.url().clone(), self.chain.url()], DEADLINE).unwrap()
    }

    async fn block(&self, number: u64) -> Header {
        self.chain.node().header_by_number(number).await.unwrap().unwrap()
    }
}

fn nonces(logs: &[OperationLog]) -> Vec<u64> {
    logs.iter().map(|log| log.event.nonce.to()).collect()
}

#[tokio::test]
async fn logs_that_are_missing_are_missed_and_another_node_has_them() {
    let scene = Scene::start(1).await;
    let block = scene.block(1).await;
    let honest = scene.alone().operation_logs(&block, OURS).await.unwrap();
    assert_eq!(nonces(&honest), [0, 1]);
    for lie in [Fault::TruncatedLogs, Fault::NoLogs] {
        // The header knows better than the index of logs, and the receipts have what it speaks of.
        scene.liar.follow(vec![Rule::always("eth_getLogs", lie)]);
        assert_eq!(scene.alone().operation_logs(&block, OURS).await, Ok(honest.clone()));
        scene.liar.follow(vec![Rule::always("eth_getBlockReceipts", lie)]);
        let alone = scene.alone().operation_logs(&block, OURS).await;
        assert_eq!(alone, Err(LogsError::Incomplete(block.hash)), "{lie:?}");
        assert_eq!(scene.with_witness().operation_logs(&block, OURS).await, Ok(honest.clone()));
    }
}

#[tokio::test]
async fn a_block_without_ours_needs_no_receipts() {
    let scene = Scene::start(0).await;
    scene.chain.mine(1).await;
    let block = scene.block(1).await;
    assert_eq!(scene.alone().operation_logs(&block, OURS).await, Ok(vec![]));
    assert_eq!(scene.liar.asked("eth_getLogs"), 1);
    assert_eq!(scene.liar.asked("eth_getBlockReceipts"), 0);
}

#[tokio::test]
async fn a_node_that_lags_is_no_empty_block_and_is_asked_last_in_time() {
    let scene = Scene::start(2).await;
    scene.liar.follow(vec![Rule { method: None, ..Rule::always("", Fault::StaleHead(1)) }]);
    let (alone, both) = (scene.alone(), scene.with_witness());
    let block = scene.block(2).await;
    assert_eq!(alone.head().await.unwrap().number, 1);
    assert_eq!(alone.header_by_number(2).await, Ok(None));
    let unknown = LogsError::UnknownBlock(block.hash);
    assert_eq!(alone.operation_logs(&block, OURS).await, Err(unknown));

    assert_eq!(both.header_by_number(2).await, Ok(Some(block)));
    assert_eq!(nonces(&both.operation_logs(&block, OURS).await.unwrap()), [2, 3]);
    // Three times another one knew better.
    let before = scene.liar.asked("eth_getBlockByNumber");
    assert_eq!(both.head().await, Ok(block));
    assert_eq!(scene.liar.asked("eth_getBlockByNumber"), before);
}

#[tokio::test]
async fn another_block_than_was_asked_for_is_asked_for_elsewhere() {
    let scene = Scene::start(2).await;
    scene.liar.follow(vec![Rule::always("eth_getBlockByNumber", Fault::WrongBlock)]);
    let alone = scene.alone().header_by_number(2).await;
    assert!(matches!(alone, Err(RpcError::Malformed { .. })), "{alone:?}");
    let block = scene.block(2).await;
    assert_eq!(scene.with_witness().header_by_number(2).await, Ok(Some(block)));
}

#[tokio::test]
async fn a_node_that_fails_again_and_again_is_spared_and_still_asked_when_nobody_else_answers() {
    let scene = Scene::start(1).await;
    for fault in [Fault::Status(429), Fault::Status(502), Fault::Disconnect] {
        let before = scene.liar.asked("eth_chainId");
        let both = scene.with_witness();
        scene.liar.follow(vec![Rule::always("eth_chainId", fault)]);
        for _ in 0..5 {
            both.chain_id().await.unwrap();
        }
        assert_eq!(scene.liar.asked("eth_chainId") - before, 3, "{fault:?}");
    }
    let alone = scene.alone();
    for _ in 0..5 {
        alone.chain_id().await.unwrap_err();
    }
    scene.liar.behave();
    alone.chain_id().await.unwrap();
}

#[tokio::test]
async fn a_stretch_has_the_logs_of_its_blocks() {
    let scene = Scene::start(4).await;
    let node = scene.alone();
    let stretch = node.operation_logs_between(2, 3, OURS, 1).await.unwrap();
    assert_eq!(stretch.onto, scene.block(1).await.hash);
    assert_eq!(stretch.last, scene.block(3).await);
    let mut found = Vec::new();
    for (number, (block, logs)) in (2..).zip(&stretch.blocks) {
        let header = scene.block(number).await;
        assert_eq!(*block, header.block());
        assert_eq!(*logs, node.operation_logs(&header, OURS).await.unwrap());
        found.extend(nonces(logs));
    }
    assert_eq!(found, [2, 3, 4, 5]);

    scene.liar.follow(vec![Rule::always("eth_getLogs", Fault::RangeLimit(2))]);
    let refused = node.operation_logs_between(1, 3, OURS, 1).await;
    assert!(matches!(refused, Err(LogsError::TooWide(_))), "{refused:?}");
    assert_eq!(node.operation_logs_between(2, 3, OURS, 1).await, Ok(stretch));
}

#[tokio::test]
async fn logs_of_final_blocks_that_two_nodes_give_differently_are_disputed() {
    let scene = Scene::start(3).await;
    for lie in [Fault::TruncatedLogs, Fault::NoLogs] {
        scene.liar.follow(vec![Rule::always("eth_getLogs", lie)]);
        let disputed = scene.with_witness().operation_logs_between(1, 3, OURS, 2).await;
        assert_eq!(disputed, Err(LogsError::Disputed));
    }
    scene.liar.behave();
    let stretch = scene.with_witness().operation_logs_between(1, 3, OURS, 2).await.unwrap();
    assert_eq!(stretch.blocks.len(), 3);
    // A witness that gives fewer at once is no liar.
    scene.liar.follow(vec![Rule::always("eth_getLogs", Fault::RangeLimit(2))]);
    let behind = Node::connect(&[scene.chain.url(), scene.liar.url().clone()], DEADLINE).unwrap();
    let refused = behind.operation_logs_between(1, 3, OURS, 2).await;
    assert!(matches!(refused, Err(LogsError::TooWide(_))), "{refused:?}");
    behind.operation_logs_between(1, 2, OURS, 2).await.unwrap();
    // Nor is one that lags: it says nothing.
    let lag = Rule { method: None, ..Rule::always("", Fault::StaleHead(1)) };
    scene.liar.follow(vec![lag]);
    let alone = behind.operation_logs_between(1, 3, OURS, 2).await;
    assert!(matches!(alone, Err(LogsError::Rpc(_))), "{alone:?}");
    // One of two does not answer: nothing is certain.
    scene.liar.follow(vec![Rule::always("eth_getLogs", Fault::Status(503))]);
    scene.with_witness().operation_logs_between(1, 3, OURS, 2).await.unwrap_err();
    scene.with_witness().operation_logs_between(1, 3, OURS, 1).await.unwrap();
}

#[tokio::test]
async fn what_is_final_is_what_enough_nodes_show() {
    let scene = Scene::start(3).await;
    let both = scene.with_witness();
    let block = both.final_header(&Finality::Depth(1)).await.unwrap().unwrap();
    assert_eq!(block.number, 2);
    assert_eq!(both.agreement(&block, 2).await, Agreement::Confirmed);

    let other = Header { hash: block.parent_hash, ..block };
    assert_eq!(both.agreement(&other, 2).await, Agreement::Contradicted);
    // With a quorum of one nobody is asked.
    assert_eq!(both.agreement(&other, 1).await, Agreement::Confirmed);

    for silence in [Fault::StaleHead(1), Fault::Status(503)] {
        scene.liar.follow(vec![Rule::always("eth_getBlockByNumber", silence)]);
        assert_eq!(both.agreement(&block, 2).await, Agreement::Unconfirmed, "{silence:?}");
    }
}

#[tokio::test]
async fn what_is_final_is_what_enough_nodes_call_so() {
    let scene = Scene::start(3).await;
    let both = scene.with_witness();
    let rule = Finality::Depth(1);
    let height = async |quorum| {
        both.final_header_of(&rule, quorum).await.unwrap().map(|header| header.number)
    };
    assert_eq!(height(2).await, Some(2));
    scene.liar.follow(vec![Rule::always("eth_getBlockByNumber", Fault::StaleHead(2))]);
    assert_eq!(height(2).await, Some(1), "the one that is behind has a say");
    assert_eq!(both.newest_head().await.unwrap().number, 3);
    scene.liar.follow(vec![Rule::always("eth_getBlockByNumber", Fault::Status(503))]);
    assert_eq!(height(2).await, None);
}

#[tokio::test]
async fn a_dead_backup_does_not_hide_that_there_is_no_block_yet() {
    let scene = Scene::start(1).await;
    let urls = [scene.chain.url(), scene.liar.url().clone()];
    scene.liar.follow(vec![Rule::always("eth_getBlockByNumber", Fault::Status(502))]);
    let node = Node::connect(&urls, DEADLINE).unwrap();
    for _ in 0..5 {
        assert_eq!(node.header_by_number(2).await, Ok(None));
    }
    assert_eq!(scene.liar.asked("eth_getBlockByNumber"), 3, "it is spared");
}
