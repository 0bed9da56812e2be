//! A signature for an operation, backed by points: steps 1 to 5 of the life of a sponsorship.
//!
//! The order is what keeps the promises. Everything that can refuse without the ledger comes first;
//! the signature is made in its seal; one commit reserves the points and stores the signature; only
//! then is there an answer. A repeat of the same request finds the grant and gives the same answer.

use alloy_primitives::{Address, B256, B512};
use domain::bounds::Bounds;
use domain::chain_fact::ChainTime;
use domain::ledger::sponsorship::GrantRequest;
use domain::{AccountId, ChainId, Gas, Quote, Slot, Wei, window};
use erc4337::UserOperation;
use erc4337::gas::max_cost;
use erc4337::sponsorship::{PaymasterHeader, ValidityWindow, sponsorship_digest};
use erc4337::user_operation::PaymasterFields;
use store::Keyed;
use store::sponsorships::{CommittedGrant, GrantAnswer, GrantCommand, PaymasterGas};

use crate::chains::{Chain, Paymaster};
use crate::identity::Caller;
use crate::{Refusal, Service, ServiceError};

/// The paymaster's verification gas where the client brings none: three times what its validation
/// was measured to use, with the EntryPoint's share.
pub(crate) const VERIFICATION_GAS: Gas = Gas(45_000);
/// The least verification gas with which validation was seen to pass.
const LEAST_VERIFICATION_GAS: Gas = Gas(20_000);
/// The paymaster has no call after the operation.
pub(crate) const POST_OP_GAS: Gas = Gas(0);
/// Bundlers may ask for some all the same; it is paid for as far as it is unused.
const MOST_POST_OP_GAS: Gas = Gas(20_000);

/// The longest account signature, in bytes: room for a passkey's, or for a dozen owners'.
const MOST_SIGNATURE_BYTES: usize = 1_024;

/// A request for a sponsorship.
#[derive(Clone, Debug)]
pub struct SponsorRequest {
    /// The chain.
    pub chain_id: ChainId,
    /// The EntryPoint.
    pub entry_point: Address,
    /// The operation; its signature and paymaster data are ignored.
    pub operation: UserOperation,
    /// The caller's key, where it gave one.
    pub keyed: Option<Keyed>,
}

/// A sponsorship that was given.
#[derive(Clone, Debug)]
pub struct Sponsored {
    /// The grant, as committed.
    pub grant: CommittedGrant,
    /// The paymaster fields of the operation.
    pub paymaster: PaymasterFields,
    /// Whether it had been given before.
    pub replayed: bool,
}

/// An operation with everything fixed but window and signature.
pub(crate) struct Prepared<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) paymaster: &'a Paymaster,
    pub(crate) account: AccountId,
    pub(crate) slot: Slot,
    pub(crate) operation: UserOperation,
    pub(crate) gas: PaymasterGas,
    pub(crate) delegate: Option<Address>,
    pub(crate) max_cost: Wei,
    pub(crate) request_hash: B256,
}

