//! `pail cluster`.

use crate::cluster::{
    Cluster, Facts, HostLine, Managed, NODES_MAX, Needs, Node, bootstrap, can_install, check_programs,
    digest, missing_programs, survey,
};
use crate::{block_on, progress, terminal};
use futures::{StreamExt, stream};
use pail_control::quantity::ByteSize;
use pail_control::{Failure, FailureKind};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// How many nodes are asked at once.
const PARALLEL_MAX: usize = 32;
/// Free space below which a home is called full: the programs, and some room for code.
const HOME_FREE_BYTES_MIN: u64 = 200 << 20;
/// From where on a clock's difference is told; stores refuse requests that are signed 15 minutes off.
const CLOCK_NOTED_SECS: i64 = 60;

/// Nodes that SSH reaches
///
/// A cluster NAME is the hosts NAME, NAME-worker1, NAME-worker2, … of the SSH configuration, whether pail wrote them or you did.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(AddArguments),
    Ls(LsArguments),
    Rm(RmArguments),
    Check(CheckArguments),
    Prepare(PrepareArguments),
    /// Print the SHA-256 of files; for nodes that have no program for it
    #[command(hide = true)]
    Digest {
        files: Vec<PathBuf>,
    },
}

/// Write a cluster into the SSH configuration, so that `ssh NAME`, `rsync NAME:…` and `scp` know it too
///
/// The first host becomes NAME, the others NAME-worker1, NAME-worker2, … They are written to ~/.ssh/pail/config, which ~/.ssh/config then
/// includes.
#[derive(Debug, clap::Args)]
struct AddArguments {
    /// The cluster's name
    name: String,

    /// A node: [USER@]ADDRESS[:PORT]; once for each, the head first
    #[arg(long = "host", value_name = "HOST", required = true)]
    hosts: Vec<String>,

    /// The user on hosts that are given without one
    #[arg(long)]
    user: Option<String>,

    /// A private key [default: those that ssh tries]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// A host to jump through, [USER@]HOST[:PORT] or an alias
    #[arg(long, value_name = "HOST")]
    jump: Option<String>,

    /// Write it anew where pail has written a cluster of that name
    #[arg(long)]
    replace: bool,
}

/// List clusters
#[derive(Debug, clap::Args)]
struct LsArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Remove a cluster that `cluster add` wrote; the nodes stay as they are
#[derive(Debug, clap::Args)]
struct RmArguments {
    /// The cluster's name
    name: String,
}

/// See whether the nodes have what a launch needs
///
/// Exit code 0 also where something is missing that a launch will install.
#[derive(Debug, clap::Args)]
struct CheckArguments {
    /// The cluster's name
    name: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Send pail to the nodes and install what a launch needs, ahead of one
#[derive(Debug, clap::Args)]
struct PrepareArguments {
    /// The cluster's name
    name: String,

