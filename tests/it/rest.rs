//! The API as the company's server uses it.

use e2e::{Wallet, books::points, on_shared_stack, user::max_cost_of};
use serde_json::json;

#[test]
fn a_sponsorship_by_rest_lands_and_is_shown_with_its_outcome() {
    on_shared_stack(async |env| {
        let user = env.user("by-rest", Wallet::SIMPLE_07).await;
        let request = user.increment();
        // The company's server asks for the signature, the user's wallet signs.
        let mut op = user.estimates().await;
        let body = user.sponsorship_body(&op);
        let sponsored = env.api.post_keyed("v1/sponsorships", "by-rest", &body).await.success();
        for field in [
            "paymaster",
            "paymasterData",
            "paymasterVerificationGasLimit",
            "paymasterPostOpGasLimit",
        ] {
            op[field] = sponsored[field].clone();
        }
        let sent = user.signs_and_submits(&request, &op).await;
        assert_eq!(sponsored["userOpHash"], sent.hash.to_string());
        assert!(user.lands(&request, &sent).await.success);
        let (reserved, spent) = user.settled_exactly(env, &sent).await;

        let path = format!("v1/sponsorships/{}", sponsored["id"].as_str().unwrap());
        let shown = env.api.get(&path).await.success();
        assert_eq!(shown["state"], "settled");
        assert_eq!(shown["final"], true);
        assert_eq!(shown["reserved"], points(reserved));
        assert_eq!(shown["settlement"]["cost"], points(spent));
        assert_eq!(shown["externalId"], user.external_id.as_str());
        let listed = format!("v1/sponsorships?sender={}&state=settled", user.address);
        let listed = env.api.get(&listed).await;
        assert!(listed.text.contains(sponsored["id"].as_str().unwrap()), "{}", listed.text);
        listed.success();
    });
}

#[test]
fn a_quote_says_what_a_sponsorship_would_set_aside_and_takes_nothing() {
    on_shared_stack(async |env| {
        let user = env.user("quotes", Wallet::SIMPLE_08).await;
        let op = user.estimates().await;
        let before = user.balances().await;
        let body = user.sponsorship_body(&op);
        let quote = env.api.post("v1/quotes", &body).await.success();
        assert_eq!(quote["sponsored"], true, "{quote:#}");
        assert_eq!(quote["points"], points(env.micropoints(max_cost_of(&op))));
        assert_eq!(quote["maxCost"], max_cost_of(&op).to_string());
        assert_eq!(user.balances().await, before);

        let path = format!("v1/accounts/{}/debits", user.external_id);
        let all = json!({"amount": points(before.available), "reason": "shop", "reference": "d1"});
        env.api.post_keyed(&path, "debit-all", &all).await.success();
        let quote = env.api.post("v1/quotes", &body).await.success();
        assert_eq!(quote["sponsored"], false, "{quote:#}");
        assert_eq!(quote["refusal"]["code"], "insufficient_points");
        user.books_agree(env).await;
    });
}

#[test]
fn the_journal_is_read_in_pages_newest_first() {
    on_shared_stack(async |env| {
        let user = env.user("statement", Wallet::SIMPLE_07).await;
        let sent = user.sends(&user.increment()).await;
        user.settled_exactly(env, &sent).await;
        let mut told = Vec::new();
        let mut query = String::from("?limit=3");
        loop {
            let path = format!("v1/accounts/{}/entries{query}", user.external_id);
            let page = env.api.get(&path).await.success();
            let lines = page["entries"].as_array().unwrap();
            told.extend(lines.iter().map(|line| {
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                (line["seq"].as_i64().unwrap(), text("kind"), text("amount"))
            }));
            match page["nextCursor"].as_str() {
                Some(cursor) => query = format!("?limit=3&cursor={cursor}"),
                None => break,
            }
        }
        let journal = env.ledger.entries(&user.external_id).await;
        let expected: Vec<_> = journal
            .iter()
            .rev()
            .map(|entry| (entry.seq, entry.kind.clone(), points(entry.amount)))
            .collect();
        assert_eq!(told, expected);
        let kinds: Vec<_> = journal.iter().map(|entry| entry.kind.as_str()).collect();
        assert_eq!(kinds, ["credit", "reserve", "confirm", "finalise"]);
    });
}