impl Service {
    /// Sponsors an operation: reserves its points, and answers with the signature that they back.
    ///
    /// # Errors
    /// A refusal, with nothing changed; or a part that does not answer, after which the same request
    /// may be repeated.
    pub async fn sponsor(
        &self,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<Sponsored, ServiceError> {
        let keyed = request.keyed.clone();
        if let Some(keyed) = &keyed
            && let Some(grant) = self.store.keyed_grant(caller.tenant, keyed).await?
        {
            // Before anything else is asked: a replay is the same whatever has changed since.
            return sponsored(grant, true);
        }
        let prepared = self.prepare(caller, request).await?;
        if let Some(keyed) = &keyed
            && self.store.is_key_reused(caller.tenant, prepared.account, keyed).await?
        {
            return Err(Refusal::KeyReused.into());
        }
        self.refuse_unless_followed(prepared.chain).await?;
        self.refuse_if_landed(caller.tenant, &prepared.slot).await?;
        let head = self.fresh_head(prepared.chain).await?;
        if keyed.is_none()
            && let Some(grant) = self.repeat(caller, &prepared, head.timestamp).await?
        {
            return sponsored(grant, true);
        }
        let operation = &prepared.operation;
        self.refuse_if_out_of_bounds(prepared.chain, prepared.paymaster, &head, operation).await?;
        let valid_until =
            window::valid_until(head.timestamp, self.settings.validity_seconds).map_err(|_| {
                Refusal::StaleHead { chain: prepared.chain.id, seconds: head.timestamp.0 }
            })?;
        let quote = Self::quote_at(prepared.chain, head.number);
        let answer =
            self.commit_grant(caller, &prepared, keyed, valid_until, head.timestamp, quote);
        answered(answer.await?)
    }

    /// Fixes everything about an operation that does not depend on the moment.
    pub(crate) async fn prepare(
        &self,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<Prepared<'_>, ServiceError> {
        let SponsorRequest { chain_id, entry_point, mut operation, .. } = request;
        let chain = self.chain(chain_id)?;
        let paymaster = chain.paymaster(caller.tenant, entry_point)?;
        if operation.has_no_gas_limits() {
            return Err(Refusal::GasNotEstimated.into());
        }
        // What is signed does not cover the account's signature, but preVerificationGas pays for it.
        let length = operation.signature.len();
        if length > MOST_SIGNATURE_BYTES {
            return Err(Refusal::SignatureTooLong { length, most: MOST_SIGNATURE_BYTES }.into());
        }
        let account = self.payer(caller, chain, operation.sender).await?;
        let gas = paymaster_gas(operation.paymaster.as_ref(), &self.settings.bounds)?;
        let delegate = delegate(chain, &operation).await?;
        operation.paymaster = Some(PaymasterFields {
            paymaster: paymaster.address,
            verification_gas_limit: gas.verification.0,
            post_op_gas_limit: gas.post_op.0,
            data: erc4337::sponsorship::stub_paymaster_data(),
        });
        let cost = max_cost(&operation).map_err(|_| Refusal::GasOutOfRange)?;
        // The digest with one fixed window: the same for every repeat of the request, whatever the
        // window, price, signature or time.
        let header = header(paymaster.address, gas, 1)?;
        let request_hash =
            sponsorship_digest(&operation, chain.id.0, entry_point, &header, delegate)
                .map_err(|_| Refusal::DelegateUnknown)?;
        let slot = Slot {
            chain_id: chain.id,
            entry_point,
            sender: operation.sender,
            nonce: operation.nonce,
        };
        Ok(Prepared {
            chain,
            paymaster,
            account,
            slot,
            operation,
            gas,
            delegate,
            max_cost: Wei(cost),
            request_hash,
        })
    }

    /// The price of gas, as of a block.
    pub(crate) fn quote_at(chain: &Chain, block_number: u64) -> Quote {
        let price = chain.price;
        Quote {
            micropoints_per_e18_wei: price.micropoints_per_e18_wei,
            markup: price.markup,
            source: "fixed".to_owned(),
            block_number,
        }
    }

    /// A grant of the same request with enough of its window left, to spare the work of making one
    /// that the ledger would not take.
    async fn repeat(
        &self,
        caller: &Caller,
        prepared: &Prepared<'_>,
        head: ChainTime,
    ) -> Result<Option<CommittedGrant>, ServiceError> {
        let open =
            self.store.open_sponsorship(caller.tenant, prepared.account, &prepared.slot).await?;
        let Some(open) = open.filter(|open| !open.reservation.closing) else { return Ok(None) };
        let repeated = open.reservation.grants.iter().rposition(|grant| {
            grant.request_hash == prepared.request_hash
                && window::is_reusable(grant.valid_until, head)
        });
        Ok(repeated.and_then(|index| open.grants.into_iter().nth(index)))
    }

    async fn commit_grant(
        &self,
        caller: &Caller,
        prepared: &Prepared<'_>,
        keyed: Option<Keyed>,
        valid_until: ChainTime,
        head: ChainTime,
        quote: Quote,
    ) -> Result<GrantAnswer, ServiceError> {
        let Prepared { chain, paymaster, operation, gas, delegate, slot, .. } = prepared;
        let entry_point = paymaster.entry_point;
        let header = header(paymaster.address, *gas, valid_until.0)?;
        let digest = sponsorship_digest(operation, chain.id.0, entry_point, &header, *delegate)
            .map_err(|_| Refusal::DelegateUnknown)?;
        let signer = paymaster.signer.as_ref().ok_or(ServiceError::NoSigner)?;
        let signature = signer.sign(digest)?;
        let user_op_hash = signature
            .user_op_hash(operation, &header, paymaster.version, slot, *delegate)
            .map_err(|_| Refusal::DelegateUnknown)?;
        let command = GrantCommand {
            tenant: caller.tenant,
            account: prepared.account,
            app: caller.app,
            slot: *slot,
            paymaster: paymaster.address,
            request: GrantRequest {
                request_hash: prepared.request_hash,
                max_cost: prepared.max_cost,
                quote,
                valid_until,
                head,
            },
            digest,
            signature: &signature,
            user_op_hash,
            paymaster_gas: *gas,
            delegate: *delegate,
            keyed,
        };
        Ok(self.store.grant(&command).await?)
    }
}

fn answered(answer: GrantAnswer) -> Result<Sponsored, ServiceError> {
    match answer {
        GrantAnswer::Granted(grant) => sponsored(grant, false),
        GrantAnswer::Replayed(grant) => sponsored(grant, true),
        GrantAnswer::Refused(refusal) => Err(Refusal::from(refusal).into()),
        GrantAnswer::WalletMoved => Err(Refusal::WalletMoved.into()),
        GrantAnswer::PaymasterChanged => Err(Refusal::PaymasterChanged.into()),
        GrantAnswer::KeyReused => Err(Refusal::KeyReused.into()),
    }
}

fn sponsored(grant: CommittedGrant, replayed: bool) -> Result<Sponsored, ServiceError> {
    let header = header(grant.paymaster, grant.paymaster_gas, grant.valid_until.0)?;
    let paymaster = header.sign_with(B512::from(grant.signature));
    Ok(Sponsored { grant, paymaster, replayed })
}

fn header(
    paymaster: Address,
    gas: PaymasterGas,
    valid_until: u64,
) -> Result<PaymasterHeader, Refusal> {
    let window = ValidityWindow::new(0, valid_until).map_err(|_| Refusal::GasOutOfRange)?;
    Ok(PaymasterHeader {
        paymaster,
        verification_gas_limit: gas.verification.0,
        post_op_gas_limit: gas.post_op.0,
        window,
    })
}

/// The limits that came in, if the paymaster can run with them and nobody gains by them; ours where
/// there are none.
fn paymaster_gas(
    fields: Option<&PaymasterFields>,
    bounds: &Bounds,
) -> Result<PaymasterGas, Refusal> {
    let most = bounds.paymaster_verification_gas_cap;
    let verification = match fields.map_or(0, |fields| fields.verification_gas_limit) {
        0 => VERIFICATION_GAS,
        limit => Gas(limit),
    };
    let post_op = Gas(fields.map_or(0, |fields| fields.post_op_gas_limit));
    let within = |field, value, least, most| {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(Refusal::PaymasterGas { field, value, least, most })
        }
    };
    Ok(PaymasterGas {
        verification: within(
            "paymasterVerificationGasLimit",
            verification,
            LEAST_VERIFICATION_GAS,
            most,
        )?,
        post_op: within("paymasterPostOpGasLimit", post_op, Gas(0), MOST_POST_OP_GAS)?,
    })
}

/// The delegate that the digest binds, for an operation with the EIP-7702 marker.
pub(crate) async fn delegate(
    chain: &Chain,
    operation: &UserOperation,
) -> Result<Option<Address>, ServiceError> {
    if !operation.has_eip7702_marker() {
        return Ok(None);
    }
    let current = match operation.eip7702_auth {
        Some(_) => None,
        None => chain.node.delegate_of(operation.sender).await.map_err(ServiceError::Node)?,
    };
    let effective = operation.effective_delegate(current).ok_or(Refusal::DelegateUnknown)?;
    Ok(Some(effective))
}
