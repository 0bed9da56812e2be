//! Transactions of the keys that own and guard a paymaster.

use std::fmt;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718;
use alloy::primitives::TxKind;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy_primitives::{Address, B256, Bytes, U256};
use domain::ChainId;

use crate::SignError;

/// A call of a contract with a fee market's price ([EIP-1559](https://eips.ethereum.org/EIPS/eip-1559)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The only chain that it is valid on ([EIP-155](https://eips.ethereum.org/EIPS/eip-155)).
    pub chain: ChainId,
    /// How many transactions the sender sent before.
    pub nonce: u64,
    /// The contract.
    pub to: Address,
    /// Wei that go with the call.
    pub value: U256,
    /// Selector and arguments.
    pub input: Bytes,
    /// The most gas that it may use.
    pub gas_limit: u64,
    /// The most that is paid per gas, tip included, in wei.
    pub max_fee_per_gas: u128,
    /// The tip per gas, in wei.
    pub max_priority_fee_per_gas: u128,
}

/// A transaction that any node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// What the chain will know it by.
    pub hash: B256,
    /// What `eth_sendRawTransaction` takes ([EIP-2718](https://eips.ethereum.org/EIPS/eip-2718)).
    pub raw: Bytes,
}

/// A key that sends transactions: a paymaster's owner or guardian. It signs no sponsorships, and a
/// [`crate::LocalSigner`] signs no transactions, so that a service never holds a key that can move a deposit.
///
/// Made by [`crate::SignerSource::load_for_transactions`].
pub struct TransactionSigner {
    key: PrivateKeySigner,
}

impl TransactionSigner {
    pub(crate) const fn new(key: PrivateKeySigner) -> Self {
        Self { key }
    }

    /// The account whose transactions it signs.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    /// Signs a transaction. The same transaction gives the same hash
    /// ([RFC 6979](https://www.rfc-editor.org/rfc/rfc6979)), so that one sent twice is one.
    ///
    /// # Errors
    /// [`SignError`] when the curve arithmetic fails, which no transaction is known to cause.
    pub fn sign(&self, transaction: &Transaction) -> Result<SignedTransaction, SignError> {
        let unsigned = TxEip1559 {
            chain_id: transaction.chain.0,
            nonce: transaction.nonce,
            gas_limit: transaction.gas_limit,
            max_fee_per_gas: transaction.max_fee_per_gas,
            max_priority_fee_per_gas: transaction.max_priority_fee_per_gas,
            to: TxKind::Call(transaction.to),
            value: transaction.value,
            access_list: Vec::new().into(),
            input: transaction.input.clone(),
        };
        let signature = self.key.sign_hash_sync(&unsigned.signature_hash());
        let signed = unsigned.into_signed(signature.map_err(|_| SignError)?);
        let hash = *signed.hash();
        Ok(SignedTransaction { hash, raw: TxEnvelope::from(signed).encoded_2718().into() })
    }
}

impl fmt::Debug for TransactionSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionSigner")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
