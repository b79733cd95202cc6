//! A fuzzer of the task reader: mutated task files never make it panic or hang, and every mistake has a place within the file.
//!
//! `PAIL_FUZZ_SECONDS` is how long it runs (2 by default); `PAIL_FUZZ_SEED` begins another sequence. An input depends on the seed and its
//! number alone, both of which a failure names beside the input itself.

use super::*;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The largest input, in bytes.
const INPUT_BYTES_MAX: usize = 1 << 16;
/// How long no input may take; one takes microseconds.
const HANG_AFTER: Duration = Duration::from_secs(60);
/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// What is put into files beside parts of their own.
const WORDS: &[&str] = &[
    "\t",
    "\r\n",
    "\r",
    "\u{feff}",
    "---\n",
    "...\n",
    "<<: ",
    "&a ",
    "*a",
    "*a ",
    "!!int ",
    "!!binary ",
    "? ",
    "- ",
    ": ",
    ":",
    "[",
    "]",
    "{",
    "}",
    ",",
    "|\n",
    ">-\n",
    "\"",
    "'",
    "#",
    "%",
    "@",
    "`",
    "~",
    "null",
    "true",
    "0x1f",
    "1e999",
    ".nan",
    "-",
    "--",
    "$A",
    "${A",
    "${A}",
    "$",
    "s3://",
    "gs://",
    "cos://us-south/",
    "s3://my-bucket/x",
    "/",
    "..",
    "~/",
    "\\",
    "\0",
    "\u{1b}",
    "\u{85}",
    "\u{2028}",
    "é",
    "漢",
    "😀",
    "name: ",
    "run: ",
    "envs:\n  A: ",
    "secrets:\n  S: ",
    "workdir: ",
    "file_mounts:\n  /x:\n",
    "    mode: ",
    "    source: ",
    "    config: {mount: {",
];

