//! `$VAR` and `${VAR}` in a task.
//!
//! Owns: [`substitute`]. As SkyPilot does it: variables of the task's `envs` and `secrets` are replaced, in one pass, and
//! whatever else looks like a variable stays as it is.

use std::collections::BTreeMap;

/// Up to which length variables are replaced in a text, so that a few lines do not make gigabytes.
pub const SUBSTITUTED_BYTES_MAX: usize = 1 << 16;
/// How many names are looked for in a text.
const NAMES_MAX: usize = 20;

/// `text` with the variables that `values` knows replaced. Where it becomes longer than [`SUBSTITUTED_BYTES_MAX`] it is too long already,
/// and the rest stays as it is.
pub fn substitute(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$').filter(|_| out.len() <= SUBSTITUTED_BYTES_MAX) {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        match variable(rest).and_then(|(name, len)| Some((values.get(name)?, len))) {
            Some((value, len)) => {
                out.push_str(value);
                rest = &rest[len..];
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The names of what looks like a variable in `text`, each once; the first twenty.
pub fn variables_in(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (dollar, _) in text.match_indices('$') {
        if let Some((name, _)) = variable(&text[dollar..])
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
            if names.len() == NAMES_MAX {
                break;
            }
        }
    }
    names
}

/// The name of the variable that `text` begins with, and how many bytes of it are the variable.
fn variable(text: &str) -> Option<(&str, usize)> {
    let after = text.strip_prefix('$')?;
    if let Some(braced) = after.strip_prefix('{') {
        let end = braced.find('}')?;
        return is_name(&braced[..end]).then_some((&braced[..end], end + 3));
    }
    let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
    is_name(&after[..end]).then_some((&after[..end], end + 1))
}

/// Whether a shell takes it for a variable's name.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_variable_is_found() {
        assert_eq!(variables_in("$A/${B_1}$A $1 ${ $$C"), ["A", "B_1", "C"]);
    }

    #[test]
    fn known_variables_are_replaced_once_and_others_stay() {
        let values = BTreeMap::from([("A".to_owned(), "$B".to_owned()), ("B_1".to_owned(), "x".to_owned())]);
        for (text, result) in [
            ("${A}/$B_1.txt", "$B/x.txt"),
            ("$A$A", "$B$B"),
            ("$UNKNOWN ${UNKNOWN} $ ${} ${A $1", "$UNKNOWN ${UNKNOWN} $ ${} ${A $1"),
            ("$B_12", "$B_12"),
            ("ü$A", "ü$B"),
            ("", ""),
        ] {
            assert_eq!(substitute(text, &values), result, "{text}");
        }
    }
}
