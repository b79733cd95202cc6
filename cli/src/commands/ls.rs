//! `pail ls`.

use crate::bucket_flags::Reach;
use crate::{block_on, progress, terminal};
use jiff::Timestamp;
use pail_control::opening::{self, OpenBucket};
use pail_control::quantity::ByteSize;
use pail_control::{CallerEnvironment, Failure, FailureKind};
use pail_store::{ListPage, ListRequest, ObjectMeta};
use pail_transfer::Pages;
use serde::Serialize;
use std::process::ExitCode;

/// List objects, without mounting anything
///
/// Names are relative to the URI; those that end in / are directories.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A bucket, such as s3://BUCKET, gs://BUCKET, r2://BUCKET, cos://REGION/BUCKET or az://ACCOUNT/CONTAINER; a directory in it, or an object
    uri: String,

    /// Show size and time too
    #[arg(short, long)]
    long: bool,

    /// List directories with all they hold
    #[arg(short, long)]
    recursive: bool,

    /// Sizes like 1.5 MiB in place of bytes
    #[arg(long)]
    human: bool,

    /// Print a JSON object for each line
    #[arg(long, conflicts_with_all = ["long", "human"])]
    json: bool,

    #[command(flatten)]
    reach: Reach,
}

/// A line of `--json`.
#[derive(Debug, Serialize)]
struct Row<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    block_on(list(&arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(arguments: &Arguments) -> Result<(), Failure> {
    let environment = CallerEnvironment::of_this_process();
    let settings = arguments.reach.settings();
    let address = arguments.reach.address(&arguments.uri, &settings);
    let what = format!("listing {}", arguments.uri);
    let opening =
        opening::open_bucket(address, &environment, opening::OpeningOptions::listing(!arguments.recursive));
    let bucket = progress::while_waiting(&what, opening).await?;
    let found = match arguments.recursive {
        true => list_all(arguments, &bucket, &what).await?,
        false => list_directory(arguments, &bucket, &what).await?,
    };
    match found || bucket.prefix.is_empty() {
        true => Ok(()),
        false => list_one(arguments, &bucket).await,
    }
}

/// Prints all that is below the prefix. Returns whether anything is.
async fn list_all(arguments: &Arguments, bucket: &OpenBucket, what: &str) -> Result<bool, Failure> {
    let mut pages = Pages::after(bucket.store.clone(), bucket.prefix.clone(), bucket.first_page.clone());
    let mut found = false;
    while let Some(page) = progress::while_waiting(what, pages.next()).await {
        let page = page.map_err(|err| unlisted(arguments, &err))?;
        found |= print_page(arguments, bucket, &page)?;
    }
    Ok(found)
}

/// Prints what is in a directory, with the directories in it. Returns whether anything is.
async fn list_directory(arguments: &Arguments, bucket: &OpenBucket, what: &str) -> Result<bool, Failure> {
    let mut request =
        ListRequest { prefix: bucket.prefix.clone(), delimiter: true, ..ListRequest::default() };
    let mut page = bucket.first_page.clone();
    let mut found = false;
    loop {
        found |= print_page(arguments, bucket, &page)?;
        let Some(next) = page.next else { return Ok(found) };
        request.token = Some(next);
        page = progress::while_waiting(what, bucket.store.list(request.clone()))
            .await
            .map_err(|err| unlisted(arguments, &err))?;
    }
}

fn unlisted(arguments: &Arguments, error: &pail_store::Error) -> Failure {
    Failure::from_store(format!("cannot list {}", arguments.uri), error)
}

/// Prints a page. Returns whether anything is on it.
fn print_page(arguments: &Arguments, bucket: &OpenBucket, page: &ListPage) -> Result<bool, Failure> {
    for prefix in &page.prefixes {
        print_prefix(arguments, &bucket.prefix, prefix)?;
    }
    for object in page.objects.iter().filter(|object| object.key.as_str() != bucket.prefix) {
        print_object(arguments, &bucket.prefix, object)?;
    }
    Ok(!page.objects.is_empty() || !page.prefixes.is_empty())
}

/// No directory is there: the URI may name an object.
async fn list_one(arguments: &Arguments, bucket: &OpenBucket) -> Result<(), Failure> {
    match bucket.object_of_that_name().await {
        Ok(Some(object)) => {
            let key = object.key.as_str();
            let directory = key.rfind('/').map_or("", |slash| &key[..=slash]);
            print_object(arguments, directory, &object)
        }
        Ok(None) => Err(Failure::new(FailureKind::NotFound, format!("nothing is at {}", arguments.uri))),
        Err(err) => Err(Failure::from_store(format!("cannot look at {}", arguments.uri), &err)),
    }
}

fn print_prefix(arguments: &Arguments, base: &str, prefix: &str) -> Result<(), Failure> {
    if arguments.json {
        return terminal::json_line(&Row { key: prefix, size: None, last_modified: None, etag: None });
    }
    let name = terminal::shown(prefix.strip_prefix(base).unwrap_or(prefix));
    match arguments.long {
        true => terminal::line(&format!("{:>14}  {:20}  {name}", "-", "")),
        false => terminal::line(&name),
    }
}

fn print_object(arguments: &Arguments, base: &str, object: &ObjectMeta) -> Result<(), Failure> {
    let key = object.key.as_str();
    let time = Timestamp::try_from(object.last_modified)
        .map_or_else(|_| "-".to_owned(), |time| format!("{time:.0}"));
    if arguments.json {
        return terminal::json_line(&Row {
            key,
            size: Some(object.size),
            last_modified: Some(time),
            etag: object.version.etag(),
        });
    }
    let name = terminal::shown(key.strip_prefix(base).unwrap_or(key));
    let size = if arguments.human { ByteSize(object.size).human() } else { object.size.to_string() };
    match arguments.long || arguments.human {
        true => terminal::line(&format!("{size:>14}  {time:20}  {name}")),
        false => terminal::line(&name),
    }
}
