use alloy::rpc::types::TransactionRequest;
use alloy_primitives::{Address, B256, Bytes, U256, address, bytes};
use alloy_sol_types::SolEvent;
use chain::logs::{LogsError, Payers};
use chain::node::Header;
use devstack::keys;
use erc4337::events::{IEntryPoint, UserOperationEvent};

use crate::Chain;

const ENTRY_POINT: Address = address!("00000000000000000000000000000000000000e1");
const OTHER_ENTRY_POINT: Address = address!("00000000000000000000000000000000000000e2");
const FOREIGN_CONTRACT: Address = address!("00000000000000000000000000000000000000e3");
pub(crate) const PAYMASTER: Address = address!("00000000000000000000000000000000000000a1");
const OTHER_PAYMASTER: Address = address!("00000000000000000000000000000000000000a2");
const FOREIGN_PAYMASTER: Address = address!("00000000000000000000000000000000000000a3");

/// Whose operations the tests look for.
pub(crate) const OURS: Payers<'_> = Payers {
    entry_points: &[ENTRY_POINT, OTHER_ENTRY_POINT],
    paymasters: &[PAYMASTER, OTHER_PAYMASTER],
};

/// Code that emits its calldata as a log: four topics, then 128 bytes of data.
const ECHO: Bytes = bytes!("6080608060003760603560403560203560003560806000a400");

pub(crate) fn event(paymaster: Address, nonce: u64) -> UserOperationEvent {
    UserOperationEvent {
        user_op_hash: B256::repeat_byte(0x11),
        sender: Address::repeat_byte(0x22),
        paymaster,
        nonce: U256::from(nonce),
        success: nonce.is_multiple_of(2),
        actual_gas_cost: U256::from(1_000_000 + nonce),
        actual_gas_used: U256::from(50_000 + nonce),
    }
}

/// A chain on which three contracts emit what they are told, and transactions wait for [`Chain::mine`].
pub(crate) async fn echoing_chain() -> Chain {
    let chain = Chain::start().await;
    for contract in [ENTRY_POINT, OTHER_ENTRY_POINT, FOREIGN_CONTRACT] {
        chain.dev().set_code(contract, &ECHO).await.unwrap();
    }
    let _nothing: Option<()> = chain.dev().request("evm_setIntervalMining", [0]).await.unwrap();
    chain
}

pub(crate) async fn emit(chain: &Chain, contract: Address, event: &UserOperationEvent) -> B256 {
    let log = IEntryPoint::UserOperationEvent {
        userOpHash: event.user_op_hash,
        sender: event.sender,
        paymaster: event.paymaster,
        nonce: event.nonce,
        success: event.success,
        actualGasCost: event.actual_gas_cost,
        actualGasUsed: event.actual_gas_used,
    }
    .encode_log_data();
    let mut input: Vec<u8> = log.topics().iter().flat_map(|topic| topic.0).collect();
    input.extend_from_slice(&log.data);
    let transaction = TransactionRequest::default()
        .from(keys::DEPLOYER)
        .to(contract)
        .gas_limit(100_000)
        .input(Bytes::from(input).into());
    chain.dev().submit(transaction).await.unwrap()
}

#[tokio::test]
async fn the_logs_of_a_block_are_those_of_our_paymasters_in_order() {
    let chain = echoing_chain().await;
    let first = emit(&chain, ENTRY_POINT, &event(PAYMASTER, 0)).await;
    emit(&chain, ENTRY_POINT, &event(FOREIGN_PAYMASTER, 1)).await;
    emit(&chain, FOREIGN_CONTRACT, &event(PAYMASTER, 2)).await;
    let fourth = emit(&chain, OTHER_ENTRY_POINT, &event(OTHER_PAYMASTER, 3)).await;
    chain.mine(1).await;
    emit(&chain, ENTRY_POINT, &event(PAYMASTER, 4)).await;
    chain.mine(1).await;

    let node = chain.node();
    let block = node.header_by_number(1).await.unwrap().unwrap();
    let logs = node.operation_logs(&block, OURS).await.unwrap();

    let found: Vec<_> = logs
        .iter()
        .map(|log| (log.log_index, log.transaction_hash, log.entry_point, log.event))
        .collect();
    assert_eq!(
        found,
        [
            (0, first, ENTRY_POINT, event(PAYMASTER, 0)),
            (3, fourth, OTHER_ENTRY_POINT, event(OTHER_PAYMASTER, 3)),
        ]
    );
}

#[tokio::test]
async fn without_entry_points_or_paymasters_there_are_no_logs() {
    let chain = echoing_chain().await;
    emit(&chain, ENTRY_POINT, &event(PAYMASTER, 0)).await;
    chain.mine(1).await;
    let node = chain.node();
    let head = node.head().await.unwrap();
    let nowhere = Payers { entry_points: &[], ..OURS };
    let nobody = Payers { paymasters: &[], ..OURS };
    for payers in [nowhere, nobody] {
        assert_eq!(node.operation_logs(&head, payers).await, Ok(vec![]));
        let stretch = node.operation_logs_between(0, head.number, payers, 1).await.unwrap();
        assert_eq!((stretch.last, stretch.blocks), (head, vec![]));
    }
}

#[tokio::test]
async fn an_unknown_block_is_not_an_empty_one() {
    let chain = Chain::start().await;
    let head = chain.node().head().await.unwrap();
    let unknown = Header { hash: B256::repeat_byte(7), ..head };
    let logs = chain.node().operation_logs(&unknown, OURS).await;
    assert_eq!(logs, Err(LogsError::UnknownBlock(unknown.hash)));
}
