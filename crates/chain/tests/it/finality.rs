use chain::Finality;
use serde_json::json;

#[test]
fn a_rule_is_written_as_in_the_configuration() {
    for (rule, written) in [
        (Finality::Finalized, json!("finalized")),
        (Finality::Safe, json!("safe")),
        (Finality::Depth(12), json!({"depth": 12})),
    ] {
        assert_eq!(serde_json::to_value(rule).unwrap(), written);
        assert_eq!(serde_json::from_value::<Finality>(written).unwrap(), rule);
    }
    assert!(serde_json::from_value::<Finality>(json!("latest")).is_err());
}
