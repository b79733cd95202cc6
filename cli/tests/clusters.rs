//! Clusters as a user meets them: `pail cluster`, plain `ssh`, and nodes that lack something, refuse, or fall silent.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod sandbox;

use nodes::{Nodes, ORDINARY, SUDOER, can_run};
use sandbox::Ran;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Writes the client's configuration anew, without the nodes.
fn forget_nodes(nodes: &Nodes, own: &str) {
    let text = std::fs::read_to_string(nodes.local(".ssh/config")).unwrap();
    let defaults = &text[text.find("Host *").unwrap()..];
    std::fs::write(nodes.local(".ssh/config"), format!("{own}{defaults}")).unwrap();
}

fn add_dev(nodes: &Nodes) -> Ran {
    let hosts = ["dev", "dev-worker1"].map(|node| format!("{}@{}", nodes.user, nodes.address(node)));
    nodes.client(&["cluster", "add", "dev", "--host", &hosts[0], "--host", &hosts[1]])
}

#[track_caller]
fn assert_ok(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[track_caller]
fn assert_fails(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    for word in words {
        assert!(ran.err.contains(word), "{word:?} is not in {}", ran.err);
    }
}

#[test]
fn a_cluster_that_was_added_is_known_to_plain_ssh_rsync_and_scp() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    forget_nodes(&nodes, "Host mine\n  HostName 10.99.0.9\n");
    assert_ok(&add_dev(&nodes));
    let config = std::fs::read_to_string(nodes.local(".ssh/config")).unwrap();
    assert!(config.starts_with("Include ~/.ssh/pail/config\nHost mine\n"), "{config}");

    std::fs::write(nodes.home("dev-worker1").join("model"), "weights").unwrap();
    let commands = [
        "ssh -o BatchMode=yes dev hostname",
        "rsync -Pavz -e 'ssh -o BatchMode=yes' dev-worker1:model local/",
        "scp -o BatchMode=yes dev-worker1:model copy && cat copy local/model",
    ];
    let outputs: Vec<String> = commands.map(|command| nodes.client_shell(command)).map(|ran| ran.out).into();
    assert_eq!((outputs[0].as_str(), outputs[2].as_str()), ("dev\n", "weightsweights"), "{outputs:?}");

    let again = add_dev(&nodes);
    assert!(again.err.contains("as before"), "{again:?}");
    assert_eq!(std::fs::read_to_string(nodes.local(".ssh/config")).unwrap(), config);
    let listed = nodes.client(&["cluster", "ls", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed[0]["name"], "dev");
    assert_eq!(listed[0]["managed"], true);
    assert_eq!(listed[0]["nodes"][1]["address"], nodes.address("dev-worker1"));

    assert_ok(&nodes.client(&["cluster", "rm", "dev"]));
    assert_fails(&nodes.client(&["cluster", "check", "dev"]), 3, &["no cluster dev"]);
    assert_ne!(nodes.client_shell("ssh -o BatchMode=yes dev true").code, 0);
    assert_fails(&nodes.client(&["cluster", "rm", "dev"]), 3, &["pail has written no cluster dev"]);
}

/// `pail cluster add` on a configuration file of that text; its exit code, what the file is then, and the address that ssh finds for `dev`.
fn add_to(dir: &Path, config: Option<&str>) -> (Ran, String, String) {
    let path = dir.join("config");
    if let Some(config) = config {
        std::fs::write(&path, config).unwrap();
    }
    let mut add = Command::new(env!("CARGO_BIN_EXE_pail"));
    add.args(["cluster", "add", "dev", "--host", "ann@10.1.1.1:2222", "--host", "10.1.1.2", "--user", "bob"]);
    let ran = sandbox::run(add.env("PAIL_SSH_CONFIG", &path).env("PAIL_RUNTIME_DIR", dir.join("run")));
    let asked = sandbox::run(Command::new("ssh").args(["-G", "-F"]).arg(&path).arg("dev"));
    let find =
        |name: &str| asked.out.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
    (ran, std::fs::read_to_string(&path).unwrap_or_default(), find("user ") + "@" + &find("hostname "))
}

#[test]
fn the_users_own_configuration_keeps_all_it_has() {
    let include = |dir: &Path| format!("Include {}\n", dir.join("pail/config").display());
    let texts = [
        "",
        "# mine\nHost gate\n  User x\nHost *\n  User y\n",
        "Host gate\r\n\tUser x\r\n",
        "Include other\n\nHost *\n  User y",
        // In force for one host alone.
        "Host gate\n  Include pail/config\n",
    ];
    for text in texts {
        let dir = tempfile::tempdir().unwrap();
        let (ran, after, found) = add_to(dir.path(), Some(text));
        assert_ok(&ran);
        assert_eq!(found, "ann@10.1.1.1", "{after}");
        let expected = include(dir.path());
        let expected = if text.contains('\r') { expected.replace('\n', "\r\n") } else { expected };
        assert_eq!(after, expected + text);
        // Once more changes nothing.
        assert_eq!(add_to(dir.path(), None).1, after);
    }
    let dir = tempfile::tempdir().unwrap();
    let (ran, after, found) = add_to(dir.path(), None);
    assert_eq!((ran.code, after, found.as_str()), (0, include(dir.path()), "ann@10.1.1.1"));

    // It is included already, by another spelling.
    let dir = tempfile::tempdir().unwrap();
    let text = format!("# top\ninclude = \"{}/*/config\"\nHost *\n", dir.path().display());
    let (ran, after, found) = add_to(dir.path(), Some(&text));
    assert_eq!((ran.code, after, found.as_str()), (0, text, "ann@10.1.1.1"), "{ran:?}");
}

#[test]
fn a_link_and_the_mode_of_a_configuration_stay() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("dotfiles");
    std::fs::write(&real, "Host gate\n").unwrap();
    std::fs::set_permissions(&real, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("dotfiles", dir.path().join("config")).unwrap();
    let (ran, after, found) = add_to(dir.path(), None);
    assert_ok(&ran);
    assert!(after.ends_with("Host gate\n") && found == "ann@10.1.1.1", "{after}");
    assert!(std::fs::symlink_metadata(dir.path().join("config")).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
    assert_eq!(std::fs::metadata(dir.path().join("pail/config")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn names_that_are_taken_or_cannot_be_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let own = "Host dev-worker3\n  HostName x\n";
    let (ran, after, _) = add_to(dir.path(), Some(own));
    assert_fails(&ran, 2, &["dev-worker3 is in your own SSH configuration already"]);
    assert_eq!(after, own);
    let (ran, ..) = add_to(dir.path(), Some("Host 10.1.1.2\n"));
    assert_fails(&ran, 2, &["10.1.1.2 is an alias", "`Host 10.1.1.2 dev-worker1`"]);
    let pail = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pail"));
        command.args(arguments).env("PAIL_SSH_CONFIG", dir.path().join("config"));
        sandbox::run(command.env("PAIL_RUNTIME_DIR", dir.path().join("run")))
    };
    for name in ["a b", "*", "-x", "dev-worker1", "a\nHost *"] {
        let ran = pail(&["cluster", "add", "--host", "h", "--", name]);
        assert_fails(&ran, 2, &[]);
    }
    assert_ok(&pail(&["cluster", "add", "gpu", "--host", "a", "--host", "b"]));
    assert_fails(&pail(&["cluster", "add", "gpu", "--host", "c"]), 2, &["--replace"]);
    assert_ok(&pail(&["cluster", "add", "gpu", "--host", "c", "--replace"]));
    assert_ok(&pail(&["cluster", "add", "cpu", "--host", "d"]));
    assert_ok(&pail(&["cluster", "rm", "gpu"]));
    let listed = pail(&["cluster", "ls"]);
    assert!(listed.out.contains("cpu") && !listed.out.contains("gpu"), "{listed:?}");
    assert_fails(&pail(&["cluster", "check", "cpi"]), 3, &["is cpu meant?"]);
    // Workers with a gap are no cluster of fewer nodes.
    std::fs::write(dir.path().join("config"), "Host dev dev-worker1 dev-worker3\n  HostName 127.0.0.1\n")
        .unwrap();
    assert_fails(&pail(&["cluster", "check", "dev"]), 2, &["has dev-worker3, but no dev-worker2"]);
}

#[test]
fn a_check_says_what_each_node_has_and_lacks() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(ORDINARY, &["dev", "dev-worker1"]);
    // What a login shell prints is no answer.
    std::fs::write(nodes.home("dev").join(".bashrc"), "echo home /nowhere; echo welcome >&2\n").unwrap();
    let ran = nodes.client(&["cluster", "check", "dev"]);
    assert_ok(&ran);
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert!(ran.out.contains(ORDINARY) && ran.out.contains(std::env::consts::ARCH), "{ran:?}");

    nodes.remove_programs("dev-worker1", &["rsync", "git"]);
    let ran = nodes.client(&["cluster", "check", "dev"]);
    assert_fails(
        &ran,
        5,
        &["rsync is missing, and bob may not install it", "dev-worker1: a task with a git workdir"],
    );
    let ran = nodes.client(&["cluster", "check", "dev", "--json"]);
    let checked: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(checked[0]["problems"], serde_json::json!([]));
    assert_eq!(checked[0]["facts"]["home"], format!("/home/{ORDINARY}"));
    assert_eq!(checked[1]["facts"]["address"], nodes.address("dev-worker1"));
    assert_eq!(checked[1]["facts"]["has_root"], false);
}

// SEMANTICS: tasks.9
#[test]
fn a_new_host_key_is_accepted_once_and_a_changed_one_is_refused() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    std::fs::write(nodes.local(".ssh/known_hosts"), "").unwrap();
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
    let known = std::fs::read_to_string(nodes.local(".ssh/known_hosts")).unwrap();
    assert!(!known.is_empty());

    nodes.change_host_key("dev");
    let ran = nodes.client(&["cluster", "check", "dev"]);
    assert_fails(&ran, 4, &["the host key of dev has changed", "known_hosts:1", "ssh-keygen -f"]);
    // As the hint says.
    let command = ran.err.split('`').nth(1).unwrap();
    assert_ok(&nodes.client_shell(command));
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));

    // Whoever asks for known keys alone gets that.
    std::fs::write(nodes.local(".ssh/known_hosts"), "").unwrap();
    let config = std::fs::read_to_string(nodes.local(".ssh/config")).unwrap();
    std::fs::write(nodes.local(".ssh/config"), format!("StrictHostKeyChecking yes\n{config}")).unwrap();
    nodes.restart("dev");
    assert_fails(&nodes.client(&["cluster", "check", "dev"]), 4, &["the host key of dev is not accepted"]);
}

