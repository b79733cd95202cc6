//! Calls to a node.
//!
//! Owns: [`Session`], a node that Pail's program was sent to. A call is one ssh session over the shared connection.
//!
//! Invariant: every request may be sent twice, since nobody knows of a connection that was lost whether the node has done it.

use crate::cluster::{Agent, Node};
use crate::node::copies::CopiesState;
use crate::node::job::{FollowRequest, JobRecord};
use crate::node::protocol::{Heard, read_answer};
use crate::node::request::Request;
use crate::node::serve::encode;
use crate::sync::Peer;
use crate::terminal;
use pail_control::command_line::word;
use pail_control::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// How long a node may be out of reach before the job that is followed there is given up, by default.
pub const NODE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Between two attempts to reach it again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// How often a call is sent again whose connection was lost, and the pauses before.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(2), Duration::from_secs(8)];
/// How long standard error is read after ssh has ended: the process that keeps the connection may hold it open.
const STDERR_GRACE: Duration = Duration::from_millis(200);
/// How much of standard error is kept to explain a failure by.
const STDERR_BYTES_KEPT: usize = 16 << 10;

/// A node that answers calls.
#[derive(Debug, Clone)]
pub struct Session {
    /// Where.
    pub node: Node,
    /// Pail's program there.
    pub agent: Agent,
    /// Before each line that the node tells people; empty where there is one node alone.
    pub label: String,
}

/// What an attempt came to.
enum Attempt<T> {
    Answered(T),
    /// The connection was lost before the answer.
    Lost(Failure),
}

impl Session {
    /// The node as a sync reaches it.
    pub fn peer(&self) -> Peer {
        Peer::new(self.node.clone(), &self.agent)
    }

    /// The node's own address, or its name where it has told none.
    pub fn address(&self) -> String {
        self.agent.facts.address.map_or_else(|| self.node.host.clone(), |address| address.to_string())
    }

    /// Asks the node; what it tells people goes to standard error, with its name. Errors: the node's failure; the connection was lost
    /// again and again.
    pub async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, Failure> {
        self.call_over(|| self.node.ssh(), request, &mut |_| {}).await
    }

    /// The same for a request with copies; `watch` is told how far they are.
    pub async fn call_watched<T: DeserializeOwned>(
        &self,
        request: &Request,
        watch: &(dyn Fn(CopiesState) + Sync),
    ) -> Result<T, Failure> {
        let mut hear = |heard: Heard<'_>| {
            if let Heard::Progress(state) = heard {
                watch(state);
            }
        };
        self.call_over(|| self.node.ssh(), request, &mut hear).await
    }

    /// The same over a connection of its own that forwards the agent at `agent_socket`.
    pub async fn call_with_agent<T: DeserializeOwned>(
        &self,
        request: &Request,
        agent_socket: Option<&Path>,
    ) -> Result<T, Failure> {
        match agent_socket {
            Some(_) => self.call_over(|| self.node.ssh_apart(agent_socket), request, &mut |_| {}).await,
            None => self.call(request).await,
        }
    }

    async fn call_over<T: DeserializeOwned>(
        &self,
        ssh: impl Fn() -> Command,
        request: &Request,
        hear: &mut (dyn FnMut(Heard<'_>) + Send),
    ) -> Result<T, Failure> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.attempt(ssh(), request, hear).await? {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Lost(failure) => {
                    // Keys that are refused are refused again.
                    let Some(pause) = pauses.next().filter(|_| failure.kind == FailureKind::Unreachable)
                    else {
                        return Err(failure);
                    };
                    tokio::time::sleep(*pause).await;
                    self.node.disconnect().await;
                }
            }
        }
    }

    /// Follows a job's stage to its end, over as many connections as that takes: each goes on where the last one was. Errors: the node's; it is
    /// out of reach for `patience`.
    pub async fn follow(
        &self,
        mut request: FollowRequest,
        patience: Duration,
        on_output: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<JobRecord, Failure> {
        let mut heard = Instant::now();
        let mut told = false;
        loop {
            let (mut passed, mut heard_now) = (0, heard);
            let attempt = self
                .attempt(self.node.ssh(), &Request::Follow(request.clone()), &mut |heard| {
                    let Heard::Output(bytes) = heard else { return };
                    passed += bytes.len() as u64;
                    heard_now = Instant::now();
                    on_output(bytes);
                })
                .await?;
            request.offset += passed;
            heard = heard_now;
            let failure = match attempt {
                Attempt::Answered(job) => return Ok(job),
                Attempt::Lost(failure) => failure,
            };
            let host = &self.node.host;
            if heard.elapsed() >= patience || failure.kind != FailureKind::Unreachable {
                let (cluster, number) = (&request.cluster, request.number);
                return Err(failure.with_hint(format!(
                    "its job may go on: `pail logs {cluster} {number}` shows it when {host} is there again"
                )));
            }
            if !told {
                told = true;
                terminal::note(&format!(
                    "the connection to {host} was lost; the job goes on there, and is looked for again"
                ));
            }
            self.node.disconnect().await;
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        mut ssh: Command,
        request: &Request,
        hear: &mut (dyn FnMut(Heard<'_>) + Send),
    ) -> Result<Attempt<T>, Failure> {
        let json = encode(request)?;
        ssh.arg(format!("exec {} node call", word(&self.agent.pail)));
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this process, which then asks the job to end.
        ssh.process_group(0);
        let mut child = ssh.spawn().map_err(|err| Failure::from_io("cannot start ssh", &err))?;
        let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::other("ssh was started without pipes"));
        };
        let write = async move {
            // A node that ends without reading all of it says why itself.
            let _ = input.write_all(&json).await;
            let _ = input.shutdown().await;
        };
        let told = tokio::spawn(pass_on(errors, self.label.clone()));
        let mut output = BufReader::new(output);
        let ((), answer) = tokio::join!(write, read_answer(&mut output, hear));
        // A node whose answer is not understood may go on writing.
        drop(output);
        let status = child.wait().await.map_err(|err| Failure::from_io("cannot wait for ssh", &err))?;
        let abort = told.abort_handle();
        let told =
            tokio::time::timeout(STDERR_GRACE, told).await.ok().and_then(Result::ok).unwrap_or_default();
        abort.abort();
        match answer {
            Ok(Some(answer)) => Ok(Attempt::Answered(answer)),
            Ok(None) => {
                let failure = self.node.explain(status, &told);
                Ok(Attempt::Lost(failure.because(format!("while {}", request.what()))))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Passes on what a node tells people, line by line. Returns the last of it.
async fn pass_on(errors: impl AsyncRead + Unpin, label: String) -> Vec<u8> {
    let mut lines = BufReader::new(errors);
    let mut kept = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(STDERR_BYTES_KEPT as u64).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            return kept;
        }
        let text = terminal::escaped(String::from_utf8_lossy(&line).trim_end());
        // ssh's own words are told once, with the failure.
        if !text.is_empty() && !is_of_ssh(&text) {
            terminal::note(&format!("{label}{text}"));
        }
        kept.extend_from_slice(&line);
        let surplus = kept.len().saturating_sub(STDERR_BYTES_KEPT);
        kept.drain(..surplus);
    }
}

fn is_of_ssh(line: &str) -> bool {
    let starts = [
        "ssh: ",
        "mux_client",
        "kex_exchange",
        "client_loop",
        "Connection ",
        "Timeout, server",
        "Shared connection",
    ];
    starts.iter().any(|start| line.starts_with(start))
}
