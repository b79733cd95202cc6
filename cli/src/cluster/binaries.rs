//! Pail's own programs, as they are sent to nodes.
//!
//! Owns: [`Binaries`], which files are sent and under which name their directory is known there; [`digest`], by which both ends compare.

use pail_control::Failure;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The programs, in the order in which they are sent.
pub const PROGRAMS: [&str; 2] = ["pail", "pail-mountd"];

/// How the portable ones are made, as errors tell it.
pub const PORTABLE_HINT: &str = "build programs for any libc with scripts/portable, or name a directory that has them with PAIL_NODE_BINARIES";

/// The two programs for one kind of machine.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The version and the start of a hash of both: the name of their directory on a node.
    pub name: String,
    /// [`PROGRAMS`].
    pub files: [Binary; 2],
}

/// One program.
#[derive(Debug, Clone)]
pub struct Binary {
    /// Where it is here.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Binaries {
    /// Those for a machine, as `uname -m` names it: of `PAIL_NODE_BINARIES` (in it, or in a directory of the machine's name in it), else of
    /// `portable/` beside the running program (what scripts/portable makes), unless it is older, else the running program itself. Errors: they are not there, or are for another machine.
    pub fn find(arch: &str) -> Result<Self, Failure> {
        let dir = directory(arch)?;
        let [pail, mountd] = PROGRAMS.map(|program| Binary::read(dir.join(program), arch));
        let files = [pail?, mountd?];
        let mut both = Sha256::new();
        files.iter().for_each(|file| both.update(&file.sha256));
        let hash = hex::encode(both.finalize());
        Ok(Self { name: format!("{}-{}", env!("CARGO_PKG_VERSION"), &hash[..12]), files })
    }
}

impl Binary {
    fn read(path: PathBuf, arch: &str) -> Result<Self, Failure> {
        let sha256 = digest(&path).map_err(|failure| failure.with_hint(PORTABLE_HINT))?;
        let built_for = machine(&path)?;
        if !is_same_machine(&built_for, arch) {
            return Err(Failure::usage(format!("{} is built for {built_for}, and the node is {arch}", path.display()))
                .with_hint(format!(
                    "put programs built for {arch} into a directory {arch}/ of the one that PAIL_NODE_BINARIES names"
                )));
        }
        let size = std::fs::metadata(&path).map_err(|err| Failure::unreadable(&path, &err))?.len();
        Ok(Self { path, size, sha256 })
    }
}

fn directory(arch: &str) -> Result<PathBuf, Failure> {
    if let Some(dir) = std::env::var_os("PAIL_NODE_BINARIES").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        let of_arch = dir.join(arch);
        return Ok(if of_arch.is_dir() { of_arch } else { dir });
    }
    let running = std::env::current_exe()
        .map_err(|err| Failure::from_io("cannot tell where the running program is", &err))?;
    let beside = running.parent().unwrap_or(Path::new("/"));
    let portable = [beside.join("portable").join(arch), beside.join("portable")];
    Ok(portable.into_iter().find(|dir| is_built_after(dir, &running)).unwrap_or_else(|| beside.to_owned()))
}

/// Whether both programs are in a directory, and none is older than `running`: an older one would be of other sources.
fn is_built_after(dir: &Path, running: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let Some(running) = modified(running) else { return false };
    PROGRAMS.iter().all(|program| modified(&dir.join(program)).is_some_and(|built| built >= running))
}

/// A file's SHA-256 in hexadecimal digits. Errors: it cannot be read.
pub fn digest(path: &Path) -> Result<String, Failure> {
    let unreadable = |err| Failure::unreadable(path, &err);
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The machine that an ELF file is for (`e_machine` of its header), as `uname -m` names it.
fn machine(path: &Path) -> Result<String, Failure> {
    let mut header = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() || &header[..4] != b"\x7fELF" {
        return Err(Failure::usage(format!("{} is no program for Linux", path.display())));
    }
    let number = [header[18], header[19]];
    let number = if header[5] == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    Ok(match number {
        0x03 => "i686".to_owned(),
        0x15 => "ppc64le".to_owned(),
        0x16 => "s390x".to_owned(),
        0x28 => "armv7l".to_owned(),
        0x3e => "x86_64".to_owned(),
        0xb7 => "aarch64".to_owned(),
        0xf3 => "riscv64".to_owned(),
        other => format!("machine {other}"),
    })
}

fn is_same_machine(built_for: &str, arch: &str) -> bool {
    let usual = |name: &str| match name {
        "amd64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        other => other.to_owned(),
    };
    usual(built_for) == usual(arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_machine_is_told_from_its_header() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(machine(&own).unwrap(), std::env::consts::ARCH);
        let other = if std::env::consts::ARCH == "x86_64" { "aarch64" } else { "x86_64" };
        let failure = Binary::read(own, other).unwrap_err();
        assert!(failure.message.contains(&format!("the node is {other}")), "{failure:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "abc").unwrap();
        assert!(machine(&dir.path().join("x")).is_err());
        assert_eq!(
            digest(&dir.path().join("x")).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
