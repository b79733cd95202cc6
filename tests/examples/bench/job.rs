//! What is measured.
//!
//! Owns: [`JOBS`]. A job is stored once, then for each run prepared (not measured), run and cleaned.

use crate::corpus::{BLOCK_BYTES, Corpus, Sizes};
use crate::memory::prepare_memory;
use crate::plain_client::PlainClient;
use crate::tool::{Mounted, Tool};
use anyhow::{Context, Result, bail, ensure};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use xxhash_rust::xxh3::Xxh3;

const BIG: &str = "big.bin";
const RANDOM: &str = "random.bin";
const WRITTEN: &str = "written.bin";
const READ_FILES: &str = "files/";
const CREATED_FILES: &str = "created";
const LISTED_FILES: &str = "listed/";
const CROWD: &str = "crowd/";

const READ_FILE_BYTES: u64 = 100 << 10;
const CREATED_FILE_BYTES: u64 = 4 << 10;
const LISTED_FILE_BYTES: u64 = 16;
const PAGE_BYTES: usize = 4096;

/// Numbers of the corpus' objects.
const BIG_NUMBER: u64 = 1;
const RANDOM_NUMBER: u64 = 2;
const WRITTEN_NUMBER: u64 = 3;

enum Kind {
    SequentialRead,
    /// Of what was read before, after the kernel has dropped all pages: the mount's, and those of the tool's own files.
    ReadFromDisk,
    /// Of what was just read.
    ReadAgain,
    SequentialWrite,
    ReadFiles,
    CreateFiles,
    RandomRead,
    List,
    Crowd,
}

/// One line of the table.
pub struct Job {
    pub number: u32,
    pub name: &'static str,
    pub unit: &'static str,
    pub first_byte_ms: u64,
    pub bandwidth_bytes_per_s: u64,
    /// `--memory` of Pail's daemon.
    pub memory: Option<&'static str>,
    kind: Kind,
    beside_plain_client: bool,
    only_pail: bool,
}

const PLAIN: Job = Job {
    number: 0,
    name: "",
    unit: "MiB/s",
    first_byte_ms: 0,
    bandwidth_bytes_per_s: 0,
    memory: None,
    kind: Kind::SequentialRead,
    beside_plain_client: false,
    only_pail: false,
};

/// All jobs, in the order in which they run.
pub const JOBS: &[Job] = &[
    Job { number: 1, name: "cold sequential read", beside_plain_client: true, ..PLAIN },
    Job { number: 2, name: "second read, nothing in memory", kind: Kind::ReadFromDisk, ..PLAIN },
    Job {
        number: 3,
        name: "cold sequential read, 30 ms, 90 MB/s",
        first_byte_ms: 30,
        bandwidth_bytes_per_s: 90_000_000,
        beside_plain_client: true,
        ..PLAIN
    },
    Job { number: 4, name: "sequential write", kind: Kind::SequentialWrite, ..PLAIN },
    Job {
        number: 5,
        name: "100 KiB files read by 16, 30 ms",
        unit: "files/s",
        first_byte_ms: 30,
        kind: Kind::ReadFiles,
        ..PLAIN
    },
    Job { number: 6, name: "4 KiB files created by 8", unit: "files/s", kind: Kind::CreateFiles, ..PLAIN },
    Job {
        number: 7,
        name: "4 KiB random reads from the cache",
        unit: "reads/s",
        kind: Kind::RandomRead,
        ..PLAIN
    },
    Job { number: 8, name: "ls -l, 30 ms", unit: "files/s", first_byte_ms: 30, kind: Kind::List, ..PLAIN },
    Job {
        number: 9,
        name: "64 files at once, --memory 256M, 30 ms",
        first_byte_ms: 30,
        memory: Some("256M"),
        kind: Kind::Crowd,
        only_pail: true,
        ..PLAIN
    },
    Job { number: 10, name: "second read, as it is", kind: Kind::ReadAgain, ..PLAIN },
];

/// What a run did.
#[derive(Clone)]
pub struct Done {
    pub seconds: f64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Files read, written or listed; random reads for the job of that kind.
    pub items: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    Yes,
    No,
}

impl Job {
    /// The tools that take their turn.
    pub fn tools(&self, peers: bool) -> Vec<Tool> {
        let mut tools = vec![Tool::Pail];
        if peers && !self.only_pail {
            tools.extend([Tool::S3fs, Tool::Rclone]);
        }
        if self.beside_plain_client {
            tools.push(Tool::PlainClient);
        }
        tools
    }

