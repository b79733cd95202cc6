//! What a node is and has.
//!
//! Owns: [`Facts`], and the script that finds them in one round trip, for any sh(1) with little more than POSIX's own programs.

use super::node::Node;
use pail_control::Failure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// What one question found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The home, absolute.
    pub home: String,
    /// The operating system, by its own name where it has one ("Debian GNU/Linux 12 (bookworm)").
    pub os: String,
    /// The kernel's name ("Linux").
    pub kernel: String,
    /// The machine, as `uname -m` has it.
    pub arch: String,
    /// The C library and its version ("glibc 2.36", "musl").
    pub libc: String,
    /// What of `PROGRAMS` is in the user's path or where the system keeps such programs.
    pub programs: Vec<String>,
    /// Whether this user may open `/dev/fuse`.
    pub has_fuse_device: bool,
    /// Whether this is root, or sudo asks for no password. `None`: it was not asked.
    pub has_root: Option<bool>,
    /// Bytes free in the home, for this user.
    pub home_free_bytes: Option<u64>,
    /// Seconds that the node's clock is ahead of this machine's, as well as a round trip lets it be known.
    pub clock_ahead_secs: i64,
    /// The node's own address: the one that ssh reached, else the first that it has.
    pub address: Option<IpAddr>,
    /// The versions of Pail there, by directory name, with the sizes of the two programs.
    #[serde(skip)]
    pub installed: BTreeMap<String, [u64; 2]>,
}

/// The programs that are looked for.
pub const PROGRAMS: [&str; 12] = [
    "rsync",
    "git",
    "fusermount3",
    "sudo",
    "zstd",
    "gzip",
    "apt-get",
    "dnf",
    "yum",
    "apk",
    "zypper",
    "pacman",
];

