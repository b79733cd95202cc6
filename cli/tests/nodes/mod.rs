//! Hosts that SSH reaches, on this machine: what `scripts/nodes` makes, for tests.
//!
//! Owns: [`Nodes`], which ends all of them when it is dropped, with whatever runs on them; they end too when the test's process is killed. A test
//! program that uses it has `mod sandbox;` beside it, and runs as root.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use crate::sandbox::{Ran, build_daemon, run};
use pail_devserver::{Server, ServerConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The client's address, by which the nodes reach what listens on its side.
pub const CLIENT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));
/// The accounts of every node beside root: one that may sudo without a password, one that may not sudo at all.
pub const SUDOER: &str = "ann";
pub const ORDINARY: &str = "bob";

pub struct Nodes {
    /// For `ssh -F`, from the client's side.
    pub ssh_config: PathBuf,
    /// Who `ssh NODE` is.
    pub user: String,
    names: Vec<String>,
    dir: TempDir,
    server: OnceLock<(Server, Runtime)>,
}

impl Nodes {
    /// Nodes with those names, reached as root.
    pub fn up(names: &[&str]) -> Self {
        Self::up_as("root", names)
    }

    /// Nodes that are reached as `root`, [`SUDOER`] or [`ORDINARY`].
    pub fn up_as(user: &str, names: &[&str]) -> Self {
        Self::up_with(user, &[], names)
    }

