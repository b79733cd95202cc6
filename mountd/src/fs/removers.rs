//! Who waits to remove a file while it is published.
//!
//! Owns: [`Removers`], the count of them that one written file has, and [`Removing`], one of them.
//!
//! # Why a count
//! A publish holds `Inode::changing` across its requests, for hours where the file is large. Who removes the file, or renames another over
//! it, wants none of that sent: it says so here before it waits for the lock. The publish then gives up what it can without leaving
//! anything in the bucket, lets go, and does not begin again before the remover is done. Where that did not remove the file after
//! all, it is published as if nothing had been.

use super::error::{FsResult, Posix};
use tokio::sync::watch;

/// How many wait to remove one written file, or are doing it.
#[derive(Default)]
pub struct Removers(watch::Sender<usize>);

/// One of them, until it is dropped.
pub struct Removing(watch::Sender<usize>);

impl Drop for Removing {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Removers {
    /// Adds one.
    pub fn join(&self) -> Removing {
        self.0.send_modify(|count| *count += 1);
        Removing(self.0.clone())
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Resolves once there are none.
    pub async fn gone(&self) {
        // An error says that the sender is gone, which `self` holds.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }

    /// What `work` gives, unless somebody comes to remove the file: it is then dropped where it stands. Errors: those of `work`; EINTR when
    /// it was dropped.
    pub async fn unless_any<T>(&self, work: impl Future<Output = FsResult<T>>) -> FsResult<T> {
        let mut count = self.0.subscribe();
        tokio::select! {
            biased;
            _ = count.wait_for(|count| *count > 0) => Err(Posix::Interrupted.into()),
            done = work => done,
        }
    }
}
