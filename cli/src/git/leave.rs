//! A checkout that gives way to a directory of the client.
//!
//! Owns: [`leave`]: files of the commit that nobody changed go, and `.git` is kept aside, so that nothing of the repository is taken for a part of the
//! directory. What was changed, and what was never the commit's, stays.

use super::kept::Kept;
use super::process::Call;
use pail_control::Failure;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The record by which a checkout of ours is known.
const RECORD: &str = ".git/pail-checkout";

/// Takes the checkout off `dir`, where there is one of ours; what was kept aside, for people. Errors: git's, the local disk's.
pub async fn leave(dir: &Path) -> Result<Option<String>, Failure> {
    if !dir.join(RECORD).exists() {
        return Ok(None);
    }
    let about = || format!("take the repository off {}", dir.display());
    let tracked = Call::git_in(dir, about()).args(["ls-files", "-z"]).run().await?;
    let changed = Call::git_in(dir, about()).args(["diff", "--name-only", "-z", "HEAD"]).run().await?;
    let names = |out: &[u8]| -> BTreeSet<Vec<u8>> {
        out.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let changed = names(&changed.out);
    for name in names(&tracked.out).difference(&changed) {
        let path = dir.join(std::ffi::OsStr::from_bytes(name));
        // What is not there any more need not go.
        let _ = std::fs::remove_file(&path);
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != dir);
        // Only those that are empty.
        parents.take_while(|parent| std::fs::remove_dir(parent).is_ok()).for_each(drop);
    }
    let mut kept = Kept::new(dir);
    kept.keep(b".git")?;
    Ok(kept.report())
}