    /// Stores what the job reads.
    pub fn store(&self, client: &PlainClient, corpus: &Corpus, sizes: &Sizes) -> Result<()> {
        match self.kind {
            Kind::SequentialRead | Kind::ReadFromDisk | Kind::ReadAgain => {
                client.store(BIG, corpus, BIG_NUMBER, sizes.big_bytes)
            }
            Kind::RandomRead => client.store(RANDOM, corpus, RANDOM_NUMBER, sizes.random_bytes),
            Kind::ReadFiles => client.store_many(READ_FILES, sizes.read_files, corpus, READ_FILE_BYTES),
            Kind::List => client.store_many(LISTED_FILES, sizes.listed_files, corpus, LISTED_FILE_BYTES),
            Kind::Crowd => client.store_many(CROWD, sizes.crowd_files, corpus, sizes.crowd_bytes),
            Kind::CreateFiles => Ok(()),
            // The first upload makes the server's allocator fetch its pages from the kernel; no tool should pay for that.
            Kind::SequentialWrite => {
                client.store(WRITTEN, corpus, WRITTEN_NUMBER, sizes.written_bytes)?;
                client.remove(WRITTEN)
            }
        }
    }

    /// Brings a fresh mount into the state that the job begins with.
    pub fn prepare(&self, mounted: &Mounted, sizes: &Sizes) -> Result<()> {
        match self.kind {
            Kind::ReadFromDisk | Kind::ReadAgain => read_whole(&mounted.at().join(BIG), sizes.big_bytes),
            Kind::RandomRead => read_whole(&mounted.at().join(RANDOM), sizes.random_bytes),
            // The folder's own object may be left of an earlier run.
            Kind::CreateFiles => Ok(std::fs::create_dir_all(mounted.at().join(CREATED_FILES))?),
            _ => Ok(()),
        }
    }

    /// Does what is measured.
    pub fn run(&self, mounted: &Mounted, corpus: &Corpus, sizes: &Sizes) -> Result<Done> {
        let at = mounted.at();
        match self.kind {
            Kind::SequentialRead | Kind::ReadAgain => sequential_read(&at.join(BIG), sizes.big_bytes),
            Kind::ReadFromDisk => {
                prepare_memory();
                sequential_read(&at.join(BIG), sizes.big_bytes)
            }
            Kind::SequentialWrite => sequential_write(&at.join(WRITTEN), corpus, sizes.written_bytes),
            Kind::ReadFiles => read_files(&at.join(READ_FILES), sizes.read_files),
            Kind::CreateFiles => create_files(&at.join(CREATED_FILES), corpus, sizes.created_files),
            Kind::RandomRead => random_read(&at.join(RANDOM), sizes),
            Kind::List => list(&at.join(LISTED_FILES), sizes.listed_files),
            Kind::Crowd => crowd(&at.join(CROWD), sizes),
        }
    }

    /// The same without a file system.
    pub fn run_plain(&self, client: &PlainClient, sizes: &Sizes) -> Result<Done> {
        let began = Instant::now();
        let bytes_read = client.fetch(BIG, sizes.big_bytes)?;
        ensure!(bytes_read == sizes.big_bytes, "{bytes_read} bytes came in place of {}", sizes.big_bytes);
        Ok(Done { seconds: began.elapsed().as_secs_f64(), bytes_read, bytes_written: 0, items: 1 })
    }

    /// Checks what was read or written against what it must be. Not measured.
    pub fn verify(
        &self,
        verify: Verify,
        mounted: &Mounted,
        client: &PlainClient,
        corpus: &Corpus,
        sizes: &Sizes,
    ) -> Result<()> {
        if verify == Verify::No {
            return Ok(());
        }
        let (what, found, expected) = match self.kind {
            Kind::SequentialRead | Kind::ReadFromDisk | Kind::ReadAgain => {
                let found = checksum(&mounted.at().join(BIG))?;
                (BIG, found, corpus.checksum(BIG_NUMBER, sizes.big_bytes))
            }
            Kind::RandomRead => {
                let found = checksum(&mounted.at().join(RANDOM))?;
                (RANDOM, found, corpus.checksum(RANDOM_NUMBER, sizes.random_bytes))
            }
            Kind::SequentialWrite => {
                (WRITTEN, client.checksum(WRITTEN)?, corpus.checksum(WRITTEN_NUMBER, sizes.written_bytes))
            }
            Kind::CreateFiles => {
                let found = client.checksum(&format!("{CREATED_FILES}/{:05}", 7))?;
                (CREATED_FILES, found, corpus.checksum(7, CREATED_FILE_BYTES))
            }
            Kind::ReadFiles | Kind::Crowd | Kind::List => return Ok(()),
        };
        ensure!(found == expected, "{what} has other contents than were stored");
        Ok(())
    }

    /// Whether all that the run wrote is in the bucket, as far as bytes do not tell: of many files, some may come twice.
    pub fn is_stored(&self, client: &PlainClient, sizes: &Sizes) -> Result<bool> {
        match self.kind {
            Kind::CreateFiles => Ok(client.count_below(CREATED_FILES)? >= sizes.created_files),
            _ => Ok(true),
        }
    }

    /// Removes what the run wrote.
    pub fn clean(&self, client: &PlainClient) -> Result<()> {
        match self.kind {
            Kind::SequentialWrite => client.remove(WRITTEN),
            Kind::CreateFiles => client.remove_below(CREATED_FILES),
            _ => Ok(()),
        }
    }
}

fn done_reading(began: Instant, bytes_read: u64, items: usize) -> Done {
    Done { seconds: began.elapsed().as_secs_f64(), bytes_read, bytes_written: 0, items: items as u64 }
}

