//! A node as a sync reaches it.
//!
//! Owns: [`Peer`]: the ssh command for it, as rsync needs it too, and where our program is there; and the running of a step there.

use super::trouble::{Trouble, of_ssh};
use pail_control::Failure;
use std::ffi::OsString;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A node, and how it is reached.
#[derive(Debug, Clone)]
pub struct Peer {
    /// As ssh knows it, and as it is named to people.
    pub host: String,
    /// The ssh program and its arguments, up to and with the host.
    pub ssh: Vec<OsString>,
    /// The same without the host, as rsync takes it by `-e`.
    pub rsync_shell: OsString,
    /// The path of our program on the node.
    pub pail: String,
}

/// A word of a POSIX shell, whatever it holds.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl Peer {
    /// The start of a command line that runs our program on the node.
    pub(super) fn program(&self) -> String {
        quoted(&self.pail)
    }

    /// Runs `pail node STEP` there with `request` on its standard input; its answer is the last line of its output, for a shell's start
    /// files may print before.
    pub(super) async fn step(&self, step: &str, request: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let cannot = |err: &std::io::Error| Trouble::lasting(Failure::from_io("cannot run ssh", err));
        let [program, arguments @ ..] = self.ssh.as_slice() else {
            return Err(Trouble::lasting(Failure::other("there is no ssh command for the node")));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .arg(format!("{} node {step}", self.program()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|err| cannot(&err))?;
        let stdin = child.stdin.take();
        let send = async move {
            if let Some(mut stdin) = stdin {
                // Who does not read it says why on standard error.
                let _ = stdin.write_all(&request).await;
            }
        };
        let ((), output) = tokio::join!(send, child.wait_with_output());
        let output = output.map_err(|err| cannot(&err))?;
        let last = output.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if output.status.success() {
            return Ok(last.to_vec());
        }
        // A failure of the step itself comes as data.
        if let Ok(failure) = serde_json::from_slice::<Failure>(last) {
            return Err(Trouble::lasting(failure));
        }
        Err(of_ssh(output.status.code(), &String::from_utf8_lossy(&output.stderr)))
    }
}
