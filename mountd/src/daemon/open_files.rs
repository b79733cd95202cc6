//! Who keeps a mount busy.
//!
//! Owns: [`users_of`], from the links below `/proc/PID`. Reading a link does not touch the file system it points into, so
//! this cannot hang on the mount it asks about.

use std::path::Path;

/// How many programs are named.
const USERS_MAX: usize = 5;

/// Programs that have a file open or their working directory under `place`, as `name (pid)`: at most five, and only
/// those that this user may look into.
pub fn users_of(place: &Path) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut users = Vec::new();
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        if uses(&process.path(), place) {
            let program = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            users.push(format!("{} ({pid})", program.trim()));
        }
        if users.len() == USERS_MAX {
            break;
        }
    }
    users
}

fn uses(process: &Path, place: &Path) -> bool {
    let within = |link: &Path| std::fs::read_link(link).is_ok_and(|target| target.starts_with(place));
    let open = std::fs::read_dir(process.join("fd"));
    within(&process.join("cwd"))
        || within(&process.join("exe"))
        || open.is_ok_and(|links| links.flatten().any(|link| within(&link.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_names_this_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(dir.path()).unwrap();
        let me = format!("({})", std::process::id());
        assert!(users_of(&path).is_empty());
        let _open = std::fs::File::create(path.join("file")).unwrap();
        assert!(users_of(&path).iter().any(|user| user.ends_with(&me)));
    }
}