    /// git too, for tasks whose workdir is a repository
    #[arg(long)]
    git: bool,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Add(arguments) => add(&arguments),
        Command::Ls(arguments) => block_on(ls(&arguments)),
        Command::Rm(arguments) => block_on(rm(&arguments)),
        Command::Check(arguments) => block_on(check(&arguments)),
        Command::Prepare(arguments) => block_on(prepare(&arguments)),
        Command::Digest { files } => {
            for file in files {
                terminal::line(&format!("{}  {}", digest(&file)?, file.display()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn add(arguments: &AddArguments) -> Result<ExitCode, Failure> {
    if arguments.hosts.len() > NODES_MAX as usize {
        return Err(Failure::usage(format!("more than {NODES_MAX} hosts")));
    }
    let hosts =
        arguments.hosts.iter().map(|host| host_line(host, arguments)).collect::<Result<Vec<_>, _>>()?;
    let name = &arguments.name;
    let has_changed = Managed::add(name, &hosts, arguments.replace)?;
    let nodes = match hosts.len() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    };
    match has_changed {
        true => terminal::note(&format!(
            "{name}: {nodes}; `ssh {name}` reaches the first, `pail cluster check {name}` looks at all"
        )),
        false => terminal::note(&format!("{name}: {nodes}, as before")),
    }
    Ok(ExitCode::SUCCESS)
}

fn host_line(text: &str, arguments: &AddArguments) -> Result<HostLine, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("--host {text:?}: {why}"))
            .with_hint("hosts are given as [USER@]ADDRESS[:PORT]")
    };
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (arguments.user.clone(), text),
    };
    let (address, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(|| wrong("a ] is missing"))?;
            (
                address,
                if port.is_empty() {
                    None
                } else {
                    Some(port.strip_prefix(':').ok_or_else(|| wrong("after ] only :PORT may follow"))?)
                },
            )
        }
        // An IPv6 address without brackets has more than one colon, and then no port.
        None if rest.matches(':').count() == 1 => {
            rest.split_once(':').map_or((rest, None), |(address, port)| (address, Some(port)))
        }
        None => (rest, None),
    };
    let port = port.map(|port| {
        port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("the port is no number up to 65535"))
    });
    let is_address = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    if address.is_empty() || address.starts_with('-') || !address.chars().all(is_address) {
        return Err(wrong("the address is none"));
    }
    let is_word = |c: char| c.is_ascii_graphic() && !"\"'\\%#$`;&|<>(){}*?![]".contains(c);
    for (place, word) in [("user", user.as_ref()), ("jump host", arguments.jump.as_ref())] {
        if word.is_some_and(|word| word.is_empty() || word.starts_with('-') || !word.chars().all(is_word)) {
            return Err(wrong(&format!("the {place} is none")));
        }
    }
    Ok(HostLine {
        address: address.to_owned(),
        user,
        port: port.transpose()?,
        identity: arguments.identity.as_ref().map(identity).transpose()?,
        jump: arguments.jump.clone(),
    })
}

fn identity(path: &PathBuf) -> Result<PathBuf, Failure> {
    let path = std::fs::canonicalize(path).map_err(|err| Failure::unreadable(path, &err))?;
    let is_plain = path.to_str().is_some_and(|path| !path.contains(['"', '\\', '\n']));
    match (path.is_file(), is_plain) {
        (true, true) => Ok(path),
        (false, _) => Err(Failure::usage(format!("{} is no file", path.display()))),
        (_, false) => Err(Failure::usage(format!("{:?} cannot be written into an SSH configuration", path))
            .with_hint("give the key a plain path")),
    }
}

/// A cluster of `ls --json`.
#[derive(Debug, Serialize)]
struct ClusterRow {
    name: String,
    /// Whether pail wrote it.
    managed: bool,
    nodes: Vec<NodeRow>,
}

#[derive(Debug, Serialize)]
struct NodeRow {
    host: String,
    rank: u32,
    user: String,
    address: String,
    port: String,
}

