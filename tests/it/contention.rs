//! A hand on one account's row is that user's trouble alone.

use e2e::{Wallet, on_own_stack};
use futures::{future::join_all, join};
use serde_json::{Value, json};

/// More than the service has connections to the database.
const CREDITS: usize = 20;

#[test]
fn a_locked_account_takes_no_connections_from_others_and_nothing_is_doubled() {
    on_own_stack(async |env| {
        let held = env.user("held", Wallet::SIMPLE_07).await;
        let free = env.user("free", Wallet::SIMPLE_08).await;
        let op = free.estimates().await;
        let free_account = format!("v1/accounts/{}", free.external_id);
        let credits = format!("v1/accounts/{}/credits", held.external_id);
        let names: Vec<_> = (0..CREDITS).map(|number| format!("locked-{number}")).collect();
        let credit = async |name: &String| {
            let body = json!({"amount": "1", "reason": "gift", "reference": name});
            env.api.post_keyed(&credits, name, &body).await
        };

        let mut lock = env.holds_account(&held.external_id).await;
        let meanwhile = async {
            // However many commands wait, one session waits for all of them.
            lock.is_waited_for(1).await;
            let body = free.sponsorship_body(&op);
            let answers = join!(
                env.api.get(&free_account),
                env.api.post_keyed("v1/sponsorships", "not-locked", &body)
            );
            lock.release().await;
            answers
        };
        let (locked, (read, sponsored)) = join!(join_all(names.iter().map(credit)), meanwhile);
        read.success();
        sponsored.success();

        for (name, answer) in names.iter().zip(locked) {
            if answer.status == 503 {
                assert_eq!(answer.code(), "database_unavailable");
                assert_eq!(answer.json()["retryable"], Value::Bool(true));
            } else {
                answer.success();
            }
            credit(name).await.success();
        }
        let entries = env.ledger.entries(&held.external_id).await;
        assert_eq!(entries.len(), 1 + CREDITS, "the welcome, and each credit once");
        held.books_agree(env).await;
        free.books_agree(env).await;
    });
}
