//! Files that are read for their checksums.
//!
//! Owns: [`each_piece`]. A large file takes minutes: a run that is stopped does not wait for its end.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use tokio_util::sync::CancellationToken;

/// What is read at a time.
const READ_BYTES: u64 = 256 << 10;

/// Gives the bytes of a range of a file in order, as far as the file has them. Errors: those of reading; the run is stopped.
pub(crate) fn each_piece(
    file: &File,
    range: Range<u64>,
    stop: &CancellationToken,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut buffer = vec![0; (range.end.saturating_sub(range.start)).min(READ_BYTES) as usize];
    let mut offset = range.start;
    while offset < range.end {
        if stop.is_cancelled() {
            return Err(io::Error::other("the run is stopped"));
        }
        let wanted = (range.end - offset).min(READ_BYTES) as usize;
        match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                take(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_range_is_read_as_far_as_there_is_a_file_and_no_further_than_the_run() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..READ_BYTES * 2 + 5).map(|index| (index / 7) as u8).collect();
        file.write_all(&bytes).unwrap();
        let (stop, len) = (CancellationToken::new(), bytes.len() as u64);
        for range in [0..len, 3..9, 7..u64::MAX, READ_BYTES - 1..READ_BYTES + 1, len..len + 1] {
            let mut read = Vec::new();
            each_piece(&file, range.clone(), &stop, |piece| read.extend_from_slice(piece)).unwrap();
            assert_eq!(read, bytes[range.start as usize..range.end.min(len) as usize]);
        }
        let mut pieces = 0;
        let read = each_piece(&file, 0..len, &stop, |_| {
            pieces += 1;
            stop.cancel();
        });
        assert!(read.is_err() && pieces == 1);
    }
}
