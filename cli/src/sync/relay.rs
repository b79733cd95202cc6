//! A node that hands on to others what a sync sent to it.
//!
//! Owns: [`hand_on`], which runs on that node for as long as its client's ssh session is open; and [`Offer`] and [`Introduction`], by
//! which another node reaches it and says what it wants.
//!
//! # Who may have what
//! The client alone starts a relay, over ssh, and names its sources. The relay makes a key, a certificate for it and a token, all of them
//! random and in memory alone, and tells certificate and token to the client, which hands them on over ssh to the nodes that are to fetch.
//! A connection is TLS with that very certificate; without the token it is closed before anything is read of it. Of what a connection asks
//! only the names are taken, each of which must be one that the last sync sent to the source; the arguments of rsync are made here.

use super::manifest::Record;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pail_control::Failure;
use rustix::fs::MemfdFlags;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Before the offer: what a login shell prints comes earlier.
pub const OFFER_MARK: &str = "pail-relay ";
/// Whom the certificate is for.
pub const SERVER_NAME: &str = "relay.pail";
/// Of the token.
const TOKEN_BYTES: usize = 32;
/// Connections at a time; more are closed.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take until it has said what it wants.
const INTRODUCTION_MAX: Duration = Duration::from_secs(30);
/// The longest list of names that is read.
const INTRODUCTION_BYTES_MAX: u32 = 128 << 20;
/// The longest request of a client.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// How long the end of a stream may take to reach the other side.
const CLOSING_MAX: Duration = Duration::from_secs(5);
const CARRY_BYTES: usize = 64 << 10;

/// What a client asks of a relay: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct RelayRequest {
    /// Where other nodes reach this one.
    pub address: IpAddr,
    /// After this long without a byte a connection is given up.
    pub idle_secs: u64,
    /// What may be handed on.
    pub sources: Vec<RelaySource>,
}

/// A place that a sync sent to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RelaySource {
    /// Of its record: `Ready::key`.
    pub key: String,
    /// The directory, or the file: `Ready::path`.
    pub path: String,
    /// Which of both.
    pub is_file: bool,
}

/// How a relay is reached. It carries a secret: `Debug` is left out.
#[derive(Clone, Serialize, Deserialize)]
pub struct Offer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The one that it has, in base 64 of DER.
    pub certificate: String,
    /// The secret, in base 64.
    pub token: String,
}

/// What a connection wants, behind the token: its length in 4 bytes, the most significant first, and this in JSON.
#[derive(Serialize, Deserialize)]
pub struct Introduction {
    /// Which of the sources.
    pub source: usize,
    /// What the rsync there is capable of: the letters behind `e.` of the options that it gives.
    pub capabilities: String,
    /// The names below a directory as rsync takes them, in base 64.
    pub names: Option<String>,
}

/// A source and what may be had of it.
struct Open {
    source: RelaySource,
    names: HashSet<Vec<u8>>,
}

struct Relay {
    acceptor: TlsAcceptor,
    token: [u8; TOKEN_BYTES],
    sources: Vec<Open>,
    idle_secs: u64,
}

/// Hands on what the request on standard input names, until that ends. Prints an offer, or a failure.
pub async fn hand_on(home: &Path) -> Result<(), Failure> {
    let (request, gone) = read_request()?;
    let begun = begin(request, home).await;
    let said = begun.as_ref().map(|(_, _, offer)| offer);
    let said = serde_json::to_string(&said)
        .map_err(|err| Failure::other("cannot write the offer as JSON").because(err.to_string()))?;
    let mut stdout = std::io::stdout();
    // A start-up file may have left its last line open.
    writeln!(stdout, "\n{OFFER_MARK}{said}")
        .and_then(|()| stdout.flush())
        .map_err(|err| Failure::from_io("nobody reads the offer", &err))?;
    let Ok((relay, listener, _)) = begun else { return Ok(()) };
    tokio::select! {
        () = accept(relay, listener) => {}
        _ = gone => {}
    }
    Ok(())
}

