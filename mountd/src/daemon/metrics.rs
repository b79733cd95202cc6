//! The daemon's figures for Prometheus.
//!
//! Owns: [`render`]. Whoever does the work counts it; here the counts are only read, when somebody asks for them, so that
//! measuring costs nothing between two scrapes. Names follow the OpenMetrics conventions.

use super::Daemon;
use pail_control::types::{MountState, MountStatus};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfMount {
    mount: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    mount: String,
    operation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    mount: String,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: String,
}

/// All figures in the OpenMetrics text format.
pub fn render(daemon: &Daemon) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("pail");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running daemon", build);
    let statuses = daemon.mount_statuses();
    register_mounts(&mut registry, &statuses);
    register_operations(&mut registry, &statuses);
    register_store(&mut registry, &statuses);
    register_cache(&mut registry, daemon);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

fn register_mounts(registry: &mut Registry, statuses: &[MountStatus]) {
    let by_state = Family::<OfState, Gauge>::default();
    for (name, state) in [
        ("starting", MountState::Starting),
        ("mounted", MountState::Mounted),
        ("failed", MountState::Failed),
        ("unmounting", MountState::Unmounting),
    ] {
        let count = statuses.iter().filter(|status| status.state == state).count();
        by_state.get_or_create(&OfState { state: name.to_owned() }).set(as_i64(count as u64));
    }
    registry.register("mounts", "Mounts by what they are doing", by_state);

    for (name, help, value) in [
        ("unpublished_files", "Files that are not in the bucket yet", unpublished_files as OfStatus),
        ("publishing_files", "Files being sent now", |status| status.fs.publishing),
        ("open_files", "Open file handles", |status| status.fs.open_files),
        ("inodes", "Inodes the kernel knows", |status| status.fs.inodes),
        ("hidden_keys", "Keys that no path can show", |status| status.fs.hidden_keys),
    ] {
        registry.register(name, help, gauges(statuses, value));
    }
    let bytes = gauges(statuses, |status| status.fs.unpublished.iter().map(|file| file.size_bytes).sum());
    registry.register_with_unit(
        "unpublished",
        "Size of the files that are not in the bucket yet",
        Unit::Bytes,
        bytes,
    );
}

/// A figure of one mount.
type OfStatus = fn(&MountStatus) -> u64;

fn unpublished_files(status: &MountStatus) -> u64 {
    status.fs.unpublished.len() as u64
}

fn gauges(statuses: &[MountStatus], value: OfStatus) -> Family<OfMount, Gauge> {
    let family = Family::<OfMount, Gauge>::default();
    for status in statuses {
        family.get_or_create(&of_mount(status)).set(as_i64(value(status)));
    }
    family
}

fn counters(statuses: &[MountStatus], value: OfStatus) -> Family<OfMount, Counter> {
    let family = Family::<OfMount, Counter>::default();
    for status in statuses {
        family.get_or_create(&of_mount(status)).inc_by(value(status));
    }
    family
}

fn register_store(registry: &mut Registry, statuses: &[MountStatus]) {
    let store = registry.sub_registry_with_prefix("store");
    let requests = Family::<OfOperation, Counter>::default();
    let errors = Family::<OfKind, Counter>::default();
    for status in statuses {
        let mount = of_mount(status).mount;
        for (operation, count) in &status.store.requests {
            let labels = OfOperation { mount: mount.clone(), operation: operation.clone() };
            requests.get_or_create(&labels).inc_by(*count);
        }
        for (kind, count) in &status.store.errors {
            errors.get_or_create(&OfKind { mount: mount.clone(), kind: kind.clone() }).inc_by(*count);
        }
    }
    store.register("requests", "Requests to the bucket, each attempt counted", requests);
    store.register("errors", "Requests that failed and bodies that broke off, each attempt counted", errors);
    store.register(
        "retries",
        "Requests sent again and bodies resumed",
        counters(statuses, |s| s.store.retries),
    );
    let in_flight = gauges(statuses, |status| status.store.in_flight);
    store.register("requests_in_flight", "Requests that are open now", in_flight);
    for (name, help, value) in [
        ("received", "Bytes of objects that arrived", (|status| status.store.bytes_received) as OfStatus),
        ("sent", "Bytes of objects that were sent", |status| status.store.bytes_sent),
    ] {
        store.register_with_unit(name, help, Unit::Bytes, counters(statuses, value));
    }
}

fn register_operations(registry: &mut Registry, statuses: &[MountStatus]) {
    let operations = Family::<OfOperation, Counter>::default();
    for status in statuses {
        for (operation, count) in &status.fs.operations {
            let labels = OfOperation { mount: of_mount(status).mount, operation: operation.clone() };
            operations.get_or_create(&labels).inc_by(*count);
        }
    }
    registry.register("operations", "File-system operations", operations);
}

fn register_cache(registry: &mut Registry, daemon: &Daemon) {
    let stats = daemon.cache_stats();
    let cache = registry.sub_registry_with_prefix("cache");
    for (name, help, value) in [
        ("memory_used", "Memory in use", stats.memory_used_bytes),
        ("memory_limit", "Memory budget", stats.memory_limit_bytes),
        ("disk_used", "Disk in use by clean replicas", stats.disk_used_bytes),
        ("disk_limit", "Disk budget of clean replicas", stats.disk_limit_bytes),
        ("dirty", "Disk in use by what is not published", stats.dirty_bytes),
    ] {
        let gauge: Gauge = Gauge::default();
        gauge.set(as_i64(value));
        cache.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    for (name, help, value) in [
        ("memory_hits", "Blocks found in memory", stats.memory_hits),
        ("disk_hits", "Blocks found on disk", stats.disk_hits),
        ("misses", "Blocks that had to be fetched", stats.misses),
        ("fetches", "Requests for object bytes", stats.fetches),
        ("dropped_fills", "Blocks that the disk was too slow to take", stats.dropped_fills),
        ("checksum_failures", "Blocks on disk that were not what was written", stats.checksum_failures),
        ("disk_errors", "Errors of the cache's disk", stats.disk_errors),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        cache.register(name, help, counter);
    }
    for (name, help, value) in [
        ("fetched", "Object bytes that arrived", stats.fetched_bytes),
        ("evicted", "Bytes of disk freed for others", stats.evicted_bytes),
    ] {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        cache.register_with_unit(name, help, Unit::Bytes, counter);
    }
}

fn of_mount(status: &MountStatus) -> OfMount {
    OfMount { mount: status.spec.mount_point.display().to_string() }
}

/// Gauges are signed; no figure here comes near the bound.
fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
