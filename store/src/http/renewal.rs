//! Values that expire: keys and tokens of any store.
//!
//! Owns: [`Renewed`], a value that an [`Issuer`] gives out, kept while it is valid and renewed before it ends.
//!
//! Invariants:
//! - One call of the issuer at a time, in a task of its own: a request that is given up does not cut it off, so that the next begins it anew.
//! - Who asks while the old value is valid never waits. It is renewed in the background once a quarter of its life is left, or five minutes.
//! - After a failure the issuer is left alone for a growing pause. Its error is told only where nothing valid is left.
//! - A value is taken to be used up when its date says so, or when the server does ([`Renewed::forget`]).

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A value is renewed when no more than this is left of it, or a [`LEAD_FRACTION`]th of its life where that is less.
const LEAD_MAX: Duration = Duration::from_secs(300);
const LEAD_FRACTION: u32 = 4;
/// The pause after a first failure; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The same where nothing valid is left: whoever mends what failed need not wait long.
const PAUSE_MAX_WITHOUT: Duration = Duration::from_secs(3);
/// What replaced a refused value, and is refused so soon after, was refused for its predecessor's sake, or is not mended by another.
const FRESH: Duration = Duration::from_secs(1);
/// What has expired when it arrives is used for so long: this machine's clock may be wrong, and the server knows better.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// A value and its end.
#[derive(Debug, Clone)]
pub(crate) struct Issued<T> {
    pub value: T,
    /// `None` is never, as far as is known.
    pub expiry: Option<SystemTime>,
}

/// Who gives values out.
#[async_trait]
pub(crate) trait Issuer: Send + Sync + 'static {
    type Value: Clone + Send + Sync + 'static;

    /// A new value, within a time that is bounded. Errors: a sentence without any secret.
    async fn issue(&self) -> Result<Issued<Self::Value>, String>;
}

/// A value that is renewed. Clones share it.
pub(crate) struct Renewed<I: Issuer> {
    shared: Arc<Inner<I>>,
}

type Renewal<T> = Shared<BoxFuture<'static, Result<T, String>>>;

struct Inner<I: Issuer> {
    issuer: I,
    /// What there is, and whether a renewal is under way. A leaf, never held across a wait.
    state: Mutex<State<I::Value>>,
}

struct State<T> {
    held: Option<Held<T>>,
    renewal: Option<Renewal<T>>,
    failed: Option<Failed>,
}

struct Held<T> {
    value: T,
    since: Instant,
    expiry: Option<SystemTime>,
    renewed_from: Option<SystemTime>,
    /// The server says that it is used up.
    is_refused: bool,
    /// It came in the place of one that was.
    replaces_refused: bool,
}

/// The last failures since a success.
struct Failed {
    count: u32,
    at: Instant,
    cause: String,
}

impl Failed {
    fn pause(&self) -> Duration {
        PAUSE_MAX.min(PAUSE_FIRST * 2_u32.pow((self.count - 1).min(6)))
    }
}

impl<T> Held<T> {
    fn new(Issued { value, expiry }: Issued<T>) -> Self {
        let now = SystemTime::now();
        let expiry = expiry.map(|expiry| if expiry <= now { now + LIFE_MIN } else { expiry });
        let renewed_from = expiry.map(|expiry| {
            let life = expiry.duration_since(now).unwrap_or_default();
            expiry - LEAD_MAX.min(life / LEAD_FRACTION)
        });
        Self {
            value,
            since: Instant::now(),
            expiry,
            renewed_from,
            is_refused: false,
            replaces_refused: false,
        }
    }

    fn is_valid(&self) -> bool {
        !self.is_refused && self.expiry.is_none_or(|expiry| SystemTime::now() < expiry)
    }

    fn is_due(&self) -> bool {
        self.renewed_from.is_some_and(|from| from <= SystemTime::now())
    }
}

impl<I: Issuer> Renewed<I> {
    /// Nothing is asked for yet.
    pub fn new(issuer: I) -> Self {
        let state = State { held: None, renewal: None, failed: None };
        Self { shared: Arc::new(Inner { issuer, state: Mutex::new(state) }) }
    }

