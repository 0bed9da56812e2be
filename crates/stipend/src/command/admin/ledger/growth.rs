//! `stipend admin ledger partitions` and `archive`.

use domain::ledger::tcc::DbTime;
use service::maintain::{Maintainer, Step};
use store::Store;
use store::archive::{Departure, Leaving, Maintenance};
use store::partitions::Attachment;

use super::LedgerError;
use crate::config::Config;

/// The day (UTC) on which a time is.
pub(super) fn day(time: DbTime) -> String {
    let nanos = i128::from(time.0).saturating_mul(1_000);
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .map_or_else(|_| time.0.to_string(), |time| time.date().to_string())
}

pub(super) async fn partitions(store: &Store) -> Result<(), crate::Failure> {
    let all = store.departures().await?;
    println!("partition\tstate\trows\tbytes\tfile");
    for leaving in &all {
        let (rows, bytes) = leaving.view.map_or((0, 0), |view| (view.rows, view.bytes));
        let file = match &leaving.departure {
            Departure::Exported(exported) | Departure::Dropped(exported) => &exported.file_name,
            Departure::Here | Departure::Prepared => "",
        };
        println!("{}\t{}\t{rows}\t{bytes}\t{file}", leaving.partition.name(), state(leaving));
    }
    println!("{} months ahead", store.months_ahead().await?);
    Ok(())
}

fn state(leaving: &Leaving) -> &'static str {
    match (&leaving.departure, leaving.view.map(|view| view.attachment)) {
        (Departure::Dropped(_), None) => "dropped",
        (_, None) => "missing",
        (_, Some(Attachment::Leaving)) => "leaving",
        (_, Some(Attachment::Apart)) => "detached",
        (Departure::Prepared, Some(Attachment::Attached)) => "prepared",
        (Departure::Exported(_), Some(Attachment::Attached)) => "exported",
        (Departure::Here, Some(Attachment::Attached)) => "online",
        (Departure::Dropped(_), Some(Attachment::Attached)) => "brought back",
    }
}

pub(super) async fn archive(
    config: &Config,
    store: &Store,
    send: bool,
) -> Result<(), crate::Failure> {
    let settings = config.ledger.archive().ok_or(LedgerError::NoArchive)?;
    let url = config.database.maintenance_url.as_deref().ok_or(LedgerError::NoMaintenance)?;
    let folder = settings.folder.clone();
    let maintainer =
        Maintainer::new(store.clone(), Maintenance::connect_lazy(url)?, Some(settings));
    if !send {
        let due = maintainer.due().await?;
        for leaving in &due {
            let rows = leaving.view.map_or(0, |view| view.rows);
            println!("{}: {}, about {rows} rows", leaving.partition.name(), state(leaving));
        }
        println!("{} partitions would leave; --send lets them", due.len());
        return Ok(());
    }
    while let Some(leaving) = maintainer.due().await?.first() {
        let name = leaving.partition.name();
        match maintainer.advance(leaving, &folder).await? {
            Step::Prepared => println!("{name}: prepared"),
            Step::Exported(exported) => {
                let digest = hex::encode(exported.sha256);
                println!(
                    "{name}: {} rows in {}, sha256 {digest}",
                    exported.rows, exported.file_name
                );
            }
            Step::Detached => println!("{name}: detached"),
            Step::Dropped => println!("{name}: dropped"),
            Step::Waits => return Err(LedgerError::Waits(name).into()),
        }
    }
    maintainer.close().await;
    Ok(())
}
