//! Who is asked last for a while: an endpoint that failed several times in a row.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row before an endpoint is asked last.
const TOLERATED: u32 = 3;
/// For how long at first; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A circuit breaker. One that is open is no verdict: its endpoint is still asked when all others have failed.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether its endpoint is asked last.
    pub(super) fn is_open(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.open_until.is_some_and(|until| Instant::now() < until)
    }

    /// The endpoint answered.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// The endpoint did not answer, or another one knew better. Whether that opened the breaker.
    pub(super) fn fail(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        let Some(beyond) = state.failures.checked_sub(TOLERATED) else { return false };
        let factor = 2_u32.checked_pow(beyond).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        let is_first = state.open_until.is_none();
        state.open_until = Some(Instant::now() + pause);
        is_first
    }
}
