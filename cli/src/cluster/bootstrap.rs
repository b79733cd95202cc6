//! Pail's own programs on a node.
//!
//! Owns: [`bootstrap`], after which a node has them, and what else a task [`Needs`]; they are in `~/.pail/VERSION-HASH/`.
//!
//! Invariants: that directory has either both programs whole, as their hashes said there, or is not there: they are sent into a directory of
//! another name, tried, and renamed. So launches beside each other disturb nobody, and a second one sends nothing and costs one round
//! trip. What runs from an older directory keeps it; of the rest, the [`KEPT`] that were used last stay.

use super::binaries::{Binaries, Binary, PORTABLE_HINT, PROGRAMS};
use super::facts::{Facts, SYSTEM_PATH, survey};
use super::node::Node;
use super::packages;
use pail_control::quantity::ByteSize;
use pail_control::{Failure, FailureKind};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::OnceCell;

/// How many versions stay on a node.
const KEPT: usize = 2;
/// How often a program is sent that arrives damaged, or whose connection is lost on the way.
const ATTEMPTS_MAX: u32 = 2;

/// What a task needs of its nodes beside a shell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files are sent.
    pub rsync: bool,
    /// Something is mounted.
    pub fuse: bool,
    /// A repository is fetched.
    pub git: bool,
}

/// Pail on a node.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The `pail` program there, absolute; `pail-mountd` is beside it.
    pub pail: String,
    /// The user's home, absolute.
    pub home: String,
    /// The user's number.
    pub uid: u32,
    /// The node's own address, as other nodes may reach it.
    pub address: Option<IpAddr>,
    /// What else was found; programs that were installed just now are among `programs`.
    pub facts: Facts,
    /// Bytes of programs that were sent; 0 where they were there.
    pub sent_bytes: u64,
}

/// Sees to it that a node has Pail and what is needed. `report` is told what takes a while, in a few words. Errors: the node's; a node that is
/// no Linux, of a machine or with a libc that the programs are not for; a home that is full, read-only or `noexec`; what is needed and
/// cannot be installed.
pub async fn bootstrap(
    node: &Node,
    needs: Needs,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<Agent, Failure> {
    let mut facts = survey(node, false).await?;
    if facts.kernel != "Linux" {
        return Err(Failure::other(format!("{} runs {}; pail needs Linux there", node.host, facts.kernel)));
    }
    let binaries = binaries_for(&facts.arch).await.map_err(|failure| about(node, failure))?;
    let is_there =
        facts.installed.get(&binaries.name) == Some(&[binaries.files[0].size, binaries.files[1].size]);
    let sent_bytes = match is_there {
        true => 0,
        false => {
            binaries.check_libc(&node.host, &facts.libc)?;
            send(node, &facts, &binaries, report).await?
        }
    };
    provide(node, &mut facts, needs, report).await?;
    let address = match facts.address {
        Some(address) => Some(address),
        // Reached through a tunnel, by an account that cannot tell: the address that the user knows.
        None => node.resolved().await?.get("hostname").and_then(|name| name.parse().ok()),
    };
    Ok(Agent {
        pail: format!("{}/.pail/{}/{}", facts.home, binaries.name, PROGRAMS[0]),
        home: facts.home.clone(),
        uid: facts.uid,
        address,
        facts,
        sent_bytes,
    })
}

fn about(node: &Node, failure: Failure) -> Failure {
    Failure { message: format!("{}: {}", node.host, failure.message), ..failure }
}

/// What of the needed programs is not there.
pub fn missing_programs(facts: &Facts, needs: Needs) -> Vec<&'static str> {
    // Root mounts by itself.
    let wanted = [("rsync", needs.rsync), ("git", needs.git), ("fusermount3", needs.fuse && facts.uid != 0)];
    wanted
        .into_iter()
        .filter(|(name, is_needed)| *is_needed && !facts.has(name))
        .map(|(name, _)| name)
        .collect()
}

