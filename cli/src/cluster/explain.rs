//! What ssh's failures mean.
//!
//! Owns: [`explain`], which makes a [`Failure`] of an exit code and what was written to standard error. ssh tells its own failures apart
//! only by text (its exit code is 255 for all), which OpenSSH has in English alone; the texts here are those of 7.4 to 10.

use pail_control::{Failure, FailureKind};
use std::process::ExitStatus;

/// ssh's exit code for failures of its own.
pub const SSH_FAILED: i32 = 255;
/// How many lines of a command's standard error are shown: the last.
const LINES_MAX: usize = 20;

/// The failure of a command run over ssh on `host`.
pub fn explain(host: &str, exit: ExitStatus, stderr: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(stderr);
    if exit.code() == Some(SSH_FAILED) {
        return connection(host, &text).unwrap_or_else(|| lost(host, &text));
    }
    command(host, exit, &text)
}

/// Whether ssh failed before or without a word from the node that would come again: a shared connection whose node is gone.
pub fn is_lost_connection(exit: ExitStatus, stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    exit.code() == Some(SSH_FAILED)
        && connection(host_of_nothing(), &text).is_none_or(|failure| {
            failure.kind == FailureKind::Unreachable
                && !text.contains("connect to host")
                && !is_unresolved(&text)
        })
}

fn host_of_nothing() -> &'static str {
    ""
}

fn is_unresolved(text: &str) -> bool {
    text.contains("Could not resolve hostname")
}

/// The failure of the connection itself, by ssh's words; `None` where they are not there.
pub fn connection(host: &str, text: &str) -> Option<Failure> {
    if text.contains("IDENTIFICATION HAS CHANGED") {
        return Some(key_changed(host, text));
    }
    let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
    let said = |failure: Failure| lines(text).into_iter().fold(failure, Failure::because);
    if has(&["Host key verification failed", "host key is known for", "host key for"]) {
        return Some(
            said(Failure::new(FailureKind::Credentials, format!("the host key of {host} is not accepted")))
                .with_hint(format!(
                    "the SSH configuration asks for keys that are known already: `ssh {host}` once, or add the key to known_hosts"
                )),
        );
    }
    if has(&[
        "Permission denied (",
        "Too many authentication failures",
        "No supported authentication methods",
    ]) {
        return Some(
            said(Failure::new(FailureKind::Credentials, format!("{host} does not let this user in"))).with_hint(
                format!("try `ssh {host}`; a key with a passphrase must be in an agent (ssh-add), and passwords are not asked for"),
            ),
        );
    }
    if has(&[
        "Bad owner or permissions",
        "Bad configuration option",
        "bad configuration options",
        "user config file",
    ]) || (text.contains("line ")
        && has(&["missing argument", "garbage at end", "unsupported option", "keyword "]))
    {
        return Some(said(Failure::usage("ssh does not take the SSH configuration")));
    }
    let unreachable = [
        "connect to host",
        "Could not resolve hostname",
        "Connection refused",
        "Connection timed out",
        "Connection reset by",
        "Connection closed by",
        "No route to host",
        "Network is unreachable",
        "kex_exchange_identification",
        "Timeout, server",
        "client_loop: send disconnect",
        "Broken pipe",
        "banner exchange",
        "mux_client_",
        "stdio forwarding failed",
        "closed by remote host",
    ];
    has(&unreachable).then(|| {
        let hint = match (is_unresolved(text), text.contains("Connection refused")) {
            (true, _) => format!("is the HostName of {host} right? `ssh -G {host}` shows it"),
            (_, true) => "does sshd run there, and at that port?".to_owned(),
            _ => format!("is the node up? try `ssh {host}`"),
        };
        said(Failure::new(FailureKind::Unreachable, format!("{host} cannot be reached"))).with_hint(hint)
    })
}

fn lost(host: &str, text: &str) -> Failure {
    let failure = Failure::new(FailureKind::Unreachable, format!("the connection to {host} was lost"));
    lines(text)
        .into_iter()
        .fold(failure, Failure::because)
        .with_hint(format!("is the node up? try `ssh {host}`"))
}

