//! One pattern of rsync's filter rules, compiled once and matched against many paths.
//!
//! Owns: [`Pattern`]. Behaviour: rsync(1), "PATTERN MATCHING RULES", and rsync 3.2 to 3.5 themselves, against which generated
//! patterns are compared. Matching allocates nothing, and costs at most the product of pattern and path, whatever the pattern: only
//! the last `*` and the last `**` are ever tried again, which suffices, as a `*` never crosses the slash that stopped it.
//!
//! # Why not globset
//!
//! A pattern without `*`, `?` or `[` takes backslashes as they are; `[!a/b]` never matches a slash and a class can hold one; `a/b`
//! floats to the end of a path, `a**b` to anything after a slash, and `**b` sees a slash before the path. Translated to regular
//! expressions these would be more code than the matcher, and slower for the suffixes and plain names that most rules are.

/// A path that rules are asked about.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Relative to the source.
    pub path: &'a [u8],
    /// Where its last component begins.
    pub name_at: usize,
    /// Whether it is a directory (a symlink never is).
    pub is_dir: bool,
}

impl<'a> Candidate<'a> {
    /// The last component.
    pub fn name(&self) -> &'a [u8] {
        &self.path[self.name_at..]
    }
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    shape: Shape,
    /// It ended in a slash: directories alone.
    directories: bool,
}

/// The cheapest way to match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// The last component is this.
    Name(Box<[u8]>),
    /// `*x`: the last component ends in this.
    NameSuffix(Box<[u8]>),
    /// `x*`: the last component begins with this.
    NamePrefix(Box<[u8]>),
    /// The last component, by tokens.
    NameGlob(Glob),
    /// The path below the file's directory is this.
    Path(Box<[u8]>),
    /// The path is this, or ends in a slash and this.
    PathSuffix(Box<[u8]>),
    /// The path below the file's directory, by tokens.
    PathGlob(Glob),
    /// As many last components as the pattern has, by tokens.
    LastComponents(Glob, usize),
    /// The path from its start or from behind any slash, by tokens.
    AfterAnySlash(Glob),
    /// The path with a slash before it, by tokens: the pattern begins with `**`.
    WithSlashBefore(Glob),
}

impl Pattern {
    /// Compiles a pattern as it stands in a rule, which is not empty.
    pub fn new(text: &[u8]) -> Self {
        let directories = text.len() > 1 && text.ends_with(b"/");
        let text = if directories { &text[..text.len() - 1] } else { text };
        let anchored = text.first() == Some(&b'/');
        let body = if anchored { &text[1..] } else { text };
        let slashes = text.iter().filter(|byte| **byte == b'/').count();
        let is_wild = text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        // As rsync sees it, also where the first asterisk is escaped.
        let crosses = text.windows(2).any(|pair| pair == b"**");
        let shape = match () {
            () if !is_wild && anchored => Shape::Path(body.into()),
            () if !is_wild && slashes > 0 => Shape::PathSuffix(body.into()),
            () if !is_wild => Shape::Name(body.into()),
            () if anchored => Shape::PathGlob(Glob::new(body)),
            () if text.starts_with(b"**") => Shape::WithSlashBefore(Glob::new(body)),
            () if crosses => Shape::AfterAnySlash(Glob::new(body)),
            () if slashes > 0 => Shape::LastComponents(Glob::new(body), slashes + 1),
            () => Self::of_name(body),
        };
        Self { shape, directories }
    }

    /// The shape of a pattern with wildcards that concerns the last component.
    fn of_name(body: &[u8]) -> Shape {
        let plain = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
        match body {
            [b'*', suffix @ ..] if plain(suffix) => Shape::NameSuffix(suffix.into()),
            [prefix @ .., b'*'] if plain(prefix) => Shape::NamePrefix(prefix.into()),
            _ => Shape::NameGlob(Glob::new(body)),
        }
    }

