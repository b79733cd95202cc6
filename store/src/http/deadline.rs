//! How long a store that does not move is waited for.
//!
//! Owns: [`one_call`], which makes one wait of all that a program's call waits for, and [`PartOfCall`], by which that reaches the tasks that
//! work for the call; [`Movement`], whether anything of a store moves; and
//! [`Waiting`], how long one request has been waited for in vain.
//!
//! # What is counted
//! A request fails once nothing of it has moved for [`StoreOptions::retry_deadline`](super::StoreOptions::retry_deadline): all attempts, the pauses
//! between them, and the wait for a place among the requests in flight. What moves it is an answer, and bytes beyond those that an attempt
//! got across before: one that starts over does not begin the deadline anew.
//!
//! A call may wait for others before its own request begins: for a place, a lock, an upload's slot. Where meanwhile nothing of the store
//! moved, although there were requests, that was the same wait, and counts. Where something did, the call was only behind others, and does not.
//! What the call did on this machine while the store had no requests does not count either.
//!
//! Invariants: who has waited out the deadline tries once more, for no longer than [`last_try`]. Bytes that the kernel may only have taken
//! into its buffers move nothing.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is sent before this is taken by the kernel's buffers, whether there is a server or not.
const BUFFERED_FOR: Duration = Duration::from_secs(1);

/// A program's call.
#[derive(Debug, Clone, Copy)]
struct Call {
    began: Instant,
    limit: Option<CallLimit>,
}

/// Less time for one call than its store would take.
#[derive(Debug, Clone, Copy)]
pub struct CallLimit {
    /// How long it goes on while nothing moves, in place of [`StoreOptions::retry_deadline`](crate::StoreOptions::retry_deadline).
    pub deadline: Duration,
    /// How long one attempt is waited for that does not answer, so that another has its time.
    pub attempt: Duration,
}

tokio::task_local! {
    static CALL: Call;
}

/// Runs `work`, whose requests wait for a store that does not move no longer than one of them would.
pub async fn one_call<T>(work: impl Future<Output = T>) -> T {
    CALL.scope(Call { began: Instant::now(), limit: None }, work).await
}

/// The program's call that some work is a part of, to be taken along to another task.
#[derive(Debug, Clone, Copy)]
pub struct PartOfCall(Option<Call>);

impl PartOfCall {
    /// The call that this task works for, if it does for one.
    pub fn current() -> Self {
        Self(CALL.try_with(|call| *call).ok())
    }

    /// Runs `work` as a part of that call.
    pub async fn run<T>(self, work: impl Future<Output = T>) -> T {
        match self.0 {
            Some(call) => CALL.scope(call, work).await,
            None => work.await,
        }
    }
}

/// The same where it is not part of a call already.
pub(crate) async fn within_call<T>(work: impl Future<Output = T>) -> T {
    let call = CALL.try_with(|call| *call).unwrap_or(Call { began: Instant::now(), limit: None });
    CALL.scope(call, work).await
}

/// Runs `work` as a call of its own that is given up earlier than the store would: where somebody waits for the outcome.
pub async fn limited_call<T>(limit: CallLimit, work: impl Future<Output = T>) -> T {
    CALL.scope(Call { began: Instant::now(), limit: Some(limit) }, work).await
}

/// How long who has waited out a deadline of `limit` waits for a last answer.
fn last_try(limit: Duration) -> Duration {
    (limit / 12).max(Duration::from_secs(1))
}

/// For how long nothing of a store has moved while somebody waited for it.
#[derive(Debug)]
struct Idle {
    waiting: usize,
    /// Since something moved last, up to `until`.
    time: Duration,
    until: Instant,
}

/// Whether anything of a store's requests moves.
#[derive(Debug)]
pub(crate) struct Movement {
    base: Instant,
    /// When something moved last, in nanoseconds since `base`.
    moved_ns: AtomicU64,
    /// A leaf.
    idle: Mutex<Idle>,
}

impl Movement {
    pub fn new() -> Arc<Self> {
        let now = Instant::now();
        let idle = Idle { waiting: 0, time: Duration::ZERO, until: now };
        Arc::new(Self { base: now, moved_ns: AtomicU64::new(0), idle: Mutex::new(idle) })
    }

    /// Something came, or went where it was to go.
    pub fn moved(&self) {
        self.moved_ns.store(self.base.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// For how long nothing has moved while somebody waited, since something did; after `change` of how many wait.
    fn idle(&self, change: impl FnOnce(&mut usize)) -> Duration {
        let moved = self.base + Duration::from_nanos(self.moved_ns.load(Ordering::Relaxed));
        let mut idle = self.idle.lock();
        let now = Instant::now();
        let since = moved.max(idle.until);
        if moved >= idle.until {
            idle.time = Duration::ZERO;
        }
        if idle.waiting > 0 {
            idle.time += now.saturating_duration_since(since);
        }
        idle.until = now;
        change(&mut idle.waiting);
        idle.time
    }
}

/// Since when, and how far, a request has not moved.
#[derive(Debug)]
struct Still {
    since: Instant,
    /// The most bytes that an attempt sent.
    sent_bytes: u64,
    /// The most that it received of an answer that is read whole.
    received_bytes: u64,
}

/// The wait for one request.
#[derive(Debug)]
pub(crate) struct Waiting {
    movement: Arc<Movement>,
    limit: Duration,
    /// The longest that one attempt is waited for.
    attempt: Duration,
    /// A leaf.
    still: Mutex<Still>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.movement.idle(|waiting| *waiting -= 1);
    }
}

impl Waiting {
    /// Begins now or, where this call has waited for the store before, then.
    pub fn begin(movement: &Arc<Movement>, limit: Duration) -> Arc<Self> {
        let now = Instant::now();
        let call = CALL.try_with(|call| *call).unwrap_or(Call { began: now, limit: None });
        Self::in_call(movement, limit, call)
    }

