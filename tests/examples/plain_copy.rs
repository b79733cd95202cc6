//! `plain_copy ENDPOINT BUCKET PREFIX DIRECTORY`: downloads what is below a prefix with the object_store crate, and no more than that: no temporary names, no versions,
//! no checksums, no journal. It is the measure of what server, network and disk of this machine give; `scripts/bench copy` runs it beside the tools.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Requests at one time, as many as the tools begin with.
const CONCURRENCY: usize = 64;
/// Bytes of one ranged GET.
const RANGE_BYTES: u64 = 8 << 20;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, bucket, prefix, directory] = arguments.as_slice() else {
        anyhow::bail!("usage: plain_copy ENDPOINT BUCKET PREFIX DIRECTORY")
    };
    // Its HTTP client asks for one even where nothing is encrypted. An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = AmazonS3Builder::from_env()
        .with_endpoint(endpoint)
        .with_bucket_name(bucket)
        .with_client_options(ClientOptions::new().with_allow_http(true).with_http1_only())
        .build()?;
    let (store, directory) = (Arc::new(store), PathBuf::from(directory));
    store
        .list(Some(&Key::from(prefix.as_str())))
        .map_err(anyhow::Error::from)
        .map_ok(|meta| {
            let path =
                directory.join(meta.location.as_ref().strip_prefix(prefix.as_str()).unwrap_or_default());
            let opened = path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| File::create(&path))
                .with_context(|| path.display().to_string());
            let file = opened.map(Arc::new);
            let starts = (0..meta.size.max(1)).step_by(RANGE_BYTES as usize);
            let ranges = starts.map(move |start| {
                let file = file.as_ref().map(Arc::clone).map_err(|error| anyhow::anyhow!("{error:#}"))?;
                Ok((meta.location.clone(), start..(start + RANGE_BYTES).min(meta.size), file))
            });
            futures::stream::iter(ranges)
        })
        .try_flatten()
        .try_for_each_concurrent(CONCURRENCY, |(key, range, file)| {
            let store = store.clone();
            // A task each: the bodies are then read on all cores.
            let fetch = async move {
                let mut offset = range.start;
                let options = object_store::GetOptions::new().with_range(Some(range));
                let mut body = store.get_opts(&key, options).await?.into_stream();
                while let Some(piece) = body.try_next().await? {
                    file.write_all_at(&piece, offset)?;
                    offset += piece.len() as u64;
                }
                Ok(())
            };
            async { tokio::spawn(fetch).await? }
        })
        .await
}
