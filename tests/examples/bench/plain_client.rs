//! The object_store crate, without a file system: stores what the jobs read, checks what they wrote, and is the measure of
//! what a client can reach at all.
//!
//! Owns: [`PlainClient`].

use crate::corpus::Corpus;
use crate::server::BUCKET;
use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use tokio::runtime::Runtime;
use xxhash_rust::xxh3::Xxh3;

/// Requests at one time: as many as Pail makes.
const CONCURRENCY: usize = 16;

/// Bytes of one ranged GET.
const RANGE_BYTES: u64 = 8 << 20;

pub struct PlainClient {
    store: AmazonS3,
    runtime: Runtime,
}

impl PlainClient {
    pub fn new(endpoint: &str) -> Result<Self> {
        // Its HTTP client asks for one even where nothing is encrypted. An error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("testtest")
            .with_client_options(ClientOptions::new().with_allow_http(true).with_http1_only())
            .build()?;
        Ok(Self { store, runtime: Runtime::new()? })
    }

    /// Stores object `number` of the corpus.
    pub fn store(&self, key: &str, corpus: &Corpus, number: u64, len_bytes: u64) -> Result<()> {
        let key = Key::from(key);
        self.runtime.block_on(async {
            if len_bytes <= RANGE_BYTES {
                let payload: PutPayload = corpus.blocks(number, len_bytes).collect();
                self.store.put(&key, payload).await?;
                return Ok(());
            }
            let upload = self.store.put_multipart(&key).await?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, RANGE_BYTES as usize);
            for block in corpus.blocks(number, len_bytes) {
                writer.wait_for_capacity(CONCURRENCY).await?;
                writer.put(block);
            }
            writer.finish().await?;
            Ok(())
        })
    }

    /// Stores many small objects of one length, `prefix` and their number being their key.
    pub fn store_many(&self, prefix: &str, count: usize, corpus: &Corpus, len_bytes: u64) -> Result<()> {
        self.runtime.block_on(async {
            futures::stream::iter(0..count)
                .map(|number| {
                    let payload: PutPayload = corpus.blocks(number as u64, len_bytes).collect();
                    async move { self.store.put(&Key::from(format!("{prefix}{number:05}")), payload).await }
                })
                .buffer_unordered(CONCURRENCY)
                .try_for_each(async |_| Ok(()))
                .await?;
            Ok(())
        })
    }

    /// Gets an object in ranges, in order, and throws it away. Returns the bytes received.
    pub fn fetch(&self, key: &str, len_bytes: u64) -> Result<u64> {
        let key = Key::from(key);
        self.runtime.block_on(async {
            let received = futures::stream::iter((0..len_bytes).step_by(RANGE_BYTES as usize))
                .map(|start| {
                    let (store, key) = (self.store.clone(), key.clone());
                    // A task each: the bodies are then read on all cores.
                    let get = async move {
                        store.get_range(&key, start..(start + RANGE_BYTES).min(len_bytes)).await
                    };
                    async {
                        tokio::spawn(get).await.map_err(anyhow::Error::from)?.map_err(anyhow::Error::from)
                    }
                })
                .buffered(CONCURRENCY)
                .try_fold(0, async |sum, body| Ok(sum + body.len() as u64))
                .await?;
            Ok(received)
        })
    }

    /// The checksum of a stored object.
    pub fn checksum(&self, key: &str) -> Result<u64> {
        self.runtime.block_on(async {
            let mut hash = Xxh3::new();
            let mut body = self.store.get(&Key::from(key)).await?.into_stream();
            while let Some(piece) = body.try_next().await? {
                hash.update(&piece);
            }
            Ok(hash.digest())
        })
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) -> Result<()> {
        Ok(self.runtime.block_on(self.store.delete(&Key::from(key)))?)
    }

    /// How many objects there are below a prefix.
    pub fn count_below(&self, prefix: &str) -> Result<usize> {
        let listed = self.store.list(Some(&Key::from(prefix)));
        Ok(self.runtime.block_on(listed.try_fold(0, async |count, _| Ok(count + 1)))?)
    }

    /// Removes every object below a prefix.
    pub fn remove_below(&self, prefix: &str) -> Result<()> {
        self.runtime.block_on(async {
            let listed = self.store.list(Some(&Key::from(prefix)));
            listed
                .map_err(anyhow::Error::from)
                .try_for_each_concurrent(CONCURRENCY, async |meta| {
                    Ok(self.store.delete(&meta.location).await?)
                })
                .await
        })
    }
}
