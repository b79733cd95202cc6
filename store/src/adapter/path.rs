//! Keys as the library's paths.
//!
//! Owns: [`exact_path`]. The library's paths are normalised: they have no empty segment, neither `.` nor `..`, no control character and no `/`
//! at either end. A key that would come out as another is refused, so that no two keys ever become one object.

use object_store::path::Path;

/// The path that is `key` byte for byte. Errors: why there is none.
pub fn exact_path(key: &str) -> Result<Path, String> {
    let refused = |why: &str| Err(format!("this store cannot name the key: {why}"));
    if key.starts_with('/') || key.ends_with('/') {
        return refused("it begins or ends with a slash");
    }
    if key.contains("//") {
        return refused("two slashes follow each other in it");
    }
    if key.split('/').any(|segment| segment == "." || segment == "..") {
        return refused("a name in it is . or ..");
    }
    match Path::parse(key) {
        Ok(path) if path.as_ref() == key => Ok(path),
        _ => refused("a control character is in it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_itself_or_nothing() {
        for key in ["a", "a/b", "%41", "a b", "back\\slash", "é", "~-_.!$()[]{}|^`", "..a/.b", "trail "] {
            assert_eq!(exact_path(key).unwrap().as_ref(), key);
        }
        for (key, told) in [
            ("d/", "slash"),
            ("/a", "slash"),
            ("a//b", "slashes"),
            ("a/./b", ". or .."),
            ("../x", ". or .."),
            ("..", ". or .."),
            ("a\nb", "control"),
            ("del\u{7f}", "control"),
        ] {
            let refused = exact_path(key).unwrap_err();
            assert!(refused.contains(told), "{key:?}: {refused}");
        }
    }
}
