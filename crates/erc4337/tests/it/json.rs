use alloy_primitives::{Bytes, U256, address};
use erc4337::json::{ParseError, RawUserOperation};
use erc4337::user_operation::PaymasterSignatureField;
use erc4337::{Eip7702Auth, Factory, UserOperation};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arbitrary;

const SENDER: &str = "0x8ba1f109551bD432803012645Ac136ddd64DBA72";
const OTHER: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

/// What a client sends with the stub call.
fn stub_call() -> Value {
    json!({
        "sender": SENDER,
        "nonce": "0x70000000000000003",
        "callData": "0xb61d27f6",
        "callGasLimit": "0x0",
        "verificationGasLimit": "0x0",
        "preVerificationGas": "0x0",
        "maxFeePerGas": "0x77359400",
        "maxPriorityFeePerGas": "0x1",
        "signature": "0xfffe",
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut op = stub_call();
    op.as_object_mut().unwrap().insert(field.into(), value);
    op
}

fn without(field: &str) -> Value {
    let mut op = stub_call();
    op.as_object_mut().unwrap().remove(field);
    op
}

fn parse(op: &Value) -> Result<UserOperation, ParseError> {
    let raw: RawUserOperation = serde_json::from_str(&op.to_string()).unwrap();
    raw.parse()
}

fn error(field: &str, value: Value) -> ParseError {
    parse(&with(field, value)).unwrap_err()
}

fn eip7702_auth() -> Value {
    json!({
        "address": OTHER,
        "chainId": "0x7a69",
        "nonce": "0x4",
        "r": "0x0000000000000000000000000000000000000000000000000000000000000011",
        "s": "0x0000000000000000000000000000000000000000000000000000000000000022",
        "yParity": "0x01",
    })
}

#[test]
fn a_stub_call_is_read() {
    let op = parse(&stub_call()).unwrap();
    assert_eq!(
        op,
        UserOperation {
            sender: address!("8ba1f109551bD432803012645Ac136ddd64DBA72"),
            nonce: U256::from_limbs([3, 7, 0, 0]),
            call_data: Bytes::from_static(&[0xb6, 0x1d, 0x27, 0xf6]),
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1,
            signature: Bytes::from_static(&[0xff, 0xfe]),
            ..UserOperation::default()
        }
    );
}

#[test]
fn absent_and_null_fields_are_the_same() {
    let expected = parse(&stub_call()).unwrap();
    for field in [
        "factory",
        "factoryData",
        "paymaster",
        "paymasterData",
        "paymasterVerificationGasLimit",
        "paymasterPostOpGasLimit",
        "eip7702Auth",
    ] {
        assert_eq!(parse(&with(field, Value::Null)).unwrap(), expected);
    }
    for field in ["callGasLimit", "verificationGasLimit", "preVerificationGas"] {
        assert_eq!(parse(&without(field)).unwrap(), expected);
        assert_eq!(parse(&with(field, Value::Null)).unwrap(), expected);
    }
    for field in ["factory", "factoryData", "paymaster", "paymasterData"] {
        assert_eq!(parse(&with(field, json!("0x"))).unwrap(), expected);
    }
}

#[test]
fn what_names_the_operation_must_be_there() {
    for field in ["sender", "nonce", "callData"] {
        let missing = Err(ParseError::Missing { path: field.into() });
        assert_eq!(parse(&without(field)), missing);
        assert_eq!(parse(&with(field, Value::Null)), missing);
    }
}

#[test]
fn an_address_may_have_any_case() {
    let expected = parse(&stub_call()).unwrap().sender;
    for text in [SENDER.to_lowercase(), SENDER.to_uppercase().replace('X', "x")] {
        assert_eq!(parse(&with("sender", json!(text))).unwrap().sender, expected);
    }
}

#[test]
fn a_quantity_may_have_leading_zeros() {
    for text in ["0x5208", "0x005208", &format!("0x{:0>80}", "5208")] {
        let op = parse(&with("callGasLimit", json!(text))).unwrap();
        assert_eq!(op.call_gas_limit, 21_000);
    }
    let zero = parse(&with("callGasLimit", json!("0x"))).unwrap();
    assert_eq!(zero.call_gas_limit, 0);
}

#[test]
fn a_quantity_out_of_range_is_refused() {
    let beyond_128 = format!("0x1{}", "0".repeat(32));
    for field in [
        "callGasLimit",
        "verificationGasLimit",
        "maxFeePerGas",
        "maxPriorityFeePerGas",
        "paymasterVerificationGasLimit",
        "paymasterPostOpGasLimit",
    ] {
        assert_eq!(
            error(field, json!(beyond_128)),
            ParseError::OutOfRange { path: field.into(), bits: 128 }
        );
    }
    let beyond_256 = format!("0x1{}", "0".repeat(64));
    for field in ["nonce", "preVerificationGas"] {
        assert_eq!(
            error(field, json!(beyond_256)),
            ParseError::OutOfRange { path: field.into(), bits: 256 }
        );
    }
    let mut auth = eip7702_auth();
    auth["nonce"] = json!("0x10000000000000000");
    assert_eq!(
        error("eip7702Auth", auth),
        ParseError::OutOfRange { path: "eip7702Auth.nonce".into(), bits: 64 }
    );
}

#[test]
fn what_is_not_hex_is_refused_by_name() {
    for (field, text) in [
        ("nonce", "12"),
        ("nonce", "0xzz"),
        ("nonce", ""),
        ("nonce", "0X1"),
        ("nonce", "-0x1"),
        ("nonce", "0x1_0"),
        ("callData", "0xabc"),
        ("callData", "abcd"),
        ("sender", "0x12"),
        ("paymaster", "0x7702"),
    ] {
        let error = error(field, json!(text));
        assert!(matches!(error, ParseError::NotHex { .. }), "{error}");
        assert_eq!(error.path(), field);
    }
}

#[test]
fn another_json_type_is_refused_by_name() {
    for value in [json!(5), json!(1.5), json!(true), json!([]), json!({})] {
        let error = error("nonce", value);
        assert!(matches!(error, ParseError::WrongType { .. }), "{error}");
        assert_eq!(error.path(), "nonce");
    }
}

#[test]
fn what_is_no_object_is_refused_without_repeating_it() {
    for text in ["[]", "null", "7", "true", "\"aa31\""] {
        let error = serde_json::from_str::<RawUserOperation>(text).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("a UserOperation must be a JSON object"), "{message}");
    }
}

#[test]
fn a_factory_deploys() {
    let mut op = with("factory", json!(OTHER));
    let deploy = |data: Bytes| Some(Factory::Deploy { factory: OTHER.parse().unwrap(), data });
    assert_eq!(parse(&op).unwrap().factory, deploy(Bytes::new()));
    op["factoryData"] = json!("0x5fbfb9cf");
    assert_eq!(parse(&op).unwrap().factory, deploy(Bytes::from_static(&[0x5f, 0xbf, 0xb9, 0xcf])));
}

#[test]
fn the_eip7702_marker_may_be_short_or_padded() {
    for marker in ["0x7702", "0x7702000000000000000000000000000000000000"] {
        let mut op = with("factory", json!(marker));
        op["factoryData"] = json!("0x");
        op["eip7702Auth"] = eip7702_auth();
        let op = parse(&op).unwrap();
        assert_eq!(op.factory, Some(Factory::Eip7702 { init_data: Bytes::new() }));
        assert_eq!(op.effective_delegate(None), Some(OTHER.parse().unwrap()));
    }
}

#[test]
fn an_authorisation_is_read_under_either_name_of_its_address() {
    let expected = Eip7702Auth {
        address: OTHER.parse().unwrap(),
        chain_id: U256::from(31_337),
        nonce: 4,
        r: U256::from(0x11),
        s: U256::from(0x22),
        y_parity: U256::from(1),
    };
    let mut auth = eip7702_auth();
    let read = |auth: &Value| parse(&with("eip7702Auth", auth.clone())).map(|op| op.eip7702_auth);
    assert_eq!(read(&auth), Ok(Some(expected.clone())));
    let address = auth.as_object_mut().unwrap().remove("address").unwrap();
    assert!(matches!(read(&auth), Err(ParseError::Missing { .. })));
    auth["contractAddress"] = address;
    assert_eq!(read(&auth), Ok(Some(expected)));
    auth["address"] = json!(SENDER);
    assert!(matches!(read(&auth), Err(ParseError::Conflict { .. })));
}

#[test]
fn a_dummy_authorisation_needs_no_signature() {
    let auth = json!({"address": OTHER, "chainId": "0x1", "nonce": "0x0", "r": null});
    let op = parse(&with("eip7702Auth", auth)).unwrap();
    assert_eq!(op.eip7702_auth.unwrap().r, U256::ZERO);
}

#[test]
fn an_authorisation_in_the_old_parity_is_read() {
    let mut auth = eip7702_auth();
    auth.as_object_mut().unwrap().remove("yParity");
    for (v, parity) in [("0x1b", 0), ("0x1c", 1), ("0x1", 1)] {
        auth["v"] = json!(v);
        let op = parse(&with("eip7702Auth", auth.clone())).unwrap();
        assert_eq!(op.eip7702_auth.unwrap().y_parity, U256::from(parity));
    }
}

#[test]
fn a_v06_operation_is_refused_by_name() {
    for field in ["initCode", "paymasterAndData"] {
        let error = error(field, json!("0x1234"));
        assert_eq!(error, ParseError::V06Shape { path: field.into() });
        assert!(error.to_string().contains("v0.6"));
    }
}

#[test]
fn empty_v06_fields_say_nothing_and_are_tolerated() {
    let expected = parse(&stub_call()).unwrap();
    for field in ["initCode", "paymasterAndData"] {
        for value in [Value::Null, json!("0x"), json!("")] {
            assert_eq!(parse(&with(field, value)).unwrap(), expected);
        }
    }
}

#[test]
fn fields_with_a_meaning_that_would_be_lost_are_refused() {
    for field in ["authorization", "accountGasLimits", "gasFees"] {
        assert!(matches!(
            error(field, json!("0x01")),
            ParseError::Refused { path, .. } if path == field
        ));
        assert!(parse(&with(field, json!("0x"))).is_ok());
        assert!(parse(&with(field, Value::Null)).is_ok());
    }
    assert!(matches!(error("authorization", eip7702_auth()), ParseError::Refused { .. }));
}

#[test]
fn a_paymaster_signature_is_read_from_either_place() {
    let suffix = "004022e325a297439656";
    let (window, signature) = ("00".repeat(11) + "07", "5b".repeat(64));
    let mut json = with("paymaster", json!(OTHER));
    json["paymasterData"] = json!(format!("0x{window}{signature}{suffix}"));
    let inline = parse(&json).unwrap();
    json["paymasterData"] = json!(format!("0x{window}"));
    json["paymasterSignature"] = json!(format!("0x{signature}"));
    assert_eq!(parse(&json).unwrap(), inline);
    let apart = serde_json::to_value(inline.for_bundler(PaymasterSignatureField::Apart)).unwrap();
    assert_eq!(apart["paymasterData"], json["paymasterData"]);
    assert_eq!(apart["paymasterSignature"], json["paymasterSignature"]);
    let in_chain_order = serde_json::to_value(&inline).unwrap();
    assert_eq!(in_chain_order.get("paymasterSignature"), None);
}

#[test]
fn two_paymaster_signatures_are_one_too_many() {
    let mut json = with("paymaster", json!(OTHER));
    json["paymasterData"] = json!("0x0122e325a297439656");
    json["paymasterSignature"] = json!("0x01");
    let refused = parse(&json).unwrap_err();
    assert!(
        matches!(&refused, ParseError::Refused { path, .. } if path == "paymasterSignature"),
        "{refused}"
    );
}

#[test]
fn a_misspelt_field_is_not_taken_for_an_absent_one() {
    for (spelling, field) in [
        ("call_gas_limit", "callGasLimit"),
        ("maxfeepergas", "maxFeePerGas"),
        ("eip7702auth", "eip7702Auth"),
    ] {
        assert_eq!(error(spelling, json!("0x1")), ParseError::Misspelt { path: field.into() });
    }
}

#[test]
fn other_unknown_fields_are_ignored() {
    let expected = parse(&stub_call()).unwrap();
    for field in ["sponsor", "isFinal", "chainId", "entryPoint", "id"] {
        assert_eq!(parse(&with(field, json!({"a": [1]}))).unwrap(), expected);
    }
}

#[test]
fn data_without_its_owner_is_refused() {
    for (field, needs) in [("factoryData", "factory"), ("paymasterData", "paymaster")] {
        assert_eq!(error(field, json!("0x01")), ParseError::Orphan { path: field.into(), needs });
    }
    let limits = with("paymasterPostOpGasLimit", json!("0x10"));
    assert_eq!(parse(&limits).unwrap().paymaster, None);
}

#[test]
fn repeated_fields_are_refused() {
    let message = |text: &str| serde_json::from_str::<UserOperation>(text).unwrap_err().to_string();
    let known = message(r#"{"nonce": "0x1", "sender": "0x", "nonce": "0x2"}"#);
    assert!(known.contains("`nonce` appears twice"), "{known}");
    let unknown = message(r#"{"aa31": 1, "aa31": 2}"#);
    assert!(unknown.contains("unknown field appears twice"), "{unknown}");
    let nested = message(r#"{"eip7702Auth": {"nonce": "0x1", "nonce": "0x2"}}"#);
    assert!(nested.contains("`nonce` appears twice"), "{nested}");
}

#[test]
fn deserializing_reports_the_parse_error() {
    let error = serde_json::from_value::<UserOperation>(without("nonce")).unwrap_err();
    assert_eq!(error.to_string(), "`nonce` is missing");
}

#[test]
fn an_existing_account_is_written_without_factory_and_in_minimal_hex() {
    let op = parse(&stub_call()).unwrap();
    let mut expected = stub_call();
    expected["sender"] = json!(SENDER.to_lowercase());
    assert_eq!(serde_json::to_value(&op).unwrap(), expected);
}

#[test]
fn a_marker_is_written_short_unless_data_follows() {
    let marker = |init_data: &'static [u8]| {
        let op = UserOperation {
            factory: Some(Factory::Eip7702 { init_data: Bytes::from_static(init_data) }),
            ..UserOperation::default()
        };
        serde_json::to_value(&op).unwrap()["factory"].clone()
    };
    assert_eq!(marker(b""), json!("0x7702"));
    assert_eq!(marker(b"init"), json!("0x7702000000000000000000000000000000000000"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["\\PC{0,12}", "0x[0-9a-fA-F]{0,70}", Just("0x7702".into())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(field_name(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn field_name() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(vec![
        "sender",
        "nonce",
        "factory",
        "factoryData",
        "callData",
        "callGasLimit",
        "paymaster",
        "paymasterData",
        "paymasterAndData",
        "paymasterSignature",
        "eip7702Auth",
        "address",
        "chainId",
        "r",
        "v",
        "AA31_aa33_aa34",
    ]);
    prop_oneof![4 => known.prop_map(String::from), 1 => "\\PC{0,8}"]
}

/// A valid operation in which any fields are replaced by anything.
fn broken_operation() -> impl Strategy<Value = Value> {
    let changes = btree_map(field_name(), any_json(), 0..4);
    (arbitrary::operation(), changes).prop_map(|(op, changes)| {
        let mut json = serde_json::to_value(&op).unwrap();
        json.as_object_mut().unwrap().extend(changes);
        json
    })
}

fn has_entry_point_code(message: &str) -> bool {
    let message = message.to_lowercase();
    ["aa1", "aa2", "aa3", "aa4", "aa5", "aa9"].iter().any(|code| message.contains(code))
}

proptest! {
    #[test]
    fn an_operation_survives_json(op in arbitrary::operation()) {
        let json = serde_json::to_string(&op).unwrap();
        prop_assert_eq!(serde_json::from_str::<UserOperation>(&json).unwrap(), op);
    }

    #[test]
    fn anything_parses_or_is_refused_without_an_entry_point_code(
        json in prop_oneof![any_json(), broken_operation()],
    ) {
        if let Err(error) = serde_json::from_str::<UserOperation>(&json.to_string()) {
            prop_assert!(!has_entry_point_code(&error.to_string()), "{}", error);
        }
    }

    #[test]
    fn text_that_is_not_json_never_panics(text in "\\PC{0,60}") {
        let _ = serde_json::from_str::<UserOperation>(&text);
    }
}
