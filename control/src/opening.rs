//! From a mount's wishes to a bucket that answers.
//!
//! Owns: [`open_bucket`], the only place that builds stores, for the daemon and for the command, and the advice that goes with each way in which
//! a bucket can fail to answer.
//!
//! # Why the check has less time
//! A mount that cannot work must fail while the user waits at the terminal, so its bucket is checked with a short deadline. A mount that
//! works retries far longer: an outage of half a minute is no reason to fail a training job's write. Both go through the same store, so
//! that credentials are looked up once, and connections, the region and the clock that the check found serve on.

use crate::quantity::ByteSize;
use crate::types::MountSpec;
use crate::{BucketSettings, CallerEnvironment, Failure, FailureKind, credential_sources};
use pail_store::{
    BucketUri, CallLimit, CallerVariables, Capabilities, Error, ErrorKind, ListPage, ListRequest, ObjectMeta,
    RawKey, Store, StoreKind, StoreOptions, limited_call,
};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinHandle;

/// How long the check waits for a connection, and for an answer.
const CHECK_WAIT: Duration = Duration::from_secs(6);
/// How long the check of a bucket retries.
const CHECK_LIMIT: CallLimit = CallLimit { deadline: Duration::from_secs(12), attempt: CHECK_WAIT };
/// Bounds the whole opening, credential lookups included.
const OPENING_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a mount waits to hear whether it may write.
const WRITE_CHECK_WAIT: Duration = Duration::from_secs(2);
/// How long it waits then to hear which conditions are enforced: an endpoint that nobody knows is asked some fifteen times, one after the other.
const CONDITION_CHECK_WAIT: Duration = Duration::from_secs(3);

/// Requests of one copy at the same time: those for objects' bytes (`--connections`), and others beside them.
const REQUESTS_OF_COPY_MAX: usize = 384;
/// Where an endpoint's URL may have come from, and what it looks like.
const ENDPOINT_HINT: &str = "--endpoint-url, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile's endpoint_url is like http://HOST:PORT or https://HOST";

/// A bucket that answered.
pub struct OpenBucket {
    /// The bucket.
    pub store: Arc<dyn Store>,
    /// Prefix of the keys to show; empty, or ending in `/`.
    pub prefix: String,
    /// The bucket was created.
    pub created: bool,
    /// The beginning of what is below the prefix, by which the bucket was checked.
    pub first_page: ListPage,
    /// When that was asked for.
    pub listed_at: Instant,
}

impl OpenBucket {
    /// There is a prefix, and nothing below it.
    pub fn has_empty_prefix(&self) -> bool {
        !self.prefix.is_empty() && self.first_page.objects.is_empty() && self.first_page.prefixes.is_empty()
    }

