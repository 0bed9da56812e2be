//! Bundlers that follow ERC-7562 take our paymaster without a stake, by the judgement of a real bundler's tracer and rules.

use std::{collections::BTreeSet, process::Stdio};

use alloy::signers::local::PrivateKeySigner;
use devstack::keys;
use e2e::{Env, on_shared_stack};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

/// The rules that the controls break; the program names two where the bundler does not tell them apart.
const RULES: [&str; 12] = [
    "EREP-050",
    "OP-011",
    "OP-011, OP-031",
    "OP-012",
    "OP-020",
    "OP-041",
    "OP-054",
    "OP-061",
    "OP-080",
    "STO-031",
    "STO-032, STO-033",
    "STO-033",
];

/// What a control may do: paymaster and operation.
const ALLOWED: [(&str, &str); 4] = [
    ("RuleBreaker, unstaked", "nothing"),
    ("RuleBreaker, unstaked", "readsSlotOfSender"),
    ("RuleBreaker, staked", "readsOwnSlot"),
    ("RuleBreaker, staked", "writesOwnSlot"),
];

/// The table of `tests/clients/erc7562.mjs`, for our paymasters and its controls.
async fn table(env: &Env) -> Vec<Value> {
    let chain = &env.stack.chain;
    let utility = PrivateKeySigner::from_bytes(&keys::BUNDLER_UTILITY).unwrap();
    let input = json!({
        "rpcUrl": chain.rpc_url,
        "utility": utility.address(),
        "signerKey": chain.signer_key,
        "entryPoints": chain.entry_points,
        "paymasters": chain.paymasters,
    });
    let root = env.stack.tools.root();
    let mut process = Command::new("node")
        .arg(root.join("tests/clients/erc7562.mjs"))
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = process.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn our_paymaster_breaks_no_rule_of_erc_7562_and_every_control_is_caught() {
    on_shared_stack(async |env| {
        let table = table(env).await;
        let wrong: Vec<_> = table.iter().filter(|row| row["found"] != row["expected"]).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");

        for (version, ours) in [("0.7", 2), ("0.8", 3), ("0.9", 6)] {
            let rows: Vec<_> = table.iter().filter(|row| row["entryPoint"] == version).collect();
            let sponsored: Vec<_> =
                rows.iter().filter(|row| row["paymaster"] == "StipendPaymaster").collect();
            assert_eq!(sponsored.len(), ours, "{sponsored:#?}");
            assert!(sponsored.iter().all(|row| row["found"].is_null()), "{sponsored:#?}");

            let found: BTreeSet<_> = rows.iter().filter_map(|row| row["found"].as_str()).collect();
            assert_eq!(found, BTreeSet::from(RULES), "on EntryPoint {version}");
            for (paymaster, operation) in ALLOWED {
                let mut same = rows
                    .iter()
                    .filter(|row| row["paymaster"] == paymaster && row["operation"] == operation);
                assert!(same.next().unwrap()["found"].is_null(), "{paymaster}, {operation}");
            }
        }
    });
}
