//! `pail mount`.

use crate::bucket_flags::{NewObjectFlags, Reach};
use crate::buckets::record;
use crate::{accounts, block_on, daemon, notices, terminal};
use pail_control::foreground::{self, ForegroundRequest};
use pail_control::opening::{self, Address};
use pail_control::quantity::{ByteSize, Period, Permissions};
use pail_control::settings::{Limits, process_environment};
use pail_control::types::{MountOutcome, MountRequest, MountSpec};
use pail_control::{CallerEnvironment, Failure};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Permissions of files and directories, by default.
const FILE_MODE: Permissions = Permissions(0o644);
const DIR_MODE: Permissions = Permissions(0o755);

/// Mount a bucket, or a prefix of one, at a directory
///
/// Returns when the mount is usable. The directory must be empty; one that is missing is created, and removed again when it is
/// unmounted. Mounting the same again does nothing. Keys, profile and region come from where each store's own tools look for them.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to mount: s3://BUCKET, gs://BUCKET, r2://BUCKET, cos://REGION/BUCKET or az://ACCOUNT/CONTAINER, each with or without /PREFIX
    uri: String,

    /// The directory to mount at
    dir: PathBuf,

    #[command(flatten)]
    options: Options,

    /// Create the bucket if it is missing
    #[arg(long)]
    create: bool,

    /// Run the daemon in this process until the mount ends or a signal comes
    #[arg(long)]
    foreground: bool,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// How a bucket is reached and shown.
#[derive(Debug, Default, clap::Args)]
struct Options {
    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    new_objects: NewObjectFlags,

    /// Refuse every change
    #[arg(long)]
    read_only: bool,

    /// How long what a listing said is taken for true; 0 asks each time [default: 5s, with --read-only 60s]
    #[arg(long, value_name = "TIME")]
    metadata_ttl: Option<Period>,

    /// Owner shown, by number or name [default: you]
    #[arg(long, value_name = "USER", value_parser = accounts::user)]
    uid: Option<u32>,

    /// Group shown, by number or name [default: yours]
    #[arg(long, value_name = "GROUP", value_parser = accounts::group)]
    gid: Option<u32>,

    /// Permissions of files, in octal, new ones too [default: 644; of a new one what the program asks for]
    #[arg(long, value_name = "MODE")]
    file_mode: Option<Permissions>,

    /// Permissions of directories, in octal, new ones too [default: 755; of a new one what the program asks for]
    #[arg(long, value_name = "MODE")]
    dir_mode: Option<Permissions>,

    /// Let other users in; what one makes is that user's own
    #[arg(long)]
    allow_other: bool,

    /// Directory of cached objects, for the daemon that is started [default: $XDG_CACHE_HOME/pail]
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,

    /// Disk budget of cached objects, such as 10G, for the daemon that is started [default: half of what is free, at most 20G]
    #[arg(long, value_name = "SIZE")]
    cache_size: Option<ByteSize>,

