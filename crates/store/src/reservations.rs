//! How the machines' states stand in the rows of reservations.

use domain::Points;
use domain::chain_fact::{BlockRef, OperationEvent, Sighting};
use domain::ledger::sponsorship::{Settlement, SponsorshipState, Unsettled};
use sqlx::types::BigDecimal;

use crate::{StoreError, codec};

pub(crate) const OPEN: &str = "open";
pub(crate) const PROVISIONAL: &str = "settled_provisional";
pub(crate) const FINAL: &str = "settled_final";
pub(crate) const RELEASED: &str = "released";
pub(crate) const REJECTED: &str = "rejected";

pub(crate) const fn state_name(state: &SponsorshipState) -> &'static str {
    match state {
        SponsorshipState::Open => OPEN,
        SponsorshipState::Provisional(_) => PROVISIONAL,
        SponsorshipState::Final(_) => FINAL,
        SponsorshipState::Released => RELEASED,
    }
}

/// Where a settled sponsorship stood before, as SQL has it.
pub(crate) const fn unsettled_name(before: Unsettled) -> &'static str {
    match before {
        Unsettled::Open => OPEN,
        Unsettled::Released => RELEASED,
    }
}

/// The same the other way.
pub(crate) fn unsettled(name: &str) -> Result<Unsettled, StoreError> {
    [Unsettled::Open, Unsettled::Released]
        .into_iter()
        .find(|before| unsettled_name(*before) == name)
        .ok_or(StoreError::Corrupt("settled_before"))
}

/// The columns that say what settled a sponsorship; all empty while nothing has.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettlementColumns {
    pub(crate) block_number: Option<i64>,
    pub(crate) block_hash: Option<Vec<u8>>,
    pub(crate) block_timestamp: Option<i64>,
    pub(crate) log_index: Option<i32>,
    pub(crate) visit: Option<i32>,
    pub(crate) before: Option<Unsettled>,
    pub(crate) from_reserved: Option<i64>,
    pub(crate) from_available: Option<i64>,
    pub(crate) from_debt: Option<i64>,
    pub(crate) gas_cost: Option<BigDecimal>,
    pub(crate) success: Option<bool>,
    pub(crate) user_op_hash: Option<Vec<u8>>,
    pub(crate) transaction_hash: Option<Vec<u8>>,
}

impl SettlementColumns {
    pub(crate) fn of(
        state: &SponsorshipState,
        event: Option<&OperationEvent>,
    ) -> Result<Self, StoreError> {
        let settlement = match state {
            SponsorshipState::Provisional(settlement) | SponsorshipState::Final(settlement) => {
                settlement
            }
            SponsorshipState::Open | SponsorshipState::Released => return Ok(Self::default()),
        };
        let event = codec::present(event)?;
        let Settlement { sighting, from_reserved, from_available, from_debt, before } = settlement;
        let points = |points: &Points| Some(codec::micropoints(*points));
        Ok(Self {
            block_number: Some(codec::signed(sighting.block.number)?),
            block_hash: Some(sighting.block.hash.to_vec()),
            block_timestamp: Some(codec::signed(sighting.block.timestamp.0)?),
            log_index: Some(codec::signed32(sighting.log_index)?),
            visit: Some(codec::signed32(sighting.visit)?),
            before: Some(*before),
            from_reserved: points(from_reserved),
            from_available: points(from_available),
            from_debt: points(from_debt),
            gas_cost: Some(codec::numeric(event.actual_gas_cost.0)?),
            success: Some(event.success),
            user_op_hash: Some(event.user_op_hash.to_vec()),
            transaction_hash: Some(event.transaction_hash.to_vec()),
        })
    }

    /// The state of this name, with what settled it.
    pub(crate) fn state(&self, name: &str) -> Result<SponsorshipState, StoreError> {
        match name {
            OPEN => Ok(SponsorshipState::Open),
            PROVISIONAL => Ok(SponsorshipState::Provisional(self.settlement()?)),
            FINAL => Ok(SponsorshipState::Final(self.settlement()?)),
            RELEASED => Ok(SponsorshipState::Released),
            _ => Err(StoreError::Corrupt("sponsorship state")),
        }
    }

    fn settlement(&self) -> Result<Settlement, StoreError> {
        let points = |column| codec::points(codec::present(column)?);
        Ok(Settlement {
            sighting: Sighting {
                block: BlockRef {
                    number: codec::unsigned(codec::present(self.block_number)?)?,
                    hash: codec::hash(codec::present(self.block_hash.as_deref())?)?,
                    timestamp: codec::chain_time(codec::present(self.block_timestamp)?)?,
                },
                log_index: codec::unsigned(codec::present(self.log_index)?)?,
                visit: codec::unsigned(codec::present(self.visit)?)?,
            },
            from_reserved: points(self.from_reserved)?,
            from_available: points(self.from_available)?,
            from_debt: points(self.from_debt)?,
            before: codec::present(self.before)?,
        })
    }
}
