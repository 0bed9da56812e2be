//! Applications of one company share its users, and nothing else.

use e2e::{
    Wallet, on_shared_stack,
    user::{fees_raised_by, max_cost_of, nonce_of, refusal},
};
use serde_json::json;

#[test]
fn an_application_that_bumps_the_slot_of_another_may_send_what_it_was_granted_itself() {
    on_shared_stack(async |env| {
        let user = env.user("two-apps", Wallet::SIMPLE_07).await;
        let mut cheap = user.increment();
        cheap.bundler_url = env.endpoints.paymaster_url.to_string();
        let cheap_op = user.prepares(&cheap).await;

        let key = env.key_of_app("second").await;
        let url = env.endpoints.api_url.join(&format!("rpc/{key}")).unwrap();
        let mut dear = user.increment();
        dear.nonce = Some(nonce_of(&cheap_op));
        dear.fees = Some(fees_raised_by(10));
        dear.paymaster_url = Some(json!(url));
        dear.bundler_url = url.to_string();
        let dear_op = user.prepares(&dear).await;
        assert!(max_cost_of(&dear_op) > max_cost_of(&cheap_op));
        assert_eq!(user.reservation().await.grants, 2);

        // Each relay knows the grants of its own application alone.
        for (request, foreign) in [(&cheap, &dear_op), (&dear, &cheap_op)] {
            let foreign = user.signs(request, foreign).await;
            let refused = refusal(user.submits(request, &foreign).await.map(|sent| sent.op));
            assert_eq!(refused.reason, "operation_changed", "{refused:?}");
        }
        let sent = user.signs_and_submits(&dear, &dear_op).await;
        assert!(user.lands(&dear, &sent).await.success);
        user.settled_exactly(env, &sent).await;
    });
}
