//! Answers to git's questions for a user name and a password.
//!
//! Owns: [`Askpass`], which holds a token while git runs, and [`answer_if_asked`], this program in the role of git's askpass.
//!
//! Git is told to ask `GIT_ASKPASS`, which is this executable, and the executable asks back over a socket that it inherited through git.
//! The socket has no name: a process has it by descent or not at all. Each question brings a pipe of its own for the answer, so that two
//! programs that ask at a time never read each other's.
//!
//! Invariants: the token is told for the one origin (scheme, host, port) that it was given for, so a redirect or a submodule on another
//! host does not get it. The descriptor is inherited by git alone: it is closed on exec everywhere else.

use super::credentials::Secret;
use super::url::GitUrl;
use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::ExitCode;

/// Names the inherited descriptor to this program in the role of askpass.
const DESCRIPTOR: &str = "PAIL_ASKPASS_FD";
/// A question that is longer is cut, and then not answered.
const QUESTION_BYTES_MAX: usize = 4096;

/// A token that git may ask for as long as this lives.
pub struct Askpass {
    socket: OwnedFd,
}

impl Askpass {
    /// Answers questions about `url` from a thread that ends with the last program that could ask.
    pub fn serve(token: Secret, url: &GitUrl) -> std::io::Result<Self> {
        let (ours, socket) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let user = user_name(url, &token);
        let origin = url.origin();
        std::thread::Builder::new().name("askpass".to_owned()).spawn(move || {
            while let Some((question, pipe)) = receive(&ours) {
                if let Some(answer) = answer(&question, &origin, &user, token.expose()) {
                    // Who asked may be gone.
                    let _ = std::fs::File::from(pipe).write_all(answer.as_bytes());
                }
            }
        })?;
        Ok(Self { socket })
    }

    /// Lets a command ask.
    pub fn lend(&self, command: &mut tokio::process::Command) -> std::io::Result<()> {
        let descriptor = self.socket.as_raw_fd();
        command.env("GIT_ASKPASS", std::env::current_exe()?).env(DESCRIPTOR, descriptor.to_string());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe and allocates nothing. The descriptor is open:
        // `Askpass` outlives the start of a command that it was lent to (`transport::Transport` holds it for as long).
        unsafe {
            command.pre_exec(move || {
                let socket = BorrowedFd::borrow_raw(descriptor);
                rustix::io::fcntl_setfd(socket, FdFlags::empty()).map_err(Into::into)
            });
        }
        Ok(())
    }
}

/// The user name that goes with a token, where the URL names none.
///
/// GitHub takes any name with a personal token and documents `x-access-token` for an app's; GitLab takes any with personal, project and
/// group tokens and documents `oauth2` for OAuth's, so one name for both would do. Bitbucket Cloud wants one name for API tokens, which
/// begin with ATATT, and another for access tokens.
fn user_name(url: &GitUrl, token: &Secret) -> String {
    if let Some(user) = &url.user {
        return user.clone();
    }
    let host = url.host.to_ascii_lowercase();
    let name = match () {
        () if host == "bitbucket.org" && token.expose().starts_with("ATATT") => "x-bitbucket-api-token-auth",
        () if host == "bitbucket.org" => "x-token-auth",
        () if host.contains("gitlab") => "oauth2",
        () => "x-access-token",
    };
    name.to_owned()
}

/// What to say to `Username for 'https://host': ` and `Password for 'https://user@host': `; nothing to anything else.
fn answer(question: &str, origin: &str, user: &str, token: &str) -> Option<String> {
    let quoted = question.split(['\'', '"']).nth(1)?;
    let (scheme, rest) = quoted.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if format!("{scheme}://{host}").to_ascii_lowercase() != origin {
        return None;
    }
    match question.split(' ').next()? {
        "Username" => Some(user.to_owned()),
        "Password" => Some(token.to_owned()),
        _ => None,
    }
}