#[test]
fn a_node_behind_a_jump_host_is_reached_and_both_keys_are_accepted_once() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["gate", "inner"]);
    forget_nodes(&nodes, "");
    std::fs::write(nodes.local(".ssh/known_hosts"), "").unwrap();
    let (gate, inner) = (format!("root@{}", nodes.address("gate")), nodes.address("inner"));
    // From the client itself there is no way.
    nodes.must_on("inner", &format!("ip route add unreachable {}/32", nodes::CLIENT_ADDRESS));
    let add = ["cluster", "add", "dev", "--host", &inner, "--user", "root", "--jump", &gate];
    assert_ok(&nodes.client(&add));
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
    let known = std::fs::read_to_string(nodes.local(".ssh/known_hosts")).unwrap();
    assert!(known.lines().count() >= 2, "{known}");
    assert_eq!(nodes.client_shell("ssh -o BatchMode=yes dev hostname").out, "inner\n");
}

#[test]
fn a_refused_key_is_told_from_a_node_that_is_away() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    nodes.must_on("dev", ": > /run/pail-node/authorized_keys");
    assert_fails(
        &nodes.client(&["cluster", "check", "dev"]),
        5,
        &["dev does not let this user in", "ssh-add"],
    );
    nodes.must_on("dev-worker1", ": > /run/pail-node/authorized_keys");
    nodes.restart("dev-worker1");
    assert_fails(&nodes.client(&["cluster", "check", "dev"]), 4, &["dev-worker1 does not let this user in"]);
}

