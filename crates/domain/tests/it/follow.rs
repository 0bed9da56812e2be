//! How a cursor follows a chain that may reorganise.

use alloy_primitives::B256;
use domain::follow::{Step, step};

use crate::fixtures::block;

const OTHER: B256 = B256::repeat_byte(0xff);

#[test]
fn a_child_of_the_cursor_extends_it() {
    let cursor = block(5);
    assert_eq!(step(&cursor, cursor.number - 3, cursor.hash), Step::Extend);
}

#[test]
fn a_child_of_another_block_makes_the_cursor_walk_back() {
    let cursor = block(5);
    assert_eq!(step(&cursor, cursor.number - 3, OTHER), Step::WalkBack);
    assert_eq!(step(&cursor, cursor.number - 1, OTHER), Step::WalkBack);
}

#[test]
fn a_contradiction_of_a_final_block_is_a_named_halt() {
    let cursor = block(5);
    assert_eq!(step(&cursor, cursor.number, OTHER), Step::PastFinality);
    assert_eq!(step(&cursor, cursor.number + 1, OTHER), Step::PastFinality);
}

#[test]
fn a_final_cursor_is_extended_like_any_other() {
    let cursor = block(5);
    assert_eq!(step(&cursor, cursor.number, cursor.hash), Step::Extend);
}
