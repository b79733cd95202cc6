//! `.skyignore` files: rsync's filter rules, each file's below its own directory.
//!
//! Owns: [`RuleFile`], the rules of one file and what is odd about them, and [`Rules`], the chain of files that hold in a directory.
//! Invariants: of the files in a chain the deepest is asked first, of a file's rules the first that matches decides; a path that
//! none matches is sent.
//!
//! # What a line means
//!
//! As with `rsync --exclude-from`, which is how these files have been read so far: a plain line leaves out, `- ` and `+ ` before a
//! pattern leave out and keep, a line of `!` alone drops the rules before it and those of the directories above, `#` and `;` begin
//! comments, and a carriage return ends a line. In a deeper file only a leading slash stands for the file's directory: `a/b` there is
//! found at the end of the whole path from the source, as with rsync's per-directory files. (Rsync takes `*` in the name of that
//! directory itself for a wildcard; here a directory's name is a name.) The words `exclude ` and `include ` stand for the signs, as in rsync's filter files.
//! Three things are read as they were meant, with a warning: a byte order mark is no part of the first pattern, spaces at a line's end
//! none of its own, and `./x` is `/x` (rsync would match neither). All else that looks like another language (`!keep`, rsync's
//! modifiers and further rules) is taken by the letter, as rsync does, with a warning that says what to write.

use super::pattern::{Candidate, Pattern};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the files.
pub const FILE_NAME: &str = ".skyignore";

/// How many plain names a file must have before they are looked up rather than compared one by one.
const LOOKED_UP_NAMES_MIN: usize = 8;

/// A line that is a rule.
#[derive(Debug, Clone)]
pub struct FilterRule {
    /// From 1.
    pub line: usize,
    /// As it was written, without the sign.
    pub text: Box<[u8]>,
    /// Whether it keeps rather than leaves out.
    pub keeps: bool,
    pattern: Pattern,
}

/// The rules of one file.
#[derive(Debug, Default)]
pub struct RuleFile {
    /// As people know it.
    pub file: PathBuf,
    rules: Vec<FilterRule>,
    /// A `!` was read: the files above are not asked.
    clears: bool,
    /// The first rule for each plain name.
    names: HashMap<Box<[u8]>, usize>,
    /// The rules that are not in `names`, in order.
    others: Vec<usize>,
}

impl RuleFile {
    /// Reads rules; what is odd about them is added to `warnings`, as lines for people.
    pub fn parse(file: &Path, content: &[u8], warnings: &mut Vec<String>) -> Self {
        let mut rules = Self { file: file.to_owned(), ..Self::default() };
        let mut warn = |line: usize, text: &str| warnings.push(format!("{}:{line}: {text}", file.display()));
        let content = match content.strip_prefix("\u{feff}".as_bytes()) {
            Some(rest) => {
                warn(
                    1,
                    "the file begins with a byte order mark, which is ignored; save it as UTF-8 without one",
                );
                rest
            }
            None => content,
        };
        if let Some(at) = content.windows(2).position(|pair| pair == b"\r\n") {
            let line = content[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            warn(line, "lines end in CR LF; the CR is ignored; save the file with LF alone");
        }
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            line.split(|byte| *byte == b'\r').for_each(|part| rules.add(index + 1, part, &mut warn));
        }
        rules.index();
        rules
    }

    /// Adds the rule of a line, where it is one.
    fn add(&mut self, line: usize, text: &[u8], warn: &mut impl FnMut(usize, &str)) {
        // The end of a string for rsync.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        if text.is_empty() || text.starts_with(b"#") || text.starts_with(b";") {
            return;
        }
        if text.trim_ascii_end() == b"!" {
            self.rules.clear();
            self.clears = true;
            return;
        }
        let (keeps, pattern) = split_sign(text);
        let mut odd = |text: String| warn(line, &text);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let trimmed = trim_spaces_behind(pattern);
        if trimmed.len() < pattern.len() && !trimmed.is_empty() {
            let name = shown(trimmed);
            odd(format!(
                "spaces at the end are ignored; write `{name}`, or `{name}[ ]` for a name that ends in one"
            ));
        }
        if trimmed.is_empty() {
            if pattern.len() < text.len() {
                odd("a rule without a pattern is ignored".to_owned());
            }
            return;
        }
        if let Some(advice) = misreading(trimmed, text) {
            odd(advice);
        }
        let read = match trimmed.strip_prefix(b"./") {
            Some(rest) => {
                let rest = [b"/", trim_slashes_before(rest)].concat();
                odd(format!("`{}` is read as `{}`; write that", shown(trimmed), shown(&rest)));
                rest
            }
            None => trimmed.to_vec(),
        };
        self.rules.push(FilterRule { line, text: trimmed.into(), keeps, pattern: Pattern::new(&read) });
    }

    /// Sorts the rules into those that are looked up and those that are tried.
    fn index(&mut self) {
        let is_plain = |rule: &FilterRule| rule.pattern.literal_name().is_some();
        let looks_up = self.rules.iter().filter(|rule| is_plain(rule)).count() >= LOOKED_UP_NAMES_MIN;
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.pattern.literal_name().filter(|_| looks_up && !rule.pattern.is_for_directories()) {
                Some(name) => {
                    self.names.entry(name.into()).or_insert(index);
                }
                None => self.others.push(index),
            }
        }
    }

    /// The first rule that matches. `below` is where the path below this file's directory begins.
    fn first_match(&self, candidate: Candidate<'_>, below: usize) -> Option<&FilterRule> {
        let named = match self.names.is_empty() {
            true => None,
            false => self.names.get(candidate.name()).copied(),
        };
        let earlier = self.others.iter().take_while(|index| named.is_none_or(|named| **index < named));
        let mut matching = earlier.filter(|index| self.rules[**index].pattern.matches(candidate, below));
        matching.next().copied().or(named).map(|index| &self.rules[index])
    }
}

