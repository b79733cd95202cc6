//! `pail dev-server`.

use crate::{block_on, terminal};
use pail_control::Failure;
use pail_control::quantity::ByteSize;
use pail_devserver::{Quirks, Server, ServerConfig, Settings, StartError};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Run an S3 and Google Cloud Storage server on this machine, for trying things out, tests and benchmarks
///
/// Prints its endpoint as the first line on standard output when it is ready, and runs until a signal ends it. Not for data that
/// matters.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,

    /// Keep the objects in this folder [default: in memory]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// The access key that is accepted
    #[arg(long, value_name = "KEY", env = "PAIL_DEV_ACCESS_KEY", default_value = "test")]
    access_key: String,

    /// Its secret
    #[arg(
        long,
        value_name = "SECRET",
        env = "PAIL_DEV_SECRET_KEY",
        hide_env_values = true,
        default_value = "testtest"
    )]
    secret_key: String,

    /// Time from a request to the first byte of its answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    first_byte_ms: u64,

    /// A random time of up to this is added to it, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    jitter_ms: u64,

    /// Bytes per second for each connection, such as 90M; 0 is unlimited
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize(0))]
    bandwidth: ByteSize,

    /// Differ from S3 as other servers do, such as r2, ibm, no_list_etags or folds_slashes; may be given several times
    #[arg(long = "quirk", value_name = "NAME")]
    quirks: Vec<String>,

    /// Create this bucket; may be given several times
    #[arg(long = "bucket", value_name = "NAME")]
    buckets: Vec<String>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<ExitCode, Failure> {
    let failed = |err: std::io::Error| Failure::from_io("cannot watch for signals", &err);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let quirks = Quirks::named(arguments.quirks.iter().map(String::as_str))
        .map_err(|why| Failure::usage("--quirk names no quirk").because(why))?;
    let settings = Settings {
        first_byte_ms: arguments.first_byte_ms,
        jitter_ms: arguments.jitter_ms,
        bandwidth_bytes_per_s: arguments.bandwidth.0,
        quirks,
        ..Settings::default()
    };
    let config = ServerConfig {
        listen: arguments.listen,
        folder: arguments.folder,
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        settings,
    };
    let server = Server::start(config).await.map_err(|err| explain(&err))?;
    for bucket in &arguments.buckets {
        server.create_bucket(bucket).await.map_err(|err| {
            Failure::other(format!("cannot create the bucket {bucket:?}")).because(format!("{err:#}"))
        })?;
    }
    terminal::line(&server.endpoint_url())?;
    terminal::flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an address by its numbers and a port, such as 127.0.0.1:9000 or [::1]:9000".to_owned()
    })
}

/// What to do about a server that does not start.
fn explain(err: &StartError) -> Failure {
    let (StartError::Listen { source, .. } | StartError::Folder { source, .. }) = err;
    let hint = match (err, source.kind()) {
        (StartError::Folder { .. }, _) => {
            "give --folder a new or empty directory that you may write to, or one of an earlier server; without it objects are kept in memory"
        }
        (_, io::ErrorKind::AddrInUse) => {
            "another program listens there: choose another port; port 0 takes a free one"
        }
        (_, io::ErrorKind::AddrNotAvailable) => {
            "--listen takes an address of this machine: 127.0.0.1, or 0.0.0.0 for all"
        }
        (_, io::ErrorKind::PermissionDenied) => "ports below 1024 are root's: choose a higher one",
        _ => "choose another address by --listen",
    };
    Failure::from_io(err.to_string(), source).with_hint(hint)
}
