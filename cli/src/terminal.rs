//! What is printed.
//!
//! Owns: failures (`error:`, `caused by:`, `hint:`), notes, questions, JSON, tables, and names that may hold anything. Invariant: a key
//! with control characters never reaches a terminal as it is; a pipe gets it byte for byte.

use crate::bars;
use pail_control::{Failure, FailureKind};
use rustix::fs::{FileType, OFlags};
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

/// Prints a failure on standard error.
pub fn print_failure(failure: &Failure) {
    let mut lines = failure_lines(failure).join("\n");
    lines.push('\n');
    // Nowhere to print an error about standard error.
    let _ = bars::above(|| std::io::stderr().write_all(lines.as_bytes()));
}

/// A failure as it is printed.
pub fn failure_lines(failure: &Failure) -> Vec<String> {
    let mut lines = vec![format!("error: {}", failure.message)];
    lines.extend(failure.causes.iter().map(|cause| format!("caused by: {cause}")));
    lines.extend(failure.hint.iter().map(|hint| format!("hint: {hint}")));
    lines
}

/// Prints lines for people on standard error.
pub fn notes(lines: &[String]) {
    lines.iter().for_each(|line| note(line));
}

/// Prints a line for people on standard error.
pub fn note(text: &str) {
    let _ = bars::above(|| writeln!(std::io::stderr(), "{text}"));
}

/// Prints a line of data. Errors: standard output is gone, which ends the command quietly.
pub fn line(text: &str) -> Result<(), Failure> {
    let print = || writeln!(std::io::stdout(), "{text}");
    // Data that goes elsewhere is not held up by what is drawn.
    let printed = if std::io::stdout().is_terminal() { bars::above(print) } else { print() };
    printed.map_err(|err| output_lost(&err))
}

/// Prints data as one document of JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|err| Failure::other("cannot write the answer as JSON").because(err.to_string()))?;
    line(&text)
}

/// Prints data as one line of JSON.
pub fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|err| Failure::other("cannot write the answer as JSON").because(err.to_string()))?;
    line(&text)
}

/// Asks whether to go on, on a terminal. Errors: it cannot be read.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|err| Failure::from_io("cannot read the answer", &err))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Flushes standard output, so that a script that waits for a line gets it.
pub fn flush() -> Result<(), Failure> {
    std::io::stdout().flush().map_err(|err| output_lost(&err))
}

/// The failure of writing to standard output; a reader that has had enough (`| head`) is none of our errors.
pub fn output_lost(err: &std::io::Error) -> Failure {
    if err.kind() == std::io::ErrorKind::BrokenPipe {
        // As a program that SIGPIPE ends; Rust ignores the signal.
        std::process::exit(FailureKind::Interrupted.exit_code().into());
    }
    Failure::from_io("cannot write to standard output", err)
}

/// Standard input as it is: the library's own takes what cannot be read for the end. Errors: it is closed.
pub fn input() -> Result<File, Failure> {
    let failed = |err: std::io::Error| Failure::from_io("cannot read standard input", &err);
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let stat = rustix::fs::fstat(&input).map_err(|err| failed(err.into()))?;
    let flags = rustix::fs::fcntl_getfl(&input).map_err(|err| failed(err.into()))?;
    // What Rust's runtime opens in place of a closed descriptor; shells open it to be read alone.
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null && flags.contains(OFlags::RDWR) {
        return Err(Failure::usage(
            "standard input is closed, or /dev/null that is open to be written to as well",
        )
        .with_hint("if an empty object is meant: pail cp - URI </dev/null"));
    }
    Ok(File::from(input))
}

/// A name as it may be shown: escaped where standard output is a terminal.
pub fn shown(name: &str) -> String {
    match std::io::stdout().is_terminal() {
        true => escaped(name),
        false => name.to_owned(),
    }
}

/// A name with its control characters escaped.
pub fn escaped(name: &str) -> String {
    name.chars()
        .flat_map(|c| {
            let plain = (!c.is_control()).then_some(c);
            let code = c.is_control().then(|| c.escape_default());
            plain.into_iter().chain(code.into_iter().flatten())
        })
        .collect()
}

/// Lines of columns that are as wide as their widest cell; the last one is not padded.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let layout = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(layout).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(escaped("a\tb\u{1b}[31m/ü\n"), "a\\tb\\u{1b}[31m/ü\\n");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), ["a    bb", "ccc  d"]);
    }
}
