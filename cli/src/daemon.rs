//! The daemon as the command finds it.
//!
//! Owns: which daemon is meant (by the directories of this environment), the word about versions that differ, and the repetition of
//! a mount that hit a daemon on its way out.

use crate::progress;
use pail_mountd::control::types::{Health, MountOutcome, MountRequest};
use pail_mountd::control::{Client, Failure, FailureKind, start};
use pail_mountd::settings::{Directories, Limits, Settings, process_environment};
use std::time::{Duration, Instant};

/// How long a mount is asked for again while one daemon after the other is on its way out.
const RETRY_TIME: Duration = Duration::from_secs(150);
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The directories of the daemon that this environment means.
pub fn directories() -> Result<Directories, Failure> {
    let settings = Settings::resolve(&Limits::default(), None, &process_environment)?;
    Ok(settings.directories)
}

/// A caller of the daemon that runs. Errors: `NotRunning`.
pub async fn running() -> Result<(Client, Health), Failure> {
    let client = Client::new(directories()?.socket());
    let health = client.health().await?;
    note_version(&health);
    Ok((client, health))
}

/// Mounts through the running daemon, or one that is started for it.
pub async fn mount(request: &MountRequest) -> Result<MountOutcome, Failure> {
    let directories = directories()?;
    let deadline = Instant::now() + RETRY_TIME;
    loop {
        let attempt = async {
            let (client, health) = start::ensure_daemon(&directories, &request.limits).await?;
            note_version(&health);
            client.mount(request).await
        };
        let what = format!("mounting {} at {}", request.spec.source, request.spec.mount_point.display());
        match progress::while_waiting(&what, attempt).await {
            Err(failure) if is_passing(&failure) && Instant::now() < deadline => {
                tokio::time::sleep(RETRY_PAUSE).await
            }
            done => return done,
        }
    }
}

/// The daemon that was asked is about to end, or ended between two steps; another will take its place.
fn is_passing(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Stopping | FailureKind::NotRunning)
}

fn note_version(health: &Health) {
    let own = env!("CARGO_PKG_VERSION");
    if health.version != own {
        crate::terminal::note(&format!(
            "note: the running daemon is of version {}, this command of {own}; `pail umount --all` ends it, and the next mount starts the new one",
            health.version
        ));
    }
}
