//! Senders that delegate by EIP-7702: only to contracts that the operator allows, and to no other meanwhile.

use alloy::primitives::{Address, Bytes};
use devstack::accounts::{SIMPLE_7702_V08, SIMPLE_7702_V09};
use e2e::{Env, User, Wallet, on_shared_stack};
use serde_json::{Value, json};

/// Gives the sender another delegate, as an authorization would.
async fn delegates_to(env: &Env, user: &User, delegate: Address) {
    let code = [&[0xef, 0x01, 0x00][..], delegate.as_slice()].concat();
    env.stack.node().set_code(user.address, &Bytes::from(code)).await.unwrap();
}

async fn sponsors(env: &Env, user: &User, op: &Value) -> Result<Value, Value> {
    env.api.call("pm_getPaymasterData", user.paymaster_params(op)).await
}

#[test]
fn an_unknown_delegate_is_refused_whether_it_is_authorised_now_or_was_before() {
    on_shared_stack(async |env| {
        let user = env.user("odd-delegate", Wallet::EIP7702_09).await;
        let unknown = Address::repeat_byte(0x77);
        let mut op = user.estimates().await;
        op["eip7702Auth"]["address"] = json!(unknown);
        let refused = sponsors(env, &user, &op).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "delegate_not_allowed", "{refused}");

        delegates_to(env, &user, unknown).await;
        for field in ["factory", "factoryData", "eip7702Auth"] {
            op.as_object_mut().unwrap().remove(field);
        }
        let refused = sponsors(env, &user, &op).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "delegate_not_allowed", "{refused}");
        let stub = env.api.call("pm_getPaymasterStubData", user.paymaster_params(&op)).await;
        assert_eq!(stub.unwrap_err()["data"]["reason"], "delegate_not_allowed");
    });
}

#[test]
fn an_operation_is_not_passed_on_once_its_senders_delegate_has_changed() {
    on_shared_stack(async |env| {
        let user = env.user("changes-delegate", Wallet::EIP7702_09).await;
        let first = user.sends(&user.increment()).await;
        user.settles(&first).await;
        let op = user.prepares(&user.increment()).await;
        assert_eq!(op.get("factory"), None, "no marker, so that no hash covers the delegate");
        let signed = user.signs(&user.request, &op).await;

        delegates_to(env, &user, SIMPLE_7702_V08).await;
        let params = json!([signed, user.entry_point()]);
        let refused = env.api.call("eth_sendUserOperation", params.clone()).await.unwrap_err();
        assert_eq!(refused["data"]["reason"], "delegate_changed", "{refused}");

        delegates_to(env, &user, SIMPLE_7702_V09).await;
        env.api.call("eth_sendUserOperation", params).await.unwrap();
    });
}

#[test]
fn with_the_marker_both_of_its_lengths_are_one_sponsorship() {
    on_shared_stack(async |env| {
        for wallet in [Wallet::EIP7702_08, Wallet::EIP7702_09] {
            let user = env.user("two-markers", wallet).await;
            let mut op = user.estimates().await;
            let mut answers = Vec::new();
            for marker in ["0x7702", "0x7702000000000000000000000000000000000000"] {
                op["factory"] = json!(marker);
                answers.push(sponsors(env, &user, &op).await.unwrap());
            }
            assert_eq!(answers[0], answers[1]);
        }
    });
}
