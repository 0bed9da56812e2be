//! Two companies that sponsor the same wallet: one operation lands, and each company's books are its own.

use devstack::{contracts, keys, service::Endpoints};
use e2e::{Env, User, Wallet, api::Api, on_own_stack, user::nonce_of};
use serde_json::{Value, json};

/// A second company on the same installation, with a gas tank of its own: its server.
async fn rival(env: &Env) -> Api {
    let stack = &env.stack;
    // Another list of signers makes other addresses.
    let signers = [keys::SIGNER, keys::DEPLOYER];
    let deployed = contracts::deploy(&stack.tools, stack.node(), &signers, env.deposit).await;
    let paymaster = deployed.unwrap().paymasters["0.7"];
    env.stipend(&["admin", "tenant", "create", "rival"]).await.unwrap();
    let create = ["admin", "key", "create", "--tenant", "rival", "--app", "rival"];
    let key = env.stipend(&[&create[..], &["--kind", "secret"]].concat()).await.unwrap();
    env.restart_service_with(|config| {
        format!(
            "{config}\n[[chains.paymasters]]\ntenant = \"rival\"\naddress = \"{paymaster}\"\n\
             version = \"0.7\"\nsigners = [\"dev\"]\n"
        )
    })
    .await;
    let secret_key = key.trim().to_owned();
    Api::new(&Endpoints { secret_key, ..env.endpoints.clone() })
}

/// The same operation, paid by another company.
async fn sponsored_by(rival: &Api, user: &User, op: &Value) -> Value {
    let link = format!("v1/accounts/ann/wallets/31337/{}", user.address);
    rival.put("v1/accounts/ann").await.success();
    rival.put(&link).await.success();
    let credit = json!({"amount": "10000", "reason": "loyalty", "reference": "welcome"});
    rival.post_keyed("v1/accounts/ann/credits", "welcome", &credit).await.success();
    let answer = rival.post_keyed("v1/sponsorships", "one", &user.sponsorship_body(op)).await;
    let answer = answer.success();
    let mut op = op.clone();
    for field in
        ["paymaster", "paymasterData", "paymasterVerificationGasLimit", "paymasterPostOpGasLimit"]
    {
        op[field] = answer[field].clone();
    }
    op
}

#[test]
fn an_operation_that_another_company_pays_frees_the_points_of_the_first_and_halts_nothing() {
    on_own_stack(async |env| {
        let rival = rival(env).await;
        let user = env.user("courted", Wallet::SIMPLE_07).await;
        let request = user.increment();
        let op = user.prepares(&request).await;
        let theirs = sponsored_by(&rival, &user, &op).await;
        let sent = user.signs_and_submits(&request, &theirs).await;
        assert_eq!(nonce_of(&sent.op), nonce_of(&op));
        assert!(user.lands(&request, &sent).await.success);
        env.mine(12).await;
        env.make_final().await;
        user.reaches("released", &op).await;
        user.books_agree(env).await;
        assert_eq!(env.ledger.halted().await, None);
        let account = rival.get("v1/accounts/ann").await.success();
        assert_ne!(account["spent"], "0", "{account}");
    });
}
