//! Sponsorships as look-ups show them.

use alloy_primitives::{B256, Bytes};
use domain::{Points, ReservationId, Slot, Wei};
use erc4337::user_operation::{PaymasterFields, PaymasterSignatureField};
use serde::{Deserialize, Serialize};
use service::signing_phase::Commitment;
use service::sponsor::Sponsored;
use store::sponsorships::CommittedGrant;
use store::views::{SettlementView, SponsorshipView, TimelineEvent, ViewState};

use super::operation::PriceBody;
use crate::wire::{self, Hex20};

/// A sponsorship as it is given. Made of the grant's immutable row alone, so that a replay is the same to the byte; the
/// paymaster fields are written as an operation carries them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GivenBody {
    id: ReservationId,
    #[serde(flatten)]
    fields: FieldsBody,
    reserved: Points,
    max_cost: Wei,
    valid_until: u64,
}

/// What the account is to sign, in the first of two phases. Nothing is reserved, so that it has no id.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommitmentBody {
    #[serde(flatten)]
    fields: FieldsBody,
    points: Points,
    max_cost: Wei,
    valid_until: u64,
}

/// The operation's slot, its paymaster fields as the chain's bundler takes them, and its hash.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FieldsBody {
    chain_id: u64,
    entry_point: Hex20,
    sender: Hex20,
    nonce: String,
    paymaster: Hex20,
    paymaster_data: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    paymaster_signature: Option<Bytes>,
    paymaster_verification_gas_limit: String,
    paymaster_post_op_gas_limit: String,
    user_op_hash: B256,
}

impl FieldsBody {
    fn new(
        slot: &Slot,
        paymaster: &PaymasterFields,
        user_op_hash: B256,
        signature_field: PaymasterSignatureField,
    ) -> Self {
        let (paymaster_data, paymaster_signature) = paymaster.data_fields(signature_field);
        Self {
            chain_id: slot.chain_id.0,
            entry_point: Hex20(slot.entry_point),
            sender: Hex20(slot.sender),
            nonce: wire::quantity(slot.nonce),
            paymaster: Hex20(paymaster.paymaster),
            paymaster_data,
            paymaster_signature,
            paymaster_verification_gas_limit: wire::quantity(paymaster.verification_gas_limit),
            paymaster_post_op_gas_limit: wire::quantity(paymaster.post_op_gas_limit),
            user_op_hash,
        }
    }
}

impl GivenBody {
    pub(super) fn new(sponsored: &Sponsored, signature_field: PaymasterSignatureField) -> Self {
        let Sponsored { grant, paymaster, .. } = sponsored;
        Self {
            id: grant.reservation,
            fields: FieldsBody::new(&grant.slot, paymaster, grant.user_op_hash, signature_field),
            reserved: grant.points,
            max_cost: grant.max_cost,
            valid_until: grant.valid_until.0,
        }
    }
}

impl CommitmentBody {
    pub(super) fn new(commitment: &Commitment, signature_field: PaymasterSignatureField) -> Self {
        let Commitment { slot, paymaster, user_op_hash, .. } = commitment;
        Self {
            fields: FieldsBody::new(slot, paymaster, *user_op_hash, signature_field),
            points: commitment.points,
            max_cost: commitment.max_cost,
            valid_until: commitment.valid_until.0,
        }
    }
}

/// A sponsorship's state on the wire: whether a settled one is final stands beside it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum PublicState {
    Open,
    Settled,
    Released,
}

impl PublicState {
    /// The state on the wire, and whether a settled one is final.
    const fn of(state: ViewState) -> (Self, Option<bool>) {
        match state {
            ViewState::Open => (Self::Open, None),
            ViewState::SettledProvisional => (Self::Settled, Some(false)),
            ViewState::SettledFinal => (Self::Settled, Some(true)),
            ViewState::Released => (Self::Released, None),
        }
    }