/// A line's sign and pattern.
fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    let signs: [(&[u8], bool); 4] =
        [(b"- ", false), (b"+ ", true), (b"exclude ", false), (b"include ", true)];
    signs
        .iter()
        .find_map(|(sign, keeps)| text.strip_prefix(*sign).map(|pattern| (*keeps, pattern)))
        .unwrap_or((false, text))
}

fn trim_spaces_behind(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    &text[..end]
}

fn trim_slashes_before(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| *byte != b'/').unwrap_or(text.len());
    &text[start..]
}

/// What to say of a pattern that means something else than it seems to.
fn misreading(pattern: &[u8], line: &[u8]) -> Option<String> {
    let shown = String::from_utf8_lossy(pattern);
    if let Some(kept) = shown.strip_prefix('!').filter(|_| pattern == trim_spaces_behind(line)) {
        return Some(format!(
            "`{shown}` leaves out a file of that very name; to keep `{kept}`, write `+ {kept}` above the rule that leaves it out"
        ));
    }
    if pattern.starts_with(b" ") || pattern.starts_with(b"\t") {
        return Some("the space at the beginning is part of the pattern; remove it".to_owned());
    }
    if pattern != trim_spaces_behind(line) {
        return None;
    }
    let (word, _) = shown.split_once([' ', '_'])?;
    let rules =
        ["merge", "dir-merge", "hide", "show", "protect", "risk", "clear", ".", ":", "H", "S", "P", "R"];
    let is_rule = rules.contains(&word.split(',').next().unwrap_or(word))
        && (shown.contains(' ') && (word.len() > 1 || shown[1..].starts_with(' ')));
    let modifiers = word.strip_prefix(['-', '+']).filter(|rest| !rest.is_empty());
    let is_modified = modifiers.is_some_and(|rest| rest.chars().all(|c| ",/!Csrpxe".contains(c)));
    (is_rule || is_modified).then(|| {
        format!("`{shown}` is read as a name; of rsync's rules `- PATTERN` and `+ PATTERN` are known here, without modifiers")
    })
}

/// The files that hold in a directory, the deepest first.
#[derive(Debug)]
pub struct Rules {
    file: RuleFile,
    /// Where, in a candidate's path, the path below the file's directory begins.
    below: usize,
    above: Option<Arc<Rules>>,
}

impl Rules {
    /// The rules below a directory that has a file of its own. `dir` is relative to the source.
    pub fn with(file: RuleFile, dir: &[u8], above: Option<Arc<Self>>) -> Arc<Self> {
        let below = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let above = above.filter(|_| !file.clears);
        Arc::new(Self { file, below, above })
    }

    /// The rule that decides about a path, and its file; `None` sends it.
    pub fn decide(&self, candidate: Candidate<'_>) -> Option<(&RuleFile, &FilterRule)> {
        let mut next = Some(self);
        while let Some(rules) = next {
            if let Some(rule) = rules.file.first_match(candidate, rules.below) {
                return Some((&rules.file, rule));
            }
            next = rules.above.as_deref();
        }
        None
    }

    /// Whether a path is left out.
    pub fn leaves_out(&self, candidate: Candidate<'_>) -> bool {
        self.decide(candidate).is_some_and(|(_, rule)| !rule.keeps)
    }
}

