//! Programs of other people that a node needs.
//!
//! Owns: which package of which distribution has a program, and the one command that installs what is missing, by root or a sudo that asks
//! for no password.

use super::facts::{Facts, SYSTEM_PATH};
use super::node::Node;
use pail_control::Failure;

/// A package manager: its program, what it runs, and its names for packages.
struct Manager {
    program: &'static str,
    /// What goes before the packages' names.
    install: &'static str,
    /// What is tried first where the lists of packages may be old or missing.
    refresh: Option<&'static str>,
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        install: "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -q --no-install-recommends",
        refresh: Some("apt-get update -q"),
    },
    Manager { program: "dnf", install: "dnf install -y -q", refresh: None },
    Manager { program: "yum", install: "yum install -y -q", refresh: None },
    Manager { program: "apk", install: "apk add", refresh: Some("apk update") },
    Manager { program: "zypper", install: "zypper --non-interactive install --no-recommends", refresh: None },
    Manager { program: "pacman", install: "pacman -S --noconfirm --needed", refresh: Some("pacman -Sy") },
];

/// The package that has a program; all of [`MANAGERS`] name them alike.
fn package(program: &str) -> &str {
    match program {
        "fusermount3" => "fuse3",
        other => other,
    }
}

/// Whether `install` can be tried: a package manager that is known here, and the right to use it.
pub fn can_install(facts: &Facts) -> bool {
    facts.has_root != Some(false) && MANAGERS.iter().any(|manager| facts.has(manager.program))
}

/// Installs programs, all in one go. Errors: there is no package manager that is known here, no right to use it, or it failed; each
/// with the command that a person may run.
pub async fn install(node: &Node, facts: &Facts, programs: &[&str]) -> Result<(), Failure> {
    let packages: Vec<&str> = programs.iter().map(|program| package(program)).collect();
    let list = packages.join(" ");
    let missing = || Failure::other(format!("{} lacks {}", node.host, programs.join(", ")));
    let Some(manager) = MANAGERS.iter().find(|manager| facts.has(manager.program)) else {
        return Err(missing()
            .because("no package manager that pail knows is there (apt-get, dnf, yum, apk, zypper, pacman)")
            .with_hint(format!("install {list} on {}", node.host)));
    };
    let by_hand = format!("ssh -t {} sudo {} {list}", node.host, by_hand(manager));
    let refresh = manager.refresh.map_or(String::new(), |refresh| {
        // Old lists are good enough where they have the packages: one server that does not answer shall keep nobody.
        format!("$root {refresh} >/dev/null 2>&1\n")
    });
    let script = format!(
        "{SYSTEM_PATH}\nif [ \"$(id -u)\" = 0 ]; then root=; elif sudo -n true 2>/dev/null; then root='sudo -n'; else exit {NO_RIGHT}; fi\n\
         {refresh}$root {} {list} </dev/null >&2 || exit {FAILED}\n\
         for p in {}; do command -v \"$p\" >/dev/null 2>&1 || {{ echo \"$p is still missing\" >&2; exit {FAILED}; }}; done",
        manager.install,
        programs.join(" "),
    );
    let ran = node.output(&script, b"").await?;
    match ran.status.code() {
        Some(0) => Ok(()),
        Some(NO_RIGHT) => Err(missing()
            .because(format!("{} may not install it: sudo asks for a password, or is not there", facts.user))
            .with_hint(format!("`{by_hand}`"))),
        _ => {
            let why = node.explain(ran.status, &ran.stderr);
            let failure = missing().because(format!("{} could not install {list} there", manager.program));
            let failure = why.causes.into_iter().fold(failure, Failure::because);
            Err(Failure { kind: why.kind, ..failure }.with_hint(format!("see why with `{by_hand}`")))
        }
    }
}

/// Exit codes of the script, which no package manager has.
const NO_RIGHT: i32 = 91;
const FAILED: i32 = 92;

fn by_hand(manager: &Manager) -> &'static str {
    match manager.program {
        "apt-get" => "apt-get install",
        "apk" => "apk add",
        "zypper" => "zypper install",
        "pacman" => "pacman -S",
        "dnf" => "dnf install",
        _ => "yum install",
    }
}
