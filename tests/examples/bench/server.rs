//! `pail dev-server` as a process of its own.
//!
//! Owns: [`DevServer`], ended when it is dropped, and its control over HTTP.

use crate::tool;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The bucket of all jobs.
pub const BUCKET: &str = "bench";

/// What the server counted since it was last reset.
#[derive(serde::Deserialize, serde::Serialize, Clone)]
pub struct Counters {
    pub requests: BTreeMap<String, u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub open: u64,
    pub peak_open: u64,
}

impl Counters {
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}

/// The running server.
pub struct DevServer {
    process: Child,
    endpoint: String,
}

impl DevServer {
    /// Starts it and waits for its endpoint.
    pub fn start(pail: &Path, work: &Path) -> Result<Self> {
        let mut process = Command::new(pail)
            .args(["dev-server", "--listen", "127.0.0.1:0", "--bucket", BUCKET])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} could not be started", pail.display()))?;
        tool::note_pid(work, process.id())?;
        let stdout = process.stdout.take().context("the server has no standard output")?;
        let mut endpoint = String::new();
        BufReader::new(stdout).read_line(&mut endpoint)?;
        let endpoint = endpoint.trim().to_owned();
        if !endpoint.starts_with("http://") {
            bail!("the server printed '{endpoint}' in place of its endpoint");
        }
        Ok(Self { process, endpoint })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn cpu_s(&self) -> Result<f64> {
        tool::cpu_s(self.process.id())
    }

    pub fn counters(&self) -> Result<Counters> {
        Ok(serde_json::from_str(&self.ask("GET", "counters", "")?)?)
    }

    pub fn reset(&self) -> Result<()> {
        self.ask("POST", "reset", "").map(drop)
    }

    /// Sets the time to the first byte and the bandwidth of each connection (0 is unlimited).
    pub fn configure(&self, first_byte_ms: u64, bandwidth_bytes_per_s: u64) -> Result<()> {
        let settings = serde_json::json!({
            "first_byte_ms": first_byte_ms,
            "bandwidth_bytes_per_s": bandwidth_bytes_per_s,
        });
        self.ask("POST", "settings", &settings.to_string()).map(drop)
    }

    fn ask(&self, method: &str, what: &str, body: &str) -> Result<String> {
        let address = self.endpoint.trim_start_matches("http://").trim_end_matches('/');
        let mut connection = TcpStream::connect(address)?;
        write!(
            connection,
            "{method} /_pail/{what} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (head, document) =
            answer.split_once("\r\n\r\n").context("the server's answer has no end of header")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("the server answered {method} {what} with {answer}");
        }
        Ok(document.to_owned())
    }
}

impl Drop for DevServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