    /// Whether it matches. `below` is where, in the candidate's path, the path below the rule's own directory begins.
    pub fn matches(&self, candidate: Candidate<'_>, below: usize) -> bool {
        let Candidate { path, is_dir, .. } = candidate;
        if self.directories && !is_dir {
            return false;
        }
        match &self.shape {
            Shape::Name(name) => candidate.name() == &**name,
            Shape::NameSuffix(suffix) => candidate.name().ends_with(suffix),
            Shape::NamePrefix(prefix) => candidate.name().starts_with(prefix),
            Shape::NameGlob(glob) => glob.matches(Text::plain(candidate.name())),
            Shape::Path(literal) => path[below..] == **literal,
            Shape::PathSuffix(literal) => {
                let ahead = path.len().checked_sub(literal.len());
                ahead.is_some_and(|at| path[at..] == **literal && (at == 0 || path[at - 1] == b'/'))
            }
            Shape::PathGlob(glob) => glob.matches(glob.text(&path[below..], is_dir)),
            Shape::LastComponents(glob, count) => match last_components(path, *count) {
                Some(at) => glob.matches(Text::plain(&path[at..])),
                None => false,
            },
            Shape::AfterAnySlash(glob) => {
                let behind = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
                std::iter::once(0).chain(behind).any(|at| glob.matches(glob.text(&path[at..], is_dir)))
            }
            Shape::WithSlashBefore(glob) => {
                glob.matches(Text { slash_before: true, ..glob.text(path, is_dir) })
            }
        }
    }

    /// Whether it matches directories alone.
    pub fn is_for_directories(&self) -> bool {
        self.directories
    }

    /// The last component that alone can match, where the pattern is one without wildcards.
    pub fn literal_name(&self) -> Option<&[u8]> {
        match &self.shape {
            Shape::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Where the last `count` components of a path begin; `None` where it has fewer.
fn last_components(path: &[u8], count: usize) -> Option<usize> {
    let mut left = count;
    for (at, byte) in path.iter().enumerate().rev() {
        if *byte == b'/' {
            left -= 1;
            if left == 0 {
                return Some(at + 1);
            }
        }
    }
    (left == 1).then_some(0)
}

/// What tokens are matched against: a path, with slashes around it that are not in memory.
#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    path: &'a [u8],
    slash_before: bool,
    slash_behind: bool,
}

impl<'a> Text<'a> {
    fn plain(path: &'a [u8]) -> Self {
        Self { path, slash_before: false, slash_behind: false }
    }

    fn get(&self, at: usize) -> Option<u8> {
        let at = match self.slash_before {
            true if at == 0 => return Some(b'/'),
            true => at - 1,
            false => at,
        };
        match self.path.get(at) {
            Some(byte) => Some(*byte),
            None if self.slash_behind && at == self.path.len() => Some(b'/'),
            None => None,
        }
    }
}

/// A pattern with wildcards, as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    tokens: Box<[Token]>,
    /// It ends in `***`: a directory has a slash behind it, so that `dir/***` matches it too.
    is_tree: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: any byte but a slash.
    Any,
    /// `*`: any bytes but slashes.
    Within,
    /// `**`: any bytes.
    Across,
    Class(Box<Class>),
    /// A class that does not end, or names no class: nothing.
    Never,
}

impl Glob {
    fn new(pattern: &[u8]) -> Self {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(&byte) = pattern.get(at) {
            at += 1;
            match byte {
                b'*' => {
                    let stars = pattern[at..].iter().take_while(|byte| **byte == b'*').count();
                    at += stars;
                    tokens.push(if stars > 0 { Token::Across } else { Token::Within });
                }
                b'?' => tokens.push(Token::Any),
                b'[' => match Class::parse(pattern, at) {
                    Some((class, end)) => {
                        tokens.push(Token::Class(Box::new(class)));
                        at = end;
                    }
                    None => {
                        tokens.push(Token::Never);
                        break;
                    }
                },
                b'\\' => {
                    tokens.push(pattern.get(at).map_or(Token::Never, |byte| Token::Byte(*byte)));
                    at += 1;
                }
                _ => tokens.push(Token::Byte(byte)),
            }
        }
        Self { tokens: tokens.into(), is_tree: pattern.ends_with(b"***") }
    }

