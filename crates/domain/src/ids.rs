//! One type per thing that has an identity, so that a tenant can never be passed for an account.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// One company. Apps, keys, paymasters and accounts belong to exactly one.
    TenantId
);
uuid_id!(
    /// One user's points, under an internal id, so that the external name can be erased.
    AccountId
);
uuid_id!(
    /// One application of a tenant.
    AppId
);
uuid_id!(
    /// One API key.
    KeyId
);
uuid_id!(
    /// One reservation: points set aside for one attempt on a slot, or for a TCC biz id. The API
    /// shows a sponsorship's reservation id as the sponsorship's id.
    ReservationId
);

/// An [EIP-155](https://eips.ethereum.org/EIPS/eip-155) chain id, kept below 2⁶³ because the
/// database stores it as a signed integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name that the caller chose is empty, too long or holds characters that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {max} characters without control characters, got {length}")]
pub struct InvalidName {
    what: &'static str,
    max: usize,
    length: usize,
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest accepted name, in characters.
            pub const MAX_CHARS: usize = $max;

            /// The name as the caller wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                let length = text.chars().count();
                if length == 0 || length > $max || text.chars().any(char::is_control) {
                    return Err(InvalidName { what: $what, max: $max, length });
                }
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_id!(
    /// The Web2 system's own id of a user; names an account within its tenant.
    ExternalId,
    "externalId",
    128
);
name_id!(
    /// The TCC key of a command, unique per tenant and account. DTM's is `gid/branch_id`.
    BizId,
    "bizId",
    200
);
name_id!(
    /// The Web2 system's own name of a credit or debit, unique per account.
    Reference,
    "reference",
    200
);
name_id!(
    /// The `Idempotency-Key` of a money command, unique per tenant and account.
    CommandKey,
    "Idempotency-Key",
    200
);

/// A text that is not the name of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bucket must be 1 to 32 characters of a to z, 0 to 9, '.', '_' and '-', the first a letter or digit"
)]
pub struct InvalidBucketName;

/// The company's name of points that expire or are of a kind: `^[a-z0-9][a-z0-9._-]{0,31}$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// The longest accepted name, in bytes.
    pub const MAX_LENGTH: usize = 32;

    /// The name as the caller wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BucketName {
    type Error = InvalidBucketName;

    fn try_from(text: String) -> Result<Self, InvalidBucketName> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = text.len() <= Self::MAX_LENGTH
            && text.bytes().next().is_some_and(is_plain)
            && text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte));
        if is_name { Ok(Self(text)) } else { Err(InvalidBucketName) }
    }
}

impl FromStr for BucketName {
    type Err = InvalidBucketName;

    fn from_str(text: &str) -> Result<Self, InvalidBucketName> {
        Self::try_from(text.to_owned())
    }
}

impl From<BucketName> for String {
    fn from(name: BucketName) -> Self {
        name.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
