//! What a job finds in its environment.
//!
//! Owns: [`variables`], those that SkyPilot's tasks rely on; and [`identity_of_launch`], what they call the launch.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// Where a node stands among those of its launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<'a> {
    /// This node's rank; the head's is 0.
    pub rank: u32,
    /// The addresses of all nodes of the launch, by rank.
    pub addresses: &'a [String],
    /// The launch's.
    pub task_id: &'a str,
}

/// The task's own variables, and those of its node's standing.
pub fn variables(own: &BTreeMap<String, String>, standing: &Standing<'_>) -> BTreeMap<String, String> {
    let mut all = own.clone();
    for (name, value) in [
        ("SKYPILOT_NODE_RANK", standing.rank.to_string()),
        ("SKYPILOT_NODE_IPS", standing.addresses.join("\n")),
        ("SKYPILOT_NUM_NODES", standing.addresses.len().to_string()),
        ("SKYPILOT_TASK_ID", standing.task_id.to_owned()),
        // The names that setup's scripts know them by.
        ("SKYPILOT_SETUP_NODE_RANK", standing.rank.to_string()),
        ("SKYPILOT_SETUP_NODE_IPS", standing.addresses.join("\n")),
    ] {
        all.insert(name.to_owned(), value);
    }
    all
}

/// What this launch is called, on every node alike.
pub fn identity_of_launch(task: Option<&str>) -> String {
    let now = Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
    format!("pail-{now}-{}-{}", task.unwrap_or("task"), std::process::id())
}
