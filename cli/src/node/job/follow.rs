//! Reading along with a job.
//!
//! Owns: [`follow`], which passes on what a stage's log gains until the stage is over. It is begun again from any offset, so that
//! a client whose link dropped misses nothing and sees nothing twice.

use super::record::{JobRecord, Jobs, Stage, State};
use crate::terminal;
use pail_control::{Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

/// How long nothing is said to a client, before it is looked whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);
/// Between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How much is passed on at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What to read along with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FollowRequest {
    /// Whose jobs it is among.
    pub cluster: String,
    /// Which of them.
    pub number: u32,
    /// Which part.
    pub stage: Stage,
    /// How many bytes of its log are known already.
    pub offset: u64,
    /// Wait for more until the stage is over; otherwise only what is there now.
    pub wait: bool,
}

/// Gives `on_output` what the log holds from the offset on; returns the job as it is then: with `wait`, when the stage is over or nobody
/// works on it any more. Errors: there is no such job; `on_output`'s.
pub async fn follow(
    jobs: &Jobs,
    request: &FollowRequest,
    on_output: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
) -> Result<JobRecord, Failure> {
    let mut log = open(jobs, request)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut said = Instant::now();
    loop {
        // The state is read before the log: what was written before the end is then in it.
        let job = jobs.get(request.number).ok_or_else(|| no_such_job(request))?;
        let over = job.stage != request.stage || !job.is_active();
        loop {
            let read = log.read(&mut piece).map_err(|err| Failure::from_io("cannot read the log", &err))?;
            if read == 0 {
                break;
            }
            on_output(&piece[..read]).map_err(nobody_reads)?;
            said = Instant::now();
        }
        if over || !request.wait {
            return Ok(job);
        }
        if said.elapsed() >= SILENCE {
            on_output(&[]).map_err(nobody_reads)?;
            if let State::Flushing { files_left: files_left @ 1.., .. } = job.state {
                terminal::note(&format!("flushing: {files_left} files are not in the bucket yet"));
            }
            said = Instant::now();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn nobody_reads(err: std::io::Error) -> Failure {
    Failure::from_io("nobody reads the output", &err)
}

fn open(jobs: &Jobs, request: &FollowRequest) -> Result<File, Failure> {
    let path = jobs.log(request.number, request.stage);
    let opened = File::open(&path).and_then(|mut file| {
        file.seek(SeekFrom::Start(request.offset))?;
        Ok(file)
    });
    opened.map_err(|err| match err.kind() {
        ErrorKind::NotFound => no_such_job(request),
        _ => Failure::from_io(format!("cannot read {}", path.display()), &err),
    })
}

fn no_such_job(request: &FollowRequest) -> Failure {
    let (number, stage) = (request.number, request.stage.name());
    Failure::new(FailureKind::NotFound, format!("no {stage} of a job {number} is on record here"))
        .with_hint("`pail queue` lists the jobs")
}