async fn provide(
    node: &Node,
    facts: &mut Facts,
    needs: Needs,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Failure> {
    let missing = missing_programs(facts, needs);
    if !missing.is_empty() {
        report(&format!("installing {}", missing.join(", ")));
        packages::install(node, facts, &missing).await?;
        facts.programs.extend(missing.iter().map(|name| (*name).to_owned()));
    }
    if needs.fuse && !facts.has_fuse_device {
        let script = format!(
            "{SYSTEM_PATH}\n[ \"$(id -u)\" = 0 ] && root= || root='sudo -n'\n$root modprobe fuse >/dev/null 2>&1\n\
             [ -r /dev/fuse ] && [ -w /dev/fuse ]"
        );
        if !node.output(&script, b"").await?.status.success() {
            return Err(Failure::other(format!("{} has no /dev/fuse that {} may open", node.host, facts.user))
                .with_hint("load the kernel's module (modprobe fuse); a container needs --device /dev/fuse and --cap-add SYS_ADMIN"));
        }
        facts.has_fuse_device = true;
    }
    Ok(())
}

type FoundBinaries = Mutex<HashMap<String, Arc<OnceCell<Arc<Binaries>>>>>;

/// The programs for a kind of machine: read and hashed once, however many nodes ask.
async fn binaries_for(arch: &str) -> Result<Arc<Binaries>, Failure> {
    static FOUND: OnceLock<FoundBinaries> = OnceLock::new();
    let cell = {
        // Guards the map alone; a thread that panicked left it whole.
        let mut found = FOUND.get_or_init(Mutex::default).lock().unwrap_or_else(|poison| poison.into_inner());
        found.entry(arch.to_owned()).or_default().clone()
    };
    let arch = arch.to_owned();
    let find = async move {
        let found = tokio::task::spawn_blocking(move || Binaries::find(&arch)).await;
        found
            .map_err(|err| Failure::other("cannot read pail's own programs").because(err.to_string()))?
            .map(Arc::new)
    };
    cell.get_or_try_init(|| find).await.cloned()
}

/// Whether there are programs that run on a node. Errors: there are none.
pub async fn check_programs(node: &Node, facts: &Facts) -> Result<(), Failure> {
    binaries_for(&facts.arch).await?.check_libc(&node.host, &facts.libc)
}

async fn send(
    node: &Node,
    facts: &Facts,
    binaries: &Binaries,
    report: &(dyn Fn(&str) + Send + Sync),
) -> Result<u64, Failure> {
    let total: u64 = binaries.files.iter().map(|file| file.size).sum();
    report(&format!("sending pail {} ({})", binaries.name, ByteSize(total).human()));
    let incoming = begin(node).await?;
    let sent = send_into(node, facts, binaries, &incoming).await;
    if sent.is_err() {
        // What cannot be removed now goes with a later bootstrap.
        let _ = node.output(&format!("rm -rf {}", shell_word(&incoming)), b"").await;
    }
    sent.map(|()| total)
}

/// Makes the directory that is sent into, and removes those that were given up a day ago.
async fn begin(node: &Node) -> Result<String, Failure> {
    let script = format!(
        "{SYSTEM_PATH}; umask 077\nmkdir -p \"$HOME/.pail\" || exit 1\n\
         find \"$HOME/.pail\" -maxdepth 1 -name '.incoming-*' -mtime +0 -exec rm -rf {{}} + >/dev/null 2>&1\n\
         mktemp -d \"$HOME/.pail/.incoming-XXXXXX\""
    );
    let output = node.output(&script, b"").await?;
    let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && dir.starts_with('/') {
        true => Ok(dir),
        false => Err(unwritable(node, &node.explain(output.status, &output.stderr))),
    }
}

/// A home that takes no programs, said as what it is.
fn unwritable(node: &Node, failure: &Failure) -> Failure {
    let text = failure.causes.join("\n");
    let (kind, hint) = match failure.kind {
        FailureKind::NoSpace => {
            (FailureKind::NoSpace, format!("free some space in the home on {}", node.host))
        }
        _ if text.contains("Read-only file system") => (
            FailureKind::Other,
            format!("the home on {} is mounted read-only; pail keeps its programs in ~/.pail", node.host),
        ),
        kind => (
            kind,
            format!(
                "pail keeps its programs in ~/.pail on {}, which this user must be able to write",
                node.host
            ),
        ),
    };
    let message = format!("cannot send pail to ~/.pail on {}", node.host);
    let failure = failure.causes.iter().fold(Failure::new(kind, message), |all, cause| all.because(cause));
    failure.with_hint(hint)
}

async fn send_into(node: &Node, facts: &Facts, binaries: &Binaries, incoming: &str) -> Result<(), Failure> {
    for (program, binary) in PROGRAMS.iter().zip(&binaries.files) {
        let path = format!("{incoming}/{program}");
        let packed = Packed::of(binary, facts).await?;
        let mut attempt = 1;
        while let Err(failure) = send_one(node, &path, &packed, binary).await {
            let is_passing = matches!(failure.kind, FailureKind::Verification | FailureKind::Unreachable);
            if !is_passing || attempt == ATTEMPTS_MAX {
                return Err(failure);
            }
            attempt += 1;
        }
    }
    for (program, binary) in PROGRAMS.iter().zip(&binaries.files) {
        try_out(node, facts, &format!("{incoming}/{program}"), binary).await?;
    }
    finish(node, binaries, incoming).await
}

async fn send_one(node: &Node, path: &str, packed: &Packed, binary: &Binary) -> Result<(), Failure> {
    let path = shell_word(path);
    // Where no program of the node's can tell the hash, the sent one can; a damaged one tells none.
    let script = format!(
        "{SYSTEM_PATH}\n{} > {path} && chmod 755 {path} || exit 1\n\
         hash=$(sha256sum {path} 2>/dev/null) || hash=$(shasum -a 256 {path} 2>/dev/null) || \
         hash=$(openssl dgst -r -sha256 {path} 2>/dev/null) || hash=$(\"$(dirname {path})/pail\" cluster digest {path} 2>/dev/null)\n\
         echo \"$hash\"",
        packed.unpack,
    );
    let output = node.output(&script, &packed.bytes).await?;
    if !output.status.success() {
        let failure = node.explain(output.status, &output.stderr);
        let is_damaged =
            ["zstd", "gzip", "stdin"].iter().any(|word| failure.causes.join("\n").contains(word));
        return Err(match failure.kind == FailureKind::Other && is_damaged {
            true => damaged(node, binary).because(failure.causes.join("; ")),
            false => unwritable(node, &failure),
        });
    }
    let hash = String::from_utf8_lossy(&output.stdout);
    match hash.split_whitespace().next() {
        Some(hash) if hash == binary.sha256 => Ok(()),
        Some(hash) => {
            Err(damaged(node, binary)
                .because(format!("its SHA-256 is {} here and {hash} there", binary.sha256)))
        }
        None => Err(damaged(node, binary).because("nothing there can tell its SHA-256")),
    }
}

fn damaged(node: &Node, binary: &Binary) -> Failure {
    Failure::new(
        FailureKind::Verification,
        format!("{} did not arrive whole on {}", binary.path.display(), node.host),
    )
}

/// Runs a program once, from where it was sent.
async fn try_out(node: &Node, facts: &Facts, path: &str, binary: &Binary) -> Result<(), Failure> {
    let output = node.output(&format!("{} --version", shell_word(path)), b"").await?;
    if output.status.success() {
        return Ok(());
    }
    let failure = node.explain(output.status, &output.stderr);
    let why = failure.causes.join("\n");
    let message = format!("{} cannot run there ({}, {})", binary.path.display(), facts.os, facts.libc);
    let message = format!("{}: {message}", node.host);
    let told = failure.causes.iter().fold(Failure::other(message), |all, cause| all.because(cause));
    let is_of_libc =
        why.contains("GLIBC_") || why.contains("not found") || why.contains("error while loading");
    Err(match (why.contains("Permission denied"), is_of_libc) {
        (true, _) => told.because("the home there is mounted noexec").with_hint(format!(
            "pail runs from ~/.pail on {}: mount the home, or a file system at ~/.pail, without noexec",
            node.host
        )),
        (_, true) => told.because("it needs another C library than the node has").with_hint(PORTABLE_HINT),
        _ => told,
    })
}

/// Gives the directory its name, and removes versions that nobody uses.
async fn finish(node: &Node, binaries: &Binaries, incoming: &str) -> Result<(), Failure> {
    let incoming = shell_word(incoming);
    // `mv` into a directory that another launch has made meanwhile would put ours inside it.
    let script = format!(
        r#"{SYSTEM_PATH}; cd "$HOME/.pail" || exit 1
name={name}; incoming={incoming}
if [ -d "$name" ]; then
  if [ "$(wc -c <"$name/{pail}")" = {pail_size} ] && [ "$(wc -c <"$name/{mountd}")" = {mountd_size} ]; then
    rm -rf "$incoming"
  else
    mv "$name" ".incoming-broken-$$" && mv "$incoming" "$name" || exit 1
    rm -rf ".incoming-broken-$$"
  fi
else
  mv "$incoming" "$name" || exit 1
fi
rm -rf "$name/${{incoming##*/}}"
[ -x "$name/{mountd}" ] || exit 1
touch "$name"; kept=1
# A home that other nodes have too may hold what runs there.
case $(stat -f -c %T . 2>/dev/null) in nfs*|ceph*|lustre|gpfs|cifs|smb*|fuse*|afs|UNKNOWN*) exit 0 ;; esac
for d in $(ls -t); do
  [ -d "$d" ] && [ -x "$d/{pail}" ] && [ "$d" != "$name" ] || continue
  kept=$((kept + 1))
  [ "$kept" -gt {KEPT} ] || continue
  case $(ls -l /proc/[0-9]*/exe 2>/dev/null) in *"$HOME/.pail/$d/"*) ;; *) rm -rf "$d" ;; esac
