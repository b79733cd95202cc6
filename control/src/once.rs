//! What the daemon's program does for a command that finds no daemon.
//!
//! Owns: [`Request`], and the functions that ask so: `pail-mountd --once` reads one as JSON from its standard input, and writes the answer
//! to its standard output, a `Result` with a [`Failure`]. Files that were not published are of the cache's making, and a dead mount is FUSE's to
//! take off: who asks needs to know neither. The directories are those of the environment, which both have.
//!
//! All functions block. Of several in one process one goes after the other, which none may see fail: each takes the daemon's lock.

use crate::types::{DiscardReport, DiscardRequest, DrainReport, LeftBehind};
use crate::{Failure, program};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The flag by which the program does so.
const FLAG: &str = "--once";

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Take off dead mounts; answered by a [`DrainReport`].
    ClearDead {
        /// One of them; `None` for all that the list of mounts knows.
        mount_point: Option<PathBuf>,
    },
    /// Find what is left behind; answered by a list of [`LeftBehind`].
    LeftBehind,
    /// Remove such files; answered by a [`DiscardReport`].
    Discard(DiscardRequest),
}

/// Clears the dead mount at `place`, or all that the list of mounts knows, takes them off the list, and tells what they left behind.
/// Errors: a daemon has started meanwhile; nothing is mounted at `place`.
pub fn clear_dead(place: Option<&Path>) -> Result<DrainReport, Failure> {
    ask(&Request::ClearDead { mount_point: place.map(Path::to_owned) })
}

/// What is left behind. Nobody must use the state directory meanwhile: what is in use looks the same. Errors: the state directory cannot be
/// read.
pub fn left_behind() -> Result<Vec<LeftBehind>, Failure> {
    ask(&Request::LeftBehind)
}

/// Gives up files that are left behind. Errors: a daemon has started meanwhile, or uses the state directory from elsewhere.
pub fn discard(request: &DiscardRequest) -> Result<DiscardReport, Failure> {
    ask(&Request::Discard(request.clone()))
}

fn ask<A: DeserializeOwned>(request: &Request) -> Result<A, Failure> {
    let broke_off = |err: std::io::Error| Failure::from_io("asking the daemon's program broke off", &err);
    let ask = serde_json::to_vec(request).map_err(|err| broke_off(err.into()))?;
    let mut child = Command::new(program::path())
        .arg(FLAG)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|err| program::not_started(&err))?;
    // It reads all before it writes anything. Where it ends before that, its answer or the lack of one says why.
    let _ = child.stdin.take().map(|mut input| input.write_all(&ask));
    let output = child.wait_with_output().map_err(broke_off)?;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|err| {
        Err(Failure::other("the command and the daemon's program do not understand each other")
            .because(format!("{}: {err}", output.status))
            .with_hint(format!("they may be of different versions: {} is called", program::path().display())))
    })
}
