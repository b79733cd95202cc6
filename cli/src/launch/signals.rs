//! The signals by which a user ends a command.
//!
//! Owns: [`Signals`]: SIGINT, SIGTERM and SIGHUP as one.

use pail_control::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Watches from when it is made; what came before has ended the process.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Errors: signals cannot be watched for.
    pub fn watch() -> Result<Self, Failure> {
        let watch = |kind| signal(kind).map_err(|err| Failure::from_io("cannot watch for signals", &err));
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    /// The next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
