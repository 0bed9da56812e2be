//! Where a page ends: opaque to callers, so that it can change.

use domain::ReservationId;
use uuid::Uuid;

use crate::ApiError;

/// What a cursor can point at. It says which list it belongs to, so that one list's cursor is refused by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Before this sequence of an account's entries.
    Entry(i64),
    /// Before this sponsorship.
    Sponsorship(ReservationId),
}

const ENTRY: u8 = 1;
const SPONSORSHIP: u8 = 2;

impl Cursor {
    /// The cursor as it is handed out.
    #[must_use]
    pub fn encode(self) -> String {
        let (kind, content) = match self {
            Self::Entry(seq) => (ENTRY, seq.to_be_bytes().to_vec()),
            Self::Sponsorship(id) => (SPONSORSHIP, id.0.as_bytes().to_vec()),
        };
        let mut bytes = vec![kind];
        bytes.extend(content);
        hex::encode(bytes)
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// [`ApiError::CursorInvalid`] when it is none.
    pub fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = hex::decode(text).map_err(|_| ApiError::CursorInvalid)?;
        let (kind, content) = bytes.split_first().ok_or(ApiError::CursorInvalid)?;
        match *kind {
            ENTRY => {
                let seq = content.try_into().map_err(|_| ApiError::CursorInvalid)?;
                Ok(Self::Entry(i64::from_be_bytes(seq)))
            }
            SPONSORSHIP => Uuid::from_slice(content)
                .map(|id| Self::Sponsorship(ReservationId(id)))
                .map_err(|_| ApiError::CursorInvalid),
            _ => Err(ApiError::CursorInvalid),
        }
    }

    /// The sequence that a cursor of entries points at.
    ///
    /// # Errors
    /// [`ApiError::CursorInvalid`] for another list's.
    pub fn entry(text: &str) -> Result<i64, ApiError> {
        match Self::decode(text)? {
            Self::Entry(seq) => Ok(seq),
            Self::Sponsorship(_) => Err(ApiError::CursorInvalid),
        }
    }

    /// The sponsorship that a cursor of sponsorships points at.
    ///
    /// # Errors
    /// [`ApiError::CursorInvalid`] for another list's.
    pub fn sponsorship(text: &str) -> Result<ReservationId, ApiError> {
        match Self::decode(text)? {
            Self::Sponsorship(id) => Ok(id),
            Self::Entry(_) => Err(ApiError::CursorInvalid),
        }
    }
}