#[test]
fn a_connection_that_is_dead_is_made_anew_and_a_node_that_is_away_is_said_to_be() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
    // The process that shares the connection learns of it by the next command.
    nodes.restart("dev");
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
    nodes.down_link("dev");
    assert_fails(&nodes.client(&["cluster", "check", "dev"]), 6, &["dev cannot be reached", "caused by: "]);
    nodes.up_link("dev");
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
    // A socket that nobody listens at. Other testbeds have sockets of the same names, and another network.
    let sockets = nodes.client_shell("ls $(dirname $(find /run/pail -name '*.conf'))");
    let id = sockets.out.lines().find_map(|name| name.strip_suffix(".conf")).unwrap().to_owned();
    let ends = format!(
        "for p in /proc/[0-9]*; do [ $p != /proc/$$ ] && [ \"$(readlink $p/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ] || continue; case $(tr '\\0' ' ' <$p/cmdline 2>/dev/null) in *'/ssh/{id}.'*mux*) kill -9 ${{p#/proc/}};; esac; done"
    );
    assert_ok(&nodes.client_shell(&ends));
    assert_ok(&nodes.client(&["cluster", "check", "dev"]));
}

fn prepare(nodes: &Nodes) -> Ran {
    nodes.client(&["cluster", "prepare", "dev"])
}

