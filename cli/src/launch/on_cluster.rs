//! A task on the nodes of a cluster.
//!
//! Owns: [`launch`]: code, files and buckets go to every node of the cluster, and so does setup; run goes to as many of them as the task
//! says (`num_nodes`), the head first, and to all where it says nothing.

use super::copies::prepare_everywhere;
use super::ephemeral::Buckets;
use super::following::{StageEnd, run_stage};
use super::here::tell_left_out;
use super::inputs::{GitCode, Inputs};
use super::nodes::{all_of, connect, each};
use super::session::Session;
use super::{Launch, nodes};
use crate::cluster::{Cluster, Needs};
use crate::copying::{Choices, Copying};
use crate::git::Credentials;
use crate::node::environment::{Standing, identity_of_launch, variables};
use crate::node::job::{Stage, StageRequest};
use crate::node::preparing::{CheckOutRequest, Prepared};
use crate::node::request::Request;
use crate::shell::Login;
use crate::sync::{SyncOptions, SyncPlan, SyncProgress};
use crate::task::Workdir;
use crate::{sync, terminal};
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use pail_control::opening::Address;
use pail_control::quantity::ByteSize;
use pail_control::{CallerEnvironment, Failure, FailureKind, opening};
use pail_transfer::CancellationToken;
use std::process::ExitCode;

/// Runs the task. Errors: what keeps its run from beginning, and on which nodes.
pub async fn launch(launch: &Launch, cluster: &Cluster) -> Result<ExitCode, Failure> {
    let count = run_count(launch, cluster)?;
    let environment = CallerEnvironment::of_this_process();
    let buckets = Buckets::of(launch, &environment).await?;
    let (sessions, inputs) =
        tokio::try_join!(connect(cluster, needs(launch)), Inputs::gather(launch, &environment))?;
    let mut inputs = inputs;
    if matches!(launch.task.workdir, Some(Workdir::Local(_))) {
        each::<()>(&sessions, |_| Request::LeaveCheckout).await?;
    }
    let mut left_out = inputs.left_out.clone();
    left_out.extend(send_files(launch, &inputs.files, &sessions).await?);
    if let Some(code) = &inputs.code {
        check_out_everywhere(launch, code, &sessions).await?;
    }
    left_out.extend(send_files(launch, &inputs.nested, &sessions).await?);
    create_buckets(&inputs, &environment).await?;
    if !(inputs.buckets.mounts.is_empty() && inputs.buckets.copies.is_empty()) {
        inputs.buckets.lent = lend(&environment, &inputs.buckets.addresses()).await?;
    }
    let (prepared, unfit) = prepare_everywhere(&inputs.buckets, &sessions).await?;
    left_out.extend(unfit);
    left_out.sort();
    left_out.dedup();
    tell_left_out(&left_out);
    let job = Job::new(launch, cluster, &sessions, &prepared).await?;
    buckets.begin()?;
    let run = launch.task.run.as_deref();
    let mut of_setup = StageEnd::default();
    if let Some(setup) = launch.task.setup.as_deref().filter(|_| launch.with_setup) {
        of_setup = job.stage(Stage::Setup, setup, sessions.len()).await?;
        if of_setup.exit_code != 0 {
            finish(launch, &sessions, buckets, &mut of_setup, &environment).await?;
            return Ok(told(&of_setup, true));
        }
        // Where the run follows, its flush is the last word.
        let runs = |host: &String| {
            run.is_some() && sessions[..count].iter().any(|session| session.node.host == *host)
        };
        of_setup.left.retain(|(host, _)| !runs(host));
    }
    match run {
        Some(run) if launch.detach => {
            job.detach(run, count).await?;
            buckets.end()?;
            Ok(told(&of_setup, left_out.is_empty()))
        }
        Some(run) => {
            let mut end = job.stage(Stage::Run, run, count).await?;
            end.left.append(&mut of_setup.left);
            finish(launch, &sessions, buckets, &mut end, &environment).await?;
            Ok(told(&end, left_out.is_empty()))
        }
        None => {
            finish(launch, &sessions, buckets, &mut of_setup, &environment).await?;
            Ok(told(&of_setup, left_out.is_empty()))
        }
    }
}

