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
//! # Parts under way
//! The record of a part that is on its way says how far it is, with the checksum of what is there. It is written again now and then (`part_writer`), and where a run ends in good order
//! once more, so that over a slow link what has arrived counts long before a part is done.
//!
//! Invariants: a journal of another object, version, size or form, or one that is damaged, counts as none; so does a damaged record.

use crate::part_sizes::parts;
use crate::sums::{KIND_DEFAULT, of_file_range};
use pail_store::{Checksum, ObjectMeta};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tokio_util::sync::CancellationToken;

const MAGIC: &[u8; 16] = b"pail: parts, 2\n\0";
const ID_BYTES: usize = 32;
const COPY_ID_BYTES: usize = 8;
/// Magic, identity, copy, size, size of a part, checksum.
const HEAD_BYTES: usize = MAGIC.len() + ID_BYTES + COPY_ID_BYTES + 3 * 8;
/// Kind of the checksum and, of a part that is under way, its length so far; the checksum's value; checksum of the record.
const RECORD_BYTES: usize = 3 * 8;
/// The records begin at a page of their own.
const PAGE_BYTES: u64 = 4096;
/// The bits of the kind, below those of the length.
const KIND_BITS: u32 = 8;
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

/// What tells copies of one source to one target from all others: whose a file in parts is that nobody goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyId([u8; COPY_ID_BYTES]);

impl CopyId {
    /// Of a copy that these words say all of.
    pub fn of(what: &str) -> Self {
        let digest: [u8; ID_BYTES] = Sha256::digest(what).into();
        let (id, _) = digest.split_first_chunk().unwrap_or((&[0; COPY_ID_BYTES], &[]));
        Self(*id)
    }
}

/// What is there of a part: its first bytes, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub len: u64,
    /// Of these bytes.
    pub sum: Checksum,
}

/// The parts of one file that are there.
#[derive(Debug)]
pub(crate) struct PartJournal {
    what: ObjectIdentity,
    copy: CopyId,
    part_size: u64,
    /// Guards what is known of each part; a leaf.
    parts: Mutex<Vec<PartState>>,
    /// The checksums were noted when the bytes came, and not taken of a file that was [`cut`](Self::cut).
    is_noted: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct PartState {
    written: Option<Written>,
    /// The record says so.
    is_noted: bool,
}

impl PartJournal {
    /// The journal at the end of `file`, or a new one in a file that is made empty, of parts of `part_size`; from now on it is of this copy. May read all of the file. Errors: those of the system;
    /// the run is stopped.
    pub fn open(
        file: &File,
        what: &ObjectIdentity,
        copy: CopyId,
        part_size: u64,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        if let Some((head, mut found)) = read(file, what)? {
            check_parts(file, what.size, head.part_size, &mut found, stop)?;
            let states = found.into_iter().map(|written| PartState { written, is_noted: true });
            let parts = Mutex::new(states.collect());
            let part_size = head.part_size;
            let found = Self { what: what.clone(), copy, part_size, parts, is_noted: true };
            found.write_all(file)?;
            return Ok(found);
        }
        if file.metadata()?.len() == what.size {
            return Self::of_cut(file, what, copy, part_size, stop);
        }
        file.set_len(0)?;
        let count = usize::try_from(what.size.div_ceil(part_size)).unwrap_or(usize::MAX);
        let parts = Mutex::new(vec![PartState::default(); count]);
        let begun = Self { what: what.clone(), copy, part_size, parts, is_noted: true };
        begun.write_head(file)?;
        Ok(begun)
    }

    /// Of a file whose run was killed when it had cut the journal off: all parts are there, and their checksums are those of the bytes, which prove nothing by themselves.
    fn of_cut(
        file: &File,
        what: &ObjectIdentity,
        copy: CopyId,
        part_size: u64,
        stop: &CancellationToken,
    ) -> io::Result<Self> {
        let states = parts(what.size, part_size).map(|range| {
            let len = range.end - range.start;
            let sum = of_file_range(file, KIND_DEFAULT, range, stop)?;
            Ok(PartState { written: Some(Written { len, sum }), is_noted: false })
        });
        let parts = Mutex::new(states.collect::<io::Result<_>>()?);
        Ok(Self { what: what.clone(), copy, part_size, parts, is_noted: false })
    }

