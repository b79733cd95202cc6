//! What is under way of a copy, in whatever direction it goes.
//!
//! Owns: [`Engine`], which runs a task for each object, and writes down what became of it in the manifest and the report; and [`Announcer`], which says of what is about to
//! be copied that it is, to the progress or to whoever asked for a dry run.
//!
//! Bounds: twice [`Options::connections`] tasks, so that one is at hand for each connection that becomes free. What a task holds is its own to bound.

use crate::change::{Action, Reason};
use crate::copy_error::CopyError;
use crate::manifest::{Entry, Manifest};
use crate::report_builder::ReportBuilder;
use crate::run_log::FLUSH_INTERVAL;
use crate::work::{Work, lost};
use crate::{Changes, Error, Options, Progress, Report};
use pail_store::RawKey;
use std::sync::Arc;
use tokio::task::JoinSet;

/// What became of an object.
pub(crate) enum Outcome {
    Copied(Copied),
    /// It is as this says.
    Unchanged(Entry),
    /// It would be copied.
    Announced {
        size: u64,
    },
}

/// An object or a file that was made.
pub(crate) struct Copied {
    pub entry: Entry,
    /// So many of its bytes were there from an earlier run.
    pub resumed_bytes: u64,
    /// Whether its bytes are those that the source has, by a checksum; `None` where that is not for this side to say.
    pub is_verified: Option<bool>,
}

/// Runs the tasks of one run. Dropped, it gives up those that are under way.
pub(crate) struct Engine {
    pub manifest: Arc<Manifest>,
    pub announcer: Announcer,
    pub builder: ReportBuilder,
    /// By key, and by the name that a failure is told under.
    tasks: JoinSet<(RawKey, String, Result<Outcome, CopyError>)>,
    tasks_max: usize,
    work: Work,
}

impl Engine {
    pub fn new(manifest: Arc<Manifest>, options: &Options, progress: Arc<Progress>, work: Work) -> Self {
        Self {
            manifest,
            announcer: Announcer { progress, dry_run: options.dry_run.clone() },
            builder: ReportBuilder::default(),
            tasks: JoinSet::new(),
            tasks_max: options.connections().saturating_mul(2),
            work,
        }
    }

    /// Runs `task`, which is about the object `key`, once there is room for it. Errors: what ends the run.
    pub async fn spawn(
        &mut self,
        key: RawKey,
        name: String,
        task: impl Future<Output = Result<Outcome, CopyError>> + Send + 'static,
    ) -> Result<(), Error> {
        while self.tasks.len() >= self.tasks_max {
            self.join_next().await?;
        }
        let task = self.work.tracked(task);
        self.tasks.spawn(async move { (key, name, task.await) });
        Ok(())
    }

    /// Whether an object that needs no closer look is to be copied: in a dry run it is told, and counted.
    pub fn announces(&mut self, key: &str, size: u64, reason: Reason) -> bool {
        if self.announcer.copies(key, size, reason) {
            return true;
        }
        self.announcer.progress.finish_one();
        self.builder.report.copied += 1;
        self.builder.report.copied_bytes += size;
        false
    }

    /// Notes what needs no task, and what else is due. Errors: what ends the run.
    pub fn note(&mut self, key: &str, name: &str, outcome: Result<Outcome, CopyError>) -> Result<(), Error> {
        let report = &mut self.builder.report;
        match outcome {
            Ok(Outcome::Copied(Copied { entry, resumed_bytes, is_verified })) => {
                report.copied += 1;
                report.copied_bytes += entry.local.size;
                report.resumed_bytes += resumed_bytes;
                report.verified += u64::from(is_verified == Some(true));
                report.unverified += u64::from(is_verified == Some(false));
                self.manifest.record(key, entry);
            }
            Ok(Outcome::Unchanged(entry)) => {
                report.unchanged += 1;
                self.manifest.record(key, entry);
            }
            Ok(Outcome::Announced { size }) => {
                report.copied += 1;
                report.copied_bytes += size;
            }
            Err(error) => self.builder.add(name, error)?,
        }
        self.manifest.flush_if_due(&self.work);
        Ok(())
    }

    /// Waits for one of the tasks.
    async fn join_next(&mut self) -> Result<(), Error> {
        let joined = loop {
            match tokio::time::timeout(FLUSH_INTERVAL, self.tasks.join_next()).await {
                Ok(Some(joined)) => break joined,
                Ok(None) => return Ok(()),
                Err(_) => self.manifest.flush_if_due(&self.work),
            }
        };
        let (key, name, outcome) = joined.map_err(|error| lost(&error))?;
        self.announcer.progress.finish_one();
        self.note(key.as_str(), &name, outcome)
    }

    /// Waits for all tasks, or, where the walk of the source failed or one of them ends the run, gives up the others. Errors: that.
    pub async fn join_all<T>(&mut self, walked: Result<T, Error>) -> Result<T, Error> {
        let mut ended = walked;
        while ended.is_ok() && !self.tasks.is_empty() {
            let joined = self.join_next().await;
            ended = joined.and(ended);
        }
        self.tasks.shutdown().await;
        ended
    }

    /// Has the manifest written down. Where the run saw everything that it was about, what it did not see is forgotten, but for the keys that were left out.
    pub async fn save_manifest(
        &self,
        seen_all: bool,
        is_left_out: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        if seen_all {
            self.manifest.forget_unseen(is_left_out);
        }
        let manifest = self.manifest.clone();
        self.work.blocking(move || manifest.save()).await.map_err(CopyError::into_error)
    }

    /// What the run came to. Errors: everything was refused.
    pub fn into_report(self) -> Result<Report, Error> {
        self.builder.into_report()
    }
}

/// Says what is about to be copied.
#[derive(Clone)]
pub(crate) struct Announcer {
    pub progress: Arc<Progress>,
    dry_run: Option<Changes>,
}

impl Announcer {
    /// Counts an object as found. Whether it is to be copied: in a dry run it is told, and that was all; give [`Outcome::Announced`] then.
    pub fn copies(&self, key: &str, size: u64, reason: Reason) -> bool {
        self.progress.find(size);
        match &self.dry_run {
            Some(changes) => {
                changes.tell(Action::Copy, key, size, reason);
                false
            }
            None => true,
        }
    }

    /// Counts an object as found that a closer look found as it was, or that could not be looked at, so that it can be counted as done.
    pub fn skips(&self) {
        self.progress.find(0);
    }

    pub fn is_dry(&self) -> bool {
        self.dry_run.is_some()
    }
}
