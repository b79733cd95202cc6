//! `pail storage`, through the real program: which buckets it knows, which it deletes, and what it refuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sandbox;

use pail_devserver::{Server, ServerConfig};
use sandbox::{BUCKET, Ran, Sandbox, finish, run, wait_until};
use serde_json::Value;
use std::process::Stdio;

fn listed(sandbox: &Sandbox) -> Vec<String> {
    let ran = sandbox.pail(&["storage", "ls", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let buckets: Value = serde_json::from_str(&ran.out).unwrap();
    buckets.as_array().unwrap().iter().map(|bucket| bucket["uri"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_bucket_that_a_mount_created_is_listed_and_deleted_by_name() {
    let sandbox = Sandbox::new();
    assert_eq!(listed(&sandbox), [] as [&str; 0]);
    let place = sandbox.at("mnt");
    let mounted = sandbox.pail(&["mount", "--create", "s3://made-here/run", &place]);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    assert_eq!(listed(&sandbox), ["s3://made-here"]);
    std::fs::write(sandbox.path("mnt").join("kept"), "kept").unwrap();

    let ran = sandbox.pail(&["storage", "delete", "-y", "--force", "made-here"]);
    assert!(ran.code == 1 && ran.err.contains("is mounted at"), "{ran:?}");
    assert_eq!(sandbox.pail(&["umount", &place]).code, 0);
    let ran = sandbox.pail(&["storage", "delete", "made-here"]);
    assert!(ran.code == 2 && ran.err.contains("-y"), "nobody is there to answer: {ran:?}");
    let ran = sandbox.pail(&["storage", "delete", "-y", "made-here"]);
    assert!(ran.code == 5 && ran.err.contains("run/kept") && ran.err.contains("--force"), "{ran:?}");
    assert_eq!(sandbox.pail(&["ls", "s3://made-here/run/"]).out, "kept\n");

    let ran = sandbox.pail(&["storage", "delete", "-y", "--force", "made-here"]);
    assert!(ran.code == 0 && ran.out.contains("deleted s3://made-here"), "{ran:?}");
    assert_eq!(listed(&sandbox), [] as [&str; 0]);
    assert_eq!(sandbox.pail(&["ls", "s3://made-here"]).code, 3, "it is gone");
}

// SEMANTICS: tasks.10
#[test]
fn others_buckets_are_deleted_by_their_uri_alone() {
    let sandbox = Sandbox::new();
    let ran = sandbox.pail(&["storage", "delete", "-y", BUCKET]);
    assert!(ran.code == 3 && ran.err.contains("by its URI"), "{ran:?}");
    let ran = sandbox.pail(&["storage", "delete", "-y", &format!("s3://{BUCKET}/run")]);
    assert!(ran.code == 2 && ran.err.contains(&format!("write s3://{BUCKET}")), "{ran:?}");
    sandbox.put("a", "a");
    let ran = sandbox.pail(&["storage", "delete", "-y", &format!("s3://{BUCKET}")]);
    assert_eq!(ran.code, 5, "{ran:?}");
    for index in 0..1_100 {
        sandbox.put(&format!("many/{index}"), "");
    }
    let ran = sandbox.pail(&["storage", "delete", "-y", "--force", &format!("s3://{BUCKET}")]);
    assert!(ran.code == 0 && ran.out.contains("1101 objects"), "{ran:?}");
    let ran = sandbox.pail(&["storage", "delete", "-y", &format!("s3://{BUCKET}")]);
    assert_eq!(ran.code, 3, "it is gone: {ran:?}");
}

fn launch(sandbox: &Sandbox, text: &str) -> Ran {
    let path = sandbox.path("task.yaml");
    std::fs::write(&path, text.replace("OUT", &sandbox.at("outputs"))).unwrap();
    sandbox.pail(&["launch", path.to_str().unwrap()])
}

// SEMANTICS: tasks.10
#[test]
fn a_bucket_that_is_not_persistent_ends_with_its_task() {
    let sandbox = Sandbox::new();
    let made = "file_mounts:\n  OUT: {name: made-for-it, persistent: false}\nrun: echo x > OUT/log; exit 3\n";
    let ran = launch(&sandbox, made);
    assert!(ran.code == 3 && ran.err.contains("deleted s3://made-for-it"), "{ran:?}");
    assert_eq!(sandbox.pail(&["ls", "s3://made-for-it"]).code, 3, "it is gone");
    assert_eq!(listed(&sandbox), [] as [&str; 0]);

    let others = format!(
        "file_mounts:\n  OUT: {{source: 's3://{BUCKET}', persistent: false}}\nrun: echo x > OUT/log\n"
    );
    let ran = launch(&sandbox, &others);
    assert!(
        ran.code == 0 && ran.err.contains("stays (persistent: false), for this launch did not create it"),
        "{ran:?}"
    );
    assert_eq!(sandbox.object("log").as_deref(), Some("2"));
}

// SEMANTICS: tasks.10
#[test]
fn a_bucket_of_the_same_name_at_another_endpoint_is_not_the_one_that_was_created() {
    let sandbox = Sandbox::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = runtime.block_on(Server::start(ServerConfig::default())).unwrap();
    runtime.block_on(other.create_bucket("shared-data")).unwrap();
    runtime.block_on(other.put_object("shared-data", "theirs", "theirs".into())).unwrap();
    let task = sandbox.path("task.yaml");
    let text = "file_mounts:\n  OUT: {name: shared-data, persistent: false}\nrun: echo x > OUT/log\n";
    std::fs::write(&task, text.replace("OUT", &sandbox.at("outputs"))).unwrap();
    // Created here, and kept, since nobody waits for the end of a detached run.
    let launch = ["launch", "--detach", task.to_str().unwrap()];
    assert_eq!(sandbox.pail(&launch).code, 0);
    wait_until("it ran", || sandbox.pail(&["ls", "s3://shared-data"]).out == "log\n");
    assert_eq!(listed(&sandbox), ["s3://shared-data"]);
    assert_eq!(sandbox.pail(&["umount", &sandbox.at("outputs")]).code, 0);

    let there =
        |arguments: &[&str]| run(sandbox.command(arguments).env("AWS_ENDPOINT_URL", other.endpoint_url()));
    let ran = there(&["launch", task.to_str().unwrap()]);
    assert!(
        ran.code == 0 && ran.err.contains("stays (persistent: false), for this launch did not create it"),
        "{ran:?}"
    );
    let ran = there(&["ls", "s3://shared-data"]);
    assert_eq!(ran.out, "log\ntheirs\n", "{ran:?}");
    let ran = there(&["storage", "delete", "-y", "--force", "shared-data"]);
    assert_eq!(ran.code, 0, "by name it is the one that was created: {ran:?}");
    assert_eq!(there(&["ls", "s3://shared-data"]).out, "log\ntheirs\n");
    assert_eq!(sandbox.pail(&["ls", "s3://shared-data"]).code, 3, "it is gone");
    there(&["shutdown"]);
    runtime.block_on(other.shutdown());
}

/// A launch that runs until it is let go.
struct Running<'s> {
    sandbox: &'s Sandbox,
    name: &'static str,
    child: std::process::Child,
}

impl<'s> Running<'s> {
    /// With the bucket `shared` at `place`; waits until its task has begun and written there.
    fn begun(sandbox: &'s Sandbox, name: &'static str, place: &str, keys: &str) -> Self {
        let (at, place) = (sandbox.at(name), sandbox.at(place));
        let text = format!(
            "file_mounts:\n  {place}: {{name: shared{keys}}}\nrun: |\n  echo x > {place}/{name}\n  touch {at}.begun\n  \
             until [ -e {at}.go ]; do sleep 0.02; done\n  echo x > {place}/{name}-end\n"
        );
        let task = sandbox.path(&format!("{name}.yaml"));
        std::fs::write(&task, text).unwrap();
        let mut command = sandbox.command(&["launch", task.to_str().unwrap()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("it has begun", || sandbox.path(&format!("{name}.begun")).exists());
        Self { sandbox, name, child }
    }

    fn end(self) -> Ran {
        std::fs::write(self.sandbox.path(&format!("{}.go", self.name)), "").unwrap();
        finish(self.child)
    }
}

fn keys(sandbox: &Sandbox) -> Vec<String> {
    let ran = sandbox.pail(&["ls", "s3://shared"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.lines().map(str::to_owned).collect()
}

// SEMANTICS: tasks.10
#[test]
fn a_bucket_of_two_launches_ends_with_the_last_of_them() {
    // Both at one place, which is one mount then, and each at its own.
    for (first_place, second_place) in [("one", "one"), ("one", "two")] {
        let sandbox = Sandbox::new();
        let first = Running::begun(&sandbox, "first", first_place, ", persistent: false");
        let second = Running::begun(&sandbox, "second", second_place, ", persistent: false");
        let ran = first.end();
        assert!(
            ran.code == 0 && ran.err.contains("stays (persistent: false), while another launch"),
            "{ran:?}"
        );
        assert_eq!(keys(&sandbox), ["first", "first-end", "second"]);
        let ran = second.end();
        if first_place != second_place {
            // What the first launch has left mounted is not taken away beneath whoever uses it there by now.
            assert!(
                ran.code == 0 && ran.err.contains("stays (persistent: false), for it is mounted at"),
                "{ran:?}"
            );
            assert_eq!(sandbox.pail(&["umount", &sandbox.at(first_place)]).code, 0);
            let ran = sandbox.pail(&["storage", "delete", "--force", "-y", "s3://shared"]);
            assert!(ran.code == 0, "{ran:?}");
            continue;
        }
        assert!(ran.code == 0 && ran.err.contains("deleted s3://shared"), "{ran:?}");
        assert!(ran.err.contains("with 4 objects"), "what both wrote: {ran:?}");
        assert_eq!(sandbox.pail(&["ls", "s3://shared"]).code, 3, "it is gone");
        assert_eq!(listed(&sandbox), [] as [&str; 0]);
    }
}

// SEMANTICS: tasks.10
#[test]
fn a_bucket_stays_for_who_wants_it_to_and_for_whom_nobody_knows_to_have_ended() {
    for (keys_of_second, is_killed) in [("", false), (", persistent: false", true)] {
        let sandbox = Sandbox::new();
        let first = Running::begun(&sandbox, "first", "one", ", persistent: false");
        let mut second = Running::begun(&sandbox, "second", "two", keys_of_second);
        match is_killed {
            true => {
                second.child.kill().unwrap();
                second.child.wait().unwrap();
            }
            false => assert_eq!(second.end().code, 0),
        }
        let ran = first.end();
        assert!(
            ran.code == 0 && ran.err.contains("stays (persistent: false), for another launch"),
            "{ran:?}"
        );
        assert!(keys(&sandbox).contains(&"second".to_owned()));
        // Nor is it deleted by a later one.
        let third = Running::begun(&sandbox, "third", "one", ", persistent: false");
        let ran = third.end();
        assert!(ran.code == 0 && ran.err.contains("for this launch did not create it"), "{ran:?}");
        assert!(keys(&sandbox).contains(&"third-end".to_owned()));
        // The script of the one that was killed goes on until then.
        std::fs::write(sandbox.path("second.go"), "").unwrap();
    }
}

// SEMANTICS: tasks.10
#[test]
fn a_bucket_that_a_launch_uses_or_that_is_mounted_beside_it_is_not_deleted() {
    let sandbox = Sandbox::new();
    let source = sandbox.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a"), "a").unwrap();
    let keys_of_copy = format!(", source: {}, mode: COPY", source.display());
    let copies = Running::begun(&sandbox, "copies", "copied", &keys_of_copy);
    let ran = sandbox.pail(&["storage", "delete", "-y", "--force", "shared"]);
    assert!(ran.code == 1 && ran.err.contains("is in use"), "{ran:?}");
    assert_eq!(copies.end().code, 0);
    let ran = sandbox.pail(&["storage", "delete", "-y", "--force", "shared"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    let mounts = Running::begun(&sandbox, "mounts", "one", ", persistent: false");
    assert_eq!(sandbox.pail(&["mount", "s3://shared", &sandbox.at("beside")]).code, 0);
    let ran = mounts.end();
    assert!(ran.code == 0 && ran.err.contains("for it is mounted at"), "{ran:?}");
    assert!(keys(&sandbox).contains(&"mounts-end".to_owned()));
}
