//! A sync that sends once over the client's link, and lets the head hand on to the workers.
//!
//! Owns: [`FanOut`], when; [`Spreading`], the state of it in one sync: what the head has, its relay, and who may fetch.
//!
//! The head gets its files as ever. A worker that lacks much waits for it, then fetches from the head's relay (`relay`, `pull`) under the same
//! locks and records as a transfer from here. Whatever comes of that, an ordinary attempt follows, which compares what the worker has with
//! what is here and sends what differs, and what changed on the head meanwhile: so nothing that a job on the head changed counts as sent, and a worker that cannot fetch misses
//! nothing but time.

use super::agent::Ready;
use super::peer::Peer;
use super::pull::{LinkRequest, PullRequest, REASON};
use super::relay::{OFFER_MARK, Offer, RelayRequest, RelaySource};
use super::rsync::{Report, follow};
use super::{Planned, SyncOptions, SyncPlan};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::Failure;
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::{OnceCell, Semaphore, watch};

/// From how much on, for all workers together, they fetch from the head. It is 21 s of an uplink of 100 Mbit/s, and 2 s of one of 1 Gbit/s;
/// the way over the head costs about a second, and where no link is narrow no more than that. The uplink is not measured: that takes longer.
const SPREAD_BYTES_MIN: u64 = 256 << 20;
/// Workers that fetch at a time: the head's disk and link serve few faster than many.
const FETCHING_MAX: usize = 4;
/// How long the head may take to offer a relay.
const OFFER_MAX: Duration = Duration::from_secs(30);
/// How much a login shell there may print before.
const NOISE_BYTES_MAX: u64 = 1 << 20;

/// Whether workers fetch from the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FanOut {
    /// Where more than one worker lacks more than 256 MiB together.
    #[default]
    Auto,
    /// Whatever they lack.
    Always,
    /// This machine sends to each.
    Never,
}

impl FromStr for FanOut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err("auto, always or never".to_owned()),
        }
    }
}

impl std::fmt::Display for FanOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// What the head has.
#[derive(Debug, Clone)]
enum Head {
    Underway,
    Has(Arc<Vec<Ready>>),
    Failed,
}

/// A relay that runs on the head until this is dropped.
struct Relay {
    offer: Offer,
    _ssh: Child,
    _open: ChildStdin,
}

/// What a worker lacks of one item.
pub(super) struct Lacking<'a> {
    /// Its place in the plan.
    pub index: usize,
    pub item: &'a Planned,
    pub place: &'a Ready,
    /// As rsync takes them.
    pub names: Vec<u8>,
}

/// How a worker's fetching ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Something was fetched, or all of it.
    Some,
    /// Nothing was begun.
    Nothing,
    /// The link from here to the worker was lost.
    LinkLost,
}

/// One sync in which workers may fetch.
pub(super) struct Spreading<'a> {
    mode: FanOut,
    workers: u64,
    pub head: &'a Peer,
    /// Of its sync.
    pub head_session: String,
    /// Of each item, whether it is one file.
    are_files: Vec<bool>,
    options: &'a SyncOptions,
    state: watch::Sender<Head>,
    relay: OnceCell<Option<Relay>>,
    slots: Semaphore,
    has_told: AtomicBool,
}

impl<'a> Spreading<'a> {
    /// `None` where this machine sends to each.
    pub fn new(
        plan: &SyncPlan,
        peers: &'a [Peer],
        head_session: String,
        options: &'a SyncOptions,
    ) -> Option<Self> {
        let [head, workers @ ..] = peers else { return None };
        let workers = workers.len() as u64;
        let may_be = match options.fan_out {
            FanOut::Never => false,
            FanOut::Always => workers > 0,
            FanOut::Auto => workers > 1 && plan.bytes.saturating_mul(workers) >= SPREAD_BYTES_MIN,
        };
        may_be.then(|| Self {
            mode: options.fan_out,
            workers,
            head,
            head_session,
            are_files: plan.items.iter().map(|item| item.is_file).collect(),
            options,
            state: watch::Sender::new(Head::Underway),
            relay: OnceCell::new(),
            slots: Semaphore::new(FETCHING_MAX),
            has_told: AtomicBool::new(false),
        })
    }

    /// Whether a worker that lacks so much is to fetch it; the others are taken to lack as much.
    pub fn is_worth(&self, bytes: u64) -> bool {
        self.mode == FanOut::Always || bytes.saturating_mul(self.workers) >= SPREAD_BYTES_MIN
    }

    /// What the head has at last, by item; `None` where it failed.
    pub fn head_is_done(&self, places: Option<Vec<Ready>>) {
        self.state.send_replace(places.map_or(Head::Failed, |places| Head::Has(Arc::new(places))));
    }

