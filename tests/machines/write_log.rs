//! Reads a log of all that a disk was told, in the format of the kernel's dm-log-writes, and does the same to an image again.
//!
//! All numbers are little-endian and of 64 bits. The first sector of the log has a magic number, a version (1), the count of entries, and the size of a sector (32 bits).
//! Then come the entries, each a sector with: first sector on the disk, count of sectors, flags, length of data in the entry's own sector (not used here).
//! The sectors written follow, but for discards. `nr_entries` is written at each flush and when the log ends: the log must have been ended in good order.
//!
//! What the flags mean for what is durable: a flush covers all entries before it. A write with FUA is durable at once.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
/// As the disks of the guests have them.
const SECTOR: u64 = 512;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const KNOWN: u64 = 0x1f;

/// One thing that the disk was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the entry starts in the log.
    pub start: u64,
    /// Which bytes of the disk it writes.
    pub range: Range<u64>,
    flags: u64,
}

impl Entry {
    /// Whether all before it is durable after it.
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// Whether it is durable itself as soon as it is done.
    pub fn is_durable_at_once(&self) -> bool {
        self.flags & FUA != 0
    }

    fn is_discard(&self) -> bool {
        self.flags & DISCARD != 0
    }

    fn data_start(&self) -> u64 {
        self.start + SECTOR
    }

    fn end(&self) -> u64 {
        self.data_start() + if self.is_discard() { 0 } else { self.range.end - self.range.start }
    }
}

/// A whole log.
pub struct WriteLog {
    file: File,
    /// In the order in which they were done.
    pub entries: Vec<Entry>,
    len: u64,
}

impl WriteLog {
    /// Reads the log at `path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let [magic, version, count, sector] = numbers(&file, 0)?;
        if (magic, version, sector & 0xffff_ffff) != (MAGIC, VERSION, SECTOR) {
            return Err(format!("not a log: magic {magic:#x}, version {version}, sectors of {sector}"));
        }
        let len = file.metadata().map_err(|e| e.to_string())?.len();
        let mut log = Self { file, entries: Vec::new(), len: SECTOR };
        for i in 0..count {
            let [first, sectors, flags, data] = numbers(&log.file, log.len)?;
            let range =
                first.checked_mul(SECTOR).zip(first.checked_add(sectors).and_then(|end| end.checked_mul(SECTOR)));
            let Some((start, end)) = range.filter(|_| flags & !KNOWN == 0 && data == 0) else {
                return Err(format!("entry {i}: sectors {first} + {sectors}, flags {flags:#x}, {data} bytes inline"));
            };
            let entry = Entry { start: log.len, range: start..end, flags };
            log.len = entry.end();
            if log.len > len {
                return Err(format!("entry {i} ends at {}, the log at {len}", log.len));
            }
            log.entries.push(entry);
        }
        Ok(log)
    }

    /// How long the log was when only its first `count` entries had been done.
    pub fn len_at(&self, count: usize) -> u64 {
        self.entries.get(count).map_or(self.len, |entry| entry.start)
    }

    /// How many of the first `count` entries the last flush among them covers; itself included.
    pub fn flushed(&self, count: usize) -> usize {
        self.entries[..count].iter().rposition(Entry::is_flush).map_or(0, |last| last + 1)
    }

    /// Does again the part of `entry` that writes `part` of the disk.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn apply(&self, entry: &Entry, part: Range<u64>, image: &File) -> io::Result<()> {
        let mut bytes = vec![0; (part.end - part.start) as usize];
        // What was discarded reads as zeros, or as before: no file system counts on either.
        if !entry.is_discard() {
            self.file.read_exact_at(&mut bytes, entry.data_start() + (part.start - entry.range.start))?;
        }
        image.write_all_at(&bytes, part.start)
    }
}

fn numbers(file: &File, at: u64) -> Result<[u64; 4], String> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at).map_err(|e| format!("at {at} of the log: {e}"))?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok([0, 1, 2, 3].map(|i| u64::from_le_bytes(words[i])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(words: [u64; 4]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(SECTOR as usize, 0);
        bytes
    }

    /// Writes two sectors, flushes, writes one with FUA, discards one, writes one, and says that there are `count` entries.
    fn sample(count: u64) -> Vec<u8> {
        let filled = |byte: u8, sectors: usize| vec![byte; sectors * SECTOR as usize];
        [
            sector([MAGIC, VERSION, count, SECTOR]),
            sector([4, 2, 0, 0]),
            filled(7, 2),
            sector([0, 0, FLUSH, 0]),
            sector([5, 1, FUA, 0]),
            filled(8, 1),
            sector([4, 1, DISCARD, 0]),
            sector([1, 1, 0, 0]),
            filled(9, 1),
        ]
        .concat()
    }

    fn open(bytes: &[u8]) -> Result<WriteLog, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, bytes).unwrap();
        WriteLog::open(&path)
    }

    #[test]
    fn a_log_is_read_and_done_again() {
        let log = open(&sample(5)).unwrap();
        let ranges: Vec<_> = log.entries.iter().map(|entry| entry.range.clone()).collect();
        assert_eq!(ranges, [2048..3072, 0..0, 2560..3072, 2048..2560, 512..1024]);
        assert_eq!((0..=5).map(|n| log.flushed(n)).collect::<Vec<_>>(), [0, 0, 2, 2, 2, 2]);
        assert_eq!((0..=5).map(|n| log.len_at(n) / SECTOR).collect::<Vec<_>>(), [1, 4, 5, 7, 8, 10]);
        let durable: Vec<_> = log.entries.iter().map(Entry::is_durable_at_once).collect();
        assert_eq!(durable, [false, false, true, false, false]);
        let image = tempfile::tempfile().unwrap();
        image.set_len(4096).unwrap();
        for entry in &log.entries {
            log.apply(entry, entry.range.clone(), &image).unwrap();
        }
        let read = |at: u64| {
            let mut byte = [0];
            image.read_exact_at(&mut byte, at).unwrap();
            byte[0]
        };
        assert_eq!([0, 512, 1023, 1024, 2047, 2048, 2559, 2560, 3071, 3072].map(read), [0, 9, 9, 0, 0, 0, 0, 8, 8, 0]);
        log.apply(&log.entries[0], 2560..2561, &image).unwrap();
        assert_eq!([2559, 2560, 2561].map(read), [0, 7, 8], "a part of an entry");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        assert!(open(&[]).is_err());
        assert!(open(&sector([MAGIC + 1, VERSION, 0, SECTOR])).is_err());
        assert!(open(&sector([MAGIC, VERSION, 0, 4096])).is_err());
        assert!(open(&sample(6)).is_err(), "fewer entries than it says");
        let mut flagged = sample(5);
        flagged[SECTOR as usize + 16] = 0x20;
        assert!(open(&flagged).is_err(), "a flag without a meaning");
        assert!(open(&sample(5)[..9 * SECTOR as usize]).is_err(), "the last entry's data is cut off");
    }
}
