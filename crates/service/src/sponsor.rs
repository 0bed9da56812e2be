//! A signature for an operation, backed by points: steps 1 to 5 of the life of a sponsorship.
//!
//! The order is what keeps the promises. Everything that can refuse without the ledger comes first;
//! the signature is made in its seal; one commit reserves the points and stores the signature; only
//! then is there an answer. A repeat of the same request finds the grant and gives the same answer.

use alloy_primitives::{Address, B256, B512};
use chain::node::Header;
use domain::bounds::Bounds;
use domain::chain_fact::ChainTime;
use domain::ledger::sponsorship::GrantRequest;
use domain::{AccountId, ChainId, Gas, Quote, Slot, Wei, window};
use erc4337::gas::max_cost;
use erc4337::sponsorship::{PaymasterHeader, SignatureForm, ValidityWindow};
use erc4337::user_operation::PaymasterFields;
use erc4337::{Factory, UserOperation};
use signer::LocalSigner;
use store::Keyed;
use store::sponsorships::{CommittedGrant, GrantAnswer, GrantCommand, PaymasterGas};

use crate::chains::{Chain, Paymaster};
use crate::identity::Caller;
use crate::{Refusal, Service, ServiceError};

/// The paymaster's verification gas where the client brings none, apart from [`hashing_gas`]: three
/// times what its validation was measured to use, with the EntryPoint's share.
const VERIFICATION_GAS: u128 = 45_000;
/// The least with which validation was seen to pass, apart from [`hashing_gas`].
const LEAST_VERIFICATION_GAS: u128 = 20_000;
/// What hashing the operation takes per byte: several times the price of a copied and hashed word,
/// because with the EIP-7702 marker the operation is encoded anew.
const HASHING_GAS_PER_BYTE: u128 = 2;
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
    /// The operation. Its signature and paymaster data count only for [`Service::finalize`].
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
    pub(crate) form: SignatureForm,
    pub(crate) gas: PaymasterGas,
    pub(crate) delegate: Option<Address>,
    pub(crate) max_cost: Wei,
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
        if let Some(given) = self.replay(caller, keyed.as_ref()).await? {
            return Ok(given);
        }
        let form = SignatureForm::Sequential;
        let prepared = self.prepare(caller, request, form).await?;
        // The digest with one fixed window: the same for every repeat of the request, whatever the
        // window, price, signature or time.
        let request_hash = prepared.digest(ChainTime(1))?;
        let head = self.ready_to_sign(caller, &prepared, keyed.as_ref()).await?;
        if keyed.is_none()
            && let Some(given) =
                self.repeat(caller, &prepared, request_hash, head.timestamp).await?
        {
            return Ok(given);
        }
        self.refuse_if_out_of_bounds(&prepared, &head).await?;
        let valid_until = self.valid_until(prepared.chain, head.timestamp)?;
        self.commit_grant(caller, &prepared, keyed, request_hash, valid_until, &head).await
    }

    /// What was given before under the same key. Before anything else is asked: a replay is the same
    /// whatever has changed since.
    pub(crate) async fn replay(
        &self,
        caller: &Caller,
        keyed: Option<&Keyed>,
    ) -> Result<Option<Sponsored>, ServiceError> {
        let Some(keyed) = keyed else { return Ok(None) };
        let grant = self.store.keyed_grant(caller.tenant, keyed).await?;
        grant.map(|grant| sponsored(grant, true)).transpose()
    }

    /// Fixes everything about an operation that does not depend on the moment.
    pub(crate) async fn prepare(
        &self,
        caller: &Caller,
        request: SponsorRequest,
        form: SignatureForm,
    ) -> Result<Prepared<'_>, ServiceError> {
        let SponsorRequest { chain_id, entry_point, mut operation, .. } = request;
        let chain = self.chain(chain_id)?;
        let paymaster = chain.paymaster(caller.tenant, entry_point)?;
        paymaster.refuse_unless_signs(form)?;
        if operation.has_no_gas_limits() {
            return Err(Refusal::GasNotEstimated.into());
        }
        // What is signed does not cover the account's signature, but preVerificationGas pays for it.
        let length = operation.signature.len();
        if length > MOST_SIGNATURE_BYTES {
            return Err(Refusal::SignatureTooLong { length, most: MOST_SIGNATURE_BYTES }.into());
        }
        let account = self.payer(caller, chain, operation.sender, form).await?;
        let gas = paymaster_gas(&operation, &self.settings.bounds)?;
        let delegate = chain.delegate(&operation).await?;
        operation.paymaster = Some(PaymasterFields {
            paymaster: paymaster.address,
            verification_gas_limit: gas.verification.0,
            post_op_gas_limit: gas.post_op.0,
            data: form.stub_paymaster_data(),
        });
        let cost = max_cost(&operation).map_err(|_| Refusal::GasOutOfRange)?;
        let slot = Slot {
            chain_id: chain.id,
            entry_point,
            sender: operation.sender,
            nonce: operation.nonce,
        };
        let max_cost = Wei(cost);
        Ok(Prepared { chain, paymaster, account, slot, operation, form, gas, delegate, max_cost })
    }

    /// The chain's head, where nothing but the operation itself can stand against a signature.
    pub(crate) async fn ready_to_sign(
        &self,
        caller: &Caller,
        prepared: &Prepared<'_>,
        keyed: Option<&Keyed>,
    ) -> Result<Header, ServiceError> {
        if let Some(keyed) = keyed
            && self.store.is_key_reused(caller.tenant, prepared.account, keyed).await?
        {
            return Err(Refusal::KeyReused.into());
        }
        self.refuse_unless_followed(prepared.chain).await?;
        self.refuse_if_used_up(caller.tenant, &prepared.slot).await?;
        self.fresh_head(prepared.chain).await
    }

    /// The end of the window of what is signed now.
    pub(crate) fn valid_until(
        &self,
        chain: &Chain,
        head: ChainTime,
    ) -> Result<ChainTime, ServiceError> {
        window::valid_until(head, self.settings.validity_seconds)
            .map_err(|_| Refusal::StaleHead { chain: chain.id, seconds: head.0 }.into())
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
    pub(crate) async fn repeat(
        &self,
        caller: &Caller,
        prepared: &Prepared<'_>,
        request_hash: B256,
        head: ChainTime,
    ) -> Result<Option<Sponsored>, ServiceError> {
        let open =
            self.store.open_sponsorship(caller.tenant, prepared.account, &prepared.slot).await?;
        let Some(open) = open.filter(|open| !open.reservation.closing) else { return Ok(None) };
        let repeated = open.reservation.grants.iter().rposition(|grant| {
            grant.request_hash == request_hash && window::is_reusable(grant.valid_until, head)
        });
        let grant = repeated.and_then(|index| open.grants.into_iter().nth(index));
        grant.map(|grant| sponsored(grant, true)).transpose()
    }

    /// Signs into the seal, and commits the reservation with the grant.
    pub(crate) async fn commit_grant(
        &self,
        caller: &Caller,
        prepared: &Prepared<'_>,
        keyed: Option<Keyed>,
        request_hash: B256,
        valid_until: ChainTime,
        head: &Header,
    ) -> Result<Sponsored, ServiceError> {
        let Prepared { chain, paymaster, operation, form, gas, delegate, slot, .. } = prepared;
        let digest = prepared.digest(valid_until)?;
        let signature = self.signer(chain.id, paymaster).await?.sign(digest)?;
        let header = prepared.header(valid_until)?;
        let user_op_hash = signature
            .user_op_hash(operation, &header, *form, paymaster.version, slot, *delegate)
            .map_err(|_| Refusal::DelegateUnknown)?;
        let command = GrantCommand {
            tenant: caller.tenant,
            account: prepared.account,
            app: caller.app,
            slot: *slot,
            paymaster: paymaster.address,
            request: GrantRequest {
                request_hash,
                max_cost: prepared.max_cost,
                quote: Self::quote_at(chain, head.number),
                valid_until,
                head: head.timestamp,
                debt_ceiling: self.settings.debt_ceiling,
            },
            form: *form,
            digest,
            signature,
            user_op_hash,
            paymaster_gas: *gas,
            delegate: *delegate,
            keyed,
        };
        answered(self.store.grant(command).await?)
    }

    /// The key that signs for a paymaster now.
    async fn signer<'a>(
        &self,
        chain: ChainId,
        paymaster: &'a Paymaster,
    ) -> Result<&'a LocalSigner, ServiceError> {
        let chosen = self.store.active_signer(chain, paymaster.address).await?;
        let found = match chosen {
            Some(chosen) => paymaster.signers.iter().find(|signer| signer.address() == chosen),
            None => paymaster.signers.first(),
        };
        found.map(AsRef::as_ref).ok_or(ServiceError::NoSigner(chosen))
    }
}

