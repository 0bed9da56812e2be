use api::ApiError;
use api::rpc::envelope::{Incoming, Message, parse};
use proptest::prelude::*;

const MAX: usize = 4;

fn single(text: &str) -> Incoming {
    match parse(text, MAX).unwrap() {
        Message::Single(incoming) => incoming,
        Message::Batch(_) => panic!("a batch"),
    }
}

fn id_of(text: &str) -> Option<String> {
    match single(text) {
        Incoming::Call(call) => call.id.map(|id| id.get().to_owned()),
        Incoming::Invalid { id, .. } => Some(format!("invalid {id}")),
    }
}

#[test]
fn an_id_is_kept_as_it_was_written() {
    for id in ["0", "1", "-7", "1.50", "18446744073709551616", "\"\"", "\"a\\u0062\"", "null"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        assert_eq!(id_of(&text).as_deref(), Some(id), "{text}");
    }
}

#[test]
fn a_call_without_id_is_a_notification() {
    assert_eq!(id_of(r#"{"jsonrpc":"2.0","method":"m"}"#), None);
}

#[test]
fn what_is_no_call_is_answered_as_invalid() {
    for text in [
        "1",
        "null",
        "\"eth_chainId\"",
        "{}",
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","method":"n"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[],"params":[1]}"#,
    ] {
        assert_eq!(id_of(text).as_deref(), Some("invalid null"), "{text}");
    }
    for text in [r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, r#"{"id":1,"method":"m"}"#] {
        assert_eq!(id_of(text).as_deref(), Some("invalid 1"), "{text}");
    }
}

#[test]
fn what_is_no_json_is_malformed() {
    for text in ["", " ", "{", "[", "[1,", r#"{"jsonrpc":"2.0"} x"#, "{}{}", "[]]", "nul"] {
        assert!(matches!(parse(text, MAX), Err(ApiError::MalformedJson(_))), "{text}");
    }
}

#[test]
fn a_batch_has_a_length() {
    assert!(matches!(parse(" [] ", MAX), Err(ApiError::NotARequest(_))));
    assert!(matches!(parse("[1,1,1,1,1]", MAX), Err(ApiError::BatchTooLarge(MAX))));
    let Message::Batch(batch) = parse("[1,1,1,1]", MAX).unwrap() else { panic!("no batch") };
    assert_eq!(batch.len(), MAX);
}

#[test]
fn deep_nesting_is_no_defect() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{deep}}}"#);
    assert_eq!(id_of(&text).as_deref(), Some("1"));
    let _ = parse(&deep, MAX);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = parse(&text, MAX);
    }

    #[test]
    fn no_text_that_looks_like_a_call_makes_the_reader_panic(
        text in r#"\[?\{("(jsonrpc|id|method|params)":("2.0"|1|null|\[\]|\{\}|"m"),?){0,5}\}?,?\]?"#
    ) {
        let _ = parse(&text, MAX);
    }
}
