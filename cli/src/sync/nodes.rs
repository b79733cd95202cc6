//! A sync to nodes.
//!
//! Owns: [`to_nodes`], all nodes at a time within a bound; one node's attempts; [`SyncOutcome`], what it came to, with equal failures of
//! many nodes told once.
//!
//! An attempt asks the node what is there, sends what differs, and looks again here: a file that changed meanwhile is sent once more, then
//! named. A worker may fetch from the head first (`fan_out`). A lost link leads to another attempt, which takes up from what the last one got across; see [`Trouble`] for what does not.

use super::agent::{BeginAnswer, BeginRequest, BegunItem, CommitRequest, Ready};
use super::fan_out::{Fetched, Lacking, Spreading};
use super::peer::Peer;
use super::rsync::{Report, Transfer, fed};
use super::trouble::{CHANGES, Trouble, VANISHED, named, of_rsync};
use super::{NotDone, Planned, Stats, SyncOptions, SyncPlan, SyncProgress};
use crate::cluster::{alike, on};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt;
use pail_control::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Attempts at one node, however much each of them gets across.
const ATTEMPTS_MAX: usize = 50;
/// What one attempt gets across at least, for the pauses to begin anew.
const PROGRESS_BYTES_MIN: u64 = 1 << 20;
/// Names that are told of those that could not be sent.
const NAMED_MAX: usize = 10;

/// What a sync came to, node by node.
#[derive(Debug)]
pub struct SyncOutcome {
    /// Host and result, in the order in which they were given.
    pub nodes: Vec<(String, Result<Stats, Failure>)>,
}

/// Sends a plan to nodes. What fails on one does not hold up the others.
pub async fn to_nodes(
    plan: &SyncPlan,
    nodes: &[Peer],
    options: &SyncOptions,
    progress: &SyncProgress,
) -> SyncOutcome {
    let session = session();
    let spreading = Spreading::new(plan, nodes, format!("{session}-0"), options);
    let work = nodes.iter().enumerate().map(|(index, peer)| {
        // One for each, for nodes may have one home.
        let session = format!("{session}-{index}");
        let sync = NodeSync {
            plan,
            peer,
            session,
            options,
            progress,
            index,
            spreading: spreading.as_ref(),
            fetches: AtomicBool::new(index > 0),
            suspects: Mutex::default(),
        };
        async move {
            let result = sync.run().await;
            progress.end(index);
            if let (0, Err(_), Some(spreading)) = (index, &result, sync.spreading) {
                spreading.head_is_done(None);
            }
            (peer.node.host.clone(), result)
        }
    });
    SyncOutcome { nodes: futures::stream::iter(work).buffered(options.parallel_max.get()).collect().await }
}

/// Names of an item as rsync takes them.
pub(super) fn fed_names(item: &Planned, indices: &[usize]) -> Vec<u8> {
    let mut list = Vec::new();
    indices.iter().for_each(|index| fed(&item.names.all()[*index].path, &mut list));
    list
}

/// What a run sent of files' content.
fn sent_bytes(report: &Report) -> u64 {
    let is_whole = report.files > 0 || report.literal_bytes > 0;
    if is_whole { report.literal_bytes } else { report.progress_bytes }
}

/// A name that no other sync has.
pub(super) fn session() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random() ^ u64::from(std::process::id()))
}

impl SyncOutcome {
    /// Takes out the files that changed or vanished while they were sent, a line each: no reason to leave the rest undone.
    pub fn take_restless(&mut self) -> Vec<String> {
        let stats = self.nodes.iter_mut().filter_map(|(_, result)| result.as_mut().ok());
        let mut lines: Vec<String> = stats.flat_map(Stats::take_restless).collect();
        // The same on each node.
        lines.sort();
        lines.dedup();
        lines
    }

