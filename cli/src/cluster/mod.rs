//! Clusters: nodes that SSH reaches, by the names of the user's SSH configuration.
//!
//! Owns: [`Cluster`], which names mean one; `ssh_config`, the names in the user's files; `managed`, the file of those that Pail writes;
//! `node`, connections; `explain`, what ssh's failures mean; `facts`, what a node has; `failures`, those of many nodes; `binaries` and `bootstrap`, Pail's own programs
//! there; `packages`, other people's.
//!
//! Invariants: ssh itself decides where and how to connect, by the user's own configuration, agents and jump hosts; nothing here is ever
//! less strict than that configuration. No password is asked for: many nodes at once cannot be answered.

mod binaries;
mod bootstrap;
mod explain;
mod facts;
mod failures;
mod managed;
mod node;
mod packages;
mod ssh_config;

pub use binaries::digest;
pub use bootstrap::{Agent, Needs, bootstrap, check_programs, missing_programs, shell_word};
pub use facts::{Facts, survey};
pub use failures::{alike, on};
pub use managed::{HostLine, Managed};
pub use node::{Node, Output};
pub use packages::can_install;

use node::Route;
use pail_control::{Failure, FailureKind};
use ssh_config::{ConfigFile, Names};

/// How many nodes a cluster may have. Each takes a connection, a process or two and a line of the terminal.
pub const NODES_MAX: u32 = 1000;

/// What this machine is called where clusters are named: none may have it.
pub const THIS_MACHINE: &str = "local";

/// The nodes of one name: `dev`, `dev-worker1`, `dev-worker2`, …
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The name, which is also the head's.
    pub name: String,
    /// The head first, then the workers by number.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// The cluster of that name in the user's SSH configuration. Errors: `Usage`, a name that cannot be one, a worker missing between
    /// others; `NotFound`, with the nearest name; the configuration cannot be read.
    pub fn find(name: &str) -> Result<Self, Failure> {
        check_name(name)?;
        let config = ConfigFile::of_user()?;
        let names = Names::read(&config)?;
        Self::among(name, &names, &config)
    }

    fn among(name: &str, names: &Names, config: &ConfigFile) -> Result<Self, Failure> {
        if !names.contains(name) {
            return Err(not_found(name, names, config));
        }
        let workers = names.workers(name);
        let count = u32::try_from(workers.len()).unwrap_or(u32::MAX);
        if let Some((position, &number)) = workers.iter().enumerate().find(|(i, n)| **n as usize != i + 1) {
            let file = config.path.display();
            return Err(Failure::usage(format!(
                "{file} has {name}-worker{number}, but no {name}-worker{}",
                position + 1
            ))
            .with_hint(
                "workers are numbered from 1 without a gap; add the missing Host, or rename those behind it",
            ));
        }
        if count >= NODES_MAX {
            return Err(Failure::usage(format!("{name} has more than {NODES_MAX} nodes")));
        }
        let route = Route::prepare(config)?;
        let hosts = std::iter::once(name.to_owned()).chain((1..=count).map(|n| worker_name(name, n)));
        let nodes = hosts.zip(0..).map(|(host, rank)| Node::new(host, rank, route.clone())).collect();
        Ok(Self { name: name.to_owned(), nodes })
    }

    /// All clusters: those that Pail wrote, and those of the user's own files that have a worker. By name.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let config = ConfigFile::of_user()?;
        let names = Names::read(&config)?;
        let managed = Managed::read(&config)?;
        let own = names.heads_with_workers();
        let mut all: Vec<String> = managed.names().into_iter().chain(own).collect();
        all.sort();
        all.dedup();
        all.iter()
            .filter(|name| names.contains(name))
            .map(|name| Self::among(name, &names, &config))
            .collect()
    }
}

/// The alias of a worker, whose number begins at 1.
pub fn worker_name(cluster: &str, number: u32) -> String {
    format!("{cluster}-worker{number}")
}

/// Whether a name can be a cluster's. Errors: `Usage`.
pub fn check_name(name: &str) -> Result<(), Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > 200 {
        "it is longer than 200 bytes"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it must begin with a letter or digit"
    } else if !name.chars().all(is_plain) {
        "only letters, digits, '.', '_' and '-' may be in it"
    } else if name == THIS_MACHINE || name.bytes().all(|byte| byte.is_ascii_digit()) {
        "that is this machine's name, or a job's number"
    } else if ssh_config::worker_number(name).is_some() {
        "that is a worker's name: name the cluster"
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("{name:?} cannot be a cluster's name: {why}")))
}

fn not_found(name: &str, names: &Names, config: &ConfigFile) -> Failure {
    let failure = Failure::new(
        FailureKind::NotFound,
        format!("no cluster {name}: {} has no line `Host {name}`", config.path.display()),
    );
    let near = names.all().map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    failure.with_hint(match near {
        Some((distance, other)) if distance <= 1 + name.len() / 4 => format!("is {other} meant?"),
        _ => format!("`pail cluster add {name} --host USER@ADDRESS` writes it; `pail cluster ls` lists those that are there"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_plain_letters_and_no_workers() {
        for name in ["dev", "a.b_c-d", "9a"] {
            check_name(name).unwrap();
        }
        for name in ["", "local", "9", "-dev", "d ev", "dev*", "dev\n", "ü", "dev-worker1", "a/b", "user@dev"]
        {
            assert_eq!(check_name(name).unwrap_err().kind, FailureKind::Usage, "{name}");
        }
    }
}
