//! [`RootTable`]: the named objects from which a program finds everything else, with their types, and who borrows them.

use crate::base::{Error, ErrorKind, Result};
use crate::durable::RootEntry;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The type of a root, as far as it can be compared between programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootType {
    /// The name of the type, as the compiler prints it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its alignment in bytes.
    pub align: u64,
}

impl RootType {
    /// The type `T`.
    pub fn of<T>() -> Self {
        Self {
            name: std::any::type_name::<T>().to_string(),
            size: size_of::<T>() as u64,
            align: align_of::<T>() as u64,
        }
    }
}

struct Root {
    entry: RootEntry,
    /// Readers, or -1 for a writer. Volatile.
    borrows: i64,
}

/// The roots of one heap.
#[derive(Default)]
pub struct RootTable {
    roots: BTreeMap<String, Root>,
    changed: bool,
}

impl RootTable {
    /// The table as it was recovered.
    pub fn recover(entries: Vec<RootEntry>) -> Self {
        let roots = entries.into_iter().map(|entry| (entry.name.clone(), Root { entry, borrows: 0 }));
        Self { roots: roots.collect(), changed: false }
    }

    /// The address of root `name`, or `None` if there is no such root.
    ///
    /// # Errors
    /// `RootType` if it holds another type.
    pub fn find(&self, name: &str, wanted: &RootType) -> Result<Option<u64>> {
        let Some(root) = self.roots.get(name) else { return Ok(None) };
        let RootEntry { type_name, size, align, addr, .. } = &root.entry;
        if (type_name, *size, *align) == (&wanted.name, wanted.size, wanted.align) {
            return Ok(Some(*addr));
        }
        let what = format!(
            "root `{name}` at {addr:#x} holds a {type_name} (size {size}, alignment {align}), not a {} (size {}, alignment {})",
            wanted.name, wanted.size, wanted.align
        );
        Err(Error::new(ErrorKind::RootType, what))
    }

    /// Adds root `name`. False if there is one of that name already.
    pub fn insert(&mut self, name: &str, kind: RootType, addr: u64) -> bool {
        let Entry::Vacant(place) = self.roots.entry(name.to_string()) else { return false };
        let RootType { name: type_name, size, align } = kind;
        place.insert(Root { entry: RootEntry { name: name.to_string(), type_name, size, align, addr }, borrows: 0 });
        self.changed = true;
        true
    }

    /// Borrows root `name`, alone or with other readers.
    ///
    /// # Errors
    /// `RootBorrowed` if a conflicting borrow is live.
    ///
    /// # Panics
    /// If there is no such root.
    pub fn borrow(&mut self, name: &str, alone: bool) -> Result<()> {
        let root = self.roots.get_mut(name).expect("the caller found the root");
        if root.borrows < 0 || alone && root.borrows > 0 {
            let by = if root.borrows < 0 { "a writer".to_string() } else { format!("{} readers", root.borrows) };
            return Err(Error::new(ErrorKind::RootBorrowed, format!("root `{name}` is borrowed by {by}")));
        }
        root.borrows = if alone { -1 } else { root.borrows + 1 };
        Ok(())
    }

    /// Ends a borrow.
    ///
    /// # Panics
    /// If there is no such root.
    pub fn release(&mut self, name: &str, alone: bool) {
        let root = self.roots.get_mut(name).expect("a borrowed root stays");
        root.borrows = if alone { 0 } else { root.borrows - 1 };
    }

    /// The names of all roots.
    pub fn names(&self) -> Vec<String> {
        self.roots.keys().cloned().collect()
    }

    /// All entries by name, if the table changed since it was last taken.
    pub fn take_changed(&mut self) -> Option<Vec<RootEntry>> {
        std::mem::take(&mut self.changed).then(|| self.roots.values().map(|root| root.entry.clone()).collect())
    }

    /// The record that held the last change was lost.
    pub fn owe(&mut self) {
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_type_is_refused_with_both_types() {
        let mut table = RootTable::default();
        assert!(table.insert("index", RootType::of::<u64>(), 0x1000));
        assert!(!table.insert("index", RootType::of::<u64>(), 0x2000));
        assert_eq!(table.find("index", &RootType::of::<u64>()).unwrap(), Some(0x1000));
        let e = table.find("index", &RootType::of::<[u8; 3]>()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::RootType);
        assert!(
            e.to_string().contains("holds a u64 (size 8, alignment 8), not a [u8; 3] (size 3, alignment 1)"),
            "{e}"
        );
    }

    #[test]
    fn borrows_are_those_of_a_ref_cell() {
        let mut table = RootTable::default();
        table.insert("r", RootType::of::<u8>(), 16);
        table.borrow("r", false).unwrap();
        table.borrow("r", false).unwrap();
        assert_eq!(table.borrow("r", true).unwrap_err().kind(), ErrorKind::RootBorrowed);
        table.release("r", false);
        table.release("r", false);
        table.borrow("r", true).unwrap();
        assert_eq!(table.borrow("r", false).unwrap_err().kind(), ErrorKind::RootBorrowed);
    }

    #[test]
    fn a_change_is_told_once_unless_it_was_lost() {
        let mut table = RootTable::recover(Vec::new());
        table.insert("r", RootType::of::<u8>(), 16);
        assert_eq!(table.take_changed().unwrap().len(), 1);
        assert!(table.take_changed().is_none());
        table.owe();
        assert!(table.take_changed().is_some());
    }
}
