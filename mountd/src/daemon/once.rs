//! `pail-mountd --once`: one piece of work for a command that finds no daemon.
//!
//! Owns: [`run`], which reads a [`Request`] from standard input, and writes its answer to standard output.

use super::{dead, left_behind};
use pail_control::Failure;
use pail_control::once::Request;
use pail_control::settings::{Directories, Limits, Settings, process_environment};
use pail_control::types::DrainReport;
use serde::Serialize;
use std::path::Path;

/// Does it. Errors: nobody reads the answer. What fails otherwise is the answer.
pub fn run() -> Result<(), Failure> {
    match serde_json::from_reader(std::io::stdin()) {
        Ok(Request::ClearDead { mount_point }) => {
            answer(directories().and_then(|directories| clear_dead(&directories, mount_point.as_deref())))
        }
        Ok(Request::LeftBehind) => {
            answer(directories().and_then(|directories| left_behind::read(&directories)))
        }
        Ok(Request::Discard(request)) => {
            answer(directories().and_then(|directories| left_behind::discard(&directories, &request.files)))
        }
        Err(err) => answer(Err::<(), _>(
            Failure::usage("standard input holds no request that this version knows")
                .because(err.to_string()),
        )),
    }
}

fn directories() -> Result<Directories, Failure> {
    Ok(Settings::resolve(&Limits::default(), None, &process_environment)?.directories)
}

fn clear_dead(directories: &Directories, place: Option<&Path>) -> Result<DrainReport, Failure> {
    let mut report = dead::clear(directories, place)?;
    report.left_behind = left_behind::read(directories)?;
    report.left_behind.retain(|file| report.unmounted.contains(&file.mount_point));
    Ok(report)
}

fn answer<A: Serialize>(answer: Result<A, Failure>) -> Result<(), Failure> {
    serde_json::to_writer(std::io::stdout(), &answer)
        .map_err(|err| Failure::from_io("cannot write to standard output", &err.into()))
}
