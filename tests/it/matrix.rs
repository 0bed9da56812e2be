//! Every client with every account on every EntryPoint that it supports: the first operation, which deploys or delegates, the second, and a batch.

use std::{fmt::Write as _, panic::AssertUnwindSafe};

use devstack::driver::{Account, Client};
use e2e::{Env, Wallet, on_shared_stack};
use futures::{FutureExt, StreamExt, stream};

const CLIENTS: [Client; 2] = [Client::Viem, Client::Permissionless];
const ACCOUNTS: [(Account, &str); 5] = [
    (Account::Simple, "0.7"),
    (Account::Simple, "0.8"),
    (Account::Safe, "0.7"),
    (Account::Simple7702, "0.8"),
    (Account::Simple7702, "0.9"),
];
const STEPS: [&str; 3] = ["first", "second", "batch"];
/// More at once only wait for the two accounts that the bundler sends from.
const AT_ONCE: usize = 4;

#[test]
fn every_client_account_and_entry_point_is_sponsored_and_settled() {
    on_shared_stack(async |env| {
        let cells = CLIENTS.into_iter().flat_map(|client| {
            ACCOUNTS.map(|(account, entry_point)| Wallet { client, account, entry_point })
        });
        let rows: Vec<_> = stream::iter(cells)
            .map(async |wallet| (wallet, fill_cell(env, wallet).await))
            .buffered(AT_ONCE)
            .collect()
            .await;
        println!("{}", table(&rows));
        let missing: Vec<_> = rows.iter().filter(|(_, steps)| steps.len() < STEPS.len()).collect();
        assert!(missing.is_empty(), "cells that failed: {missing:?}");
    });
}

/// The steps that passed, with what each spent in micropoints. A step that fails has said why, and ends its row but not the others.
async fn fill_cell(env: &'static Env, wallet: Wallet) -> Vec<i64> {
    let mut passed = Vec::new();
    let _failed = AssertUnwindSafe(async {
        let user = env.user("matrix", wallet).await;
        for (step, calls) in STEPS.iter().zip([1, 1, 2]) {
            let mut request = user.increments(calls);
            if wallet.client == Client::Permissionless {
                // One URL for the paymaster and the bundler, as a dApp may have it.
                request.bundler_url = env.endpoints.paymaster_url.to_string();
            }
            let counted = user.count().await;
            let sent = user.sends(&request).await;
            assert!(user.lands(&request, &sent).await.success, "{wallet:?} {step}");
            assert_eq!(user.count().await, counted + u64::try_from(calls).unwrap());
            let (_, spent) = user.settled_exactly(env, &sent).await;
            passed.push(spent);
        }
    })
    .catch_unwind()
    .await;
    passed
}

fn table(rows: &[(Wallet, Vec<i64>)]) -> String {
    let mut text =
        String::from("\nclients × accounts × entry points, points spent per operation:\n");
    writeln!(text, "{:15} {:11} {:4} {}", "client", "account", "ep", STEPS.join("      ")).unwrap();
    for (Wallet { client, account, entry_point }, passed) in rows {
        let (client, account) = (format!("{client:?}"), format!("{account:?}"));
        write!(text, "{client:15} {account:11} {entry_point:4}").unwrap();
        for step in 0..STEPS.len() {
            let spent = passed.get(step).map_or("FAILED".to_owned(), |&s| e2e::books::points(s));
            write!(text, " {spent:>10}").unwrap();
        }
        text.push('\n');
    }
    text
}
