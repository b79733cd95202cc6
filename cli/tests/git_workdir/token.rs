//! GIT_TOKEN over HTTPS: that it works, and that it is nowhere.

use crate::hosts::{Https, Place};
use std::path::Path;

/// Command lines and environments of all processes but this one that hold a text.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let id = entry.file_name().to_str().unwrap_or_default().to_owned();
        if id.parse::<u32>().is_err() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(text) {
                found.push(format!("{id} {file}: {}", String::from_utf8_lossy(&bytes).replace('\0', " ")));
            }
        }
    }
    found
}

fn files_with(dir: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            files_with(&path, text, found);
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn a_token_is_in_no_command_line_no_environment_and_no_file() {
    let (mut place, commit) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    // The user's helper would store what git tells it.
    place.git(&[
        "config",
        "--global",
        "credential.helper",
        &format!("store --file={}", place.at("home/stored")),
    ]);
    place.git(&["config", "--global", "user.name", "t"]);
    place.set("GIT_TRACE_CURL", &place.at("home/trace"));
    place.set("GIT_TRACE_REDACT", "0");
    let resolved = serde_json::json!({"url": https.url("r.git"), "commit": commit, "branch": "main"});
    https.hold();
    let child = place.begin(&place.checking_out(&resolved, Some(&https.token)));
    https.until_held();
    let seen = processes_with("PAIL_ASKPASS_FD");
    assert!(seen.iter().any(|line| line.contains("environ")), "git is at work, with a way to ask");
    assert_eq!(processes_with(&https.token), Vec::<String>::new());
    https.release();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.read("a"), "a\n");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains(&https.token));
    let mut found = Vec::new();
    files_with(&place.path(""), &https.token, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(https.requests().contains(&"POST /r.git/git-upload-pack x-access-token".to_owned()));
}

#[test]
fn what_is_wrong_with_a_token_or_a_repository_is_told() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    place.resolve(&https.url("public/r.git"), None).json();
    place.resolve(&https.url("r.git"), None).fails(4, &["GIT_TOKEN"]);
    place.set("GIT_TOKEN", "wrong-one");
    let wrong = place.resolve(&https.url("r.git"), None);
    wrong.fails(4, &["Authentication failed", "GIT_TOKEN"]);
    assert!(!wrong.err.contains("wrong-one"));
    place.set("GIT_TOKEN", &https.token);
    place.resolve(&https.url("r.git"), None).json();
    place.resolve(&https.url("none.git"), None).fails(3, &["not found", "private repository"]);
    place.resolve(&https.url("absent/r.git"), None).fails(3, &["not found"]);
    place.resolve(&https.url("denied/r.git"), None).fails(4, &["403"]);
    place.set("GIT_SSL_CAINFO", "/etc/ssl/certs/ca-certificates.crt");
    place.resolve(&https.url("r.git"), None).fails(6, &["certificate", "GIT_SSL_CAINFO"]);
    place.resolve("https://127.0.0.1:1/r.git", None).fails(6, &["reaches the host"]);
    place.resolve("http://git.example.org/r.git", None).fails(2, &["plain text"]);
}

#[test]
fn a_user_name_in_the_url_goes_with_the_token() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let url = https.url("r.git").replace("https://", "https://deploy@");
    place.launch(&url, None).json();
    assert!(https.requests().iter().any(|line| line.ends_with(" deploy")));
    assert_eq!(place.checkout(&["remote", "get-url", "origin"]), url);
}

#[test]
fn a_redirect_does_not_carry_the_token_to_another_host() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    let other = Https::serve(&mut place);
    place.set("GIT_TOKEN", &https.token);
    let moved = place.path("srv/moved");
    // On the same host: as with a repository that was renamed.
    std::fs::write(&moved, https.url("")).unwrap();
    place.resolve(&https.url("moved/r.git"), None).json();
    std::fs::write(&moved, other.url("")).unwrap();
    https.requests();
    place.resolve(&https.url("moved/r.git"), None).fails(4, &[]);
    // Both write to one log; only the first was ever told who asks.
    let requests = https.requests();
    assert!(requests.iter().any(|line| line.starts_with("GET /r.git/")), "{requests:?}");
    assert!(
        requests.iter().all(|line| !line.starts_with("GET /r.git/") || line.ends_with(" -")),
        "{requests:?}"
    );
}

#[test]
fn without_a_token_the_user_s_own_helpers_are_asked() {
    let (mut place, _) = Place::with_a_commit();
    let https = Https::serve(&mut place);
    let stored = https.url("").replace("https://", &format!("https://me:{}@", https.token));
    std::fs::write(place.path("home/.git-credentials"), stored.trim_end_matches('/')).unwrap();
    place.git(&["config", "--global", "credential.helper", "store"]);
    place.launch(&https.url("r.git"), None).json();
    assert!(https.requests().iter().any(|line| line.ends_with(" me")));
}
