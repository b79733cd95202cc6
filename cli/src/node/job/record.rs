//! Jobs on a node's disk.
//!
//! Owns: [`JobRecord`] and its folder, `jobs/HOST/CLUSTER/NUMBER` below the state directory: `job.json`, replaced as a whole, and a log for each
//! stage. Invariants: a number is never given twice on one node, and nothing secret is in the folder but what the job itself prints.

use jiff::Timestamp;
use pail_control::Failure;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Jobs that have ended are kept up to this many for each cluster; then the oldest go.
const ENDED_JOBS_MAX: usize = 200;
/// What is kept of the disk for a record.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 64 << 10;

/// The part of a task that a job is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The task's `setup`.
    Setup,
    /// The task's `run`.
    Run,
}

impl Stage {
    /// As people and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Run => "run",
        }
    }
}

/// A process that no later one of the same number is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since the start of the machine.
    pub started: u64,
    /// Which start of the machine that was.
    pub boot: u128,
}

impl ProcessIdentity {
    /// Of a process that runs now; `None` where none does.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // `proc_pid_stat(5)`: the state is field 3, the start field 22.
        let (state, started) = (*rest.first()?, rest.get(19)?.parse().ok()?);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap_or_default();
        (!matches!(state, "Z" | "X")).then_some(Self { pid, started, boot })
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its command is about to be started.
    Starting {
        /// By whom.
        supervisor: ProcessIdentity,
    },
    /// Its command runs; `command` is the leader of its process group.
    Running {
        /// Who waits for the command.
        supervisor: ProcessIdentity,
        /// The command's shell.
        command: ProcessIdentity,
    },
    /// The command has ended; what it wrote is on its way to the buckets.
    Flushing {
        /// Who flushes.
        supervisor: ProcessIdentity,
        /// Of the command.
        exit_code: u8,
        /// Files that are not in the bucket yet.
        files_left: u64,
    },
    /// It is over.
    Ended(End),
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Of the command; 128 and the signal's number where one ended it.
    pub exit_code: u8,
    /// The command was told to end.
    #[serde(default)]
    pub cancelled: bool,
    /// What could not be brought into the buckets, as lines for people; empty where nothing remains.
    pub remaining: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// A job as its node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// By which people name it; the same on all nodes of a launch.
    pub number: u32,
    /// Of the launch: what `SKYPILOT_TASK_ID` is.
    pub id: String,
    /// The task's name.
    pub name: Option<String>,
    /// This node's.
    pub rank: u32,
    /// Nodes that run it.
    pub nodes: u32,
    /// When it was sent.
    pub submitted: Timestamp,
    /// The last stage that was begun.
    pub stage: Stage,
    /// How far that is.
    pub state: State,
}

impl JobRecord {
    /// Whether somebody still works on it: a supervisor that was killed, or a machine that went down, ends a job without a word.
    pub fn is_active(&self) -> bool {
        match &self.state {
            State::Starting { supervisor }
            | State::Running { supervisor, .. }
            | State::Flushing { supervisor, .. } => supervisor.is_running(),
            State::Ended(_) => false,
        }
    }

    /// In one word, as lists show it.
    pub fn status(&self) -> &'static str {
        match (&self.state, self.stage) {
            (State::Ended(End { exit_code: 0, remaining, .. }), _) if !remaining.is_empty() => "NOT_FLUSHED",
            (State::Ended(End { cancelled: true, .. }), _) => "CANCELLED",
            (State::Ended(End { exit_code: 0, .. }), Stage::Run) => "SUCCEEDED",
            (State::Ended(End { exit_code: 0, .. }), Stage::Setup) => "SET_UP",
            (State::Ended(_), Stage::Run) => "FAILED",
            (State::Ended(_), Stage::Setup) => "FAILED_SETUP",
            _ if !self.is_active() => "LOST",
            (State::Starting { .. }, _) => "STARTING",
            (State::Flushing { .. }, _) => "FLUSHING",
            (State::Running { .. }, Stage::Run) => "RUNNING",
            (State::Running { .. }, Stage::Setup) => "SETTING_UP",
        }
    }
}

