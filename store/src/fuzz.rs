//! Fuzzing: what a parser makes of bytes that nobody vouches for.
//!
//! Owns: [`fuzz`], which gives a parser random bytes, and documents that are mutated, for `PAIL_FUZZ_SECONDS` (2 by default), and shrinks what
//! it fails on. `PAIL_FUZZ_SEED` begins another sequence of inputs. Each target is a test beside its parser, whose name has `fuzz` in it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The largest input, in bytes.
const INPUT_LEN_BYTES_MAX: usize = 1 << 14;
/// How long no input may take; one takes microseconds.
const HANG_AFTER: Duration = Duration::from_secs(60);

/// What is put into documents beside parts of their own.
const WORDS: &[&str] = &[
    "",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\u{feff}",
    "é",
    "\u{1F4A9}",
    "\u{fffe}",
    "%",
    "%4",
    "%41",
    "%ff",
    "%00",
    "+",
    "/",
    "//",
    "../",
    "<",
    ">",
    "</",
    "/>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?xml?>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "&",
    "&amp;",
    "&#0;",
    "&#x10ffff;",
    "&b;",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "-1",
    "0",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "- ",
    ": ",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "|\n",
    "---\n",
    "\\",
    "\\u0000",
    "\\ud800",
    "9999-12-31T23:59:59Z",
    "-9999-01-01T00:00:00Z",
];

/// A change of a document; an index is taken modulo the document's length.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Truncate(Index),
    /// The rest is another document's.
    Splice(Index, &'static str, Index),
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>) {
        let within = |index: &Index, len: usize| index.index(len + 1);
        match self {
            Self::Replace(at, byte) => {
                let at = within(at, input.len());
                input.splice(at..input.len().min(at + 1), [*byte]);
            }
            Self::Insert(at, word) => {
                let at = within(at, input.len());
                input.splice(at..at, word.bytes());
            }
            Self::Remove(at, len) => {
                let at = within(at, input.len());
                input.drain(at..input.len().min(at + len));
            }
            Self::Repeat(at, len, times) => {
                let at = within(at, input.len());
                let piece = input[at..input.len().min(at + len)].repeat(*times);
                input.splice(at..at, piece);
            }
            Self::Truncate(at) => input.truncate(within(at, input.len())),
            Self::Splice(at, other, from) => {
                input.truncate(within(at, input.len()));
                input.extend_from_slice(&other.as_bytes()[within(from, other.len())..]);
            }
        }
        input.truncate(INPUT_LEN_BYTES_MAX);
    }
}

fn mutations(documents: &'static [&'static str]) -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (any::<Index>(), select(WORDS)).prop_map(|(at, word)| Mutation::Insert(at, word)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Mutation::Remove(at, len)),
        (any::<Index>(), 1..60_usize, 1..40_usize)
            .prop_map(|(at, len, times)| Mutation::Repeat(at, len, times)),
        any::<Index>().prop_map(Mutation::Truncate),
        (any::<Index>(), select(documents), any::<Index>())
            .prop_map(|(at, other, from)| Mutation::Splice(at, other, from)),
    ]
}

fn inputs(documents: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let mutated = (select(documents), vec(mutations(documents), 0..6)).prop_map(|(document, mutations)| {
        let mut input = document.as_bytes().to_vec();
        mutations.iter().for_each(|mutation| mutation.apply(&mut input));
        input
    });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 9 => mutated]
}

/// How many inputs there were, and how many of them the parser took.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    inputs: u64,
    taken: u64,
}

