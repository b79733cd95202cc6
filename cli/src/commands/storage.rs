//! `pail storage`.

use crate::bucket_flags::Reach;
use crate::buckets::lease::Lease;
use crate::buckets::record::{self, Created};
use crate::buckets::{deleting, mounted_at};
use crate::{block_on, progress, terminal};
use pail_control::opening::{self, Address};
use pail_control::{BucketSettings, CallerEnvironment, Failure, FailureKind};
use std::io::IsTerminal;
use std::process::ExitCode;

/// Buckets that Pail created
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Ls(LsArguments),
    Delete(DeleteArguments),
}

/// List the buckets that Pail created from this machine, for a mount or a task
#[derive(Debug, clap::Args)]
struct LsArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Delete buckets
///
/// By name those that Pail created and `pail storage ls` lists; any other by its URI. A bucket that holds objects is refused without --force.
#[derive(Debug, clap::Args)]
struct DeleteArguments {
    /// A name of `pail storage ls`, or a bucket's URI
    #[arg(required_unless_present = "all", value_name = "BUCKET")]
    buckets: Vec<String>,

    /// All that `pail storage ls` lists
    #[arg(long, conflicts_with = "buckets")]
    all: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Delete the objects too
    #[arg(long)]
    force: bool,

    /// What is not given is as it was when the bucket was created.
    #[command(flatten)]
    reach: Reach,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Ls(arguments) => list(&arguments),
        Command::Delete(arguments) => block_on(delete(&arguments)),
    }
}

