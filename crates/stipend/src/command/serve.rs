//! `stipend serve`.

use core::time::Duration;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::Config;
use crate::{command, wiring};

/// How long workers may take to finish their steps. Every step may be taken twice, so that one that hangs is left.
const WORKER_LIMIT: Duration = Duration::from_secs(30);

/// The address is taken, or not this host's.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
struct CannotListen {
    address: std::net::SocketAddr,
    #[source]
    cause: std::io::Error,
}

pub(crate) async fn run(config: &Config, with_worker: bool) -> Result<(), crate::Failure> {
    let service = wiring::service(config, &wiring::signers(config)?).await?;
    let stop = command::stop_on_signal()?;
    let address = config.http.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|cause| CannotListen { address, cause })?;
    let router = api::router(Arc::clone(&service), config.http.settings());
    tracing::info!(%address, with_worker, chains = config.chains.len(), "serving");
    let settings = config.worker_settings()?;
    let worker = with_worker
        .then(|| tokio::spawn(service::worker::run(Arc::clone(&service), settings, stop.clone())));
    axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned()).await?;
    stop.cancel();
    let worked = match worker {
        Some(worker) => tokio::time::timeout(WORKER_LIMIT, worker).await,
        None => Ok(Ok(Ok(()))),
    };
    service.store().close().await;
    match worked {
        Ok(worked) => Ok(worked??),
        Err(_) => {
            tracing::warn!(limit = ?WORKER_LIMIT, "a worker did not come to an end, and was left: its step is taken anew");
            Ok(())
        }
    }
}