/// ssh's own warning is a dozen lines in capitals; what helps is in two of them.
fn key_changed(host: &str, text: &str) -> Failure {
    let mut failure = Failure::new(
        FailureKind::Credentials,
        format!(
            "the host key of {host} has changed: it is another machine than before, or somebody is between"
        ),
    );
    let after =
        |start: &str| text.lines().find_map(|line| line.trim().split_once(start).map(|(_, rest)| rest));
    let offending = after("Offending ").and_then(|rest| rest.split_once(" in "));
    if let Some((kind, place)) = offending {
        failure = failure.because(format!("the known {kind} is in {place}"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    if let Some(at) = lines.iter().position(|line| line.starts_with("The fingerprint for the")) {
        let new: String = lines[at..].iter().take(2).copied().collect::<Vec<_>>().join(" ");
        failure = failure.because(new);
    }
    let remove = lines.iter().find(|line| line.starts_with("ssh-keygen -f")).map(|line| format!("`{line}`"));
    let remove = remove.or_else(|| {
        let (file, line) = offending?.1.rsplit_once(':')?;
        Some(format!("`sed -i {line}d {file}`"))
    });
    failure.with_hint(match remove {
        Some(remove) => format!("only if the machine was set up anew: forget the old key with {remove}"),
        None => "only if the machine was set up anew: remove the old key from known_hosts".to_owned(),
    })
}

fn command(host: &str, exit: ExitStatus, text: &str) -> Failure {
    let full = ["No space left on device", "Disk quota exceeded"].iter().any(|needle| text.contains(needle));
    let kind = if full { FailureKind::NoSpace } else { FailureKind::Other };
    let how = match exit.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("was ended ({exit})"),
    };
    let failure = Failure::new(kind, format!("{host}: the command there {how}"));
    let failure = lines(text).into_iter().fold(failure, Failure::because);
    if full { failure.with_hint(format!("free some space on {host}")) } else { failure }
}

/// The last lines that say something.
fn lines(text: &str) -> Vec<String> {
    let is_word = |line: &&str| !line.is_empty() && !line.starts_with('@');
    let lines: Vec<&str> = text.lines().map(str::trim).filter(is_word).collect();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines[skipped..].iter().map(|line| crate::terminal::escaped(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn kind(code: i32, text: &str) -> FailureKind {
        explain("dev", ExitStatus::from_raw(code << 8), text.as_bytes()).kind
    }

    #[test]
    fn failures_of_ssh_are_told_apart() {
        use FailureKind::*;
        let cases = [
            ("ssh: connect to host 10.0.0.9 port 22: Connection timed out", Unreachable),
            ("ssh: Could not resolve hostname x: Name or service not known", Unreachable),
            ("", Unreachable),
            ("ann@10.0.0.2: Permission denied (publickey).", Credentials),
            (
                "No ED25519 host key is known for 10.0.0.2 and you have requested strict checking.\nHost key verification failed.",
                Credentials,
            ),
            ("/root/.ssh/config: line 3: Bad configuration option: foo", Usage),
            ("Bad owner or permissions on /root/.ssh/config", Usage),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(255, text), expected, "{text}");
        }
        // Of the command, whatever it says.
        assert_eq!(kind(1, "Permission denied (publickey)."), Other);
        assert_eq!(kind(1, "cat: write error: No space left on device"), NoSpace);
    }

    #[test]
    fn a_changed_key_says_where_the_old_one_is_and_how_to_forget_it() {
        let text = "@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@\r\nThe fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\nPlease contact your system administrator.\nOffending ECDSA key in /root/.ssh/known_hosts:3\n  remove with:\n  ssh-keygen -f \"/root/.ssh/known_hosts\" -R \"10.0.0.2\"\nHost key verification failed.\n";
        let failure = explain("dev", ExitStatus::from_raw(255 << 8), text.as_bytes());
        assert_eq!(failure.kind, FailureKind::Credentials);
        assert_eq!(
            failure.causes,
            [
                "the known ECDSA key is in /root/.ssh/known_hosts:3",
                "The fingerprint for the ED25519 key sent by the remote host is SHA256:abc."
            ]
        );
        let hint = failure.hint.unwrap();
        assert!(hint.contains("ssh-keygen -f \"/root/.ssh/known_hosts\" -R \"10.0.0.2\""), "{hint}");
    }

    #[test]
    fn only_a_connection_that_was_there_before_is_tried_again() {
        let lost = |text: &str| is_lost_connection(ExitStatus::from_raw(255 << 8), text.as_bytes());
        assert!(lost("mux_client_request_session: read from master failed: Broken pipe"));
        assert!(lost(""));
        assert!(!lost("ssh: connect to host 10.0.0.9 port 22: Connection refused"));
        assert!(!lost("ann@10.0.0.2: Permission denied (publickey)."));
        assert!(!is_lost_connection(ExitStatus::from_raw(1 << 8), b""));
    }
}
