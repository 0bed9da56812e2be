//! The search for a salt that gives an address with leading zero bytes: each saves 12 gas in every operation's calldata.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use alloy_primitives::{Address, B256, U256};
use tokio_util::sync::CancellationToken;

use super::error::PaymasterError;

/// How often a line says how far the search is.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How many salts a thread looks at between two looks at the others and the clock.
const STRIDE: u64 = 4_096;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// The contract that creates.
    pub(crate) deployer: Address,
    /// The hash of the creation code.
    pub(crate) code_hash: B256,
    /// The leading zero bytes wanted.
    pub(crate) zeros: usize,
    /// The most salts to look at.
    pub(crate) most_tries: u64,
}

impl Search {
    /// The lowest salt that will do, on all processors, so that the same search always finds the same address. Blocks.
    ///
    /// # Errors
    /// [`PaymasterError::NoSalt`] when there is none among so many; [`PaymasterError::Stopped`] when `stop` is
    /// cancelled first.
    pub(crate) fn run(&self, stop: &CancellationToken) -> Result<B256, PaymasterError> {
        // Salts are handed out in rising order, so every salt below the lowest found has been looked at in the end.
        let next = AtomicU64::new(0);
        let lowest = AtomicU64::new(u64::MAX);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.look(&next, &lowest, stop));
            }
            self.tell(&next, &lowest, stop);
        });
        if stop.is_cancelled() {
            return Err(PaymasterError::Stopped);
        }
        match lowest.into_inner() {
            u64::MAX => Err(PaymasterError::NoSalt { tries: self.most_tries, zeros: self.zeros }),
            found => Ok(U256::from(found).into()),
        }
    }

    fn look(&self, next: &AtomicU64, lowest: &AtomicU64, stop: &CancellationToken) {
        loop {
            let start = next.fetch_add(STRIDE, Ordering::Relaxed);
            let end = start.saturating_add(STRIDE).min(self.most_tries);
            if start >= end || start > lowest.load(Ordering::Relaxed) || stop.is_cancelled() {
                return;
            }
            if let Some(found) = (start..end).find(|salt| self.fits(*salt)) {
                lowest.fetch_min(found, Ordering::Relaxed);
                return;
            }
        }
    }

    fn fits(&self, salt: u64) -> bool {
        let salt = B256::from(U256::from(salt));
        let address = self.deployer.create2(salt, self.code_hash);
        address.iter().take(self.zeros).all(|byte| *byte == 0)
    }

    /// Says how far the search is until it is over.
    fn tell(&self, next: &AtomicU64, lowest: &AtomicU64, stop: &CancellationToken) {
        let start = Instant::now();
        let mut said = start;
        loop {
            let tried = next.load(Ordering::Relaxed).min(self.most_tries);
            let found = lowest.load(Ordering::Relaxed) != u64::MAX;
            if found || stop.is_cancelled() || tried >= self.most_tries {
                return;
            }
            if said.elapsed() > HEARTBEAT {
                said = Instant::now();
                eprintln!(
                    "Searching for {} leading zero byte(s): {tried} of at most {} salts in {} s",
                    self.zeros,
                    self.most_tries,
                    start.elapsed().as_secs()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search {
        deployer: Address::repeat_byte(1),
        code_hash: B256::repeat_byte(2),
        zeros: 1,
        most_tries: 1_000_000,
    };

    #[test]
    fn the_lowest_salt_that_fits_is_found() {
        let found = SEARCH.run(&CancellationToken::new()).unwrap();
        let expected = (0..).find(|salt| SEARCH.fits(*salt)).unwrap();
        assert_eq!(found, B256::from(U256::from(expected)));
        assert_eq!(SEARCH.deployer.create2(found, SEARCH.code_hash)[0], 0);
    }

    #[test]
    fn a_search_ends_at_its_bound() {
        let search = Search { zeros: 20, most_tries: 10_000, ..SEARCH };
        let refused = search.run(&CancellationToken::new()).unwrap_err().to_string();
        assert!(refused.contains("10000"), "{refused}");
    }

    #[test]
    fn a_search_that_is_stopped_finds_nothing() {
        let stop = CancellationToken::new();
        stop.cancel();
        let search = Search { zeros: 20, most_tries: u64::MAX, ..SEARCH };
        assert!(matches!(search.run(&stop), Err(PaymasterError::Stopped)));
    }
}
