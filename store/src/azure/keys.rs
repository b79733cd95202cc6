//! Names that Azure cannot keep apart.
//!
//! Owns: [`unusable`]. A blob's name may have nearly any character, but names travel as the path of a URL: `.` and `..` are resolved there,
//! control characters are refused, and the service takes `\` for `/` and drops a full stop at a name's end. (Azure, "Naming and referencing
//! containers, blobs, and metadata"; what its text leaves open was found by others, and is what rclone encodes for Azure.) A key that would
//! become another one is refused here, so that no two keys ever become one blob.

use crate::contract::{KEY_LEN_BYTES_MAX, RawKey};

/// Path segments that a blob's name may have.
const SEGMENTS_MAX: usize = 254;

/// Why `key` cannot be a blob's name; with `changes`, also why it cannot be one that is made or removed here.
pub(super) fn unusable(key: &RawKey, changes: bool) -> Option<String> {
    let key = key.as_str();
    let why = if key.split('/').any(|segment| segment == "." || segment == "..") {
        "a name in it is . or .., which the address of a request cannot hold"
    } else if key.chars().any(char::is_control) {
        "it has a control character"
    } else if changes && key.contains('\\') {
        "Azure takes its backslash for a slash"
    } else if changes && key.split('/').any(|segment| segment.ends_with('.')) {
        "a name in it ends with a full stop, which Azure leaves out"
    } else if changes && key.split('/').count() > SEGMENTS_MAX {
        "it has more than 254 names between slashes"
    } else if key.len() > KEY_LEN_BYTES_MAX {
        "it is longer than 1,024 bytes"
    } else {
        return None;
    };
    Some(format!("Azure cannot name the key: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_become_another_blob_is_refused() {
        for (key, read, changed) in [
            ("d/", true, true),
            ("a//b", true, true),
            ("/a", true, true),
            ("%41", true, true),
            ("..a", true, true),
            ("a/./b", false, false),
            ("..", false, false),
            ("new\nline", false, false),
            ("del\u{7f}", false, false),
            ("\u{81}", false, false),
            ("back\\slash", true, false),
            ("dot.", true, false),
            ("dot./x", true, false),
        ] {
            let key = RawKey::new(key).unwrap();
            assert_eq!(unusable(&key, false).is_none(), read, "reading {key:?}");
            assert_eq!(unusable(&key, true).is_none(), changed, "changing {key:?}");
        }
        assert!(unusable(&RawKey::new("a/".repeat(300)).unwrap(), true).is_some());
    }
}
