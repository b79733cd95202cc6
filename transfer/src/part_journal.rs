//! Which parts of a file are there.
//!
//! Owns: [`PartJournal`], by which a download that was interrupted goes on within a file: behind the object's bytes the temporary file has a record for each part, with the
//! part's checksum, and at its very end a head that says of which version of which object they are. The last thing that is done to a finished file is to cut
//! this off.
//!
//! # Why behind the bytes
//! A file beside the file would need a name, a lock and a clean-up of its own, and the two could come apart. So there is one of each.
//!
//! # What it stands
//! A record is written after its part's bytes, both to the kernel's memory: the end of the process, however it comes, leaves no record of bytes that are not there. The end of the
//! machine may, and other programs may write to the file: a record is believed only so far as the bytes, read again by the run that goes on, have its checksum. That is faster than
//! fetching them. To wait for the disk before each record would slow all downloads for the few that end so.
//!
//! Invariants: a journal of another object, version, size or form, or one that is damaged, counts as none; so does a damaged record.

use crate::buffers::BUFFER_BYTES;
use crate::part_sizes::parts;
use crate::sums::of_file_range;
use pail_store::{Checksum, ObjectMeta};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: &[u8; 16] = b"pail: parts, 1\n\0";
const ID_BYTES: usize = 32;
/// Magic, identity, size, size of a part, checksum.
const HEAD_BYTES: usize = MAGIC.len() + ID_BYTES + 3 * 8;
/// Kind of the checksum, its value, checksum of the record.
const RECORD_BYTES: usize = 3 * 8;
/// The records begin at a page of their own.
const PAGE_BYTES: u64 = 4096;
/// Beyond this no journal was ever written.
const PARTS_MAX: u64 = 1 << 24;

/// Which version of which object a file is to become.
#[derive(Debug, Clone)]
pub(crate) struct ObjectIdentity {
    id: [u8; ID_BYTES],
    pub size: u64,
}