    fn text<'a>(&self, path: &'a [u8], is_dir: bool) -> Text<'a> {
        Text { slash_behind: self.is_tree && is_dir, ..Text::plain(path) }
    }

    fn matches(&self, text: Text<'_>) -> bool {
        let (mut at, mut token) = (0, 0);
        // Where to go on after a mismatch: the token behind the last `*` and `**`, and the first byte it has not been tried at.
        let mut within: Option<(usize, usize)> = None;
        let mut across: Option<(usize, usize)> = None;
        loop {
            let byte = text.get(at);
            let fits = match (self.tokens.get(token), byte) {
                (None, None) => return true,
                (Some(Token::Within), _) => {
                    token += 1;
                    within = Some((token, at));
                    continue;
                }
                (Some(Token::Across), _) => {
                    token += 1;
                    if token == self.tokens.len() {
                        return true;
                    }
                    (within, across) = (None, Some((token, at)));
                    continue;
                }
                (Some(Token::Byte(wanted)), Some(byte)) => *wanted == byte,
                (Some(Token::Any), Some(byte)) => byte != b'/',
                (Some(Token::Class(class)), Some(byte)) => class.holds(byte),
                (Some(Token::Never), _) | (None, Some(_)) | (Some(_), None) => false,
            };
            if fits {
                at += 1;
                token += 1;
            } else if let Some((next, tried)) = within.filter(|(_, tried)| takes(text, *tried, false)) {
                (token, at, within) = (next, tried + 1, Some((next, tried + 1)));
            } else if let Some((next, tried)) = across.filter(|(_, tried)| takes(text, *tried, true)) {
                (token, at, within, across) = (next, tried + 1, None, Some((next, tried + 1)));
            } else {
                return false;
            }
        }
    }
}

/// Whether a wildcard can take the byte at `at` too.
fn takes(text: Text<'_>, at: usize, crosses: bool) -> bool {
    text.get(at).is_some_and(|byte| crosses || byte != b'/')
}

/// `[…]`: a set of bytes, never a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Class([u64; 4]);

impl Class {
    fn holds(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & (1 << (byte & 63)) != 0
    }

    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// The class whose `[` is before `at`, and where the pattern goes on; `None` where nothing can match.
    fn parse(pattern: &[u8], mut at: usize) -> Option<(Self, usize)> {
        let mut class = Self([0; 4]);
        let inverted = matches!(pattern.get(at), Some(b'!' | b'^'));
        at += usize::from(inverted);
        let mut previous = None;
        let mut is_first = true;
        loop {
            let byte = *pattern.get(at)?;
            if byte == b']' && !is_first {
                at += 1;
                break;
            }
            is_first = false;
            match byte {
                b'\\' => {
                    at += 1;
                    let byte = *pattern.get(at)?;
                    class.add(byte);
                    previous = Some(byte);
                }
                b'-' if previous.is_some() && pattern.get(at + 1).is_some_and(|next| *next != b']') => {
                    at += 1;
                    if pattern[at] == b'\\' {
                        at += 1;
                    }
                    let last = *pattern.get(at)?;
                    (previous.unwrap_or(0)..=last).for_each(|byte| class.add(byte));
                    previous = None;
                }
                b'[' if pattern.get(at + 1) == Some(&b':') => {
                    let end = at + 2 + pattern[at + 2..].iter().position(|byte| *byte == b']')?;
                    // `[:x` without `:]` is a set like any other.
                    if end == at + 2 || pattern[end - 1] != b':' {
                        class.add(b'[');
                        previous = Some(b'[');
                    } else {
                        class.add_named(&pattern[at + 2..end - 1])?;
                        at = end;
                        previous = None;
                    }
                }
                _ => {
                    class.add(byte);
                    previous = Some(byte);
                }
            }
            at += 1;
        }
        if inverted {
            class.0.iter_mut().for_each(|bits| *bits = !*bits);
        }
        class.0[0] &= !(1 << b'/');
        Some((class, at))
    }

