//! Answers that are not what was asked for, as a broken or lagging node gives them.

use alloy_primitives::{Address, B256, Bloom, address, b256};
use chain::RpcError;
use chain::logs::{LogsError, OperationLog, Payers};
use chain::node::{Header, Node};
use domain::FeePerGas;
use domain::chain_fact::ChainTime;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::faulty::{Fault, Faulty};

const BLOCK: B256 = b256!("1111111111111111111111111111111111111111111111111111111111111111");
const ENTRY_POINT: Address = address!("00000000000000000000000000000000000000e1");
const PAYMASTER: Address = address!("00000000000000000000000000000000000000a1");
const KNOWN: &str = r#"{
    "number": "0x7",
    "hash": "0x1111111111111111111111111111111111111111111111111111111111111111",
    "parentHash": "0x0000000000000000000000000000000000000000000000000000000000000000",
    "timestamp": "0x64"
}"#;

/// The header of [`KNOWN`], of a chain without bloom filters.
const fn header() -> Header {
    Header {
        number: 7,
        hash: BLOCK,
        parent_hash: B256::ZERO,
        timestamp: ChainTime(100),
        base_fee_per_gas: FeePerGas(0),
        logs_bloom: Bloom::ZERO,
    }
}

/// A log as it should be: nonce 7, success, cost 10, gas 11.
fn log() -> Value {
    json!({
        "address": "0x00000000000000000000000000000000000000e1",
        "topics": [
            "0x49628fd1471006c1482da88028e9ce4dbb080b815c9b0344d39e5a8e6ec1419f",
            "0x2222222222222222222222222222222222222222222222222222222222222222",
            "0x0000000000000000000000003333333333333333333333333333333333333333",
            "0x00000000000000000000000000000000000000000000000000000000000000a1",
        ],
        "data": format!("0x{:064x}{:064x}{:064x}{:064x}", 7, 1, 10, 11),
        "blockHash": "0x1111111111111111111111111111111111111111111111111111111111111111",
        "blockNumber": "0x7",
        "transactionHash": "0x4444444444444444444444444444444444444444444444444444444444444444",
        "logIndex": "0x2",
        "removed": false,
    })
}

/// Lives as long as the test process, as the endpoints' scripts must.
fn script<const N: usize>(results: [(&'static str, String); N]) -> Fault {
    let results = results.map(|(method, result)| (method, &*result.leak()));
    Fault::Results(Box::leak(Box::new(results)))
}

async fn node(fault: Fault) -> Node {
    let endpoint = Faulty::start(fault).await;
    Node::connect(&[endpoint.url()], DEADLINE).unwrap()
}

async fn read_logs(block: &str, logs: Value) -> Result<Vec<OperationLog>, LogsError> {
    let answers =
        script([("eth_getBlockByHash", block.to_owned()), ("eth_getLogs", logs.to_string())]);
    let payers = Payers { entry_points: &[ENTRY_POINT], paymasters: &[PAYMASTER] };
    node(answers).await.operation_logs(&header(), payers).await
}

fn is_malformed<T>(answer: &Result<T, LogsError>) -> bool {
    matches!(answer, Err(LogsError::Rpc(RpcError::Malformed { .. })))
}

#[tokio::test]
async fn honest_logs_are_read_and_sorted() {
    let mut earlier = log();
    earlier["logIndex"] = json!("0x1");
    let logs = read_logs(KNOWN, json!([log(), earlier])).await.unwrap();
    let indexes: Vec<u32> = logs.iter().map(|log| log.log_index).collect();
    assert_eq!(indexes, [1, 2]);
}

#[tokio::test]
async fn a_node_that_lags_behind_shows_no_empty_block() {
    let logs = read_logs("null", json!([])).await;
    assert_eq!(logs, Err(LogsError::UnknownBlock(BLOCK)));
}

#[tokio::test]
async fn a_log_that_was_not_asked_for_is_malformed() {
    let data = log()["data"].as_str().unwrap().to_owned();
    let other_word = "0x5555555555555555555555555555555555555555555555555555555555555555";
    let other_address = "0x00000000000000000000000000000000000000e2";
    let cases = [
        ("/address", json!(other_address)),
        ("/topics/0", json!(other_word)),
        ("/topics/2", json!(other_word)),
        ("/topics/3", json!(format!("0x{:064x}", 0xa2))),
        ("/topics", json!([])),
        ("/data", json!(data[..data.len() - 2])),
        ("/data", json!(format!("{data}00"))),
        ("/blockHash", json!(other_word)),
        ("/blockHash", json!(null)),
        ("/blockNumber", json!("0x8")),
        ("/blockNumber", json!(null)),
        ("/transactionHash", json!(null)),
        ("/logIndex", json!(null)),
        ("/logIndex", json!("0x100000000")),
        ("/removed", json!(true)),
    ];
    for (field, lie) in cases {
        let mut log = log();
        *log.pointer_mut(field).unwrap() = lie.clone();
        let answer = read_logs(KNOWN, json!([log])).await;
        assert!(is_malformed(&answer), "{field} {lie}: {answer:?}");
    }
}

#[tokio::test]
async fn two_logs_with_one_index_are_malformed() {
    assert!(is_malformed(&read_logs(KNOWN, json!([log(), log()])).await));
}

#[tokio::test]
async fn another_block_than_was_asked_for_is_malformed() {
    let node = node(script([("eth_getBlockByNumber", KNOWN.to_owned())])).await;
    let asked_for = node.header_by_number(7).await.unwrap().unwrap();
    assert_eq!(asked_for.hash, BLOCK);
    assert_eq!(asked_for.base_fee_per_gas, FeePerGas(0));

    let answer = node.header_by_number(8).await;
    assert!(matches!(answer, Err(RpcError::Malformed { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_young_chain_without_a_final_block_has_none() {
    for refusal in [
        r#"{"jsonrpc":"2.0","id":ID,"result":null}"#,
        r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-39001,"message":"Unknown block"}}"#,
        r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"finalized block not found"}}"#,
    ] {
        let node = node(Fault::Answer(200, refusal)).await;
        let header = node.final_header(&chain::Finality::Finalized).await;
        assert_eq!(header, Ok(None), "{refusal}");
    }
}
