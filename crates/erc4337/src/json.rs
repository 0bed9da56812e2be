//! UserOperations as JSON-RPC carries them ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)).
//!
//! Reading is lenient where real clients differ and nothing is at stake: a field may be absent or null, an address
//! may have any case, a quantity may have leading zeros or be `0x`, a missing gas limit or fee is zero, and
//! `factory` may be the EIP-7702 marker in 2 or 20 bytes. It is strict where a misreading would change what is paid
//! for:
//!
//! - a v0.6 or a packed operation is refused by the field that gives it away, unless that field is empty;
//! - a field that we do not carry but that has a meaning (`authorization`) is refused, unless it is empty;
//! - a field whose name differs from a known one only by case or underscores is refused, because it would be read as
//!   absent, and an absent limit is zero;
//! - a field that appears twice is refused;
//! - every other unknown field is ignored: clients spread answers of theirs and ours into the operation.
//!
//! The paymaster signature of EntryPoint v0.9 may stand at the end of `paymasterData`, as on chain, or in a field
//! `paymasterSignature` of its own. Both are read as the same operation.
//!
//! Paymaster limits without a `paymaster` are ignored: they ask for something that the packed form cannot hold.
//!
//! Writing is in `to_json`: what it writes is read back as the same operation.
//!
//! Errors name the field, never its content, and are free of the `AAxx` codes that clients look for in messages.

use alloy_primitives::{Address, Bytes, U256, hex};
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::hash::PAYMASTER_SIGNATURE_MAGIC;
use crate::raw_json::{OPERATION_FIELDS, RawObject, RawValue};
use crate::user_operation::{EIP7702_MARKER, Eip7702Auth, Factory, PaymasterFields, UserOperation};

/// The fields by which a v0.6 operation is known.
const V06_FIELDS: [&str; 2] = ["initCode", "paymasterAndData"];

/// Fields that have a meaning which is not carried here, and what to do instead.
const REFUSED_FIELDS: [(&str, &str); 3] = [
    ("authorization", "send it as `eip7702Auth`"),
    ("accountGasLimits", "send the unpacked fields of ERC-7769"),
    ("gasFees", "send the unpacked fields of ERC-7769"),
];

/// Why JSON is not a UserOperation. `path` is the field, seen from the operation, for example `eip7702Auth.nonce`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A field that must be there is absent or null.
    #[error("`{path}` is missing")]
    Missing {
        /// The field.
        path: String,
    },
    /// The field has another JSON type.
    #[error("`{path}` must be {expected}")]
    WrongType {
        /// The field.
        path: String,
        /// What it must be, in words.
        expected: &'static str,
    },
    /// The text is not hex, or not hex of this kind.
    #[error("`{path}` must be {expected}")]
    NotHex {
        /// The field.
        path: String,
        /// What it must be, in words.
        expected: &'static str,
    },
    /// The number does not fit.
    #[error("`{path}` does not fit in {bits} bits")]
    OutOfRange {
        /// The field.
        path: String,
        /// The width that it must fit in.
        bits: usize,
    },
    /// The operation has the shape of EntryPoint v0.6, which is not supported.
    #[error(
        "`{path}` is a field of EntryPoint v0.6, which is not supported; send a v0.7 or later operation"
    )]
    V06Shape {
        /// The field that gives it away.
        path: String,
    },
    /// The field has a meaning that would be lost.
    #[error("`{path}` is not supported: {instead}")]
    Refused {
        /// The field.
        path: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The field is spelled almost like a known one, and would be read as absent.
    #[error("`{path}` is spelled differently in the request; write it exactly so")]
    Misspelt {
        /// The known field.
        path: String,
    },
    /// The field needs another one that is absent.
    #[error("`{path}` is given without `{needs}`")]
    Orphan {
        /// The field that is there.
        path: String,
        /// The field that is not.
        needs: &'static str,
    },
    /// Two fields that mean the same thing differ.
    #[error("`{path}` and `{other}` differ")]
    Conflict {
        /// The one field.
        path: String,
        /// The other field.
        other: &'static str,
    },
}

impl ParseError {
    /// The field at fault, seen from the operation.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Missing { path }
            | Self::WrongType { path, .. }
            | Self::NotHex { path, .. }
            | Self::OutOfRange { path, .. }
            | Self::V06Shape { path }
            | Self::Refused { path, .. }
            | Self::Misspelt { path }
            | Self::Orphan { path, .. }
            | Self::Conflict { path, .. } => path,
        }
    }
}

/// An operation as it arrived. Any JSON object without repeated fields can be one; [`RawUserOperation::parse`] says
/// whether it means something.
///
/// Deserialize it from the request's text, not from a `Value`: a `Value` has already dropped repeated fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawUserOperation(RawObject);