impl ObjectIdentity {
    /// Of an object in the store of this identity, on its way to the file of this name.
    pub fn of(store: &str, object: &ObjectMeta, path: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        let version = object.version.to_text();
        let (key, size) = (object.key.as_str().as_bytes(), object.size.to_le_bytes());
        for field in [store.as_bytes(), key, version.as_bytes(), &size, path] {
            hasher.update((field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        Self { id: hasher.finalize().into(), size: object.size }
    }

    /// What distinguishes it in a name.
    pub fn digits(&self) -> String {
        hex::encode(&self.id[..8])
    }
}

/// The parts of one file that are there.
#[derive(Debug)]
pub(crate) struct PartJournal {
    what: ObjectIdentity,
    part_size: u64,
    /// Guards the checksums of the parts that are there; a leaf.
    sums: Mutex<Vec<Option<Checksum>>>,
}

impl PartJournal {
    /// The journal at the end of `file`, or a new one in a file that is made empty, of parts of `part_size`. May read all of the file. Errors: those of the system.
    pub fn open(file: &File, what: &ObjectIdentity, part_size: u64) -> io::Result<Self> {
        if let Some((head, mut sums)) = read(file, what)? {
            check_parts(file, what.size, head.part_size, &mut sums)?;
            let found = Self { what: what.clone(), part_size: head.part_size, sums: Mutex::new(sums) };
            found.write_all(file)?;
            return Ok(found);
        }
        file.set_len(0)?;
        let count = usize::try_from(what.size.div_ceil(part_size)).unwrap_or(usize::MAX);
        let begun = Self { what: what.clone(), part_size, sums: Mutex::new(vec![None; count]) };
        begun.write_head(file)?;
        Ok(begun)
    }

    /// The size of the parts, which is that of the run that began the file.
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// The checksums of the parts, in order; `None` where one is not there.
    pub fn sums(&self) -> Vec<Option<Checksum>> {
        self.sums.lock().clone()
    }

    pub fn has_any(&self) -> bool {
        self.sums.lock().iter().any(Option::is_some)
    }

    /// Notes that the bytes of a part are written.
    pub fn mark(&self, file: &File, index: usize, sum: Checksum) -> io::Result<()> {
        let at = records_at(self.what.size) + (index * RECORD_BYTES) as u64;
        file.write_all_at(&record_of(&self.what, index, sum), at)?;
        self.sums.lock()[index] = Some(sum);
        Ok(())
    }

    /// Cuts the journal off: the file is the object's bytes.
    pub fn cut(&self, file: &File) -> io::Result<()> {
        file.set_len(self.what.size)
    }

    fn write_head(&self, file: &File) -> io::Result<()> {
        let Self { what, part_size, .. } = self;
        let head = Head { id: what.id, size: what.size, part_size: *part_size };
        file.write_all_at(&head.bytes(), head_at(what.size, *part_size))
    }

    /// All anew. Cut short by the end of the process, it leaves less of what was there.
    fn write_all(&self, file: &File) -> io::Result<()> {
        let mut records = Vec::new();
        for (index, sum) in self.sums.lock().iter().enumerate() {
            match sum {
                Some(sum) => records.extend_from_slice(&record_of(&self.what, index, *sum)),
                None => records.extend_from_slice(&[0; RECORD_BYTES]),
            }
        }
        file.write_all_at(&records, records_at(self.what.size))?;
        self.write_head(file)
    }
}

/// Whether a file has a journal, of whatever object.
pub(crate) fn has_journal(file: &File) -> bool {
    let of_len = |len: u64| {
        let mut bytes = [0; HEAD_BYTES];
        file.read_exact_at(&mut bytes, len.checked_sub(HEAD_BYTES as u64)?).ok()?;
        let head = Head::read(&bytes)?;
        (len == head_at(head.size, head.part_size) + HEAD_BYTES as u64).then_some(())
    };
    file.metadata().is_ok_and(|metadata| of_len(metadata.len()).is_some())
}

struct Head {
    id: [u8; ID_BYTES],
    size: u64,
    part_size: u64,
}

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let (size, part_size) = (self.size.to_le_bytes(), self.part_size.to_le_bytes());
        let mut bytes = [&MAGIC[..], &self.id, &size, &part_size].concat();
        bytes.extend_from_slice(&check_of(&bytes));
        bytes
    }

    /// `None` where it is none.
    fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let (content, check) = bytes.split_at(HEAD_BYTES - 8);
        let (magic, rest) = content.split_first_chunk::<16>()?;
        if magic != MAGIC || check != check_of(content) {
            return None;
        }
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let (size, part_size) = rest.split_first_chunk::<8>()?;
        let (size, part_size) = (u64::from_le_bytes(*size), u64::from_le_bytes(part_size.try_into().ok()?));
        let is_possible = part_size > 0 && size.div_ceil(part_size) <= PARTS_MAX && size < 1 << 62;
        is_possible.then_some(Self { id: *id, size, part_size })
    }
}

fn records_at(size: u64) -> u64 {
    size.next_multiple_of(PAGE_BYTES)
}

fn head_at(size: u64, part_size: u64) -> u64 {
    records_at(size) + size.div_ceil(part_size) * RECORD_BYTES as u64
}

/// The journal of exactly this object; `None` where there is none.
fn read(file: &File, what: &ObjectIdentity) -> io::Result<Option<(Head, Vec<Option<Checksum>>)>> {
    let len = file.metadata()?.len();
    let Some(at) = len.checked_sub(HEAD_BYTES as u64) else { return Ok(None) };
    let mut bytes = [0; HEAD_BYTES];
    file.read_exact_at(&mut bytes, at)?;
    let ours = Head::read(&bytes).filter(|head| {
        head.id == what.id && head.size == what.size && head_at(head.size, head.part_size) == at
    });
    let Some(head) = ours else { return Ok(None) };
    let mut records = vec![0; usize::try_from(at - records_at(what.size)).unwrap_or_default()];
    file.read_exact_at(&mut records, records_at(what.size))?;
    let records = records.chunks_exact(RECORD_BYTES).enumerate();
    let sums = records.map(|(index, record)| sum_in(what, index, record)).collect();
    Ok(Some((head, sums)))
}

/// Forgets the parts whose bytes are others than their records say.
fn check_parts(file: &File, size: u64, part_size: u64, sums: &mut [Option<Checksum>]) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    for (sum, range) in sums.iter_mut().zip(parts(size, part_size)) {
        let Some(noted) = *sum else { continue };
        if of_file_range(file, noted, range, &mut buffer)? != noted {
            *sum = None;
        }
    }
    Ok(())
}

