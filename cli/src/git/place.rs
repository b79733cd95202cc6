//! The files of a checkout.
//!
//! Owns: [`place`], which turns the files of one commit into those of another. Git's own merge of two trees does it, which touches only what
//! differs between them and refuses to lose a file; before it, what would be in its way is moved aside.
//!
//! A path is in one of these states, by what is on disk:
//!
//! | on disk                                             | becomes |
//! |-----------------------------------------------------|---------|
//! | as the old commit has it                            | as the new commit has it, by git |
//! | anything that the new commit does not name, untracked | stays (a job's outputs) |
//! | other content, but that of the new commit           | adopted: stays, its mode set |
//! | other content, but that of a commit whose checkout was cut off | removed: git has it |
//! | any other content, changed or in the way            | kept aside, by [`Kept`] |
//! | absent                                              | made by git |

use super::kept::Kept;
use super::workdir::Workdir;
use crate::terminal;
use pail_control::Failure;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{Metadata, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Bytes of names on one command line.
const ARGUMENT_BYTES_MAX: usize = 64 * 1024;

/// A path below the checkout, in git's bytes.
type Path = Vec<u8>;

/// What a tree or the index has at a path.
#[derive(Clone, PartialEq, Eq)]
struct Blob {
    mode: String,
    id: String,
}

type Tree = HashMap<Path, Blob>;

const GITLINK: &str = "160000";
const SYMLINK: &str = "120000";

/// Gives the directory the files of `new`. `old` is the commit whose files it has, if any; `pending` another whose checkout was begun and
/// not ended.
pub async fn place(
    workdir: &Workdir,
    old: Option<&str>,
    pending: Option<&str>,
    new: &str,
    kept: &mut Kept,
) -> Result<(), Failure> {
    let old = match old {
        Some(commit) => commit.to_owned(),
        None => {
            let call = workdir.git("name the empty tree").args(["hash-object", "-t", "tree", "--stdin"]);
            String::from_utf8_lossy(&call.output().await?).trim().to_owned()
        }
    };
    reset_index(workdir, &old).await?;
    let index = listed(&workdir.git("list the index").args(["ls-files", "-s", "-z"]).output().await?);
    let tree = tree(workdir, new).await?;
    let pending = match pending {
        Some(commit) if commit != new => tree_if_there(workdir, commit).await?,
        _ => Tree::new(),
    };
    let mut placing =
        Placing { workdir, kept, index, tree, pending, adopted: Vec::new(), dirs: HashMap::new() };
    let differing = placing.differing().await?;
    placing.clear_the_way(differing).await?;
    let adopted = std::mem::take(&mut placing.adopted);
    if !adopted.is_empty() {
        workdir
            .git("note files")
            .args(["update-index", "-z", "--index-info"])
            .input(adopted)
            .output()
            .await?;
        refresh(workdir).await?;
    }
    workdir.git("place the commit's files").args(["read-tree", "-m", "-u", &old, new]).output().await?;
    // What was moved aside or deleted, and is the same in both commits, git leaves absent.
    let absent = workdir.git("compare files").args([
        "diff-files",
        "-z",
        "--name-only",
        "--diff-filter=D",
        "--ignore-submodules=all",
    ]);
    let absent = absent.output().await?;
    if !absent.is_empty() {
        let call =
            workdir.git("place the commit's files").args(["checkout-index", "-q", "-u", "-z", "--stdin"]);
        call.input(absent).output().await?;
    }
    Ok(())
}

/// Makes the index that of a commit, whatever was staged or half merged, and notes which files are as it has them.
async fn reset_index(workdir: &Workdir, commit: &str) -> Result<(), Failure> {
    let reset = || workdir.git("read the index").args(["read-tree", "--reset", commit]);
    if !reset().run().await?.ok() {
        // It was torn. Nothing of the user's is in it but what they staged, which is in files too.
        let _ = std::fs::remove_file(workdir.dir().join(".git/index"));
        reset().output().await?;
    }
    refresh(workdir).await
}

async fn refresh(workdir: &Workdir) -> Result<(), Failure> {
    // It exits with 1 where a file differs.
    let call = workdir.git("compare files").env("GIT_OPTIONAL_LOCKS", "1");
    call.args(["update-index", "-q", "--really-refresh"]).run().await.map(drop)
}

async fn tree(workdir: &Workdir, commit: &str) -> Result<Tree, Failure> {
    let call = workdir.git("list the commit's files").args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    Ok(listed(&call.output().await?))
}

async fn tree_if_there(workdir: &Workdir, commit: &str) -> Result<Tree, Failure> {
    let call = workdir.git("list the commit's files").args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    let ended = call.run().await?;
    Ok(if ended.ok() { listed(&ended.out) } else { Tree::new() })
}

/// Reads `MODE [TYPE] ID [STAGE]\tPATH\0`, as ls-tree and ls-files have it.
fn listed(bytes: &[u8]) -> Tree {
    let lines = bytes.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    let entry = |line: &[u8]| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let head = std::str::from_utf8(&line[..tab]).ok()?;
        let mut words = head.split(' ');
        let mode = words.next()?.to_owned();
        let id = words.find(|word| word.len() >= 40)?.to_owned();
        Some((line[tab + 1..].to_vec(), Blob { mode, id }))
    };
    lines.filter_map(entry).collect()
}