    fn in_call(movement: &Arc<Movement>, limit: Duration, call: Call) -> Arc<Self> {
        let (now, began) = (Instant::now(), call.began);
        let idle = movement.idle(|_| {});
        let since = began.max(now.checked_sub(idle).unwrap_or(began));
        match call.limit {
            None => Self::since(movement, limit, since),
            Some(shorter) => Self::new(movement, shorter.deadline.min(limit), shorter.attempt, since),
        }
    }

    /// Began at `since`.
    pub fn since(movement: &Arc<Movement>, limit: Duration, since: Instant) -> Arc<Self> {
        Self::new(movement, limit, Duration::MAX, since)
    }

    fn new(movement: &Arc<Movement>, limit: Duration, attempt: Duration, since: Instant) -> Arc<Self> {
        movement.idle(|waiting| *waiting += 1);
        let still = Still { since, sent_bytes: 0, received_bytes: 0 };
        Arc::new(Self { movement: movement.clone(), limit, attempt, still: Mutex::new(still) })
    }

    /// Since `began` it has waited for a place, and so for all others: the time in which any of them moved does not count.
    pub fn was_queued(&self, began: Instant) {
        let queued = began.elapsed();
        let in_vain = self.movement.idle(|_| {}).min(queued);
        self.still.lock().since += queued - in_vain;
    }

    /// Bytes were sent up to `offset` by an attempt that began at `began`.
    pub fn sent(&self, offset: u64, began: Instant) {
        let mut still = self.still.lock();
        let got_further = offset > still.sent_bytes;
        still.sent_bytes = still.sent_bytes.max(offset);
        if got_further && began.elapsed() > BUFFERED_FOR {
            still.since = Instant::now();
            self.movement.moved();
        }
    }

    /// So many bytes of an answer have come.
    pub fn received(&self, bytes: u64) {
        let mut still = self.still.lock();
        if bytes > still.received_bytes {
            (still.received_bytes, still.since) = (bytes, Instant::now());
            self.movement.moved();
        }
    }

    /// When it is to fail.
    pub fn deadline(&self) -> Instant {
        self.still.lock().since + self.limit
    }

    /// What is left until then.
    pub fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// How long something of it is waited for that began, or moved, at `since`: for `patience`, or to the deadline, if that is not too soon.
    pub fn until(&self, since: Instant, patience: Duration) -> Instant {
        (since + patience.min(self.attempt)).min(self.deadline().max(since + last_try(self.limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    fn call_of(age: Duration) -> Call {
        Call { began: ago(age), limit: None }
    }

    fn movement() -> Arc<Movement> {
        let idle = Idle { waiting: 0, time: Duration::ZERO, until: Instant::now() };
        let base = ago(Duration::from_secs(3600));
        Arc::new(Movement { base, moved_ns: AtomicU64::new(0), idle: Mutex::new(idle) })
    }

    /// As if `time` had passed since anything happened.
    fn pass(movement: &Movement, time: Duration) {
        movement.idle.lock().until -= time;
    }

    #[test]
    fn a_call_s_second_request_goes_on_with_the_wait_for_its_first() {
        let movement = movement();
        let first = Waiting::begin(&movement, LIMIT);
        pass(&movement, Duration::from_secs(50));
        drop(first);
        let second = Waiting::in_call(&movement, LIMIT, call_of(Duration::from_secs(50)));
        assert!(second.left() < Duration::from_secs(11), "the wait goes on");
        let other = Waiting::begin(&movement, LIMIT);
        assert!(other.left() > Duration::from_secs(59), "another call has waited for nothing yet");
        second.received(1);
        let third = Waiting::in_call(&movement, LIMIT, call_of(Duration::from_secs(50)));
        assert!(third.left() > Duration::from_secs(59), "an answer ends the wait");
    }

    #[test]
    fn a_limited_call_is_given_up_before_the_store_s_time() {
        let movement = movement();
        let limit = CallLimit { deadline: Duration::from_secs(12), attempt: Duration::from_secs(6) };
        let call = Call { limit: Some(limit), ..call_of(Duration::ZERO) };
        let waiting = Waiting::in_call(&movement, LIMIT, call);
        assert!(waiting.left() <= Duration::from_secs(12));
        let now = Instant::now();
        assert_eq!(waiting.until(now, Duration::from_secs(30)), now + Duration::from_secs(6));
        assert_eq!(
            Waiting::begin(&movement, LIMIT).until(now, Duration::from_secs(30)),
            now + Duration::from_secs(30)
        );
    }

    #[test]
    fn work_between_requests_is_no_wait() {
        let movement = movement();
        drop(Waiting::begin(&movement, LIMIT));
        pass(&movement, Duration::from_secs(300));
        let late = Waiting::in_call(&movement, LIMIT, call_of(Duration::from_secs(300)));
        assert!(late.left() > Duration::from_secs(59));
    }

    #[test]
    fn an_attempt_that_starts_over_does_not_begin_the_deadline_anew() {
        let movement = movement();
        let waiting = Waiting::begin(&movement, LIMIT);
        let stand = |waiting: &Waiting| waiting.still.lock().since -= Duration::from_secs(40);
        waiting.sent(1000, ago(Duration::from_secs(2)));
        stand(&waiting);
        waiting.sent(1000, ago(Duration::from_secs(2)));
        assert!(waiting.left() < Duration::from_secs(21), "it got no further");
        waiting.sent(1001, Instant::now());
        assert!(waiting.left() < Duration::from_secs(21), "the kernel may have it only");
        waiting.sent(1002, ago(Duration::from_secs(2)));
        assert!(waiting.left() > Duration::from_secs(59), "it did");
    }
}
