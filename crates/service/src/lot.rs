//! Which points a credit is of, as somebody wrote it.

use domain::ids::BucketName;
use domain::ledger::buckets::Lot;
use domain::ledger::tcc::DbTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a bucket and its expiry, a time of [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) with any
/// offset, down to the whole microsecond. Neither is the default bucket.
///
/// # Errors
/// Words that name what is wrong. Whether the expiry is past is the ledger's to say.
pub fn read(bucket: Option<&str>, expires_at: Option<&str>) -> Result<Option<Lot>, String> {
    let Some(bucket) = bucket else {
        return match expires_at {
            None => Ok(None),
            Some(_) => Err("expiresAt needs a bucket".to_owned()),
        };
    };
    let bucket: BucketName =
        bucket.parse().map_err(|error: domain::ids::InvalidBucketName| error.to_string())?;
    let expires_at = expires_at.map(time).transpose()?;
    Ok(Some(Lot { bucket, expires_at }))
}

/// An expiry as [`read`] takes it.
#[must_use]
pub fn written(expires_at: DbTime) -> String {
    let nanos = i128::from(expires_at.0).saturating_mul(1_000);
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn time(text: &str) -> Result<DbTime, String> {
    let read = OffsetDateTime::parse(text, &Rfc3339).ok().and_then(|time| {
        let micros = time.unix_timestamp_nanos().div_euclid(1_000);
        // An offset may lead out of the years that can be kept.
        OffsetDateTime::from_unix_timestamp_nanos(micros.checked_mul(1_000)?).ok()?;
        i64::try_from(micros).ok()
    });
    let wanted = "expiresAt must be a time of RFC 3339, such as 2030-01-31T00:00:00Z";
    read.map(DbTime).ok_or_else(|| wanted.to_owned())
}
