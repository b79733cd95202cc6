//! Code from git on the nodes of a cluster: over HTTPS with a token, over SSH with a key that stays on the client.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod sandbox;

use nodes::{CLIENT_ADDRESS, Nodes, can_run};
use sandbox::{finish, wait_until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

const TOKEN: &str = "hunter2-of-the-repository";

/// A repository on the client's side with two commits on main; their ids.
fn repository(nodes: &Nodes) -> [String; 2] {
    let ran = nodes.client_shell(
        "set -e; git config --global user.name t; git config --global user.email t@t; git config --global init.defaultBranch main
         mkdir srv; git init -q --bare srv/r.git; git init -q src; cd src
         echo one > version; git add .; git commit -qm one; echo two > version; git commit -qam two
         git push -q ../srv/r.git main; git rev-parse HEAD~1 HEAD",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut ids = ran.out.lines().map(str::to_owned);
    [ids.next().unwrap(), ids.next().unwrap()]
}

/// The git server of `git_workdir` at the client's address.
struct Https {
    server: Child,
    port: String,
}

impl Https {
    fn serve(nodes: &Nodes) -> Self {
        let made = nodes.client_shell(&format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:{CLIENT_ADDRESS} \
             -keyout key.pem -out cert.pem 2>/dev/null"
        ));
        assert_eq!(made.code, 0, "{made:?}");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/git_workdir/https_server.py");
        let address = CLIENT_ADDRESS.to_string();
        let mut command = nodes
            .client_program("python3", &[script, "/root/srv", "/root/cert.pem", "/root/key.pem", &address]);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(server.stdin.as_mut().unwrap(), "{{\"token\": {TOKEN:?}}}").unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { server, port: port.trim().to_owned() }
    }

    fn url(&self) -> String {
        format!("https://{CLIENT_ADDRESS}:{}/r.git", self.port)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Where on the nodes something is: processes with their environments, and files.
fn traces(nodes: &Nodes, needle: &str) -> Vec<String> {
    let search = format!(
        "grep -rlF --exclude-dir='0.1.0-*' {needle} /root /home /tmp /run /etc /var 2>/dev/null; \
         for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -F {needle}; \
         tr '\\0' ' ' < $p/environ 2>/dev/null | grep -oF {needle}; done; true"
    );
    let found = nodes.names().iter().map(|name| nodes.on(name, &search).out);
    // The search itself is a process whose command line has the needle.
    let found = found.flat_map(|out| out.lines().map(str::to_owned).collect::<Vec<_>>());
    found.filter(|line| !line.contains("grep -rlF")).collect()
}

// SEMANTICS: tasks.5
#[test]
fn over_https_with_a_token_that_is_nowhere_on_the_nodes() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    let [one, two] = repository(&nodes);
    let https = Https::serve(&nodes);
    // The nodes know nothing of its authority: the client trusts it by GIT_SSL_CAINFO, and so they do for this.
    fs::write(
        nodes.local("task.yaml"),
        format!(
            "workdir:\n  url: {}\n  ref: main\nrun: |\n  echo \"$(cat version) $(git rev-parse HEAD) token=$GIT_TOKEN\"\n  echo mine >> version\n",
            https.url()
        ),
    )
    .unwrap();
    let with_token = |arguments: &[&str]| {
        let mut command = nodes.command(arguments);
        command.env("GIT_TOKEN", TOKEN).env("GIT_SSL_CAINFO", "/root/cert.pem");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // Held in the middle of the nodes' fetch; a commit's full id is asked of nobody before.
    let server = nodes.local("srv");
    fs::write(server.join("hold"), "").unwrap();
    let mut command = with_token(&["launch", "-c", "dev", "--git-ref", &two, "task.yaml"]);
    let child = command.spawn().unwrap();
    wait_until("git is at work on the nodes", || server.join("holding").exists());
    assert!(nodes.names().iter().any(|name| nodes.processes(name).contains("git")));
    assert_eq!(traces(&nodes, TOKEN), Vec::<String>::new());
    fs::remove_file(server.join("hold")).unwrap();
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches(&format!("two {two} token=\n")).count(), 2, "{ran:?}");
    assert_eq!(traces(&nodes, TOKEN), Vec::<String>::new());

    // Two commits in turn; what the job has changed is kept aside and named.
    for (commit, word) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        let ran =
            finish(with_token(&["exec", "dev", "--git-ref", &commit[..10], "task.yaml"]).spawn().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.out.matches(&format!("{word} {commit} token=\n")).count(), 2, "{ran:?}");
        assert!(ran.err.contains("version") && ran.err.contains("kept"), "{ran:?}");
    }
    let ran = finish(with_token(&["exec", "dev", "task.yaml"]).env_remove("GIT_TOKEN").spawn().unwrap());
    assert!(ran.code == 4 && ran.err.contains("GIT_TOKEN"), "{ran:?}");
    let ran = finish(with_token(&["exec", "dev", "--git-ref", "mian", "task.yaml"]).spawn().unwrap());
    assert!(ran.code == 3 && ran.err.contains("main"), "{ran:?}");
}

#[test]
fn over_ssh_with_a_key_that_stays_on_the_client() {
    if !can_run() {
        return;
    }
    // The third is the repository's host, and of no cluster.
    let nodes = Nodes::up(&["dev", "dev-worker1", "forge"]);
    let [_, two] = repository(&nodes);
    let ran = nodes.client_shell(
        "ssh-keygen -q -t ed25519 -N '' -f deploy && rsync -a srv/r.git forge: && cat deploy.pub",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = format!("restrict,command=\"git-shell -c \\\"$SSH_ORIGINAL_COMMAND\\\"\" {}", ran.out);
    fs::write(nodes.local("line"), line).unwrap();
    let ran = nodes.client_shell("ssh forge 'cat > /run/pail-node/authorized_keys' < line");
    assert_eq!(ran.code, 0, "{ran:?}");
    let url = format!("ssh://root@{}/root/r.git", nodes.address("forge"));
    fs::write(
        nodes.local("task.yaml"),
        format!("workdir: {{url: \"{url}\"}}\nrun: echo \"$(cat version) $(git rev-parse HEAD) ${{SSH_AUTH_SOCK-none}}\"\n"),
    )
    .unwrap();
    let mut command = nodes.command(&["launch", "-c", "dev", "task.yaml"]);
    command.env("GIT_SSH_KEY_PATH", "/root/deploy").stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches(&format!("two {two} none\n")).count(), 2, "{ran:?}");
    let key = fs::read_to_string(nodes.local("deploy")).unwrap();
    assert_eq!(traces(&nodes, key.lines().nth(2).unwrap()), Vec::<String>::new());
    // Without the key the repository is closed.
    let ran = nodes.client(&["exec", "dev", "task.yaml"]);
    assert!(ran.code == 4 && ran.err.contains("GIT_SSH_KEY_PATH"), "{ran:?}");
}
