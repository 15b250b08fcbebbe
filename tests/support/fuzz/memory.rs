//! Files in memory that a heap can lie on, and that fuzzing can make quickly: no journal, no crashes.
//!
//! Must not: take more memory than is written to it, or allow files so large that they would.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strewn::testing::{NewStorage, Place, Storage, StorageFile};
use strewn::{Error, ErrorKind, Result};

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// No file grows beyond this.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One heap's directory, whatever its path is.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    files: Mutex<BTreeMap<String, Arc<Mutex<Vec<u8>>>>>,
    read_only: AtomicBool,
}

struct MemoryDir {
    memory: Memory,
    path: PathBuf,
}

struct MemoryFile {
    inner: Arc<Inner>,
    path: PathBuf,
    bytes: Arc<Mutex<Vec<u8>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(what: &str, path: &Path, errno: i32) -> Error {
    Error::os(format!("{what} {}", path.display()), std::io::Error::from_raw_os_error(errno))
}

impl Memory {
    /// A directory with these files.
    pub fn with(files: &Files) -> Self {
        let memory = Self::default();
        let shared = |(name, bytes): (&String, &Vec<u8>)| (name.clone(), Arc::new(Mutex::new(bytes.clone())));
        *lock(&memory.0.files) = files.iter().map(shared).collect();
        memory
    }

    /// Refuses to change anything from now on, with `EROFS`.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.0.read_only.store(true, Ordering::Relaxed);
        self
    }

    /// All files as they are.
    pub fn files(&self) -> Files {
        lock(&self.0.files).iter().map(|(name, bytes)| (name.clone(), lock(bytes).clone())).collect()
    }

    fn dir(&self, path: &Path) -> MemoryDir {
        MemoryDir { memory: self.clone(), path: path.to_owned() }
    }
}

impl Inner {
    fn change(&self, what: &str, path: &Path) -> Result<()> {
        if self.read_only.load(Ordering::Relaxed) { Err(refused(what, path, libc::EROFS)) } else { Ok(()) }
    }
}

impl Place for Memory {
    fn start(&self, path: &Path) -> Result<Box<dyn NewStorage>> {
        Ok(Box::new(self.dir(path)))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.dir(path)))
    }
}

impl NewStorage for MemoryDir {
    fn rename(self: Box<Self>) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(*self))
    }
}

impl Storage for MemoryDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
        let bytes = lock(&self.memory.0.files).get(name).cloned();
        let (inner, path) = (self.memory.0.clone(), self.path.join(name));
        Ok(bytes.map(|bytes| Arc::new(MemoryFile { inner, path, bytes }) as Arc<dyn StorageFile>))
    }

    fn create_file(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        let (inner, path) = (self.memory.0.clone(), self.path.join(name));
        let mut files = lock(&inner.files);
        if !files.contains_key(name) {
            inner.change("create", &path)?;
        }
        let bytes = files.entry(name.to_owned()).or_default().clone();
        drop(files);
        Ok(Arc::new(MemoryFile { inner, path, bytes }))
    }

    fn sync_dir(&self) -> Result<()> {
        Ok(())
    }

    fn sync_parent(&self) -> Result<()> {
        Ok(())
    }

    /// Here nothing fails once a heap is there.
    fn withdraw(&self, error: Error) -> Error {
        error
    }

    fn folds_in_background(&self) -> bool {
        false
    }
}

impl MemoryFile {
    fn grow(&self, len: u64) -> Result<MutexGuard<'_, Vec<u8>>> {
        self.inner.change("write", &self.path)?;
        if len > FILE_BYTES_MAX {
            return Err(Error::new(ErrorKind::StorageFull, format!("{}: {len} bytes", self.path.display())));
        }
        let mut bytes = lock(&self.bytes);
        if bytes.len() < len as usize {
            bytes.resize(len as usize, 0);
        }
        Ok(bytes)
    }
}

impl StorageFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bytes = lock(&self.bytes);
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let len = buf.len().min(bytes.len() - start);
        buf[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, contents: &[u8]) -> Result<()> {
        let mut bytes = self.grow(offset.saturating_add(contents.len() as u64))?;
        bytes[offset as usize..][..contents.len()].copy_from_slice(contents);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.grow(len)?.truncate(len as usize);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.grow(offset.saturating_add(len)).map(drop)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        let mut bytes = self.grow(0)?;
        let end = offset.saturating_add(len).min(bytes.len() as u64) as usize;
        let start = offset.min(end as u64) as usize;
        bytes[start..end].fill(0);
        Ok(())
    }

    fn next_data(&self, range: Range<u64>) -> Result<Range<u64>> {
        let len = lock(&self.bytes).len() as u64;
        let end = range.end.min(len.next_multiple_of(4096));
        Ok(if range.start < end { range.start..end } else { range.end..range.end })
    }

    fn sync(&self) -> Result<()> {
        self.inner.change("fdatasync", &self.path)
    }
}
