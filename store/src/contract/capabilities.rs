//! What an endpoint can do.
//!
//! Owns: [`Capabilities`], which callers plan by. Conditions that an endpoint does not enforce are checked by a HEAD just before the write.

/// Of what a part can be made on the server ([`Store::copy_part`](crate::Store::copy_part)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartCopy {
    /// Of nothing.
    None,
    /// Of an object as a whole, whatever its length (a store that composes objects).
    Whole,
    /// Of any range that is as long as a part must be.
    Ranges,
}

/// A change whose condition an endpoint may ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionedChange {
    /// An object that is written in one request.
    Writes,
    /// The completion of one that was sent in parts.
    LargeWrites,
    /// A deletion.
    Deletions,
}

/// What an endpoint can do. Known for the big ones, probed on others: some servers answer 200 to a condition that
/// they ignore.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// `If-None-Match: *` and `If-Match` on PutObject are enforced.
    pub conditional_put: bool,
    /// The same on CompleteMultipartUpload.
    pub conditional_complete: bool,
    /// The changes whose conditions are known to be ignored.
    pub ignored_conditions: Vec<ConditionedChange>,
    /// The endpoint was not asked, and is not known: what is not claimed here may be there.
    pub is_assumed: bool,
    /// What a part can be made of on the server.
    pub part_copy: PartCopy,
    /// [`Store::rename`](crate::Store::rename) works, in one step that nobody sees half of.
    pub atomic_rename: bool,
    /// All parts but the last must have one size (R2).
    pub equal_parts: bool,
    /// The smallest part but the last, in bytes.
    pub part_size_bytes_min: u64,
    /// The largest part, in bytes.
    pub part_size_bytes_max: u64,
    /// The most parts an upload can have.
    pub part_count_max: u32,
    /// The largest object one PutObject can make, in bytes.
    pub put_size_bytes_max: u64,
}

impl Capabilities {
    /// Everything, with the limits of Amazon S3 (User Guide, "Amazon S3 multipart upload limits").
    pub fn full() -> Self {
        Self {
            conditional_put: true,
            conditional_complete: true,
            ignored_conditions: Vec::new(),
            is_assumed: false,
            part_copy: PartCopy::Ranges,
            atomic_rename: false,
            equal_parts: false,
            part_size_bytes_min: 5 * 1024 * 1024,
            part_size_bytes_max: 5 * 1024 * 1024 * 1024,
            part_count_max: 10_000,
            put_size_bytes_max: 5 * 1024 * 1024 * 1024,
        }
    }

    /// Whether conditions of such changes are known to be enforced.
    pub fn enforces(&self, change: ConditionedChange) -> bool {
        !self.is_assumed && !self.ignored_conditions.contains(&change)
    }
}