/// Runs the fuzzer of that number. Errors: the smallest input that was found to make `parser` panic, or one that hangs.
fn search(
    documents: &'static [&'static str],
    time: Duration,
    number: u8,
    parser: impl Fn(&[u8]) -> bool + Send + 'static,
) -> Result<Count, String> {
    let seed = std::env::var("PAIL_FUZZ_SEED").map_or(1, |seed| seed.parse::<u8>().unwrap());
    let seed = [[seed; 16], [number; 16]].concat();
    let (begun, under_way) = mpsc::sync_channel::<Vec<u8>>(1);
    let worker = std::thread::spawn(move || {
        let config = Config { failure_persistence: None, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let (mut runner, strategy) = (TestRunner::new_with_rng(config, rng), inputs(documents));
        let (started, mut inputs, taken) = (Instant::now(), 0, std::cell::Cell::new(0));
        while started.elapsed() < time {
            let tree = strategy.new_tree(&mut runner).map_err(|why| why.to_string())?;
            let outcome = runner.run_one(tree, |input| {
                // Whoever waits gets the newest that it can, and knows by it that there is progress.
                if begun.try_send(input.clone()).is_ok() && input.len() > INPUT_LEN_BYTES_MAX {
                    return Err(TestCaseError::fail("an input is too long"));
                }
                taken.set(taken.get() + u64::from(parser(&input)));
                Ok(())
            });
            if let Err(TestError::Fail(why, input)) = outcome {
                return Err(format!("{why}: {:?} ({input:?})", String::from_utf8_lossy(&input)));
            }
            inputs += 1;
        }
        Ok(Count { inputs, taken: taken.get() })
    });
    let mut last = Vec::new();
    loop {
        match under_way.recv_timeout(HANG_AFTER) {
            Ok(input) => last = input,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(format!("an input hangs, soon after {:?}", String::from_utf8_lossy(&last)));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    worker.join().unwrap_or_else(|_| Err("the fuzzer itself panicked".to_owned()))
}

/// Runs `parser`, which says whether an input was one, on random bytes and on mutated `documents`. Panics where it panics or hangs, and where it
/// takes none or all of them: then nothing would be shown.
pub(crate) fn fuzz(documents: &'static [&'static str], parser: impl Fn(&[u8]) -> bool + Send + 'static) {
    fuzz_all(documents, vec![Box::new(parser)]);
}

/// What takes inputs.
pub(crate) type Parser = Box<dyn Fn(&[u8]) -> bool + Send>;

/// As [`fuzz`], with one fuzzer for each parser, all at a time: for those that wait more than they work.
pub(crate) fn fuzz_all(documents: &'static [&'static str], parsers: Vec<Parser>) {
    let seconds = std::env::var("PAIL_FUZZ_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    assert!(documents.iter().any(|document| parsers[0](document.as_bytes())), "none is one to begin with");
    let counts: Vec<_> = std::thread::scope(|scope| {
        let fuzzers: Vec<_> = (0..)
            .zip(parsers)
            .map(|(number, parser)| {
                scope.spawn(move || search(documents, Duration::from_secs(seconds), number, parser))
            })
            .collect();
        fuzzers.into_iter().map(|fuzzer| fuzzer.join().unwrap()).collect()
    });
    let mut all = Count::default();
    for count in counts {
        let Count { inputs, taken } = count.unwrap_or_else(|found| panic!("{found}"));
        all = Count { inputs: all.inputs + inputs, taken: all.taken + taken };
    }
    println!("{} inputs in {seconds} s, {} of them taken", all.inputs, all.taken);
    // In a short time on a busy machine there may be none among the few.
    assert!(all.taken < all.inputs && (all.taken > 0 || all.inputs < 1000), "{all:?}");
}

#[test]
fn a_fuzzer_finds_and_shrinks_a_slice_out_of_bounds() {
    const DOCUMENTS: &[&str] = &["<Key>0123456789</Key>", "<Key>a long key, longer than ten</Key>"];
    let found = search(DOCUMENTS, Duration::from_secs(60), 0, |input| {
        let text = String::from_utf8_lossy(input);
        text.find("<Key>").is_some_and(|at| !text[at + 5..at + 15].is_empty())
    });
    let found = found.unwrap_err();
    assert!(found.contains("\"<Key>"), "{found}");
    let intact = search(DOCUMENTS, Duration::from_millis(100), 0, |input| input.starts_with(b"<Key>"));
    assert!(intact.is_ok_and(|count| count.taken > 0 && count.inputs > count.taken));
}
