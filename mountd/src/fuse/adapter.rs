//! How a request is answered.
//!
//! Owns: [`Adapter`]. Each call is first tried on the thread that took it: what is cached is answered there, without a
//! task or a thread switch. What has to wait goes on as a task, and the thread takes the next request.

use super::waiting::{self, Signals};
use crate::fs::{BucketFs, FsResult, LeftCall, Posix, Stale};
use fuser::{Errno, INodeNo, Request};
use pail_store::one_call;
use std::ffi::OsStr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The operation that is the local disk's work also where it did not have to wait.
const LOCAL_WORK: &str = "write";

/// What a call is about, as its error says: an inode, or a name in a directory.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    ino: INodeNo,
    name: Option<Arc<OsStr>>,
}

impl Subject {
    fn path(&self, fs: &BucketFs) -> String {
        let place = fs.path_of(self.ino.0);
        match self.name.as_ref().map(|name| name.to_string_lossy()) {
            None => place,
            Some(name) if place.is_empty() => name.into_owned(),
            Some(name) => format!("{place}/{name}"),
        }
    }
}

impl From<INodeNo> for Subject {
    fn from(ino: INodeNo) -> Self {
        Self { ino, name: None }
    }
}

impl From<(INodeNo, &OsStr)> for Subject {
    fn from((parent, name): (INodeNo, &OsStr)) -> Self {
        Self { ino: parent, name: Some(name.into()) }
    }
}

/// One mount's requests.
pub struct Adapter {
    pub(super) fs: Arc<BucketFs>,
    runtime: tokio::runtime::Handle,
}

impl Adapter {
    /// Serves `fs`, with what has to wait on `runtime`.
    pub fn new(fs: Arc<BucketFs>, runtime: tokio::runtime::Handle) -> Self {
        Self { fs, runtime }
    }

    /// Runs `call` here as far as it goes without waiting, and the rest as a task. `reply` is told whether it had to wait.
    pub(super) fn answer<T, F, C>(&self, call: F, reply: C)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
        C: FnOnce(T, bool) + Send + 'static,
    {
        let _within = self.runtime.enter();
        let mut call = Box::pin(one_call(call));
        // The task polls again with a waker of its own, so that nothing is missed by this one.
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => reply(done, false),
            Poll::Pending => {
                self.runtime.spawn(async move { reply(call.await, true) });
            }
        }
    }

    /// As [`Adapter::answer`], for calls that fail: the error is logged here, once, and becomes an errno.
    pub(super) fn try_answer<T, F, C>(
        &self,
        operation: &'static str,
        subject: impl Into<Subject>,
        call: F,
        reply: C,
    ) where
        T: Send + 'static,
        F: Future<Output = FsResult<T>> + Send + 'static,
        C: FnOnce(Result<T, Errno>) + Send + 'static,
    {
        let (fs, subject) = (self.fs.clone(), subject.into());
        self.answer(call, move |done, waited| {
            if done.is_ok() && (waited || operation == LOCAL_WORK) {
                fs.note_success(operation, || subject.path(&fs));
            }
            reply(done.map_err(|error| {
                fs.note_error(operation, &subject.path(&fs), &error);
                Errno::from_i32(error.errno())
            }));
        });
    }
}

/// Resolves when the caller is killed and there is room for its call among those that go on all the same.
async fn left_behind(fs: &BucketFs, thread: u32) -> LeftCall {
    loop {
        waiting::given_up(thread, Signals::Fatal).await;
        if let Some(left) = fs.leave_call() {
            return left;
        }
    }
}

/// What becomes of a call whose caller waits no longer.
#[derive(Debug)]
pub(super) enum GivenUp {
    /// It only looked for something.
    Dropped,
    /// It changes something: it goes on behind the answer, which is given only where nobody is left to read it. The kernel, which
    /// took the answer for a failure, is then told what to ask for again.
    GoesOn(Vec<Stale>),
}

impl Adapter {
    /// As [`Adapter::try_answer`], with EINTR once a signal that is to end it reaches the waiting caller.
    pub(super) fn answer_until_given_up<T, F, C>(
        &self,
        operation: &'static str,
        (request, subject): (&Request, impl Into<Subject>),
        given_up: GivenUp,
        call: F,
        reply: C,
    ) where
        T: Send + 'static,
        F: Future<Output = FsResult<T>> + Send + 'static,
        C: FnOnce(Result<T, Errno>) + Send + 'static,
    {
        let (fs, thread, subject) = (self.fs.clone(), request.pid(), subject.into());
        let left_subject = subject.clone();
        let call = async move {
            // Its own, for it may go on in a task of its own.
            let mut call = Box::pin(one_call(call));
            if let Poll::Ready(done) = futures::poll!(call.as_mut()) {
                return done;
            }
            let GivenUp::GoesOn(stale) = given_up else {
                return tokio::select! {
                    biased;
                    done = call => done,
                    () = waiting::given_up(thread, Signals::Ending) => Err(Posix::Interrupted.into()),
                };
            };
            let left = tokio::select! {
                biased;
                done = &mut call => return done,
                left = left_behind(&fs, thread) => left,
            };
            tokio::spawn(async move {
                let done = call.await;
                stale.into_iter().for_each(|stale| fs.tell_stale(stale));
                match done {
                    Ok(_) => fs.note_success(operation, || left_subject.path(&fs)),
                    Err(error) => fs.note_error(operation, &left_subject.path(&fs), &error),
                }
                drop(left);
            });
            Err(Posix::Interrupted.into())
        };
        self.try_answer(operation, subject, call, reply);
    }
}
