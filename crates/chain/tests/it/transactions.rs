use alloy::primitives::TxKind;
use alloy::rpc::types::TransactionRequest;
use alloy_primitives::{Address, B256, Bytes, U256, address};
use alloy_sol_types::SolCall;
use chain::RpcError;
use chain::transactions::CallRequest;
use devstack::{entry_points, keys};
use domain::Gas;
use erc4337::events::IEntryPoint;

use crate::{CHAIN_ID, Chain};

const ACCOUNT: Address = address!("00000000000000000000000000000000000a11ce");

fn plain(value: u64) -> CallRequest {
    CallRequest { from: keys::DEPLOYER, to: ACCOUNT, value: U256::from(value), input: Bytes::new() }
}

#[tokio::test]
async fn what_a_transaction_did_is_in_its_receipt() {
    let chain = Chain::start().await;
    entry_points::install(&chain.tools, chain.dev(), CHAIN_ID).await.unwrap();
    let node = chain.node();
    let before = node.transaction_count(keys::DEPLOYER).await.unwrap();
    assert_eq!(node.next_nonce(keys::DEPLOYER).await, Ok(before));

    let deposit = IEntryPoint::depositToCall { account: ACCOUNT };
    let sent = chain.dev().send(keys::DEPLOYER, entry_points::V07, &deposit, U256::from(5)).await;
    let sent = sent.unwrap();
    let receipt = node.receipt(sent.transaction_hash).await.unwrap().unwrap();
    assert!(receipt.success);
    assert_eq!(receipt.block_number, sent.block_number.unwrap());
    assert_eq!(receipt.block_hash, sent.block_hash.unwrap());
    assert_eq!(receipt.gas_used, Gas(sent.gas_used.into()));
    assert_eq!(receipt.gas_price.0, sent.effective_gas_price);
    assert_eq!(receipt.events.len(), 1);
    assert_eq!(receipt.events[0].address, entry_points::V07);
    assert_eq!(node.transaction_count(keys::DEPLOYER).await, Ok(before + 1));
}

#[tokio::test]
async fn a_transaction_that_nobody_sent_has_no_receipt() {
    let chain = Chain::start().await;
    assert_eq!(chain.node().receipt(B256::repeat_byte(7)).await, Ok(None));
}

#[tokio::test]
async fn a_simulation_changes_nothing() {
    let chain = Chain::start().await;
    let node = chain.node();
    let before = node.balance(keys::DEPLOYER).await.unwrap();
    assert_eq!(node.simulate(&plain(5)).await, Ok(Bytes::new()));
    assert_eq!(node.estimate_gas(&plain(5)).await, Ok(Gas(21_000)));
    assert_eq!(node.balance(keys::DEPLOYER).await, Ok(before));
    assert_eq!(node.balance(ACCOUNT).await, Ok(U256::ZERO));
}

#[tokio::test]
async fn what_a_call_would_revert_with_is_known() {
    let chain = Chain::start().await;
    entry_points::install(&chain.tools, chain.dev(), CHAIN_ID).await.unwrap();
    let call = IEntryPoint::handleOpsCall { ops: Vec::new(), beneficiary: Address::ZERO };
    let call = CallRequest {
        to: entry_points::V07,
        value: U256::ZERO,
        input: call.abi_encode().into(),
        ..plain(0)
    };
    for refused in [node_error(&chain, &call).await, estimate_error(&chain, &call).await] {
        // Error(string), "AA90 invalid beneficiary".
        let data = refused.revert_data().unwrap_or_else(|| panic!("{refused:?}"));
        assert_eq!(data[..4], [0x08, 0xc3, 0x79, 0xa0]);
    }
}

async fn node_error(chain: &Chain, call: &CallRequest) -> RpcError {
    chain.node().simulate(call).await.unwrap_err()
}

async fn estimate_error(chain: &Chain, call: &CallRequest) -> RpcError {
    chain.node().estimate_gas(call).await.unwrap_err()
}

#[tokio::test]
async fn a_transaction_can_be_handed_over_twice() {
    let chain = Chain::start().await;
    let node = chain.node();
    // It waits for a nonce before it, so that no block takes it.
    let request = TransactionRequest {
        nonce: Some(node.next_nonce(keys::DEPLOYER).await.unwrap() + 1),
        from: Some(keys::DEPLOYER),
        to: Some(TxKind::Call(ACCOUNT)),
        value: Some(U256::from(5)),
        gas: Some(21_000),
        max_fee_per_gas: Some(10_000_000_000),
        max_priority_fee_per_gas: Some(1),
        chain_id: Some(CHAIN_ID),
        ..TransactionRequest::default()
    };
    let raw: Bytes = chain.dev().request("eth_signTransaction", (request,)).await.unwrap();
    assert_eq!(node.send_raw_transaction(&raw).await, Ok(()));
    assert_eq!(node.send_raw_transaction(&raw).await, Ok(()));
}

#[tokio::test]
async fn a_transaction_that_no_node_takes_is_refused_with_the_reason() {
    let chain = Chain::start().await;
    let refused = chain.node().send_raw_transaction(&Bytes::from_static(&[2, 0xc0])).await;
    assert!(matches!(refused, Err(RpcError::Rpc { .. })), "{refused:?}");
}
