//! Jobs: what runs detached from any client.
//!
//! Owns: `record`, what is known of a job; `supervisor`, the process that stays with it; `follow`, reading along.
//!
//! A stage is Starting, Running, Flushing, then Ended; whichever it is, it is lost where its supervisor is gone.

mod follow;
mod record;
mod supervisor;

pub use follow::{FollowRequest, follow};
pub use record::{End, JobRecord, Jobs, Stage, State};
pub use supervisor::{StageRequest, start, supervise};

use rustix::process::{Pid, Signal};
use std::time::{Duration, Instant};

/// Between two looks at a job that was told to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Sends the signal to the process group of a job's command. Whether there was one to send it to.
pub fn send_signal(job: &JobRecord, signal: Signal) -> bool {
    // By way of the supervisor, which knows then that the job was told to end; it cannot pass on what it cannot catch.
    let State::Running { supervisor, command } = &job.state else { return false };
    let caught = matches!(signal, Signal::INT | Signal::TERM) && supervisor.is_running();
    let sent = match caught {
        true => Pid::from_raw(supervisor.pid).map(|pid| rustix::process::kill_process(pid, signal)),
        false if command.is_running() => {
            Pid::from_raw(command.pid).map(|pid| rustix::process::kill_process_group(pid, signal))
        }
        false => None,
    };
    matches!(sent, Some(Ok(())))
}

/// Tells the job to end, kills it where it has not ended within `grace`, and waits for its flush for `patience` more. The job as it is then.
pub async fn end(jobs: &Jobs, number: u32, grace: Duration, patience: Duration) -> Option<JobRecord> {
    let begun = Instant::now();
    let mut killed = false;
    let mut told = false;
    loop {
        let job = jobs.get(number)?;
        // The command of a supervisor that was killed goes on by itself.
        let goes_on = matches!(&job.state, State::Running { command, .. } if command.is_running());
        if !(job.is_active() || goes_on) || begun.elapsed() >= grace + patience {
            return Some(job);
        }
        // One that is only starting has no command yet.
        told = told || send_signal(&job, Signal::TERM);
        if !killed && begun.elapsed() >= grace {
            killed = true;
            send_signal(&job, Signal::KILL);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