/// The request, and what ends when standard input does.
fn read_request() -> Result<(RelayRequest, tokio::sync::oneshot::Receiver<()>), Failure> {
    let mut line = Vec::new();
    let mut stdin = std::io::BufReader::new(std::io::stdin());
    (&mut stdin)
        .take(REQUEST_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(|err| Failure::from_io("cannot read the request", &err))?;
    let request = serde_json::from_slice(&line)
        .map_err(|err| Failure::usage("the request is not one of this version").because(err.to_string()))?;
    let (end, gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _end = end;
        // Nothing more is said: it ends with the session.
        let _ = std::io::copy(&mut stdin, &mut std::io::sink());
    });
    Ok((request, gone))
}

async fn begin(request: RelayRequest, home: &Path) -> Result<(Arc<Relay>, TcpListener, Offer), Failure> {
    let cannot = |why: String| Failure::other("cannot hand files on").because(why);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut token = [0; TOKEN_BYTES];
    provider.secure_random.fill(&mut token).map_err(|_| cannot("there are no random numbers".to_owned()))?;
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]);
    let made = made.map_err(|err| cannot(err.to_string()))?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.clone()], key))
        .map_err(|err| cannot(err.to_string()))?;
    let listener = TcpListener::bind((request.address, 0)).await;
    let listener =
        listener.map_err(|err| Failure::from_io(format!("cannot listen on {}", request.address), &err))?;
    let address = listener.local_addr().map_err(|err| Failure::from_io("cannot tell the port", &err))?;
    let sources =
        request.sources.into_iter().map(|source| Open::new(source, home)).collect::<Result<_, _>>()?;
    let offer = Offer { address, certificate: BASE64.encode(&certificate), token: BASE64.encode(token) };
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Ok((Arc::new(Relay { acceptor, token, sources, idle_secs: request.idle_secs }), listener, offer))
}

impl Open {
    fn new(source: RelaySource, home: &Path) -> Result<Self, Failure> {
        let sent = match source.is_file {
            true => Default::default(),
            false => Record::by_key(&source.key, home).manifest()?.sent,
        };
        let path =
            |name: &super::Name| std::os::unix::ffi::OsStrExt::as_bytes(name.path.as_os_str()).to_vec();
        Ok(Self { source, names: sent.all().iter().map(path).collect() })
    }

    /// Whether each of the names, as rsync takes them, was sent to it.
    fn has_all(&self, names: &[u8]) -> bool {
        let is_sent = |name: &[u8]| match name {
            [b'/', path @ .., 0] => self.names.contains(path),
            _ => false,
        };
        names.split_inclusive(|byte| *byte == 0).all(is_sent)
    }
}

async fn accept(relay: Arc<Relay>, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for one: some come free.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let relay = relay.clone();
        tokio::spawn(async move {
            let _slot = slot;
            // What fails on the way is noticed by who fetches.
            let _ = relay.serve(stream).await;
        });
    }
}

