//! What a client and a node say to each other over one ssh session.
//!
//! Owns: the form of it. A request is one JSON document on standard input, which is where secrets travel: no argument, file or log
//! has them. The answer on standard output begins with a line of its own, since a login shell's start-up files may print before it, and is
//! then a series of frames: `O` with bytes of a job's output, `P` with how far its copies are, `A` with the answer as JSON. What is for people goes to standard error as it is.
//!
//! A frame is its letter, its length in decimal digits, a newline, and that many bytes.

use super::copies::CopiesState;
use pail_control::{Failure, FailureKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The line before the first frame.
const MARK: &str = "PAIL-NODE 1";
/// The longest frame that is read: a report that names many files.
const FRAME_BYTES_MAX: u64 = 64 << 20;
/// How much a start-up file may print before the mark.
const NOISE_BYTES_MAX: u64 = 1 << 20;

/// The end of a call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Done(T),
    Failed(Failure),
}

/// What comes before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Bytes of a job's output; none are a sign of life.
    Output(&'a [u8]),
    /// How far the copies are that were asked for.
    Progress(CopiesState),
}

/// Writes the frames of one call.
pub struct Frames<W: Write> {
    output: W,
}

impl<W: Write> Frames<W> {
    /// Begins an answer. Errors: nobody listens.
    pub fn begin(mut output: W) -> std::io::Result<Self> {
        // A start-up file may have left its last line open.
        writeln!(output, "\n{MARK}")?;
        output.flush()?;
        Ok(Self { output })
    }

    /// Passes on bytes of a job's output.
    pub fn output(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.frame('O', bytes)
    }

    /// Tells how far the copies are.
    pub fn progress(&mut self, state: CopiesState) -> std::io::Result<()> {
        let json = serde_json::to_vec(&state)?;
        self.frame('P', &json)
    }

    /// Ends the answer.
    pub fn answer<T: Serialize>(&mut self, result: Result<T, Failure>) -> std::io::Result<()> {
        let answer = match result {
            Ok(done) => Answer::Done(done),
            Err(failure) => Answer::Failed(failure),
        };
        let json = serde_json::to_vec(&answer)?;
        self.frame('A', &json)
    }

    fn frame(&mut self, kind: char, bytes: &[u8]) -> std::io::Result<()> {
        writeln!(self.output, "{kind}{}", bytes.len())?;
        self.output.write_all(bytes)?;
        self.output.flush()
    }
}

/// Reads the answer of one call, giving `hear` what comes before. `None`: the stream ended before the answer.
/// Errors: the node's failure; what comes is no answer.
pub async fn read_answer<T: DeserializeOwned>(
    stream: &mut (impl AsyncBufRead + Unpin),
    hear: &mut (dyn FnMut(Heard<'_>) + Send),
) -> Result<Option<T>, Failure> {
    if !skip_to_mark(stream).await? {
        return Ok(None);
    }
    loop {
        let mut head = Vec::new();
        let read = (&mut *stream).take(32).read_until(b'\n', &mut head).await.map_err(broken)?;
        if read == 0 {
            return Ok(None);
        }
        let Some((kind, length)) = parse_head(&head) else {
            // Cut off within the head, as by a link that dropped.
            return if head.ends_with(b"\n") { Err(not_understood("a frame's head")) } else { Ok(None) };
        };
        let mut bytes = Vec::new();
        let read = (&mut *stream).take(length).read_to_end(&mut bytes).await.map_err(broken)?;
        match kind {
            // Also of a frame that was cut off: its bytes are as good as others, and are counted.
            b'O' => hear(Heard::Output(&bytes)),
            _ if (read as u64) < length => return Ok(None),
            b'P' => {
                let state = serde_json::from_slice(&bytes).map_err(|err| not_understood(&err.to_string()))?;
                hear(Heard::Progress(state));
            }
            b'A' => {
                return match serde_json::from_slice(&bytes).map_err(|err| not_understood(&err.to_string()))? {
                    Answer::Done(done) => Ok(Some(done)),
                    Answer::Failed(failure) => Err(failure),
                };
            }
            _ => return Err(not_understood("a frame's kind")),
        }
        if (read as u64) < length {
            return Ok(None);
        }
    }
}

async fn skip_to_mark(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<bool, Failure> {
    let mut skipped = 0;
    while skipped < NOISE_BYTES_MAX {
        let mut line = Vec::new();
        let read = (&mut *stream).take(NOISE_BYTES_MAX).read_until(b'\n', &mut line).await.map_err(broken)?;
        if read == 0 {
            return Ok(false);
        }
        if line.trim_ascii_end() == MARK.as_bytes() {
            return Ok(true);
        }
        skipped += read as u64;
    }
    Err(not_understood("its shell prints more than 1 MiB before any command"))
}

fn parse_head(head: &[u8]) -> Option<(u8, u64)> {
    let (kind, digits) = head.split_first()?;
    let length = std::str::from_utf8(digits).ok()?.strip_suffix('\n')?.parse().ok()?;
    (length <= FRAME_BYTES_MAX).then_some((*kind, length))
}

fn broken(err: std::io::Error) -> Failure {
    Failure::new(FailureKind::Unreachable, "the connection to the node broke off").because(err.to_string())
}

fn not_understood(what: &str) -> Failure {
    Failure::other("the node's answer cannot be understood").because(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (Result<Option<u32>, Failure>, Vec<u8>) {
        let mut output = Vec::new();
        let mut stream = tokio::io::BufReader::new(bytes);
        let mut hear = |heard: Heard<'_>| match heard {
            Heard::Output(bytes) => output.extend_from_slice(bytes),
            Heard::Progress(state) => output.extend_from_slice(state.ended.to_string().as_bytes()),
        };
        let answer = read_answer(&mut stream, &mut hear).await;
        (answer, output)
    }

    #[tokio::test]
    async fn output_and_answer_arrive_behind_what_a_shell_prints_first() {
        let mut sent = b"welcome to this machine\nO5\nno newline".to_vec();
        let mut frames = Frames::begin(&mut sent).unwrap();
        frames.output(b"A3\n\xff").unwrap();
        frames.output(b"").unwrap();
        frames.progress(CopiesState { ended: 12, ..CopiesState::default() }).unwrap();
        frames.answer(Ok(7_u32)).unwrap();
        let (answer, output) = read(&sent).await;
        assert_eq!((answer.unwrap(), output), (Some(7), b"A3\n\xff12".to_vec()));
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_anywhere_is_none_and_no_failure() {
        let mut sent = Vec::new();
        let mut frames = Frames::begin(&mut sent).unwrap();
        frames.output(b"0123456789").unwrap();
        frames.answer(Ok(7_u32)).unwrap();
        for end in 0..sent.len() {
            let (answer, output) = read(&sent[..end]).await;
            assert_eq!(answer.unwrap(), None, "cut at {end}");
            assert!(b"0123456789".starts_with(&output));
        }
    }

    #[tokio::test]
    async fn a_failure_arrives_with_its_kind_and_advice() {
        let mut sent = Vec::new();
        let failure = Failure::new(FailureKind::NoSpace, "the disk is full").with_hint("free some");
        Frames::begin(&mut sent).unwrap().answer::<u32>(Err(failure.clone())).unwrap();
        assert_eq!(read(&sent).await.0.unwrap_err(), failure);
    }
}
