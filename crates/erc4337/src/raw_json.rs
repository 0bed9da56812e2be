//! JSON as it arrived, before it means anything. It differs from a plain JSON value in one thing: a field that
//! appears twice is refused, because two readers of such an object may each believe another value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields of an operation that this crate reads.
pub(crate) const OPERATION_FIELDS: [&str; 17] = [
    "sender",
    "nonce",
    "factory",
    "factoryData",
    "callData",
    "callGasLimit",
    "verificationGasLimit",
    "preVerificationGas",
    "maxFeePerGas",
    "maxPriorityFeePerGas",
    "paymaster",
    "paymasterVerificationGasLimit",
    "paymasterPostOpGasLimit",
    "paymasterData",
    "paymasterSignature",
    "signature",
    "eip7702Auth",
];

pub(crate) type RawObject = BTreeMap<String, RawValue>;

/// A JSON value, with only those kinds told apart that a field of an operation can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawValue {
    Null,
    Text(String),
    Object(RawObject),
    /// A number, a boolean or an array: no field may hold one.
    Other,
}

impl RawValue {
    /// Whether the value says nothing: null, the empty string, or no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty() || text == "0x",
            Self::Object(_) | Self::Other => false,
        }
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawValueVisitor)
    }
}

struct RawValueVisitor;

impl<'de> Visitor<'de> for RawValueVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E: Error>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(text))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<RawValue, E> {
        Ok(RawValue::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(RawValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawValue, A::Error> {
        read_object(map).map(RawValue::Object)
    }
}

/// Reads an object and refuses a field that appears twice.
fn read_object<'de, A: MapAccess<'de>>(mut map: A) -> Result<RawObject, A::Error> {
    let mut object = RawObject::new();
    while let Some((name, value)) = map.next_entry::<String, RawValue>()? {
        // A name that we do not know is the sender's own text, and is not repeated to it.
        let known = OPERATION_FIELDS.iter().find(|known| **known == name);
        if object.insert(name, value).is_some() {
            return Err(match known {
                Some(known) => A::Error::custom(format_args!("the field `{known}` appears twice")),
                None => A::Error::custom("an unknown field appears twice"),
            });
        }
    }
    Ok(object)
}