#[test]
fn programs_are_sent_once_and_run_there() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(ORDINARY, &["dev", "dev-worker1"]);
    let first = prepare(&nodes);
    assert_ok(&first);
    assert_eq!(first.err.matches("sending pail").count(), 2, "{first:?}");
    let pail = first.out.lines().next().unwrap().strip_prefix("dev: ").unwrap();
    let version = nodes.client_shell(&format!("ssh dev {pail} --version"));
    assert!(version.out.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let path = nodes.home("dev").join(pail.strip_prefix(&format!("/home/{ORDINARY}/")).unwrap());
    let before = std::fs::metadata(&path).unwrap();
    assert_eq!(before.mode() & 0o777, 0o755);

    let sessions = nodes.sessions("dev");
    let second = prepare(&nodes);
    assert_ok(&second);
    assert_eq!(nodes.sessions("dev"), sessions + 1, "one question is enough");
    assert_eq!((second.err.as_str(), &second.out), ("", &first.out));
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), before.ino());

    // One that lost some of it gets it anew; of older versions, what runs and the last one stay.
    std::fs::write(&path, "short").unwrap();
    let older = |name: &str, days: u32| {
        let dir = format!("/home/{ORDINARY}/.pail/{name}");
        let make = format!(
            "mkdir {dir} && cp /bin/sleep {dir}/pail && touch -d '{days} days ago' {dir} && chown -R {ORDINARY} {dir}"
        );
        nodes.must_on("dev", &make);
    };
    older("0.0.1-a", 3);
    older("0.0.2-b", 2);
    older("0.0.3-c", 1);
    nodes.must_on(
        "dev",
        &format!("setpriv --reuid {ORDINARY} --regid {ORDINARY} --clear-groups /home/{ORDINARY}/.pail/0.0.1-a/pail 1000 >/dev/null 2>&1 &"),
    );
    let third = prepare(&nodes);
    assert_ok(&third);
    assert_eq!(third.err.matches("sending pail").count(), 1, "{third:?}");
    let mut left = names_in(&nodes.home("dev").join(".pail"));
    left.retain(|name| name.starts_with("0.0."));
    assert_eq!(left, ["0.0.1-a", "0.0.3-c"]);
}

#[test]
fn a_node_of_busybox_with_another_login_shell_is_as_good() {
    let are_there = ["tcsh", "busybox"].iter().all(|name| Path::new("/usr/bin").join(name).exists());
    if !can_run() || !are_there {
        sandbox::skipped("tcsh and busybox are not there");
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    nodes.must_on(
        "dev",
        "sed -i 's|^root:.*|root:x:0:0:root:/root:/usr/bin/tcsh|' /etc/passwd; rm -f /usr/bin/zstd; \
         mkdir /opt/bb && busybox --install -s /opt/bb && \
         sed -i 's|SetEnv.*|SetEnv NODE_NAME=dev PATH=/opt/bb|' /run/pail-node/sshd_config",
    );
    nodes.restart("dev");
    assert_eq!(
        nodes.client_shell("ssh -o BatchMode=yes dev 'echo $shell; which sh'").out,
        "/usr/bin/tcsh\n/opt/bb/sh\n"
    );
    let first = prepare(&nodes);
    assert!(first.code == 0 && first.err.contains("sending pail"), "{first:?}");
    assert_eq!(prepare(&nodes).err, "");
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn launches_beside_each_other_send_programs_that_are_whole() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..3).map(|_| scope.spawn(|| prepare(&nodes))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ran.iter().for_each(assert_ok);
    let names = names_in(&nodes.home("dev").join(".pail"));
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(names_in(&nodes.home("dev").join(".pail").join(&names[0])), ["pail", "pail-mountd"]);
}

#[test]
fn a_transfer_that_is_damaged_is_noticed_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    nodes.must_on(
        "dev",
        "mv /usr/bin/zstd /usr/bin/zstd.real 2>/dev/null; rm -f /usr/bin/gzip; \
         printf '#!/bin/sh\\nzstd.real \"$@\" | sed \"1s/ELF/FLE/\"\\n' > /usr/bin/zstd; chmod 755 /usr/bin/zstd",
    );
    let ran = prepare(&nodes);
    assert_fails(&ran, 7, &["did not arrive whole on dev", "its SHA-256 is"]);
    assert_eq!(names_in(&nodes.home("dev").join(".pail")), Vec::<String>::new());
    // Without any of the programs that pack or hash, it goes as it is and tells its hash itself.
    nodes.remove_programs("dev", &["zstd", "sha256sum", "shasum", "openssl"]);
    assert_ok(&prepare(&nodes));
}