    /// Adds `alpha` and its like, as the C locale has them; `None` where there is no such class.
    fn add_named(&mut self, name: &[u8]) -> Option<()> {
        let holds: fn(&u8) -> bool = match name {
            b"alnum" => u8::is_ascii_alphanumeric,
            b"alpha" => u8::is_ascii_alphabetic,
            b"blank" => |byte| matches!(byte, b' ' | b'\t'),
            b"cntrl" => u8::is_ascii_control,
            b"digit" => u8::is_ascii_digit,
            b"graph" => u8::is_ascii_graphic,
            b"lower" => u8::is_ascii_lowercase,
            b"print" => |byte| matches!(byte, b' '..=b'~'),
            b"punct" => u8::is_ascii_punctuation,
            b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
            b"upper" => u8::is_ascii_uppercase,
            b"xdigit" => u8::is_ascii_hexdigit,
            _ => return None,
        };
        (0..=u8::MAX).filter(holds).for_each(|byte| self.add(byte));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        let is_dir = path.ends_with('/');
        let path = path.trim_end_matches('/').as_bytes();
        let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        Pattern::new(pattern.as_bytes()).matches(Candidate { path, name_at, is_dir }, 0)
    }

    #[test]
    fn patterns_mean_what_rsync_says() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("file.txt", &["file.txt", "a/file.txt", "file.txt/"], &["xfile.txt", "file.txt.x"]),
            ("/file.txt", &["file.txt"], &["a/file.txt"]),
            ("/dir/*.jar", &["dir/a.jar", "dir/.jar"], &["dir/a/b.jar", "x/dir/a.jar"]),
            ("*.jar", &["a.jar", "x/y/a.jar", ".jar"], &["a.jar.x"]),
            ("pre*", &["pre", "x/prefix"], &["xpre"]),
            ("foo/bar", &["foo/bar", "x/foo/bar"], &["xfoo/bar", "foo/bar/x", "bar"]),
            ("foo/b?r", &["foo/bar", "x/foo/bar"], &["foo/x/bar", "xfoo/bar"]),
            ("foo/", &["foo/", "x/foo/"], &["foo"]),
            ("foo/*/bar", &["foo/x/bar", "y/foo/x/bar"], &["foo/bar", "foo/x/y/bar"]),
            ("/foo/**/bar", &["foo/x/bar", "foo/x/y/bar"], &["foo/bar", "x/foo/x/bar"]),
            ("foo/**/bar", &["foo/x/y/bar", "a/foo/x/bar"], &["foo/bar", "xfoo/x/bar"]),
            ("dir/***", &["dir/", "dir/x", "a/dir/", "a/dir/x/y"], &["dir", "xdir/"]),
            ("/dir/***", &["dir/", "dir/x/y"], &["a/dir/"]),
            ("dir/**", &["dir/x", "a/dir/x/y"], &["dir/"]),
            ("**/x", &["x", "a/x"], &["ax"]),
            ("**x", &["x", "a/b/cx"], &["xa"]),
            ("*/", &["a/", "a/b/"], &["a"]),
            ("a**z", &["az", "a/b/z", "q/a/z"], &["qa/z"]),
            ("[ab]", &["a", "x/b"], &["c", "[ab]"]),
            ("[!ab]x", &["cx"], &["ax", "bx"]),
            ("[^ab]x", &["cx"], &["ax"]),
            ("[a-c]", &["b"], &["d", "-"]),
            ("[]-]", &["]", "-"], &["x"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[[:alpha:]]", &["x", "X"], &["1", ":"]),
            ("[[:digit:]x]*", &["1a", "x"], &["ax"]),
            ("[[:nope:]]", &[], &["n", ":"]),
            ("[[:x]", &["[", ":", "x"], &["y"]),
            ("a[b", &[], &["a[b", "ab"]),
            ("a\\b", &["a\\b"], &["ab"]),
            ("a\\b*", &["ab", "abc"], &["a\\b"]),
            ("a\\*", &["a*"], &["ab", "a\\*"]),
            ("a[!x]b", &["ayb"], &["a/b"]),
            ("/", &[], &["a", "a/"]),
            ("a//", &[], &["a", "a/"]),
        ];
        for (pattern, yes, no) in cases {
            yes.iter().for_each(|path| assert!(matches(pattern, path), "{pattern} matches {path}"));
            no.iter().for_each(|path| assert!(!matches(pattern, path), "{pattern} does not match {path}"));
        }
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
        let pattern = "a**".repeat(40) + "b";
        assert!(!matches(&pattern, &"a/".repeat(1000)));
    }
}
