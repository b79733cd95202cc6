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
    /// The newest glibc that it asks for, as the 17 of 2.17; 0 where it asks for none.
    pub glibc_minor: u32,
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

impl Binaries {
    /// Whether a node's C library (`glibc 2.31`, `musl`) is new enough, as far as it is known. Errors: it is not.
    pub fn check_libc(&self, host: &str, libc: &str) -> Result<(), Failure> {
        let needed = self.files.iter().map(|file| file.glibc_minor).max().unwrap_or(0);
        let minor =
            libc.strip_prefix("glibc 2.").and_then(|minor| minor.split('.').next()?.parse::<u32>().ok());
        let is_enough = match minor {
            Some(minor) => minor >= needed,
            None => needed == 0 || libc != "musl",
        };
        match is_enough {
            true => Ok(()),
            false => {
                Err(Failure::other(format!("{host} has {libc}, and pail's programs need glibc 2.{needed}"))
                    .because(format!(
                        "they are those of {}",
                        self.files[0].path.parent().unwrap_or(Path::new("/")).display()
                    ))
                    .with_hint(PORTABLE_HINT))
            }
        }
    }
}

impl Binary {
    fn read(path: PathBuf, arch: &str) -> Result<Self, Failure> {
        let bytes =
            std::fs::read(&path).map_err(|err| Failure::unreadable(&path, &err).with_hint(PORTABLE_HINT))?;
        let built_for = machine(&bytes)
            .ok_or_else(|| Failure::usage(format!("{} is no program for Linux", path.display())))?;
        if !is_same_machine(&built_for, arch) {
            return Err(Failure::usage(format!("{} is built for {built_for}, and the node is {arch}", path.display()))
                .with_hint(format!(
                    "put programs built for {arch} into a directory {arch}/ of the one that PAIL_NODE_BINARIES names"
                )));
        }
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Self { size: bytes.len() as u64, sha256, glibc_minor: newest_glibc(&bytes), path })
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

/// The machine that an ELF file is for (`e_machine` of its header), as `uname -m` names it; `None`: it is no ELF file.
fn machine(file: &[u8]) -> Option<String> {
    let header = file.get(..20).filter(|header| header.starts_with(b"\x7fELF"))?;
    let number = [header[18], header[19]];
    let number = if header[5] == 2 { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
    Some(match number {
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

/// The newest of the versions `GLIBC_2.N` that an ELF file names: each is a string of its own, between zeros.
fn newest_glibc(file: &[u8]) -> u32 {
    const START: &[u8] = b"\0GLIBC_2.";
    let mut newest = 0;
    let mut rest = file;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        rest = &rest[zero..];
        if let Some(version) = rest.strip_prefix(START) {
            let end = version.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(version.len());
            let is_one = version.get(end).is_some_and(|byte| *byte == 0 || *byte == b'.');
            let minor = std::str::from_utf8(&version[..end]).ok().and_then(|digits| digits.parse().ok());
            newest = newest.max(minor.filter(|_| is_one).unwrap_or(0));
        }
        rest = &rest[1..];
    }
    newest
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
        assert_eq!(machine(&std::fs::read(&own).unwrap()).unwrap(), std::env::consts::ARCH);
        let other = if std::env::consts::ARCH == "x86_64" { "aarch64" } else { "x86_64" };
        let failure = Binary::read(own, other).unwrap_err();
        assert!(failure.message.contains(&format!("the node is {other}")), "{failure:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "abc").unwrap();
        assert_eq!(machine(b"abc"), None);
        assert_eq!(
            digest(&dir.path().join("x")).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_newest_glibc_that_is_asked_for_is_found_and_compared() {
        assert_eq!(
            newest_glibc(b"x\0GLIBC_2.9\0GLIBC_2.17\0GLIBC_2.3.4\0GLIBC_PRIVATE\0 GLIBC_2.99\0GLIBC_2.98x\0"),
            17
        );
        let file = Binary { path: "/p/pail".into(), size: 1, sha256: String::new(), glibc_minor: 28 };
        let binaries =
            Binaries { name: String::new(), files: [file.clone(), Binary { glibc_minor: 17, ..file }] };
        for libc in ["glibc 2.28", "glibc 2.36", "unknown"] {
            binaries.check_libc("dev", libc).unwrap();
        }
        for libc in ["glibc 2.17", "musl"] {
            let failure = binaries.check_libc("dev", libc).unwrap_err();
            assert_eq!(failure.message, format!("dev has {libc}, and pail's programs need glibc 2.28"));
        }
    }
}
