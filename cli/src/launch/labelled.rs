//! The output of several nodes on one terminal.
//!
//! Owns: [`Labelled`], which gives each line its node's name, and never mixes two lines.

use std::io::Write;

/// A line that is longer is broken.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The output of one node. Lines are written when they are complete.
pub struct Labelled<W: Write> {
    label: String,
    output: W,
    pending: Vec<u8>,
    /// The last line was ended by a carriage return, which a newline may follow.
    returned: bool,
}

impl<W: Write> Labelled<W> {
    /// Without a label, bytes are passed on as they come.
    pub fn new(label: &str, output: W) -> Self {
        Self { label: label.to_owned(), output, pending: Vec::new(), returned: false }
    }

    /// Takes what the node printed. That nobody reads it any more is no error of the job.
    pub fn take(&mut self, bytes: &[u8]) {
        if self.label.is_empty() {
            let _ = self.output.write_all(bytes);
            let _ = self.output.flush();
            return;
        }
        self.pending.extend_from_slice(bytes);
        // A carriage return ends a line of a progress bar.
        while let Some(end) = self.pending.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let ends_return = end == 0 && line[end] == b'\n' && self.returned;
            self.returned = line[end] == b'\r';
            if !ends_return {
                self.write(&line[..end]);
            }
        }
        if self.pending.len() > LINE_BYTES_MAX {
            let line = std::mem::take(&mut self.pending);
            self.write(&line);
        }
    }

    /// The end: a last line without its end is written too.
    pub fn finish(mut self) {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.write(&rest);
        }
    }

    fn write(&mut self, line: &[u8]) {
        let mut whole = self.label.clone().into_bytes();
        whole.extend_from_slice(line);
        whole.push(b'\n');
        let _ = self.output.write_all(&whole);
        let _ = self.output.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_have_their_node() {
        let mut written = Vec::new();
        let mut output = Labelled::new("(dev) ", &mut written);
        for piece in ["on", "e\ntw", "o\r\n", "10%\r20%\r", "\n\nlast"] {
            output.take(piece.as_bytes());
        }
        output.finish();
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, "(dev) one\n(dev) two\n(dev) 10%\n(dev) 20%\n(dev) \n(dev) last\n");
    }

    #[test]
    fn one_node_alone_is_passed_on_as_it_is() {
        let mut written = Vec::new();
        let mut output = Labelled::new("", &mut written);
        output.take(b"\xff no end");
        output.finish();
        assert_eq!(written, b"\xff no end");
    }
}