fn read_whole(path: &Path, len_bytes: u64) -> Result<()> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut sum = 0;
    loop {
        match file.read(&mut block).with_context(|| path.display().to_string())? {
            0 => break,
            read => sum += read as u64,
        }
    }
    ensure!(sum == len_bytes, "{} has {sum} bytes in place of {len_bytes}", path.display());
    Ok(())
}

fn checksum(path: &Path) -> Result<u64> {
    let mut file = File::open(path)?;
    let (mut block, mut hash) = (vec![0; BLOCK_BYTES], Xxh3::new());
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.digest()),
            read => hash.update(&block[..read]),
        }
    }
}

fn advise(file: &File, advice: i32) -> Result<()> {
    // SAFETY: the descriptor is open as long as `file` lives, and the call touches no memory.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, advice) } {
        0 => Ok(()),
        errno => Err(std::io::Error::from_raw_os_error(errno).into()),
    }
}

fn sequential_read(path: &Path, len_bytes: u64) -> Result<Done> {
    let began = Instant::now();
    read_whole(path, len_bytes)?;
    Ok(done_reading(began, len_bytes, 1))
}

fn sequential_write(path: &Path, corpus: &Corpus, len_bytes: u64) -> Result<Done> {
    let began = Instant::now();
    let mut file = File::create(path)?;
    for block in corpus.blocks(WRITTEN_NUMBER, len_bytes) {
        file.write_all(&block)?;
    }
    close(file)?;
    Ok(Done { seconds: began.elapsed().as_secs_f64(), bytes_read: 0, bytes_written: len_bytes, items: 1 })
}

/// Closes a file and hears what close() says, which dropping it would not.
fn close(file: File) -> Result<()> {
    let fd = std::os::fd::IntoRawFd::into_raw_fd(file);
    // SAFETY: the descriptor was owned by `file` alone, which gave it up.
    if unsafe { libc::close(fd) } != 0 {
        return Err(std::io::Error::last_os_error()).context("close");
    }
    Ok(())
}

/// Lets `threads` threads share `count` items.
fn share(threads: usize, count: usize, each: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let each = &each;
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || (thread..count).step_by(threads).try_for_each(each)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })
}

fn read_files(dir: &Path, count: usize) -> Result<Done> {
    let began = Instant::now();
    share(16, count, |number| read_whole(&dir.join(format!("{number:05}")), READ_FILE_BYTES))?;
    Ok(done_reading(began, count as u64 * READ_FILE_BYTES, count))
}

fn create_files(dir: &Path, corpus: &Corpus, count: usize) -> Result<Done> {
    let began = Instant::now();
    share(8, count, |number| {
        let mut file = File::create(dir.join(format!("{number:05}")))?;
        corpus.blocks(number as u64, CREATED_FILE_BYTES).try_for_each(|block| file.write_all(&block))?;
        close(file)
    })?;
    let bytes_written = count as u64 * CREATED_FILE_BYTES;
    Ok(Done { seconds: began.elapsed().as_secs_f64(), bytes_read: 0, bytes_written, items: count as u64 })
}

/// Distinct pages, so that none is answered by the kernel's cache.
fn random_read(path: &Path, sizes: &Sizes) -> Result<Done> {
    prepare_memory();
    let file = File::open(path)?;
    advise(&file, libc::POSIX_FADV_RANDOM)?;
    let mut pages: Vec<u64> = (0..sizes.random_bytes / PAGE_BYTES as u64).collect();
    pages.shuffle(&mut StdRng::seed_from_u64(2));
    let count = sizes.random_reads.min(pages.len());
    let began = Instant::now();
    share(4, count, |number| {
        let mut page = [0; PAGE_BYTES];
        Ok(file.read_exact_at(&mut page, pages[number] * PAGE_BYTES as u64)?)
    })?;
    Ok(done_reading(began, (count * PAGE_BYTES) as u64, count))
}

fn list(dir: &Path, count: usize) -> Result<Done> {
    let began = Instant::now();
    let output = Command::new("ls").args(["-l", "--color=never"]).arg(dir).output()?;
    let seconds = began.elapsed().as_secs_f64();
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    // The first line is the sum.
    ensure!(output.status.success() && lines == count + 1, "ls showed {lines} lines, {}", output.status);
    Ok(Done { seconds, bytes_read: 0, bytes_written: 0, items: count as u64 })
}

fn crowd(dir: &Path, sizes: &Sizes) -> Result<Done> {
    let began = Instant::now();
    let readers: Vec<_> = (0..sizes.crowd_files)
        .map(|number| {
            let input = format!("if={}", dir.join(format!("{number:05}")).display());
            Command::new("dd").args([&input, "of=/dev/null", "bs=1M"]).stderr(Stdio::null()).spawn()
        })
        .collect::<Result<_, _>>()?;
    for mut reader in readers {
        let status = reader.wait()?;
        ensure!(status.success(), "a reader failed: {status}");
    }
    Ok(done_reading(began, sizes.crowd_files as u64 * sizes.crowd_bytes, sizes.crowd_files))
}
