//! Whole tasks on the nodes of a cluster, over SSH: launch, exec, queue, logs, cancel, down.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod sandbox;

use nodes::{Nodes, ORDINARY, SUDOER, can_run};
use sandbox::{Ran, finish, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A home with code, files beside it and a task, and a bucket with something in it.
fn with_task(nodes: &Nodes, task: &str) {
    let code = nodes.local("my-code");
    fs::create_dir_all(code.join("sub")).unwrap();
    fs::write(code.join("train.sh"), "#!/bin/sh\necho trained\n").unwrap();
    fs::write(code.join(".gitignore"), "*.log\n").unwrap();
    fs::write(code.join("old.log"), "").unwrap();
    fs::create_dir_all(nodes.local("datasets")).unwrap();
    fs::write(nodes.local("datasets/one"), "1").unwrap();
    fs::write(nodes.local(".vimrc"), "set nu").unwrap();
    fs::write(nodes.local("task.yaml"), task).unwrap();
    nodes.block_on(async {
        nodes.server().create_bucket("public").await.unwrap();
        for key in ["deep/results0/a", "deep/results0/d/b", "deep/results01"] {
            nodes.server().put_object("public", key, key.as_bytes().to_vec().into()).await.unwrap();
        }
    });
}

/// The keys of a bucket, as another client lists them.
fn keys(nodes: &Nodes, uri: &str) -> Vec<String> {
    let ran = nodes.client(&["ls", "-r", uri]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.lines().map(str::to_owned).collect()
}

fn lines(ran: &Ran) -> Vec<&str> {
    let mut lines: Vec<_> = ran.out.lines().collect();
    lines.sort_unstable();
    lines
}

const WHOLE: &str = "name: whole
workdir: ~/my-code
envs: {WHO: me}
file_mounts:
  PLACE/datasets: ~/datasets
  ~/.vimrc: ~/.vimrc
  PLACE/s3-data: s3://public/deep/results0
  PLACE/outputs:
    name: my-sky-outputs
    store: s3
    mode: MOUNT
setup: echo setup $SKYPILOT_NODE_RANK in $PWD
run: |
  echo \"$WHO $SKYPILOT_NODE_RANK/$SKYPILOT_NUM_NODES $(echo $SKYPILOT_NODE_IPS) $(sh train.sh) $(cat PLACE/s3-data/a PLACE/s3-data/d/b PLACE/datasets/one ~/.vimrc)\"
  echo from $SKYPILOT_NODE_RANK > PLACE/outputs/rank-$SKYPILOT_NODE_RANK
  test ! -e old.log
";

fn a_whole_task(user: &str, place: &str) {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(user, &["dev", "dev-worker1", "dev-worker2"]);
    with_task(&nodes, &WHOLE.replace("PLACE", place));
    let ran = nodes.client(&["launch", "-c", "dev", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ips: Vec<_> = nodes.names().iter().map(|name| nodes.address(name)).collect();
    let home = if user == "root" { "/root".to_owned() } else { format!("/home/{user}") };
    for (rank, name) in nodes.names().iter().enumerate() {
        let told = lines(&ran);
        assert!(told.contains(&format!("({name}) setup {rank} in {home}/sky_workdir").as_str()), "{ran:?}");
        let line =
            format!("({name}) me {rank}/3 {} trained deep/results0/adeep/results0/d/b1set nu", ips.join(" "));
        assert!(told.contains(&line.as_str()), "{line}\n{ran:?}");
    }
    assert_eq!(keys(&nodes, "s3://my-sky-outputs"), ["rank-0", "rank-1", "rank-2"]);

    // Again, with a file mount that was edited and without setup; exec, with the workdir alone.
    fs::write(nodes.local(".vimrc"), "set nonu").unwrap();
    fs::remove_file(nodes.local("my-code/.gitignore")).unwrap();
    fs::remove_file(nodes.local("my-code/old.log")).unwrap();
    let ran = nodes.client(&["launch", "--no-setup", "-c", "dev", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains("setup") && ran.out.matches("set nonu").count() == 3, "{ran:?}");
    fs::write(nodes.local(".vimrc"), "set ai").unwrap();
    fs::write(nodes.local("my-code/train.sh"), "echo anew").unwrap();
    let ran = nodes.client(&["exec", "dev", "--env", "WHO=you", "task.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches("you ").count(), 3, "{ran:?}");
    assert!(ran.out.matches("anew").count() == 3 && ran.out.matches("set nonu").count() == 3, "{ran:?}");

    // Artifacts are fetched by the user's own tools.
    let ran = nodes.client_shell(&format!(
        "rsync -Pavz dev-worker1:{home}/sky_workdir/train.sh local/ && scp -q dev:{home}/.vimrc got && cat local/train.sh got"
    ));
    assert!(ran.code == 0 && ran.out.ends_with("echo anewset nonu"), "{ran:?}");

    // And by pail's own: to every node, and from one.
    let ran = nodes.client(&["rsync", "my-code/train.sh", "dev:up/"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = nodes.client(&["rsync", "dev-worker2:up/train.sh", "back", "--", "-a"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(nodes.local("back")).unwrap(), "echo anew");

    let ran = nodes.client(&["queue", "dev"]);
    assert_eq!(ran.out.matches("SUCCEEDED").count(), 3, "{ran:?}");
    let ran = nodes.client(&["down", "dev"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in nodes.names() {
        assert_eq!(nodes.must_on(name, "grep -c fuse.pail /proc/mounts || true").trim(), "0", "{name}");
        assert!(!nodes.processes(name).contains("pail-mountd"), "{name}");
    }
}

#[test]
fn a_whole_task_as_root() {
    a_whole_task("root", "/remote");
}

#[test]
fn a_whole_task_as_a_user_who_may_sudo() {
    a_whole_task(SUDOER, "/remote");
}

#[test]
fn a_whole_task_as_an_ordinary_user() {
    a_whole_task(ORDINARY, "~/remote");
}

#[test]
fn a_place_that_nobody_may_make_is_named_with_its_directory() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up_as(ORDINARY, &["dev", "dev-worker1"]);
    with_task(&nodes, "file_mounts: {/remote/datasets: ~/datasets}\nrun: echo ran\n");
    let ran = nodes.client(&["launch", "-c", "dev", "task.yaml"]);
    assert!(ran.code != 0 && !ran.out.contains("ran"), "{ran:?}");
    for part in [
        "on 2 nodes (dev, dev-worker1)",
        "/remote/datasets",
        "you may not write to /",
        "hint: create it once as root",
    ] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
}

#[test]
fn the_first_failure_ends_the_others_and_is_the_exit_code() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    with_task(
        &nodes,
        "file_mounts: {/outputs: {name: outs}}\nrun: |\n  echo $SKYPILOT_NODE_RANK > /outputs/$SKYPILOT_NODE_RANK\n  \
         if [ $SKYPILOT_NODE_RANK = 1 ]; then exit 42; fi\n  sleep 9876\n",
    );
    let ran = nodes.client(&["launch", "-c", "dev", "task.yaml"]);
    assert_eq!(ran.code, 42, "{ran:?}");
    assert!(ran.err.contains("exit code 42 on dev-worker1"), "{ran:?}");
    assert_eq!(keys(&nodes, "s3://outs"), ["0", "1"]);
    // On fewer nodes than there are.
    let ran = nodes.client(&["exec", "dev", "--num-nodes", "1", "-d", "task.yaml"]);
    assert_eq!(ran.out, "job 2\n", "{ran:?}");
    let queue = nodes.client(&["queue", "dev"]);
    assert!(queue.out.lines().any(|line| line.starts_with('2') && line.ends_with("RUNNING")), "{queue:?}");
    let ran = nodes.client(&["cancel", "dev", "2"]);
    assert_eq!(ran.out, "job 2 of dev: CANCELLED\n", "{ran:?}");
    let ran = nodes.client(&["exec", "dev", "--num-nodes", "3", "task.yaml"]);
    assert!(ran.code == 2 && ran.err.contains("for 3 nodes, and dev has 2"), "{ran:?}");
}

// SEMANTICS: tasks.6
#[test]
fn ctrl_c_asks_every_node_and_what_it_wrote_is_in_the_bucket() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    with_task(
        &nodes,
        "file_mounts: {/outputs: {name: outs}}\nrun: |\n  trap 'until [ $SKYPILOT_NODE_RANK = 0 -o -e /tmp/go ]; do sleep 0.05; done; echo end > /outputs/end-$SKYPILOT_NODE_RANK; exit 7' INT\n  \
         echo begun\n  while :; do sleep 0.05; done\n",
    );
    let mut command = nodes.command(&["launch", "-c", "dev", "task.yaml"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let logs = || nodes.client(&["logs", "--no-follow", "dev"]);
    wait_until("both have begun", || logs().out.matches("begun").count() == 2);
    // SAFETY: a signal to a process that this test started; nsenter has become it.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    // One ends at once, and the other may take its time.
    wait_until("the first has ended", || keys(&nodes, "s3://outs").contains(&"end-0".to_owned()));
    let queue = || nodes.client(&["queue", "--json", "dev"]).out;
    wait_until("that is known", || {
        queue().lines().any(|line| line.contains("FAILED") || line.contains("CANCELLED"))
    });
    nodes.must_on("dev-worker1", "touch /tmp/go");
    let ran = finish(child);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_eq!(keys(&nodes, "s3://outs"), ["end-0", "end-1"]);
}

// SEMANTICS: tasks.7
#[test]
fn a_link_that_drops_and_returns_costs_no_line_and_no_job() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    with_task(&nodes, "run: |\n  for i in $(seq 400); do echo line $i; sleep 0.08; done\n");
    let mut command = nodes.command(&["launch", "-c", "dev", "task.yaml"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = "cat ~/.local/state/pail/jobs/*/dev/1/run.log 2>/dev/null | wc -l";
    wait_until("it runs", || nodes.must_on("dev-worker1", log).trim().parse::<u32>().unwrap() > 20);
    nodes.down_link("dev-worker1");
    // ssh notices by itself, and then the client says so.
    let said = child.stderr.take().unwrap();
    let mut said = BufReader::new(said);
    let mut lines = String::new();
    while !lines.contains("the connection to dev-worker1 was lost") {
        assert!(said.read_line(&mut lines).unwrap() > 0, "it has ended: {lines}");
    }
    nodes.up_link("dev-worker1");
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    for name in nodes.names() {
        let prefix = format!("({name}) line ");
        let numbers: Vec<u32> =
            ran.out.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect();
        assert_eq!(numbers, (1..=400).collect::<Vec<_>>(), "{name}: {}", ran.err);
    }
}

// SEMANTICS: tasks.8
#[test]
fn keys_reach_the_nodes_and_neither_their_disks_nor_their_lists_of_processes() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    with_task(
        &nodes,
        "secrets: {TOKEN: null}\nworkdir: ~/my-code\nfile_mounts:\n  /outputs: {name: outs}\n  /copied: s3://public/deep/results0\n\
         setup: test ${#TOKEN} = 19\nrun: |\n  echo \"$TOKEN\" | wc -c\n  touch /outputs/begun\n  while [ ! -e /tmp/go ]; do sleep 0.05; done\n",
    );
    let mut command = nodes.command(&["launch", "-c", "dev", "--secret", "TOKEN", "task.yaml"]);
    command.env("TOKEN", "hunter2-of-the-task").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let needle = [sandbox::SECRET, "hunter2-of-the-task"];
    let seen_by = |name: &str| {
        let processes = nodes.processes(name);
        assert!(needle.iter().all(|needle| !processes.contains(needle)), "{processes}");
        processes.contains("sleep 0.05")
    };
    wait_until("both run", || {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        // Seen at each look, during the launch.
        nodes.names().iter().map(|name| seen_by(name)).filter(|runs| *runs).count() == 2
    });
    let search = |name: &str| {
        for needle in needle {
            let found = nodes
                .on(name, &format!("grep -rlF --exclude-dir='0.1.0-*' {needle} /root /home /tmp /run /var/tmp /etc 2>/dev/null"));
            assert_eq!(found.out, "", "{name}: {needle}");
        }
    };
    nodes.names().iter().for_each(|name| search(name));
    for name in nodes.names() {
        nodes.must_on(name, "touch /tmp/go");
    }
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches("20").count(), 2, "{ran:?}");
    nodes.names().iter().for_each(|name| search(name));
}

#[test]
fn a_node_that_dies_is_named_and_the_others_are_ended() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    with_task(&nodes, "run: echo begun; sleep 9876\n");
    let mut command = nodes.command(&["launch", "-c", "dev", "--node-timeout", "1s", "task.yaml"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let log = "cat ~/.local/state/pail/jobs/*/dev/1/run.log 2>/dev/null";
    wait_until("it runs", || nodes.names().iter().all(|name| nodes.on(name, log).out.contains("begun")));
    nodes.kill_node("dev-worker1");
    let ran = finish(child);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("dev-worker1"), "{ran:?}");
    assert!(!nodes.processes("dev").contains("sleep 9876"), "{ran:?}");
}

// SEMANTICS: tasks.6
#[test]
fn what_setup_wrote_is_flushed_where_no_run_follows() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    // A writer that setup leaves behind has its file open.
    with_task(
        &nodes,
        "file_mounts: {/outputs: {name: outs}}\nsetup: |\n  { echo of setup; sleep 9876; } > /outputs/setup-$SKYPILOT_NODE_RANK &\n  sleep 0.2\n",
    );
    let ran = nodes.client(&["launch", "-c", "dev", "task.yaml"]);
    assert_eq!(keys(&nodes, "s3://outs"), ["setup-0", "setup-1"], "{ran:?}");
}

#[test]
fn a_directory_and_a_checkout_take_each_other_s_place() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    with_task(&nodes, "workdir: ~/my-code\nrun: ls -A\n");
    let made = nodes.client_shell(
        "set -e; git config --global user.name t; git config --global user.email t@t; mkdir forge; git init -q -b main forge; cd forge; \
         echo of-git > of-git; git add .; git commit -qm one; cd; rsync -a forge dev:",
    );
    assert_eq!(made.code, 0, "{made:?}");
    let url = format!("ssh://root@{}/root/forge", nodes.address("dev"));
    let exec = |arguments: &[&str]| {
        let mut command = nodes.command(&[&["exec", "dev"], arguments, &["task.yaml"]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = finish(command.spawn().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(exec(&[]), [".gitignore", "sub", "train.sh"]);
    assert_eq!(exec(&["--git-url", &url]), [".git", "of-git"]);
    nodes.must_on("dev", "echo mine > ~/sky_workdir/made-by-job");
    assert_eq!(exec(&[]), [".gitignore", "made-by-job", "sub", "train.sh"]);
}