fn receive(socket: &OwnedFd) -> Option<(String, OwnedFd)> {
    loop {
        let mut text = [0; QUESTION_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            match recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(message) if message.bytes > 0 => message.bytes,
                // Nobody is left who could ask.
                _ => return None,
            };
        let pipe = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if let Some(pipe) = pipe {
            return Some((String::from_utf8_lossy(&text[..received]).into_owned(), pipe));
        }
    }
}

/// In the role of git's askpass, prints the answer and returns the exit code; otherwise nothing happens. Must be called before the
/// command line is read, as git gives its question as the only argument.
pub fn answer_if_asked() -> Option<ExitCode> {
    let descriptor: RawFd = std::env::var(DESCRIPTOR).ok()?.parse().ok().filter(|fd| *fd > 2)?;
    let mut arguments = std::env::args().skip(1);
    let (question, None) = (arguments.next()?, arguments.next()) else { return None };
    let written = ask(descriptor, &question).and_then(|answer| {
        let mut out = std::io::stdout();
        out.write_all(answer.as_bytes()).and_then(|()| out.write_all(b"\n"))
    });
    Some(if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(descriptor: RawFd, question: &str) -> std::io::Result<String> {
    let (mut answer, theirs) = std::io::pipe()?;
    let cut = &question.as_bytes()[..question.len().min(QUESTION_BYTES_MAX)];
    {
        // SAFETY: the number was given by `Askpass::lend` to this process, which has opened and closed nothing of its own yet; one that is
        // not open makes `sendmsg` fail, and nothing is done with it afterwards.
        let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pipes = [theirs.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&pipes)) {
            return Err(std::io::Error::other("no room for a descriptor"));
        }
        sendmsg(socket, &[IoSlice::new(cut)], &mut control, SendFlags::NOSIGNAL)?;
    }
    drop(theirs);
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    if text.is_empty() {
        return Err(std::io::Error::other("no answer"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_for_its_own_origin_only() {
        let told = |question: &str| answer(question, "https://h.org:8443", "me", "token");
        assert_eq!(told("Username for 'https://h.org:8443': ").as_deref(), Some("me"));
        assert_eq!(told("Password for 'https://me@H.org:8443': ").as_deref(), Some("token"));
        assert_eq!(told("Password for \"https://me@h.org:8443\"").as_deref(), Some("token"));
        for question in [
            "Password for 'https://me@h.org': ",
            "Password for 'http://me@h.org:8443': ",
            "Password for 'https://h.org:8443@evil.org': ",
            "Password for 'https://me@evil.org:8443': ",
            "Enter passphrase for key '/root/.ssh/id_rsa': ",
            "Password:",
        ] {
            assert_eq!(told(question), None, "{question}");
        }
    }

    #[test]
    fn each_question_gets_its_own_answer_over_the_socket() {
        let url = GitUrl::parse("https://h.org/r").unwrap();
        let askpass = Askpass::serve(Secret::new("token"), &url).unwrap();
        let descriptor = askpass.socket.as_raw_fd();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(
                            ask(descriptor, "Username for 'https://h.org': ").unwrap(),
                            "x-access-token"
                        );
                        assert_eq!(
                            ask(descriptor, "Password for 'https://x-access-token@h.org': ").unwrap(),
                            "token"
                        );
                        assert!(ask(descriptor, "Password for 'https://x@evil.org': ").is_err());
                    }
                });
            }
        });
    }

    #[test]
    fn user_names_are_those_that_the_hosts_document() {
        let name = |url: &str, token: &str| user_name(&GitUrl::parse(url).unwrap(), &Secret::new(token));
        assert_eq!(name("https://github.com/o/r", "ghs_1"), "x-access-token");
        assert_eq!(name("https://gitlab.example.org/o/r", "glpat-1"), "oauth2");
        assert_eq!(name("https://bitbucket.org/o/r", "ATCTT3"), "x-token-auth");
        assert_eq!(name("https://bitbucket.org/o/r", "ATATT3"), "x-bitbucket-api-token-auth");
        assert_eq!(name("https://deploy@gitlab.com/o/r", "x"), "deploy");
    }
}
