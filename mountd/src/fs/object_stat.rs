//! What is known of an object.
//!
//! Owns: [`ObjectStat`], what a listing, a HEAD or a publish said of a file, and [`Carried`], what of its attributes is known.
//!
//! # Versions that a listing leaves out
//! Some servers tell no versions in their listings. Then length and time say whether a file is the one that was known, and that only until
//! somebody opens it: what was replaced within the same second, by as many bytes, looks the same. So an opening asks for the version.

use pail_store::{Attributes, ObjectMeta, Version, content_type_of};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a listing or a HEAD says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStat {
    /// Length in bytes.
    pub size: u64,
    /// The version that this is of.
    pub version: Version,
    /// Last modification.
    pub mtime: SystemTime,
    /// Last modification by the store's clock, where the store has told it: `mtime` is this machine's of what was published here.
    pub store_time: Option<SystemTime>,
    /// What it carries beside its bytes, as far as is known.
    pub carried: Carried,
}

/// What is known of what an object carries beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Carried {
    /// Nothing.
    #[default]
    Untold,
    /// This mount made it, and gave it nothing: it has what the store gives a new object of its name.
    Fresh,
    /// This, but perhaps for its tags.
    Told(Arc<Attributes>),
}

impl Carried {
    /// Takes what is newly known of the same version of the object `name`: others may have given it something without making a version of it. What
    /// this mount gave nothing stays so for as long as it has nothing but the store's own choice.
    pub fn learn(&mut self, newer: &Self, name: &str) {
        match newer {
            Self::Told(told) if *self == Self::Fresh && is_own_choice(told, name) => {}
            Self::Told(_) => *self = newer.clone(),
            Self::Untold | Self::Fresh => {}
        }
    }

    /// The same under another name: what was given by the old one may not be what the new one would get.
    pub fn moved(self) -> Self {
        if self == Self::Fresh { Self::Untold } else { self }
    }
}

impl ObjectStat {
    /// Whether both are of one version, as far as that can be told: two that are unknown are, where length and time are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        match self.version.is_unknown() && other.version.is_unknown() {
            true => self.looks_same(other),
            false => self.version == other.version,
        }
    }

    /// Whether these may be of the version that a listing without versions tells of as `listed`.
    pub fn looks_same(&self, listed: &Self) -> bool {
        let same_time = match (self.store_time, listed.store_time) {
            (Some(known), Some(listed)) => is_same_second(known, listed),
            _ => true,
        };
        self.size == listed.size && same_time
    }

    /// Takes what `newer`, of the same version, tells more.
    pub fn learn(&mut self, newer: &Self) {
        self.store_time = newer.store_time.or(self.store_time);
        if self.carried != Carried::Fresh && newer.carried != Carried::Untold {
            self.carried = newer.carried.clone();
        }
    }
}

/// Whether an object of that name carries no more than a store gives a new one.
fn is_own_choice(attributes: &Attributes, name: &str) -> bool {
    let Attributes {
        metadata,
        content_type,
        content_encoding,
        content_language,
        content_disposition,
        cache_control,
        storage_class: _,
        encryption: _,
        tags: _,
        tag_count,
        uneditable,
    } = attributes;
    let is_default = |content_type: &str| {
        content_type_of(name) == Some(content_type)
            || matches!(content_type, "binary/octet-stream" | "application/octet-stream")
    };
    metadata.is_empty()
        && uneditable.is_none()
        && *tag_count == 0
        && content_type.as_deref().is_none_or(is_default)
        && [content_encoding, content_language, content_disposition, cache_control]
            .iter()
            .all(|header| header.is_none())
}

/// Whether two moments are the same to a clock that counts seconds, as the one of an answer's head does.
pub fn is_same_second(a: SystemTime, b: SystemTime) -> bool {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs())
    };
    seconds(a) == seconds(b)
}

impl From<&ObjectMeta> for ObjectStat {
    fn from(meta: &ObjectMeta) -> Self {
        let carried = meta.attributes.clone().map_or(Carried::Untold, Carried::Told);
        Self {
            size: meta.size,
            version: meta.version.clone(),
            mtime: meta.last_modified,
            store_time: Some(meta.last_modified),
            carried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(version: &str, size: u64, seconds: f64) -> ObjectStat {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
        let version = Version::from_etag(version);
        ObjectStat { size, version, mtime: time, store_time: Some(time), carried: Carried::Untold }
    }

    #[test]
    fn versions_that_are_unknown_are_told_apart_by_length_and_time() {
        assert!(stat("", 1, 10.0).is_same(&stat("", 1, 10.9)));
        assert!(!stat("", 1, 10.0).is_same(&stat("", 2, 10.0)));
        assert!(!stat("", 1, 10.0).is_same(&stat("", 1, 11.0)));
        assert!(stat("a", 1, 10.0).is_same(&stat("a", 1, 20.0)));
        assert!(!stat("a", 1, 10.0).is_same(&stat("", 1, 10.0)));
        assert!(stat("a", 1, 10.0).looks_same(&stat("", 1, 10.0)));
        let published = ObjectStat { store_time: None, ..stat("a", 1, 10.0) };
        assert!(published.looks_same(&stat("", 1, 99.0)), "this machine's clock is not the store's");
    }

    #[test]
    fn what_others_give_to_an_object_of_this_mount_is_learned() {
        let told = |attributes: Attributes| Carried::Told(Arc::new(attributes));
        let by_name = Attributes { content_type: Some("text/html".into()), ..Attributes::default() };
        let given = Attributes { cache_control: Some("no-store".into()), ..Attributes::default() };
        let mut carried = Carried::Fresh;
        carried.learn(&told(by_name.clone()), "d/page.html");
        assert_eq!(carried, Carried::Fresh, "the store's own choice");
        carried.learn(&told(by_name.clone()), "d/page");
        assert_eq!(carried, told(by_name), "a type that the name does not give");
        let mut carried = Carried::Fresh;
        carried.learn(&told(given.clone()), "d/page.html");
        assert_eq!(carried, told(given));
    }
}