#[test]
fn a_connection_that_is_lost_while_programs_are_sent_is_made_anew() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    nodes.limit_link("dev", "40mbit");
    let home = nodes.home("dev").join(".pail");
    let has_some = || {
        let sent = names_in(&home).into_iter().map(|name| home.join(name).join("pail"));
        sent.filter_map(|file| file.metadata().ok()).any(|file| file.len() > 0)
    };
    let ran = std::thread::scope(|scope| {
        let preparing = scope.spawn(|| prepare(&nodes));
        sandbox::wait_until("some of it has arrived", has_some);
        nodes.restart("dev");
        preparing.join().unwrap()
    });
    assert_ok(&ran);
    let names = names_in(&home);
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn what_is_missing_is_installed_by_those_who_may() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(SUDOER, &["dev"]);
    let stub = "mv /usr/bin/rsync /usr/bin/rsync.kept && rm -f /usr/bin/fusermount3 && \
        printf '#!/bin/sh\\n[ \"$(id -u)\" = 0 ] || exit 9\\necho \"$*\" >> /run/installed\\n\
        case $* in *install*) cp /usr/bin/rsync.kept /usr/bin/rsync; cp /bin/true /usr/bin/fusermount3;; esac\\n' > /usr/bin/apt-get";
    nodes.must_on("dev", stub);
    let ran = prepare(&nodes);
    assert_ok(&ran);
    assert!(ran.err.contains("installing rsync, fusermount3"), "{ran:?}");
    let installed = nodes.must_on("dev", "cat /run/installed");
    assert_eq!(installed.lines().filter(|line| line.contains("install")).count(), 1, "{installed}");
    assert!(installed.contains("rsync fuse3"), "{installed}");

    // A package manager that fails says why.
    nodes.must_on(
        "dev",
        "rm /usr/bin/rsync; printf '#!/bin/sh\\necho E: no such package >&2; exit 100\\n' > /usr/bin/apt-get",
    );
    assert_fails(
        &prepare(&nodes),
        1,
        &["dev lacks rsync", "E: no such package", "ssh -t dev sudo apt-get install rsync"],
    );
    nodes.must_on("dev", "rm /usr/bin/apt-get");
    let ran = prepare(&nodes);
    assert_fails(&ran, 1, &["dev lacks rsync", "no package manager that pail knows", "install rsync on dev"]);
}

#[test]
fn whoever_may_not_install_is_told_the_command() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(ORDINARY, &["dev"]);
    nodes.remove_programs("dev", &["rsync"]);
    nodes.must_on(
        "dev",
        "command -v apt-get || { echo '#!/bin/sh' > /usr/bin/apt-get; chmod 755 /usr/bin/apt-get; }",
    );
    assert_fails(
        &prepare(&nodes),
        1,
        &["dev lacks rsync", "bob may not install it", "ssh -t dev sudo apt-get install rsync"],
    );
}

#[test]
fn a_home_that_takes_no_programs_is_named_with_its_reason() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    let mount = |options: &str| {
        nodes.must_on("dev", &format!("mount -t tmpfs -o {options} home /root"));
        let ran = prepare(&nodes);
        let left = nodes.must_on("dev", "ls -A /root/.pail 2>/dev/null || true");
        nodes.must_on("dev", "umount -l /root");
        assert_eq!(left, "");
        ran
    };
    assert_fails(
        &mount("size=8m"),
        8,
        &["cannot send pail to ~/.pail on dev", "No space left", "free some space"],
    );
    assert_fails(&mount("noexec"), 1, &["mounted noexec"]);
    assert_fails(&mount("ro"), 1, &["Read-only file system", "mounted read-only"]);
}
