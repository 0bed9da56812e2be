//! The packed form that the EntryPoint contracts take, and back.

use alloy_primitives::{Address, B256, Bytes, U256};

pub use crate::events::PackedUserOperation;
use crate::user_operation::{EIP7702_MARKER, Factory, PaymasterFields, UserOperation};

/// Why a packed operation cannot be taken apart. Lengths are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The initCode is neither empty, nor an EIP-7702 marker, nor long enough to hold a factory.
    #[error("initCode holds {0} bytes, which is too short for a factory")]
    InitCode(usize),
    /// The paymasterAndData is neither empty nor long enough for the address and both limits.
    #[error("paymasterAndData holds {0} bytes, which is too short for a paymaster and its limits")]
    PaymasterAndData(usize),
}

/// Two 128-bit numbers in one word, the first in the upper half.
#[must_use]
pub fn pack_pair(upper: u128, lower: u128) -> B256 {
    let upper: U256 = U256::from(upper) << 128_usize;
    B256::from(upper | U256::from(lower))
}

/// The upper and the lower half of a word.
#[must_use]
pub fn unpack_pair(word: B256) -> (u128, u128) {
    let both = U256::from_be_bytes(word.0);
    let upper: U256 = both >> 128_usize;
    let lower = both & U256::from(u128::MAX);
    (upper.saturating_to(), lower.saturating_to())
}

/// Whether an initCode carries the EIP-7702 marker: `0x7702`, and zeros up to the twentieth byte as far as there are
/// bytes. This is what EntryPoint v0.8 and v0.9 accept, which read the missing bytes of a short initCode as zeros.
#[must_use]
pub fn is_eip7702_init_code(init_code: &[u8]) -> bool {
    let start = init_code.get(..20).unwrap_or(init_code);
    start.len() >= 2 && EIP7702_MARKER.starts_with(start)
}

/// The initCode in which the delegate stands for the EIP-7702 marker, or `None` when it carries no marker. A short
/// and a padded marker give the same bytes, so whoever packs the operation cannot change what is hashed.
#[must_use]
pub fn init_code_with_delegate(init_code: &[u8], delegate: Address) -> Option<Bytes> {
    if !is_eip7702_init_code(init_code) {
        return None;
    }
    let init_data = init_code.get(20..).unwrap_or_default();
    Some([delegate.as_slice(), init_data].concat().into())
}

impl UserOperation {
    /// The packed form.
    ///
    /// The EIP-7702 marker is written as 20 bytes, never as 2: initialisation data can follow only a padded marker,
    /// and EntryPoint v0.8 and v0.9 take both. A bundler that writes 2 bytes submits other calldata with the same
    /// hash. The authorisation itself is not part of the packed form.
    #[must_use]
    pub fn pack(&self) -> PackedUserOperation {
        PackedUserOperation {
            sender: self.sender,
            nonce: self.nonce,
            initCode: self.init_code(),
            callData: self.call_data.clone(),
            accountGasLimits: pack_pair(self.verification_gas_limit, self.call_gas_limit),
            preVerificationGas: self.pre_verification_gas,
            gasFees: pack_pair(self.max_priority_fee_per_gas, self.max_fee_per_gas),
            paymasterAndData: self
                .paymaster
                .as_ref()
                .map(PaymasterFields::pack)
                .unwrap_or_default(),
            signature: self.signature.clone(),
        }
    }

    /// factory(20) ‖ data, or empty when the account exists.
    #[must_use]
    pub fn init_code(&self) -> Bytes {
        match &self.factory {
            None => Bytes::new(),
            Some(Factory::Deploy { factory, data }) => [factory.as_slice(), data].concat().into(),
            Some(Factory::Eip7702 { init_data }) => {
                [EIP7702_MARKER.as_slice(), init_data].concat().into()
            }
        }
    }

    /// Takes a packed operation apart. What the packed form does not hold (the authorisation) is `None`.
    ///
    /// # Errors
    /// [`UnpackError`] when a field is too short for what it must hold. The EntryPoint refuses such operations too.
    pub fn unpack(packed: &PackedUserOperation) -> Result<Self, UnpackError> {
        let (verification_gas_limit, call_gas_limit) = unpack_pair(packed.accountGasLimits);
        let (max_priority_fee_per_gas, max_fee_per_gas) = unpack_pair(packed.gasFees);
        Ok(Self {
            sender: packed.sender,
            nonce: packed.nonce,
            factory: Factory::unpack(&packed.initCode)?,
            call_data: packed.callData.clone(),
            call_gas_limit,
            verification_gas_limit,
            pre_verification_gas: packed.preVerificationGas,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            paymaster: PaymasterFields::unpack(&packed.paymasterAndData)?,
            signature: packed.signature.clone(),
            eip7702_auth: None,
        })
    }
}

impl Factory {
    fn unpack(init_code: &Bytes) -> Result<Option<Self>, UnpackError> {
        if init_code.is_empty() {
            return Ok(None);
        }
        if is_eip7702_init_code(init_code) {
            let init_data = init_code.get(20..).unwrap_or_default();
            return Ok(Some(Self::Eip7702 { init_data: Bytes::copy_from_slice(init_data) }));
        }
        let (factory, data) =
            init_code.split_first_chunk::<20>().ok_or(UnpackError::InitCode(init_code.len()))?;
        Ok(Some(Self::Deploy {
            factory: Address::from(factory),
            data: Bytes::copy_from_slice(data),
        }))
    }
}

impl PaymasterFields {
    /// paymaster(20) ‖ verification gas(16) ‖ postOp gas(16) ‖ data.
    #[must_use]
    pub fn pack(&self) -> Bytes {
        [
            self.paymaster.as_slice(),
            &self.verification_gas_limit.to_be_bytes(),
            &self.post_op_gas_limit.to_be_bytes(),
            &self.data,
        ]
        .concat()
        .into()
    }

    /// Takes `paymasterAndData` apart; `None` when it is empty.
    ///
    /// # Errors
    /// [`UnpackError::PaymasterAndData`] when it is shorter than the address and both limits.
    pub fn unpack(paymaster_and_data: &[u8]) -> Result<Option<Self>, UnpackError> {
        if paymaster_and_data.is_empty() {
            return Ok(None);
        }
        let short = UnpackError::PaymasterAndData(paymaster_and_data.len());
        let (paymaster, rest) = paymaster_and_data.split_first_chunk::<20>().ok_or(short)?;
        let (verification, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
        let (post_op, data) = rest.split_first_chunk::<16>().ok_or(short)?;
        Ok(Some(Self {
            paymaster: Address::from(paymaster),
            verification_gas_limit: u128::from_be_bytes(*verification),
            post_op_gas_limit: u128::from_be_bytes(*post_op),
            data: Bytes::copy_from_slice(data),
        }))
    }
}
