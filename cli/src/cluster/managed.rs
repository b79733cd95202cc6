//! The clusters that Pail writes into the user's SSH configuration.
//!
//! Owns: [`Managed`], the file `pail/config` beside the user's keys (`~/.ssh/pail/config`), and the `Include` line at the top of the user's
//! own file that makes plain `ssh`, `rsync` and `scp` know what is in it. (Below a `Host` line an `Include` holds for that host alone.)
//!
//! Invariants: of the user's own file nothing changes but that line; modes, owners and symbolic links stay. Files are replaced at once, under
//! a lock. A name that the user's own part has is never written.

use super::ssh_config::{ConfigFile, Names, included, parse_line, read_text, worker_number};
use super::{check_name, worker_name};
use pail_control::{Failure, FailureKind};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

const HEADER: &str = "# Clusters of pail: `pail cluster add` and `pail cluster rm` write this file.\n";
/// As many symbolic links in turn as the kernel follows.
const LINKS_MAX: usize = 40;

/// One host as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLine {
    /// Address or name.
    pub address: String,
    /// The user there; ssh's choice without one.
    pub user: Option<String>,
    /// The port; ssh's choice without one.
    pub port: Option<u16>,
    /// A private key, absolute.
    pub identity: Option<PathBuf>,
    /// The host that is jumped through.
    pub jump: Option<String>,
}

/// The managed file.
#[derive(Debug)]
pub struct Managed {
    config: ConfigFile,
    path: PathBuf,
    text: String,
}

