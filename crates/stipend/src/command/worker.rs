//! `stipend worker`.

use std::sync::Arc;

use crate::config::Config;
use crate::{command, wiring};

pub(crate) async fn run(config: &Config) -> Result<(), crate::Failure> {
    let service = wiring::service(config, &wiring::Signers::new()).await?;
    let stop = command::stop_on_signal()?;
    tracing::info!(chains = config.chains.len(), "worker starts");
    let worked = service::worker::run(Arc::clone(&service), config.worker_settings()?, stop);
    let worked = worked.await;
    service.store().close().await;
    Ok(worked?)
}
