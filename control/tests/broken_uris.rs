//! URIs that are none, and what people are told of each.
//!
//! `broken_uris.txt` has each with the whole message below it. Each was read by a person: it says which rule is broken, and what to write.
//! After a change of messages, `PAIL_WRITE_EXPECTED=1 cargo test --release --test broken_uris` writes them anew; read what changed before
//! you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use pail_control::{FailureKind, opening};
use std::path::Path;

/// Values in the URIs that may not be told.
const SECRETS: [&str; 1] = ["hunter2"];

#[test]
fn every_broken_uri_is_told_as_it_is_written_down() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_uris.txt");
    let expected = std::fs::read_to_string(&file).unwrap();
    let uris: Vec<&str> =
        expected.lines().filter(|line| !line.starts_with("  ") && !line.is_empty()).collect();
    assert!(uris.len() >= 60, "{}", uris.len());
    let mut told = String::new();
    for uri in uris {
        let failure = opening::parse_source(&unquoted(uri)).expect_err(uri);
        assert_eq!(failure.kind, FailureKind::Usage);
        let (why, hint) = (failure.causes.join(": "), failure.hint.unwrap());
        told.push_str(&format!("{uri}\n  {}\n  {why}\n  {hint}\n\n", failure.message));
    }
    let messages = told.lines().filter(|line| line.starts_with("  "));
    let open: Vec<_> = messages.filter(|line| SECRETS.iter().any(|secret| line.contains(secret))).collect();
    assert!(open.is_empty(), "{open:?}");
    if std::env::var_os("PAIL_WRITE_EXPECTED").is_some() {
        return std::fs::write(&file, told).unwrap();
    }
    assert!(told == expected, "not as expected:\n{told}");
}

/// A line as it is, or as the text in quotes that it is in Rust.
fn unquoted(line: &str) -> String {
    match line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\\n", "\n").replace("\\0", "\0").replace("\\e", "\u{1b}"),
        None => line.to_owned(),
    }
}