/// What a directory's path is on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dir {
    /// A directory.
    Is,
    /// Nothing.
    Absent,
    /// Something that git itself will replace: a tracked file as the old commit has it.
    Replaced,
}

struct Placing<'a> {
    workdir: &'a Workdir,
    kept: &'a mut Kept,
    index: Tree,
    tree: Tree,
    pending: Tree,
    /// Lines of `update-index --index-info`.
    adopted: Vec<u8>,
    dirs: HashMap<Path, Dir>,
}

impl Placing<'_> {
    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.workdir.dir().join(OsStr::from_bytes(path))
    }

    fn metadata(&self, path: &[u8]) -> Option<Metadata> {
        std::fs::symlink_metadata(self.on_disk(path)).ok()
    }

    /// Tracked paths whose files differ from the old commit.
    async fn differing(&self) -> Result<BTreeSet<Path>, Failure> {
        let call = self.workdir.git("compare files").args([
            "diff-files",
            "-z",
            "--name-only",
            "--no-renames",
            "--ignore-submodules=all",
        ]);
        let names = call.output().await?;
        Ok(names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    /// Moves aside, removes or adopts what git's merge must not find.
    async fn clear_the_way(&mut self, differing: BTreeSet<Path>) -> Result<(), Failure> {
        let mut paths: Vec<Path> = self.tree.keys().cloned().collect();
        paths.sort();
        // Directories first: what is in the place of one is in the way of all that is below it.
        for path in &paths {
            self.clear_parents(path, &differing)?;
        }
        let mut files = Vec::new();
        let new = paths.into_iter().filter(|path| !self.index.contains_key(path));
        for path in new.chain(differing).collect::<BTreeSet<Path>>() {
            if !self.is_below_a_directory(&path) {
                continue;
            }
            let Some(metadata) = self.metadata(&path) else { continue };
            let is_gitlink = self.tree.get(&path).is_some_and(|blob| blob.mode == GITLINK);
            match metadata.is_dir() {
                true if is_gitlink => {}
                true => self.keep_directory(&path)?,
                false => files.push((path, metadata)),
            }
        }
        let ids = self.ids(&files).await?;
        for ((path, metadata), id) in files.into_iter().zip(ids) {
            self.settle(&path, &metadata, id.as_deref())?;
        }
        Ok(())
    }

    /// Whether git would look for a path where it is: its parents are directories, not links to others.
    fn is_below_a_directory(&self, path: &[u8]) -> bool {
        parents(path).all(|parent| self.metadata(parent).is_some_and(|metadata| metadata.is_dir()))
    }

    fn clear_parents(&mut self, path: &[u8], differing: &BTreeSet<Path>) -> Result<(), Failure> {
        for parent in parents(path) {
            let state = match self.dirs.get(parent) {
                Some(state) => *state,
                None => {
                    let state = self.clear_parent(parent, differing)?;
                    self.dirs.insert(parent.to_vec(), state);
                    state
                }
            };
            if state != Dir::Is {
                break;
            }
        }
        Ok(())
    }

    fn clear_parent(&mut self, parent: &[u8], differing: &BTreeSet<Path>) -> Result<Dir, Failure> {
        let Some(metadata) = self.metadata(parent) else { return Ok(Dir::Absent) };
        if metadata.is_dir() {
            return Ok(Dir::Is);
        }
        if self.index.contains_key(parent) && !differing.contains(parent) {
            return Ok(Dir::Replaced);
        }
        self.kept.keep(parent)?;
        Ok(Dir::Absent)
    }

    /// A directory where the new commit has a file: whole, or what is untracked in it where git itself removes the rest.
    fn keep_directory(&mut self, path: &[u8]) -> Result<(), Failure> {
        let prefix = [path, b"/"].concat();
        let tracked: HashSet<Path> =
            self.index.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        if tracked.is_empty() {
            return self.kept.keep(path);
        }
        self.keep_untracked(path, &tracked)
    }

    fn keep_untracked(&mut self, dir: &[u8], tracked: &HashSet<Path>) -> Result<(), Failure> {
        let shown = || terminal::escaped(&String::from_utf8_lossy(dir));
        let entries = std::fs::read_dir(self.on_disk(dir))
            .map_err(|err| Failure::from_io(format!("cannot read the directory {}", shown()), &err))?;
        for entry in entries {
            let entry = entry
                .map_err(|err| Failure::from_io(format!("cannot read the directory {}", shown()), &err))?;
            let path = [dir, b"/", entry.file_name().as_bytes()].concat();
            let prefix = [path.as_slice(), b"/"].concat();
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_dir && tracked.iter().any(|name| name.starts_with(&prefix)) {
                self.keep_untracked(&path, tracked)?;
            } else if !tracked.contains(&path) {
                self.kept.keep(&path)?;
            }
        }
        Ok(())
    }

    /// A file or link that differs from the old commit, or is where only the new one has something.
    fn settle(&mut self, path: &[u8], metadata: &Metadata, id: Option<&str>) -> Result<(), Failure> {
        let is_same =
            |blob: &&Blob| (blob.mode == SYMLINK) == metadata.is_symlink() && Some(blob.id.as_str()) == id;
        let failed = |err: std::io::Error| {
            let shown = terminal::escaped(&String::from_utf8_lossy(path));
            Failure::from_io(format!("cannot place {shown}"), &err)
        };
        if let Some(blob) = self.tree.get(path).filter(is_same) {
            if !metadata.is_symlink() {
                let mode = metadata.permissions().mode();
                // Git knows the owner's execute permission alone; the others follow who may read.
                let wanted = if blob.mode == "100755" { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
                if wanted != mode {
                    std::fs::set_permissions(self.on_disk(path), Permissions::from_mode(wanted & 0o7777))
                        .map_err(failed)?;
                }
            }
            let line = format!("{} {} 0\t", blob.mode, blob.id);
            self.adopted.extend([line.as_bytes(), path, b"\0"].concat());
            return Ok(());
        }
        if self.index.get(path).filter(is_same).is_some() || self.pending.get(path).filter(is_same).is_some()
        {
            return std::fs::remove_file(self.on_disk(path)).map_err(failed);
        }
        self.kept.keep(path)
    }

    /// What git would name the content of files and links; nothing for pipes and the like, and for files that cannot be read.
    async fn ids(&self, files: &[(Path, Metadata)]) -> Result<Vec<Option<String>>, Failure> {
        let mut ids = vec![None; files.len()];
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        for (index, (path, metadata)) in files.iter().enumerate() {
            if metadata.is_symlink() {
                ids[index] = self.link_id(path).await?;
            } else if metadata.is_file() && std::fs::File::open(self.on_disk(path)).is_ok() {
                batch_bytes += path.len() + 1;
                batch.push(index);
            }
            if batch_bytes > ARGUMENT_BYTES_MAX {
                self.hash(&std::mem::take(&mut batch), files, &mut ids).await?;
                batch_bytes = 0;
            }
        }
        self.hash(&batch, files, &mut ids).await?;
        Ok(ids)
    }

    async fn hash(
        &self,
        batch: &[usize],
        files: &[(Path, Metadata)],
        ids: &mut [Option<String>],
    ) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        // As arguments: names on standard input end at a line break, and one may hold one.
        let names = batch.iter().map(|index| OsStr::from_bytes(&files[*index].0));
        let ended = self.workdir.git("compare files").args(["hash-object", "--"]).args(names).run().await?;
        // A file that went away meanwhile makes it stop there: those after it then count as different, and are kept.
        let text = String::from_utf8_lossy(&ended.out).into_owned();
        for (index, id) in batch.iter().zip(text.lines()) {
            ids[*index] = Some(id.to_owned());
        }
        Ok(())
    }

    async fn link_id(&self, path: &[u8]) -> Result<Option<String>, Failure> {
        let Ok(target) = std::fs::read_link(self.on_disk(path)) else { return Ok(None) };
        let mut input = Vec::new();
        let _ = input.write_all(target.as_os_str().as_bytes());
        let call =
            self.workdir.git("compare links").args(["hash-object", "--no-filters", "--stdin"]).input(input);
        Ok(Some(String::from_utf8_lossy(&call.output().await?).trim().to_owned()))
    }
}

/// The directories above a path, the outermost first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}
