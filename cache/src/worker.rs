//! Work on a disk that may hang, done behind those who ask for it.
//!
//! Owns: [`Worker`], a thread that does one job after another. Where the disk hangs, that thread does, and nobody else.
//!
//! Invariants: jobs are done in the order in which they came; at most [`WAITING_MAX`] wait, and what is more is refused. But for
//! removals: they need nothing that their files do not have already, and a disk that hangs lets no more files come to be.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// The most jobs that wait. Each may hold a descriptor.
const WAITING_MAX: usize = 256;
/// Who waits for room has so much of it: others come in between.
const ROOM: u32 = 16;
/// A disk that takes longer hangs, for all that who waits can tell.
const WAIT_MAX: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// A thread's jobs.
pub(crate) struct Worker {
    /// Guards the way to the thread; `None` once it is to end. A leaf.
    jobs: Mutex<Option<Sender<Job>>>,
    slots: Arc<Semaphore>,
    /// Somebody waited in vain, and no job was done since.
    is_late: Arc<AtomicBool>,
}

impl Worker {
    /// A worker, and the jobs that its thread is to [`run`].
    pub fn new() -> (Self, Receiver<Job>) {
        let (jobs, queue) = channel();
        let worker = Self {
            jobs: Mutex::new(Some(jobs)),
            slots: Arc::new(Semaphore::new(WAITING_MAX)),
            is_late: Arc::default(),
        };
        (worker, queue)
    }

    /// Leaves a job to the thread. False where too many wait, or the thread is to end: it is not done then.
    pub fn push(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else { return false };
        let is_late = self.is_late.clone();
        self.send(Box::new(move || {
            job();
            is_late.store(false, Ordering::Relaxed);
            drop(slot);
        }))
    }

    /// Leaves the removal of a file to the thread, however many jobs wait.
    pub fn push_removal(&self, removal: impl FnOnce() + Send + 'static) {
        // Where the thread is to end, the next process removes it.
        self.send(Box::new(removal));
    }

    /// Leaves the removal of a file to the thread, however many jobs wait, and waits until it is done, but for no disk that hangs.
    pub async fn carry_out_removal(&self, removal: impl FnOnce() + Send + 'static) {
        let (tell, done) = oneshot::channel();
        let is_late = self.is_late.clone();
        let is_sent = self.send(Box::new(move || {
            removal();
            is_late.store(false, Ordering::Relaxed);
            // Nobody may be waiting any more.
            let _ = tell.send(());
        }));
        if is_sent {
            self.wait(done).await;
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.lock().as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Leaves a job to the thread and waits until it is done, but for no disk that hangs.
    pub async fn carry_out(&self, job: impl FnOnce() + Send + 'static) {
        let (tell, done) = oneshot::channel();
        let is_pushed = self.push(move || {
            job();
            // Nobody may be waiting any more.
            let _ = tell.send(());
        });
        if is_pushed {
            self.wait(done).await;
        }
    }

    /// Waits until there is room for more jobs, but for no disk that hangs.
    pub async fn room(&self) {
        self.wait(self.slots.acquire_many(ROOM)).await;
    }

    async fn wait(&self, done: impl Future) {
        if !self.is_late.load(Ordering::Relaxed) && timeout(WAIT_MAX, done).await.is_err() {
            self.is_late.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until all that came before is done.
    pub async fn drain(&self) {
        let (tell, done) = oneshot::channel();
        self.send(Box::new(move || drop(tell)));
        // An error is the word that the job was come to, or that there is no thread.
        let _: Result<(), _> = done.await;
    }

    /// No more jobs are taken; the thread ends when it has done what there is.
    pub fn close(&self) {
        self.jobs.lock().take();
    }
}

/// The thread.
pub(crate) fn run(queue: Receiver<Job>) {
    queue.into_iter().for_each(|job| job());
}
