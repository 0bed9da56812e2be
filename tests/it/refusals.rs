//! What is refused is refused by name, and changes nothing.

use alloy::{
    primitives::U256, providers::Provider, rpc::types::TransactionRequest, sol, sol_types::SolCall,
};
use devstack::keys;
use e2e::{
    Env, User, Wallet, on_own_stack, on_shared_stack,
    user::{nonce_of, quantity, refusal},
};
use erc4337::UserOperation;
use serde_json::{Value, json};

sol! {
    struct PackedOperation {
        address sender;
        uint256 nonce;
        bytes initCode;
        bytes callData;
        bytes32 accountGasLimits;
        uint256 preVerificationGas;
        bytes32 gasFees;
        bytes paymasterAndData;
        bytes signature;
    }

    interface IBundled {
        function handleOps(PackedOperation[] calldata ops, address payable beneficiary) external;
    }
}

#[test]
fn too_few_points_are_refused_and_after_a_credit_the_same_nonce_succeeds() {
    on_shared_stack(async |env| {
        let user = env.user_with("1.5", "poor", Wallet::SIMPLE_07).await;
        let before = user.balances().await;
        let mut request = user.increment();
        request.nonce = Some(U256::from(7) << 64);

        let refused = user.is_refused(&request).await;
        assert_eq!(refused.code, Some(-32501), "{refused:?}");
        assert_eq!(refused.reason, "insufficient_points");
        assert!(refused.details.contains("insufficient points"), "{refused:?}");
        assert!(refused.details.contains("1.5"), "it says what there is: {refused:?}");
        assert_eq!(user.balances().await, before);
        assert!(user.reservations().await.is_empty(), "nothing is remembered of a refusal");
        assert_eq!(env.ledger.entries(&user.external_id).await.len(), 1, "but the credit");

        user.is_credited("5000", "top-up").await;
        let sent = user.sends(&request).await;
        assert_eq!(nonce_of(&sent.op), request.nonce.unwrap());
        user.settled_exactly(env, &sent).await;
    });
}

#[test]
fn an_unknown_key_is_unauthorized() {
    on_shared_stack(async |env| {
        let user = env.user("wrong-key", Wallet::SIMPLE_08).await;
        let mut request = user.increment();
        let url = env.endpoints.api_url.join(&format!("rpc/pk_{}", "0".repeat(64))).unwrap();
        request.paymaster_url = Some(json!(url));
        let refused = user.is_refused(&request).await;
        assert_eq!(refused.code, Some(4100), "{refused:?}");
        assert!(user.reservations().await.is_empty());
    });
}

#[test]
fn a_publishable_key_alone_proves_no_user() {
    on_shared_stack(async |env| {
        let user = env.user("bare-key", Wallet::SIMPLE_08).await;
        let mut request = user.increment();
        let path = format!("rpc/{}", env.endpoints.publishable_key);
        request.paymaster_url = Some(json!(env.endpoints.api_url.join(&path).unwrap()));
        let refused = user.is_refused(&request).await;
        assert_eq!(refused.reason, "user_proof_required", "{refused:?}");
        assert!(user.reservations().await.is_empty());
    });
}

#[test]
fn an_unlinked_wallet_is_refused_by_name() {
    on_own_stack(async |env| {
        let stranger = env.stranger("unlinked", Wallet::SIMPLE_07).await;
        let refused = stranger.is_refused(&stranger.increment()).await;
        assert_eq!(refused.reason, "wallet_not_linked", "{refused:?}");
        assert_eq!(refused.code, Some(-32501));
        assert!(refused.details.contains("not linked"), "{refused:?}");
        let provisioned = format!("dev:{}:{}", env.endpoints.chain_id, stranger.address);
        assert_eq!(env.ledger.account(&provisioned).await, None);
    });
}

#[test]
fn an_operation_that_was_changed_after_it_was_sponsored_is_refused_everywhere() {
    on_shared_stack(async |env| {
        for wallet in Wallet::EACH_VERSION {
            let user = env.user("tampers", wallet).await;
            let mut request = user.increment();
            // From now on the account has code, which a bundle of our own below could not bring along for an EIP-7702 account.
            user.settles(&user.sends(&request).await).await;
            let sponsored = user.prepares(&request).await;
            let mut tampered = sponsored.clone();
            let more = quantity(&sponsored, "callGasLimit") + U256::from(1);
            tampered["callGasLimit"] = json!(format!("{more:#x}"));
            let tampered = user.signs(&request, &tampered).await;

            request.bundler_url = env.endpoints.paymaster_url.to_string();
            let here = refusal(user.submits(&request, &tampered).await.map(|sent| sent.op));
            assert_eq!(here.reason, "operation_changed", "{here:?}");

            request.bundler_url = env.endpoints.bundler_url.to_string();
            let there = refusal(user.submits(&request, &tampered).await.map(|sent| sent.op));
            assert!(there.details.contains("AA34"), "the bundler's simulation: {there:?}");

            let on_chain = lands_directly(env, &user, &tampered).await;
            let on_chain = on_chain.unwrap_err();
            assert!(on_chain.contains(&hex_of("AA34")), "the EntryPoint itself: {on_chain}");
            assert!(
                lands_directly(env, &user, &user.signs(&request, &sponsored).await).await.is_ok()
            );

            let sent = user.signs_and_submits(&request, &sponsored).await;
            user.settled_exactly(env, &sent).await;
        }
    });
}

/// What the EntryPoint would say to the operation alone in a bundle, without a bundler's judgement.
async fn lands_directly(env: &Env, user: &User, op: &Value) -> Result<(), String> {
    let operation: UserOperation = serde_json::from_str(&op.to_string()).unwrap();
    let packed = operation.pack();
    let ops = vec![PackedOperation {
        sender: packed.sender,
        nonce: packed.nonce,
        initCode: packed.initCode,
        callData: packed.callData,
        accountGasLimits: packed.accountGasLimits,
        preVerificationGas: packed.preVerificationGas,
        gasFees: packed.gasFees,
        paymasterAndData: packed.paymasterAndData,
        signature: packed.signature,
    }];
    let call = IBundled::handleOpsCall { ops, beneficiary: keys::DEPLOYER };
    let transaction = TransactionRequest::default()
        .from(keys::DEPLOYER)
        .to(user.entry_point())
        .input(call.abi_encode().into());
    let answer = env.stack.node().provider().call(transaction).await;
    answer.map(drop).map_err(|error| error.to_string())
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