impl Prepared<'_> {
    pub(crate) fn header(&self, valid_until: ChainTime) -> Result<PaymasterHeader, Refusal> {
        header(self.paymaster.address, self.gas, valid_until)
    }

    /// What the paymaster's key signs for a window that ends then.
    pub(crate) fn digest(&self, valid_until: ChainTime) -> Result<B256, Refusal> {
        let header = self.header(valid_until)?;
        let Slot { chain_id, entry_point, .. } = self.slot;
        self.form
            .digest(&self.operation, chain_id.0, entry_point, &header, self.delegate)
            .map_err(|_| Refusal::DelegateUnknown)
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
    let header = header(grant.paymaster, grant.paymaster_gas, grant.valid_until)?;
    let paymaster = header.sign_with(grant.form, B512::from(grant.signature));
    Ok(Sponsored { grant, paymaster, replayed })
}

fn header(
    paymaster: Address,
    gas: PaymasterGas,
    valid_until: ChainTime,
) -> Result<PaymasterHeader, Refusal> {
    let window = ValidityWindow::new(0, valid_until.0).map_err(|_| Refusal::GasOutOfRange)?;
    Ok(PaymasterHeader {
        paymaster,
        verification_gas_limit: gas.verification.0,
        post_op_gas_limit: gas.post_op.0,
        window,
    })
}