    /// Lets a worker fetch what it lacks, once the head has it. `report` is told of each run.
    pub async fn fetch(
        &self,
        worker: &Peer,
        session: &str,
        lacking: &[Lacking<'_>],
        progress: impl Fn(u64),
        mut report: impl FnMut(&Report),
    ) -> Fetched {
        let mut state = self.state.subscribe();
        let head = match state.wait_for(|head| !matches!(head, Head::Underway)).await.as_deref() {
            Ok(Head::Has(places)) => places.clone(),
            _ => {
                self.tell(&format!(
                    "{} does not have the files that the others were to get from it",
                    self.head.node.host
                ));
                return Fetched::Nothing;
            }
        };
        // It is never closed.
        let Ok(_slot) = self.slots.acquire().await else { return Fetched::Nothing };
        let Some(relay) = self.relay.get_or_init(|| self.start(&head)).await else { return Fetched::Nothing };
        let mut fetched = Fetched::Nothing;
        for lacking in lacking {
            let Some(request) = self.request(session, lacking, head.get(lacking.index), &relay.offer) else {
                continue;
            };
            let ran = match self.pull(worker, &request, &progress).await {
                Ok(ran) => ran,
                Err(failure) => {
                    self.tell(&format!(
                        "{} cannot fetch from {}: {failure}",
                        worker.node.host, self.head.node.host
                    ));
                    return fetched;
                }
            };
            report(&ran);
            fetched = Fetched::Some;
            match ran.code {
                // Of what could not be sent, the attempt that follows tells.
                Some(0 | 23 | 24) => {}
                Some(255) | None => return Fetched::LinkLost,
                _ => {
                    let why = why(&ran.stderr);
                    self.tell(&format!(
                        "{} cannot fetch from {}: {why}",
                        worker.node.host, self.head.node.host
                    ));
                    return fetched;
                }
            }
        }
        fetched
    }

    /// Once for all of the nodes.
    fn tell(&self, what: &str) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            crate::terminal::note(&format!("{what}; this machine sends to each node that cannot"));
        }
    }

    fn idle_secs(&self) -> u64 {
        self.options.idle_timeout.as_secs().max(1)
    }

    fn request(
        &self,
        session: &str,
        lacking: &Lacking<'_>,
        head: Option<&Ready>,
        offer: &Offer,
    ) -> Option<PullRequest> {
        let is_file = lacking.item.is_file;
        // Where rsync would take it for a pattern, or for its shell's, it is sent from here.
        let is_plain =
            |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let file = match is_file {
            true => Some(head?.path.rsplit('/').next().filter(is_plain)?.to_owned()),
            false => None,
        };
        Some(PullRequest {
            session: session.to_owned(),
            key: lacking.place.key.clone(),
            path: lacking.place.path.clone(),
            by_sudo: lacking.place.by_sudo,
            file,
            idle_secs: self.idle_secs(),
            link: LinkRequest {
                offer: offer.clone(),
                source: lacking.index,
                names: (!is_file).then(|| BASE64.encode(&lacking.names)),
            },
        })
    }

    async fn pull(
        &self,
        worker: &Peer,
        request: &PullRequest,
        progress: &impl Fn(u64),
    ) -> Result<Report, Failure> {
        let request = serde_json::to_vec(request)
            .map_err(|err| Failure::other("cannot write a request as JSON").because(err.to_string()))?;
        let mut ssh = worker.node.ssh();
        ssh.arg(format!("exec {} node sync-pull", worker.program()));
        follow(ssh, Some(&request), progress).await.map_err(|err| Failure::from_io("cannot run ssh", &err))
    }

    async fn start(&self, places: &[Ready]) -> Option<Relay> {
        let offered = tokio::time::timeout(OFFER_MAX, self.try_start(places)).await;
        let late = |_| Err(Failure::other(format!("nothing was heard of it for {} s", OFFER_MAX.as_secs())));
        match offered.unwrap_or_else(late) {
            Ok(relay) => Some(relay),
            Err(failure) => {
                self.tell(&format!("{} cannot hand on files: {failure}", self.head.node.host));
                None
            }
        }
    }

    async fn try_start(&self, places: &[Ready]) -> Result<Relay, Failure> {
        let address = self.head.address.ok_or_else(|| Failure::other("it has told no address of its own"))?;
        let source = |(place, item): (&Ready, &bool)| RelaySource {
            key: place.key.clone(),
            path: place.path.clone(),
            is_file: *item,
        };
        let sources = places.iter().zip(&self.are_files).map(source).collect();
        let request = RelayRequest { address, idle_secs: self.idle_secs(), sources };
        let cannot = |err: std::io::Error| Failure::from_io("cannot run ssh", &err);
        let mut request = serde_json::to_vec(&request).map_err(|err| cannot(err.into()))?;
        request.push(b'\n');
        let mut ssh = self.head.node.ssh();
        ssh.arg(format!("exec {} node sync-relay", self.head.program()));
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = ssh.spawn().map_err(cannot)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::other("ssh was started without pipes"));
        };
        stdin.write_all(&request).await.map_err(cannot)?;
        stdin.flush().await.map_err(cannot)?;
        let mut lines = BufReader::new(stdout.take(NOISE_BYTES_MAX));
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line).await.map_err(cannot)? == 0 {
                return Err(Failure::other("it ended at once"));
            }
            let Some(answer) = line.strip_prefix(OFFER_MARK.as_bytes()) else { continue };
            let offer: Result<Offer, Failure> = serde_json::from_slice(answer)
                .map_err(|_| Failure::other("its answer cannot be understood"))?;
            return Ok(Relay { offer: offer?, _ssh: child, _open: stdin });
        }
    }
}

/// What was said, in a few words: our own program's, or else the first.
fn why(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let ours = lines().find_map(|line| line.strip_prefix(REASON)).map(str::to_owned);
    ours.or_else(|| lines().next().map(str::to_owned)).unwrap_or_else(|| "the transfer broke off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_reason_is_told_before_rsyncs() {
        let said = "rsync: connection unexpectedly closed\npail: cannot connect to 10.0.0.2:1: refused\n";
        assert_eq!(why(said), "cannot connect to 10.0.0.2:1: refused");
        assert_eq!(why("rsync: what\nrsync error"), "rsync: what");
        assert_eq!(why(" \n"), "the transfer broke off");
    }
}