/// Deletes the buckets that end with the task, unless something is not in them; what that is becomes known here at the latest.
async fn finish(
    launch: &Launch,
    sessions: &[Session],
    buckets: Buckets,
    end: &mut StageEnd,
    environment: &CallerEnvironment,
) -> Result<(), Failure> {
    if !end.left.is_empty() {
        return buckets.keep();
    }
    let ending = buckets.end()?;
    if ending.is_empty() {
        return Ok(());
    }
    let destinations = ending.destinations();
    let unmount = |_: &Session| Request::Unmount {
        destinations: destinations.clone(),
        timeout_ms: launch.flush_timeout_ms(),
    };
    let left: Vec<Vec<String>> = each(sessions, unmount).await?;
    let of_nodes = sessions.iter().map(|session| session.node.host.clone()).zip(left);
    end.left.extend(of_nodes.filter(|(_, left)| !left.is_empty()));
    match end.left.is_empty() {
        true => ending.delete(environment).await,
        false => ending.keep(),
    }
}

/// Creates the buckets that are missing, from here: this machine then knows what it created, and nodes do not race for it.
async fn create_buckets(inputs: &Inputs, environment: &CallerEnvironment) -> Result<(), Failure> {
    let (stop, choices) = (CancellationToken::new(), Choices::default());
    let copying = Copying { environment, report: &|_| {}, stop, choices };
    for mount in inputs.buckets.mounts.iter().filter(|mount| mount.create) {
        let address = Address {
            source: &mount.uri,
            endpoint_url: mount.endpoint_url.as_deref(),
            region: mount.region.as_deref(),
            profile: None,
            settings: Some(&mount.settings),
        };
        if copying.open(address, true).await?.created {
            terminal::note(&format!("created the bucket of {}", mount.uri));
        }
    }
    Ok(())
}

/// The keys of this machine, for nodes that have none.
async fn lend(
    environment: &CallerEnvironment,
    addresses: &[Address<'_>],
) -> Result<CallerEnvironment, Failure> {
    let (lent, expiry) = opening::lend(environment, addresses).await?;
    if let Some(expiry) = expiry.and_then(|expiry| Timestamp::try_from(expiry).ok()) {
        let expiry = expiry.strftime("%Y-%m-%d %H:%M UTC");
        terminal::note(&format!(
            "warning: this machine's keys expire at {expiry}; a node that has none of its own cannot publish after that"
        ));
    }
    Ok(lent)
}

/// How many nodes the run is for.
fn run_count(launch: &Launch, cluster: &Cluster) -> Result<usize, Failure> {
    let there = cluster.nodes.len();
    match launch.task.num_nodes.map(|count| count as usize) {
        None => Ok(there),
        Some(count) if count <= there => Ok(count),
        Some(count) => {
            let name = &cluster.name;
            Err(Failure::usage(format!("the task is for {count} nodes, and {name} has {there}")).with_hint(format!(
                "add Host {name}-worker{there} and so on to the SSH configuration, or give --num-nodes {there}"
            )))
        }
    }
}

fn needs(launch: &Launch) -> Needs {
    use crate::task::{Content, Workdir};
    let is_git = matches!(launch.task.workdir, Some(Workdir::Git { .. }));
    let contents = || {
        let all = launch.task.file_mounts.iter().filter(|_| launch.with_file_mounts);
        all.map(|mount| &mount.content)
    };
    let sends_files = matches!(launch.task.workdir, Some(Workdir::Local(_)));
    Needs {
        rsync: sends_files || contents().any(|content| matches!(content, Content::Local(_))),
        git: is_git,
        fuse: contents().any(|content| matches!(content, Content::Mount { .. })),
    }
}

/// Sends files to all nodes; what did not rest meanwhile, a line each.
async fn send_files(launch: &Launch, files: &SyncPlan, sessions: &[Session]) -> Result<Vec<String>, Failure> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    terminal::note(&format!(
        "syncing {} ({}) to {}",
        match files.files {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        },
        ByteSize(files.bytes).human(),
        match sessions {
            [one] => one.node.host.clone(),
            all => format!("{} nodes", all.len()),
        }
    ));
    let peers: Vec<_> = sessions.iter().map(Session::peer).collect();
    let progress = SyncProgress::new(sessions.iter().map(|session| session.node.host.clone()), files.bytes);
    let options = SyncOptions { fan_out: launch.fan_out, ..SyncOptions::default() };
    let mut outcome = sync::to_nodes(files, &peers, &options, &progress).await;
    for (host, result) in &outcome.nodes {
        let notes = result.iter().flat_map(|stats| &stats.notes);
        notes.for_each(|note| terminal::note(&format!("{host}: {note}")));
    }
    let restless = outcome.take_restless();
    outcome.failure().map_or(Ok(restless), Err)
}