/// A job's folder, held against others who would start the job.
#[derive(Debug)]
pub struct JobFolder {
    _lock: fs::File,
}

/// The jobs of one cluster, as one of its nodes has them.
#[derive(Debug, Clone)]
pub struct Jobs {
    dir: PathBuf,
}

impl Jobs {
    /// Those of `cluster` that the host of that name has, below `state`, the state directory. Nothing is made yet.
    pub fn of(state: &Path, host: &str, cluster: &str) -> Self {
        Self { dir: state.join("jobs").join(host).join(cluster) }
    }

    /// The other clusters whose jobs run on this host, each with a job of it.
    pub fn active_of_others(&self) -> Vec<(String, u32)> {
        let clusters =
            self.dir.parent().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        let others = clusters.map(|entry| entry.path()).filter(|dir| *dir != self.dir);
        let active = others.filter_map(|dir| {
            let name = dir.file_name()?.to_string_lossy().into_owned();
            let job = Self { dir }.all().into_iter().find(JobRecord::is_active)?;
            Some((name, job.number))
        });
        active.collect()
    }

    /// The last number that was given; 0 where none was.
    pub fn last_number(&self) -> u32 {
        self.numbers().last().copied().unwrap_or_default()
    }

    /// Takes the next free number above `above`, and makes the job's folder. Errors: the local disk's.
    pub fn take_number(&self, above: u32) -> Result<u32, Failure> {
        let made = || {
            private_dirs().create(&self.dir)?;
            loop {
                let number = self.last_number().max(above) + 1;
                match fs::DirBuilder::new().mode(0o700).create(self.folder(number)) {
                    // Somebody else took it at the same moment.
                    Err(err) if err.kind() == ErrorKind::AlreadyExists => continue,
                    made => return made.map(|()| number),
                }
            }
        };
        let number =
            made().map_err(|err| Failure::from_io(format!("cannot write {}", self.dir.display()), &err))?;
        self.remove_oldest();
        Ok(number)
    }

    /// Makes the folder of the job `id` under a number that another node has given, and holds it until the guard is dropped, so that a job is
    /// started once however often that is asked for. What an earlier job left under that number goes. Blocks. Errors: the local disk's.
    pub fn use_number(&self, number: u32, id: &str) -> Result<JobFolder, Failure> {
        let folder = self.folder(number);
        let hold = || {
            private_dirs().create(&folder)?;
            let lock = fs::File::open(&folder)?;
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
            if self.get(number).is_none_or(|job| job.id != id) {
                for entry in fs::read_dir(&folder)?.flatten() {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(JobFolder { _lock: lock })
        };
        let held: Result<_, std::io::Error> = hold();
        let held =
            held.map_err(|err| Failure::from_io(format!("cannot write {}", folder.display()), &err))?;
        self.remove_oldest();
        Ok(held)
    }

    /// All jobs, oldest first. Those whose record cannot be read are left out.
    pub fn all(&self) -> Vec<JobRecord> {
        self.numbers().into_iter().filter_map(|number| self.get(number)).collect()
    }

    /// A job; `None` where there is none of that number.
    pub fn get(&self, number: u32) -> Option<JobRecord> {
        serde_json::from_slice(&fs::read(self.folder(number).join("job.json")).ok()?).ok()
    }

    /// Replaces a job's record. Errors: the local disk's.
    pub fn put(&self, job: &JobRecord) -> Result<(), Failure> {
        let folder = self.folder(job.number);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&folder)?;
            serde_json::to_writer(&mut file, job)?;
            file.persist(folder.join("job.json")).map_err(|err| err.error)?;
            Ok(())
        };
        write().map_err(|err| Failure::from_io(format!("cannot write {}", folder.display()), &err))
    }

