//! Accounts with more lines than one group takes: their rows are read page by page, each page with the lines that came
//! since the walk.

use sqlx::{Connection, PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::rows::Keys;
use super::walk::{Effects, Walk};
use super::{Checked, GROUP_LINES, NO_LEG, SNAPSHOT, lot_rows, rows, walk};
use crate::StoreError;

/// The reservations of a long account, page by page: each page with the entries since the walk.
pub(super) async fn long_reservations(
    connection: &mut PgConnection,
    walk: &mut Walk,
    mut keys: Keys,
    page_length: i64,
) -> Result<Checked<()>, StoreError> {
    let mut since = Effects::new();
    let mut seen = walk.seq();
    let mut first = Some(Uuid::nil());
    while let Some(from) = first {
        let mut snapshot = connection.begin_with(SNAPSHOT).await?;
        note_since(&mut snapshot, &mut keys, &mut seen, &mut since).await?;
        let page = rows::reservations(&mut snapshot, &keys, from, page_length).await?;
        snapshot.commit().await?;
        if let Err(disagreement) = page.iter().try_for_each(|row| walk.reservation(row, &since)) {
            return Ok(Err(disagreement));
        }
        let is_full = i64::try_from(page.len()).is_ok_and(|length| length == page_length);
        let last = page.last().filter(|_| is_full).map(|row| row.reservation_id.as_u128());
        first = last.and_then(|last| last.checked_add(1)).map(Uuid::from_u128);
    }
    Ok(walk.reservations_end())
}

/// The lots of a long account, then the legs page by page: each with the entries since the walk.
pub(super) async fn long_lots(
    connection: &mut PgConnection,
    walk: &mut Walk,
    mut keys: Keys,
    page_length: i64,
) -> Result<Checked<()>, StoreError> {
    let mut seen = walk.seq();
    let mut next = Some(NO_LEG);
    while let Some(place) = next {
        let mut snapshot = connection.begin_with(SNAPSHOT).await?;
        loop {
            keys.bases = vec![seen];
            let lines = rows::entries(&mut snapshot, &keys, GROUP_LINES).await?;
            let Some(last) = lines.last() else { break };
            seen = last.seq;
            lines.iter().for_each(|line| walk.later_line(line));
        }
        let lots = lot_rows::lots(&mut snapshot, &keys).await?;
        let page = lot_rows::legs(&mut snapshot, &keys, place, page_length).await?;
        snapshot.commit().await?;
        let compared =
            walk.lots(&lots).and_then(|()| page.iter().try_for_each(|row| walk.leg(row)));
        if let Err(disagreement) = compared {
            return Ok(Err(disagreement));
        }
        let is_full = i64::try_from(page.len()).is_ok_and(|length| length == page_length);
        next = page.last().filter(|_| is_full).map(|row| (row.reservation_id, row.lot));
    }
    Ok(walk.legs_end())
}

/// Adds what the lines after `seen` have done, up to the snapshot.
async fn note_since(
    snapshot: &mut Transaction<'_, Postgres>,
    keys: &mut Keys,
    seen: &mut i64,
    since: &mut Effects,
) -> Result<(), StoreError> {
    loop {
        keys.bases = vec![*seen];
        let lines = rows::entries(snapshot, keys, GROUP_LINES).await?;
        let Some(last) = lines.last() else { return Ok(()) };
        *seen = last.seq;
        lines.iter().for_each(|line| walk::note(since, line));
    }
}
