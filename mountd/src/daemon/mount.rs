//! One mount of the daemon and what it is doing.
//!
//! Owns: [`Mount`] and its states:
//!
//! ```text
//! Starting ──> Live <──> Unmounting ──> Gone
//!     │  ^       └── the kernel ended it ──^
//!     v  │                                 │
//!    Failed ───────────────────────────────┘
//! ```
//!
//! Invariant: only who moved a mount into `Starting` or `Unmounting` may move it out, so two requests never work on one
//! mount at a time; others wait for the next change.

use crate::fs::BucketFs;
use crate::fuse::FuseMount;
use pail_control::saved_mount::SavedMount;
use pail_control::types::{Beneath, MountSpec, MountState, MountStatus};
use pail_control::{CallerEnvironment, Failure};
use pail_store::Store;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// A file system in service.
#[derive(Clone)]
pub struct Live {
    /// The bucket.
    pub store: Arc<dyn Store>,
    /// The bucket as a file system.
    pub fs: Arc<BucketFs>,
    /// Its session with the kernel.
    pub fuse: Arc<FuseMount>,
}

/// What a mount is doing.
#[derive(Clone)]
pub enum State {
    /// Being mounted.
    Starting,
    /// Usable.
    Live(Live),
    /// Not mounted, with the reason; tried again.
    Failed(Failure),
    /// Being drained and unmounted.
    Unmounting(Live),
    /// Off the table.
    Gone,
}

/// A mount that was asked for.
pub struct Mount {
    /// What was asked for, the mount point resolved.
    pub spec: MountSpec,
    /// The caller's variables, in memory only.
    pub environment: CallerEnvironment,
    /// The caller gave keys by value, now or before a restart.
    pub keys_were_given: bool,
    /// The caller gave a proxy's user or password, now or before a restart.
    pub proxy_user_was_given: bool,
    /// It comes from the list of an earlier daemon, and stays there when it fails.
    pub restored: bool,
    /// A mount without a daemon was at its place when that was last looked at.
    pub dead: AtomicBool,
    /// What it hides, once it is mounted.
    pub beneath: OnceLock<Beneath>,
    state: watch::Sender<State>,
}

impl Mount {
    /// A mount that a caller asks for, in state `Starting`.
    pub fn starting(spec: MountSpec, environment: CallerEnvironment) -> Arc<Self> {
        Arc::new(Self {
            spec,
            keys_were_given: environment.has_secrets(),
            proxy_user_was_given: environment.has_proxy_user(),
            environment,
            restored: false,
            dead: AtomicBool::new(false),
            beneath: OnceLock::new(),
            state: watch::Sender::new(State::Starting),
        })
    }

    /// A mount of an earlier daemon, in state `Starting`. In place of keys that were given then, this daemon's own are tried; a
    /// mount that had its keys from a profile or a role goes on with those.
    pub fn restoring(saved: SavedMount) -> Arc<Self> {
        let environment = match saved.keys_were_given {
            true => saved.environment.with_secrets_of(&CallerEnvironment::of_this_process()),
            false => saved.environment,
        };
        Arc::new(Self {
            spec: saved.spec,
            environment,
            keys_were_given: saved.keys_were_given,
            proxy_user_was_given: saved.proxy_user_was_given,
            restored: true,
            dead: AtomicBool::new(false),
            beneath: OnceLock::new(),
            state: watch::Sender::new(State::Starting),
        })
    }

    /// What it is doing now.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Moves to `next` and wakes who waits.
    pub fn set(&self, next: State) {
        self.state.send_replace(next);
    }

    /// Moves to what `next` makes of the present state, or stays where it gives `None`. True when moved.
    pub fn move_if(&self, next: impl FnOnce(&State) -> Option<State>) -> bool {
        self.state.send_if_modified(|state| match next(state) {
            Some(next) => {
                *state = next;
                true
            }
            None => false,
        })
    }

    /// Begins unmounting. `None` unless it is live.
    pub fn begin_unmount(&self) -> Option<Live> {
        let mut live = None;
        self.move_if(|state| match state {
            State::Live(now) => {
                live = Some(now.clone());
                Some(State::Unmounting(now.clone()))
            }
            _ => None,
        });
        live
    }

    /// Waits until it is neither being mounted nor being unmounted; gives the state it is in then.
    pub async fn settled(&self) -> State {
        let mut changes = self.state.subscribe();
        let settled =
            changes.wait_for(|state| !matches!(state, State::Starting | State::Unmounting(_))).await;
        // The sender lives in self, so there is always a next change to wait for.
        settled.map_or(State::Gone, |state| state.clone())
    }

    /// The file system, where one is in service.
    pub fn live(&self) -> Option<Live> {
        match &*self.state.borrow() {
            State::Live(live) | State::Unmounting(live) => Some(live.clone()),
            _ => None,
        }
    }

    /// A row of `pail status`.
    pub fn status(&self) -> MountStatus {
        let (state, failure) = match self.state() {
            State::Starting => (MountState::Starting, None),
            State::Live(_) => (MountState::Mounted, None),
            State::Failed(failure) => (MountState::Failed, Some(failure)),
            State::Unmounting(_) | State::Gone => (MountState::Unmounting, None),
        };
        let live = self.live();
        let fs = live.as_ref().map(|live| live.fs.status()).unwrap_or_default();
        let store = live.map(|live| live.store.counters()).unwrap_or_default();
        let dead = failure.is_some() && self.dead.load(Ordering::Relaxed);
        MountStatus {
            spec: self.spec.clone(),
            state,
            failure,
            dead,
            beneath: self.beneath.get().cloned(),
            fs,
            store,
        }
    }
}