    /// Keeps some of the disk for the job's last record: a job that fills the disk is told of all the same. Errors: there is not even that much.
    pub fn reserve(&self, number: u32) -> Result<(), Failure> {
        let path = self.folder(number).join(RESERVE);
        let written = fs::write(&path, vec![0; RESERVE_BYTES]);
        written.map_err(|err| Failure::from_io(format!("cannot write {}", path.display()), &err))
    }

    /// Gives the reserve to what is written next.
    pub fn use_reserve(&self, number: u32) {
        let _ = fs::remove_file(self.folder(number).join(RESERVE));
    }

    /// The log of a job's stage.
    pub fn log(&self, number: u32, stage: Stage) -> PathBuf {
        self.folder(number).join(format!("{}.log", stage.name()))
    }

    /// Opens that log to append to it; other users cannot read it.
    pub fn open_log(&self, number: u32, stage: Stage) -> Result<fs::File, Failure> {
        let path = self.log(number, stage);
        let opened = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        opened.map_err(|err| Failure::from_io(format!("cannot write {}", path.display()), &err))
    }

    fn folder(&self, number: u32) -> PathBuf {
        self.dir.join(number.to_string())
    }

    fn numbers(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut numbers: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Best effort: a folder that cannot be removed is tried again with the next job.
    fn remove_oldest(&self) {
        // One without a record never began.
        let is_over = |number: &u32| self.get(*number).is_none_or(|job| !job.is_active());
        let ended: Vec<u32> = self.numbers().into_iter().filter(is_over).collect();
        for number in ended.iter().take(ended.len().saturating_sub(ENDED_JOBS_MAX)) {
            let _ = fs::remove_dir_all(self.folder(*number));
        }
    }
}

fn private_dirs() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u32, state: State) -> JobRecord {
        let submitted = Timestamp::UNIX_EPOCH;
        JobRecord {
            number,
            id: "id".into(),
            name: None,
            rank: 0,
            nodes: 1,
            submitted,
            stage: Stage::Run,
            state,
        }
    }

    #[test]
    fn numbers_go_up_and_records_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(dir.path(), "h", "dev");
        assert_eq!((jobs.take_number(0).unwrap(), jobs.take_number(0).unwrap()), (1, 2));
        let end = End { exit_code: 3, cancelled: false, remaining: vec![], at: Timestamp::UNIX_EPOCH };
        jobs.put(&job(2, State::Ended(end))).unwrap();
        assert_eq!(jobs.all().iter().map(JobRecord::status).collect::<Vec<_>>(), ["FAILED"]);
        assert_eq!(jobs.take_number(0).unwrap(), 3);
        assert_eq!(jobs.take_number(7).unwrap(), 8);
        assert!(Jobs::of(dir.path(), "h", "other").all().is_empty());
    }

    #[test]
    fn a_number_that_another_job_had_shows_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let jobs = Jobs::of(dir.path(), "h", "dev");
        let held = jobs.use_number(7, "id").unwrap();
        let end = End { exit_code: 0, cancelled: false, remaining: vec![], at: Timestamp::UNIX_EPOCH };
        jobs.put(&job(7, State::Ended(end))).unwrap();
        drop(held);
        std::io::Write::write_all(&mut jobs.open_log(7, Stage::Run).unwrap(), b"old").unwrap();
        drop(jobs.use_number(7, "id").unwrap());
        assert_eq!(fs::read(jobs.log(7, Stage::Run)).unwrap(), b"old");
        drop(jobs.use_number(7, "other").unwrap());
        assert!(jobs.get(7).is_none() && !jobs.log(7, Stage::Run).exists());
    }

    #[test]
    fn a_job_whose_supervisor_is_gone_is_lost() {
        let here = ProcessIdentity::of(std::process::id() as i32).unwrap();
        let running = job(1, State::Running { supervisor: here, command: here });
        assert_eq!((running.status(), running.is_active()), ("RUNNING", true));
        let gone = ProcessIdentity { started: here.started + 1, ..here };
        let lost = job(1, State::Running { supervisor: gone, command: here });
        assert_eq!((lost.status(), lost.is_active()), ("LOST", false));
    }
}