    /// The failure that this is as a whole, if any: 5 where some nodes, or some files, are done; each cause is said once with its nodes.
    pub fn failure(&self) -> Option<Failure> {
        let failures = self.nodes.iter().filter_map(|(host, result)| Some((&**host, result.as_ref().err()?)));
        let failed = alike(failures);
        let mut not_done: BTreeMap<&NotDone, Vec<&str>> = BTreeMap::new();
        for (host, stats) in
            self.nodes.iter().filter_map(|(host, result)| Some((host, result.as_ref().ok()?)))
        {
            stats.not_done.iter().for_each(|name| not_done.entry(name).or_default().push(host));
        }
        let nodes_failed: usize = failed.iter().map(|(_, hosts)| hosts.len()).sum();
        if nodes_failed == 0 && not_done.is_empty() {
            return None;
        }
        let all = self.nodes.len();
        if let ([(failure, hosts)], true) = (failed.as_slice(), nodes_failed == all) {
            let message = format!("{}: {}", on(hosts), failure.message);
            return Some(Failure { message, ..failure.clone() });
        }
        let message = match nodes_failed {
            0 => format!("{} could not be synced", counted(not_done.len(), "file")),
            failed => format!("the sync failed on {failed} of {}", counted(all, "node")),
        };
        let mut whole = Failure::new(FailureKind::Partial, message);
        let same_kind = failed.iter().all(|(failure, _)| failure.kind == failed[0].0.kind);
        if nodes_failed == all && same_kind {
            whole.kind = failed[0].0.kind;
        }
        for (failure, hosts) in &failed {
            whole.causes.push(format!("{}: {failure}", on(hosts)));
        }
        for (name, hosts) in not_done.iter().take(NAMED_MAX) {
            let path = crate::terminal::escaped(&name.path);
            let cause = format!("{path}: {}", name.why);
            whole.causes.push(if hosts.len() == all { cause } else { format!("{}: {cause}", on(hosts)) });
        }
        if let more @ 1.. = not_done.len().saturating_sub(NAMED_MAX) {
            whole.causes.push(format!("and {more} more"));
        }
        Some(whole)
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

struct NodeSync<'a> {
    plan: &'a SyncPlan,
    peer: &'a Peer,
    session: String,
    options: &'a SyncOptions,
    progress: &'a SyncProgress,
    index: usize,
    /// Where workers may fetch from the head.
    spreading: Option<&'a Spreading<'a>>,
    /// It still may.
    fetches: AtomicBool,
    /// Of each item, the names that changed on the head after it had them: what was fetched of them may be of no one state.
    suspects: Mutex<Vec<Vec<usize>>>,
}

impl NodeSync<'_> {
    async fn run(&self) -> Result<Stats, Failure> {
        let mut stats = Stats::default();
        let mut pauses = self.options.retry_pauses.iter();
        for _ in 0..ATTEMPTS_MAX {
            let before = stats.bytes;
            let trouble = match self.attempt(&mut stats).await {
                Ok(()) => return Ok(stats),
                Err(trouble) => trouble,
            };
            if !trouble.is_passing {
                return Err(trouble.failure);
            }
            if stats.bytes >= before + PROGRESS_BYTES_MIN {
                pauses = self.options.retry_pauses.iter();
            }
            let Some(pause) = pauses.next() else { return Err(trouble.failure) };
            let (host, pause_s) = (&self.peer.node.host, pause.as_secs_f32());
            crate::terminal::note(&format!("{host}: {}; again in {pause_s} s", trouble.failure.message));
            tokio::time::sleep(*pause).await;
        }
        Err(Failure::new(FailureKind::Unreachable, "the connection to the node was lost again and again"))
    }