impl<'de> Deserialize<'de> for RawUserOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own type errors repeat the offending text, which is not ours to say.
        match RawValue::deserialize(deserializer)? {
            RawValue::Object(object) => Ok(Self(object)),
            RawValue::Null | RawValue::Text(_) | RawValue::Other => {
                Err(D::Error::custom("a UserOperation must be a JSON object"))
            }
        }
    }
}

impl RawUserOperation {
    /// Reads the operation by the rules of this module.
    ///
    /// # Errors
    /// [`ParseError`], with the field at fault.
    pub fn parse(&self) -> Result<UserOperation, ParseError> {
        refuse_foreign_fields(&self.0)?;
        let fields = Fields { object: &self.0, prefix: "" };
        Ok(UserOperation {
            sender: fields.required("sender", Fields::address)?,
            nonce: fields.required("nonce", Fields::quantity)?,
            factory: read_factory(&fields)?,
            call_data: fields.required("callData", Fields::bytes)?,
            call_gas_limit: fields.u128_or_zero("callGasLimit")?,
            verification_gas_limit: fields.u128_or_zero("verificationGasLimit")?,
            pre_verification_gas: fields.quantity("preVerificationGas")?.unwrap_or_default(),
            max_fee_per_gas: fields.u128_or_zero("maxFeePerGas")?,
            max_priority_fee_per_gas: fields.u128_or_zero("maxPriorityFeePerGas")?,
            paymaster: read_paymaster(&fields)?,
            signature: fields.bytes("signature")?.unwrap_or_default(),
            eip7702_auth: read_eip7702_auth(&self.0)?,
        })
    }
}

impl TryFrom<RawUserOperation> for UserOperation {
    type Error = ParseError;

    fn try_from(raw: RawUserOperation) -> Result<Self, ParseError> {
        raw.parse()
    }
}

impl<'de> Deserialize<'de> for UserOperation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawUserOperation::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn refuse_foreign_fields(object: &RawObject) -> Result<(), ParseError> {
    for (name, value) in object {
        if OPERATION_FIELDS.contains(&name.as_str()) || value.is_empty() {
            continue;
        }
        let plain = plain_name(name);
        let same = |known: &str| plain_name(known) == plain;
        if let Some(field) = V06_FIELDS.iter().copied().find(|known| same(known)) {
            return Err(ParseError::V06Shape { path: field.into() });
        }
        if let Some((field, instead)) = REFUSED_FIELDS.into_iter().find(|(known, _)| same(known)) {
            return Err(ParseError::Refused { path: field.into(), instead });
        }
        if let Some(field) = OPERATION_FIELDS.iter().copied().find(|known| same(known)) {
            return Err(ParseError::Misspelt { path: field.into() });
        }
    }
    Ok(())
}

/// A field's name without what people vary: case, underscores and hyphens.
fn plain_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

fn read_factory(fields: &Fields<'_>) -> Result<Option<Factory>, ParseError> {
    let data = fields.bytes("factoryData")?.unwrap_or_default();
    let factory = match fields.text("factory")? {
        Some("0x7702") => Some(EIP7702_MARKER),
        Some(_) | None => fields.address("factory")?,
    };
    match factory {
        Some(EIP7702_MARKER) => Ok(Some(Factory::Eip7702 { init_data: data })),
        Some(factory) => Ok(Some(Factory::Deploy { factory, data })),
        None if data.is_empty() => Ok(None),
        None => Err(ParseError::Orphan { path: "factoryData".into(), needs: "factory" }),
    }
}

fn read_paymaster(fields: &Fields<'_>) -> Result<Option<PaymasterFields>, ParseError> {
    let data = read_paymaster_data(fields)?;
    let verification_gas_limit = fields.u128_or_zero("paymasterVerificationGasLimit")?;
    let post_op_gas_limit = fields.u128_or_zero("paymasterPostOpGasLimit")?;
    match fields.address("paymaster")? {
        Some(paymaster) => {
            Ok(Some(PaymasterFields { paymaster, verification_gas_limit, post_op_gas_limit, data }))
        }
        None if data.is_empty() => Ok(None),
        None => Err(ParseError::Orphan { path: "paymasterData".into(), needs: "paymaster" }),
    }
}

/// `paymasterData` as it goes on chain, whichever field the paymaster signature stands in.
fn read_paymaster_data(fields: &Fields<'_>) -> Result<Bytes, ParseError> {
    const SIGNATURE: &str = "paymasterSignature";
    let data = fields.bytes("paymasterData")?.unwrap_or_default();
    let signature = fields.bytes(SIGNATURE)?.unwrap_or_default();
    if signature.is_empty() {
        return Ok(data);
    }
    if data.ends_with(&PAYMASTER_SIGNATURE_MAGIC) {
        return Err(ParseError::Refused {
            path: fields.path(SIGNATURE),
            instead: "paymasterData ends in a paymaster signature already",
        });
    }
    let length = u16::try_from(signature.len()).map_err(|_| fields.out_of_range(SIGNATURE, 16))?;
    let suffix = [&length.to_be_bytes()[..], &PAYMASTER_SIGNATURE_MAGIC];
    Ok([&data[..], &signature, suffix.concat().as_slice()].concat().into())
}