    /// Whether the checksums were noted when the bytes came: otherwise they count only if the store's own is made of them.
    pub fn is_noted(&self) -> bool {
        self.is_noted
    }

    /// The size of the parts, which is that of the run that began the file.
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// What is there of the parts, in order; `None` where nothing is.
    pub fn written(&self) -> Vec<Option<Written>> {
        self.parts.lock().iter().map(|part| part.written).collect()
    }

    pub fn has_any(&self) -> bool {
        self.parts.lock().iter().any(|part| part.written.is_some())
    }

    /// Keeps in mind that these bytes of a part are written; `note`, in its record, too.
    pub fn mark(&self, file: &File, index: usize, written: Written, note: bool) -> io::Result<()> {
        if note {
            self.note(file, index, written)?;
        }
        self.parts.lock()[index] = PartState { written: Some(written), is_noted: note };
        Ok(())
    }

    /// Notes how far the parts are that are under way.
    pub fn flush(&self, file: &File) -> io::Result<()> {
        for (index, part) in self.parts.lock().iter_mut().enumerate() {
            if let Some(written) = part.written.filter(|_| !part.is_noted) {
                self.note(file, index, written)?;
                part.is_noted = true;
            }
        }
        Ok(())
    }

    fn note(&self, file: &File, index: usize, written: Written) -> io::Result<()> {
        let at = records_at(self.what.size) + (index * RECORD_BYTES) as u64;
        file.write_all_at(&record_of(&self.what, self.part_size, index, written), at)
    }

    /// Cuts the journal off: the file is the object's bytes.
    pub fn cut(&self, file: &File) -> io::Result<()> {
        file.set_len(self.what.size)
    }

    fn write_head(&self, file: &File) -> io::Result<()> {
        let Self { what, copy, part_size, .. } = self;
        let head = Head { id: what.id, copy: *copy, size: what.size, part_size: *part_size };
        file.write_all_at(&head.bytes(), head_at(what.size, *part_size))
    }

    /// All anew. Cut short by the end of the process, it leaves less of what was there.
    fn write_all(&self, file: &File) -> io::Result<()> {
        let mut records = Vec::new();
        for (index, part) in self.parts.lock().iter().enumerate() {
            match part.written {
                Some(written) => {
                    records.extend_from_slice(&record_of(&self.what, self.part_size, index, written));
                }
                None => records.extend_from_slice(&[0; RECORD_BYTES]),
            }
        }
        file.write_all_at(&records, records_at(self.what.size))?;
        self.write_head(file)
    }
}

/// Of which copy a file is, by its journal, whatever object it is to become; `None` where it has none.
pub(crate) fn copy_of(file: &File) -> Option<CopyId> {
    let len = file.metadata().ok()?.len();
    let mut bytes = [0; HEAD_BYTES];
    file.read_exact_at(&mut bytes, len.checked_sub(HEAD_BYTES as u64)?).ok()?;
    let head = Head::read(&bytes)?;
    (len == head_at(head.size, head.part_size) + HEAD_BYTES as u64).then_some(head.copy)
}

struct Head {
    id: [u8; ID_BYTES],
    copy: CopyId,
    size: u64,
    part_size: u64,
}

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let (size, part_size) = (self.size.to_le_bytes(), self.part_size.to_le_bytes());
        let mut bytes = [&MAGIC[..], &self.id, &self.copy.0, &size, &part_size].concat();
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
        let (copy, rest) = rest.split_first_chunk::<COPY_ID_BYTES>()?;
        let (size, part_size) = rest.split_first_chunk::<8>()?;
        let (size, part_size) = (u64::from_le_bytes(*size), u64::from_le_bytes(part_size.try_into().ok()?));
        let is_possible = part_size > 0 && size.div_ceil(part_size) <= PARTS_MAX && size < 1 << 62;
        is_possible.then_some(Self { id: *id, copy: CopyId(*copy), size, part_size })
    }
}

