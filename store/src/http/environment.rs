//! The environment that a store is opened in.
//!
//! Owns: [`Environment`]: the variables of this process, or those of somebody whom a daemon opens the store for. With the
//! latter, nothing of this process's own environment decides on endpoint, region or keys. (The instance's role is the machine's, and the same
//! for both.)

use crate::contract::CallerVariables;
use std::path::{Path, PathBuf};

/// Where variables are looked up.
#[derive(Clone, Copy)]
pub(crate) struct Environment<'a>(pub Option<&'a CallerVariables>);

impl Environment<'_> {
    /// A variable; an empty one counts as unset.
    pub fn get(self, name: &str) -> Option<String> {
        let value = match self.0 {
            Some(caller) => caller.0.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// A path that a setting names; `~/` is the home.
    pub fn path(self, named: &str) -> PathBuf {
        expand_home(named, self.get("HOME").map(PathBuf::from).as_deref())
    }

    /// Whether the variables are another's than this process's.
    pub fn are_given(self) -> bool {
        self.0.is_some()
    }
}

pub(crate) fn expand_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_not_mixed_with_this_process() {
        let caller = CallerVariables([("AWS_REGION".to_owned(), String::new())].into());
        let environment = Environment(Some(&caller));
        assert_eq!(environment.get("PATH"), None, "PATH is this process's");
        assert_eq!(environment.get("AWS_REGION"), None);
        assert!(Environment(None).get("PATH").is_some());
    }
}
