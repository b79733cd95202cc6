//! A repository's address.
//!
//! Owns: [`GitUrl`]: `https://[user@]host[:port]/path`, `http://…`, `ssh://[user@]host[:port]/path`, `[user@]host:path`, and
//! `file:///path` for repositories that every node sees at the same place. Invariants: none holds a password, and no part of one can be
//! taken for an option by a program that it is given to.

use pail_control::Failure;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain text.
    Http,
    /// `ssh://`, and the form `host:path`.
    Ssh,
    /// A directory.
    File,
}

/// A repository's address, as the user wrote it and in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    text: String,
    /// How it is reached.
    pub scheme: Scheme,
    /// The user before the host.
    pub user: Option<String>,
    /// The host without brackets; empty for `file://`.
    pub host: String,
    /// The port where one is named.
    pub port: Option<u16>,
}

const FORMS: &str =
    "an address is https://[user@]host[:port]/path, ssh://[user@]host[:port]/path or [user@]host:path";

impl GitUrl {
    /// Reads an address. Errors: usage, for any other form, and for one with a password in it, which no message repeats.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let refused = |why: &str| {
            Failure::usage(format!("the git URL {:?} cannot be used", redacted(text)))
                .because(why.to_owned())
                .with_hint(FORMS)
        };
        if text.is_empty() {
            return Err(Failure::usage("the git URL is empty").with_hint(FORMS));
        }
        if text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refused("it begins with \"-\" or has a blank or a control character in it"));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" => (Scheme::Https, rest),
                "http" => (Scheme::Http, rest),
                "ssh" | "git+ssh" | "ssh+git" => (Scheme::Ssh, rest),
                "file" if rest.starts_with('/') => return Ok(Self::file(text)),
                _ => return Err(refused(&format!("{scheme}:// is not supported"))),
            },
            None => return Self::short_form(text, &refused),
        };
        let (authority, path) = rest.split_once('/').ok_or_else(|| refused("it has no path"))?;
        if path.is_empty() {
            return Err(refused("it has no path"));
        }
        if path.contains(['?', '#']) {
            return Err(refused(
                "a repository's path has no \"?\" or \"#\"; a branch, tag or commit goes into ref (--git-ref)",
            ));
        }
        let (user, host_and_port) = split_user(authority)?;
        let (host, port) = split_port(host_and_port).ok_or_else(|| refused("its port is not a number"))?;
        Self { text: text.to_owned(), scheme, user, host, port }.checked(&refused)
    }

    /// `[user@]host:path`, as scp has it.
    fn short_form(text: &str, refused: &dyn Fn(&str) -> Failure) -> Result<Self, Failure> {
        let is_path = text.starts_with(['/', '.', '~']);
        // A bracketed address has colons of its own.
        let end = text.find("]:").map(|at| at + 1).or_else(|| text.find(':'));
        let split = end.map(|at| (&text[..at], &text[at + 1..])).filter(|(before, _)| !before.contains('/'));
        let (authority, path) = match split {
            Some(split) if !is_path => split,
            _ => {
                return Err(refused("it is a path or has no host")
                    .with_hint("for a directory of this machine use workdir: PATH (--workdir); for one that all nodes see, file:///PATH"));
            }
        };
        if path.is_empty() || path.starts_with('-') {
            return Err(refused("it has no path"));
        }
        let (user, host) = split_user(authority)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { text: text.to_owned(), scheme: Scheme::Ssh, user, host, port: None }.checked(refused)
    }

    fn file(text: &str) -> Self {
        Self { text: text.to_owned(), scheme: Scheme::File, user: None, host: String::new(), port: None }
    }

    fn checked(self, refused: &dyn Fn(&str) -> Failure) -> Result<Self, Failure> {
        let odd = |name: &str| {
            name.starts_with('-')
                || name.contains(['\'', '"', '`', '$', '\\', ';', '|', '&', '<', '>', '(', ')', '*', '%'])
        };
        if self.host.is_empty() {
            return Err(refused("it has no host"));
        }
        if odd(&self.host)
            || self.user.as_deref().is_some_and(|user| user.is_empty() || user.starts_with('-'))
        {
            return Err(refused("that is no name of a host or a user"));
        }
        if self.scheme == Scheme::Ssh && self.user.as_deref().is_some_and(odd) {
            return Err(refused("that is no name of a user"));
        }
        Ok(self)
    }

    /// The address as git takes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether its host is this machine by its name, so that nothing in plain text leaves it.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }

    /// Scheme, host and port as git's questions for credentials name them, such as `https://host:8443`.
    pub fn origin(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Ssh => "ssh",
            Scheme::File => "file",
        };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_ascii_lowercase() };
        match self.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