    /// The object that has the prefix's name, without its `/`. Errors: the store's.
    pub async fn object_of_that_name(&self) -> Result<Option<ObjectMeta>, Error> {
        let Ok(key) = RawKey::new(self.prefix.trim_end_matches('/')) else { return Ok(None) };
        match self.store.head(&key).await {
            Ok(object) => Ok(Some(object)),
            Err(err) if err.kind == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Refuses an object's name in place of a prefix, which `source` would show as an empty directory. One request, and only where nothing
    /// is below the prefix; where it comes to nothing in time the prefix stands.
    pub async fn refuse_object(&self, source: &str) -> Result<(), Failure> {
        if self.created || !self.has_empty_prefix() {
            return Ok(());
        }
        let looked = tokio::time::timeout(CHECK_WAIT, self.object_of_that_name()).await;
        let Ok(Ok(Some(object))) = looked else { return Ok(()) };
        let source = source.trim_end_matches('/');
        let (parent, name) = source.rsplit_once('/').unwrap_or((source, ""));
        Err(Failure::usage(format!(
            "{source} is an object ({}), not a prefix",
            ByteSize(object.size).human()
        ))
        .with_hint(format!("mount {parent}, where it is the file {name}")))
    }
}

/// Finds out beside the mounting whether the credentials may write, without a write.
#[derive(Debug)]
pub struct WriteCheck(Option<JoinHandle<bool>>);

impl WriteCheck {
    /// Asks, unless the mount is read-only.
    pub fn begin(bucket: &OpenBucket, read_only: bool) -> Self {
        let store = bucket.store.clone();
        Self((!read_only).then(|| {
            tokio::spawn(async move {
                let asked = tokio::time::timeout(WRITE_CHECK_WAIT, store.may_write()).await;
                matches!(asked, Ok(Ok(Some(false))))
            })
        }))
    }

    /// Whether a write was refused. What comes to nothing within two seconds says nothing.
    pub async fn are_refused(self) -> bool {
        let Some(asked) = self.0 else { return false };
        asked.await.unwrap_or(false)
    }
}

/// Finds out beside the mounting which conditions the endpoint enforces. Nothing is sent where that is known or remembered; another is asked
/// by what its first write on a condition would have it asked.
#[derive(Debug)]
pub struct ConditionCheck(Option<(JoinHandle<Option<Capabilities>>, Instant)>);

impl ConditionCheck {
    /// Asks, unless nothing is to be written.
    pub fn begin(bucket: &OpenBucket, read_only: bool) -> Self {
        let store = bucket.store.clone();
        Self((!read_only).then(|| {
            let asked = async move {
                let known = store.capabilities().await;
                known.inspect_err(|error| tracing::debug!(%error, "not known at mount")).ok()
            };
            (tokio::spawn(asked), Instant::now() + CONDITION_CHECK_WAIT)
        }))
    }

    /// The answer; `None` where there is none within three seconds of the beginning. The endpoint is asked on behind that, for its first write on a condition.
    pub async fn outcome(self) -> Option<Capabilities> {
        let (asked, until) = self.0?;
        tokio::time::timeout_at(until.into(), asked).await.ok()?.ok()?
    }
}

/// Which bucket is meant, and how it is reached.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The URI of a bucket, or of a prefix in one.
    pub source: &'a str,
    /// The endpoint; `None` leaves it to the environment, the profile, or the store's own.
    pub endpoint_url: Option<&'a str>,
    /// The region; `None` leaves it to the environment and the profile.
    pub region: Option<&'a str>,
    /// The profile of the AWS configuration files.
    pub profile: Option<&'a str>,
    /// How the bucket is asked, and what new objects get; `None` are the defaults.
    pub settings: Option<&'a BucketSettings>,
}

impl<'a> Address<'a> {
    /// A bucket that is reached as the environment says.
    pub fn new(source: &'a str) -> Self {
        Self { source, endpoint_url: None, region: None, profile: None, settings: None }
    }
}

impl<'a> From<&'a MountSpec> for Address<'a> {
    fn from(spec: &'a MountSpec) -> Self {
        Self {
            source: &spec.source,
            endpoint_url: spec.endpoint_url.as_deref(),
            region: spec.region.as_deref(),
            profile: spec.profile.as_deref(),
            settings: Some(&spec.settings),
        }
    }
}

/// How a bucket is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpeningOptions {
    /// Creates it, where it is not there.
    pub create: bool,
    /// Folds keys of the first page at the next `/`.
    pub delimiter: bool,
    /// Requests at the same time; `None` for the store's default.
    pub requests_in_flight_max: Option<usize>,
}

impl OpeningOptions {
    /// For a copy: room for as many requests as one has connections at most, and for its listings beside them.
    pub fn for_copy(create: bool) -> Self {
        Self { create, delimiter: true, requests_in_flight_max: Some(REQUESTS_OF_COPY_MAX) }
    }

    /// With keys of the first page folded, or all of them.
    pub fn listing(delimiter: bool) -> Self {
        Self { delimiter, ..Self::default() }
    }
}

/// Opens the bucket at `address` as its caller would, and makes sure that it is there and may be listed, by the first page below its
/// prefix: what that says nobody has to ask for again. Errors: a bucket that is not there, may not be listed, or does not answer within 25 s; missing or wrong credentials.
pub async fn open_bucket(
    address: Address<'_>,
    environment: &CallerEnvironment,
    options: OpeningOptions,
) -> Result<OpenBucket, Failure> {
    let opening = open_and_check(address, environment, options);
    tokio::time::timeout(OPENING_TIMEOUT, opening).await.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Unreachable, format!("{} does not answer", address.source))
            .because(format!("no answer within {} s", OPENING_TIMEOUT.as_secs()))
            .with_hint(unreachable_hint(address)))
    })
}

