//! The keys that a task's file may have, and what each takes.
//!
//! Owns: [`TASK`] and the tables below it. They are the only list of keys: the reader refuses what they do not have, and the JSON Schema
//! is written from them, so neither can know a key that the other does not.

/// A key and its value.
#[derive(Debug)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it means, for editors.
    pub about: &'static str,
}

/// What a value may be. Nothing, as in `key:`, is as good as no key.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text, or a number or boolean as it is written.
    Text,
    /// Commands for a shell.
    Command,
    /// `true` or `false`.
    Bool,
    /// A whole number, and the least that it may be.
    Count(u32),
    /// A number of bytes: digits and one of `bkmgtp`, or none.
    Size,
    /// Digits and a unit, once or several times: `5m`, `1h30m`.
    Duration,
    /// One of some words, in any case.
    Word(&'static [&'static str]),
    /// A map of names to text; nothing is a value that the command line gives.
    Variables,
    /// An object with these keys and no others.
    Object(&'static [Field]),
    /// Text, or such an object.
    TextOrObject(&'static [Field]),
    /// Text, or a list of texts.
    TextOrList,
    /// A map of places to texts or to such objects.
    Places(&'static [Field]),
}

/// The parts of a task that are acted on.
pub const TASK: &[Field] = &[
    field("name", Kind::Text, "The task's name."),
    field("num_nodes", Kind::Count(1), "On how many nodes setup and run run."),
    field(
        "envs",
        Kind::Variables,
        "Variables of setup and run, which also replace $NAME and ${NAME} in `workdir` and `file_mounts`. One without a value is given by --env.",
    ),
    field(
        "secrets",
        Kind::Variables,
        "As `envs`, but shown nowhere. One without a value is given by --secret.",
    ),
    field(
        "workdir",
        Kind::TextOrObject(WORKDIR),
        "The code: a directory, or a git repository. Its content goes to ~/sky_workdir on every node, where setup and run run.",
    ),
    field(
        "file_mounts",
        Kind::Places(FILE_MOUNT),
        "Files and buckets beside the code, by the place where a node has them: absolute, below ~/, or below ~/sky_workdir.",
    ),
    field("setup", Kind::Command, "Commands that run first, on every node."),
    field("run", Kind::Command, "Commands that run then, on every node."),
];

/// A `workdir` that is a git repository.
pub const WORKDIR: &[Field] = &[
    field("url", Kind::Text, "The repository: https://HOST/PATH, ssh://HOST/PATH or HOST:PATH."),
    field("ref", Kind::Text, "A branch, a tag or a commit; without it the repository's default branch."),
];

/// An entry of `file_mounts` that is an object.
pub const FILE_MOUNT: &[Field] = &[
    field("name", Kind::Text, "A bucket's name. With a mount it is created where it is missing."),
    field(
        "source",
        Kind::TextOrList,
        "A bucket or a prefix in one (s3://BUCKET/PREFIX, gs://BUCKET, r2://BUCKET, cos://REGION/BUCKET, az://ACCOUNT/CONTAINER), or files and directories of this machine that are uploaded to the bucket `name`.",
    ),
    field(
        "store",
        Kind::Word(STORES),
        "The kind of store that the bucket is in; without it that of the URI, else the first that there are credentials for.",
    ),
    field(
        "persistent",
        Kind::Bool,
        "Whether the bucket stays when the task has ended; with false Pail deletes it then, if that launch created it.",
    ),
    field("mode", Kind::Word(MODES), "MOUNT: the bucket is a directory. COPY: its content is copied once."),
    field("type", Kind::Word(PRESETS), "What is in the bucket, as a preset for reads and writes."),
    field("config", Kind::Object(CONFIG), "Settings of the mount."),
    field(
        "endpoint",
        Kind::Text,
        "The URL of the store's server, in place of its own; of S3 in place of AWS_ENDPOINT_URL.",
    ),
    field(
        "region",
        Kind::Text,
        "The region of the bucket: where it is, or is created. IBM's store needs it, or IBM_COS_REGION.",
    ),
    field(
        "account",
        Kind::Text,
        "The storage account of a container in Azure, in place of AZURE_STORAGE_ACCOUNT.",
    ),
];

/// `config` of an entry.
const CONFIG: &[Field] = &[
    field("mount", Kind::Object(MOUNT_CONFIG), "Settings with mode MOUNT."),
    field("mount_cached", Kind::Object(CACHED_CONFIG), "Settings with mode MOUNT_CACHED."),
    field(
        "content_type_by_name",
        Kind::Word(SWITCH),
        "Whether new objects get a content type by their names; by default they do.",
    ),
    field("storage_class", Kind::Text, "The storage class of new objects, in the store's own word."),
    field("sse", Kind::Text, "How S3 encrypts new objects: AES256, aws:kms or aws:kms:dsse."),
    field(
        "sse_kms_key_id",
        Kind::Text,
        "The key that new objects are encrypted by, of S3 or of Google Cloud.",
    ),
    field(
        "requester_pays",
        Kind::Bool,
        "Whoever asks pays for what is sent, where the bucket's owner asks for that.",
    ),
];

const MOUNT_CONFIG: &[Field] = &[field("read_only", Kind::Bool, "Refuse every change.")];

const CACHED_CONFIG: &[Field] = &[
    field("transfers", Kind::Count(1), "How many files are uploaded at a time."),
    field("buffer_size", Kind::Size, "Memory to read ahead into, for each open file."),
    field("vfs_cache_max_size", Kind::Size, "The most that the cache takes on the disk."),
    field("vfs_cache_max_age", Kind::Duration, "How long unused files stay in the cache."),
    field("vfs_read_ahead", Kind::Size, "How much is read ahead onto the disk."),
    field("vfs_read_chunk_size", Kind::Size, "How much one request reads."),
    field("vfs_read_chunk_streams", Kind::Count(0), "How many requests read a file at a time."),
    field("vfs_write_back", Kind::Duration, "How long after its last close a file is uploaded."),
    field("read_only", Kind::Bool, "Refuse every change."),
];

/// What a bucket may be used as.
pub const MODES: &[&str] = &["MOUNT", "COPY", "MOUNT_CACHED"];
/// What is on or off.
pub const SWITCH: &[&str] = &["on", "off", "true", "false"];
/// The stores of SkyPilot's tasks.
pub const STORES: &[&str] = &["s3", "gcs", "r2", "ibm", "azure", "oci", "nebius", "coreweave"];
/// Other names that people have for a store, without hyphens and underscores, and the store.
pub const STORES_MEANT: &[(&str, &str)] = &[
    ("amazon", "s3"),
    ("amazons3", "s3"),
    ("aws", "s3"),
    ("awss3", "s3"),
    ("ceph", "s3"),
    ("minio", "s3"),
    ("gcp", "gcs"),
    ("google", "gcs"),
    ("googlecloud", "gcs"),
    ("googlecloudstorage", "gcs"),
    ("gs", "gcs"),
    ("cloudflare", "r2"),
    ("cloudflarer2", "r2"),
    ("cos", "ibm"),
    ("ibmcloud", "ibm"),
    ("ibmcos", "ibm"),
    ("abfs", "azure"),
    ("abfss", "azure"),
    ("az", "azure"),
    ("azblob", "azure"),
    ("azureblob", "azure"),
    ("blob", "azure"),
    ("wasb", "azure"),
    ("wasbs", "azure"),
];
/// Presets of SkyPilot's for reads and uploads.
pub const PRESETS: &[&str] = &["MODEL_CHECKPOINT_RO", "MODEL_CHECKPOINT_RW", "DATASET_RO", "DATASET_RW"];

/// Keys of SkyPilot's tasks that Pail does not act on.
pub const IGNORED: &[&str] = &[
    "resources",
    "service",
    "config",
    "experimental",
    "event_callback",
    "inputs",
    "outputs",
    "volumes",
    "volume_mounts",
    "pool",
    "file_mounts_mapping",
    "estimated",
    "api_server",
];

const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, about }
}

/// The names of `fields`.
pub fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}
