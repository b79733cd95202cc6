//! How long to wait before the next attempt.
//!
//! Owns: [`Backoff`]: exponential with full jitter, so that a fleet of clients that failed together does not come back
//! together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

const FIRST_DELAY_MS_MAX: u64 = 100;
const DELAY_MS_MAX: u64 = 10_000;
/// What a server may ask for; beyond it the deadline would be spent on one wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(20);

/// The waits between attempts of one request.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure, at least what the server asked for.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        let cap = DELAY_MS_MAX.min(FIRST_DELAY_MS_MAX << self.failures.min(16));
        self.failures += 1;
        let jittered = Duration::from_millis(rand::random_range(0..=cap));
        jittered.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_bounded_and_honour_the_server() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert!(backoff.next_delay(None) <= Duration::from_millis(DELAY_MS_MAX));
        }
        let asked = Duration::from_secs(15);
        assert_eq!(Backoff::default().next_delay(Some(asked)), asked);
        assert_eq!(Backoff::default().next_delay(Some(Duration::from_secs(3600))), RETRY_AFTER_MAX);
    }
}