async fn open_and_check(
    address: Address<'_>,
    environment: &CallerEnvironment,
    OpeningOptions { create, delimiter, requests_in_flight_max }: OpeningOptions,
) -> Result<OpenBucket, Failure> {
    let uri: BucketUri = parse_source(address.source)?;
    let endpoint_url = address.endpoint_url.or_else(|| endpoint_url_of(uri.kind, environment));
    // The others check theirs by rules of their own.
    if matches!(uri.kind, StoreKind::S3 | StoreKind::R2 | StoreKind::Ibm) {
        endpoint_url.map(check_endpoint_url).transpose()?;
    }
    address.settings.map_or(Ok(()), |settings| settings.check(uri.kind))?;
    let explain = |err: &Error| explain(address, uri.kind, environment, err);
    let mut store_options = store_options(address, environment, &uri);
    if let Some(max) = requests_in_flight_max {
        store_options.requests_in_flight_max = max;
    }
    let store = pail_store::open(store_options).await;
    let store = store.map_err(|err| explain(&err))?;
    let prefix = as_directory(&uri.prefix);
    let listed_at = Instant::now();
    let listing = ListRequest { prefix: prefix.clone(), delimiter, ..ListRequest::default() };
    let (first_page, created) = match limited_call(CHECK_LIMIT, store.list(listing)).await {
        Ok(page) => (page, false),
        Err(err) if err.kind == ErrorKind::NoSuchBucket && create => {
            limited_call(CHECK_LIMIT, store.create_bucket()).await.map_err(|err| explain(&err))?;
            tracing::info!(bucket = %address.source, "created the bucket");
            (ListPage::default(), true)
        }
        Err(err) => return Err(explain(&err)),
    };
    Ok(OpenBucket { store, prefix, created, first_page, listed_at })
}

/// What identifies the bucket at `address` wherever its name may be taken by another: its endpoint and its name. Nothing is sent. Errors:
/// those of [`open_bucket`] that are found without asking.
pub async fn identity_of(address: Address<'_>, environment: &CallerEnvironment) -> Result<String, Failure> {
    let uri = parse_source(address.source)?;
    let store = pail_store::open(store_options(address, environment, &uri)).await;
    let store = store.map_err(|err| explain(address, uri.kind, environment, &err))?;
    Ok(store.identity().to_owned())
}