    /// Memory budget, such as 512M, for the daemon that is started [default: a quarter of the memory or of the cgroup's limit, at most 1G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let environment = CallerEnvironment::of_this_process();
    let spec = spec(&arguments.uri, &arguments.dir, &arguments.options, &environment)?;
    let limits = Limits {
        cache_dir: arguments.options.cache_dir.as_deref().map(absolute).transpose()?,
        cache_size: arguments.options.cache_size,
        memory: arguments.options.memory,
    };
    let request = MountRequest {
        spec,
        create_bucket: arguments.create,
        environment,
        limits: limits.or_environment(&process_environment)?,
    };
    if arguments.foreground {
        return Err(become_daemon(request, arguments.json));
    }
    let outcome = block_on(async {
        let outcome = daemon::mount(&request).await?;
        terminal::notes(&notices::left_behind_of(&outcome).await);
        Ok(outcome)
    })?;
    if outcome.created_bucket {
        block_on(async {
            record::note(Address::from(&outcome.spec), &request.environment).await;
            Ok(())
        })?;
    }
    report(&outcome, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Goes on as the daemon, which has [`super::report`] tell of it. Returns only where that fails.
fn become_daemon(mount: MountRequest, json: bool) -> Failure {
    let own = std::env::current_exe().map_err(|err| Failure::from_io("cannot find this program", &err));
    let mut reporter = match own {
        Ok(own) => vec![own.into_os_string(), super::report::NAME.into()],
        Err(failure) => return failure,
    };
    if json {
        reporter.push("--json".into());
    }
    foreground::become_daemon(&ForegroundRequest { mount, reporter })
}

/// What is to be mounted, with every default filled in. Errors: a directory that has no absolute path; an endpoint that cannot be.
fn spec(
    uri: &str,
    dir: &Path,
    options: &Options,
    environment: &CallerEnvironment,
) -> Result<MountSpec, Failure> {
    let kind = opening::parse_source(uri)?.kind;
    let reach = &options.reach;
    let settings = options.new_objects.on(reach.settings());
    settings.check(kind)?;
    settings.check_class(kind, reach.endpoint_url.as_deref(), environment)?;
    let by_environment = |found: Option<&str>| found.map(str::to_owned);
    let endpoint_url = reach.endpoint_url.clone().or_else(|| opening::endpoint_to_keep(uri, environment));
    // A mistake is told before a daemon is started for it.
    endpoint_url.as_deref().map(opening::check_endpoint_url).transpose()?;
    Ok(MountSpec {
        source: uri.trim_end_matches('/').to_owned(),
        mount_point: absolute(dir)?,
        endpoint_url,
        region: reach.region.clone().or_else(|| by_environment(opening::region_of(kind, environment))),
        profile: reach.profile.clone(),
        read_only: options.read_only,
        metadata_ttl: options.metadata_ttl.unwrap_or(MountSpec::default_ttl(options.read_only)),
        uid: options.uid.unwrap_or_else(|| rustix::process::getuid().as_raw()),
        gid: options.gid.unwrap_or_else(|| rustix::process::getgid().as_raw()),
        file_mode: options.file_mode.unwrap_or(FILE_MODE),
        dir_mode: options.dir_mode.unwrap_or(DIR_MODE),
        new_file_mode: options.file_mode,
        new_dir_mode: options.dir_mode,
        allow_other: options.allow_other,
        settings,
    })
}

/// Tells what was done.
pub fn report(outcome: &MountOutcome, json: bool) -> Result<(), Failure> {
    if json {
        terminal::json(outcome)?;
        return terminal::flush();
    }
    let place = outcome.spec.mount_point.display();
    let source = &outcome.spec.source;
    if outcome.recovered {
        terminal::note(&format!("note: took the place of a dead mount at {place}"));
    }
    if let Some(beneath) = &outcome.beneath {
        terminal::notes(&notices::beneath(&outcome.spec, beneath));
    }
    if outcome.created_bucket {
        terminal::note(&format!("note: created the bucket of {source}"));
    }
    if outcome.created_directory {
        terminal::note(&format!("note: created {place}"));
    }
    terminal::notes(&notices::empty_prefix(outcome));
    terminal::notes(&notices::refused_writes(outcome));
    terminal::notes(&notices::conditions(outcome));
    terminal::notes(&notices::archived(outcome));
    match outcome.already_mounted {
        true => terminal::line(&format!("{source} is mounted at {place} already"))?,
        false => terminal::line(&format!("mounted {source} at {place}"))?,
    }
    terminal::flush()
}

/// As an absolute path, without asking the file system, which may be a dead mount. Errors: it has none; it is not UTF-8, which neither
/// the daemon's JSON nor the names in a bucket can be otherwise.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    if path.to_str().is_none() {
        return Err(Failure::usage(format!("the path {path:?} is not UTF-8"))
            .with_hint("mount at a directory whose path is; a symbolic link to it does not help"));
    }
    std::path::absolute(path).map_err(|err| {
        let mut failure = Failure::usage(format!("{:?} is not a directory", path.display().to_string()));
        failure.causes.push(err.to_string());
        failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn given(vars: &[(&str, &str)]) -> CallerEnvironment {
        CallerEnvironment::from_lookup(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_same_wish_in_other_words_is_the_same_mount() {
        let reach = Reach { endpoint_url: Some("http://e".into()), ..Reach::default() };
        let by_flag = Options { reach, ..Options::default() };
        let dir = Path::new("/mnt/a");
        let one = spec("s3://bucket/", dir, &by_flag, &given(&[])).unwrap();
        let two = spec("s3://bucket", dir, &Options::default(), &given(&[("AWS_ENDPOINT_URL", "http://e")]))
            .unwrap();
        assert_eq!(one, two);
    }

    #[test]
    fn the_variables_of_the_aws_tools_are_for_s3_alone() {
        let aws = given(&[("AWS_ENDPOINT_URL", "http://e"), ("AWS_REGION", "eu-west-1")]);
        for uri in ["gs://bucket", "r2://bucket", "cos://us-south/bucket", "az://account/container"] {
            let spec = spec(uri, Path::new("/m"), &Options::default(), &aws).unwrap();
            assert_eq!((spec.endpoint_url, spec.region), (None, None), "{uri}");
        }
    }

    #[test]
    fn the_place_that_a_connection_string_names_is_kept_and_its_key_is_not() {
        let string = "AccountName=account1;AccountKey=hunter2==;BlobEndpoint=http://127.0.0.1:7/account1";
        let azure = given(&[("AZURE_STORAGE_CONNECTION_STRING", string)]);
        let made = spec("az://account1/container", Path::new("/m"), &Options::default(), &azure).unwrap();
        assert_eq!(made.endpoint_url.as_deref(), Some("http://127.0.0.1:7/account1"));
        let kept = serde_json::to_string(&(&made, azure.without_secrets())).unwrap();
        assert!(!kept.contains("hunter2"), "{kept}");
        let other = spec("az://account2/container", Path::new("/m"), &Options::default(), &azure).unwrap();
        assert_eq!(other.endpoint_url, None, "the string is of another account");
        let flag = Options {
            reach: Reach { endpoint_url: Some("http://e".into()), ..Reach::default() },
            ..Options::default()
        };
        let asked = spec("az://account1/container", Path::new("/m"), &flag, &azure).unwrap();
        assert_eq!(asked.endpoint_url.as_deref(), Some("http://e"));
    }

    #[test]
    fn a_read_only_mount_trusts_listings_longer() {
        let ttl = |options: &Options| {
            spec("s3://bucket", Path::new("/m"), options, &given(&[])).unwrap().metadata_ttl.0
        };
        assert_eq!(ttl(&Options::default()), Duration::from_secs(5));
        assert_eq!(ttl(&Options { read_only: true, ..Options::default() }), Duration::from_secs(60));
        let told =
            Options { read_only: true, metadata_ttl: Some(Period(Duration::ZERO)), ..Options::default() };
        assert_eq!(ttl(&told), Duration::ZERO);
    }
}
