//! Logs: one line an event, on standard error.

use tracing_subscriber::EnvFilter;

use crate::Failure;

/// Starts logging; `level` is `debug`, `info`, `warn` or `error`, or a filter such as
/// `info,raft=debug`.
pub(crate) fn start(level: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        let message = format!("--log-level {level:?}: {error}; write debug, info, warn or error");
        Failure::new(&message, 2)
    })?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .compact()
        .try_init();
    started.map_err(|error| Failure::new(&error, 1))
}
