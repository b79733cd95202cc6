//! What streaming GETs cost the client, in CPU seconds per GiB.
//!
//! `cargo run --release -p pail-store --example stream_get [GIB]` reads an object of 1 GiB GIB times (default 8), in ranges of
//! 8 MiB, eight at a time, from a dev server in a process of its own, so that its work is not counted.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use pail_devserver::{Server, ServerConfig};
use pail_store::{CallerVariables, GetOptions, RawKey, S3Store, Store, StoreOptions};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

const OBJECT_SIZE_BYTES: u64 = 1 << 30;
const RANGE_SIZE_BYTES: u64 = 8 << 20;
/// How much a reader takes at a time.
const BUFFER_SIZE_BYTES: usize = 1024 * 1024;
const PARALLEL: usize = 8;
/// `USER_HZ`, the unit of `/proc/self/stat` on every architecture that Pail runs on.
const TICKS_PER_S: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve().await,
        gib => measure(gib.map_or(Ok(8), str::parse)?).await,
    }
}

/// Serves until its standard input ends, that is, until its parent does.
async fn serve() -> Outcome<()> {
    let server = Server::start(ServerConfig::default()).await?;
    server.create_bucket("bucket").await?;
    server.put_object("bucket", "object", Bytes::from(vec![0x5A; OBJECT_SIZE_BYTES as usize])).await?;
    println!("{}", server.endpoint_url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn measure(gib: u64) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut endpoint = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut endpoint)?;
    let keys = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "testtest")];
    let store = S3Store::open(StoreOptions {
        endpoint_url: Some(endpoint.trim().to_owned()),
        environment: Some(CallerVariables(keys.map(|(n, v)| (n.to_owned(), v.to_owned())).into())),
        ..StoreOptions::s3("bucket")
    })
    .await?;
    let key = RawKey::new("object")?;
    let (started, before) = (Instant::now(), cpu_seconds()?);
    let starts = (0..gib).flat_map(|_| (0..OBJECT_SIZE_BYTES).step_by(RANGE_SIZE_BYTES as usize));
    let bytes = futures::stream::iter(starts)
        .map(|start| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                let range = Some(start..start + RANGE_SIZE_BYTES);
                let mut body = store.get(&key, GetOptions { range, if_version: None }).await?.body;
                let (mut buffer, mut bytes) = (vec![0; BUFFER_SIZE_BYTES], 0);
                loop {
                    match body.fill(&mut buffer).await? {
                        0 => return Ok::<_, pail_store::Error>(bytes),
                        count => bytes += count as u64,
                    }
                }
            })
        })
        .buffer_unordered(PARALLEL)
        .map(|joined| joined.map_err(Box::<dyn std::error::Error>::from)?.map_err(Into::into))
        .try_fold(0, |sum, one: u64| async move { Outcome::Ok(sum + one) })
        .await?;
    let (cpu_s, s) = (cpu_seconds()? - before, started.elapsed().as_secs_f64());
    let gib = bytes as f64 / (1_u64 << 30) as f64;
    println!("{gib} GiB in {s:.2} s: {:.2} GiB/s, {:.3} CPU s per GiB", gib / s, cpu_s / gib);
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses, and may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    Ok((ticks(11).ok_or("no user time")? + ticks(12).ok_or("no system time")?) / TICKS_PER_S)
}
