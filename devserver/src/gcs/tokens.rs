//! Tokens that the server's own endpoints gave out.
//!
//! Owns: [`Tokens`]: which there are, and until when each lasts.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How many tokens are remembered; older ones are unknown again.
const TOKENS_LEN_MAX: usize = 10_000;

/// The tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// Guards the tokens. A leaf: nothing else is locked while it is held.
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    until: HashMap<String, Instant>,
    in_order: VecDeque<String>,
}

/// Without the tokens.
impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("len", &self.until.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// A new token.
    pub(crate) fn give(&self, lifetime_s: u64) -> String {
        let token = format!("ya29.pail-{:032x}", rand::random::<u128>());
        let now = Instant::now();
        let until = now.checked_add(Duration::from_secs(lifetime_s)).unwrap_or(now);
        let mut given = self.given.lock();
        if given.in_order.len() == TOKENS_LEN_MAX
            && let Some(oldest) = given.in_order.pop_front()
        {
            given.until.remove(&oldest);
        }
        given.in_order.push_back(token.clone());
        given.until.insert(token.clone(), until);
        token
    }

    /// Whether a token lasts; `None` where it was not given out here.
    pub(crate) fn lasts(&self, token: &str) -> Option<bool> {
        self.given.lock().until.get(token).map(|until| Instant::now() < *until)
    }

    /// All tokens that were given out until now have expired.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        self.given.lock().until.values_mut().for_each(|until| *until = now);
    }
}
