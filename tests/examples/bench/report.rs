//! Medians, the table, and the files in bench-results/.
//!
//! Owns: [`Sample`], one run of one job with one tool, and [`save`].

use crate::job::Done;
use crate::server::Counters;
use crate::tool::Tool;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = (1 << 30) as f64;

/// One run.
pub struct Sample {
    pub job: u32,
    pub name: &'static str,
    pub unit: &'static str,
    pub tool: &'static str,
    pub round: usize,
    pub done: Done,
    /// Seconds until everything written was in the bucket.
    pub stored_s: Option<f64>,
    /// Bytes that were in the bucket when the last close() returned.
    pub stored_at_close: u64,
    pub cpu_s: f64,
    pub server_cpu_s: f64,
    pub peak_rss_bytes: u64,
    pub counters: Counters,
}

impl Sample {
    fn bytes(&self) -> u64 {
        self.done.bytes_read + self.done.bytes_written
    }

    fn amount(&self) -> f64 {
        if self.unit == "MiB/s" { self.bytes() as f64 / MIB } else { self.done.items as f64 }
    }

    /// Until the last close() returned.
    fn rate(&self) -> f64 {
        self.amount() / self.done.seconds
    }

    /// Until everything was in the bucket; for reads the same.
    fn stored_rate(&self) -> f64 {
        self.amount() / self.stored_s.unwrap_or(self.done.seconds)
    }

    fn cpu_s_per_gib(&self) -> f64 {
        self.cpu_s / (self.bytes().max(1) as f64 / GIB)
    }

    fn requests_per_file(&self) -> f64 {
        // Of the random reads all are of one file.
        let files = if self.unit == "reads/s" { 1 } else { self.done.items };
        self.counters.total() as f64 / files as f64
    }

    fn fetched_per_byte(&self) -> f64 {
        self.counters.bytes_out as f64 / self.done.bytes_read.max(1) as f64
    }

    /// The run in a line.
    pub fn line(&self) -> String {
        format!(
            "job {} {}: {:.1} {} in {:.2} s, CPU {:.2} s (server {:.2} s), {} requests, peak RSS {:.0} MiB",
            self.job,
            self.tool,
            self.rate(),
            self.unit,
            self.done.seconds,
            self.cpu_s,
            self.server_cpu_s,
            self.counters.total(),
            self.peak_rss_bytes as f64 / MIB
        )
    }

    fn json(&self) -> Value {
        json!({
            "job": self.job,
            "name": self.name,
            "unit": self.unit,
            "tool": self.tool,
            "round": self.round,
            "rate": self.rate(),
            "rate_until_stored": self.stored_rate(),
            "seconds": self.done.seconds,
            "seconds_until_stored": self.stored_s,
            "bytes_stored_at_close": self.stored_at_close,
            "bytes_read": self.done.bytes_read,
            "bytes_written": self.done.bytes_written,
            "items": self.done.items,
            "cpu_s": self.cpu_s,
            "server_cpu_s": self.server_cpu_s,
            "peak_rss_bytes": self.peak_rss_bytes,
            "counters": self.counters,
        })
    }
}

/// Not a number where there are no samples.
fn median(samples: &[&Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| of(sample)).collect();
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return f64::NAN;
    }
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The medians as text.
fn table(samples: &[Sample]) -> String {
    let mut text = format!(
        "{:<42} {:<12} {:>9} {:<8} {:>9} {:>8} {:>9} {:>9} {:>8} {:>8} {:>7}\n",
        "job",
        "tool",
        "rate",
        "",
        "stored",
        "seconds",
        "CPU s/GiB",
        "req/file",
        "fetched",
        "RSS MiB",
        "pail is"
    );
    let mut lines: Vec<(u32, &str)> = Vec::new();
    for sample in samples {
        if !lines.contains(&(sample.job, sample.tool)) {
            lines.push((sample.job, sample.tool));
        }
    }
    for (job, tool) in lines {
        let of = |tool: &str| {
            samples.iter().filter(|sample| sample.job == job && sample.tool == tool).collect::<Vec<_>>()
        };
        let (mine, pail) = (of(tool), of(Tool::Pail.name()));
        let first = mine[0];
        let or_dash = |has: bool, text: String| if has { text } else { "-".into() };
        let writes = first.done.bytes_written > 0;
        let ratio = median(&pail, Sample::stored_rate) / median(&mine, Sample::stored_rate);
        let _ = writeln!(
            text,
            "{:<42} {:<12} {:>9.1} {:<8} {:>9} {:>8.2} {:>9} {:>9.2} {:>8} {:>8} {:>7}",
            format!("{job} {}", first.name),
            tool,
            median(&mine, Sample::rate),
            first.unit,
            or_dash(writes, format!("{:.1}", median(&mine, Sample::stored_rate))),
            median(&mine, |sample| sample.done.seconds),
            or_dash(first.bytes() > 0, format!("{:.2}", median(&mine, Sample::cpu_s_per_gib))),
            median(&mine, Sample::requests_per_file),
            or_dash(first.done.bytes_read > 0, format!("{:.2}", median(&mine, Sample::fetched_per_byte))),
            or_dash(
                first.peak_rss_bytes > 0,
                format!("{:.0}", median(&mine, |s| s.peak_rss_bytes as f64 / MIB))
            ),
            or_dash(tool != Tool::Pail.name(), format!("{ratio:.2}x")),
        );
    }
    text.push_str(
        "\nrate: until the last close(); stored: until all bytes were in the bucket (the ratio compares these where there \
         are any).\nCPU: user and system time of the tool's own processes. fetched: bytes sent by the server for each byte \
         read.\nMedians of the rounds.\n",
    );
    text
}

fn output_of(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    line.split_once(": ").map(|(_, model)| model.to_owned()).unwrap_or_default()
}

/// Prints the table, and writes it and every run to files named by the time.
pub fn save(samples: &[Sample], results: &Path, pail: &Path, rounds: usize, quick: bool) -> Result<()> {
    let date = output_of("date", &["-u", "+%Y-%m-%dT%H%M%SZ"]);
    let cores = std::thread::available_parallelism()?.get();
    let kernel = output_of("uname", &["-r"]);
    let commit = output_of("git", &["describe", "--always", "--dirty"]);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let tools = [Tool::Pail, Tool::S3fs, Tool::Rclone]
        .map(|tool| json!({"tool": tool.name(), "version": tool.version(pail), "flags": tool.flags()}));
    let head = format!(
        "{} x {cores}, Linux {kernel}, commit {commit}, {date}, {rounds} rounds{}, load {}\n\n",
        cpu_model(),
        if quick { ", quick" } else { "" },
        load.trim()
    );
    let text = head + &table(samples);
    let document = json!({
        "date": date,
        "commit": commit,
        "machine": {"cpu": cpu_model(), "cores": cores, "kernel": kernel, "load": load.trim()},
        "rounds": rounds,
        "quick": quick,
        "tools": tools,
        "runs": samples.iter().map(Sample::json).collect::<Vec<_>>(),
    });
    fs::create_dir_all(results)?;
    fs::write(results.join(format!("{date}.json")), serde_json::to_string_pretty(&document)?)?;
    fs::write(results.join(format!("{date}.txt")), &text)?;
    println!("{text}\n{}", results.join(format!("{date}.json")).display());
    Ok(())
}
