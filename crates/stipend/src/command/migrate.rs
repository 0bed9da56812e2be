//! `stipend migrate`.

use crate::config::Config;

/// There is no owner to migrate as.
#[derive(Debug, thiserror::Error)]
#[error(
    "database.owner_url is not set: migrations run as the owner role, set STIPEND__DATABASE__OWNER_URL"
)]
struct NoOwner;

pub(crate) async fn run(config: &Config) -> Result<(), crate::Failure> {
    let owner_url = config.database.owner_url.as_deref().ok_or(NoOwner)?;
    store::migrate(owner_url).await?;
    println!("the database schema is up to date");
    Ok(())
}