fn record_of(what: &ObjectIdentity, index: usize, sum: Checksum) -> Vec<u8> {
    let (kind, value) = match sum {
        Checksum::Crc64Nvme(value) => (1u64, value),
        Checksum::Crc32c(value) => (2, value.into()),
        Checksum::Crc32(value) => (3, value.into()),
    };
    let mut bytes = [kind.to_le_bytes(), value.to_le_bytes()].concat();
    let check = check_of(&[&what.id[..], &(index as u64).to_le_bytes(), &bytes].concat());
    bytes.extend_from_slice(&check);
    bytes
}

/// `None` where it is no record of this part, as where none was written.
fn sum_in(what: &ObjectIdentity, index: usize, record: &[u8]) -> Option<Checksum> {
    let (kind, rest) = record.split_first_chunk::<8>()?;
    let value = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    let sum = match u64::from_le_bytes(*kind) {
        1 => Checksum::Crc64Nvme(value),
        2 => Checksum::Crc32c(value as u32),
        3 => Checksum::Crc32(value as u32),
        _ => return None,
    };
    (record_of(what, index, sum) == record).then_some(sum)
}

fn check_of(bytes: &[u8]) -> [u8; 8] {
    match Checksum::crc64_of(bytes) {
        Checksum::Crc64Nvme(value) => value.to_le_bytes(),
        Checksum::Crc32c(value) | Checksum::Crc32(value) => u64::from(value).to_le_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 100_000;

    fn identity(id: u8, size: u64) -> ObjectIdentity {
        ObjectIdentity { id: [id; ID_BYTES], size }
    }

    /// A file of three parts of which the first and the last are there.
    fn interrupted() -> (File, ObjectIdentity, Vec<Option<Checksum>>) {
        let (file, what) = (tempfile::tempfile().unwrap(), identity(1, 2 * PART + 7));
        let journal = PartJournal::open(&file, &what, PART).unwrap();
        let sums =
            vec![Some(Checksum::crc64_of(&[1; PART as usize])), None, Some(Checksum::crc32c_of(&[3; 7]))];
        file.write_all_at(&[1; PART as usize], 0).unwrap();
        file.write_all_at(&[3; 7], 2 * PART).unwrap();
        journal.mark(&file, 0, sums[0].unwrap()).unwrap();
        journal.mark(&file, 2, sums[2].unwrap()).unwrap();
        (file, what, sums)
    }

    fn change(file: &File, at: u64) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    #[test]
    fn parts_that_were_marked_are_known_to_the_next_run_and_the_file_ends_as_the_object() {
        let (file, what, sums) = interrupted();
        assert!(has_journal(&file));
        // The next run may want parts of another size: those that are there have the size they have.
        let journal = PartJournal::open(&file, &what, 5 * PART).unwrap();
        assert_eq!((journal.sums(), journal.part_size()), (sums, PART));
        journal.cut(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), what.size);
        assert!(!has_journal(&file));
    }

    #[test]
    fn a_journal_of_something_else_or_a_damaged_one_counts_as_none() {
        for other in [identity(2, 2 * PART + 7), identity(1, 2 * PART + 8), identity(1, PART)] {
            let (file, ..) = interrupted();
            assert!(!PartJournal::open(&file, &other, PART).unwrap().has_any());
        }
        let end = interrupted().0.metadata().unwrap().len();
        for at in end - HEAD_BYTES as u64..end {
            let (file, what, _) = interrupted();
            change(&file, at);
            assert!(!PartJournal::open(&file, &what, PART).unwrap().has_any(), "{at}");
        }
        for len in [0, 5, PART, end - 1, end + 1] {
            let (file, what, _) = interrupted();
            file.set_len(len).unwrap();
            assert!(!PartJournal::open(&file, &what, PART).unwrap().has_any(), "{len}");
            assert_eq!(file.metadata().unwrap().len(), end);
        }
        for at in 0..RECORD_BYTES as u64 {
            let (file, what, sums) = interrupted();
            change(&file, records_at(what.size) + at);
            assert_eq!(PartJournal::open(&file, &what, PART).unwrap().sums(), [None, None, sums[2]], "{at}");
        }
    }

    #[test]
    fn only_bytes_that_are_there_count() {
        let (file, what, sums) = interrupted();
        // As the end of the machine may leave it, or another program.
        file.write_all_at(&[0; 10], 50).unwrap();
        assert_eq!(PartJournal::open(&file, &what, PART).unwrap().sums(), [None, None, sums[2]]);
        change(&file, 2 * PART);
        assert_eq!(PartJournal::open(&file, &what, PART).unwrap().sums(), [None, None, None]);
    }
}
