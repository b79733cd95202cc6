//! Work on the local disk, which may hang.
//!
//! Owns: [`on_disk`], by which such work is done off the workers of the runtime: there is one for each core, so that as many calls on a disk
//! that hangs would stop every mount and the control socket.
//!
//! Invariant: no more than [`DISK_CALLS_MAX`] such calls block at a time; further ones wait for one of them without blocking anything. Calls
//! that only read have a bound of their own: a disk that takes no more writes may well be read.
//!
//! # Why not always on another thread
//! A thread of FUSE is there to block, and a call is tried on it first. The way to another thread and back would be a tenth of what
//! making a small file costs.

use std::panic::resume_unwind;
use tokio::sync::Semaphore;

/// Calls of each kind that block at a time, of all mounts. The runtime's blocking threads, which are more, also look up hosts.
const DISK_CALLS_MAX: usize = 64;

static READS: Semaphore = Semaphore::const_new(DISK_CALLS_MAX);
static WRITES: Semaphore = Semaphore::const_new(DISK_CALLS_MAX);

/// What a disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskCall {
    /// It only reads.
    Read,
    /// It may write.
    Write,
}

/// Does `work`, which may block: in a task on another thread, elsewhere here and at once. Dropped, it is done all the same.
pub async fn on_disk<T: Send + 'static>(kind: DiskCall, work: impl FnOnce() -> T + Send + 'static) -> T {
    if tokio::task::try_id().is_none() {
        return work();
    }
    let slots = match kind {
        DiskCall::Read => &READS,
        DiskCall::Write => &WRITES,
    };
    // It is never closed.
    let slot = slots.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work()
    });
    match done.await {
        Ok(done) => done,
        Err(broken) if broken.is_panic() => resume_unwind(broken.into_panic()),
        // The runtime ends, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn work_that_hangs_holds_up_no_worker_and_only_so_much_of_it_blocks() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let (begun, beginnings) = channel();
            let mut ends = Vec::new();
            let mut tasks = Vec::new();
            for _ in 0..DISK_CALLS_MAX + 1 {
                let ((end, ended), begun) = (channel::<()>(), begun.clone());
                ends.push(end);
                tasks.push(tokio::spawn(on_disk(DiskCall::Write, move || {
                    begun.send(()).unwrap();
                    let _ = ended.recv();
                })));
            }
            (0..DISK_CALLS_MAX).for_each(|_| beginnings.recv().unwrap());
            // The worker goes on, and so do reads.
            assert_eq!(tokio::spawn(on_disk(DiskCall::Read, || 7)).await.unwrap(), 7);
            assert!(beginnings.try_recv().is_err(), "one waits");
            drop(ends);
            for task in tasks {
                task.await.unwrap();
            }
            assert!(beginnings.try_recv().is_ok());
        });
    }
}