fn records_at(size: u64) -> u64 {
    size.next_multiple_of(PAGE_BYTES)
}

fn head_at(size: u64, part_size: u64) -> u64 {
    records_at(size) + size.div_ceil(part_size) * RECORD_BYTES as u64
}

/// The journal of exactly this object; `None` where there is none.
fn read(file: &File, what: &ObjectIdentity) -> io::Result<Option<(Head, Vec<Option<Written>>)>> {
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
    let found = records.map(|(index, record)| written_in(what, head.part_size, index, record)).collect();
    Ok(Some((head, found)))
}

/// Forgets the parts whose bytes are others than their records say.
fn check_parts(
    file: &File,
    size: u64,
    part_size: u64,
    found: &mut [Option<Written>],
    stop: &CancellationToken,
) -> io::Result<()> {
    for (written, range) in found.iter_mut().zip(parts(size, part_size)) {
        let Some(Written { len, sum }) = *written else { continue };
        if of_file_range(file, sum, range.start..range.start + len, stop)? != sum {
            *written = None;
        }
    }
    Ok(())
}

fn len_of_part(size: u64, part_size: u64, index: usize) -> u64 {
    part_size.min(size.saturating_sub(index as u64 * part_size))
}

fn record_of(what: &ObjectIdentity, part_size: u64, index: usize, written: Written) -> Vec<u8> {
    let (kind, value) = match written.sum {
        Checksum::Crc64Nvme(value) => (1u64, value),
        Checksum::Crc32c(value) => (2, value.into()),
        Checksum::Crc32(value) => (3, value.into()),
    };
    // Of a part that is there, no length.
    let is_all = written.len == len_of_part(what.size, part_size, index);
    let kind = if is_all { kind } else { kind | written.len << KIND_BITS };
    let mut bytes = [kind.to_le_bytes(), value.to_le_bytes()].concat();
    let check = check_of(&[&what.id[..], &(index as u64).to_le_bytes(), &bytes].concat());
    bytes.extend_from_slice(&check);
    bytes
}

