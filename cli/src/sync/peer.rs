//! A node as a sync reaches it.
//!
//! Owns: [`Peer`]: a node and where our program is there; and the running of a step there.

use super::trouble::{Trouble, of_step};
use crate::cluster::{Agent, Node};
use pail_control::Failure;
use std::net::IpAddr;

/// A node, and our program there.
#[derive(Debug, Clone)]
pub struct Peer {
    /// How it is reached.
    pub node: Node,
    /// The path of our program on it.
    pub pail: String,
    /// Where other nodes reach it, if that is known.
    pub address: Option<IpAddr>,
}

/// A word of a POSIX shell, whatever it holds.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Peer {
    /// Of a node that was made ready.
    pub fn new(node: Node, agent: &Agent) -> Self {
        Self { node, pail: agent.pail.clone(), address: agent.address }
    }

    /// The start of a command line that runs our program on the node.
    pub(super) fn program(&self) -> String {
        quoted(&self.pail)
    }

    /// Runs `pail node STEP` there with `request` on its standard input; its answer.
    pub(super) async fn step(&self, step: &str, request: &[u8]) -> Result<Vec<u8>, Trouble> {
        let output = self.node.output(&format!("exec {} node {step}", self.program()), request).await;
        let output = output.map_err(of_step)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        // A failure of the step itself comes as data.
        Err(match serde_json::from_slice::<Failure>(&output.stdout) {
            Ok(failure) => Trouble::lasting(failure),
            Err(_) => Trouble::lasting(self.node.explain(output.status, &output.stderr)),
        })
    }
}