done
exit 0"#,
        name = binaries.name,
        pail = PROGRAMS[0],
        mountd = PROGRAMS[1],
        pail_size = binaries.files[0].size,
        mountd_size = binaries.files[1].size,
    );
    let output = node.output(&script, b"").await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(unwritable(node, &node.explain(output.status, &output.stderr))),
    }
}

/// A program as it is sent: packed by what both ends have.
struct Packed {
    bytes: Arc<Vec<u8>>,
    /// The command that unpacks it from standard input.
    unpack: &'static str,
}

impl Packed {
    /// Packed once for all nodes that take it so. Errors: it cannot be read.
    async fn of(binary: &Binary, facts: &Facts) -> Result<Self, Failure> {
        const WAYS: [(&str, &[&str], &str); 2] =
            [("zstd", &["-3", "-q", "-c"], "zstd -dcq"), ("gzip", &["-1", "-c"], "gzip -dc")];
        for (program, arguments, unpack) in WAYS.iter().filter(|(program, ..)| facts.has(program)) {
            let packing = async {
                let mut command = tokio::process::Command::new(program);
                command.args(*arguments).arg("--").arg(&binary.path).stdin(Stdio::null()).kill_on_drop(true);
                command
                    .output()
                    .await
                    .ok()
                    .filter(|output| output.status.success())
                    .map(|output| output.stdout)
            };
            if let Some(bytes) = packed_once(&binary.path, program, packing).await {
                return Ok(Self { bytes, unpack });
            }
        }
        let reading = async { tokio::fs::read(&binary.path).await.ok() };
        match packed_once(&binary.path, "cat", reading).await {
            Some(bytes) => Ok(Self { bytes, unpack: "cat" }),
            None => Err(Failure::other(format!("cannot read {}", binary.path.display()))),
        }
    }
}

type Packs = Mutex<HashMap<(PathBuf, String), Arc<OnceCell<Arc<Vec<u8>>>>>>;

/// What `packing` gives, kept for the other nodes. `None`: it cannot be done, and may be tried again.
async fn packed_once(
    path: &std::path::Path,
    way: &str,
    packing: impl Future<Output = Option<Vec<u8>>>,
) -> Option<Arc<Vec<u8>>> {
    static PACKS: OnceLock<Packs> = OnceLock::new();
    let cell = {
        // Guards the map alone; a thread that panicked left it whole.
        let mut packs = PACKS.get_or_init(Mutex::default).lock().unwrap_or_else(|poison| poison.into_inner());
        packs.entry((path.to_owned(), way.to_owned())).or_default().clone()
    };
    let pack = || async { packing.await.map(Arc::new).ok_or(()) };
    cell.get_or_try_init(pack).await.ok().cloned()
}

/// A word of sh(1) that means the text itself, as a path in a command for [`Node::run`].
pub fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