/// What nodes need of `environment`, and of the files and roles of this machine, to reach the buckets at `sources`, and when the first of the keys expire. Errors: the credentials that there are cannot be loaded.
pub async fn lend(
    environment: &CallerEnvironment,
    addresses: &[Address<'_>],
) -> Result<(CallerEnvironment, Option<SystemTime>), Failure> {
    let mut buckets: Vec<(BucketUri, Address<'_>)> = Vec::new();
    for address in addresses {
        let uri = parse_source(address.source)?;
        // Keys are a store's, or an account's, and no bucket's.
        let is_same = |(other, at): &(BucketUri, Address<'_>)| {
            other.kind == uri.kind && other.scope == uri.scope && at.endpoint_url == address.endpoint_url
        };
        if !buckets.iter().any(is_same) {
            buckets.push((uri, *address));
        }
    }
    let (mut all, mut first_expiry) = (CallerEnvironment::default(), None);
    for (bucket, address) in buckets {
        let label = bucket.kind.label();
        let options = store_options(address, environment, &bucket);
        let (lent, expiry) = pail_store::lend(&options).await.map_err(|cause| {
            let what = format!("the credentials of {label} for the nodes cannot be had");
            Failure::new(FailureKind::Credentials, what).because(cause)
        })?;
        all = all.overlaid_by(&CallerEnvironment::from_lookup(|name| lent.0.get(name).cloned()));
        first_expiry = match (first_expiry, expiry) {
            (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
            (one, other) => one.or(other),
        };
    }
    Ok((all, first_expiry))
}

/// Reads a bucket's URI. Errors: what is wrong with it, and what to write in its place.
pub fn parse_source(source: &str) -> Result<BucketUri, Failure> {
    source.parse::<BucketUri>().map_err(|err| {
        let shown = shown_source(source);
        Failure::usage(format!("{shown:?} is not a bucket")).because(err.to_string()).with_hint(err.hint())
    })
}

/// A URI as it may be shown: without a query, which may hold a signature, and without a user's password.
fn shown_source(source: &str) -> String {
    let open = source.split('?').next().unwrap_or_default();
    let Some((scheme, rest)) = open.split_once("://") else { return open.to_owned() };
    // A secret may have slashes, so that what is before the last @ may be one whatever it looks like.
    let shown = match rest.rsplit_once('@') {
        Some((user, after)) if user.contains(':') => after,
        _ => rest,
    };
    format!("{scheme}://{shown}")
}

/// The endpoint that `environment` names for a store of `kind` by variables of the AWS tools, which mean no other store.
pub fn endpoint_url_of(kind: StoreKind, environment: &CallerEnvironment) -> Option<&str> {
    let ignored = environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if ignored.is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        return None;
    }
    let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
    names.iter().filter(|_| kind == StoreKind::S3).find_map(|name| environment.get(name))
}

/// The endpoint that goes with a mount of `source`, since a daemon that makes it again has not all variables that name it: those of the AWS
/// tools, which a shell may have set otherwise by then, and what stands beside a key (`AZURE_STORAGE_CONNECTION_STRING`).
pub fn endpoint_to_keep(source: &str, environment: &CallerEnvironment) -> Option<String> {
    let uri = source.parse::<BucketUri>().ok()?;
    let named = endpoint_url_of(uri.kind, environment).map(str::to_owned);
    named.or_else(|| pail_store::endpoint_beside_key(&uri, &CallerVariables(environment.variables().clone())))
}

/// The region that `environment` names for a store of `kind` by variables of the AWS tools.
pub fn region_of(kind: StoreKind, environment: &CallerEnvironment) -> Option<&str> {
    let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    names.iter().filter(|_| kind == StoreKind::S3).find_map(|name| environment.get(name))
}

/// Checks a URL that an endpoint is to be reached by. Errors: what is wrong with it.
pub fn check_endpoint_url(url: &str) -> Result<(), Failure> {
    pail_store::check_endpoint_url(url)
        .map_err(|why| Failure::usage("the endpoint cannot be used").because(why).with_hint(ENDPOINT_HINT))
}

/// A prefix as a directory's: `s3://bucket/run` and `s3://bucket/run/` mean the same.
fn as_directory(prefix: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => String::new(),
        name => format!("{name}/"),
    }
}

fn store_options(address: Address<'_>, environment: &CallerEnvironment, uri: &BucketUri) -> StoreOptions {
    let settings = address.settings.cloned().unwrap_or_default();
    StoreOptions {
        region: address.region.map(str::to_owned),
        endpoint_url: address.endpoint_url.map(str::to_owned),
        profile: address.profile.map(str::to_owned),
        environment: Some(CallerVariables(environment.variables().clone())),
        probe_prefix: as_directory(&uri.prefix),
        anonymous: settings.anonymous,
        requester_pays: settings.requester_pays,
        new_objects: settings.new_objects(uri.kind),
        ..StoreOptions::new(uri.clone())
    }
}

fn explain(address: Address<'_>, kind: StoreKind, environment: &CallerEnvironment, err: &Error) -> Failure {
    let failure = Failure::from_store(format!("cannot use {}", address.source), err);
    let anonymous = address.settings.is_some_and(|settings| settings.anonymous);
    let hint = match err.kind {
        ErrorKind::NoSuchBucket | ErrorKind::NotFound => {
            let noun = kind.noun();
            format!(
                "check the name and the endpoint, or create the {noun} with --create, which `pail cp`, `sync` and `mount` have"
            )
        }
        ErrorKind::Credentials => credential_sources::missing_hint(kind).to_owned(),
        ErrorKind::Denied if anonymous => {
            format!("the {} is not public: leave out --no-sign-request", kind.noun())
        }
        ErrorKind::Denied => credential_sources::denied_hint(kind, address.profile, environment),
        ErrorKind::BucketTaken => "the name is somebody else's: choose another".to_owned(),
        ErrorKind::Unreachable | ErrorKind::Exhausted => unreachable_hint(address),
        _ => return failure,
    };
    failure.with_hint(hint)
}

fn unreachable_hint(address: Address<'_>) -> String {
    match address.endpoint_url {
        Some(url) => format!("check that a server answers at {url}, and the network on the way to it"),
        None => match parse_source(address.source).map(|uri| uri.kind) {
            Ok(StoreKind::S3) | Err(_) => {
                "check the network, and give another endpoint than AWS by --endpoint-url".to_owned()
            }
            Ok(kind) => format!(
                "check the network, and that {} is reached from here; another endpoint is given by --endpoint-url",
                kind.label()
            ),
        },
    }
}
