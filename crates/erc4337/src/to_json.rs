//! UserOperations as JSON that bundlers accept ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)).

use std::fmt;

use alloy_primitives::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::hash::{PAYMASTER_STATIC_LEN, split_paymaster_signature};
use crate::user_operation::{
    EIP7702_MARKER, Eip7702Auth, Factory, PaymasterFields, PaymasterSignatureField, UserOperation,
};

/// An operation as one kind of bundler takes it.
#[derive(Debug, Clone, Copy)]
pub struct BundlerJson<'a> {
    operation: &'a UserOperation,
    signature_field: PaymasterSignatureField,
}

impl UserOperation {
    /// The operation as a bundler takes it that expects the paymaster signature of v0.9 there.
    #[must_use]
    pub const fn for_bundler(&self, signature_field: PaymasterSignatureField) -> BundlerJson<'_> {
        BundlerJson { operation: self, signature_field }
    }
}

impl PaymasterFields {
    /// `paymasterData` and `paymasterSignature` as a bundler takes them that expects the signature there.
    #[must_use]
    pub fn data_fields(&self, signature_field: PaymasterSignatureField) -> (Bytes, Option<Bytes>) {
        let inline = || (self.data.clone(), None);
        if signature_field == PaymasterSignatureField::Inline {
            return inline();
        }
        let packed = self.pack();
        let Ok(Some(split)) = split_paymaster_signature(&packed) else {
            return inline();
        };
        let data = split.signed.get(PAYMASTER_STATIC_LEN..).unwrap_or_default();
        (Bytes::copy_from_slice(data), Some(Bytes::copy_from_slice(split.signature)))
    }
}

/// Writes the operation for a bundler that takes `paymasterData` as it goes on chain.
impl Serialize for UserOperation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.for_bundler(PaymasterSignatureField::Inline).serialize(serializer)
    }
}

/// Writes the JSON that bundlers accept: fields that do not apply are absent, quantities are minimal hex.
///
/// The EIP-7702 marker is written in 2 bytes, which some bundlers insist on, except before initialisation data, which
/// only a padded marker can precede.
impl Serialize for BundlerJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let operation = self.operation;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sender", &operation.sender)?;
        map.serialize_entry("nonce", &quantity(operation.nonce))?;
        match &operation.factory {
            None => {}
            Some(Factory::Deploy { factory, data }) => {
                map.serialize_entry("factory", factory)?;
                map.serialize_entry("factoryData", data)?;
            }
            Some(Factory::Eip7702 { init_data }) => {
                if init_data.is_empty() {
                    map.serialize_entry("factory", "0x7702")?;
                } else {
                    map.serialize_entry("factory", &EIP7702_MARKER)?;
                }
                map.serialize_entry("factoryData", init_data)?;
            }
        }
        map.serialize_entry("callData", &operation.call_data)?;
        map.serialize_entry("callGasLimit", &quantity(operation.call_gas_limit))?;
        map.serialize_entry("verificationGasLimit", &quantity(operation.verification_gas_limit))?;
        map.serialize_entry("preVerificationGas", &quantity(operation.pre_verification_gas))?;
        map.serialize_entry("maxFeePerGas", &quantity(operation.max_fee_per_gas))?;
        map.serialize_entry("maxPriorityFeePerGas", &quantity(operation.max_priority_fee_per_gas))?;
        if let Some(paymaster) = &operation.paymaster {
            map.serialize_entry("paymaster", &paymaster.paymaster)?;
            map.serialize_entry(
                "paymasterVerificationGasLimit",
                &quantity(paymaster.verification_gas_limit),
            )?;
            map.serialize_entry("paymasterPostOpGasLimit", &quantity(paymaster.post_op_gas_limit))?;
            let (data, signature) = paymaster.data_fields(self.signature_field);
            map.serialize_entry("paymasterData", &data)?;
            if let Some(signature) = signature {
                map.serialize_entry("paymasterSignature", &signature)?;
            }
        }
        map.serialize_entry("signature", &operation.signature)?;
        if let Some(auth) = &operation.eip7702_auth {
            map.serialize_entry("eip7702Auth", auth)?;
        }
        map.end()
    }
}

/// Writes `address`, and `r` and `s` as full words.
impl Serialize for Eip7702Auth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("address", &self.address)?;
        map.serialize_entry("chainId", &quantity(self.chain_id))?;
        map.serialize_entry("nonce", &quantity(self.nonce))?;
        map.serialize_entry("r", &format_args!("{:#066x}", self.r))?;
        map.serialize_entry("s", &format_args!("{:#066x}", self.s))?;
        map.serialize_entry("yParity", &quantity(self.y_parity))?;
        map.end()
    }
}

/// A quantity in minimal hex, as Ethereum JSON-RPC writes it.
fn quantity(value: impl fmt::LowerHex) -> String {
    format!("{value:#x}")
}
