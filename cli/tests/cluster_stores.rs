//! Buckets of every store on the nodes of a cluster, whose credentials are at the client alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod nodes;
mod sandbox;

use nodes::{Near, Nodes, can_run};
use pail_devserver::{GcsSettings, Quirks, ServerConfig, Settings};
use sandbox::{Ran, finish, run, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

const KEY: &str = include_str!("../../store/tests/keys/service_account.pem");
const R2_SECRET: &str = "hunter2-of-r2";
const IBM_API_KEY: &str = "hunter2-of-ibm";

/// A store, where it is, and how its users name a bucket there.
struct StoreThere {
    near: Near,
    uri: &'static str,
    /// The flag by which the client's own `pail ls` finds it.
    url: String,
}

fn there(nodes: &Nodes, uri: &'static str, secret: &str, settings: Settings) -> StoreThere {
    let secret_key = secret.to_owned();
    let near = nodes.near_server(ServerConfig { secret_key, settings, ..ServerConfig::default() });
    let bucket = uri.rsplit('/').next().unwrap();
    near.runtime.block_on(near.server.create_bucket(bucket)).unwrap();
    near.runtime.block_on(near.server.put_object(bucket, "in/a", format!("of {uri}").into())).unwrap();
    let url = near.server.endpoint_url();
    StoreThere { near, uri, url }
}

/// Each with credentials where its own tools look for them, in the client's home, and its bucket mounted and copied from.
fn stores(nodes: &Nodes) -> Vec<StoreThere> {
    let gcs = GcsSettings { tokens: Some(BTreeSet::new()), ..GcsSettings::default() };
    let gcs = there(nodes, "gs://gs-bucket", "unused", Settings { gcs, ..Settings::default() });
    let account = serde_json::json!({"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com",
        "private_key": KEY, "private_key_id": "k", "token_uri": format!("{}/token", gcs.url), "project_id": "p"});
    let quirks = |quirks| Settings { quirks, ..Settings::default() };
    let r2 = there(nodes, "r2://r2-bucket", R2_SECRET, quirks(Quirks { r2: true, ..Quirks::default() }));
    let ibm = || quirks(Quirks { ibm: true, ..Quirks::default() });
    let cos = there(nodes, "cos://eu-de/cos-bucket", IBM_API_KEY, ibm());
    for (file, text) in [
        ("key.json", account.to_string()),
        (
            ".cloudflare/r2.credentials",
            format!("[r2]\naws_access_key_id = test\naws_secret_access_key = {R2_SECRET}\n"),
        ),
        (".ibm/credentials.yaml", format!("iam_api_key: {IBM_API_KEY}\n")),
    ] {
        let path = nodes.local(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    vec![gcs, r2, cos]
}

fn command(nodes: &Nodes, stores: &[StoreThere], arguments: &[&str]) -> Command {
    let mut command = nodes.command(arguments);
    command
        .env("GOOGLE_APPLICATION_CREDENTIALS", "/root/key.json")
        .env("IBM_IAM_ENDPOINT", &stores[2].url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn listed(nodes: &Nodes, stores: &[StoreThere], store: &StoreThere) -> Ran {
    run(&mut command(nodes, stores, &["ls", "-r", "--endpoint-url", &store.url, store.uri]))
}

/// What tells that a secret is somewhere: a line from the middle of the key as well.
fn secrets() -> Vec<&'static str> {
    vec![R2_SECRET, IBM_API_KEY, KEY.lines().nth(4).unwrap()]
}

fn assert_none_kept(nodes: &Nodes) {
    for (name, secret) in
        nodes.names().iter().flat_map(|name| secrets().into_iter().map(move |secret| (name, secret)))
    {
        let places = "/root /home /tmp /run /var/tmp /etc";
        let found =
            nodes.on(name, &format!("grep -rlF --exclude-dir='0.1.0-*' -e '{secret}' {places} 2>/dev/null"));
        assert_eq!(found.out, "", "{name}");
    }
}

// SEMANTICS: tasks.8
#[test]
fn credentials_of_every_store_are_lent_for_the_length_of_a_job_and_kept_nowhere() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev", "dev-worker1"]);
    let stores = stores(&nodes);
    let mut task = "file_mounts:\n".to_owned();
    for (place, store) in ["gs", "r2", "cos"].iter().zip(&stores) {
        let (uri, url) = (store.uri, &store.url);
        task += &format!("  ~/copied-{place}: {{source: '{uri}/in', endpoint: '{url}', mode: COPY}}\n");
        task += &format!("  ~/{place}: {{source: '{uri}', endpoint: '{url}', mode: MOUNT}}\n");
    }
    task += "run: |\n  cat ~/copied-*/a ~/*/in/a\n  touch ~/begun\n  while [ ! -e /tmp/go ]; do sleep 0.05; done\n  \
             for place in gs r2 cos; do cd ~/$place; f=$SKYPILOT_NODE_RANK; echo one > $f; echo more >> $f; mv $f log-$f; done\n";
    fs::write(nodes.local("task.yaml"), task).unwrap();
    let mut child = command(&nodes, &stores, &["launch", "-c", "dev", "task.yaml"]).spawn().unwrap();
    wait_until("both run", || {
        let ended = child.try_wait().unwrap();
        for name in nodes.names() {
            let processes = nodes.processes(name);
            assert!(secrets().iter().all(|secret| !processes.contains(secret)), "{processes}");
        }
        ended.is_some() || nodes.names().iter().all(|name| nodes.on(name, "test -e ~/begun").code == 0)
    });
    assert_none_kept(&nodes);
    // A long job outlives its tokens.
    stores[0].near.server.expire_gcs_tokens();
    for name in nodes.names() {
        nodes.must_on(name, "touch /tmp/go");
    }
    let ran = finish(child);
    assert_eq!(ran.code, 0, "{ran:?}");
    for store in &stores {
        assert_eq!(ran.out.matches(&format!("of {}", store.uri)).count(), 4, "{}: {ran:?}", store.uri);
        let listed = listed(&nodes, &stores, store);
        assert_eq!(listed.out.lines().collect::<Vec<_>>(), ["in/a", "log-0", "log-1"], "{listed:?}");
    }
    assert!(!ran.err.contains("expire"), "what makes tokens was lent: {ran:?}");
    assert_none_kept(&nodes);
    let ran = run(&mut command(&nodes, &stores, &["down", "dev"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_none_kept(&nodes);
}

#[test]
fn a_node_s_own_credentials_do_where_the_client_has_none() {
    if !can_run() {
        return;
    }
    let nodes = Nodes::up(&["dev"]);
    let stores = stores(&nodes);
    let r2 = &stores[1];
    let task = format!(
        "file_mounts:\n  ~/copied: {{source: '{}/in', endpoint: '{}', mode: COPY}}\nrun: cat ~/copied/a\n",
        r2.uri, r2.url
    );
    fs::write(nodes.local("task.yaml"), task).unwrap();
    fs::create_dir_all(nodes.home("dev").join(".cloudflare")).unwrap();
    let there = nodes.home("dev").join(".cloudflare/r2.credentials");
    fs::rename(nodes.local(".cloudflare/r2.credentials"), there).unwrap();
    let ran = run(&mut command(&nodes, &stores, &["launch", "-c", "dev", "task.yaml"]));
    assert!(ran.code == 0 && ran.out.contains("of r2://r2-bucket"), "{ran:?}");
}
