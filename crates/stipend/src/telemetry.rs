//! Logs: one line per event, to standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.log is not a log filter such as \"info\" or \"info,store=debug\"")]
pub(crate) struct BadFilter(#[source] tracing_subscriber::filter::ParseError);

/// Starts logging.
pub(crate) fn start(settings: &Telemetry) -> Result<(), BadFilter> {
    let filter = EnvFilter::try_new(&settings.log).map_err(BadFilter)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
