//! The tools that are compared, mounted.
//!
//! Owns: [`Tool`] (with each one's flags) and [`Mounted`]: a fresh mount with an empty cache, and what its processes cost.
//! A mount's processes are found by a variable in their environment, so that daemons count as well as children.

use crate::server::BUCKET;
use anyhow::{Context, Result, bail};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Marks the processes of one mount.
const MARK: &str = "PAIL_BENCH_MOUNT";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Pail,
    S3fs,
    Rclone,
    /// No file system: the object_store crate.
    PlainClient,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pail => "pail",
            Self::S3fs => "s3fs",
            Self::Rclone => "rclone",
            Self::PlainClient => "object_store",
        }
    }

    /// The flags beside those that say what is mounted where. Those that help a tool are given, as its users would.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Pail | Self::PlainClient => &[],
            Self::S3fs => &[
                "-o",
                "use_path_request_style,endpoint=us-east-1",
                "-o",
                "parallel_count=16,multireq_max=32,multipart_size=8",
                "-o",
                "big_writes",
            ],
            Self::Rclone => &[
                "--vfs-cache-mode=full",
                "--vfs-read-ahead=128M",
                "--vfs-read-chunk-size=64M",
                "--vfs-write-back=0s",
                "--vfs-fast-fingerprint",
                "--buffer-size=32M",
                "--transfers=16",
                "--use-server-modtime",
                "--s3-no-check-bucket",
                "--s3-disable-checksum",
                "--s3-chunk-size=8M",
                "--s3-upload-concurrency=16",
            ],
        }
    }

    /// The version, as the tool gives it.
    pub fn version(self, pail: &Path) -> String {
        let program = if self == Self::Pail { pail } else { Path::new(self.name()) };
        let argument = if self == Self::Rclone { "version" } else { "--version" };
        let output = Command::new(program).arg(argument).output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    }
}

/// One mount, unmounted when dropped.
pub struct Mounted {
    tool: Tool,
    pail: PathBuf,
    root: PathBuf,
    at: PathBuf,
    pids: Vec<u32>,
    /// The process, where the tool stays in the foreground.
    process: Option<Child>,
    is_mounted: Cell<bool>,
}

impl Mounted {
    /// Mounts the bucket with `tool` in a new directory below `work`.
    pub fn new(tool: Tool, pail: &Path, work: &Path, endpoint: &str, memory: Option<&str>) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = work.join(format!("{}-{}", tool.name(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let at = root.join("mnt");
        let is_mounted = Cell::new(true);
        let mut mounted =
            Self { tool, pail: pail.to_owned(), root, at, pids: Vec::new(), process: None, is_mounted };
        for dir in ["mnt", "cache", "run", "state", "config"] {
            fs::create_dir_all(mounted.root.join(dir))?;
        }
        match tool {
            Tool::Pail => mounted.mount_pail(endpoint, memory)?,
            Tool::S3fs => mounted.mount_s3fs(endpoint)?,
            Tool::Rclone => mounted.mount_rclone(endpoint)?,
            Tool::PlainClient => bail!("a plain client mounts nothing"),
        }
        mounted.wait_until_mounted()?;
        mounted.pids = marked_processes(&mounted.root)?;
        if mounted.pids.is_empty() {
            bail!("{} is mounted, but its process is not to be found", tool.name());
        }
        mounted.pids.iter().try_for_each(|pid| note_pid(work, *pid))?;
        Ok(mounted)
    }

    pub fn tool(&self) -> Tool {
        self.tool
    }

    /// The mount point.
    pub fn at(&self) -> &Path {
        &self.at
    }

    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env(MARK, &self.root)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "testtest")
            .env("XDG_RUNTIME_DIR", self.root.join("run"))
            .env("XDG_CACHE_HOME", self.root.join("cache"))
            .env("XDG_STATE_HOME", self.root.join("state"))
            .env("XDG_CONFIG_HOME", self.root.join("config"))
            .stdout(Stdio::null());
        command
    }

    fn log(&self) -> Result<fs::File> {
        Ok(fs::File::create(self.root.join("log"))?)
    }

    fn mount_pail(&mut self, endpoint: &str, memory: Option<&str>) -> Result<()> {
        let mut command = self.command(&self.pail);
        command.env("AWS_ENDPOINT_URL", endpoint).arg("mount");
        if let Some(memory) = memory {
            command.args(["--memory", memory]);
        }
        let status = command.arg(format!("s3://{BUCKET}")).arg(&self.at).status()?;
        if !status.success() {
            bail!("pail mount failed: {status}");
        }
        Ok(())
    }

    fn mount_s3fs(&mut self, endpoint: &str) -> Result<()> {
        let mut command = self.command(Path::new("s3fs"));
        command.arg(BUCKET).arg(&self.at).arg("-f");
        command.args(["-o", &format!("url={endpoint}")]);
        command.args(["-o", &format!("use_cache={}", self.root.join("cache").display())]);
        command.args(Tool::S3fs.flags()).stderr(self.log()?);
        self.process = Some(command.spawn().context("s3fs could not be started")?);
        Ok(())
    }

