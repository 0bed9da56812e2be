//! What the README shows a dApp's developer is a program that runs.

use std::process::Stdio;

use alloy::primitives::keccak256;
use e2e::{Env, Wallet, on_shared_stack};
use serde_json::{Value, json};
use tokio::process::Command;

#[test]
fn the_example_of_a_dapp_sends_sponsored_operations() {
    on_shared_stack(async |env| {
        let mut user = env.stranger("readme", Wallet::EIP7702_09).await;
        // The first run brings the authorization of the account, the second finds it there.
        for run in 1..=2 {
            let printed = run_example(env).await;
            assert_eq!(printed["success"], true, "{printed}");
            user.address = printed["account"].as_str().unwrap().parse().unwrap();
            // In this stack a wallet that nobody linked gets an account of this name.
            user.external_id = format!("dev:{}:{}", env.endpoints.chain_id, user.address);
            assert_eq!(user.count().await, run);
            let reserved = user.reservations().await.pop().unwrap();
            let settled = user.reaches("settled_final", &json!({"nonce": reserved.nonce})).await;
            let hash = settled.settlement.unwrap().user_op_hash;
            assert_eq!(printed["userOpHash"], hash.to_string());
            user.books_agree(env).await;
        }
    });
}

/// What the example prints.
async fn run_example(env: &Env) -> Value {
    let root = env.stack.tools.root();
    let output = Command::new("node")
        .arg(root.join("examples/viem.mjs"))
        .current_dir(root)
        .env("RPC_URL", env.endpoints.rpc_url.as_str())
        .env("PAYMASTER_URL", env.endpoints.paymaster_url.as_str())
        .env("OWNER_KEY", keccak256("readme").to_string())
        .env("TARGET", env.stack.chain.counter.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_curl_commands_of_the_readme_credit_points() {
    on_shared_stack(async |env| {
        let wallet = env.stranger("readme curl", Wallet::EIP7702_09).await.address.to_string();
        let readme = std::fs::read_to_string(env.stack.tools.root().join("README.md")).unwrap();
        let block = readme.split("```sh\ncurl").nth(1).unwrap().split("```").next().unwrap();
        let script = format!("curl{block}").replace("\\\n", " ");
        let mut answers = Vec::new();
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            let line = line
                .replace("$STIPEND/", env.endpoints.api_url.as_str())
                .replace("$SECRET_KEY", &env.endpoints.secret_key)
                .replace("$WALLET", &wallet);
            answers.push(curl(&words(&line)).await);
        }
        assert_eq!(answers.len(), 3);
        assert!(answers[1].to_lowercase().contains(&wallet.to_lowercase()), "{}", answers[1]);
        assert!(answers[2].contains("\"12.5\""), "{}", answers[2]);
    });
}

/// A line of the shell as words: quotes hold words together, and nothing else is special here.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            None if character == '"' || character == '\'' => quote = Some(character),
            None if character == ' ' => words.push(String::new()),
            Some(_) | None => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Does what curl does with these arguments; the machine may have none. The body of a success.
async fn curl(words: &[String]) -> String {
    let mut arguments = words.iter();
    assert_eq!(arguments.next().unwrap(), "curl");
    let (mut method, mut url, mut headers, mut body) = (None, None, Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-X" => method = arguments.next(),
            "-H" => headers.push(arguments.next().unwrap().split_once(": ").unwrap()),
            "-d" => body = arguments.next(),
            _ => url = Some(argument),
        }
    }
    let method = method.unwrap().parse().unwrap();
    let mut request = reqwest::Client::new().request(method, url.unwrap().as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.body(body.clone());
    }
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert!(status.is_success(), "{words:?}: {status} {text}");
    text
}