async fn ls(arguments: &LsArguments) -> Result<ExitCode, Failure> {
    let managed = Managed::of_user()?.names();
    let mut rows = Vec::new();
    for cluster in Cluster::all()? {
        let resolved = stream::iter(&cluster.nodes).map(node_row).buffered(PARALLEL_MAX);
        let nodes: Vec<Result<NodeRow, Failure>> = resolved.collect().await;
        let nodes = nodes.into_iter().collect::<Result<_, _>>()?;
        rows.push(ClusterRow { managed: managed.contains(&cluster.name), name: cluster.name, nodes });
    }
    if arguments.json {
        terminal::json(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        terminal::note("no clusters: `pail cluster add NAME --host USER@ADDRESS` writes one");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![["NAME", "NODES", "HEAD", "WRITTEN BY"].map(str::to_owned).to_vec()];
    for row in &rows {
        let head = row.nodes.first().map(|node| format!("{}@{}:{}", node.user, node.address, node.port));
        let by = if row.managed { "pail" } else { "you" };
        table.push(vec![
            row.name.clone(),
            row.nodes.len().to_string(),
            head.unwrap_or_default(),
            by.to_owned(),
        ]);
    }
    terminal::table(&table).iter().try_for_each(|line| terminal::line(line))?;
    Ok(ExitCode::SUCCESS)
}

async fn node_row(node: &Node) -> Result<NodeRow, Failure> {
    let mut resolved = node.resolved().await?;
    let mut take = |option: &str| resolved.remove(option).unwrap_or_default();
    Ok(NodeRow {
        host: node.host.clone(),
        rank: node.rank,
        user: take("user"),
        address: take("hostname"),
        port: take("port"),
    })
}

async fn rm(arguments: &RmArguments) -> Result<ExitCode, Failure> {
    // Connections are found by what the configuration says of their hosts: before it says nothing any more.
    if Managed::of_user()?.names().contains(&arguments.name)
        && let Ok(cluster) = Cluster::find(&arguments.name)
    {
        stream::iter(&cluster.nodes).for_each_concurrent(PARALLEL_MAX, Node::disconnect).await;
    }
    Managed::remove(&arguments.name)?;
    terminal::note(&format!("{}: removed from the SSH configuration", arguments.name));
    Ok(ExitCode::SUCCESS)
}

async fn prepare(arguments: &PrepareArguments) -> Result<ExitCode, Failure> {
    let cluster = Cluster::find(&arguments.name)?;
    let needs = Needs { rsync: true, fuse: true, git: arguments.git };
    let preparing = stream::iter(&cluster.nodes).map(|node| async move {
        let report = |text: &str| terminal::note(&format!("{}: {text}", node.host));
        (node, bootstrap(node, needs, &report).await)
    });
    let done: Vec<_> = preparing.buffered(PARALLEL_MAX).collect().await;
    let mut kinds = Vec::new();
    for (node, result) in &done {
        match result {
            Ok(agent) => terminal::line(&format!("{}: {}", node.host, agent.pail))?,
            Err(failure) => {
                terminal::print_failure(failure);
                kinds.push(failure.kind);
            }
        }
    }
    Ok(exit_code(&kinds, done.len()))
}

/// That of the nodes' failures: of one kind where all nodes failed so, else of a part.
fn exit_code(kinds: &[FailureKind], nodes: usize) -> ExitCode {
    match kinds {
        [] => ExitCode::SUCCESS,
        [first, ..] if kinds.len() == nodes && kinds.iter().all(|kind| kind == first) => {
            ExitCode::from(first.exit_code())
        }
        _ => ExitCode::from(FailureKind::Partial.exit_code()),
    }
}

/// A node of `check`.
#[derive(Debug, Serialize)]
struct Checked {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    /// The versions of pail there.
    pail: Vec<String>,
    /// What keeps a launch from working there.
    problems: Vec<Failure>,
    /// What a launch will do, or what a task may miss.
    notes: Vec<String>,
}

async fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let cluster = Cluster::find(&arguments.name)?;
    let asking = stream::iter(&cluster.nodes).map(check_node).buffered(PARALLEL_MAX).collect();
    let nodes: Vec<Checked> = progress::while_waiting(&format!("asking {}", cluster.name), asking).await;
    match arguments.json {
        true => terminal::json(&nodes)?,
        false => print_checked(&nodes)?,
    }
    // A node's first problem is its kind: the others often follow from it.
    let first = nodes.iter().filter_map(|node| node.problems.first());
    let kinds: Vec<FailureKind> = first.map(|failure| failure.kind).collect();
    Ok(exit_code(&kinds, nodes.len()))
}

async fn check_node(node: &Node) -> Checked {
    let mut checked = Checked {
        host: node.host.clone(),
        facts: None,
        pail: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let facts = match survey(node, true).await {
        Ok(facts) => facts,
        Err(failure) => {
            checked.problems.push(failure);
            return checked;
        }
    };
    checked.pail = facts.installed.keys().cloned().collect();
    let mut problem = |failure: Failure| checked.problems.push(failure);
    if facts.kernel != "Linux" {
        problem(Failure::other(format!("{} runs {}; pail needs Linux there", node.host, facts.kernel)));
    } else if let Err(failure) = check_programs(node, &facts).await {
        problem(failure);
    }
    let missing = missing_programs(&facts, Needs { rsync: true, fuse: true, git: false });
    if !missing.is_empty() {
        let list = missing.join(", ");
        match can_install(&facts) {
            true => checked.notes.push(format!("a launch will install {list}")),
            false => problem(
                Failure::other(format!("{list} is missing, and {} may not install it", facts.user))
                    .with_hint(format!("install it on {}, or let sudo ask no password", node.host)),
            ),
        }
    }
    if !facts.has("git") {
        checked.notes.push("a task with a git workdir will need git".to_owned());
    }
    if !facts.has_fuse_device {
        problem(
            Failure::other(format!("there is no /dev/fuse that {} may open", facts.user))
                .with_hint("load the kernel's module (modprobe fuse); a container needs --device /dev/fuse"),
        );
    }
    if facts.home_free_bytes.is_some_and(|free| free < HOME_FREE_BYTES_MIN) {
        let free = ByteSize(facts.home_free_bytes.unwrap_or(0)).human();
        problem(Failure::new(FailureKind::NoSpace, format!("only {free} are free in {}", facts.home)));
    }
    if facts.clock_ahead_secs.abs() > CLOCK_NOTED_SECS {
        checked.notes.push(format!(
            "its clock is {} s off; stores refuse requests from 900 s on",
            facts.clock_ahead_secs
        ));
    }
    checked.facts = Some(facts);
    checked
}

fn print_checked(nodes: &[Checked]) -> Result<(), Failure> {
    let head =
        ["NODE", "USER", "SUDO", "OS", "ARCH", "LIBC", "RSYNC", "GIT", "FUSE", "FREE", "CLOCK", "PAIL"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    for node in nodes {
        let Some(facts) = &node.facts else {
            let is_refused = node.problems.iter().any(|failure| failure.kind == FailureKind::Credentials);
            let why = if is_refused { "refused" } else { "unreachable" };
            table.push(vec![node.host.clone(), why.to_owned()]);
            continue;
        };
        table.push(vec![
            node.host.clone(),
            facts.user.clone(),
            yes(facts.has_root == Some(true)),
            facts.os.clone(),
            facts.arch.clone(),
            facts.libc.clone(),
            yes(facts.has("rsync")),
            yes(facts.has("git")),
            yes(facts.has_fuse_device && (facts.has("fusermount3") || facts.uid == 0)),
            facts.home_free_bytes.map_or("?".to_owned(), |free| ByteSize(free).human()),
            format!("{:+} s", facts.clock_ahead_secs),
            if node.pail.is_empty() { "-".to_owned() } else { node.pail.join(" ") },
        ]);
    }
    terminal::table(&table).iter().try_for_each(|line| terminal::line(&terminal::shown(line)))?;
    for node in nodes {
        node.problems.iter().for_each(terminal::print_failure);
        node.notes.iter().for_each(|note| terminal::note(&format!("{}: {note}", node.host)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<HostLine, Failure> {
        let arguments = AddArguments {
            name: "dev".into(),
            hosts: Vec::new(),
            user: Some("def".into()),
            identity: None,
            jump: None,
            replace: false,
        };
        host_line(text, &arguments)
    }

    #[test]
    fn hosts_are_read_with_users_ports_and_both_kinds_of_addresses() {
        let told = |text: &str| host(text).map(|host| (host.user.unwrap(), host.address, host.port)).unwrap();
        assert_eq!(told("ann@10.0.0.5:2222"), ("ann".into(), "10.0.0.5".into(), Some(2222)));
        assert_eq!(told("gpu1.corp"), ("def".into(), "gpu1.corp".into(), None));
        assert_eq!(told("ann@fd00::5"), ("ann".into(), "fd00::5".into(), None));
        assert_eq!(told("[fd00::5]:22"), ("def".into(), "fd00::5".into(), Some(22)));
        for wrong in [
            "",
            "ann@",
            "a b",
            "h:0",
            "h:70000",
            "-oProxyCommand=x",
            "h\nHost *",
            "@h",
            "[fd00::5",
            "a*",
            "x@y z",
        ] {
            assert_eq!(host(wrong).unwrap_err().kind, FailureKind::Usage, "{wrong}");
        }
    }
}
