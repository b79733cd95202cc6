//! What a client asks of a node.
//!
//! Owns: [`Request`] and the answers. Client and node are of one version, since the client sends the node its program: nothing here needs
//! to be understood by another version.

use super::job::{FollowRequest, JobRecord, Stage, StageRequest};
use super::preparing::{CheckOutRequest, PrepareRequest};
use serde::{Deserialize, Serialize};

/// One call. Requests carry secrets: `Debug` is left out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Places, mounts and copies: answered by [`Prepared`](super::preparing::Prepared).
    Prepare(Box<PrepareRequest>),
    /// The working directory made a checkout of a commit; answered when it is.
    CheckOut {
        /// Which.
        request: Box<CheckOutRequest>,
        /// The repository is opened by the agent that this session forwards.
        by_agent: bool,
    },
    /// A checkout is taken off the working directory, where there is one; answered when it is.
    LeaveCheckout,
    /// The last number that a job of the cluster has had here; answered by it, or 0.
    LastNumber {
        /// Whose jobs.
        cluster: String,
    },
    /// The next free number of a job; answered by it.
    TakeNumber {
        /// Whose jobs it is to be among.
        cluster: String,
        /// The number is higher.
        above: u32,
    },
    /// Starts a stage of a job; answered when its command runs.
    Start(Box<StageRequest>),
    /// The output of a stage, answered by its [`JobRecord`] when it is over.
    Follow(FollowRequest),
    /// Sends a signal to a job's command; answered at once by whether there was one.
    Signal {
        /// Whose jobs it is among.
        cluster: String,
        /// Which of them.
        number: u32,
        /// How firmly.
        signal: JobSignal,
    },
    /// Ends a job and waits for its flush; answered by its record, where there is one.
    End {
        /// Whose jobs it is among.
        cluster: String,
        /// Which of them.
        number: u32,
    },
    /// All jobs; answered by [`JobRow`]s.
    Jobs {
        /// Whose.
        cluster: String,
    },
    /// Unmounts places, if all that was written there is in the buckets; answered by what is not, as lines for people.
    Unmount {
        /// As the task says them.
        destinations: Vec<String>,
        /// How long to wait for each, in milliseconds.
        timeout_ms: u64,
    },
    /// Ends the cluster's jobs, drains and unmounts everything, and ends the daemon; answered by [`Down`].
    Down {
        /// Whose jobs end.
        cluster: String,
        /// How long to wait for what is not in the buckets, in milliseconds.
        timeout_ms: u64,
    },
}

/// How a job is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSignal {
    /// As Ctrl-C does.
    Interrupt,
    /// As `kill` does.
    Terminate,
}

/// A job, and its status as its node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobRow {
    /// What is on record.
    pub job: JobRecord,
    /// In one word.
    pub status: String,
}

/// What going down came to on one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Down {
    /// Jobs that were ended.
    pub ended: Vec<u32>,
    /// Mounts that are gone.
    pub unmounted: Vec<std::path::PathBuf>,
    /// What is not in the buckets, as lines for people.
    pub left: Vec<String>,
}

impl Request {
    /// As an error names it.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "preparing the node",
            Self::CheckOut { .. } | Self::LeaveCheckout => "checking out the code",
            Self::LastNumber { .. } | Self::TakeNumber { .. } => "numbering the job",
            Self::Start(request) if request.stage == Stage::Setup => "starting setup",
            Self::Start(_) => "starting the run",
            Self::Follow(_) => "following the job",
            Self::Signal { .. } | Self::End { .. } => "ending the job",
            Self::Jobs { .. } => "listing the jobs",
            Self::Unmount { .. } => "unmounting",
            Self::Down { .. } => "taking the node down",
        }
    }
}
