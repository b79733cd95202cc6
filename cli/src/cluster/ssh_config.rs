//! The names in the user's SSH configuration.
//!
//! Owns: [`ConfigFile`], which file that is, and [`Names`], the aliases that its `Host` lines name literally, in it and in what it
//! includes. What such an alias means (address, user, keys, jumps) only ssh says; this file answers which ones there are, which ssh has no
//! option for.
//!
//! # Why the home is not `$HOME`
//! ssh takes the home of the user database, and plain `ssh dev` must find what Pail finds.

use pail_control::Failure;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How deep files may include others, as in ssh (`READCONF_MAX_DEPTH`).
const DEPTH_MAX: usize = 16;
/// How many bytes of a configuration file are read.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The user's SSH configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its file, which need not be there.
    pub path: PathBuf,
    /// The user's home, by the user database.
    pub home: PathBuf,
    /// Whether `PAIL_SSH_CONFIG` named it: then it is all there is, as with `ssh -F`.
    pub is_named: bool,
}

impl ConfigFile {
    /// `PAIL_SSH_CONFIG`, else `~/.ssh/config`. Errors: this user is in no database.
    pub fn of_user() -> Result<Self, Failure> {
        let uid = nix::unistd::getuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        let home = user.map(|user| user.dir).filter(|dir| dir.is_absolute()).ok_or_else(|| {
            Failure::usage(format!("user {uid} has no home in the user database, where ssh looks for it"))
        })?;
        match std::env::var_os("PAIL_SSH_CONFIG").filter(|value| !value.is_empty()) {
            None => Ok(Self { path: home.join(".ssh/config"), home, is_named: false }),
            Some(named) => {
                let path = std::path::absolute(&named)
                    .map_err(|err| Failure::unreadable(Path::new(&named), &err))?;
                Ok(Self { path, home, is_named: true })
            }
        }
    }

    /// Where its relative `Include`s begin.
    fn ssh_dir(&self) -> PathBuf {
        self.home.join(".ssh")
    }
}

/// The literal aliases of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    found: BTreeSet<String>,
    /// A file that is not read.
    skipped: Option<PathBuf>,
}

impl Names {
    /// Reads the configuration and all that it includes. A file that is not there has no names. Errors: one that cannot be read.
    pub fn read(config: &ConfigFile) -> Result<Self, Failure> {
        Self::read_without(config, None)
    }

    /// The same without what is in one of the files.
    pub fn read_without(config: &ConfigFile, skipped: Option<&Path>) -> Result<Self, Failure> {
        let mut names = Self { skipped: skipped.map(canonical), ..Self::default() };
        names.read_file(&config.path, config, &[], 0)?;
        Ok(names)
    }

    /// Whether a `Host` line names it.
    pub fn contains(&self, name: &str) -> bool {
        self.found.contains(name)
    }

