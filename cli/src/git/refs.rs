//! A remote's advertised refs.
//!
//! Owns: [`Refs`], as `git ls-remote --symref` prints them, and how a name is found among them: a branch before a tag, as `git clone
//! --branch` has it.

use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The commit, in full.
    pub commit: String,
    /// The branch's short name, if it is one.
    pub branch: Option<String>,
    /// Whether a tag of the same name was passed over.
    pub hides_tag: bool,
}

/// The refs that a remote told of.
#[derive(Debug, Default)]
pub struct Refs {
    ids: BTreeMap<String, String>,
    /// What `HEAD` points to, such as `refs/heads/main`.
    head: Option<String>,
}

impl Refs {
    /// Reads what `git ls-remote --symref` printed; lines of no such form are passed over.
    pub fn parse(text: &[u8]) -> Self {
        let mut refs = Self::default();
        // A ref's name that is not UTF-8 cannot be asked for by a task file, which is.
        for line in String::from_utf8_lossy(text).lines() {
            match line.split_once('\t') {
                Some((value, "HEAD")) if value.starts_with("ref: ") => {
                    refs.head = Some(value[5..].to_owned())
                }
                Some((id, name)) if is_full_id(id) => {
                    refs.ids.insert(name.to_owned(), id.to_owned());
                }
                _ => {}
            }
        }
        refs
    }

    /// Whether the remote has none at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What the remote's `HEAD` stands for.
    pub fn default_branch(&self) -> Option<Found> {
        let commit = self.ids.get("HEAD")?.clone();
        // Servers that do not tell what HEAD points to: a branch at the same commit, the usual names first.
        let same = |name: &&String| self.ids.get(*name) == Some(&commit);
        let usual = ["refs/heads/main".to_owned(), "refs/heads/master".to_owned()];
        let head = self.head.as_ref().or_else(|| usual.iter().find(same));
        let branch = head.and_then(|name| name.strip_prefix("refs/heads/")).map(str::to_owned);
        Some(Found { commit, branch, hides_tag: false })
    }

    /// What a name stands for: `name`, `heads/name`, `tags/name`, or a ref in full.
    pub fn find(&self, name: &str) -> Option<Found> {
        if name == "HEAD" {
            return self.default_branch();
        }
        // That is how a peeled tag is told, and no name.
        if name.ends_with("^{}") {
            return None;
        }
        let branch_name =
            name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("heads/")).unwrap_or(name);
        let tag_name = name.strip_prefix("refs/tags/").or_else(|| name.strip_prefix("tags/")).unwrap_or(name);
        let names_tag = tag_name != name;
        let tag = self.peeled(&format!("refs/tags/{tag_name}"));
        let branch = self.ids.get(&format!("refs/heads/{branch_name}")).filter(|_| !names_tag);
        if let Some(commit) = branch {
            let hides_tag = tag.is_some() && branch_name == name;
            return Some(Found { commit: commit.clone(), branch: Some(branch_name.to_owned()), hides_tag });
        }
        let commit = tag.or_else(|| self.peeled(name).filter(|_| name.starts_with("refs/")))?;
        Some(Found { commit, branch: None, hides_tag: false })
    }

    /// An annotated tag's commit, or what the ref is itself.
    fn peeled(&self, name: &str) -> Option<String> {
        self.ids.get(&format!("{name}^{{}}")).or_else(|| self.ids.get(name)).cloned()
    }

    /// The one commit at a ref whose id begins so.
    pub fn tip(&self, prefix: &str) -> Option<String> {
        let mut tips: Vec<String> = self
            .ids
            .keys()
            .filter_map(|name| self.peeled(name))
            .filter(|id| id.starts_with(prefix))
            .collect();
        tips.sort();
        tips.dedup();
        if tips.len() == 1 { tips.pop() } else { None }
    }

    /// Branches and tags whose names are near to one, the nearest first, three at most.
    pub fn near(&self, name: &str) -> Vec<&str> {
        let wanted = ["refs/heads/", "refs/tags/", "refs/remotes/", "heads/", "tags/", "origin/"]
            .iter()
            .fold(name, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
        let short =
            |full: &'_ str| full.find('/').and_then(|at| full[at + 1..].find('/').map(|next| at + next + 2));
        let names = self
            .ids
            .keys()
            .filter(|full| !full.ends_with("^{}"))
            .filter(|full| full.starts_with("refs/heads/") || full.starts_with("refs/tags/"));
        let names = names.filter_map(|full| short(full).map(|at| &full[at..]));
        let mut scored: Vec<(f64, &str)> = names
            .map(|known| {
                let (a, b) = (known.to_lowercase(), wanted.to_lowercase());
                let last = a.rsplit('/').next() == Some(&b);
                (
                    if a == b || last {
                        1.0
                    } else {
                        strsim::jaro_winkler(&a, &b).max(strsim::normalized_damerau_levenshtein(&a, &b))
                    },
                    known,
                )
            })
            .filter(|(score, _)| *score > 0.8)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        scored.dedup_by(|a, b| a.1 == b.1);
        scored.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// Whether a text is a commit's id in full: SHA-1 or SHA-256 in hexadecimal digits.
pub fn is_full_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text may be the beginning of an id; git takes four digits and more.
pub fn is_abbreviated_id(text: &str) -> bool {
    (4..64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    fn refs() -> Refs {
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(id);
        let lines = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/both\n{b}\trefs/heads/x/both2\n{c}\trefs/tags/both\n\
             {d}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\n{d}\trefs/pull/1/head\n"
        );
        Refs::parse(lines.as_bytes())
    }

    #[test]
    fn names_stand_for_what_git_takes_them_for() {
        let found = |name: &str| refs().find(name).map(|found| (found.commit, found.branch, found.hides_tag));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(found("main"), Some((id('a'), some("main"), false)));
        assert_eq!(found("HEAD"), Some((id('a'), some("main"), false)));
        assert_eq!(found("both"), Some((id('b'), some("both"), true)));
        assert_eq!(found("refs/tags/both"), Some((id('c'), None, false)));
        assert_eq!(found("tags/both"), Some((id('c'), None, false)));
        assert_eq!(found("heads/both"), Some((id('b'), some("both"), false)));
        assert_eq!(found("v1"), Some((id('c'), None, false)));
        assert_eq!(found("refs/pull/1/head"), Some((id('d'), None, false)));
        // ls-remote's patterns match the end of any name.
        assert_eq!(found("both2"), None);
        assert_eq!(found("v1^{}"), None);
        assert_eq!(refs().tip("dddd"), Some(id('d')));
    }

    #[test]
    fn near_names_are_found() {
        assert_eq!(refs().near("mian"), ["main"]);
        assert_eq!(refs().near("origin/main"), ["main"]);
        assert_eq!(refs().near("V1"), ["v1"]);
        assert_eq!(refs().near("both2").first(), Some(&"x/both2"));
        assert!(refs().near("zzz").is_empty());
    }
}
