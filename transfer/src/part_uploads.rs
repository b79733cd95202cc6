//! Uploads in parts that go on where an earlier run ended.
//!
//! Owns: [`PartUploads`], which makes an object of parts that are sent at the same time, whatever they are made of ([`PartSource`]): pieces of a file, of an object that passes through
//! here, or of one that the store copies by itself. Every upload has a journal while it is under way. The next run of the same source and target goes on with it,
//! if it is to become the same object ([`UploadIdentity`]), and aborts it otherwise; so it does with those of objects that it has no use for any more.
//!
//! # How one ends
//! - It became an object, or came to nothing for a reason that will not pass: it is completed or aborted, and its journal is gone.
//! - The run was stopped or killed, or no longer reached the store: upload and journal stay, if the store has parts of it by the journal.
//! - The store has ended it meanwhile (NoSuchUpload): another one begins, once.
//!
//! What is open and has no journal, or no parts, is an orphan once its task is given up, and aborted at the end of the run.

use crate::connections::{Connection, Connections};
use crate::copy_error::CopyError;
use crate::orphan_uploads::{OpenUpload, OrphanUploads};
use crate::part_sizes::parts;
use crate::progress::Moved;
use crate::upload_journal::{Interrupted, SourceIdentity, UploadIdentity, UploadJournal, UploadJournals};
use crate::work::{Work, lost};
use async_trait::async_trait;
use pail_store::{Attributes, Encryption, ErrorKind, Part, PutOptions, RawKey, Store, Upload, Version};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinSet;

const GONE_TWICE: &str =
    "the store ended its upload in parts before it was complete, and again when that started over";

/// What all uploads in parts of a run share.
pub(crate) struct PartUploads {
    pub store: Arc<dyn Store>,
    /// One permit for each part under way.
    pub connections: Connections,
    pub journals: Arc<UploadJournals>,
    /// What the store gives new objects.
    pub new_objects: String,
    pub orphans: OrphanUploads,
    pub work: Work,
}

/// What the parts of an object are made of.
#[async_trait]
pub(crate) trait PartSource: Send + Sync + 'static {
    /// Makes one part. Errors: of the store; of the source, also where it has changed.
    async fn send(
        &self,
        store: &dyn Store,
        upload: &Upload,
        number: u32,
        range: Range<u64>,
        moved: &Arc<Moved>,
    ) -> Result<Part, Failure>;

    /// Looks at what was sent before the object is made of it: whether that is known to be what the source has. Errors: it is something else, or the source has changed.
    async fn check(&self, parts: &[Part]) -> Result<bool, CopyError>;
}

/// An object that is to be made of parts.
pub(crate) struct ObjectInParts {
    pub key: RawKey,
    pub len: u64,
    pub part_size: u64,
    /// `None` where the source cannot be told from what it becomes: no later run could go on with it.
    pub identity: Option<SourceIdentity>,
    pub attributes: Attributes,
    pub source: Arc<dyn PartSource>,
}

/// An object that was made.
#[derive(Debug)]
pub(crate) struct MadeOfParts {
    pub version: Version,
    /// As the source's [`check`](PartSource::check) has it.
    pub is_verified: bool,
    /// So many of its bytes the store had from an earlier run.
    pub resumed_bytes: u64,
}

/// Why a part or an object was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store does not know the upload any more.
    Gone,
    Copy(CopyError),
}

impl Failure {
    /// Of a request that is about `upload`.
    pub fn of_store(store: &dyn Store, upload: &Upload, error: pail_store::Error) -> Self {
        match error.kind {
            ErrorKind::NotFound => Self::Gone,
            _ => Self::Copy(CopyError::of_store(&format!("write {}/{}", store.uri(), upload.key), error)),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        Self::Copy(error)
    }
}

impl PartUploads {
    /// Makes an object, of what an earlier run has sent of it and of what is missing.
    pub async fn make(
        self: &Arc<Self>,
        object: &ObjectInParts,
        moved: &Arc<Moved>,
    ) -> Result<MadeOfParts, CopyError> {
        match self.attempt(object, moved).await {
            Err(Failure::Gone) => {}
            Err(Failure::Copy(error)) => return Err(error),
            Ok(made) => return Ok(made),
        }
        tracing::debug!(key = %object.key, "the store has ended an upload in parts; beginning another one");
        moved.take_back();
        self.attempt(object, moved).await.map_err(|failure| match failure {
            Failure::Gone => CopyError::Item(GONE_TWICE.to_owned()),
            Failure::Copy(error) => error,
        })
    }