async fn check_out_everywhere(launch: &Launch, code: &GitCode, sessions: &[Session]) -> Result<(), Failure> {
    let token = match &code.credentials {
        Credentials::Token(token) => Some(token.clone()),
        _ => None,
    };
    let socket = code.credentials.agent_socket();
    let calls = stream::iter(sessions).map(|session| {
        let request = CheckOutRequest {
            resolved: code.resolved.clone(),
            token: token.clone(),
            submodules: launch.submodules,
            lfs: launch.lfs,
        };
        let request = Request::CheckOut { request: Box::new(request), by_agent: socket.is_some() };
        async move { session.call_with_agent::<()>(&request, socket).await }
    });
    all_of(sessions, calls.buffered(nodes::NODES_AT_A_TIME_MAX).collect().await).map(|_| ())
}

/// A job that is numbered, and its nodes.
struct Job<'a> {
    launch: &'a Launch,
    cluster: &'a Cluster,
    sessions: &'a [Session],
    prepared: &'a [Prepared],
    id: String,
    number: u32,
    addresses: Vec<String>,
}

impl<'a> Job<'a> {
    async fn new(
        launch: &'a Launch,
        cluster: &'a Cluster,
        sessions: &'a [Session],
        prepared: &'a [Prepared],
    ) -> Result<Self, Failure> {
        // A worker may know more jobs of the cluster than a new head does.
        let last = each(sessions, |_| Request::LastNumber { cluster: cluster.name.clone() }).await?;
        let above: u32 = last.into_iter().max().unwrap_or_default();
        let take = Request::TakeNumber { cluster: cluster.name.clone(), above };
        let number = sessions[0].call(&take).await?;
        let addresses = sessions.iter().map(Session::address).collect();
        let id = identity_of_launch(launch.task.name.as_deref());
        Ok(Self { launch, cluster, sessions, prepared, id, number, addresses })
    }

    /// The stage's request for each of the first `count` nodes.
    fn requests(&self, stage: Stage, command: &str, count: usize) -> Vec<StageRequest> {
        let own = self.launch.task.environment();
        let request = |(rank, prepared): (u32, &Prepared)| StageRequest {
            cluster: self.cluster.name.clone(),
            number: self.number,
            id: self.id.clone(),
            name: self.launch.task.name.clone(),
            rank,
            nodes: u32::try_from(count).unwrap_or(u32::MAX),
            stage,
            command: command.to_owned(),
            dir: prepared.dir.clone(),
            login: Login::Yes,
            environment: variables(
                &own,
                &Standing { rank, addresses: &self.addresses[..count], task_id: &self.id },
            ),
            mounts: prepared.mounts.clone(),
            flush_timeout_ms: self.launch.flush_timeout_ms(),
        };
        (0..).zip(&self.prepared[..count]).map(request).collect()
    }

    async fn stage(&self, stage: Stage, command: &str, count: usize) -> Result<StageEnd, Failure> {
        let requests = self.requests(stage, command, count);
        run_stage(&self.sessions[..count], &requests, self.launch.node_timeout).await
    }

    async fn detach(&self, command: &str, count: usize) -> Result<(), Failure> {
        let requests = self.requests(Stage::Run, command, count);
        super::following::start_all(&self.sessions[..count], &requests).await?;
        let (name, number) = (&self.cluster.name, self.number);
        terminal::line(&format!("job {number}"))?;
        terminal::note(&format!(
            "`pail logs {name} {number}` follows it, `pail cancel {name} {number}` ends it"
        ));
        Ok(())
    }
}

/// Tells what failed and what is not in the buckets; the exit code.
fn told(end: &StageEnd, complete: bool) -> ExitCode {
    end.failures.iter().for_each(terminal::print_failure);
    for (host, left) in &end.left {
        terminal::note(&format!("{host}:"));
        terminal::notes(left);
    }
    match (end.exit_code, complete && end.left.is_empty()) {
        (0, false) => ExitCode::from(FailureKind::Partial.exit_code()),
        (code, _) => ExitCode::from(code),
    }
}