    /// The states that a list of this one shows.
    pub(super) const fn matching(self) -> &'static [ViewState] {
        match self {
            Self::Open => &[ViewState::Open],
            Self::Settled => &[ViewState::SettledProvisional, ViewState::SettledFinal],
            Self::Released => &[ViewState::Released],
        }
    }
}

/// A sponsorship in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SponsorshipBody {
    id: ReservationId,
    external_id: Option<String>,
    chain_id: u64,
    entry_point: Hex20,
    sender: Hex20,
    nonce: String,
    attempt: u32,
    paymaster: Hex20,
    state: PublicState,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#final: Option<bool>,
    closing: bool,
    reserved: Points,
    price: PriceBody,
    valid_until: u64,
    settlement: Option<SettlementBody>,
    opened_at: String,
    changed_at: String,
}

/// The same with everything that belongs to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SponsorshipDetailBody {
    #[serde(flatten)]
    sponsorship: SponsorshipBody,
    grants: Vec<GrantBody>,
    timeline: Vec<EventBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettlementBody {
    cost: Points,
    gas_cost: Wei,
    success: bool,
    user_op_hash: B256,
    transaction_hash: B256,
    block_number: u64,
    block_hash: B256,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantBody {
    number: i32,
    user_op_hash: B256,
    reserved: Points,
    max_cost: Wei,
    valid_until: u64,
    paymaster_verification_gas_limit: String,
    paymaster_post_op_gas_limit: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventBody {
    id: String,
    kind: String,
    recorded_at: String,
}

impl SponsorshipBody {
    pub(super) fn new(view: SponsorshipView, external_id: Option<String>) -> Self {
        let (state, is_final) = PublicState::of(view.state);
        Self {
            id: view.id,
            external_id,
            chain_id: view.slot.chain_id.0,
            entry_point: Hex20(view.slot.entry_point),
            sender: Hex20(view.slot.sender),
            nonce: wire::quantity(view.slot.nonce),
            attempt: view.attempt,
            paymaster: Hex20(view.paymaster),
            state,
            r#final: is_final,
            closing: view.closing,
            reserved: view.reserved,
            price: view.quote.into(),
            valid_until: view.last_valid_until.0,
            settlement: view.settlement.map(SettlementBody::from),
            opened_at: wire::timestamp(view.opened_at),
            changed_at: wire::timestamp(view.changed_at),
        }
    }

    pub(super) fn with(
        self,
        grants: Vec<CommittedGrant>,
        timeline: Vec<TimelineEvent>,
    ) -> SponsorshipDetailBody {
        SponsorshipDetailBody {
            sponsorship: self,
            grants: grants.into_iter().map(GrantBody::from).collect(),
            timeline: timeline.into_iter().map(EventBody::from).collect(),
        }
    }
}

impl From<SettlementView> for SettlementBody {
    fn from(view: SettlementView) -> Self {
        Self {
            cost: view.cost,
            gas_cost: view.gas_cost,
            success: view.success,
            user_op_hash: view.user_op_hash,
            transaction_hash: view.transaction_hash,
            block_number: view.block_number,
            block_hash: view.block_hash,
        }
    }
}

impl From<CommittedGrant> for GrantBody {
    fn from(grant: CommittedGrant) -> Self {
        Self {
            number: grant.grant_no,
            user_op_hash: grant.user_op_hash,
            reserved: grant.points,
            max_cost: grant.max_cost,
            valid_until: grant.valid_until.0,
            paymaster_verification_gas_limit: wire::quantity(grant.paymaster_gas.verification.0),
            paymaster_post_op_gas_limit: wire::quantity(grant.paymaster_gas.post_op.0),
        }
    }
}

impl From<TimelineEvent> for EventBody {
    fn from(event: TimelineEvent) -> Self {
        Self { id: event.id, kind: event.kind, recorded_at: wire::timestamp(event.recorded_at) }
    }
}
