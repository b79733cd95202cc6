//! A node that fetches from another what a sync would send to it.
//!
//! Owns: [`pull`], which becomes the rsync that receives; and [`link`], by which that reaches the other node's relay. What is secret
//! comes over ssh, is in memory alone, and is read by `link` through a descriptor: arguments name the descriptor.

use super::relay::{Introduction, Offer, SERVER_NAME, exchange, in_memory};
use super::rsync::{INFO, OPTIONS, PARTIAL_DIR};
use super::serving;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::Failure;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection to the other node may take: between nodes of a cluster one that is let through is there at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Before a reason that is told to people.
pub const REASON: &str = "pail: ";

/// What is to be fetched. It carries a secret: `Debug` is left out.
#[derive(Serialize, Deserialize)]
pub struct PullRequest {
    /// The sync.
    pub session: String,
    /// Of the place here: `Ready::key`.
    pub key: String,
    /// The place here: `Ready::path`.
    pub path: String,
    /// Only root may write there.
    pub by_sudo: bool,
    /// Of a file: its name at the other node.
    pub file: Option<String>,
    /// After this long without a byte the connection is given up.
    pub idle_secs: u64,
    /// From where, and what.
    pub link: LinkRequest,
}

/// What [`link`] needs to know.
#[derive(Serialize, Deserialize)]
pub struct LinkRequest {
    /// How the relay is reached.
    pub offer: Offer,
    /// Which of its sources.
    pub source: usize,
    /// The names below a directory as rsync takes them, in base 64.
    pub names: Option<String>,
}

/// Becomes rsync, which fetches what the JSON asks for. Returns only with a failure, which is said on standard error, or by sudo with
/// rsync's exit code. Blocks.
pub fn pull(request: &[u8], home: &Path) -> u8 {
    match try_pull(request, home) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{REASON}{failure}");
            1
        }
    }
}

fn try_pull(request: &[u8], home: &Path) -> Result<u8, Failure> {
    let request: PullRequest = parsed(request)?;
    let cannot = |err: std::io::Error| Failure::from_io("cannot fetch files", &err);
    let link = serde_json::to_vec(&request.link).map_err(|err| cannot(err.into()))?;
    let link = in_memory(&link).map_err(cannot)?;
    let program = std::env::current_exe().map_err(cannot)?;
    let mut shell = quoted(program.as_os_str());
    // By the number of this process, which becomes rsync, or waits for it: sudo closes descriptors, and may open this one.
    shell.push(format!(" node sync-link /proc/{}/fd/{}", std::process::id(), link.as_raw_fd()));
    // What is not on the command line of the other side's rsync comes over the connection, and is not what the relay has made.
    let options = OPTIONS.iter().filter(|option| **option != "-s");
    let mut arguments: Vec<OsString> = options.map(OsString::from).collect();
    arguments.push(INFO.into());
    arguments.push(format!("--partial-dir={PARTIAL_DIR}").into());
    arguments.push(format!("--timeout={}", request.idle_secs.max(1)).into());
    arguments.extend(["-e".into(), shell]);
    match &request.file {
        Some(name) => {
            arguments.extend(["-L".into(), "--".into(), format!("relay:{name}").into(), request.path.into()])
        }
        None => {
            arguments.extend(["--files-from=:names", "--from0", "--", "relay:place/"].map(OsString::from));
            arguments.push(format!("{}/", request.path).into());
        }
    }
    Ok(serving::serve(&request.key, &request.session, request.by_sudo, &arguments, home))
}