/// Where programs are that a user's path may lack.
pub const SYSTEM_PATH: &str = "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// Each line is a name, a space and a value. Nothing in it may fail or ask for anything.
const SCRIPT: &str = r#"
say() { printf '%s %s\n' "$1" "$2"; }
[ -n "$HOME" ] || HOME=$(cd ~ 2>/dev/null && pwd)
say home "$HOME"
say user "$(id -un 2>/dev/null)"
say uid "$(id -u)"
say kernel "$(uname -s)"
say arch "$(uname -m)"
say clock "$(date +%s)"
say os "$(. /etc/os-release 2>/dev/null && printf '%s' "$PRETTY_NAME")"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=
if [ -z "$libc" ]; then for f in /lib/ld-musl-*; do [ -e "$f" ] && libc=musl; done; fi
say libc "$libc"
for p in PROGRAMS; do command -v "$p" >/dev/null 2>&1 && say program "$p"; done
[ -r /dev/fuse ] && [ -w /dev/fuse ] && say fuse yes
say free "$(df -Pk "$HOME" 2>/dev/null | tail -n 1)"
say ssh "$SSH_CONNECTION"
say addresses "$(hostname -I 2>/dev/null)"
for d in "$HOME"/.pail/*/; do
  [ -x "${d}pail" ] && [ -x "${d}pail-mountd" ] &&
    say installed "$(wc -c <"${d}pail") $(wc -c <"${d}pail-mountd") ${d#"$HOME"/.pail/}"
done
"#;

const ASK_ROOT: &str = r#"
if [ "$(id -u)" = 0 ] || sudo -n true >/dev/null 2>&1; then say root yes; else say root no; fi
"#;

/// Asks a node, in one round trip. `ask_root` also tries sudo, which the node may write into its log. Errors: the node's.
pub async fn survey(node: &Node, ask_root: bool) -> Result<Facts, Failure> {
    let script = format!(
        "{SYSTEM_PATH}{}{}",
        SCRIPT.replace("PROGRAMS", &PROGRAMS.join(" ")),
        match ask_root {
            true => ASK_ROOT,
            false => "",
        }
    );
    let asked = SystemTime::now();
    let output = node.run(&format!("{script}exit 0"), b"").await?;
    let round_trip = asked.elapsed().unwrap_or_default();
    let mut facts = parse(&String::from_utf8_lossy(&output), asked + round_trip / 2).map_err(|why| {
        Failure::other(format!("{}: {why}", node.host))
            .with_hint("a shell and POSIX's programs must be there")
    })?;
    if !ask_root {
        facts.has_root = None;
    }
    Ok(facts)
}

/// `now` is this machine's time when the node told its own.
fn parse(text: &str, now: SystemTime) -> Result<Facts, String> {
    let pairs: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let all = |name: &'static str| pairs.iter().filter(move |(n, _)| *n == name).map(|(_, value)| *value);
    let one = |name: &'static str| all(name).next().unwrap_or_default();
    let home = one("home");
    if !home.starts_with('/') {
        return Err(format!("the user's home there is {home:?}"));
    }
    let number =
        |name: &'static str| one(name).parse::<i64>().map_err(|_| format!("it does not say its {name}"));
    let here = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let kernel = one("kernel").to_owned();
    Ok(Facts {
        user: one("user").to_owned(),
        uid: u32::try_from(number("uid")?).map_err(|err| err.to_string())?,
        home: home.trim_end_matches('/').to_owned(),
        os: Some(one("os")).filter(|os| !os.is_empty()).unwrap_or(&kernel).to_owned(),
        arch: one("arch").to_owned(),
        libc: Some(one("libc")).filter(|libc| !libc.is_empty()).unwrap_or("unknown").to_owned(),
        programs: all("program").map(str::to_owned).collect(),
        has_fuse_device: one("fuse") == "yes",
        has_root: Some(one("root") == "yes"),
        // Filesystem, blocks of 1024 bytes, used, available, …; a name with spaces would be in front.
        home_free_bytes: one("free")
            .split_whitespace()
            .rev()
            .nth(2)
            .and_then(|kib| kib.parse::<u64>().ok())
            .map(|kib| kib << 10),
        clock_ahead_secs: number("clock")? - here.cast_signed(),
        address: address(one("ssh"), one("addresses")),
        installed: all("installed").filter_map(installed).collect(),
        kernel,
    })
}

/// `SSH_CONNECTION` has the address that was reached third: it is the node's own, behind any translation, and no bridge's of its containers.
/// A loopback one was reached through a tunnel.
fn address(connection: &str, own: &str) -> Option<IpAddr> {
    let usable = |text: &str| text.parse::<IpAddr>().ok().filter(|address| !address.is_loopback());
    let reached = connection.split(' ').nth(2).and_then(usable);
    reached.or_else(|| own.split_whitespace().find_map(usable))
}

fn installed(line: &str) -> Option<(String, [u64; 2])> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [pail, mountd, name] = words.as_slice() else { return None };
    Some((name.trim_end_matches('/').to_owned(), [pail.parse().ok()?, mountd.parse().ok()?]))
}

impl Facts {
    /// Whether the node has a program.
    pub fn has(&self, program: &str) -> bool {
        self.programs.iter().any(|found| found == program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "home /home/ann\nuser ann\nuid 1000\nkernel Linux\narch x86_64\nclock 1010\nos Debian GNU/Linux 12\nlibc glibc 2.36\nprogram rsync\nprogram apt-get\nfuse yes\nfree /dev/a b 100 60 40 60% /home\nssh 10.0.0.1 5555 10.0.0.2 22\naddresses 172.17.0.1 10.0.0.2 \ninstalled 12 13 0.1.0-abc/\nroot no\n";

    #[test]
    fn an_answer_is_read() {
        let facts = parse(ANSWER, SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).unwrap();
        assert_eq!((facts.user.as_str(), facts.uid, facts.home.as_str()), ("ann", 1000, "/home/ann"));
        assert!(facts.has("rsync") && !facts.has("git"));
        assert_eq!(facts.home_free_bytes, Some(40 << 10));
        assert_eq!((facts.clock_ahead_secs, facts.has_root, facts.has_fuse_device), (10, Some(false), true));
        assert_eq!(facts.address.unwrap().to_string(), "10.0.0.2");
        assert_eq!(facts.installed["0.1.0-abc"], [12, 13]);
    }

    #[test]
    fn an_address_is_one_that_others_can_reach() {
        let of = |connection, own| address(connection, own).map(|address| address.to_string());
        assert_eq!(of("::1 1 ::1 22", "10.0.0.7 fd00::1"), Some("10.0.0.7".into()));
        assert_eq!(of("fe00::1 1 fd00::9 22", ""), Some("fd00::9".into()));
        assert_eq!(of("", "127.0.0.1"), None);
    }
}
