//! What a launch takes from the client.
//!
//! Owns: [`Inputs`]: the list of files that are sent, the commit that the git ref means now, and the request by which each node mounts and
//! copies. All of it is resolved once, so that every node gets the same.

use super::Launch;
use crate::copy_progress::CopyProgress;
use crate::copying::{self, Choices, Copying};
use crate::git::{self, Credentials, Resolved};
use crate::node::copies::BucketCopy;
use crate::node::mounts::BucketMount;
use crate::node::preparing::PrepareRequest;
use crate::place::{self, WORKDIR};
use crate::sync::ignore::{self, EntryKind, ListOptions};
use crate::sync::{Source, SyncItem, SyncPlan};
use crate::task::{Bucket, Content, Upload, Workdir};
use crate::terminal;
use pail_control::opening::Address;
use pail_control::{CallerEnvironment, Failure};
use pail_transfer::{CancellationToken, UploadSource};
use std::path::Path;

/// What goes to the nodes.
pub struct Inputs {
    /// Files, for rsync or a copy.
    pub files: SyncPlan,
    /// Those that go into what others have brought, after them: also after the code.
    pub nested: SyncPlan,
    /// Code from git.
    pub code: Option<GitCode>,
    /// Buckets.
    pub buckets: PrepareRequest,
    /// Files that can be no objects, a line each.
    pub left_out: Vec<String>,
}

/// A commit, and what opens its repository.
pub struct GitCode {
    /// The commit.
    pub resolved: Resolved,
    /// The token or key.
    pub credentials: Credentials,
}

impl Inputs {
    /// Lists, resolves, and uploads local sources to their buckets. Errors: a source that is not there or cannot be read; a ref that the
    /// repository does not have; a bucket that refuses.
    pub async fn gather(launch: &Launch, environment: &CallerEnvironment) -> Result<Self, Failure> {
        let (mut items, mut code, mut left_out) = (Vec::new(), None, Vec::new());
        match &launch.task.workdir {
            None => {}
            Some(Workdir::Local(path)) => {
                items.push(directory(path, &format!("~/{WORKDIR}"), launch.include_git).await?);
            }
            Some(Workdir::Git { url, git_ref }) => {
                let variable = |name: &str| std::env::var(name).ok();
                let credentials = Credentials::find(url, &variable).await?;
                let access = credentials.access();
                let resolved = git::resolve(url, git_ref.as_deref(), &access, &variable).await?;
                resolved.notes.iter().for_each(|note| terminal::note(note));
                code = Some(GitCode { resolved, credentials });
            }
        }
        let code_is_from_git = code.is_some();
        let mut buckets = PrepareRequest { existing: !launch.with_file_mounts, ..PrepareRequest::default() };
        for file_mount in &launch.task.file_mounts {
            let destination = file_mount.destination.clone();
            match &file_mount.content {
                Content::Mount { bucket, read_only } if !launch.with_file_mounts => {
                    buckets.mounts.push(mount_of(destination, bucket, *read_only));
                }
                _ if !launch.with_file_mounts => {}
                Content::Local(path) if path.is_dir() => {
                    items.push(directory(path, &destination, launch.include_git).await?);
                }
                Content::Local(path) => {
                    items.push(SyncItem { source: Source::File { path: path.clone() }, destination });
                }
                Content::Copy(bucket) => {
                    left_out.extend(upload(bucket, environment).await?);
                    buckets.copies.push(copy_of(destination, bucket));
                }
                Content::Mount { bucket, read_only } => {
                    left_out.extend(upload(bucket, environment).await?);
                    buckets.mounts.push(mount_of(destination, bucket, *read_only));
                }
            }
        }
        let (files, nested) = blocking(move || {
            let (nested, files) = split_nested(items, code_is_from_git)?;
            Ok((SyncPlan::new(files)?, SyncPlan::new(nested)?))
        })
        .await?;
        Ok(Self { files, nested, code, buckets, left_out })
    }
}

fn mount_of(destination: String, bucket: &Bucket, read_only: bool) -> BucketMount {
    BucketMount {
        destination,
        uri: bucket.uri.clone(),
        create: bucket.create,
        endpoint_url: bucket.endpoint_url.clone(),
        region: bucket.region.clone(),
        settings: bucket.settings.clone(),
        read_only,
    }
}

fn copy_of(destination: String, bucket: &Bucket) -> BucketCopy {
    BucketCopy {
        destination,
        uri: bucket.uri.clone(),
        endpoint_url: bucket.endpoint_url.clone(),
        region: bucket.region.clone(),
        settings: bucket.settings.clone(),
    }
}

