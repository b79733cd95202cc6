//! The benchmark: Pail beside s3fs, rclone and a plain client, over `pail dev-server`.
//!
//! Owns: the command line, the order of the runs and what a run measures. `scripts/bench` builds and starts it, and cleans
//! up after it, also where it dies.
//!
//! # Why round by round
//!
//! A machine's speed drifts. The tools take turns within each round, each with a fresh mount, an empty cache directory and
//! the kernel's caches dropped and the machine's memory touched, and the medians of the rounds are compared.

mod corpus;
mod job;
mod memory;
mod plain_client;
mod report;
mod server;
mod tool;

use anyhow::{Context, Result, bail};
use corpus::{Corpus, Sizes};
use job::{JOBS, Job, Verify};
use memory::prepare_memory;
use plain_client::PlainClient;
use report::Sample;
use server::{Counters, DevServer};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tool::{Mounted, Tool};

const USAGE: &str = "Usage: scripts/bench [--peers] [--rounds N] [--quick] [--jobs 1,3] [--perf DIR]

  --peers      also s3fs and rclone
  --rounds N   how often each job is run with each tool [default: 3]
  --quick      an eighth of the bytes and files
  --jobs LIST  only these
  --perf DIR   record a profile of Pail's daemon there, in the first round";

struct Options {
    peers: bool,
    rounds: usize,
    quick: bool,
    jobs: Vec<u32>,
    perf: Option<PathBuf>,
    /// Where mounts and caches lie; the wrapper removes it.
    work: PathBuf,
    pail: PathBuf,
    results: PathBuf,
}

impl Options {
    fn parse() -> Result<Self> {
        let directory = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set: start scripts/bench"))
        };
        let mut options = Self {
            peers: false,
            rounds: 3,
            quick: false,
            jobs: JOBS.iter().map(|job| job.number).collect(),
            perf: None,
            work: directory("BENCH_WORK")?,
            pail: directory("BENCH_PAIL")?,
            results: directory("BENCH_RESULTS")?,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} takes a value\n\n{USAGE}"));
            match arg.as_str() {
                "--peers" => options.peers = true,
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--jobs" => {
                    let list = value()?;
                    options.jobs = list
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<_, _>>()
                        .context("--jobs takes numbers")?;
                }
                "--perf" => options.perf = Some(value()?.into()),
                "--help" | "-h" => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                _ => bail!("unknown option '{arg}'\n\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// What every run needs.
struct Bench {
    options: Options,
    sizes: Sizes,
    corpus: Corpus,
    server: DevServer,
    client: PlainClient,
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full() };
    let corpus = Corpus::new();
    let server = DevServer::start(&options.pail, &options.work)?;
    let client = PlainClient::new(server.endpoint())?;
    let bench = Bench { options, sizes, corpus, server, client };

    eprintln!("bench: storing the objects");
    let jobs: Vec<&Job> = JOBS.iter().filter(|job| bench.options.jobs.contains(&job.number)).collect();
    for job in &jobs {
        job.store(&bench.client, &bench.corpus, &bench.sizes)?;
    }

    // One that fails must not take the figures of the others with it.
    let (mut samples, mut failures) = (Vec::new(), 0);
    for round in 1..=bench.options.rounds {
        for job in &jobs {
            for tool in job.tools(bench.options.peers) {
                match bench.run(job, tool, round) {
                    Ok(sample) => {
                        eprintln!("bench: round {round}, {}", sample.line());
                        samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!(
                            "bench: round {round}, job {} {}: failed: {error:#}",
                            job.number,
                            tool.name()
                        );
                        failures += 1;
                    }
                }
            }
        }
    }
    let Options { results, pail, rounds, quick, .. } = &bench.options;
    report::save(&samples, results, pail, *rounds, *quick)?;
    if failures > 0 {
        bail!("{failures} runs failed; they are not in the medians");
    }
    Ok(())
}

impl Bench {
    fn run(&self, job: &Job, tool: Tool, round: usize) -> Result<Sample> {
        self.server.configure(job.first_byte_ms, job.bandwidth_bytes_per_s)?;
        prepare_memory();
        let verify = if round == 1 { Verify::Yes } else { Verify::No };
        if tool == Tool::PlainClient {
            return self.run_plain(job, round);
        }
        let mounted =
            Mounted::new(tool, &self.options.pail, &self.options.work, self.server.endpoint(), job.memory)?;
        job.prepare(&mounted, &self.sizes)?;
        mounted.settle()?;
        self.server.reset()?;
        let (cpu_before, server_before) = (mounted.cpu_s()?, self.server.cpu_s()?);
        let profile = self.record_profile(job, &mounted, round)?;

        let done = job.run(&mounted, &self.corpus, &self.sizes)?;

        let at_close = self.server.counters()?;
        // What a tool leaves for later is its work all the same: its processor time counts until it is done.
        let stored_s = self.wait_stored(job, done.bytes_written, done.seconds)?;
        mounted.settle()?;
        if let Some(mut perf) = profile {
            tool::signal(perf.id(), libc::SIGINT)?;
            perf.wait()?;
        }
        let counters = self.server.counters()?;
        let sample = Sample {
            job: job.number,
            name: job.name,
            unit: job.unit,
            tool: tool.name(),
            round,
            cpu_s: mounted.cpu_s()? - cpu_before,
            server_cpu_s: self.server.cpu_s()? - server_before,
            peak_rss_bytes: mounted.peak_rss_bytes()?,
            stored_s,
            stored_at_close: at_close.bytes_in,
            counters,
            done,
        };
        job.verify(verify, &mounted, &self.client, &self.corpus, &self.sizes)?;
        self.server.configure(0, 0)?;
        mounted.unmount()?;
        job.clean(&self.client)?;
        Ok(sample)
    }

