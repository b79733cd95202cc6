//! The storage classes of the stores that are known.
//!
//! Owns: [`check_storage_class`], by which a name that a vendor cannot know is refused before anything is sent, and [`needs_restoring`]. Other
//! servers have classes of their own (Ceph's are its administrator's), so that a name counts there as it is given: which endpoint is the
//! vendor's, the caller knows.

use super::StoreKind;

/// Amazon S3 API Reference, PutObject, `x-amz-storage-class`.
const OF_S3: &[&str] = &[
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
    "FSX_OPENZFS",
    "FSX_ONTAP",
];
/// Cloud Storage documentation, "Storage classes", with those that are not offered any more.
const OF_GCS: &[&str] = &[
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
    "RAPID",
    "MULTI_REGIONAL",
    "REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
];
/// Cloudflare R2 documentation, "Storage classes".
const OF_R2: &[&str] = &["STANDARD", "STANDARD_IA"];
/// IBM Cloud Object Storage documentation, "Use storage classes"; they are a bucket's.
const OF_IBM: &[&str] = &["standard", "smart", "vault", "cold", "onerate_active"];
/// Azure, "Put Blob", `x-ms-access-tier` of block blobs.
const OF_AZURE: &[&str] = &["Hot", "Cool", "Cold", "Archive"];

/// The classes of a store, as its vendor writes them.
pub fn storage_classes(kind: StoreKind) -> &'static [&'static str] {
    match kind {
        StoreKind::S3 => OF_S3,
        StoreKind::Gcs => OF_GCS,
        StoreKind::R2 => OF_R2,
        StoreKind::Ibm => OF_IBM,
        StoreKind::Azure => OF_AZURE,
    }
}

/// Errors: `class` is none of the vendor's, with the nearest that is one, or all of them.
pub fn check_storage_class(kind: StoreKind, class: &str) -> Result<(), String> {
    let known = storage_classes(kind);
    let in_any_case = matches!(kind, StoreKind::Ibm | StoreKind::Azure);
    let is_known = |known: &&str| *known == class || in_any_case && known.eq_ignore_ascii_case(class);
    if known.iter().any(is_known) {
        return Ok(());
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let typed = plain(class);
    let slips = |known: &&&str| strsim::damerau_levenshtein(&typed, &plain(known));
    // Longer ones are like none, and are not worth comparing.
    let nearest = known.iter().filter(|_| typed.len() <= 100).min_by_key(slips);
    let advice = match nearest.filter(|known| slips(known) <= known.len() / 3) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("it has {}", known.join(", ")),
    };
    let shown: String = class.chars().take(100).collect();
    Err(format!("{} has no storage class {shown:?}: {advice}", kind.label()))
}

/// Whether objects of a class can be read only some time after somebody asked for that (Amazon S3 User Guide, "Working with archived
/// objects"; Azure, "Blob rehydration from the archive tier"). Google's ARCHIVE is read at once.
pub fn needs_restoring(kind: StoreKind, class: &str) -> bool {
    match kind {
        StoreKind::S3 => matches!(class, "GLACIER" | "DEEP_ARCHIVE"),
        StoreKind::Azure => class.eq_ignore_ascii_case("Archive"),
        StoreKind::Gcs | StoreKind::R2 | StoreKind::Ibm => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_vendor_cannot_know_is_refused_with_the_nearest_name() {
        for (kind, class, near) in [
            (StoreKind::S3, "STANDART_IA", "did you mean \"STANDARD_IA\"?"),
            (StoreKind::S3, "standard-ia", "did you mean \"STANDARD_IA\"?"),
            (StoreKind::S3, "GLACIERIR", "did you mean \"GLACIER_IR\"?"),
            (StoreKind::S3, "warm", "it has STANDARD, STANDARD_IA,"),
            (StoreKind::Gcs, "nearline", "did you mean \"NEARLINE\"?"),
            (StoreKind::Gcs, "GLACIER", "it has STANDARD, NEARLINE,"),
            (StoreKind::R2, "INTELLIGENT_TIERING", "it has STANDARD, STANDARD_IA"),
            (StoreKind::Azure, "Arhive", "did you mean \"Archive\"?"),
            (StoreKind::Ibm, "colt", "did you mean \"cold\"?"),
            (StoreKind::Ibm, "", "it has standard, smart,"),
        ] {
            let refused = check_storage_class(kind, class).unwrap_err();
            assert!(refused.ends_with(near) || refused.contains(near), "{refused}");
            assert!(refused.starts_with(&format!("{} has no storage class", kind.label())), "{refused}");
        }
        let long = "x".repeat(1 << 20);
        assert!(check_storage_class(StoreKind::S3, &long).unwrap_err().len() < 500);
    }

    #[test]
    fn every_class_is_taken_as_its_vendor_writes_it() {
        for kind in StoreKind::ALL {
            for class in storage_classes(kind) {
                assert_eq!(check_storage_class(kind, class), Ok(()));
            }
        }
        assert_eq!(check_storage_class(StoreKind::Azure, "cool"), Ok(()));
        assert_eq!(check_storage_class(StoreKind::Ibm, "Smart"), Ok(()));
        assert!(needs_restoring(StoreKind::Azure, "archive") && !needs_restoring(StoreKind::Gcs, "ARCHIVE"));
    }
}
