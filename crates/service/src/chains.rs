//! The chains, EntryPoints and paymasters that are served.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::Address;
use chain::Finality;
use chain::bundler::Bundler;
use chain::node::Node;
use domain::{ChainId, TenantId};
use erc4337::gas::CalldataPrice;
use erc4337::sponsorship::SignatureForm;
use erc4337::{EntryPointVersion, UserOperation, entry_point};
use signer::LocalSigner;

use crate::{FixedPrice, Refusal, Service, ServiceError};

/// One chain that is served.
#[derive(Debug)]
pub struct Chain {
    /// Its id.
    pub id: ChainId,
    /// Its node.
    pub node: Node,
    /// Its bundler.
    pub bundler: Bundler,
    /// Which block will not go away.
    pub finality: Finality,
    /// How many of the node's URLs must show a block before it counts as final.
    pub final_quorum: usize,
    /// The first block that can hold an operation of ours.
    pub start_block: u64,
    /// What its gas costs in points.
    pub price: FixedPrice,
    /// What calldata costs there.
    pub calldata_price: CalldataPrice,
    /// The contracts that a sender may have delegated to by EIP-7702.
    pub delegates: BTreeSet<Address>,
    /// The paymasters on it.
    pub paymasters: Vec<Paymaster>,
}

/// One deployed paymaster with its key.
#[derive(Clone, Debug)]
pub struct Paymaster {
    /// Its address.
    pub address: Address,
    /// The company whose deposit it is.
    pub tenant: TenantId,
    /// The EntryPoint that it is bound to.
    pub entry_point: Address,
    /// That EntryPoint's rules.
    pub version: EntryPointVersion,
    /// Who may sign for it, the one that does unless an operator chose another first; empty in a
    /// worker, which signs nothing and should hold no key.
    pub signers: Vec<Arc<LocalSigner>>,
}

impl Chain {
    /// The EntryPoints that a paymaster of this chain is bound to, each once.
    #[must_use]
    pub fn entry_points(&self) -> Vec<Address> {
        let mut addresses: Vec<_> =
            self.paymasters.iter().map(|paymaster| paymaster.entry_point).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// The company's paymaster for an EntryPoint.
    ///
    /// # Errors
    /// When the EntryPoint is not served, or not for this company.
    pub fn paymaster(&self, tenant: TenantId, entry_point: Address) -> Result<&Paymaster, Refusal> {
        if entry_point == entry_point::V06_ADDRESS {
            return Err(Refusal::EntryPointV06);
        }
        let mut served = self.paymasters.iter().filter(|p| p.entry_point == entry_point).peekable();
        if served.peek().is_none() {
            return Err(Refusal::UnknownEntryPoint(entry_point));
        }
        served.find(|p| p.tenant == tenant).ok_or(Refusal::NoPaymaster(entry_point))
    }
}

impl Paymaster {
    /// Refuses the parallel form where the EntryPoint's hash covers the paymaster's signature.
    pub(crate) const fn refuse_unless_signs(&self, form: SignatureForm) -> Result<(), Refusal> {
        match (form, self.version) {
            (SignatureForm::Sequential, _) | (SignatureForm::Parallel, EntryPointVersion::V09) => {
                Ok(())
            }
            (SignatureForm::Parallel, EntryPointVersion::V07 | EntryPointVersion::V08) => {
                Err(Refusal::ParallelUnsupported)
            }
        }
    }
}

impl Chain {
    /// The delegate that the sender will have when the operation runs
    /// ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702)); `None` for a sender that has none.
    ///
    /// With the marker the digest binds that delegate, so that no other can run. Without it nothing
    /// does, so the one that the code designates now must be allowed as well.
    pub(crate) async fn delegate(
        &self,
        operation: &UserOperation,
    ) -> Result<Option<Address>, ServiceError> {
        let authorised = operation.eip7702_auth.as_ref().map(|authorised| authorised.address);
        let current = if authorised.is_some() && operation.has_eip7702_marker() {
            None
        } else {
            self.node.delegate_of(operation.sender).await.map_err(ServiceError::Node)?
        };
        if let Some(unknown) =
            [authorised, current].into_iter().flatten().find(|one| !self.delegates.contains(one))
        {
            return Err(Refusal::DelegateNotAllowed(unknown).into());
        }
        let effective = operation.effective_delegate(current);
        if effective.is_none() && operation.has_eip7702_marker() {
            return Err(Refusal::DelegateUnknown.into());
        }
        Ok(effective)
    }
}

impl Service {
    /// A chain that is served.
    ///
    /// # Errors
    /// When it is not.
    pub fn chain(&self, id: ChainId) -> Result<&Chain, Refusal> {
        self.chains.get(&id).ok_or(Refusal::UnknownChain(id))
    }

    /// All chains that are served.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }
}
