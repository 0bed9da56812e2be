use api::ApiError;
use api::cursor::Cursor;
use domain::ReservationId;
use proptest::prelude::*;
use uuid::Uuid;

proptest! {
    #[test]
    fn a_cursor_is_read_back_as_what_it_was(seq: i64, id: u128) {
        let entry = Cursor::Entry(seq);
        prop_assert_eq!(Cursor::decode(&entry.encode()).unwrap(), entry);
        let sponsorship = Cursor::Sponsorship(ReservationId(Uuid::from_u128(id)));
        prop_assert_eq!(Cursor::decode(&sponsorship.encode()).unwrap(), sponsorship);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,80}") {
        let _ = Cursor::decode(&text);
    }

    #[test]
    fn one_lists_cursor_is_refused_by_the_other(seq: i64, id: u128) {
        let sponsorship = Cursor::Sponsorship(ReservationId(Uuid::from_u128(id))).encode();
        prop_assert!(matches!(Cursor::entry(&sponsorship), Err(ApiError::CursorInvalid)));
        let entry = Cursor::Entry(seq).encode();
        prop_assert!(matches!(Cursor::sponsorship(&entry), Err(ApiError::CursorInvalid)));
    }
}

#[test]
fn text_that_is_no_cursor_is_refused() {
    for text in ["", "zz", "01", "0100", "03ffffffffffffffff", "1"] {
        assert!(matches!(Cursor::decode(text), Err(ApiError::CursorInvalid)), "{text}");
    }
}