impl std::fmt::Display for GitUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The user of `[user@]host`. Errors: there is a password.
fn split_user(authority: &str) -> Result<(Option<String>, &str), Failure> {
    match authority.rsplit_once('@') {
        None => Ok((None, authority)),
        Some((user, _)) if user.contains(':') => Err(Failure::usage("the git URL has a password in it")
            .because("whoever sees the task file, the command line or the checkout would see it too")
            .with_hint("take it out of the URL, and give it in the environment: GIT_TOKEN=… pail …")),
        Some((user, host)) => Ok((Some(user.to_owned()), host)),
    }
}

fn split_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Some((host.to_owned(), None)),
            None => None,
            Some(port) => Some((host.to_owned(), Some(port.parse().ok()?))),
        };
    }
    match text.split_once(':') {
        None => Some((text.to_owned(), None)),
        Some((host, "")) => Some((host.to_owned(), None)),
        Some((host, port)) => Some((host.to_owned(), Some(port.parse().ok()?))),
    }
}

/// Text that may hold URLs, with everything between `//` and `@` that holds a password taken out of it.
pub fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(['/', ' ', '\'', '"', '\n']).unwrap_or(after.len());
        match after[..end].rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                shown.push_str(user.split(':').next().unwrap_or_default());
                shown.push_str(":***@");
                shown.push_str(host);
            }
            _ => shown.push_str(&after[..end]),
        }
        rest = &after[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, Option<String>, String, Option<u16>) {
        let url = GitUrl::parse(text).unwrap();
        assert_eq!(url.as_str(), text);
        (url.scheme, url.user, url.host, url.port)
    }

    #[test]
    fn the_documented_forms_are_read() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("https://h.org/o/r.git"), (Scheme::Https, None, "h.org".into(), None));
        assert_eq!(
            parts("https://me@h.org:8443/o/r"),
            (Scheme::Https, some("me"), "h.org".into(), Some(8443))
        );
        assert_eq!(parts("http://[::1]:80/r"), (Scheme::Http, None, "::1".into(), Some(80)));
        assert_eq!(
            parts("ssh://git@h.org:2222/o/r.git"),
            (Scheme::Ssh, some("git"), "h.org".into(), Some(2222))
        );
        assert_eq!(parts("git@h.org:o/r.git"), (Scheme::Ssh, some("git"), "h.org".into(), None));
        assert_eq!(parts("alias:r.git"), (Scheme::Ssh, None, "alias".into(), None));
        assert_eq!(parts("git@[fe80::1]:r.git"), (Scheme::Ssh, some("git"), "fe80::1".into(), None));
        assert_eq!(parts("file:///srv/r.git"), (Scheme::File, None, String::new(), None));
    }

    #[test]
    fn everything_else_is_refused_with_the_forms() {
        for text in [
            "",
            "/srv/r.git",
            "./r",
            "~/r",
            "r.git",
            "ftp://h/r",
            "ext::sh -c x",
            "https://h.org",
            "https://h.org/",
            "https:///r",
            "https://h:port/r",
            "-uhost:r",
            "host:-r",
            "ssh://-oProxyCommand=x/r",
            "ssh://-x@h/r",
            "git@h;x:r",
            "https://h/r#main",
            "file://r",
            "https://h/a b",
        ] {
            let failure = GitUrl::parse(text).unwrap_err();
            assert_eq!(failure.kind.exit_code(), 2, "{text}");
            assert!(failure.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "https://me:hunter2@h.org/r",
            "https://:hunter2@h.org/r",
            "ssh://git:hunter2@h/r",
            "ftp://me:hunter2@h/r",
        ] {
            let failure = GitUrl::parse(text).unwrap_err();
            assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure}");
        }
        let hint = GitUrl::parse("https://me:hunter2@h.org/r").unwrap_err().hint.unwrap();
        assert!(hint.contains("GIT_TOKEN"), "{hint}");
        assert_eq!(
            redacted("fatal: 'https://u:p@h/x' and http://h/y"),
            "fatal: 'https://u:***@h/x' and http://h/y"
        );
    }

    #[test]
    fn an_origin_is_as_git_asks_for_it() {
        assert_eq!(GitUrl::parse("https://me@H.org:8443/o/r").unwrap().origin(), "https://h.org:8443");
        assert!(GitUrl::parse("http://127.0.0.1:80/r").unwrap().is_loopback());
        assert!(!GitUrl::parse("http://h.org/r").unwrap().is_loopback());
    }
}