    /// The run has made all that it was to make: aborts what earlier ones have left open and nobody went on with.
    pub async fn abort_dead(&self) {
        let journals = self.journals.clone();
        let Ok(dead) = self.work.blocking(move || journals.dead()).await else { return };
        for (journal, found) in &dead {
            match found {
                Some(found) => drop(self.orphans.abort(&found.upload, Some(journal)).await),
                None => journal.end(),
            }
        }
        drop(dead);
        let journals = self.journals.clone();
        let _ = self.work.blocking(move || journals.tidy()).await;
    }

    async fn attempt(
        self: &Arc<Self>,
        object: &ObjectInParts,
        moved: &Arc<Moved>,
    ) -> Result<MadeOfParts, Failure> {
        let options = PutOptions { attributes: object.attributes.clone(), ..PutOptions::default() };
        let (open, there) = self.open(object, &options).await?;
        let resumed_bytes = there.iter().map(|part| part.size).sum();
        moved.add(resumed_bytes);
        let mut tasks = JoinSet::new();
        let done = self.send_parts(object, &options, &open, there, moved, &mut tasks).await;
        if done.is_err() {
            tasks.shutdown().await;
        }
        match &done {
            Ok(_) => open.complete(),
            Err(Failure::Copy(error)) if open.journal.is_some() && error.is_resumable() => {
                open.leave();
            }
            Err(_) => open.abort().await,
        }
        let (version, is_verified) = done?;
        Ok(MadeOfParts { version, is_verified, resumed_bytes })
    }

    /// The upload that an earlier run has begun of the same object, with the parts that the store has of it, or a new one.
    async fn open(
        &self,
        object: &ObjectInParts,
        options: &PutOptions,
    ) -> Result<(OpenUpload, Vec<Part>), CopyError> {
        let identity = object.identity.clone().map(|source| UploadIdentity {
            source,
            part_size: object.part_size,
            attributes: digest_of(&object.attributes),
            new_objects: self.new_objects.clone(),
        });
        let (mut journal, found) = match &identity {
            Some(_) => self.journal_of(&object.key).await?,
            None => (None, None),
        };
        let _connection = self.connection().await?;
        if let Some(found) = found {
            let is_same = identity.as_ref() == Some(&found.identity) && fits(&found.parts, object);
            if is_same && self.is_open(&found.upload).await? {
                tracing::debug!(key = %object.key, parts = found.parts.len(), "going on with the upload of an earlier run");
                return Ok((self.orphans.hold(found.upload, journal), found.parts));
            }
            let is_ended = self.orphans.abort(&found.upload, None).await;
            // Of one that stays open, a later run is to know: this one goes without a journal.
            journal = journal.filter(|_| is_ended);
            if let Some(journal) = journal.clone() {
                self.work.blocking(move || journal.clear()).await?;
            }
        }
        let open = self.orphans.start(&self.work, &object.key, options, journal).await;
        let mut open = open.map_err(|error| self.of_target(&object.key, error))?;
        if let (Some(journal), Some(identity)) = (open.journal.clone(), identity) {
            let upload = open.upload.clone();
            // A state directory that is full costs what a later run could go on with.
            if let Err(error) = self.work.blocking(move || journal.begin(&upload, &identity)).await? {
                tracing::warn!(key = %object.key, %error, "an upload has no journal: if it is interrupted, it starts over");
                open.journal = None;
            }
        }
        Ok((open, Vec::new()))
    }

    async fn journal_of(
        &self,
        key: &RawKey,
    ) -> Result<(Option<Arc<UploadJournal>>, Option<Interrupted>), CopyError> {
        let (journals, key) = (self.journals.clone(), key.clone());
        let opened = self.work.blocking(move || journals.open(&key)).await?;
        Ok(opened.map_or((None, None), |(journal, found)| (Some(Arc::new(journal)), found)))
    }

    /// Whether the store still has the upload. Errors: the store's.
    async fn is_open(&self, upload: &Upload) -> Result<bool, CopyError> {
        match self.store.has_parts(upload).await {
            // Who may not ask, or cannot, may complete it; where it is gone, that will tell.
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Unsupported) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            has_parts => has_parts.map_err(|error| self.of_target(&upload.key, error)),
        }
    }