    /// A valid value. Errors: there is none, and the issuer gives none out, for its reason.
    pub async fn get(&self) -> Result<I::Value, String> {
        let renewal = {
            let mut state = self.shared.state.lock();
            if let Some(held) = state.held.as_ref().filter(|held| held.is_valid()) {
                let value = held.value.clone();
                let is_resting =
                    state.failed.as_ref().is_some_and(|failed| failed.at.elapsed() < failed.pause());
                if held.is_due() && !is_resting {
                    drop(self.shared.begin(&mut state));
                }
                return Ok(value);
            }
            if state.renewal.is_none()
                && let Some(failed) = &state.failed
                && failed.at.elapsed() < failed.pause().min(PAUSE_MAX_WITHOUT)
            {
                return Err(failed.cause.clone());
            }
            self.shared.begin(&mut state)
        };
        renewal.await
    }

    /// The last value, valid or not.
    pub fn last(&self) -> Option<I::Value> {
        self.shared.state.lock().held.as_ref().map(|held| held.value.clone())
    }

    /// When the last value ends, as far as is known.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.shared.state.lock().held.as_ref().and_then(|held| held.expiry)
    }

    /// How old the last value is.
    pub fn age(&self) -> Option<Duration> {
        self.shared.state.lock().held.as_ref().map(|held| held.since.elapsed())
    }

    /// Who gives it out.
    pub fn issuer(&self) -> &I {
        &self.shared.issuer
    }

    /// The server says that the value is used up, whatever its date.
    pub fn forget(&self) {
        if let Some(held) = &mut self.shared.state.lock().held {
            held.is_refused |= !held.replaces_refused || held.since.elapsed() >= FRESH;
        }
    }
}

impl<I: Issuer> Inner<I> {
    /// Joins the renewal that is under way, or begins one.
    fn begin(self: &Arc<Self>, state: &mut State<I::Value>) -> Renewal<I::Value> {
        if let Some(renewal) = &state.renewal {
            return renewal.clone();
        }
        let ending = Ending(self.clone());
        let task = tokio::spawn(async move { ending.0.renew().await });
        let cut_off = |_| Err("the lookup was cut off".to_owned());
        let renewal = task.map(move |ended| ended.unwrap_or_else(cut_off)).boxed().shared();
        state.renewal = Some(renewal.clone());
        renewal
    }

    async fn renew(&self) -> Result<I::Value, String> {
        let issued = self.issuer.issue().await;
        let mut state = self.state.lock();
        match issued {
            Ok(issued) => {
                let value = issued.value.clone();
                state.failed = None;
                let replaces_refused = state.held.as_ref().is_some_and(|held| held.is_refused);
                state.held = Some(Held { replaces_refused, ..Held::new(issued) });
                Ok(value)
            }
            Err(cause) => {
                if state.held.as_ref().is_some_and(Held::is_valid) {
                    tracing::warn!(%cause, "credentials could not be renewed; the old ones are still valid");
                }
                let count = state.failed.as_ref().map_or(0, |failed| failed.count) + 1;
                state.failed = Some(Failed { count, at: Instant::now(), cause: cause.clone() });
                Err(cause)
            }
        }
    }
}

/// The end of a renewal, however it comes.
struct Ending<I: Issuer>(Arc<Inner<I>>);