    fn run_plain(&self, job: &Job, round: usize) -> Result<Sample> {
        self.server.reset()?;
        let server_before = self.server.cpu_s()?;
        let cpu_before = tool::cpu_s(std::process::id())?;
        let done = job.run_plain(&self.client, &self.sizes)?;
        Ok(Sample {
            job: job.number,
            name: job.name,
            unit: job.unit,
            tool: Tool::PlainClient.name(),
            round,
            cpu_s: tool::cpu_s(std::process::id())? - cpu_before,
            server_cpu_s: self.server.cpu_s()? - server_before,
            peak_rss_bytes: 0,
            stored_s: None,
            stored_at_close: 0,
            counters: self.server.counters()?,
            done,
        })
    }

    /// Waits until what was written has arrived; `None` where nothing was written, else seconds from the start.
    fn wait_stored(&self, job: &Job, bytes: u64, seconds: f64) -> Result<Option<f64>> {
        if bytes == 0 {
            return Ok(None);
        }
        let began = std::time::Instant::now();
        loop {
            let Counters { bytes_in, open, .. } = self.server.counters()?;
            // Where everything had arrived at close(), asking took no time of the tool's.
            let waited = began.elapsed().as_secs_f64();
            if bytes_in >= bytes && open == 0 && job.is_stored(&self.client, &self.sizes)? {
                return Ok(Some(if waited < 0.02 { seconds } else { seconds + waited }));
            }
            if waited > 300.0 {
                bail!("only {bytes_in} of {bytes} bytes had reached the bucket after 300 s");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn record_profile(&self, job: &Job, mounted: &Mounted, round: usize) -> Result<Option<Child>> {
        let Some(dir) = self.options.perf.as_deref().filter(|_| round == 1 && mounted.tool() == Tool::Pail)
        else {
            return Ok(None);
        };
        std::fs::create_dir_all(dir)?;
        let pids = mounted.pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let data: &Path = &dir.join(format!("job{}.data", job.number));
        let perf = Command::new("perf")
            .args(["record", "-g", "-F", "499", "-p", &pids, "-o"])
            .arg(data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("perf could not be started")?;
        // perf creates its file when it has attached.
        let began = std::time::Instant::now();
        while !data.exists() && began.elapsed().as_secs() < 5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(Some(perf))
    }
}
