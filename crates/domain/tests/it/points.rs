//! Amounts of points as text.

use domain::Points;
use domain::points::ParsePointsError;
use proptest::prelude::*;

use crate::fixtures::micro;

#[track_caller]
fn parses(text: &str, micropoints: u64) {
    assert_eq!(text.parse::<Points>(), Ok(micro(micropoints)));
}

#[track_caller]
fn refuses(text: &str, error: &ParsePointsError) {
    assert_eq!(text.parse::<Points>().as_ref(), Err(error), "{text:?}");
}

#[test]
fn a_text_is_read_to_the_micropoint() {
    parses("0", 0);
    parses("1", 1_000_000);
    parses("12.5", 12_500_000);
    parses("0.000001", 1);
    parses("9223372036854.775807", Points::MAX.micropoints());
}

#[test]
fn zeros_that_say_nothing_are_read_and_not_printed() {
    for text in ["7.50", "007.5", "7.500000"] {
        assert_eq!(text.parse::<Points>().unwrap().to_string(), "7.5");
    }
    assert_eq!("7.0".parse::<Points>().unwrap().to_string(), "7");
}

#[test]
fn what_is_not_a_plain_decimal_is_refused() {
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "+1",
        "-1",
        "-0",
        " 1",
        "1 ",
        "1e3",
        "0x10",
        "1,5",
        "1.2.3",
        "1_000",
        "١",
        "NaN",
        "1.\u{661}",
    ] {
        refuses(text, &ParsePointsError::Syntax);
    }
}

#[test]
fn a_seventh_place_is_refused_even_when_it_is_zero() {
    refuses("1.0000001", &ParsePointsError::TooPrecise);
    refuses("1.0000000", &ParsePointsError::TooPrecise);
}

#[test]
fn an_amount_above_the_largest_is_refused() {
    let long = "9".repeat(400);
    for text in ["9223372036854.775808", "9223372036855", "18446744073709.551616", &long] {
        refuses(text, &ParsePointsError::TooLarge);
    }
    assert_eq!(Points::from_micropoints(Points::MAX.micropoints() + 1), None);
}

#[test]
fn sums_and_differences_stay_in_range() {
    assert_eq!(Points::MAX.checked_add(micro(1)), None);
    assert_eq!(Points::MAX.checked_add(Points::ZERO), Some(Points::MAX));
    assert_eq!(Points::MAX.checked_add(Points::MAX), None);
    assert_eq!(Points::ZERO.checked_sub(micro(1)), None);
    assert_eq!(micro(5).checked_sub(micro(5)), Some(Points::ZERO));
    assert_eq!(micro(5).saturating_sub(micro(6)), Points::ZERO);
}

#[test]
fn json_takes_a_string_and_never_a_number() {
    assert_eq!(serde_json::to_string(&micro(12_500_000)).unwrap(), "\"12.5\"");
    assert_eq!(serde_json::from_str::<Points>("\"12.5\"").unwrap(), micro(12_500_000));
    for json in ["12.5", "12", "null", "\"12.5 \"", "true", "[\"1\"]"] {
        assert!(serde_json::from_str::<Points>(json).is_err(), "{json}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(micropoints in 0..=Points::MAX.micropoints()) {
        let printed = micro(micropoints).to_string();
        prop_assert_eq!(printed.parse::<Points>(), Ok(micro(micropoints)));
    }

    #[test]
    fn a_text_means_what_its_digits_say(whole in 0_u64..9_000_000_000_000, fraction in 0_u64..1_000_000) {
        let text = format!("{whole}.{fraction:06}");
        prop_assert_eq!(text.parse::<Points>(), Ok(micro(whole * 1_000_000 + fraction)));
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_invent_an_amount(text in "[0-9.+eE -]{0,24}") {
        if let Ok(points) = text.parse::<Points>() {
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
            prop_assert_eq!(points.to_string().parse::<Points>(), Ok(points));
        }
    }
}