/// Held while files are read and replaced.
struct Lock(#[expect(dead_code, reason = "held for its lock, which closing it gives back")] File);

impl Managed {
    /// Reads it; one that is not there is empty. Errors: it cannot be read.
    pub fn read(config: &ConfigFile) -> Result<Self, Failure> {
        let path = managed_path(config);
        let text = read_text(&path)?.unwrap_or_default();
        Ok(Self { config: config.clone(), path, text })
    }

    /// That of the user's configuration. Errors: as of [`Managed::read`].
    pub fn of_user() -> Result<Self, Failure> {
        Self::read(&ConfigFile::of_user()?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clusters in it, in its order.
    pub fn names(&self) -> Vec<String> {
        let hosts = blocks(&self.text).into_iter().filter_map(|(name, _)| name);
        hosts.filter(|name| worker_number(name).is_none()).map(str::to_owned).collect()
    }

    /// Writes a cluster, and the `Include` line where it is missing; whether anything changed. A cluster of that name with other hosts is only
    /// overwritten with `replace`. Errors: `Usage`: the name cannot be one, is in the user's own part, or is taken; a file cannot be written.
    pub fn add(name: &str, hosts: &[HostLine], replace: bool) -> Result<bool, Failure> {
        check_name(name)?;
        let config = ConfigFile::of_user()?;
        let _lock = lock(&config)?;
        let managed = Self::read(&config)?;
        let own = Names::read_without(&config, Some(&managed.path))?;
        managed.refuse_own(name, &own)?;
        refuse_aliases(name, hosts, &own)?;
        let mut block = String::new();
        for (host, number) in hosts.iter().zip(0..) {
            let alias = if number == 0 { name.to_owned() } else { worker_name(name, number) };
            block.push_str(&host_block(&alias, host));
        }
        let (before, others) = managed.without(name);
        if before == block {
            return include(&config, &managed.path);
        }
        if !before.is_empty() && !replace {
            return Err(Failure::usage(format!(
                "cluster {name} is there already, with other hosts or options"
            ))
            .because(format!("it is in {}", managed.path.display()))
            .with_hint(format!("--replace writes it anew; `pail cluster rm {name}` removes it")));
        }
        let header = if others.is_empty() { HEADER } else { "" };
        replace_file(&managed.path, &format!("{header}{others}{block}"))?;
        include(&config, &managed.path)?;
        Ok(true)
    }

    /// Removes a cluster. Errors: `NotFound`, it is not in the managed file; a file cannot be written.
    pub fn remove(name: &str) -> Result<(), Failure> {
        let config = ConfigFile::of_user()?;
        let _lock = lock(&config)?;
        let managed = Self::read(&config)?;
        let (before, others) = managed.without(name);
        if !before.is_empty() {
            return replace_file(&managed.path, &others);
        }
        let failure = Failure::new(FailureKind::NotFound, format!("pail has written no cluster {name}"));
        Err(match Names::read(&config)?.contains(name) {
            true => failure.with_hint(format!(
                "it is in your own SSH configuration ({}): remove it there",
                config.path.display()
            )),
            false => failure.with_hint("`pail cluster ls` lists those that are there"),
        })
    }

    /// The cluster's part, and the others'.
    fn without(&self, cluster: &str) -> (String, String) {
        let is_of =
            |name: &str| name == cluster || worker_number(name).is_some_and(|(head, _)| head == cluster);
        let (mut own, mut others) = (String::new(), String::new());
        for (name, block) in blocks(&self.text) {
            if name.is_some_and(is_of) { own.push_str(block) } else { others.push_str(block) }
        }
        (own, others)
    }

    fn refuse_own(&self, name: &str, own: &Names) -> Result<(), Failure> {
        let taken = own
            .all()
            .find(|other| *other == name || worker_number(other).is_some_and(|(head, _)| head == name));
        match taken {
            None => Ok(()),
            Some(taken) => Err(Failure::usage(format!("{taken} is in your own SSH configuration already"))
                .because(format!("{} names it, or a file that it includes", self.config.path.display()))
                .with_hint("take another name; or remove it there first. A cluster that is written there needs no adding")),
        }
    }
}

/// ssh looks a `HostName` up as an address, never as another `Host`.
fn refuse_aliases(name: &str, hosts: &[HostLine], own: &Names) -> Result<(), Failure> {
    let Some((host, number)) = hosts.iter().zip(0..).find(|(host, _)| own.contains(&host.address)) else {
        return Ok(());
    };
    let (alias, wanted) =
        (&host.address, if number == 0 { name.to_owned() } else { worker_name(name, number) });
    Err(Failure::usage(format!("{alias} is an alias in your SSH configuration, not an address"))
        .with_hint(format!("write `Host {alias} {wanted}` there, which needs no adding; or give the address that `ssh -G {alias}` shows")))
}

fn managed_path(config: &ConfigFile) -> PathBuf {
    config.path.parent().unwrap_or(Path::new("/")).join("pail/config")
}

/// The file's parts: each `Host` line's name with all text up to the next one; what is in front has none.
fn blocks(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut found = Vec::new();
    let (mut name, mut start, mut at) = (None, 0, 0);
    for line in text.split_inclusive('\n') {
        let is_host = parse_line(line).is_some_and(|(keyword, _)| keyword == "host");
        if is_host {
            found.push((name, &text[start..at]));
            // One name a line, as it is written here; a line that a person wrote otherwise stays as it is.
            name = line.split_whitespace().nth(1).filter(|_| line.split_whitespace().count() == 2);
            start = at;
        }
        at += line.len();
    }
    found.push((name, &text[start..]));
    found.retain(|(_, block)| !block.is_empty());
    found
}

fn host_block(alias: &str, host: &HostLine) -> String {
    // ssh expands % in both.
    let plain = |text: &str| text.replace('%', "%%");
    let mut block = format!("Host {alias}\n  HostName {}\n", plain(&host.address));
    if let Some(user) = &host.user {
        block.push_str(&format!("  User {user}\n"));
    }
    if let Some(port) = host.port {
        block.push_str(&format!("  Port {port}\n"));
    }
    if let Some(identity) = &host.identity {
        // Not each key of an agent before it: servers end a connection after a few.
        let path = plain(&identity.to_string_lossy());
        block.push_str(&format!("  IdentityFile \"{path}\"\n  IdentitiesOnly yes\n"));
    }
    if let Some(jump) = &host.jump {
        block.push_str(&format!("  ProxyJump {jump}\n"));
    }
    block
}

/// Puts the `Include` line into the user's own file, where none is in force for all hosts; whether it did.
fn include(config: &ConfigFile, managed: &Path) -> Result<bool, Failure> {
    let text = read_text(&config.path)?.unwrap_or_default();
    let is_head = |(keyword, _): &(String, Vec<String>)| keyword != "host" && keyword != "match";
    let is_managed = |file: &PathBuf| file == managed || same_file(file, managed);
    let is_there = text.lines().filter_map(parse_line).take_while(is_head).any(|(keyword, arguments)| {
        keyword == "include"
            && arguments.iter().flat_map(|pattern| included(pattern, config)).any(|file| is_managed(&file))
    });
    if is_there {
        return Ok(false);
    }
    let path = match managed.strip_prefix(&config.home) {
        Ok(below) => format!("~/{}", below.display()),
        Err(_) => managed.display().to_string(),
    };
    let path = if path.contains(' ') { format!("\"{path}\"") } else { path };
    let end = if text.lines().next().is_some() && text.contains("\r\n") { "\r\n" } else { "\n" };
    let bytes = std::fs::read(&config.path).unwrap_or_default();
    let line = format!("Include {path}{end}");
    let replaced = replace_bytes(&config.path, &[line.as_bytes(), &bytes].concat());
    replaced
        .map_err(|failure| failure.with_hint(format!("put `{}` at its top yourself", line.trim_end())))?;
    Ok(true)
}

fn same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    identity(a).is_some_and(|a| Some(a) == identity(b))
}

fn lock(config: &ConfigFile) -> Result<Lock, Failure> {
    let path = managed_path(config);
    let dir = path.parent().unwrap_or(Path::new("/"));
    let failed = |err: &std::io::Error| Failure::from_io(format!("cannot write in {}", dir.display()), err);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|err| failed(&err))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"));
    let file = file.map_err(|err| failed(&err))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(&errno.into()))?;
    Ok(Lock(file))
}