impl<I: Issuer> Drop for Ending<I> {
    fn drop(&mut self) {
        self.0.state.lock().renewal = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    /// Gives out 1, 2, 3…, as often as the gate lets it.
    struct Counting {
        given: AtomicU32,
        life: Option<Duration>,
        gate: Semaphore,
        fails_from: u32,
    }

    impl Counting {
        fn new(life: Option<Duration>) -> Self {
            Self { given: AtomicU32::new(0), life, gate: Semaphore::new(1000), fails_from: u32::MAX }
        }
    }

    #[async_trait]
    impl Issuer for Counting {
        type Value = u32;

        async fn issue(&self) -> Result<Issued<u32>, String> {
            let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
            self.gate.acquire().await.map_err(|err| err.to_string())?.forget();
            if number >= self.fails_from {
                return Err(format!("failure {number}"));
            }
            Ok(Issued { value: number, expiry: self.life.map(|life| SystemTime::now() + life) })
        }
    }

    fn given(renewed: &Renewed<Counting>) -> u32 {
        renewed.issuer().given.load(Ordering::SeqCst)
    }

    /// As if the value had been issued so long ago.
    fn age(renewed: &Renewed<Counting>, by: Duration) {
        let mut state = renewed.shared.state.lock();
        let held = state.held.as_mut().unwrap();
        held.since = held.since.checked_sub(by).unwrap();
        held.expiry = held.expiry.map(|at| at - by);
        held.renewed_from = held.renewed_from.map(|at| at - by);
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn a_short_life_is_no_reason_to_ask_for_each_request() {
        let renewed = Renewed::new(Counting::new(Some(Duration::from_secs(60))));
        for _ in 0..200 {
            assert_eq!(renewed.get().await, Ok(1));
        }
        assert_eq!(given(&renewed), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_renewal_while_the_old_value_is_valid() {
        let renewed = Renewed::new(Counting::new(Some(Duration::from_secs(60))));
        assert_eq!(renewed.get().await, Ok(1));
        renewed.issuer().gate.forget_permits(1000);
        age(&renewed, Duration::from_secs(50));
        for _ in 0..200 {
            assert_eq!(renewed.get().await, Ok(1), "the renewal hangs");
        }
        until(|| given(&renewed) == 2).await;
        renewed.issuer().gate.add_permits(1);
        until(|| renewed.last() == Some(2)).await;
        assert_eq!((renewed.get().await, given(&renewed)), (Ok(2), 2));
    }

    #[tokio::test]
    async fn all_who_wait_wait_for_one_answer_and_one_who_gives_up_ends_it_not() {
        let renewed = Arc::new(Renewed::new(Counting::new(None)));
        renewed.issuer().gate.forget_permits(1000);
        let asked = |renewed: Arc<Renewed<Counting>>| tokio::spawn(async move { renewed.get().await });
        let given_up = asked(renewed.clone());
        until(|| given(&renewed) == 1).await;
        given_up.abort();
        assert!(given_up.await.is_err());
        let waiting: Vec<_> = (0..20).map(|_| asked(renewed.clone())).collect();
        renewed.issuer().gate.add_permits(1);
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Ok(1));
        }
        assert_eq!(given(&renewed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_told_when_nothing_valid_is_left_and_not_repeated_at_once() {
        let life = Some(Duration::from_secs(60));
        let renewed = Renewed::new(Counting { fails_from: 2, ..Counting::new(life) });
        assert_eq!(renewed.get().await, Ok(1));
        age(&renewed, Duration::from_secs(50));
        assert_eq!(renewed.get().await, Ok(1));
        until(|| renewed.shared.state.lock().failed.is_some()).await;
        for _ in 0..200 {
            assert_eq!(renewed.get().await, Ok(1));
        }
        assert_eq!(given(&renewed), 2, "the issuer rests after a failure");
        age(&renewed, Duration::from_secs(50));
        for _ in 0..200 {
            assert_eq!(renewed.get().await, Err("failure 2".to_owned()));
        }
        assert_eq!(given(&renewed), 2);
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_asked_for_again_unless_it_has_just_replaced_what_was() {
        let renewed = Renewed::new(Counting::new(None));
        assert_eq!(renewed.get().await, Ok(1));
        renewed.forget();
        assert_eq!(renewed.last(), Some(1));
        assert_eq!(renewed.get().await, Ok(2));
        renewed.forget();
        assert_eq!(renewed.get().await, Ok(2), "a late refusal of the first");
        age(&renewed, FRESH);
        renewed.forget();
        assert_eq!(renewed.get().await, Ok(3));
    }

    #[tokio::test]
    async fn what_has_expired_when_it_comes_is_tried_and_not_asked_for_each_time() {
        let renewed = Renewed::new(Counting::new(Some(Duration::ZERO)));
        for _ in 0..200 {
            assert_eq!(renewed.get().await, Ok(1));
        }
        assert_eq!(given(&renewed), 1);
    }
}
