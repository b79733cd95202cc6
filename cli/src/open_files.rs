//! How many files this process may have open.
//!
//! Owns: [`RaisedLimit`], under which a copy runs, and how many connections there are files for. The usual 1,024 are few for a copy, and its user may have more
//! without asking: the soft limit is there for programs that use select(2), which a task may be. So it is raised while a copy runs, and not for what is started later.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside those of connections: the directories that are written to, logs, the terminal.
const FILES_ELSEWHERE: u64 = 320;
/// For each connection its socket, and for each of two objects, one under way and one that waits, a file with a journal or a directory.
const FILES_OF_CONNECTION: u64 = 5;

/// The limit of the user, as long as this lives.
#[derive(Debug)]
pub struct RaisedLimit {
    before: Rlimit,
}

impl RaisedLimit {
    /// Raises it as far as the user may.
    pub fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        set(Rlimit { current: before.maximum, ..before });
        Self { before }
    }
}

impl Drop for RaisedLimit {
    fn drop(&mut self) {
        set(self.before);
    }
}

fn set(limit: Rlimit) {
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays what it was");
    }
}

/// As many connections as there may be files for.
pub fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = files.saturating_sub(FILES_ELSEWHERE) / FILES_OF_CONNECTION;
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}