fn read_eip7702_auth(operation: &RawObject) -> Result<Option<Eip7702Auth>, ParseError> {
    let object = match operation.get("eip7702Auth") {
        None | Some(RawValue::Null) => return Ok(None),
        Some(RawValue::Object(object)) => object,
        Some(RawValue::Text(_) | RawValue::Other) => {
            return Err(ParseError::WrongType {
                path: "eip7702Auth".into(),
                expected: "an object",
            });
        }
    };
    let fields = Fields { object, prefix: "eip7702Auth." };
    let address = match (fields.address("address")?, fields.address("contractAddress")?) {
        (Some(address), Some(other)) if address != other => {
            return Err(ParseError::Conflict {
                path: fields.path("address"),
                other: "eip7702Auth.contractAddress",
            });
        }
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => {
            return Err(ParseError::Missing { path: fields.path("address") });
        }
    };
    let nonce = fields.required("nonce", Fields::quantity)?;
    Ok(Some(Eip7702Auth {
        address,
        chain_id: fields.required("chainId", Fields::quantity)?,
        nonce: u64::try_from(nonce).map_err(|_| fields.out_of_range("nonce", 64))?,
        r: fields.quantity("r")?.unwrap_or_default(),
        s: fields.quantity("s")?.unwrap_or_default(),
        y_parity: read_y_parity(&fields)?,
    }))
}

/// The parity under either of its names. `v` is 27 or 28 where older libraries made it.
fn read_y_parity(fields: &Fields<'_>) -> Result<U256, ParseError> {
    if let Some(y_parity) = fields.quantity("yParity")? {
        return Ok(y_parity);
    }
    let v = fields.quantity("v")?.unwrap_or_default();
    let legacy_offset = U256::from(27);
    Ok(v.checked_sub(legacy_offset).unwrap_or(v))
}

/// The fields of one object, read by kind. `None` stands for absent, null and, for an address, no bytes.
struct Fields<'a> {
    object: &'a RawObject,
    prefix: &'static str,
}

impl Fields<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn out_of_range(&self, name: &str, bits: usize) -> ParseError {
        ParseError::OutOfRange { path: self.path(name), bits }
    }

    fn not_hex(&self, name: &str, expected: &'static str) -> ParseError {
        ParseError::NotHex { path: self.path(name), expected }
    }

    fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<Option<T>, ParseError>,
    ) -> Result<T, ParseError> {
        read(self, name)?.ok_or_else(|| ParseError::Missing { path: self.path(name) })
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, ParseError> {
        match self.object.get(name) {
            None | Some(RawValue::Null) => Ok(None),
            Some(RawValue::Text(text)) => Ok(Some(text)),
            Some(RawValue::Object(_) | RawValue::Other) => Err(ParseError::WrongType {
                path: self.path(name),
                expected: "a string of hex digits that starts with 0x",
            }),
        }
    }

    fn digits(
        &self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<Option<&str>, ParseError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.strip_prefix("0x")
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .map(Some)
            .ok_or_else(|| self.not_hex(name, expected))
    }

    fn quantity(&self, name: &'static str) -> Result<Option<U256>, ParseError> {
        const EXPECTED: &str = "a quantity in hex, for example 0x5208";
        let Some(digits) = self.digits(name, EXPECTED)? else {
            return Ok(None);
        };
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Some(U256::ZERO));
        }
        U256::from_str_radix(significant, 16).map(Some).map_err(|_| self.out_of_range(name, 256))
    }

    fn u128_or_zero(&self, name: &'static str) -> Result<u128, ParseError> {
        let quantity = self.quantity(name)?.unwrap_or_default();
        u128::try_from(quantity).map_err(|_| self.out_of_range(name, 128))
    }

    fn bytes(&self, name: &'static str) -> Result<Option<Bytes>, ParseError> {
        const EXPECTED: &str = "whole bytes in hex that start with 0x";
        let Some(digits) = self.digits(name, EXPECTED)? else {
            return Ok(None);
        };
        hex::decode(digits)
            .map(|bytes| Some(bytes.into()))
            .map_err(|_| self.not_hex(name, EXPECTED))
    }

    fn address(&self, name: &'static str) -> Result<Option<Address>, ParseError> {
        const EXPECTED: &str = "an address: 0x and 40 hex digits";
        let Some(digits) = self.digits(name, EXPECTED)? else {
            return Ok(None);
        };
        if digits.is_empty() {
            return Ok(None);
        }
        let mut address = Address::ZERO;
        hex::decode_to_slice(digits, address.as_mut_slice())
            .map_err(|_| self.not_hex(name, EXPECTED))?;
        Ok(Some(address))
    }
}
