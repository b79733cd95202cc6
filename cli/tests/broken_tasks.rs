//! Broken task files, and what `pail check` says of each.
//!
//! `broken_tasks/NAME.yaml` is a task with a mistake, and `NAME.expected` the exit code and the whole message. Each was read by a person: it
//! says where the mistake is, what is wrong, and what to do. After a change of messages, `PAIL_WRITE_EXPECTED=1 cargo test --release
//! --test broken_tasks` writes them anew; read what changed before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The value of every secret in the files, in the cases in which it may come.
const SECRETS: [&str; 2] = ["hunter2secret", "hunter2_secret"];

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_tasks")
}

fn files(extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// Runs `pail check` as somebody whose home is the one beside the files; the exit code and the message.
fn check(file: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pail"))
        .arg("check")
        .arg(file.file_name().unwrap())
        .current_dir(dir())
        .env_clear()
        .env("HOME", dir().join("home"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{file:?} is taken for right");
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), message.replace(dir().to_str().unwrap(), "DIR"))
}

#[test]
fn every_mistake_is_told_as_it_is_written_down() {
    let write = std::env::var_os("PAIL_WRITE_EXPECTED").is_some();
    let mut different = Vec::new();
    let tasks = files("yaml");
    assert!(tasks.len() >= 90, "{}", tasks.len());
    for file in &tasks {
        let (code, message) = check(file);
        let told = format!("exit code {code}\n{message}");
        let expected = file.with_extension("expected");
        if write {
            fs::write(&expected, &told).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            different.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(different.is_empty(), "not as expected:\n{}", different.join("\n"));
    let orphans: Vec<_> =
        files("expected").into_iter().filter(|path| !path.with_extension("yaml").exists()).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
}

#[test]
fn every_message_has_a_place_and_its_line_and_no_secret() {
    for file in files("yaml") {
        let (code, message) = check(&file);
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(code == 2 || code == 3, "{name}: {code}");
        let lower = message.to_lowercase();
        assert!(!SECRETS.iter().any(|secret| lower.contains(secret)), "{message}");
        let lines: Vec<&str> = message.lines().collect();
        let places: Vec<usize> = (0..lines.len())
            .filter(|&index| lines[index].trim_start_matches("error: ").starts_with(&format!("{name}:")))
            .collect();
        assert!(!places.is_empty(), "{name}: {message}");
        for index in places {
            let number = lines[index].split(':').nth(if index == 0 { 2 } else { 1 }).unwrap();
            assert!(lines[index + 1].starts_with(&format!("  {number} | ")), "{name}: {message}");
            assert!(lines[index + 2].ends_with('^'), "{name}: {message}");
        }
    }
}
