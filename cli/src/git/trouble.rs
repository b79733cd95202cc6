//! Git's and ssh's errors, read.
//!
//! Owns: [`failure`], which finds the kind and the advice in what they print, in the C locale and without passwords.

use pail_control::{Failure, FailureKind};

/// Lines of an error that are shown.
const LINES_MAX: usize = 6;

/// What is looked for, in lower case: the first row that matches decides.
const SIGNS: &[(&[&str], FailureKind, &str)] = &[
    (
        &["no space left on device", "disk quota exceeded"],
        FailureKind::NoSpace,
        "free some space on that disk",
    ),
    (
        &["remote host identification has changed", "host key verification failed", "host key for"],
        FailureKind::Credentials,
        "the host's key is not the one that is known: if it was changed on purpose, forget the old one (ssh-keygen -R HOST) and \
         try again; otherwise somebody else may answer in its place",
    ),
    (
        &["permission denied (", "too many authentication failures", "sign_and_send_pubkey"],
        FailureKind::Credentials,
        "the host does not accept the SSH key: see that it is registered there, or name another one by GIT_SSH_KEY_PATH",
    ),
    (
        &[
            "authentication failed",
            "could not read username",
            "could not read password",
            "http basic: access denied",
            "error: 401",
        ],
        FailureKind::Credentials,
        "set GIT_TOKEN to a token that may read the repository",
    ),
    (
        &["error: 403", "write access to repository not granted"],
        FailureKind::Credentials,
        "GIT_TOKEN may not read this repository",
    ),
    (
        &[
            "ssl certificate problem",
            "certificate verification failed",
            "ssl: no alternative certificate",
            "server certificate",
        ],
        FailureKind::Unreachable,
        "the server's certificate is not trusted: GIT_SSL_CAINFO names a file with the authority's",
    ),
    (
        &[
            "not our ref",
            "unadvertised object",
            "couldn't find remote ref",
            "upload-pack: not our",
            "remote error: want",
        ],
        FailureKind::NotFound,
        "see that the commit was pushed to this repository",
    ),
    (
        &[
            "repository not found",
            "' not found",
            "error: 404",
            "does not appear to be a git repository",
            "does not exist",
            "not a git repository",
            "no such file or directory",
        ],
        FailureKind::NotFound,
        "see that the URL is right; a private repository needs GIT_TOKEN (https://) or a key that may read it (ssh)",
    ),
    (
        &[
            "could not resolve host",
            "couldn't connect",
            "failed to connect",
            "connection refused",
            "connection timed out",
            "timed out",
            "connection reset",
            "no route to host",
            "network is unreachable",
            "name or service not known",
            "temporary failure in name resolution",
            "operation too slow",
            "unexpected disconnect",
            "early eof",
            "hung up unexpectedly",
            "empty reply",
            "rpc failed",
            "error: 5",
            "connection closed by",
            "broken pipe",
            "transfer closed",
            "timeout, server",
        ],
        FailureKind::Unreachable,
        "see that this machine reaches the host, and try again",
    ),
];

/// A failure with git's own words as its cause.
pub fn failure(message: &str, err: &str) -> Failure {
    let text = err.to_ascii_lowercase();
    let row = SIGNS.iter().find(|(signs, _, _)| signs.iter().any(|sign| text.contains(sign)));
    let (kind, hint) = row.map_or((FailureKind::Other, None), |(_, kind, hint)| (*kind, Some(*hint)));
    let failure = Failure::new(kind, message);
    let failure = words(err).into_iter().fold(failure, Failure::because);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// The lines that say what happened: none of progress, of advice, or of the frames around warnings.
fn words(err: &str) -> Vec<String> {
    let shown = |line: &str| line.chars().filter(|c| !c.is_control()).take(400).collect::<String>();
    let plain = err.lines().flat_map(|line| line.rsplit('\r').next()).map(str::trim);
    let lines = plain.filter(|line| {
        let advice = [
            "hint:",
            "Please make sure",
            "and the repository exists",
            "Cloning into",
            "warning: redirecting",
            "Warning: Permanently added",
            "From ",
        ];
        !line.is_empty()
            && !line.contains("@@@")
            && !advice.iter().any(|start| line.starts_with(start))
            && !line.ends_with('%')
    });
    let mut lines: Vec<String> = lines.map(shown).collect();
    let excess = lines.len().saturating_sub(LINES_MAX);
    lines.drain(..excess);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_git_s_words() {
        for (err, code) in [
            ("fatal: Authentication failed for 'https://h/r/'", 4),
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", 4),
            ("fatal: unable to access 'https://h/r/': The requested URL returned error: 403", 4),
            ("fatal: repository 'https://h/r/' not found", 3),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", 6),
            ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", 4),
            ("Host key verification failed.\nfatal: Could not read from remote repository.", 4),
            ("error: file write error: No space left on device\nfatal: unable to write", 8),
            ("error: Server does not allow request for unadvertised object abc", 3),
            ("fatal: bad object", 1),
        ] {
            assert_eq!(failure("cannot fetch", err).kind.exit_code(), code, "{err}");
        }
    }

    #[test]
    fn words_are_few_and_plain() {
        let err = "\u{1b}[31mremote: a\nPlease make sure you have the correct access rights\n@@@@@@\nhint: x\nfatal: b\n\n";
        assert_eq!(words(err), ["[31mremote: a", "fatal: b"]);
    }
}