/// The limits that came in, if the paymaster can run with them and nobody gains by them; ours where
/// there are none.
fn paymaster_gas(operation: &UserOperation, bounds: &Bounds) -> Result<PaymasterGas, Refusal> {
    let fields = operation.paymaster.as_ref();
    let most = bounds.paymaster_verification_gas_cap;
    let verification = match fields.map_or(0, |fields| fields.verification_gas_limit) {
        0 => default_verification_gas(operation),
        limit => Gas(limit),
    };
    let least = LEAST_VERIFICATION_GAS.saturating_add(hashing_gas(operation));
    let post_op = Gas(fields.map_or(0, |fields| fields.post_op_gas_limit));
    let within = |field, value, least, most| {
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(Refusal::PaymasterGas { field, value, least, most })
        }
    };
    Ok(PaymasterGas {
        verification: within("paymasterVerificationGasLimit", verification, Gas(least), most)?,
        post_op: within("paymasterPostOpGasLimit", post_op, Gas(0), MOST_POST_OP_GAS)?,
    })
}

/// The paymaster's verification gas for an operation whose client brings none.
pub(crate) fn default_verification_gas(operation: &UserOperation) -> Gas {
    Gas(VERIFICATION_GAS.saturating_add(hashing_gas(operation)))
}

/// What the length of an operation adds to the paymaster's validation, which hashes all of it.
fn hashing_gas(operation: &UserOperation) -> u128 {
    let factory = match &operation.factory {
        None => 0,
        Some(Factory::Deploy { data, .. }) => data.len(),
        Some(Factory::Eip7702 { init_data }) => init_data.len(),
    };
    let bytes = operation.call_data.len().saturating_add(factory);
    HASHING_GAS_PER_BYTE.saturating_mul(u128::try_from(bytes).unwrap_or(u128::MAX))
}
