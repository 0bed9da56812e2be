use alloy::{
    primitives::{B256, U256, keccak256},
    sol,
    sol_types::SolCall,
};
use devstack::{
    Stack,
    driver::{Account, Client, Driver, Receipt, Request},
};
use erc4337::{EntryPointVersion, UserOperation, hash::user_op_hash};
use serde_json::Value;

use crate::on_stack;

sol! {
    interface ICounter {
        function increment() external;
        function countOf(address caller) external view returns (uint256);
    }
}

const ETHER: u128 = 1_000_000_000_000_000_000;

fn owner(label: &str) -> B256 {
    keccak256(label)
}

/// Sends two operations of an account that pays for itself: the first deploys or delegates it.
async fn pays_for_itself(stack: &Stack, client: Client, account: Account, entry_point: &str) {
    let driver = Driver::start(&stack.tools).unwrap();
    let key = owner(&format!("{client:?} {account:?} {entry_point}"));
    let request = Request::new(&stack.chain, client, account, entry_point, key)
        .call(stack.chain.counter, ICounter::incrementCall {}.abi_encode());
    let located = driver.address(&request).await.unwrap();
    assert!(!located.deployed);
    stack.node().set_balance(located.address, U256::from(ETHER)).await.unwrap();
    for count in 1..=2_u64 {
        let receipt = send(stack, &driver, &request).await;
        assert!(receipt.success, "{:?}", receipt.reason);
        let query = ICounter::countOfCall { caller: located.address };
        let counted = stack.node().view(stack.chain.counter, &query).await.unwrap();
        assert_eq!(counted, U256::from(count));
    }
    assert!(driver.address(&request).await.unwrap().deployed);
}

async fn send(stack: &Stack, driver: &Driver, request: &Request) -> Receipt {
    let sent = driver.send(request).await.unwrap_or_else(|error| panic!("{error}"));
    let hash = sent.user_op_hash.unwrap();
    assert_eq!(our_hash(stack, request, &sent.op), hash);
    driver.wait(request, hash).await.unwrap()
}

/// What our own crate makes of an operation as a real client sent it.
fn our_hash(stack: &Stack, request: &Request, op: &Value) -> B256 {
    let op: UserOperation = serde_json::from_str(&op.to_string()).unwrap();
    let version: EntryPointVersion = request.entry_point.parse().unwrap();
    let delegate = op.effective_delegate(None);
    let entry_point = version.canonical_address();
    user_op_hash(&op, version, entry_point, stack.chain.chain_id, delegate).unwrap()
}

#[test]
fn viem_with_a_simple_account_on_0_7() {
    on_stack(async |stack| pays_for_itself(stack, Client::Viem, Account::Simple, "0.7").await);
}

#[test]
fn viem_with_a_simple_account_on_0_8() {
    on_stack(async |stack| pays_for_itself(stack, Client::Viem, Account::Simple, "0.8").await);
}

#[test]
fn permissionless_with_a_simple_account_on_0_7() {
    on_stack(async |stack| {
        pays_for_itself(stack, Client::Permissionless, Account::Simple, "0.7").await;
    });
}

#[test]
fn permissionless_with_a_safe_on_0_7() {
    on_stack(async |stack| {
        pays_for_itself(stack, Client::Permissionless, Account::Safe, "0.7").await;
    });
}

#[test]
fn permissionless_with_an_eip7702_account_on_0_8() {
    on_stack(async |stack| {
        pays_for_itself(stack, Client::Permissionless, Account::Simple7702, "0.8").await;
    });
}

#[test]
fn viem_with_an_eip7702_account_on_0_8() {
    on_stack(async |stack| pays_for_itself(stack, Client::Viem, Account::Simple7702, "0.8").await);
}

#[test]
fn viem_with_an_eip7702_account_on_0_9() {
    on_stack(async |stack| pays_for_itself(stack, Client::Viem, Account::Simple7702, "0.9").await);
}

#[test]
fn an_operation_can_be_prepared_signed_and_submitted_apart() {
    on_stack(async |stack| {
        for (account, entry_point) in [(Account::Simple, "0.7"), (Account::Simple7702, "0.9")] {
            let driver = Driver::start(&stack.tools).unwrap();
            let key = owner(&format!("apart {account:?}"));
            let request = Request::new(&stack.chain, Client::Viem, account, entry_point, key)
                .call(stack.chain.counter, ICounter::incrementCall {}.abi_encode());
            let located = driver.address(&request).await.unwrap();
            let wei = U256::from(ETHER);
            stack.node().set_balance(located.address, wei).await.unwrap();
            let prepared = driver.prepare(&request).await.unwrap();
            let signed = driver.sign(&request, &prepared.op).await.unwrap();
            let sent = driver.submit(&request, &signed.op).await.unwrap();
            let hash = sent.user_op_hash.unwrap();
            assert!(driver.wait(&request, hash).await.unwrap().success);
        }
    });
}

#[test]
fn a_refusal_of_the_bundler_reaches_the_caller_with_its_code() {
    on_stack(async |stack| {
        let driver = Driver::start(&stack.tools).unwrap();
        let key = owner("has no ether");
        let request = Request::new(&stack.chain, Client::Viem, Account::Simple, "0.7", key)
            .call(stack.chain.counter, ICounter::incrementCall {}.abi_encode());
        let devstack::Error::Client { code, message, .. } =
            driver.send(&request).await.unwrap_err()
        else {
            panic!("not an answer of the client");
        };
        assert_eq!(code, Some(-32500), "{message}");
    });
}

#[test]
fn a_refusal_of_the_paymaster_reaches_the_caller_and_nothing_is_sent() {
    on_stack(async |stack| {
        let driver = Driver::start(&stack.tools).unwrap();
        for client in [Client::Viem, Client::Permissionless] {
            // The bundler knows no method of a paymaster, and says so as any server would.
            let request =
                Request::new(&stack.chain, client, Account::Simple, "0.7", owner("unsponsored"))
                    .call(stack.chain.counter, ICounter::incrementCall {}.abi_encode())
                    .paid_by(stack.chain.bundler_url.to_string());
            let devstack::Error::Client { message, .. } = driver.send(&request).await.unwrap_err()
            else {
                panic!("not an answer of the client");
            };
            assert!(message.contains("pm_getPaymasterStubData"), "{message}");
        }
    });
}