    fn mount_rclone(&mut self, endpoint: &str) -> Result<()> {
        let mut command = self.command(Path::new("rclone"));
        command
            .args(["mount", &format!(":s3:{BUCKET}")])
            .arg(&self.at)
            .env("RCLONE_CONFIG", self.root.join("config/rclone.conf"))
            .env("RCLONE_S3_PROVIDER", "Other")
            .env("RCLONE_S3_ENV_AUTH", "true")
            .env("RCLONE_S3_ENDPOINT", endpoint)
            .env("RCLONE_S3_REGION", "us-east-1")
            .env("RCLONE_CACHE_DIR", self.root.join("cache"))
            .args(Tool::Rclone.flags())
            .stderr(self.log()?);
        self.process = Some(command.spawn().context("rclone could not be started")?);
        Ok(())
    }

    fn wait_until_mounted(&mut self) -> Result<()> {
        let began = Instant::now();
        while !is_mount_point(&self.at)? {
            if let Some(status) = self.process.as_mut().and_then(|process| process.try_wait().transpose()) {
                self.is_mounted.set(false);
                let said = fs::read_to_string(self.root.join("log")).unwrap_or_default();
                bail!("{} ended in place of mounting, {}: {said}", self.tool.name(), status?);
            }
            if began.elapsed() > Duration::from_secs(20) {
                bail!("{} did not mount within 20 s", self.tool.name());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Processor seconds of the mount's processes and their ended children.
    pub fn cpu_s(&self) -> Result<f64> {
        self.pids.iter().map(|pid| cpu_s(*pid)).sum()
    }

    /// The most memory that was resident, in bytes.
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.pids.iter().map(|pid| peak_rss_bytes(*pid)).sum()
    }

    /// Waits until the processes are idle, at most 10 s: what a tool does behind a reader's back is counted.
    pub fn settle(&self) -> Result<()> {
        let (began, mut before) = (Instant::now(), self.cpu_s()?);
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.cpu_s()?;
            if now - before < 0.02 || began.elapsed() > Duration::from_secs(10) {
                return Ok(());
            }
            before = now;
        }
    }

    /// Unmounts, waits for the processes' end and removes the caches.
    pub fn unmount(mut self) -> Result<()> {
        let status = match self.tool {
            Tool::Pail => self.command(&self.pail).arg("umount").arg(&self.at).status()?,
            _ => Command::new("umount").arg(&self.at).status()?,
        };
        if !status.success() {
            bail!("{} could not be unmounted: {status}", self.tool.name());
        }
        self.is_mounted.set(false);
        self.end();
        Ok(())
    }

    /// Ends the processes that do not end by themselves, and removes what they left.
    fn end(&mut self) {
        let began = Instant::now();
        let is_alive = |pid: &u32| marked_processes(&self.root).unwrap_or_default().contains(pid);
        while began.elapsed() < Duration::from_secs(10) && self.pids.iter().any(is_alive) {
            if let Some(process) = &mut self.process {
                let _ = process.try_wait();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in
            self.pids.iter().filter(|pid| marked_processes(&self.root).unwrap_or_default().contains(pid))
        {
            let _ = signal(*pid, libc::SIGKILL);
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted.get() {
            let _ = Command::new("umount").arg("-l").arg(&self.at).stderr(Stdio::null()).status();
            for pid in &self.pids {
                let _ = signal(*pid, libc::SIGTERM);
            }
            self.end();
        }
    }
}

/// Sends a signal to a process that the benchmark started.
pub fn signal(pid: u32, signal: i32) -> Result<()> {
    // SAFETY: kill() takes two numbers and touches no memory.
    if unsafe { libc::kill(pid as i32, signal) } != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("signal to process {pid}"));
    }
    Ok(())
}

/// Leaves word for the wrapper of a process to end.
pub fn note_pid(work: &Path, pid: u32) -> Result<()> {
    let dir = work.join("pids");
    fs::create_dir_all(&dir)?;
    Ok(fs::write(dir.join(pid.to_string()), "")?)
}

/// Processor seconds of a process and its ended children, of /proc/PID/stat (proc_pid_stat(5): fields 14 to 17).
pub fn cpu_s(pid: u32) -> Result<f64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat without a name")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    // SAFETY: sysconf() takes a number and touches no memory.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 / ticks_per_s as f64)
}

fn peak_rss_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("/proc/PID/status without VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

fn is_mount_point(at: &Path) -> Result<bool> {
    let at = at.to_string_lossy();
    Ok(fs::read_to_string("/proc/self/mounts")?.lines().any(|line| line.split(' ').nth(1) == Some(&at)))
}

/// The processes whose environment carries the mark of a mount.
fn marked_processes(root: &Path) -> Result<Vec<u32>> {
    let mark = format!("{MARK}={}", root.display());
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}