impl FilterRule {
    /// The rule as it is reported.
    pub fn reported(&self, file: &RuleFile) -> super::Rule {
        let pattern = OsStr::from_bytes(&self.text);
        let mut text = std::ffi::OsString::from(if self.keeps { "+ " } else { "" });
        text.push(pattern);
        super::Rule { file: file.file.clone(), line: self.line, pattern: text, matched: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> (Arc<Rules>, Vec<String>) {
        let mut warnings = Vec::new();
        let file = RuleFile::parse(Path::new(".skyignore"), content.as_bytes(), &mut warnings);
        (Rules::with(file, b"", None), warnings)
    }

    fn candidate(path: &str) -> Candidate<'_> {
        let is_dir = path.ends_with('/');
        let path = path.trim_end_matches('/').as_bytes();
        let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        Candidate { path, name_at, is_dir }
    }

    fn sends(content: &str, path: &str) -> bool {
        !read(content).0.leaves_out(candidate(path))
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        assert!(sends("+ keep.log\n*.log\n", "keep.log"));
        assert!(!sends("*.log\n+ keep.log\n", "keep.log"));
        assert!(sends("include keep.log\nexclude *.log\n", "a/keep.log"));
        assert!(!sends("- *.log\n", "x.log"));
        assert!(sends("*.log\n!\n", "x.log"));
        assert!(sends("# *.log\n;x\n\n", "x"));
        assert!(!sends("a\rb\r\nc", "b"));
    }

    #[test]
    fn of_many_names_the_earliest_rule_decides() {
        let names: String = (0..20).map(|n| format!("name{n}\n")).collect();
        assert!(!sends(&names, "x/name19"));
        assert!(sends(&format!("+ name1*\n{names}"), "name19"));
        assert!(!sends(&format!("{names}+ name1*\n"), "name19"));
        assert!(sends(&format!("{names}dir/\n"), "dir"));
        assert!(!sends(&format!("{names}dir/\n"), "dir/"));
    }

    #[test]
    fn a_deeper_file_is_asked_first_and_may_clear_those_above() {
        let (above, _) = read("*.log\n/top\n");
        let mut none = Vec::new();
        let below =
            |text: &[u8], none: &mut Vec<String>| RuleFile::parse(Path::new("d/.skyignore"), text, none);
        let rules = Rules::with(below(b"+ a.log\n/own\n", &mut none), b"d", Some(Arc::clone(&above)));
        assert!(!rules.leaves_out(candidate("d/a.log")));
        assert!(rules.leaves_out(candidate("d/b.log")));
        assert!(rules.leaves_out(candidate("d/own")));
        assert!(!rules.leaves_out(candidate("d/e/own")));
        assert!(!rules.leaves_out(candidate("d/top")));
        let cleared = Rules::with(below(b"x\n!\ny", &mut none), b"d", Some(above));
        assert!(!cleared.leaves_out(candidate("d/b.log")));
        assert!(!cleared.leaves_out(candidate("d/x")));
        assert!(cleared.leaves_out(candidate("d/y")));
    }

    #[test]
    fn what_is_odd_is_said_with_its_line_and_what_to_write() {
        let cases = [
            (
                "a\n!keep\n",
                ".skyignore:2: `!keep` leaves out a file of that very name; to keep `keep`, write `+ keep`",
            ),
            ("\u{feff}a\n", ".skyignore:1: the file begins with a byte order mark"),
            ("\n./a/b\n", ".skyignore:2: `./a/b` is read as `/a/b`; write that"),
            ("a  \n", ".skyignore:1: spaces at the end are ignored; write `a`"),
            ("a\r\nb\r\n", ".skyignore:1: lines end in CR LF"),
            ("x\n  a\n", ".skyignore:2: the space at the beginning is part of the pattern"),
            ("-! */\n", ".skyignore:1: `-! */` is read as a name"),
            ("merge /etc/x\n", ".skyignore:1: `merge /etc/x` is read as a name"),
            ("H secret\n", ".skyignore:1: `H secret` is read as a name"),
            ("dir-merge,n x\n", ".skyignore:1: `dir-merge,n x` is read as a name"),
            ("+ \n", ".skyignore:1: a rule without a pattern is ignored"),
        ];
        for (content, expected) in cases {
            let (_, warnings) = read(content);
            assert_eq!(warnings.len(), 1, "{content:?}: {warnings:?}");
            assert!(warnings[0].starts_with(expected), "{content:?}: {warnings:?}");
        }
        for fine in
            ["a b\n", "- a b", "+ !x", "show_me.txt", ".env", "Readme file\n", "a.b c", "   \n", "-x\n"]
        {
            assert_eq!(read(fine).1, Vec::<String>::new(), "{fine}");
        }
        assert!(!sends("\u{feff}a\n", "a"));
        assert!(!sends("./a/b", "a/b") && sends("./a/b", "x/a/b"));
        assert!(!sends("a  \n", "a"));
        assert!(!sends("!keep\n", "!keep") && sends("!keep", "keep"));
    }
}
