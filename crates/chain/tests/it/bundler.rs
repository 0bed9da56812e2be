use alloy_primitives::{Address, Bytes, U256, address, bytes};
use alloy_sol_types::{SolCall, sol};
use chain::RpcError;
use chain::bundler::Bundler;
use devstack::bundler::{Bundler as Alto, Options};
use devstack::{accounts, entry_points};
use domain::Gas;
use erc4337::user_operation::PaymasterSignatureField;
use erc4337::{Factory, UserOperation};
use serde_json::json;

use crate::{CHAIN_ID, Chain, DEADLINE};

const OWNER: Address = address!("00000000000000000000000000000000000a11ce");

/// As long as a real signature, and recoverable, so that the account's check costs what it will cost.
const DUMMY_SIGNATURE: Bytes = bytes!(
    "fffffffffffffffffffffffffffffff0000000000000000000000000000000007aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1c"
);

sol! {
    interface ISimpleAccountFactory {
        function createAccount(address owner, uint256 salt) external returns (address);
        function getAddress(address owner, uint256 salt) external view returns (address);
    }
    interface ISimpleAccount {
        function execute(address dest, uint256 value, bytes calldata func) external;
    }
}

/// An operation that deploys a SimpleAccount for EntryPoint v0.7 and calls its owner with nothing.
async fn deploying_operation(chain: &Chain) -> UserOperation {
    let factory = accounts::SIMPLE_FACTORY_V07;
    let salt = U256::ZERO;
    let at = ISimpleAccountFactory::getAddressCall { owner: OWNER, salt };
    let sender = chain.dev().view(factory, &at).await.unwrap();
    let create = ISimpleAccountFactory::createAccountCall { owner: OWNER, salt };
    let execute =
        ISimpleAccount::executeCall { dest: OWNER, value: U256::ZERO, func: Bytes::new() };
    UserOperation {
        sender,
        factory: Some(Factory::Deploy { factory, data: create.abi_encode().into() }),
        call_data: execute.abi_encode().into(),
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        signature: DUMMY_SIGNATURE,
        ..UserOperation::default()
    }
}

#[tokio::test]
async fn a_real_bundler_estimates_refuses_and_tells_what_it_serves() {
    let chain = Chain::start().await;
    entry_points::install(&chain.tools, chain.dev(), CHAIN_ID).await.unwrap();
    accounts::install(&chain.tools, chain.dev()).await.unwrap();
    let options = Options { node: chain.url(), port: None, log: chain.run.log("alto") };
    let alto = Alto::start(&chain.tools, &options).await.unwrap();
    let bundler =
        Bundler::connect(&[alto.url().clone()], DEADLINE, PaymasterSignatureField::Apart).unwrap();

    let served = bundler.supported_entry_points().await.unwrap();
    for (version, entry_point) in entry_points::ALL {
        assert!(served.contains(&entry_point), "{version}");
    }

    let operation = deploying_operation(&chain).await;
    let wei = U256::from(10).pow(U256::from(18));
    chain.dev().set_balance(operation.sender, wei).await.unwrap();
    let estimate = bundler.estimate(&operation, entry_points::V07).await.unwrap();
    assert!(estimate.verification_gas_limit > Gas(100_000), "{estimate:?}");
    assert!(estimate.call_gas_limit > Gas(0), "{estimate:?}");
    assert!(estimate.pre_verification_gas > U256::from(21_000), "{estimate:?}");

    let mut existing = operation;
    existing.factory = None;
    let refused = bundler.estimate(&existing, entry_points::V07).await;
    let Err(RpcError::Rpc { code, message, .. }) = refused else {
        panic!("an operation of an account that does not exist was estimated: {refused:?}");
    };
    assert_eq!(code, -32500);
    assert!(message.contains("AA20"), "{message}");

    let chain_id = bundler.forward("eth_chainId", json!([])).await;
    assert_eq!(chain_id, Ok(json!("0x7a69")));
    let unknown = bundler.forward("eth_noSuchMethod", json!([])).await;
    assert!(matches!(unknown, Err(RpcError::Rpc { .. })), "{unknown:?}");
    let receipt = format!("{:#x}", alloy_primitives::B256::repeat_byte(7));
    let none = bundler.forward("eth_getUserOperationReceipt", json!([receipt])).await;
    assert_eq!(none, Ok(json!(null)));
}
