//! SSH: keys in their order, host keys, and a key that stays on the client.

use crate::hosts::{Place, Ran, Ssh, make_key, until};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

fn resolve(place: &Place, url: &str) -> Ran {
    place.step_at_home(&json!({"step": "resolve", "url": url}))
}

#[test]
fn keys_are_tried_in_their_order() {
    let (mut place, commit) = Place::with_a_commit();
    let ssh = Ssh::serve(&place);
    let url = ssh.url(&place);
    resolve(&place, &url).fails(4, &["there is no SSH key", "GIT_SSH_KEY_PATH"]);
    let key = |name: &str| place.path("home/.ssh").join(name);
    for name in ["id_ed25519", "id_rsa", "work", "named"] {
        make_key(&key(name), "");
    }
    let named = key("named").to_str().unwrap().to_owned();
    let goes = |place: &Place, name: &str| {
        ssh.accept(&place.path("home/.ssh").join(name));
        resolve(place, &url)
    };
    std::fs::rename(key("id_rsa"), key("away")).unwrap();
    assert_eq!(goes(&place, "id_ed25519").json()["commit"], commit.as_str());
    std::fs::rename(key("away"), key("id_rsa")).unwrap();
    goes(&place, "id_rsa").json();
    // Only the first in the order counts.
    goes(&place, "id_ed25519").fails(4, &["Permission denied", "GIT_SSH_KEY_PATH"]);
    std::fs::write(key("config"), "Host 127.0.0.1\n  IdentityFile ~/.ssh/work\n").unwrap();
    goes(&place, "work").json();
    goes(&place, "id_rsa").fails(4, &["Permission denied"]);
    place.set("GIT_SSH_KEY_PATH", &named);
    goes(&place, "named").json();
    std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o644)).unwrap();
    goes(&place, "named").fails(4, &["others can read it", "chmod 600"]);
    let missing = place.at("srv/none.git");
    std::fs::set_permissions(&named, std::fs::Permissions::from_mode(0o600)).unwrap();
    let absent = format!("ssh://root@127.0.0.1:{}{missing}", ssh.port);
    resolve(&place, &absent).fails(3, &["not", "URL is right"]);
}

#[test]
fn an_alias_of_the_user_s_configuration_reaches_the_nodes() {
    let (place, _) = Place::with_a_commit();
    let ssh = Ssh::serve(&place);
    make_key(&place.path("home/.ssh/id_rsa"), "");
    ssh.accept(&place.path("home/.ssh/id_rsa"));
    let config = format!("Host work\n  HostName 127.0.0.1\n  Port {}\n  User root\n", ssh.port);
    std::fs::write(place.path("home/.ssh/config"), config).unwrap();
    let resolved = resolve(&place, &format!("work:{}", place.at("srv/r.git"))).json();
    let host = &resolved["ssh"];
    assert_eq!(
        (&host["host_name"], &host["port"], &host["user"]),
        (&json!("127.0.0.1"), &json!(ssh.port), &json!("root"))
    );
    assert_eq!(host["known_hosts"].as_array().unwrap().len(), 1, "accepted once, and handed on: {resolved}");
}

/// An agent of the test's own, as ssh forwards one to a node.
struct Forwarded(Child);

impl Drop for Forwarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_fetches_with_a_forwarded_key_and_the_client_s_host_key() {
    let (client, _) = Place::with_a_commit();
    let mut ssh = Ssh::serve(&client);
    let key = client.path("home/.ssh/id_rsa");
    make_key(&key, "");
    ssh.accept(&key);
    let resolved = resolve(&client, &ssh.url(&client)).json();
    // A home without keys and known hosts.
    let mut node = Place::new();
    let request = |node: &Place, resolved: &serde_json::Value| json!({"step": "check_out", "dir": node.workdir(""), "resolved": resolved, "agent": true});
    let socket = node.at("tmp/agent");
    let mut command = Command::new("ssh-agent");
    let agent = Forwarded(
        command.args(["-D", "-a", &socket]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    crate::hosts::until("the agent listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
    node.set("SSH_AUTH_SOCK", &socket);
    node.step_at_home(&request(&node, &resolved)).fails(4, &["Permission denied"]);
    let added = Command::new("ssh-add")
        .env("SSH_AUTH_SOCK", &socket)
        .args(["-q", key.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(added.success());
    node.step_at_home(&request(&node, &resolved)).json();
    assert_eq!(node.read("a"), "a\n");
    // Another host answers: neither the client nor a node goes on.
    client.commit(&[("a", "a2\n")]);
    let newer = {
        let mut newer = resolved.clone();
        newer["commit"] = json!(client.source(&["rev-parse", "HEAD"]));
        newer
    };
    ssh.change_host_key();
    node.step_at_home(&request(&node, &newer)).fails(4, &["Host key verification failed", "ssh-keygen -R"]);
    resolve(&client, &ssh.url(&client)).fails(4, &["Host key verification failed", "ssh-keygen -R"]);
    drop(agent);
}

#[test]
fn a_private_agent_is_gone_with_the_command() {
    let (place, _) = Place::with_a_commit();
    let ssh = Ssh::serve(&place);
    let key = place.path("home/.ssh/id_ed25519");
    make_key(&key, "");
    ssh.accept(&key);
    let request = place.launching(&ssh.url(&place), None);
    place.step_at_home(&request).json();
    assert_eq!(place.read("a"), "a\n");
    let left: Vec<_> =
        std::fs::read_dir(place.path("tmp")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let socket = place.at("tmp");
    // It was told to end, and takes a moment to.
    until("the agent is gone", || {
        let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
        let is_agent = |path: std::path::PathBuf| {
            std::fs::read(path.join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&socket))
        };
        (!processes.any(|entry| is_agent(entry.path()))).then_some(())
    });
}
