//! Polling with a deadline and a reason. Nothing in the tests waits for a length of time.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);

/// Asks again and again until there is a value. `probe` says in its error what it sees instead.
///
/// # Panics
/// When `seconds` have passed, with the last of those errors.
pub async fn until<T>(what: &str, seconds: u64, probe: impl AsyncFn() -> Result<T, String>) -> T {
    let found = for_at_most(seconds, probe).await;
    found.unwrap_or_else(|seen| panic!("waited {seconds} s until {what}; the last look: {seen}"))
}

/// The same, for what may also not come.
///
/// # Errors
/// The last of the probe's errors, when `seconds` have passed.
pub async fn for_at_most<T>(
    seconds: u64,
    probe: impl AsyncFn() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        match probe().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            answer => return answer,
        }
    }
}