    async fn attempt(&self, stats: &mut Stats) -> Result<(), Trouble> {
        // What this attempt cannot do, the last one's word does not tell.
        stats.not_done.clear();
        stats.notes.clear();
        let mut keys = Vec::new();
        let places = self.begin_and_fetch(stats, &mut keys).await?;
        let suspects = self.suspects.lock().map(|suspects| suspects.clone()).unwrap_or_default();
        let mut done_bytes = 0;
        for (index, (item, place)) in self.plan.items.iter().zip(&places).enumerate() {
            stats.deleted += place.removed;
            stats.notes.extend(place.note.clone());
            let could_not = |why: &String| NotDone {
                path: item.destination.clone(),
                why: format!("cannot remove {why}"),
            };
            stats.not_done.extend(place.not_removed.iter().map(could_not));
            let there = BASE64.decode(&place.digests).unwrap_or_default();
            let mut names = item.differing(&there);
            let suspects = suspects.get(index).map(Vec::as_slice).unwrap_or_default();
            names.extend(suspects);
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                if !keys.contains(&place.key) {
                    keys.push(place.key.clone());
                }
                self.send(item, place, names, !suspects.is_empty(), done_bytes, stats).await?;
            }
            done_bytes += item.stamps.iter().flatten().map(|stamp| stamp.size).sum::<u64>();
            self.progress.step(self.index, done_bytes);
        }
        if !keys.is_empty() {
            let request = CommitRequest { session: self.session.clone(), keys };
            self.step("sync-commit", &request).await?;
        }
        if let (0, Some(spreading)) = (self.index, self.spreading) {
            spreading.head_is_done(Some(places));
        }
        Ok(())
    }

    /// Makes the places ready, and lets a worker that lacks much fetch it from the head. `keys`: of what was fetched to.
    async fn begin_and_fetch(
        &self,
        stats: &mut Stats,
        keys: &mut Vec<String>,
    ) -> Result<Vec<Ready>, Trouble> {
        let places = self.begin().await?;
        let Some(spreading) = self.spreading.filter(|_| self.fetches.load(Ordering::Relaxed)) else {
            return Ok(places);
        };
        let (mut lacking, mut bytes) = (Vec::new(), 0);
        for (index, (item, place)) in self.plan.items.iter().zip(&places).enumerate() {
            let names = item.differing(&BASE64.decode(&place.digests).unwrap_or_default());
            if !names.is_empty() {
                bytes +=
                    names.iter().filter_map(|name| item.stamps[*name]).map(|stamp| stamp.size).sum::<u64>();
                lacking.push(Lacking { index, item, place, names: fed_names(item, &names) });
            }
        }
        if lacking.is_empty() || !spreading.is_worth(bytes) {
            return Ok(places);
        }
        let step = |bytes| self.progress.step(self.index, bytes);
        let count = |report: &Report| {
            stats.files += report.files;
            stats.bytes += sent_bytes(report);
            stats.head_bytes += sent_bytes(report);
        };
        let fetched = spreading.fetch(self.peer, &self.session, &lacking, step, count).await;
        // Whatever it could not, it can no more.
        self.fetches.store(fetched == Fetched::LinkLost, Ordering::Relaxed);
        if fetched == Fetched::Nothing {
            return Ok(places);
        }
        keys.extend(lacking.iter().map(|lacking| lacking.place.key.clone()));
        let (now, suspects) = tokio::join!(self.begin(), self.changed_on(spreading));
        let mut now = now?;
        if let Ok(mut all) = self.suspects.lock() {
            *all = suspects;
        }
        for (now, before) in now.iter_mut().zip(places) {
            now.removed += before.removed;
            now.not_removed = before.not_removed;
        }
        Ok(now)
    }

    /// Of each item, the names that are on the head no more as they are here; all of them, where it does not say.
    async fn changed_on(&self, spreading: &Spreading<'_>) -> Vec<Vec<usize>> {
        let items = self.plan.items.iter().map(|item| item.asked(false)).collect();
        let request = BeginRequest { session: spreading.head_session.clone(), items };
        let answer = match serde_json::to_vec(&request) {
            Ok(request) => spreading.head.step("sync-begin", &request).await.ok(),
            Err(_) => None,
        };
        let answer: Option<BeginAnswer> = answer.and_then(|answer| serde_json::from_slice(&answer).ok());
        let places = answer.map(|answer| answer.items).unwrap_or_default();
        let changed = |(index, item): (usize, &Planned)| match places.get(index) {
            Some(BegunItem::Ready(place)) => {
                item.differing(&BASE64.decode(&place.digests).unwrap_or_default())
            }
            _ => (0..item.names.all().len()).collect(),
        };
        self.plan.items.iter().enumerate().map(changed).collect()
    }

    async fn step(&self, step: &str, request: &impl serde::Serialize) -> Result<Vec<u8>, Trouble> {
        let request = serde_json::to_vec(request).map_err(|err| {
            Trouble::lasting(Failure::other("cannot write a request as JSON").because(err.to_string()))
        })?;
        self.peer.step(step, &request).await
    }

    /// Makes the places ready; names are sent for those alone that have others.
    async fn begin(&self) -> Result<Vec<Ready>, Trouble> {
        let mut ready: Vec<Option<Ready>> = vec![None; self.plan.items.len()];
        for with_names in [false, true] {
            let open: Vec<usize> = (0..ready.len()).filter(|index| ready[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let items = open.iter().map(|index| self.plan.items[*index].asked(with_names)).collect();
            let answer =
                self.step("sync-begin", &BeginRequest { session: self.session.clone(), items }).await?;
            let answer: BeginAnswer = serde_json::from_slice(&answer).map_err(|err| {
                let said = String::from_utf8_lossy(&answer).chars().take(200).collect::<String>();
                let failure = Failure::other("the node's answer cannot be understood");
                Trouble::lasting(failure.because(err.to_string()).because(said))
            })?;
            for (index, item) in open.into_iter().zip(answer.items) {
                if let BegunItem::Ready(item) = item {
                    ready[index] = Some(*item);
                }
            }
        }
        let missing = || Trouble::lasting(Failure::other("the node did not answer for all destinations"));
        ready.into_iter().map(|item| item.ok_or_else(missing)).collect()
    }

    /// Sends names of an item, and what changed meanwhile once more.
    async fn send(
        &self,
        item: &Planned,
        place: &Ready,
        names: Vec<usize>,
        is_suspect: bool,
        done_bytes: u64,
        stats: &mut Stats,
    ) -> Result<(), Trouble> {
        let looked = |err: std::io::Error| Trouble::lasting(Failure::unreadable(&item.source, &err));
        let mut before: Vec<_> = names.iter().map(|index| item.stamps[*index]).collect();
        let mut names = names;
        let mut not_done: BTreeMap<String, String> = BTreeMap::new();
        for is_last in [false, true] {
            stats.listed += names.len() as u64;
            let report = self.transfer(item, place, &names, is_suspect, done_bytes).await?;
            stats.files += report.files;
            stats.bytes += sent_bytes(&report);
            let connection = self.peer.node.explain_connection(report.stderr.as_bytes());
            if let Some(trouble) = of_rsync(&report, &item.destination, connection) {
                return Err(trouble);
            }
            if matches!(report.code, Some(23 | 24)) {
                let told = named(&report.stderr);
                if told.is_empty() {
                    not_done.insert(item.destination.clone(), report.stderr.trim().to_owned());
                }
                not_done.extend(told.into_iter().map(|name| (name.path, name.why)));
            }
            let after = item.stamps_now(&names).map_err(looked)?;
            let mut changed = Vec::new();
            for ((index, before), after) in names.iter().zip(&before).zip(&after) {
                let path = item.path_of(&item.names.all()[*index]).to_string_lossy().into_owned();
                match after {
                    None => drop(not_done.entry(path).or_insert_with(|| VANISHED.to_owned())),
                    Some(now) if Some(*now) == *before => {}
                    Some(_) if is_last => drop(not_done.insert(path, CHANGES.to_owned())),
                    Some(_) => {
                        not_done.remove(&path);
                        changed.push((*index, *after));
                    }
                }
            }
            if changed.is_empty() {
                break;
            }
            (names, before) = changed.into_iter().unzip();
        }
        stats.not_done.extend(not_done.into_iter().map(|(path, why)| NotDone { path, why }));
        Ok(())
    }

    async fn transfer(
        &self,
        item: &Planned,
        place: &Ready,
        names: &[usize],
        is_suspect: bool,
        done_bytes: u64,
    ) -> Result<Report, Trouble> {
        let transfer = Transfer {
            peer: self.peer,
            session: &self.session,
            source: &item.source,
            names: (!item.is_file).then(|| fed_names(item, names)),
            place,
            is_suspect,
            options: self.options,
        };
        let told = transfer.run(|bytes| self.progress.step(self.index, done_bytes + bytes)).await;
        told.map_err(Trouble::lasting)
    }
}