    /// The same with options of `scripts/nodes`, as `["--root", "dev=FOLDER"]`.
    pub fn up_with(user: &str, options: &[&str], names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let owner = std::process::id().to_string();
        let top = std::fs::canonicalize(dir.path()).unwrap();
        let mut up = script();
        up.arg("up").arg(&top).args(["--user", user, "--owner", &owner]).args(options).args(names);
        let ran = run(&mut up);
        assert_eq!(ran.code, 0, "{ran:?}");
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            ssh_config: top.join("ssh_config"),
            user: user.to_owned(),
            names,
            dir,
            server: OnceLock::new(),
        }
    }

    fn top(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap()
    }

    /// A file of the client, whose home is that of root there.
    pub fn local(&self, name: &str) -> PathBuf {
        self.top().join("client").join(name)
    }

    /// A program on the client's side, with its environment and no other.
    pub fn client_program(&self, program: &str, arguments: &[&str]) -> Command {
        let pid = std::fs::read_to_string(self.top().join("client.pid")).unwrap();
        let mut command = Command::new("nsenter");
        command
            // Its own --wd is a directory of this side.
            .args(["-t", pid.trim(), "-n", "-m", "-u", "--", "sh", "-c", "cd && exec \"$@\"", "sh", program])
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/root")
            .env("PAIL_NODE_BINARIES", programs_for_nodes())
            .env("PAIL_CACHE_SIZE", "256M")
            .env("PAIL_MEMORY", "64M")
            .stdin(Stdio::null());
        if let Some((server, _)) = self.server.get() {
            command
                .env("AWS_ENDPOINT_URL", server.endpoint_url())
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", crate::sandbox::SECRET);
        }
        command
    }

    /// `pail` on the client's side.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.client_program(env!("CARGO_BIN_EXE_pail"), arguments)
    }

    /// Runs `pail` on the client's side to its end.
    pub fn client(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Runs a command of sh(1) on the client's side.
    pub fn client_shell(&self, command: &str) -> Ran {
        run(&mut self.client_program("sh", &["-c", command]))
    }

    /// A command of sh(1) on a node, as root and not over SSH.
    pub fn on(&self, node: &str, command: &str) -> Ran {
        run(script().arg("on").arg(self.top()).args([node, "sh", "-c", command]))
    }

    /// The same, which must go well; what it printed.
    pub fn must_on(&self, node: &str, command: &str) -> String {
        let ran = self.on(node, command);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        ran.out
    }

    /// The home of the user on a node, as this process sees it.
    pub fn home(&self, node: &str) -> PathBuf {
        self.top().join(node).join("home").join(&self.user)
    }

    /// A node's address.
    pub fn address(&self, node: &str) -> String {
        std::fs::read_to_string(self.top().join(format!("{node}.ip"))).unwrap().trim().to_owned()
    }

    /// The S3 server on the client's side, which the nodes reach; from its first use on, the client's environment names it.
    pub fn server(&self) -> &Server {
        let (server, _) = self.server.get_or_init(|| {
            let network = self.network("client");
            let start = move || {
                enter(&network);
                let runtime = Runtime::new().unwrap();
                let listen = SocketAddr::new(CLIENT_ADDRESS, 0);
                let server =
                    runtime.block_on(Server::start(ServerConfig { listen, ..ServerConfig::default() }));
                (server.unwrap(), runtime)
            };
            std::thread::spawn(start).join().unwrap()
        });
        server
    }

    /// Another server, at the same loopback address of the client and of every node: what may not leave a machine in the clear is sent there.
    pub fn near_server(&self, config: ServerConfig) -> Near {
        let client = self.network("client");
        let (server, runtime) = std::thread::spawn(move || {
            enter(&client);
            let runtime = Runtime::new().unwrap();
            let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
            let server = runtime.block_on(Server::start(ServerConfig { listen, ..config })).unwrap();
            (server, runtime)
        })
        .join()
        .unwrap();
        let addr = server.addr();
        for node in &self.names {
            let network = self.network(node);
            let listener = std::thread::spawn(move || {
                enter(&network);
                std::net::TcpListener::bind(addr).unwrap()
            });
            // Its threads have the client's network, in which connections of theirs are made.
            runtime.spawn(forward(listener.join().unwrap(), addr));
        }
        Near { server, runtime }
    }

    /// The network of the client or of a node.
    fn network(&self, whose: &str) -> std::fs::File {
        let pid = std::fs::read_to_string(self.top().join(format!("{whose}.pid"))).unwrap();
        std::fs::File::open(format!("/proc/{}/ns/net", pid.trim())).unwrap()
    }

    /// Runs what the server's calls need.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.server();
        self.server.get().unwrap().1.block_on(work)
    }

    /// Takes programs away from a node.
    pub fn remove_programs(&self, node: &str, programs: &[&str]) {
        for program in programs {
            self.must_on(node, &format!("while p=$(command -v {program}); do rm -f \"$p\"; done"));
        }
    }

    /// Cuts a node off: what is sent to it is lost without a word.
    pub fn down_link(&self, node: &str) {
        self.set_link(node, "down");
    }

    /// Undoes [`Nodes::down_link`].
    pub fn up_link(&self, node: &str) {
        self.set_link(node, "up");
    }

    fn set_link(&self, node: &str, state: &str) {
        let link = std::fs::read_to_string(self.top().join(format!("{node}.link"))).unwrap();
        let ran = run(&mut self.client_program("ip", &["link", "set", link.trim(), state]));
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// Bounds what the client can send to a node, in the words of tc(8): `20mbit`.
    pub fn limit_link(&self, node: &str, rate: &str) {
        let link = std::fs::read_to_string(self.top().join(format!("{node}.link"))).unwrap();
        let tbf = ["root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"];
        let arguments = [&["qdisc", "replace", "dev", link.trim()], &tbf[..]].concat();
        let ran = run(&mut self.client_program("tc", &arguments));
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// Ends a node with all that runs on it, as by a power cut. Its disk is gone too.
    pub fn kill_node(&self, node: &str) {
        let pid = std::fs::read_to_string(self.top().join(format!("{node}.pid"))).unwrap();
        // SAFETY: a signal to a process that this testbed started.
        assert_eq!(unsafe { libc::kill(pid.trim().parse().unwrap(), libc::SIGKILL) }, 0);
    }

    /// Starts a node anew, as far as its processes go: all but the first end, then sshd begins.
    pub fn restart(&self, node: &str) {
        self.must_on(
            node,
            "trap '' TERM; kill -9 $(ps -eo pid= | grep -vwE \"1|$$\") 2>/dev/null; \
             until /usr/sbin/sshd -f /run/pail-node/sshd_config -E /run/pail-node/sshd.log; do sleep 0.02; done",
        );
    }

    /// Gives a node another host key, as if it were another machine.
    pub fn change_host_key(&self, node: &str) {
        self.must_on(node, "cd /run/pail-node && rm hostkey* && ssh-keygen -q -t ed25519 -N '' -f hostkey");
        self.restart(node);
    }

    /// How many commands a node has been given over SSH.
    pub fn sessions(&self, node: &str) -> usize {
        let log = std::fs::read_to_string(self.top().join(node).join("sshd/sshd.log")).unwrap();
        log.matches("Starting session:").count()
    }

    /// What a node has running, a line for each process: number, user, command line.
    pub fn processes(&self, node: &str) -> String {
        self.must_on(node, "ps -eo pid,user,args")
    }

    /// The names of the nodes, head first.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// A server that is at the same loopback address of every machine.
pub struct Near {
    pub server: Server,
    pub runtime: Runtime,
}

/// Moves this thread into a network. Threads have that of the one that starts them, and sockets that of the thread that makes them.
fn enter(network: &std::fs::File) {
    let network = std::os::fd::AsFd::as_fd(network);
    rustix::thread::move_into_link_name_space(network, Some(rustix::thread::LinkNameSpaceType::Network))
        .unwrap();
}

/// Passes on what comes to `listener`, to `to` as seen from the runtime's threads.
async fn forward(listener: std::net::TcpListener, to: SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((mut near, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(mut far) = tokio::net::TcpStream::connect(to).await {
                // Who breaks off is seen by both.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in &self.names {
                let log = self.top().join(name).join("sshd/sshd.log");
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                eprintln!("sshd of {name}, the last first: {last:#?}");
            }
        }
        let ran = run(script().arg("down").arg(self.top()));
        if ran.code != 0 {
            eprintln!("nodes down: {ran:?}");
        }
    }
}

/// Whether nodes can be made here; says why not.
pub fn can_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        crate::sandbox::skipped("nodes need root");
    }
    is_root
}

fn script() -> Command {
    let mut command = Command::new(root().join("scripts/nodes"));
    command.stdin(Stdio::null());
    command
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The programs without their debugging information: six times less to send.
pub fn programs_for_nodes() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        build_daemon();
        let built = Path::new(env!("CARGO_BIN_EXE_pail")).parent().unwrap();
        let dir = built.join("for-nodes");
        std::fs::create_dir_all(&dir).unwrap();
        for program in ["pail", "pail-mountd"] {
            strip(&built.join(program), &dir.join(program));
        }
        dir
    })
}

/// Test programs may run side by side: each makes its own, and renames it.
fn strip(from: &Path, to: &Path) {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if modified(to) > modified(from) {
        return;
    }
    let temporary = to.with_extension(std::process::id().to_string());
    let ran = run(Command::new("strip").arg("-o").arg(&temporary).arg(from));
    assert_eq!(ran.code, 0, "{ran:?}");
    std::fs::rename(temporary, to).unwrap();
}
