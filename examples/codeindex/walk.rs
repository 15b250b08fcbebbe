//! Finding the files to index.

use anyhow::{Context, Result, ensure};
use std::fs::{DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files larger than this are skipped: they are rarely written by hand, and a section adds a file whole.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file to index, as the directory says.
pub struct Candidate {
    /// Absolute, without symbolic links.
    pub path: PathBuf,
    /// When it was last modified, in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// How long it is.
    pub size_bytes: u64,
}

/// What a walk found.
#[derive(Default)]
pub struct Walk {
    /// The directories, made absolute.
    pub roots: Vec<PathBuf>,
    /// The files to index.
    pub files: Vec<Candidate>,
    /// How many files are too large.
    pub large: u64,
    /// How many directories and files could not be looked at.
    pub unreadable: u64,
}

/// The directories to index: `dirs`, or else this repository, and the sources in the local cargo registry, if there is one.
pub fn roots_or_default(dirs: &[PathBuf]) -> Vec<PathBuf> {
    if !dirs.is_empty() {
        return dirs.to_vec();
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .unwrap_or_default();
    let registry = cargo_home.join("registry").join("src");
    if registry.is_dir() {
        vec![repository, registry]
    } else {
        eprintln!("no cargo registry at {}: indexing this repository alone", registry.display());
        vec![repository]
    }
}

/// Finds all files below `roots`, in an order that depends on their names alone. Build directories (`target` beside a `Cargo.toml`), `.git` and
/// heaps (`*.heap`) are left out, symbolic links are not followed.
pub fn walk(roots: &[PathBuf]) -> Result<Walk> {
    let mut walk = Walk::default();
    for root in roots {
        let root = root.canonicalize().with_context(|| format!("cannot index {}", root.display()))?;
        ensure!(root.is_dir(), "{} is not a directory", root.display());
        walk.visit(&root);
        walk.roots.push(root);
    }
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    walk.files.dedup_by(|a, b| a.path == b.path);
    Ok(walk)
}

impl Walk {
    fn visit(&mut self, dir: &Path) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            self.unreadable += 1;
            return;
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.metadata()?, entry))) {
                Ok((meta, entry)) if meta.is_dir() => {
                    if !is_left_out(&entry) {
                        self.visit(&entry.path());
                    }
                }
                Ok((meta, entry)) if meta.is_file() => self.note(entry.path(), &meta),
                Ok(_) => {}
                Err(_) => self.unreadable += 1,
            }
        }
    }

    fn note(&mut self, path: PathBuf, meta: &Metadata) {
        if meta.len() > FILE_BYTES_MAX {
            self.large += 1;
            return;
        }
        let mtime_ns = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec()) as u64;
        self.files.push(Candidate { path, mtime_ns, size_bytes: meta.len() });
    }
}

fn is_left_out(dir: &DirEntry) -> bool {
    let path = dir.path();
    path.file_name().is_some_and(|name| name == ".git")
        || path.extension().is_some_and(|extension| extension == "heap")
        || path.file_name().is_some_and(|name| name == "target") && path.with_file_name("Cargo.toml").exists()
}