    /// Sends the parts that the store has not, and makes the object of all.
    async fn send_parts(
        self: &Arc<Self>,
        object: &ObjectInParts,
        options: &PutOptions,
        open: &OpenUpload,
        there: Vec<Part>,
        moved: &Arc<Moved>,
        tasks: &mut JoinSet<Result<Part, Failure>>,
    ) -> Result<(Version, bool), Failure> {
        let OpenUpload { upload, journal, .. } = open;
        let numbers: HashSet<u32> = there.iter().map(|part| part.number).collect();
        let mut sent = there;
        let ended = |error| CopyError::Fatal(lost(&error));
        for (number, range) in (1..).zip(parts(object.len, object.part_size)) {
            if numbers.contains(&number) {
                continue;
            }
            let connection = self.connection().await?;
            while let Some(done) = tasks.try_join_next() {
                sent.push(done.map_err(ended)??);
            }
            let (uploads, source) = (self.clone(), object.source.clone());
            let (upload, journal, moved) = (upload.clone(), journal.clone(), moved.clone());
            tasks.spawn(self.work.tracked(async move {
                // Held until the part is noted: what a kill costs is a part for each connection.
                let _connection = connection;
                let part = source.send(&*uploads.store, &upload, number, range, &moved).await?;
                if let Some(journal) = journal {
                    let noted = part.clone();
                    if let Err(error) = uploads.work.blocking(move || journal.note(&noted)).await? {
                        tracing::debug!(%error, number, "a part is not noted");
                    }
                }
                Ok(part)
            }));
        }
        while let Some(done) = tasks.join_next().await {
            sent.push(done.map_err(ended)??);
        }
        sent.sort_by_key(|part| part.number);
        let is_verified = object.source.check(&sent).await?;
        let completed = self.store.complete_upload(upload, &sent, options).await;
        let version = completed.map_err(|error| Failure::of_store(&*self.store, upload, error))?;
        Ok((version, is_verified))
    }

    fn of_target(&self, key: &RawKey, error: pail_store::Error) -> CopyError {
        CopyError::of_store(&format!("write {}/{key}", self.store.uri()), error)
    }

    async fn connection(&self) -> Result<Connection, CopyError> {
        self.connections.take().await.ok_or_else(|| CopyError::Item("the run is over".to_owned()))
    }
}

/// Whether there are parts, and each is one of the object.
fn fits(found: &[Part], object: &ObjectInParts) -> bool {
    let ranges: Vec<_> = parts(object.len, object.part_size).collect();
    let is_one = |part: &Part| {
        let range = (part.number as usize).checked_sub(1).and_then(|index| ranges.get(index));
        range.is_some_and(|range| range.end - range.start == part.size)
    };
    !found.is_empty() && found.iter().all(is_one)
}

/// Equal where objects carry the same.
fn digest_of(attributes: &Attributes) -> String {
    let Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        storage_class,
        encryption,
        tags,
        // How many tags there are is told before they are asked for; and what cannot be edited is not written.
        tag_count: _,
        uneditable: _,
    } = attributes;
    let mut hasher = Sha256::new();
    let mut add = |value: Option<&str>| {
        hasher.update(value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
        hasher.update(value.unwrap_or_default());
    };
    for map in [metadata, tags] {
        for (name, value) in map {
            add(Some(name));
            add(Some(value));
        }
        add(None);
    }
    let words =
        [content_type, content_encoding, content_language, content_disposition, cache_control, storage_class];
    words.into_iter().for_each(|word| add(word.as_deref()));
    if let Some(Encryption { algorithm, key_id, bucket_key }) = encryption {
        add(Some(algorithm));
        add(key_id.as_deref());
        add(bucket_key.then_some("bucket key"));
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_carry_something_else_have_another_digest() {
        let of = |change: fn(&mut Attributes)| {
            let mut attributes = Attributes::default();
            change(&mut attributes);
            digest_of(&attributes)
        };
        let digests = [
            of(|_| {}),
            of(|a| drop(a.metadata.insert("a".into(), "b".into()))),
            of(|a| drop(a.metadata.insert("ab".into(), String::new()))),
            of(|a| drop(a.tags.insert("a".into(), "b".into()))),
            of(|a| a.content_type = Some("text/plain".into())),
            of(|a| a.content_type = Some(String::new())),
            of(|a| a.content_encoding = Some("text/plain".into())),
            of(|a| a.storage_class = Some("COLD".into())),
            of(|a| {
                a.encryption = Some(Encryption { algorithm: "x".into(), key_id: None, bucket_key: false });
            }),
            of(|a| {
                a.encryption = Some(Encryption { algorithm: "x".into(), key_id: None, bucket_key: true });
            }),
        ];
        assert_eq!(digests.iter().collect::<HashSet<_>>().len(), digests.len());
        assert_eq!(of(|a| a.tag_count = 3), digests[0]);
    }
}
