use alloy_primitives::aliases::U192;
use alloy_primitives::{Address, B256, Bytes, U256, address};
use chain::node::{At, PaymasterFacts};
use chain::{Finality, RpcError};
use devstack::{contracts, entry_points, keys};
use domain::{ChainId, FeePerGas};
use erc4337::events::IEntryPoint;

use crate::{CHAIN_ID, Chain};

const ACCOUNT: Address = address!("00000000000000000000000000000000000a11ce");
const DELEGATE: Address = address!("e6Cae83BdE06E4c305530e199D7217f42808555B");

#[tokio::test]
async fn the_chain_id_is_the_nodes() {
    let chain = Chain::start().await;
    assert_eq!(chain.node().chain_id().await, Ok(ChainId(CHAIN_ID)));
}

#[tokio::test]
async fn headers_agree_by_number_and_along_the_parents() {
    let chain = Chain::start().await;
    chain.mine(3).await;
    let node = chain.node();

    let head = node.head().await.unwrap();
    assert_eq!(head.number, 3);
    assert!(head.base_fee_per_gas > FeePerGas(0));
    assert_eq!(node.header_by_number(3).await, Ok(Some(head)));

    let below = node.header_by_number(2).await.unwrap().unwrap();
    assert_eq!(below.hash, head.parent_hash);
    assert!(below.timestamp <= head.timestamp);
    assert_eq!(head.block().hash, head.hash);
}

#[tokio::test]
async fn a_block_that_is_not_there_is_none() {
    let chain = Chain::start().await;
    let node = chain.node();
    assert_eq!(node.header_by_number(1).await, Ok(None));
}

#[tokio::test]
async fn the_final_block_follows_the_rule() {
    let chain = Chain::start().await;
    chain.mine(10).await;
    let node = chain.node();
    let numbered = async |finality| {
        let header = node.final_header(&finality).await.unwrap();
        header.map(|header| header.number)
    };

    assert_eq!(numbered(Finality::Safe).await, Some(8));
    assert_eq!(numbered(Finality::Finalized).await, Some(6));
    assert_eq!(numbered(Finality::Depth(0)).await, Some(10));
    assert_eq!(numbered(Finality::Depth(3)).await, Some(7));
    assert_eq!(numbered(Finality::Depth(10)).await, Some(0));
    assert_eq!(numbered(Finality::Depth(11)).await, None);
}

#[tokio::test]
async fn a_delegate_is_read_from_the_designation() {
    let chain = Chain::start().await;
    let node = chain.node();
    assert_eq!(node.code(ACCOUNT).await, Ok(Bytes::new()));
    assert_eq!(node.delegate_of(ACCOUNT).await, Ok(None));

    let designation = Bytes::from([&[0xef, 0x01, 0x00], DELEGATE.as_slice()].concat());
    chain.dev().set_code(ACCOUNT, &designation).await.unwrap();
    assert_eq!(node.code(ACCOUNT).await, Ok(designation));
    assert_eq!(node.delegate_of(ACCOUNT).await, Ok(Some(DELEGATE)));

    let contract = Bytes::from_static(&[0x60, 0x00]);
    chain.dev().set_code(ACCOUNT, &contract).await.unwrap();
    assert_eq!(node.delegate_of(ACCOUNT).await, Ok(None));
}

#[tokio::test]
async fn nonces_and_deposits_are_those_of_the_block_that_was_asked_for() {
    let chain = Chain::start().await;
    entry_points::install(&chain.tools, chain.dev(), CHAIN_ID).await.unwrap();
    let node = chain.node();
    let before = node.head().await.unwrap();

    let wei = U256::from(1_234_567);
    let deposit = IEntryPoint::depositToCall { account: ACCOUNT };
    for (_, entry_point) in entry_points::ALL {
        chain.dev().send(keys::DEPLOYER, entry_point, &deposit, wei).await.unwrap();
    }
    let after = node.head().await.unwrap();
    for (_, entry_point) in entry_points::ALL {
        let at = async |hash| node.deposit(entry_point, ACCOUNT, hash).await;
        assert_eq!(at(before.hash).await, Ok(U256::ZERO));
        assert_eq!(at(after.hash).await, Ok(wei));

        let key = U192::from(5);
        for at in [At::Head, At::Block(before.hash)] {
            let nonce = node.nonce(entry_point, ACCOUNT, key, at).await;
            assert_eq!(nonce, Ok(U256::from(5) << 64));
        }
    }
}

#[tokio::test]
async fn state_at_an_unknown_block_is_refused() {
    let chain = Chain::start().await;
    let unknown = B256::repeat_byte(7);
    let answer = chain.node().deposit(ACCOUNT, ACCOUNT, unknown).await;
    assert!(matches!(answer, Err(RpcError::Rpc { .. })), "{answer:?}");
}

#[tokio::test]
async fn an_address_without_code_is_no_contract() {
    let chain = Chain::start().await;
    let answer = chain.node().paymaster(ACCOUNT).await;
    assert!(matches!(answer, Err(RpcError::Malformed { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_tip_is_suggested() {
    let chain = Chain::start().await;
    assert!(chain.node().max_priority_fee_per_gas().await.is_ok());
}

#[tokio::test]
async fn a_paymaster_tells_its_entry_point_and_signers() {
    let chain = Chain::start().await;
    contracts::build(&chain.tools, &chain.run.log("forge")).unwrap();
    entry_points::install(&chain.tools, chain.dev(), CHAIN_ID).await.unwrap();
    let signers = [keys::SIGNER, ACCOUNT];
    let deposit = U256::from(1);
    let deployed = contracts::deploy(&chain.tools, chain.dev(), &signers, deposit).await.unwrap();

    let node = chain.node();
    for (version, entry_point) in entry_points::ALL {
        let paymaster = deployed.paymasters[version];
        let facts = PaymasterFacts { entry_point, signers: signers.to_vec() };
        assert_eq!(node.paymaster(paymaster).await, Ok(facts));
        assert_eq!(node.is_signer(paymaster, ACCOUNT).await, Ok(true));
        assert_eq!(node.is_signer(paymaster, DELEGATE).await, Ok(false));
        let head = node.head().await.unwrap();
        assert_eq!(node.deposit(entry_point, paymaster, head.hash).await, Ok(deposit));
    }
}

#[tokio::test]
async fn a_node_is_shared_between_tasks() {
    let chain = Chain::start().await;
    let node = chain.node();
    let tasks = (0..8).map(|_| {
        let node = node.clone();
        tokio::spawn(async move { node.final_header(&Finality::Depth(0)).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().unwrap().is_some());
    }
}
