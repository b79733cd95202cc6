//! A world of SSH nodes for one test: network namespaces with an sshd, a home and a host name each.
//!
//! Owns: [`in_world`], which runs a test once more in network, mount and process namespaces of its own, so that all that it makes ends with
//! it, however it ends; and [`World`], the nodes in it. The test's own process is the client.

// A test that cannot go on has failed; not every test needs all of it.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use pail::cluster::Cluster;
use pail::sync::Peer;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const WORLD: &str = "PAIL_TEST_WORLD";

/// What of a node is out of the ordinary.
#[derive(Debug, Clone, Copy, Default)]
pub struct Odd {
    /// Its home is a file system of its own, of so many MiB.
    pub home_mib: Option<u32>,
    /// It has no rsync.
    pub without_rsync: bool,
    /// Its shell prints something at the start.
    pub chatty_shell: bool,
    /// The login is an ordinary user's, `u` with the number 4321, and sudo asks no password, or asks one. `/srv` is the folder `srv`
    /// beside its home.
    pub user: Option<Sudo>,
}

/// Whether sudo asks for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    Free,
    Asks,
}

/// The nodes of a test.
pub struct World {
    /// For whatever a test makes.
    pub dir: PathBuf,
    names: Vec<String>,
}

/// Runs a command to its end. Panics with what it said, where it fails.
pub fn run(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `work` with nodes of these names; `test` is the name of the test.
pub fn in_world(test: &str, nodes: &[(&str, Odd)], work: impl FnOnce(&World)) {
    if let Some(dir) = std::env::var_os(WORLD) {
        let world = World::new(PathBuf::from(dir), nodes);
        return work(&world);
    }
    // Sockets' paths must be short.
    let dir = tempfile::Builder::new().prefix("w").tempdir_in("/tmp").unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(WORLD, dir.path())
        .env("PAIL_SSH_CONFIG", dir.path().join("ssh_config"))
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    // Its counts are not this program's.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{test} failed in its namespaces:\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

impl World {
    fn new(dir: PathBuf, nodes: &[(&str, Odd)]) -> Self {
        let t = dir.display().to_string();
        run(&format!(
            "mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/sshd /run/netns
             ssh-keygen -q -t ed25519 -N '' -f {t}/id && ip link set lo up
             ip link add br0 type bridge && ip addr add 10.99.0.1/24 dev br0 && ip link set br0 up"
        ));
        let mut config = String::new();
        for (index, (name, odd)) in nodes.iter().enumerate() {
            let (d, number) = (format!("{t}/{name}"), index + 2);
            let ip = format!("10.99.0.{number}");
            let mut settings = String::new();
            let mut before = format!("mkdir -p {d}/home");
            if let Some(mib) = odd.home_mib {
                write!(before, "; mount -t tmpfs -o size={mib}m none {d}/home").unwrap();
            }
            if odd.without_rsync {
                let tools = "bash sh dd cat env true mkdir ls";
                write!(before, "; mkdir {d}/bin; for c in {tools}; do ln -s $(command -v $c) {d}/bin; done")
                    .unwrap();
                write!(settings, "SetEnv PATH={d}/bin").unwrap();
            }
            if odd.chatty_shell {
                write!(before, "; echo 'echo welcome to the machine' > {d}/home/.bashrc").unwrap();
            }
            let mut inside = format!("mount --bind {d}/home /root");
            if let Some(sudo) = odd.user {
                inside = user(&d, sudo);
                write!(config, "Host {name}\n  User u\n").unwrap();
            }
            run(&format!(
                "{before}; ip netns add n{number} && ip -n n{number} link set lo up
                 ip link add v{number} type veth peer name eth0 netns n{number} && ip link set v{number} master br0 up
                 ip -n n{number} addr add {ip}/24 dev eth0 && ip -n n{number} link set eth0 up
                 ssh-keygen -q -t ed25519 -N '' -f {d}/hostkey && cp {t}/id.pub {d}/authorized_keys
                 printf '%s\n' 'ListenAddress {ip}' 'HostKey {d}/hostkey' 'PidFile {d}/sshd.pid' \
                   'AuthorizedKeysFile {d}/authorized_keys' 'StrictModes no' 'UsePAM no' 'PasswordAuthentication no' \
                   'MaxStartups 50:30:100' 'MaxSessions 50' {settings:?} > {d}/sshd_config
                 ip netns exec n{number} unshare --mount --uts bash -c \
                   'hostname {name}; {inside}; exec /usr/sbin/sshd -f {d}/sshd_config -E {d}/sshd.log'"
            ));
            write!(config, "Host {name}\n  HostName {ip}\n").unwrap();
        }
        write!(
            config,
            "Host *\n  User root\n  IdentityFile {t}/id\n  IdentitiesOnly yes\n  UserKnownHostsFile {t}/known_hosts\n  ConnectTimeout 3\n"
        )
        .unwrap();
        std::fs::write(dir.join("ssh_config"), config).unwrap();
        Self { dir, names: nodes.iter().map(|(name, _)| (*name).to_owned()).collect() }
    }

    /// The nodes of a cluster, with the program of this build.
    pub fn peers(&self, cluster: &str) -> Vec<Peer> {
        let nodes = Cluster::find(cluster).unwrap().nodes.into_iter();
        let pail = |host: &str| match self.dir.join(host).join("home/pail").exists() {
            true => "/home/u/pail".to_owned(),
            false => env!("CARGO_BIN_EXE_pail").to_owned(),
        };
        let address = |host: &str| format!("10.99.0.{}", self.number(host)).parse().ok();
        nodes.map(|node| Peer { pail: pail(&node.host), address: address(&node.host), node }).collect()
    }

    /// A node's home, as this process sees it.
    pub fn home(&self, node: &str) -> PathBuf {
        self.dir.join(node).join("home")
    }

    fn number(&self, node: &str) -> usize {
        self.names.iter().position(|name| name == node).unwrap() + 2
    }

    /// Limits what a node receives.
    pub fn slow(&self, node: &str, mbit: u32) {
        let number = self.number(node);
        run(&format!("tc qdisc replace dev v{number} root tbf rate {mbit}mbit burst 256kb latency 50ms"));
    }

    /// Takes a node's link down, or up.
    pub fn link(&self, node: &str, is_up: bool) {
        let number = self.number(node);
        run(&format!("ip -n n{number} link set eth0 {}", if is_up { "up" } else { "down" }));
    }
}

/// Prepares an ordinary user's home and files at `d`; the command that puts them into their places on the node.
fn user(d: &str, sudo: Sudo) -> String {
    let pail = env!("CARGO_BIN_EXE_pail");
    let rule = if sudo == Sudo::Free { "u ALL=(ALL) NOPASSWD: ALL" } else { "u ALL=(ALL) ALL" };
    run(&format!(
        "chmod 755 {d} {d}/..; mkdir -p {d}/srv {d}/home; install -m 755 {pail} {d}/home/pail; chown 4321:4321 {d}/home
         cp /etc/passwd {d}/passwd; echo u:x:4321:4321::/home/u:/bin/bash >> {d}/passwd
         cp -p /etc/shadow {d}/shadow; echo 'u:*:19000:0:99999:7:::' >> {d}/shadow
         echo '{rule}' > {d}/sudoers; chmod 440 {d}/sudoers"
    ));
    format!(
        "for f in passwd shadow sudoers; do mount --bind {d}/$f /etc/$f; done; mount --bind {d}/srv /srv; \
         mount -t tmpfs none /home; mkdir /home/u; mount --bind {d}/home /home/u"
    )
}

/// Whether this process has a child of that name.
pub fn has_child(program: &str) -> bool {
    let own = format!(" {} ", std::process::id());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    // PID (NAME) STATE PARENT …
    stats
        .filter(|stat| stat.contains(&format!(" ({program}) ")))
        .any(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest[2..].starts_with(&own)))
}

/// Waits until something holds; panics after a minute.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed().as_secs() < 60, "waited too long until {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Of every name below a directory: what it is, its permissions, a file's time, and its content or target. Of directories no times.
pub fn tree(root: &Path) -> std::collections::BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_symlink() {
                format!("link to {:?}", path.read_link().unwrap())
            } else if meta.is_dir() {
                open.push(path.clone());
                format!("directory {:o}", meta.mode())
            } else {
                let content = std::fs::read(&path).unwrap();
                let hash = content.iter().fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte));
                format!(
                    "file {:o} {} {}.{} {hash:x}",
                    meta.mode(),
                    meta.size(),
                    meta.mtime(),
                    meta.mtime_nsec()
                )
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), what);
        }
    }
    found
}