/// A word of `rsync -e`.
fn quoted(word: &OsStr) -> OsString {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        quoted.push(*byte);
        if *byte == b'\'' {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

fn parsed<'a, T: Deserialize<'a>>(request: &'a [u8]) -> Result<T, Failure> {
    // The library's own words may quote what is secret.
    serde_json::from_slice(request).map_err(|_| Failure::usage("the request is not one of this version"))
}

/// Connects standard input and output to the relay that the file tells of. `arguments` are those that rsync gives the program of `-e`.
pub fn link(file: &Path, arguments: &[OsString]) -> u8 {
    match try_link(file, arguments) {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("{REASON}{failure}");
            1
        }
    }
}

fn try_link(file: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    let request = std::fs::read(file).map_err(|err| Failure::from_io("cannot read the request", &err))?;
    let request: LinkRequest = parsed(&request)?;
    let capabilities =
        capabilities(arguments).ok_or_else(|| Failure::other("rsync does not say what it is capable of"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|err| Failure::from_io("cannot start threads", &err))?;
    let linked = runtime.block_on(connect(request, capabilities));
    // Standard input may still be waited for.
    runtime.shutdown_background();
    linked
}

/// The letters behind `e.` of the short options.
fn capabilities(arguments: &[OsString]) -> Option<String> {
    let short = |argument: &&str| argument.starts_with('-') && !argument.starts_with("--");
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str()).filter(short);
    arguments.find_map(|argument| argument.split_once("e.").map(|(_, letters)| letters.to_owned()))
}

async fn connect(request: LinkRequest, capabilities: String) -> Result<(), Failure> {
    let offer = request.offer;
    let introduction = Introduction { source: request.source, capabilities, names: request.names };
    let wrong = |why: String| Failure::usage("the offer of the relay is none").because(why);
    let token = BASE64.decode(&offer.token).map_err(|err| wrong(err.to_string()))?;
    let introduction = serde_json::to_vec(&introduction).map_err(|err| wrong(err.to_string()))?;
    let length = u32::try_from(introduction.len()).map_err(|err| wrong(err.to_string()))?;
    let connector = connector(&offer).map_err(wrong)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|err| wrong(err.to_string()))?;
    let cannot = |err: std::io::Error| Failure::from_io(format!("cannot connect to {}", offer.address), &err);
    let greet = async {
        let stream = TcpStream::connect(offer.address).await?;
        stream.set_nodelay(true)?;
        connector.connect(name, stream).await
    };
    let silent = |_| {
        let why = format!("no answer within {} s", CONNECT_MAX.as_secs());
        Failure::other(format!("cannot connect to {}", offer.address)).because(why)
    };
    let greeted = tokio::time::timeout(CONNECT_MAX, greet).await.map_err(silent)?;
    let mut stream = greeted.map_err(cannot)?;
    let lost = |err: std::io::Error| match err.kind() {
        // The library's words for it are an address to read at.
        ErrorKind::UnexpectedEof => Failure::other(format!("{} closed the connection", offer.address)),
        _ => Failure::from_io(format!("lost the connection to {}", offer.address), &err),
    };
    stream.write_all(&token).await.map_err(lost)?;
    stream.write_u32(length).await.map_err(lost)?;
    stream.write_all(&introduction).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let (from, to) = tokio::io::split(stream);
    let stdin = own(std::io::stdin().as_fd()).map_err(lost)?;
    let stdout = own(std::io::stdout().as_fd()).map_err(lost)?;
    exchange(stdin, to, from, stdout).await.map_err(lost)
}

/// A stream that is waited for: rsync gives its end to a remote shell as one that is not.
fn own(stream: BorrowedFd<'_>) -> std::io::Result<tokio::fs::File> {
    let flags = rustix::fs::fcntl_getfl(stream)?;
    rustix::fs::fcntl_setfl(stream, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(tokio::fs::File::from_std(stream.try_clone_to_owned()?.into()))
}

/// Trusts the relay's own certificate and no other.
fn connector(offer: &Offer) -> Result<TlsConnector, String> {
    let certificate = BASE64.decode(&offer.certificate).map_err(|err| err.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(certificate)).map_err(|err| err.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| err.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_rsyncs_options_alone() {
        let of = |line: &str| capabilities(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let line = "relay rsync --server --sender -ltpRSe.LsfxCIvu --timeout=60 . x/";
        assert_eq!(of(line).as_deref(), Some("LsfxCIvu"));
        assert_eq!(of("relay rsync --server --sender --file.e.x . x"), None);
    }
}
