//! UserOperations as JSON that bundlers accept ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)).

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::user_operation::{EIP7702_MARKER, Eip7702Auth, Factory, UserOperation};

/// Writes the JSON that bundlers accept: fields that do not apply are absent, quantities are minimal hex.
///
/// The EIP-7702 marker is written in 2 bytes, which some bundlers insist on, except before initialisation data, which
/// only a padded marker can precede.
impl Serialize for UserOperation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("sender", &self.sender)?;
        map.serialize_entry("nonce", &quantity(self.nonce))?;
        match &self.factory {
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
        map.serialize_entry("callData", &self.call_data)?;
        map.serialize_entry("callGasLimit", &quantity(self.call_gas_limit))?;
        map.serialize_entry("verificationGasLimit", &quantity(self.verification_gas_limit))?;
        map.serialize_entry("preVerificationGas", &quantity(self.pre_verification_gas))?;
        map.serialize_entry("maxFeePerGas", &quantity(self.max_fee_per_gas))?;
        map.serialize_entry("maxPriorityFeePerGas", &quantity(self.max_priority_fee_per_gas))?;
        if let Some(paymaster) = &self.paymaster {
            map.serialize_entry("paymaster", &paymaster.paymaster)?;
            map.serialize_entry(
                "paymasterVerificationGasLimit",
                &quantity(paymaster.verification_gas_limit),
            )?;
            map.serialize_entry("paymasterPostOpGasLimit", &quantity(paymaster.post_op_gas_limit))?;
            map.serialize_entry("paymasterData", &paymaster.data)?;
        }
        map.serialize_entry("signature", &self.signature)?;
        if let Some(auth) = &self.eip7702_auth {
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