impl Relay {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let introduced = tokio::time::timeout(INTRODUCTION_MAX, self.introduced(stream));
        let (stream, introduction) = introduced.await??;
        let refused = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let open = self.sources.get(introduction.source).ok_or_else(refused)?;
        let names = match (&introduction.names, open.source.is_file) {
            (Some(names), false) => {
                let names = BASE64.decode(names).map_err(|_| refused())?;
                Some(Some(names).filter(|names| open.has_all(names)).ok_or_else(refused)?)
            }
            (None, true) => None,
            _ => return Err(refused()),
        };
        // rsync opens no file of a descriptor; names are not secret, and this one is for this user alone.
        let list = names.map(|names| listed(&names)).transpose()?;
        let arguments = sender(
            &open.source,
            list.as_ref().map(NamedTempFile::path),
            &introduction.capabilities,
            self.idle_secs,
        );
        let mut command = Command::new("rsync");
        command.args(arguments.ok_or_else(refused)?).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Ok(()) };
        let (from, to) = tokio::io::split(stream);
        exchange(from, input, output, to).await
    }

    async fn introduced(
        &self,
        stream: TcpStream,
    ) -> std::io::Result<(tokio_rustls::server::TlsStream<TcpStream>, Introduction)> {
        let mut stream = self.acceptor.accept(stream).await?;
        let mut token = [0; TOKEN_BYTES];
        stream.read_exact(&mut token).await?;
        // In the same time whichever byte differs.
        let difference = token.iter().zip(&self.token).fold(0, |all, (a, b)| all | (a ^ b));
        if difference != 0 {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        let length = stream.read_u32().await?;
        if length > INTRODUCTION_BYTES_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut json = Vec::new();
        (&mut stream).take(u64::from(length)).read_to_end(&mut json).await?;
        Ok((stream, serde_json::from_slice(&json)?))
    }
}

/// A file without a name, which children inherit.
pub fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("pail", MemfdFlags::empty())?);
    file.write_all(bytes)?;
    Ok(file)
}

fn listed(names: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("pail-names.")?;
    file.write_all(names)?;
    Ok(file)
}

/// The arguments of the rsync that sends; `None` where the capabilities are none.
fn sender(
    source: &RelaySource,
    list: Option<&Path>,
    capabilities: &str,
    idle_secs: u64,
) -> Option<Vec<OsString>> {
    if capabilities.len() > 32 || !capabilities.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let kind = if source.is_file { "L" } else { "R" };
    let mut arguments: Vec<OsString> = vec!["--server".into(), "--sender".into()];
    arguments.push(format!("-ltpS{kind}e.{capabilities}").into());
    arguments.push(format!("--timeout={}", idle_secs.max(1)).into());
    if let Some(list) = list {
        arguments.push("--files-from".into());
        arguments.push(list.into());
        arguments.push("--from0".into());
    }
    let end = if source.is_file { "" } else { "/" };
    arguments.extend([".".into(), format!("{}{end}", source.path).into()]);
    Some(arguments)
}

/// Carries both ways until the second one ends, and the first for a little longer than the other side takes.
pub async fn exchange(
    there: impl AsyncRead + Unpin,
    here: impl AsyncWrite + Unpin,
    from_here: impl AsyncRead + Unpin,
    to_there: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let (inward, outward) = (carry(there, here), carry(from_here, to_there));
    tokio::pin!(inward, outward);
    tokio::select! {
        ended = &mut outward => ended,
        ended = &mut inward => {
            ended?;
            tokio::time::timeout(CLOSING_MAX, outward).await?
        }
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; CARRY_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
    tokio::time::timeout(CLOSING_MAX, to.shutdown()).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_were_sent_are_handed_on() {
        let source = RelaySource { key: String::new(), path: "/place".to_owned(), is_file: false };
        let names = HashSet::from([b"a".to_vec(), b"a/\xff\n".to_vec()]);
        let open = Open { source, names };
        assert!(open.has_all(b"/a\0/a/\xff\n\0"));
        for wrong in [&b"/a\0/b\0"[..], b"/a", b"a\0", b"/../etc/passwd\0", b"/\0", b"/a/\0", b"//a\0"] {
            assert!(!open.has_all(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn what_rsync_is_told_is_not_taken_from_the_other_side() {
        let source = RelaySource { key: String::new(), path: "/place".to_owned(), is_file: true };
        let arguments = sender(&source, None, "LsfxCIvu", 60).unwrap();
        assert_eq!(arguments, ["--server", "--sender", "-ltpSLe.LsfxCIvu", "--timeout=60", ".", "/place"]);
        for wrong in ["a --x", "a/b", "a\0", "a=b", &"a".repeat(33)] {
            assert_eq!(sender(&source, None, wrong, 60), None, "{wrong:?}");
        }
    }
}