/// `None` where it is no record of this part, as where none was written.
fn written_in(what: &ObjectIdentity, part_size: u64, index: usize, record: &[u8]) -> Option<Written> {
    let (kind, rest) = record.split_first_chunk::<8>()?;
    let value = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    let kind = u64::from_le_bytes(*kind);
    let sum = match kind & ((1 << KIND_BITS) - 1) {
        1 => Checksum::Crc64Nvme(value),
        2 => Checksum::Crc32c(value as u32),
        3 => Checksum::Crc32(value as u32),
        _ => return None,
    };
    let all = len_of_part(what.size, part_size, index);
    let len = if kind >> KIND_BITS == 0 { all } else { kind >> KIND_BITS };
    let written = Written { len, sum };
    (len <= all && record_of(what, part_size, index, written) == record).then_some(written)
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

    fn open(file: &File, what: &ObjectIdentity) -> PartJournal {
        PartJournal::open(file, what, CopyId::of("a"), PART, &CancellationToken::new()).unwrap()
    }

    fn identity(id: u8, size: u64) -> ObjectIdentity {
        ObjectIdentity { id: [id; ID_BYTES], size }
    }

    /// A file of three parts of which the first and the last are there, and 1000 bytes of the second.
    fn interrupted() -> (File, ObjectIdentity, Vec<Option<Written>>) {
        let (file, what) = (tempfile::tempfile().unwrap(), identity(1, 2 * PART + 7));
        let journal = open(&file, &what);
        let parts = [
            Written { len: PART, sum: Checksum::crc64_of(&[1; PART as usize]) },
            Written { len: 1000, sum: Checksum::crc64_of(&[2; 1000]) },
            Written { len: 7, sum: Checksum::crc32c_of(&[3; 7]) },
        ];
        for (index, (byte, written)) in (1..).zip(parts).enumerate() {
            file.write_all_at(&vec![byte; written.len as usize], index as u64 * PART).unwrap();
            journal.mark(&file, index, written, true).unwrap();
        }
        (file, what, parts.map(Some).into())
    }

    fn change(file: &File, at: u64) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    #[test]
    fn parts_that_were_marked_are_known_to_the_next_run_and_the_file_ends_as_the_object() {
        let (file, what, parts) = interrupted();
        assert_eq!(copy_of(&file), Some(CopyId::of("a")));
        let stop = CancellationToken::new();
        stop.cancel();
        let stopped = PartJournal::open(&file, &what, CopyId::of("b"), PART, &stop);
        assert!(stopped.is_err(), "a run that is stopped does not read it all");
        assert_eq!(copy_of(&file), Some(CopyId::of("a")));
        // The next run may want parts of another size: those that are there have the size they have.
        let open = PartJournal::open(&file, &what, CopyId::of("b"), 5 * PART, &CancellationToken::new());
        let journal = open.unwrap();
        assert_eq!(copy_of(&file), Some(CopyId::of("b")));
        assert_eq!((journal.written(), journal.part_size()), (parts, PART));
        journal.cut(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), what.size);
        assert_eq!(copy_of(&file), None);
    }

    #[test]
    fn a_file_whose_journal_was_cut_off_has_all_parts_and_no_proof_of_them() {
        let (file, what, _) = interrupted();
        open(&file, &what).cut(&file).unwrap();
        let journal = open(&file, &what);
        assert!(!journal.is_noted());
        let lens: Vec<_> = journal.written().into_iter().map(|written| written.unwrap().len).collect();
        assert_eq!(lens, [PART, PART, 7]);
        assert_eq!(journal.written()[0].unwrap().sum, Checksum::crc64_of(&[1; PART as usize]));
    }

    #[test]
    fn a_part_under_way_is_noted_now_and_then_and_at_the_end() {
        let (file, what, parts) = interrupted();
        let journal = open(&file, &what);
        file.write_all_at(&[2; 500], PART + 1000).unwrap();
        let more = Written { len: 1500, sum: Checksum::crc64_of(&[2; 1500]) };
        journal.mark(&file, 1, more, false).unwrap();
        assert_eq!(open(&file, &what).written(), parts, "as a kill leaves it");
        journal.flush(&file).unwrap();
        let found = open(&file, &what);
        assert_eq!(found.written(), [parts[0], Some(more), parts[2]]);
        // Its last byte makes it one that is there.
        file.write_all_at(&[2; PART as usize], PART).unwrap();
        let all = Written { len: PART, sum: Checksum::crc64_of(&[2; PART as usize]) };
        found.mark(&file, 1, all, true).unwrap();
        assert_eq!(open(&file, &what).written()[1], Some(all));
    }

    #[test]
    fn a_journal_of_something_else_or_a_damaged_one_counts_as_none() {
        for other in [identity(2, 2 * PART + 7), identity(1, 2 * PART + 8), identity(1, PART)] {
            let (file, ..) = interrupted();
            assert!(!open(&file, &other).has_any());
        }
        let end = interrupted().0.metadata().unwrap().len();
        for at in end - HEAD_BYTES as u64..end {
            let (file, what, _) = interrupted();
            change(&file, at);
            assert!(!open(&file, &what).has_any(), "{at}");
        }
        for len in [0, 5, PART, end - 1, end + 1] {
            let (file, what, _) = interrupted();
            file.set_len(len).unwrap();
            assert!(!open(&file, &what).has_any(), "{len}");
            assert_eq!(file.metadata().unwrap().len(), end);
        }
        for (index, at) in (0..2).flat_map(|index| (0..RECORD_BYTES).map(move |at| (index, at))) {
            let (file, what, mut parts) = interrupted();
            change(&file, records_at(what.size) + (index * RECORD_BYTES + at) as u64);
            parts[index] = None;
            assert_eq!(open(&file, &what).written(), parts, "{index} {at}");
        }
    }

    #[test]
    fn only_bytes_that_are_there_count() {
        let (file, what, mut parts) = interrupted();
        // As the end of the machine may leave it, or another program.
        for (index, at) in [(0, 50), (1, PART + 999), (2, 2 * PART)] {
            change(&file, at);
            parts[index] = None;
            assert_eq!(open(&file, &what).written(), parts);
        }
    }
}
