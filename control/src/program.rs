//! The daemon's program, as other programs find it.
//!
//! Owns: where it is, and what is said where it is not there.

use crate::Failure;
use std::path::PathBuf;

const NAME: &str = "pail-mountd";

/// Beside the running program, else whatever PATH finds.
pub(crate) fn path() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(NAME))
}

pub(crate) fn not_started(err: &std::io::Error) -> Failure {
    Failure::from_io(format!("cannot start {}", path().display()), err)
        .with_hint(format!("{NAME} belongs beside the pail program or into PATH"))
}