fn list(arguments: &LsArguments) -> Result<ExitCode, Failure> {
    let buckets = record::all()?;
    if arguments.json {
        terminal::json(&buckets)?;
        terminal::flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    if buckets.is_empty() {
        terminal::note("Pail has created no buckets from this machine");
        return Ok(ExitCode::SUCCESS);
    }
    let title = ["BUCKET", "CREATED", "ENDPOINT"].map(str::to_owned).to_vec();
    let rows = buckets.iter().map(|bucket| {
        let created = bucket.created.strftime("%Y-%m-%d %H:%M UTC").to_string();
        vec![bucket.uri.clone(), created, bucket.endpoint_url.clone().unwrap_or_else(|| "-".to_owned())]
    });
    let rows: Vec<_> = std::iter::once(title).chain(rows).collect();
    for line in terminal::table(&rows) {
        terminal::line(&line)?;
    }
    terminal::flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A bucket to be deleted.
struct Doomed {
    uri: String,
    endpoint_url: Option<String>,
    region: Option<String>,
    profile: Option<String>,
    settings: BucketSettings,
    /// What the record says it is, where it was chosen by that.
    identity: Option<String>,
}

async fn delete(arguments: &DeleteArguments) -> Result<ExitCode, Failure> {
    let environment = CallerEnvironment::of_this_process();
    let doomed = chosen(arguments, &environment)?;
    if doomed.is_empty() {
        terminal::note("Pail has created no buckets from this machine");
        return Ok(ExitCode::SUCCESS);
    }
    check_unmounted(&doomed).await?;
    if !arguments.yes && !confirmed(&doomed, arguments.force)? {
        terminal::note("nothing was deleted");
        return Ok(ExitCode::from(FailureKind::Other.exit_code()));
    }
    let mut code = ExitCode::SUCCESS;
    for bucket in &doomed {
        match delete_one(bucket, arguments.force, &environment).await {
            Ok(line) => terminal::line(&line)?,
            Err(failure) => {
                terminal::print_failure(&failure);
                code = ExitCode::from(failure.kind.exit_code());
            }
        }
    }
    terminal::flush()?;
    Ok(code)
}

async fn delete_one(
    bucket: &Doomed,
    force: bool,
    environment: &CallerEnvironment,
) -> Result<String, Failure> {
    let address = Address {
        source: &bucket.uri,
        endpoint_url: bucket.endpoint_url.as_deref(),
        region: bucket.region.as_deref(),
        profile: bucket.profile.as_deref(),
        settings: Some(&bucket.settings),
    };
    let identity = opening::identity_of(address, environment).await?;
    if bucket.identity.as_ref().is_some_and(|recorded| *recorded != identity) {
        return Err(Failure::usage(format!("{} is not the bucket that Pail created", bucket.uri))
            .because("the endpoint that is meant now is another than the one where it was created")
            .with_hint(
                "give --endpoint-url as it was then; or name the bucket by its URI, and --endpoint-url",
            ));
    }
    let lease = Lease::take(&identity, &bucket.uri).await?;
    let in_use = |err: &std::io::Error| Failure::from_io(format!("cannot tell who uses {}", bucket.uri), err);
    let Some(_last) = lease.into_last(false).map_err(|err| in_use(&err))? else {
        return Err(Failure::other(format!("{} is in use", bucket.uri))
            .because("a launch from this machine is running with it")
            .with_hint("wait for its end, or end it"));
    };
    let what = format!("opening {}", bucket.uri);
    let opening = opening::open_bucket(address, environment, opening::OpeningOptions::default());
    let open = match progress::while_waiting(&what, opening).await {
        Ok(open) => open,
        Err(failure) if failure.kind == FailureKind::NotFound => {
            // Gone already: the record says so from now on.
            record::remove(&identity)?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let count = deleting::delete(&open, &bucket.uri, force).await?;
    record::remove(&identity)?;
    Ok(match count {
        0 => format!("deleted {}", bucket.uri),
        1 => format!("deleted {} and the object in it", bucket.uri),
        count => format!("deleted {} and the {count} objects in it", bucket.uri),
    })
}

fn chosen(arguments: &DeleteArguments, environment: &CallerEnvironment) -> Result<Vec<Doomed>, Failure> {
    let created = record::all()?;
    let of_record = |bucket: &Created| Doomed {
        uri: bucket.uri.clone(),
        endpoint_url: arguments.reach.endpoint_url.clone().or_else(|| bucket.endpoint_url.clone()),
        region: arguments.reach.region.clone().or_else(|| bucket.region.clone()),
        profile: arguments.reach.profile.clone().or_else(|| bucket.profile.clone()),
        settings: arguments.reach.settings(),
        identity: Some(bucket.identity.clone()),
    };
    if arguments.all {
        return Ok(created.iter().map(of_record).collect());
    }
    arguments
        .buckets
        .iter()
        .map(|name| chosen_by(name, &created, &of_record, arguments, environment))
        .collect()
}

fn chosen_by(
    name: &str,
    created: &[Created],
    of_record: &dyn Fn(&Created) -> Doomed,
    arguments: &DeleteArguments,
    environment: &CallerEnvironment,
) -> Result<Doomed, Failure> {
    let is_meant = |bucket: &&Created| match name.contains("://") {
        true => bucket.uri == name.trim_end_matches('/'),
        false => bucket.uri.rsplit('/').next() == Some(name),
    };
    let is_at = |bucket: &&Created| {
        arguments.reach.endpoint_url.is_none() || arguments.reach.endpoint_url == bucket.endpoint_url
    };
    let found: Vec<_> = created.iter().filter(is_meant).filter(is_at).collect();
    // A URI means the bucket at the endpoint that is meant now, where one is.
    let endpoint_is_named = name.contains("://")
        && (arguments.reach.endpoint_url.is_some()
            || opening::parse_source(name)
                .is_ok_and(|uri| opening::endpoint_url_of(uri.kind, environment).is_some()));
    match found[..] {
        _ if endpoint_is_named => {}
        [one] => return Ok(of_record(one)),
        [] => {}
        [_, ..] => {
            return Err(Failure::usage(format!("{name} is more than one bucket"))
                .with_hint("`pail storage ls` lists them; give the URI, and --endpoint-url"));
        }
    }
    if !name.contains("://") {
        return Err(Failure::new(FailureKind::NotFound, format!("Pail created no bucket {name}"))
            .with_hint("`pail storage ls` lists what it created; another bucket is deleted by its URI"));
    }
    let uri = opening::parse_source(name)?;
    if !uri.prefix.is_empty() {
        return Err(Failure::usage(format!(
            "{name} is a directory of a bucket, and buckets are deleted whole"
        ))
        .with_hint(format!("write {}", uri.bucket_uri())));
    }
    Ok(Doomed {
        uri: uri.bucket_uri(),
        endpoint_url: arguments.reach.endpoint_url.clone(),
        region: arguments.reach.region.clone(),
        profile: arguments.reach.profile.clone(),
        settings: arguments.reach.settings(),
        identity: None,
    })
}

/// What is mounted here is in use.
async fn check_unmounted(doomed: &[Doomed]) -> Result<(), Failure> {
    for bucket in doomed {
        if let Some(place) = mounted_at(&bucket.uri, bucket.endpoint_url.as_deref()).await? {
            let place = place.display();
            return Err(Failure::other(format!("{} is mounted at {place}", bucket.uri))
                .with_hint(format!("`pail umount {place}` first")));
        }
    }
    Ok(())
}

/// Asks. Errors: nobody is there to answer.
fn confirmed(doomed: &[Doomed], force: bool) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("deleting buckets is asked for on a terminal, and there is none")
            .with_hint("-y deletes without asking"));
    }
    let names: Vec<_> = doomed.iter().map(|bucket| bucket.uri.as_str()).collect();
    let all = if force { " and all objects in it" } else { "" };
    terminal::confirmed(&format!("delete {}{all}? There is no way back.", names.join(", ")))
}
