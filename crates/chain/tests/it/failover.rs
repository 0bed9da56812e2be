use std::time::{Duration, Instant};

use chain::bundler::Bundler;
use chain::node::Node;
use chain::{ConnectError, RpcError};
use domain::ChainId;
use erc4337::user_operation::PaymasterSignatureField;
use serde_json::json;
use url::Url;

use crate::faulty::{Fault, Faulty, dead_url};
use crate::{CHAIN_ID, Chain, DEADLINE};

/// What a healthy endpoint says to `eth_chainId` and, for these tests, to everything else.
const ONE: Fault = Fault::Answer(200, r#"{"jsonrpc":"2.0","id":ID,"result":"0x1"}"#);
const REFUSAL: &str =
    r#"{"jsonrpc":"2.0","id":ID,"error":{"code":-32500,"message":"no","data":{"reason":7}}}"#;

fn node(urls: &[Url]) -> Node {
    Node::connect(urls, DEADLINE).unwrap()
}

fn bundler(urls: &[Url]) -> Bundler {
    Bundler::connect(urls, DEADLINE, PaymasterSignatureField::Apart).unwrap()
}

fn refusal() -> RpcError {
    RpcError::Rpc { code: -32500, message: "no".into(), data: Some(json!({"reason": 7})) }
}

#[tokio::test]
async fn a_dead_first_url_leads_to_the_next() {
    let chain = Chain::start().await;
    let node = node(&[dead_url(), chain.url()]);
    assert_eq!(node.chain_id().await, Ok(ChainId(CHAIN_ID)));
}

#[tokio::test]
async fn every_failure_to_answer_leads_to_the_next() {
    let faults = [
        Fault::Answer(429, "slow down"),
        Fault::Answer(429, REFUSAL),
        Fault::Answer(500, ""),
        Fault::Answer(502, "<html>bad gateway</html>"),
        Fault::Answer(503, REFUSAL),
        Fault::Answer(401, "unknown key"),
        Fault::Answer(200, "<html>welcome</html>"),
        Fault::Answer(200, r#"{"jsonrpc":"2.0","id":ID}"#),
        Fault::Answer(200, r#"{"jsonrpc":"2.0","id":"another","result":"0x2"}"#),
        Fault::HangUp,
        Fault::Flood,
    ];
    for (position, fault) in faults.into_iter().enumerate() {
        let first = Faulty::start(fault).await;
        let second = Faulty::start(ONE).await;
        let answer = node(&[first.url(), second.url()]).chain_id().await;
        assert_eq!(answer, Ok(ChainId(1)), "fault {position}");
        assert_eq!((first.asked(), second.asked()), (1, 1), "fault {position}");
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_leaves_time_for_the_next() {
    let first = Faulty::start(Fault::Hang).await;
    let second = Faulty::start(ONE).await;
    let deadline = Duration::from_secs(2);
    let node = Node::connect(&[first.url(), second.url()], deadline).unwrap();

    let start = Instant::now();
    assert_eq!(node.chain_id().await, Ok(ChainId(1)));
    assert!(start.elapsed() < deadline);
}

#[tokio::test]
async fn no_call_lasts_longer_than_its_deadline() {
    let first = Faulty::start(Fault::Hang).await;
    let second = Faulty::start(Fault::Hang).await;
    let deadline = Duration::from_millis(300);
    let node = Node::connect(&[first.url(), second.url()], deadline).unwrap();

    let start = Instant::now();
    let host = second.host();
    assert_eq!(node.chain_id().await, Err(RpcError::TimedOut { host }));
    let lasted = start.elapsed();
    assert!(lasted >= deadline, "{lasted:?}");
    assert!(lasted < deadline * 5, "{lasted:?}");
    assert_eq!((first.asked(), second.asked()), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Faulty::start(ONE).await;
    let first = Faulty::start(Fault::Redirect(elsewhere.port())).await;
    let answer = node(&[first.url()]).chain_id().await;
    assert!(matches!(answer, Err(RpcError::Unreachable { .. })), "{answer:?}");
    assert_eq!(elsewhere.asked(), 0);

    let second = Faulty::start(ONE).await;
    let answer = node(&[first.url(), second.url()]).chain_id().await;
    assert_eq!(answer, Ok(ChainId(1)));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_long_before_the_deadline() {
    let first = Faulty::start(Fault::Flood).await;
    let answer = node(&[first.url()]).chain_id().await;
    assert!(matches!(answer, Err(RpcError::TooLarge { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_is_an_answer_whatever_its_status() {
    for status in [200, 400] {
        let first = Faulty::start(Fault::Answer(status, REFUSAL)).await;
        let second = Faulty::start(ONE).await;
        let answer = node(&[first.url(), second.url()]).chain_id().await;
        assert_eq!(answer, Err(refusal()));
        assert_eq!(second.asked(), 0);
    }
}

#[tokio::test]
async fn the_last_refusal_is_kept_when_nobody_answers() {
    let overloaded = Faulty::start(Fault::Answer(500, REFUSAL)).await;
    let answer = node(&[dead_url(), overloaded.url()]).chain_id().await;
    assert_eq!(answer, Err(refusal()));
}

#[tokio::test]
async fn an_operation_goes_to_a_second_bundler_only_when_the_first_did_not_take_it() {
    let send = json!([{}, "0x0000000071727De22E5E9d8BAf0edAc6f37da032"]);
    let cases = [
        (Fault::Answer(429, "slow down"), 1),
        (Fault::Answer(503, "restarting"), 1),
        (Fault::Answer(401, "unknown key"), 1),
        (Fault::Answer(403, r#"{"message":"unknown key"}"#), 1),
        (Fault::Answer(500, "perhaps"), 0),
        (Fault::Answer(502, "perhaps"), 0),
        (Fault::Answer(200, REFUSAL), 0),
        (Fault::Answer(200, "<html>perhaps</html>"), 0),
        (Fault::HangUp, 0),
    ];
    for (position, (fault, second_asked)) in cases.into_iter().enumerate() {
        let first = Faulty::start(fault).await;
        let second = Faulty::start(ONE).await;
        let answer = bundler(&[first.url(), second.url()])
            .forward("eth_sendUserOperation", send.clone())
            .await;
        assert_eq!(answer.is_ok(), second_asked == 1, "case {position}: {answer:?}");
        assert_eq!(first.asked(), 1, "case {position}");
        assert_eq!(second.asked(), second_asked, "case {position}");
    }

    let second = Faulty::start(ONE).await;
    let answer = bundler(&[dead_url(), second.url()]).forward("eth_sendUserOperation", send).await;
    assert_eq!(answer, Ok(json!("0x1")));
}

#[tokio::test]
async fn no_text_shows_more_of_a_url_than_host_and_port() {
    for fault in [
        Fault::Answer(403, "user:password path-key"),
        Fault::Redirect(1),
        Fault::HangUp,
        Fault::Flood,
    ] {
        let endpoint = Faulty::start(fault).await;
        let node = node(&[endpoint.url()]);
        let error = node.chain_id().await.unwrap_err();
        assert!(error.to_string().contains(&endpoint.host()), "{error}");
        assert_silent(&format!("{error} {error:?} {node:?} {node:#?}"));
    }

    let error = node(&[dead_url()]).chain_id().await.unwrap_err();
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error:?}");
    assert_silent(&format!("{error} {error:?}"));

    let url: Url = "ftp://user:password@node.example/path-key".parse().unwrap();
    let error = Node::connect(&[url], DEADLINE).unwrap_err();
    assert_eq!(error, ConnectError::UnsupportedUrl { position: 1 });
    assert_silent(&format!("{error} {error:?}"));
}

fn assert_silent(text: &str) {
    for part in ["user", "password", "key", "query"] {
        assert!(!text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_list_without_urls_is_refused() {
    assert_eq!(Node::connect(&[], DEADLINE).unwrap_err(), ConnectError::NoUrl);
}