fn replace_file(path: &Path, text: &str) -> Result<(), Failure> {
    replace_bytes(path, text.as_bytes())
}

/// Replaces a file at once, through symbolic links, with the mode and owner that it had, else closed to others.
fn replace_bytes(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let target = followed(path);
    let write = || -> std::io::Result<()> {
        let before = std::fs::metadata(&target).ok();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.pail-{}", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let written = (|| {
            file.write_all(bytes)?;
            if let Some(before) = before {
                file.set_permissions(std::fs::Permissions::from_mode(before.mode() & 0o7777))?;
                if (before.uid(), before.gid()) != (file.metadata()?.uid(), file.metadata()?.gid()) {
                    fchown(&file, Some(before.uid()), Some(before.gid()))?;
                }
            }
            file.sync_all()?;
            std::fs::rename(&temporary, &target)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    };
    write().map_err(|err| Failure::from_io(format!("cannot write {}", target.display()), &err))
}

/// Where a path's symbolic links end, also where nothing is there.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_at_host_lines() {
        let text = "# c\nHost a\n  User x\n# of b\nhost b-worker1\nHost c d\n";
        let found: Vec<_> = blocks(text).into_iter().map(|(name, block)| (name, block.len())).collect();
        assert_eq!(found, [(None, 4), (Some("a"), 23), (Some("b-worker1"), 15), (None, 9)]);
    }

    #[test]
    fn a_host_is_written_as_ssh_reads_it() {
        let host = HostLine {
            address: "fe80::1%eth0".into(),
            user: Some("ann".into()),
            port: Some(2222),
            identity: Some("/k e/y".into()),
            jump: Some("bob@gate:22".into()),
        };
        assert_eq!(
            host_block("dev", &host),
            "Host dev\n  HostName fe80::1%%eth0\n  User ann\n  Port 2222\n  IdentityFile \"/k e/y\"\n  IdentitiesOnly yes\n  ProxyJump bob@gate:22\n"
        );
    }
}