    /// All names, sorted.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.found.iter().map(String::as_str)
    }

    /// The numbers of a cluster's workers, ascending.
    pub fn workers(&self, cluster: &str) -> Vec<u32> {
        let of_cluster = self.all().filter_map(worker_number).filter(|(head, _)| *head == cluster);
        let mut numbers: Vec<u32> = of_cluster.map(|(_, number)| number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Names that are there themselves and have a first worker.
    pub fn heads_with_workers(&self) -> Vec<String> {
        let heads = self.all().filter_map(worker_number).filter(|(_, number)| *number == 1);
        heads.map(|(head, _)| head).filter(|head| self.contains(head)).map(str::to_owned).collect()
    }

    /// `blocks` are the pattern lists of the `Host` blocks that the file is included within: its names count where those match too.
    fn read_file(
        &mut self,
        path: &Path,
        config: &ConfigFile,
        blocks: &[Vec<String>],
        depth: usize,
    ) -> Result<(), Failure> {
        if self.skipped.as_ref().is_some_and(|skipped| *skipped == canonical(path)) {
            return Ok(());
        }
        let Some(text) = read_text(path)? else { return Ok(()) };
        // Above the first Host line everything holds for all hosts.
        let mut block: Option<Vec<String>> = None;
        for line in text.lines() {
            let Some((keyword, arguments)) = parse_line(line) else { continue };
            match keyword.as_str() {
                "host" => {
                    let literal = |p: &&String| !p.is_empty() && !p.contains(['*', '?', '!']);
                    let reached = |name: &&String| blocks.iter().all(|list| list_matches(list, name));
                    self.found.extend(arguments.iter().filter(literal).filter(reached).cloned());
                    block = Some(arguments);
                }
                // What else a Match asks for cannot be known from here; its names are not counted.
                "match" if arguments.first().is_some_and(|word| word.eq_ignore_ascii_case("all")) => {
                    block = None;
                }
                "match" => block = Some(Vec::new()),
                "include" if depth < DEPTH_MAX => {
                    let within: Vec<Vec<String>> = blocks.iter().chain(&block).cloned().collect();
                    for file in arguments.iter().flat_map(|pattern| included(pattern, config)) {
                        self.read_file(&file, config, &within, depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The cluster and number of a worker's name.
pub fn worker_number(name: &str) -> Option<(&str, u32)> {
    let (head, number) = name.rsplit_once("-worker")?;
    let is_plain = !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_plain && !head.is_empty())?;
    Some((head, number))
}

/// A line's keyword in lower case, and its arguments; `None` for blank lines and comments. As ssh_config(5) has it: a keyword may be
/// followed by an equals sign, arguments with spaces are in double quotes, a comment may follow.
pub fn parse_line(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}');
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Some((keyword.to_ascii_lowercase(), words(rest)))
}

fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return found,
            Some(_) => {}
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_ascii_whitespace()) {
            match (c, quote) {
                (c, Some(open)) if c == open => quote = None,
                ('"' | '\'', None) => quote = Some(c),
                ('\\', _) if chars.peek().is_some_and(|next| "\"'\\".contains(*next)) => {
                    word.extend(chars.next());
                }
                _ => word.push(c),
            }
        }
        found.push(word);
    }
}

/// Whether a `Host` line's patterns select a name: one matches, and none that is negated does.
fn list_matches(patterns: &[String], name: &str) -> bool {
    let negated = |p: &String| p.strip_prefix('!').is_some_and(|p| matches(p.as_bytes(), name.as_bytes()));
    patterns.iter().any(|p| !p.starts_with('!') && matches(p.as_bytes(), name.as_bytes()))
        && !patterns.iter().any(negated)
}

/// ssh's patterns: `*` is any text, `?` any character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((b'?', rest)) => !name.is_empty() && matches(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && matches(rest, &name[1..]),
    }
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The files of an `Include` argument, in ssh's order.
pub fn included(pattern: &str, config: &ConfigFile) -> Vec<PathBuf> {
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => config.home.join(rest),
        None => config.ssh_dir().join(pattern),
    };
    glob(path.as_os_str())
}

/// glob(3), which ssh asks too.
fn glob(pattern: &OsStr) -> Vec<PathBuf> {
    let Ok(pattern) = CString::new(pattern.as_bytes()) else { return Vec::new() };
    // SAFETY: all zeros are a valid glob_t, which glob(3) fills; its paths are read before globfree(3), which takes what glob(3) filled
    // also where it found nothing.
    unsafe {
        let mut list: libc::glob_t = std::mem::zeroed();
        let code = libc::glob(pattern.as_ptr(), 0, None, &mut list);
        let paths = match code == 0 && !list.gl_pathv.is_null() {
            false => Vec::new(),
            true => {
                let paths = std::slice::from_raw_parts(list.gl_pathv, list.gl_pathc);
                let owned = |path: &*mut libc::c_char| CStr::from_ptr(*path).to_bytes().to_vec();
                paths.iter().map(|path| PathBuf::from(OsString::from_vec(owned(path)))).collect()
            }
        };
        libc::globfree(&mut list);
        paths
    }
}

/// A configuration file's text; `None` where there is none. What is not UTF-8 names no cluster. Errors: it cannot be read.
pub fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // ssh says nothing of an included directory either.
        Err(err) if err.kind() == std::io::ErrorKind::IsADirectory => Ok(None),
        Err(err) => Err(Failure::unreadable(path, &err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> ConfigFile {
        ConfigFile { path: dir.join(".ssh/config"), home: dir.to_owned(), is_named: false }
    }

    fn names(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
        }
        Names::read(&config(dir.path())).unwrap().all().map(str::to_owned).collect()
    }

    #[test]
    fn literal_names_of_host_lines_are_found_however_they_are_written() {
        let text = "\u{feff}# Host no\r\n  HOST=a b\r\nHostName x\r\nhost\t\"c\" *.d !e f? # g\r\nMatch host h\r\nHost = i\r\n";
        assert_eq!(names(&[(".ssh/config", text)]), ["a", "b", "c", "i"]);
        assert_eq!(names(&[]), Vec::<String>::new());
    }

    #[test]
    fn includes_are_followed_where_ssh_follows_them() {
        let found = names(&[
            (
                ".ssh/config",
                "Include pail/config ~/more/*.conf\nInclude DIR/abs\nHost dev*\n Include inner\n",
            ),
            (".ssh/pail/config", "Host p1\nHost p2\n"),
            ("more/b.conf", "Host b\nInclude config\n"),
            ("more/c.txt", "Host no\n"),
            ("abs", "Host abs\nMatch exec true\nInclude DIR/never\n"),
            ("never", "Host never\n"),
            (".ssh/inner", "Host dev-in other\n"),
        ]);
        assert_eq!(found, ["abs", "b", "dev-in", "p1", "p2"]);
    }

    #[test]
    fn workers_are_numbered_from_one() {
        let text = "Host dev dev-worker1 dev-worker10 dev-worker2 dev-worker02 dev-workerx dev-worker0\nHost b-worker1";
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".ssh")).unwrap();
        std::fs::write(dir.path().join(".ssh/config"), text).unwrap();
        let names = Names::read(&config(dir.path())).unwrap();
        assert_eq!(names.workers("dev"), [1, 2, 10]);
        assert_eq!(names.heads_with_workers(), ["dev"]);
    }

    #[test]
    fn patterns_match_as_in_ssh() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(list_matches(&list("a* !ab"), "ac"));
        assert!(!list_matches(&list("a* !ab"), "ab"));
        assert!(list_matches(&list("?b"), "ab"));
        assert!(!list_matches(&list("!x"), "ab"));
    }
}