/// Pseudo-random numbers (splitmix64), the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let len = self.below(24).min(bytes.len() - start);
        start..start + len
    }

    fn line(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let lines: Vec<usize> = std::iter::once(0)
            .chain(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1))
            .collect();
        let line = self.below(lines.len());
        lines[line]..lines.get(line + 1).copied().unwrap_or(bytes.len())
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> =
        [root.join("tests/broken_tasks"), root.join("tests/good_tasks"), root.join("../examples")]
            .iter()
            .flat_map(|dir| std::fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(input.len() + 1);
    match numbers.below(10) {
        0 if !input.is_empty() => {
            let index = at.min(input.len() - 1);
            input[index] = numbers.next() as u8;
        }
        0 | 1 => {
            let word = WORDS[numbers.below(WORDS.len())].as_bytes();
            input.splice(at..at, word.iter().copied());
        }
        2 => {
            let range = numbers.range(input);
            input.drain(range);
        }
        3 => {
            let range = numbers.range(input);
            let copied = input[range].to_vec();
            input.splice(at..at, copied);
        }
        4 => {
            let range = numbers.line(input);
            input.drain(range);
        }
        5 => {
            let line = input[numbers.line(input)].to_vec();
            let start = numbers.line(input).start;
            input.splice(start..start, line);
        }
        6 => {
            let start = numbers.line(input).start;
            let spaces = b"        ";
            input.splice(start..start, spaces[..numbers.below(spaces.len())].iter().copied());
        }
        7 => {
            let other = &seeds[numbers.below(seeds.len())];
            let line = other[numbers.line(other)].to_vec();
            let start = numbers.line(input).start;
            input.splice(start..start, line);
        }
        8 => {
            let other = &seeds[numbers.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
        }
        _ => {
            let word = WORDS[numbers.below(WORDS.len())].as_bytes();
            let range = numbers.range(input);
            input.splice(range, word.iter().copied());
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

/// The input of a number.
fn input(seeds: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number);
    let mut input = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(6) {
        mutate(&mut input, seeds, &mut numbers);
    }
    input
}

/// Reads an input; whether it is a task, or what is wrong with what came of it.
fn broken_promise(input: &[u8], caller: &Caller) -> Result<bool, String> {
    let overrides = Overrides::default();
    let read = Document::parse(Path::new("f.yaml"), input.to_vec())
        .and_then(|document| Task::from_document(&document, &overrides, caller));
    let failure = match read {
        Ok(task) => {
            let secrets = task.secrets.values().filter(|value| value.len() >= 8);
            let open = format!("{:?} {:?}", task.file_mounts, task.workdir);
            let shown = task.redacted(&open);
            let told = secrets.filter(|secret| shown.contains(secret.as_str())).count();
            return if told > 0 { Err(format!("a secret is shown: {shown}")) } else { Ok(true) };
        }
        Err(failure) => failure,
    };
    if failure.message.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {} bytes", failure.message.len()));
    }
    if failure.message.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(format!("control characters: {:?}", failure.message));
    }
    // A text that is not UTF-8 is shown with what stands for its bytes.
    let text = String::from_utf8_lossy(input).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> =
        text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect();
    let places: Vec<&str> = failure.message.lines().filter_map(|line| line.strip_prefix("f.yaml:")).collect();
    if places.is_empty() {
        return Err(format!("no place: {failure}"));
    }
    for told in places {
        let mut numbers = told.split(':').map(|number| number.parse::<usize>().unwrap_or(0));
        let (line, column) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let within = line >= 1
            && lines.get(line - 1).is_some_and(|text| (1..=text.chars().count() + 1).contains(&column));
        if !within {
            return Err(format!("no place within the file: {told}"));
        }
    }
    Ok(false)
}

/// Inputs near the largest, of the shapes that may cost more than their length. None takes a second; what grows with the square of the
/// length would take minutes.
#[test]
fn large_files_are_read_or_refused_with_a_place() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_tasks/home");
    let caller = Caller { current_dir: home.clone(), home, variables: Default::default() };
    let most = (1 << 20) - 100;
    let repeated = |part: &str| part.repeat(most / part.len());
    let numbered = |part: fn(usize) -> String, count: usize| (0..count).map(part).collect::<String>();
    let value = "x".repeat(most / 2);
    for (shape, text) in [
        ("brackets", repeated("[")),
        ("quotes among brackets", format!("a: [{}", repeated("\"\" "))),
        ("braces", format!("a: {}", repeated("{ "))),
        ("colons", repeated(": ")),
        ("dashes", repeated("- ")),
        ("a line", format!("run: [{}", repeated("x"))),
        ("empty lines", format!("{}\t", repeated("\n"))),
        ("carriage returns", format!("{}\t", repeated("\r"))),
        ("comments", format!("{}%", repeated("#\n"))),
        ("question marks", repeated("? ")),
        ("anchors", repeated("&a ")),
        ("one key", repeated("a: 1\n")),
        ("unknown keys", format!("file_mounts: {{/x: {{{}}}}}", numbered(|n| format!("k{n}: 1, "), 40_000))),
        (
            "destinations",
            format!("file_mounts:\n{}", numbered(|n| format!("  /{n}: {{name: my-bucket}}\n"), 30_000)),
        ),
        ("near misses", numbered(|n| format!("runn{n}: 1\n"), 60_000)),
        ("variables", format!("name: {}", numbered(|n| format!("$V{n}"), 120_000))),
        (
            "substitution",
            format!("envs: {{A: {value}}}\nfile_mounts:\n  {}: s3://bucket\n", "$A".repeat(most / 5)),
        ),
        (
            "substitution in a key",
            format!(
                "envs: {{A: {value}}}\nfile_mounts:\n  ? \"{}\"\n  : s3://bucket\n",
                "$A".repeat(most / 5)
            ),
        ),
        (
            "merge keys",
            format!(
                "a: &a {{{}}}\nb:\n  <<: [{}]\n",
                numbered(|n| format!("k{n}: 1, "), 2_000),
                "*a, ".repeat(50)
            ),
        ),
        ("a long name", format!("file_mounts:\n  /x: {{name: \"{value}\"}}\n")),
        ("a long path", format!("workdir: \"{value}\"\n")),
    ] {
        if let Err(found) = broken_promise(text.as_bytes(), &caller) {
            panic!("{shape}: {found}");
        }
    }
}

#[test]
fn mutated_tasks_are_read_or_refused_with_a_place() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seconds = number("PAIL_FUZZ_SECONDS").unwrap_or(2);
    let seed = number("PAIL_FUZZ_SEED").unwrap_or(1);
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken_tasks/home");
    let caller = Caller { current_dir: home.clone(), home, variables: Default::default() };
    let seeds = seeds();
    let (done, progress) = mpsc::channel();
    let started = Instant::now();
    let (of_worker, worker_caller) = (seeds.clone(), caller.clone());
    let worker = std::thread::spawn(move || {
        for number in 0.. {
            if started.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
            let input = input(&of_worker, seed, number);
            let found = std::panic::catch_unwind(|| broken_promise(&input, &worker_caller))
                .unwrap_or_else(|_| Err("it panicked".to_owned()));
            let _ = done.send((number, found));
        }
    });
    let (mut count, mut tasks) = (0_u64, 0_u64);
    loop {
        match progress.recv_timeout(HANG_AFTER) {
            Ok((_, Ok(is_task))) => (count, tasks) = (count + 1, tasks + u64::from(is_task)),
            Ok((number, Err(found))) => {
                let input = input(&seeds, seed, number);
                panic!("seed {seed}, input {number}: {found}\n{:?}", String::from_utf8_lossy(&input));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let input = input(&seeds, seed, count);
                panic!("seed {seed}, input {count} hangs: {:?}", String::from_utf8_lossy(&input));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().unwrap();
    println!("{count} inputs in {seconds} s, {tasks} of them tasks");
    // Mutations that leave nothing of a task would show nothing.
    assert!(tasks > 0 && count > tasks, "{count}, {tasks}");
}