/// The items that go into the destination of another, or into the code from git, and the rest: what is within comes after what is around it, and
/// takes its place.
fn split_nested(
    items: Vec<SyncItem>,
    code_is_from_git: bool,
) -> Result<(Vec<SyncItem>, Vec<SyncItem>), Failure> {
    // Any home does: what is compared is where they are to each other.
    let home = Path::new("/home/user");
    let places: Vec<_> =
        items.iter().map(|item| place::resolve(&item.destination, home)).collect::<Result<_, _>>()?;
    let code = code_is_from_git.then(|| home.join(WORKDIR));
    let mut nested = Vec::new();
    let mut rest = Vec::new();
    for (item, own) in items.into_iter().zip(&places) {
        let around = places.iter().chain(&code);
        let is_nested = around.filter(|other| *other != own).any(|other| own.starts_with(other));
        if is_nested { nested.push(item) } else { rest.push(item) }
    }
    Ok((nested, rest))
}

/// Brings the bucket's local sources into it. What can be no object, a line each.
async fn upload(bucket: &Bucket, environment: &CallerEnvironment) -> Result<Vec<String>, Failure> {
    if bucket.upload.is_empty() {
        return Ok(Vec::new());
    }
    let (mut sources, mut left_out) = (Vec::new(), Vec::new());
    for upload in &bucket.upload {
        let upload = upload.clone();
        let (found, missing) = blocking(move || objects_of(&upload)).await?;
        sources.extend(found);
        left_out.extend(missing);
    }
    let progress = CopyProgress::new();
    let report = |snapshot| progress.show(snapshot);
    let (stop, choices) = (CancellationToken::new(), Choices::default());
    let copying = Copying { environment, report: &report, stop, choices };
    let address = Address {
        source: &bucket.uri,
        endpoint_url: bucket.endpoint_url.as_deref(),
        region: bucket.region.as_deref(),
        profile: None,
        settings: Some(&bucket.settings),
    };
    let report = copying.upload_sources(address, bucket.create, &sources, Some("task".to_owned())).await?;
    terminal::note(&format!("{}: {}", bucket.uri, copying::summary(&report)));
    left_out.extend(copying::left_out(&report)?);
    Ok(left_out)
}

/// What a local source becomes: of a directory the files that any transport would send; and what of it cannot be read as a file, a line each.
fn objects_of(upload: &Upload) -> Result<(Vec<UploadSource>, Vec<String>), Failure> {
    let name = upload.name.as_ref().map(|name| name.to_string_lossy().into_owned());
    if !upload.source.is_dir() {
        return Ok((copying::content_of(&upload.source, "")?, Vec::new()));
    }
    let list = ignore::list(&upload.source, &ListOptions { include_git: false })?;
    list.warnings.iter().for_each(|warning| terminal::note(&format!("warning: {warning}")));
    let files = list.entries.iter().filter(|entry| entry.kind != EntryKind::EmptyDir);
    let below = name.map(|name| format!("{name}/")).unwrap_or_default();
    let is_dangling = |path: &Path| path.is_symlink() && !path.exists();
    let (missing, files): (Vec<_>, Vec<_>) =
        files.partition(|entry| is_dangling(&upload.source.join(&entry.path)));
    let missing = missing.iter().map(|entry| {
        let path = upload.source.join(&entry.path);
        format!("{}: a symbolic link to nothing", terminal::escaped(&path.to_string_lossy()))
    });
    let missing = missing.collect();
    let found: Result<_, _> = files
        .into_iter()
        .map(|entry| match entry.path.to_str() {
            Some(path) => Ok(UploadSource { path: upload.source.join(path), key: format!("{below}{path}") }),
            None => {
                Err(Failure::usage(format!("{:?} cannot be an object: its name is not UTF-8", entry.path))
                    .with_hint("rename it, or leave it out by .skyignore"))
            }
        })
        .collect();
    Ok((found?, missing))
}

async fn directory(path: &Path, destination: &str, include_git: bool) -> Result<SyncItem, Failure> {
    let source = path.to_owned();
    let list = blocking(move || ignore::list(&source, &ListOptions { include_git })).await?;
    for warning in &list.warnings {
        terminal::note(&format!("warning: {warning}"));
    }
    Ok(SyncItem {
        source: Source::Directory { path: path.to_owned(), list },
        destination: destination.to_owned(),
    })
}

/// Work on the local disk, away from the threads that talk to nodes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|err| Failure::other(err.to_string()))?
}
