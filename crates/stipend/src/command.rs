//! The commands, one file each.

pub(crate) mod admin;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod worker;

use tokio_util::sync::CancellationToken;

/// A token that is cancelled when the process is asked to stop: Ctrl-C, or the termination signal of a
/// supervisor.
pub(crate) fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: requests and steps under way are finished first");
        asked.cancel();
    });
    Ok(stop)
}
