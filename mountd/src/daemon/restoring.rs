//! Bringing mounts back.
//!
//! Owns: what a daemon does with the list of an earlier one. Each mount is tried at once and then with growing pauses, until
//! it works, is unmounted, or is mounted anew by somebody who gives fresh credentials.

use super::Daemon;
use super::mount::{Mount, State};
use pail_control::command_line;
use pail_control::saved_mount::SavedMount;
use pail_control::{Failure, FailureKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The pause after the first failure; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

impl Daemon {
    /// Begins to restore every mount of the list. Returns at once; `pail status` shows how it goes.
    pub fn restore(self: &Arc<Self>) {
        for saved in self.list.all() {
            self.restore_saved(saved);
        }
    }

    /// Begins to restore the mount that the list has at `place`, if it has one.
    pub(super) fn restore_place(self: &Arc<Self>, place: &Path) {
        if let Some(saved) = self.list.at(place) {
            self.restore_saved(saved);
        }
    }

    fn restore_saved(self: &Arc<Self>, saved: SavedMount) {
        let mount = Mount::restoring(saved);
        {
            let mut mounts = self.mounts.lock();
            // Somebody who asks for a mount at this place by now goes first.
            if self.is_stopping() || mounts.contains_key(&mount.spec.mount_point) {
                return;
            }
            mounts.insert(mount.spec.mount_point.clone(), mount.clone());
        }
        let daemon = self.clone();
        tokio::spawn(async move {
            let mut pause = PAUSE_MIN;
            loop {
                let Err(failure) = daemon.establish(&mount, false).await else { return };
                let failure = advise(&mount, failure);
                tracing::error!(mount = %mount.spec.mount_point.display(), source = %mount.spec.source, error = %failure, "could not be mounted again");
                mount.set(State::Failed(failure));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                if !daemon.resume(&mount) {
                    return;
                }
            }
        });
    }

    /// Moves a failed mount to its next attempt. False when it was unmounted or replaced meanwhile.
    fn resume(&self, mount: &Arc<Mount>) -> bool {
        let mounts = self.mounts.lock();
        let still_here = mounts.get(&mount.spec.mount_point).is_some_and(|other| Arc::ptr_eq(other, mount));
        still_here
            && !self.is_stopping()
            && mount.move_if(|state| matches!(state, State::Failed(_)).then_some(State::Starting))
    }
}

/// What to do about a mount whose keys, or whose proxy's password, were in the memory of the daemon that is gone.
fn advise(mount: &Mount, failure: Failure) -> Failure {
    let (what, instead) = match failure.kind {
        FailureKind::Credentials if mount.keys_were_given => ("keys", ", or put them into a profile"),
        FailureKind::Unreachable if mount.proxy_user_was_given => ("proxy's user and password", ""),
        _ => return failure,
    };
    let again = command_line::mount(&mount.spec);
    failure.with_hint(format!(
        "the {what} it was mounted with are never kept on disk: mount again from a shell that has them ({again}){instead}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::mount_list::tests::mount;
    use pail_control::CallerEnvironment;

    #[test]
    fn what_was_not_kept_is_told_where_it_may_be_what_is_missing() {
        let saved = SavedMount { proxy_user_was_given: true, ..mount("/a", "s3://one") };
        let hint = |saved: &SavedMount, kind| {
            let mount =
                Mount::restoring(SavedMount { environment: CallerEnvironment::default(), ..saved.clone() });
            advise(&mount, Failure::new(kind, "x")).hint.unwrap_or_default()
        };
        assert!(
            hint(&saved, FailureKind::Unreachable)
                .contains("the proxy's user and password it was mounted with")
        );
        assert!(hint(&saved, FailureKind::Credentials).contains("the keys it was mounted with"));
        let neither = mount("/a", "s3://one");
        let neither = SavedMount { keys_were_given: false, ..neither };
        assert!(hint(&neither, FailureKind::Unreachable).is_empty());
        assert!(hint(&neither, FailureKind::Credentials).is_empty());
    }
}
