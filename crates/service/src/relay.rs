//! The pass-through to the chain's bundler, so that one URL serves a dApp without being an open relay.

use alloy_primitives::{Address, B512};
use domain::{ChainId, Slot, window};
use erc4337::UserOperation;
use erc4337::sponsorship::{PaymasterData, PaymasterHeader, SignatureForm};
use serde_json::{Value, json};
use store::wallets::Wallet;

use crate::chains::Chain;
use crate::identity::Caller;
use crate::{Refusal, Service, ServiceError};

/// Methods that tell nothing about an account and change nothing: passed on as they are.
const READ_METHODS: [&str; 4] = [
    "eth_estimateUserOperationGas",
    "eth_getUserOperationReceipt",
    "eth_getUserOperationByHash",
    "pimlico_getUserOperationGasPrice",
];

impl Service {
    /// The chain that a bundler method is for: the one named, or the only one.
    ///
    /// # Errors
    /// When it is not served, or none is named and there are several.
    pub fn relay_chain(&self, named: Option<ChainId>) -> Result<&Chain, Refusal> {
        match named {
            Some(id) => self.chain(id),
            None => {
                let mut chains = self.chains();
                match (chains.next(), chains.next()) {
                    (Some(only), None) => Ok(only),
                    (Some(_), Some(_)) | (None, _) => Err(Refusal::ChainNotNamed),
                }
            }
        }
    }

    /// Passes a reading method on to the chain's bundler.
    ///
    /// # Errors
    /// When the method is not one of those, or the bundler's own error.
    pub async fn relay_read(
        &self,
        chain: &Chain,
        method: &str,
        params: Value,
    ) -> Result<Value, ServiceError> {
        if !READ_METHODS.contains(&method) {
            return Err(Refusal::UnknownMethod(method.to_owned()).into());
        }
        chain.bundler.forward(method, params).await.map_err(ServiceError::Bundler)
    }

    /// Passes an operation on to the chain's bundler, if it is one that this application was granted
    /// and can still land. `params` are the request's own.
    ///
    /// # Errors
    /// A refusal, or the bundler's own error.
    pub async fn relay_operation(
        &self,
        caller: &Caller,
        chain: &Chain,
        entry_point: Address,
        operation: &UserOperation,
        params: Value,
    ) -> Result<Value, ServiceError> {
        let form = self.refuse_unless_granted(caller, chain, entry_point, operation).await?;
        let method = "eth_sendUserOperation";
        let params = match form {
            SignatureForm::Sequential => params,
            // Bundlers differ in where they look for the paymaster's signature.
            SignatureForm::Parallel => {
                let operation = operation.for_bundler(chain.bundler.signature_field());
                json!([operation, entry_point.to_checksum(None)])
            }
        };
        chain.bundler.forward(method, params).await.map_err(ServiceError::Bundler)
    }

    async fn refuse_unless_granted(
        &self,
        caller: &Caller,
        chain: &Chain,
        entry_point: Address,
        operation: &UserOperation,
    ) -> Result<SignatureForm, ServiceError> {
        chain.paymaster(caller.tenant, entry_point)?;
        let wallet = Wallet { chain: chain.id, address: operation.sender };
        let account = self.store.wallet_account(caller.tenant, wallet).await?;
        let account = account.ok_or(Refusal::NotSponsored)?;
        let slot = Slot {
            chain_id: chain.id,
            entry_point,
            sender: operation.sender,
            nonce: operation.nonce,
        };
        let open = self.store.open_sponsorship(caller.tenant, account, &slot).await?;
        let mut grants = open.map(|open| open.grants).unwrap_or_default();
        grants.retain(|grant| grant.app == caller.app);
        if grants.is_empty() {
            return Err(Refusal::NotSponsored.into());
        }
        let fields = operation.paymaster.as_ref().ok_or(Refusal::NotSponsored)?;
        let header = PaymasterHeader::of(fields).map_err(|_| Refusal::OperationChanged)?;
        let (data, form) =
            PaymasterData::decode(&fields.data).map_err(|_| Refusal::OperationChanged)?;
        let delegate = chain.delegate(operation).await?;
        let digest = form
            .digest(operation, chain.id.0, entry_point, &header, delegate)
            .map_err(|_| Refusal::DelegateUnknown)?;
        let granted = grants
            .iter()
            .find(|grant| grant.digest == digest && B512::from(grant.signature) == data.signature);
        let granted = granted.ok_or(Refusal::OperationChanged)?;
        if granted.delegate != delegate {
            return Err(Refusal::DelegateChanged.into());
        }
        let head = chain.node.head().await.map_err(ServiceError::Node)?;
        if window::is_past(granted.valid_until, head.timestamp) {
            return Err(Refusal::NotSponsored.into());
        }
        Ok(form)
    }
}
