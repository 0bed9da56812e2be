use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::HttpSettings;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::house::{CHAIN, House, PUBLISHABLE, SECRET, entry_point, operation, terms};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_leaves_one_line_without_key_path_or_body() {
    let house = House::new().await;
    house.put("/v1/accounts/carol").await;
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).json().finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":["hush"]}"#;
    house.rpc(PUBLISHABLE, call).await;
    house.rpc(SECRET, r#"{"jsonrpc":"2.0","id":1,"method":"hush"}"#).await;
    house.get("/v1/accounts/carol").await;
    house.get("/hush").await;
    let credit = json!({ "amount": "1", "reason": "hush", "reference": "hush" });
    house.post("/v1/accounts/carol/credits", "hush", &credit).await;
    drop(guard);
    let text = log.text();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["fields"]["message"] == "request")
        .collect();
    let routes: Vec<_> = lines.iter().map(|line| line["fields"]["route"].clone()).collect();
    let expected = [
        "/rpc/{key}",
        "/rpc/{key}",
        "/v1/accounts/{externalId}",
        "unmatched",
        "/v1/accounts/{externalId}/credits",
    ];
    assert_eq!(routes, expected);
    assert_eq!(lines[0]["fields"]["rpc"], "eth_chainId invalid_request");
    assert_eq!(lines[1]["fields"]["rpc"], "- unknown_method");
    assert_eq!(lines[3]["fields"]["code"], "not_found");
    for secret in [SECRET, PUBLISHABLE, "hush", "carol"] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_own_harmless_name() {
    let house = House::new().await;
    let long = "x".repeat(65);
    for (given, kept) in [("trace-1.A_b", true), ("a b", false), ("", false), (&long, false)] {
        let request = Request::get("/nowhere").header("x-request-id", given);
        let reply = house.send(request.body(Body::empty()).unwrap()).await;
        reply.assert_problem(404, "not_found", given);
        assert_eq!(reply.header("x-request-id") == Some(given), kept, "{given}");
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let request_timeout = Duration::from_secs(2);
    let http = HttpSettings { request_timeout, ..HttpSettings::default() };
    let house = House::on(&[(CHAIN, url)], http).await;
    house.user("alice", "10").await;
    let reply = house.post("/v1/quotes", "k", &terms(&operation())).await;
    reply.assert_problem(503, "timed_out", "REST");
    assert_eq!(reply.header("retry-after"), Some("1"));
    let params = json!([operation(), entry_point(), "0x7a69"]);
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "pm_getPaymasterData", "params": params });
    let reply = house.rpc(SECRET, &call.to_string()).await;
    reply.assert_problem(503, "timed_out", "JSON-RPC");
}

#[tokio::test]
async fn a_wrong_method_hears_which_are_right() {
    let house = House::new().await;
    let request = Request::get(format!("/rpc/{SECRET}")).body(Body::empty()).unwrap();
    let reply = house.send(request).await;
    reply.assert_problem(405, "method_not_allowed", "GET on /rpc");
    assert_eq!(reply.header("allow"), Some("POST"));
}
