//! [`RootTable`]: the named objects from which a program finds everything else, with their types, and who borrows them.

use crate::base::{Error, ErrorKind, Result};
use crate::durable::RootEntry;
use crate::typed::{Persist, Schema, Walker, fingerprint, first_difference};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The type of a root, as far as it can be compared between programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootType {
    /// What it looks like; or only its name, if the first version wrote it.
    text: String,
    size: u64,
    align: u64,
    /// The name of the type, as the compiler printed it when types had no lifetimes: what the first version wrote.
    name: String,
    /// What stands for it in this process, if it was found in it. Values of two types of equal text may differ in what is made anew for each process.
    identity: Option<u64>,
}

/// Walks what can be reached from a root.
///
/// # Safety
/// That of [`Walker::root`].
pub type WalkRoot = unsafe fn(&mut Walker<'_>, u64) -> Result<()>;

impl RootType {
    /// The type `T`.
    pub fn of<T: Persist>() -> Self {
        let described = Schema::of::<T>();
        Self {
            identity: Some(fingerprint(&described.text) ^ described.made.rotate_left(1)),
            text: described.text,
            size: size_of::<T>() as u64,
            align: align_of::<T>() as u64,
            name: without_lifetimes(std::any::type_name::<T>()),
        }
    }

    fn stored(entry: &RootEntry) -> Self {
        Self {
            text: entry.type_name.clone(),
            size: entry.size,
            align: entry.align,
            name: String::new(),
            identity: None,
        }
    }

    /// Whether it is that of a root that was found in this process.
    pub fn was_found(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether this type can read what `stored` says.
    pub fn matches(&self, stored: &Self) -> bool {
        if stored.identity.is_some() {
            return self.identity == stored.identity;
        }
        (self.size, self.align) == (stored.size, stored.align) && (self.text == stored.text || self.name == stored.text)
    }

    /// What stands for the type in this process.
    pub fn identity(&self) -> u64 {
        self.identity.unwrap_or(0)
    }

    /// What stands for the type in messages.
    fn fingerprint(&self) -> u64 {
        fingerprint(&self.text)
    }

    /// The error for root `name` at `addr`, which holds a `stored`.
    pub fn mismatch(&self, name: &str, addr: u64, stored: &Self) -> Error {
        let of = |kind: &Self| {
            let (text, size, align) = (kind.text.lines().next().unwrap_or_default(), kind.size, kind.align);
            format!("{text} (size {size}, alignment {align}, fingerprint {:016x})", kind.fingerprint())
        };
        let difference = match stored.text == self.text {
            true => "fields that are made anew have other types".to_owned(),
            false => first_difference(&stored.text, &self.text),
        };
        let what = format!("root `{name}` at {addr:#x} holds a {}, not a {}: {difference}", of(stored), of(self));
        Error::new(ErrorKind::RootType, what)
    }
}

/// What [`RootTable::find`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// No root of that name.
    Nothing,
    /// A root of the type that was asked for.
    Ready,
    /// The same, found for the first time in this process, at this address.
    Unprepared(u64),
    /// A root of another type, at this address.
    Other(u64, RootType),
}

struct Root {
    entry: RootEntry,
    /// Readers, or -1 for a writer. Volatile.
    borrows: i64,
    /// What it was found as in this process: its identity, and how it is walked. Volatile.
    found: Option<(u64, WalkRoot)>,
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
        let roots = entries.into_iter().map(|entry| (entry.name.clone(), Root { entry, borrows: 0, found: None }));
        Self { roots: roots.collect(), changed: false }
    }

    /// Looks for root `name`, as a `wanted`.
    pub fn find(&self, name: &str, wanted: &RootType) -> Lookup {
        let Some(root) = self.roots.get(name) else { return Lookup::Nothing };
        let identity = root.found.map(|(identity, _)| identity);
        let stored = RootType { identity, ..RootType::stored(&root.entry) };
        match root.found {
            Some((found, _)) if found == wanted.identity() => Lookup::Ready,
            None if wanted.matches(&stored) => Lookup::Unprepared(root.entry.addr),
            _ => Lookup::Other(root.entry.addr, stored),
        }
    }

    /// Root `name` can be used from now on, and is walked by `walk`. It is recorded with the whole description of `kind`.
    pub fn prepared(&mut self, name: &str, kind: RootType, walk: WalkRoot) {
        if let Some(root) = self.roots.get_mut(name) {
            root.found = Some((kind.identity(), walk));
            self.changed |= root.entry.type_name != kind.text;
            root.entry.type_name = kind.text;
        }
    }

    /// Adds root `name`. False if there is one of that name already.
    pub fn insert(&mut self, name: &str, kind: RootType, addr: u64) -> bool {
        let Entry::Vacant(place) = self.roots.entry(name.to_string()) else { return false };
        place.insert(Root { entry: entry(name, kind, addr), borrows: 0, found: None });
        self.changed = true;
        true
    }

    /// Puts an object of another type at root `name`.
    pub fn replace(&mut self, name: &str, kind: RootType, addr: u64, walk: WalkRoot) {
        let found = Some((kind.identity(), walk));
        self.roots.insert(name.to_owned(), Root { entry: entry(name, kind, addr), borrows: 0, found });
        self.changed = true;
    }

    /// Takes out root `name`, whose object is no more.
    pub fn forget(&mut self, name: &str) {
        self.changed |= self.roots.remove(name).is_some();
    }

    /// Takes out root `name`, which was found as what `identity` stands for. Returns its address, if there is one.
    ///
    /// # Errors
    /// `RootBorrowed`, `RootType`.
    pub fn remove(&mut self, name: &str, identity: u64) -> Result<Option<u64>> {
        self.check_free(name)?;
        if !self.roots.contains_key(name) {
            return Ok(None);
        }
        self.known(name, identity)?;
        self.changed = true;
        Ok(self.roots.remove(name).map(|root| root.entry.addr))
    }

    /// Swaps what the two roots of each pair hold.
    ///
    /// # Errors
    /// `NotFound`, `RootBorrowed`, `RootType`, `InvalidArgument`; nothing was swapped.
    pub fn swap(&mut self, pairs: &[(&str, &str)]) -> Result<()> {
        let mut names: Vec<&str> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(Error::new(ErrorKind::InvalidArgument, format!("root `{}` is to be swapped twice", twice[0])));
        }
        for (one, other) in pairs {
            for name in [one, other] {
                self.check_free(name)?;
            }
            let [a, b] = [one, other].map(|name| RootType::stored(&self.roots[*name].entry));
            if a != b {
                return Err(b.mismatch(one, self.roots[*one].entry.addr, &a));
            }
        }
        for (one, other) in pairs {
            let [a, b] = [one, other].map(|name| self.roots[*name].entry.addr);
            self.roots.get_mut(*one).expect("just looked at").entry.addr = b;
            self.roots.get_mut(*other).expect("just looked at").entry.addr = a;
            let [a, b] = [one, other].map(|name| self.roots[*name].found);
            self.roots.get_mut(*one).expect("just looked at").found = b;
            self.roots.get_mut(*other).expect("just looked at").found = a;
            self.changed = true;
        }
        Ok(())
    }

    /// Checks that root `name` is there, and nobody borrows it.
    ///
    /// # Errors
    /// `NotFound`, `RootBorrowed`.
    pub fn check_free(&self, name: &str) -> Result<()> {
        let root = self.roots.get(name).ok_or_else(|| not_found(name))?;
        let by = match root.borrows {
            0 => return Ok(()),
            -1 => "a writer".to_owned(),
            readers => format!("{readers} readers"),
        };
        Err(Error::new(ErrorKind::RootBorrowed, format!("root `{name}` is borrowed by {by}")))
    }

    /// Borrows root `name`, which was found as what `identity` stands for, alone or with other readers. Returns its address.
    ///
    /// # Errors
    /// `RootBorrowed` if a conflicting borrow is live; `NotFound` if it was removed, `RootType` if there is one of another type in its place.
    pub fn borrow(&mut self, name: &str, identity: u64, alone: bool) -> Result<u64> {
        let readers = self.roots.get(name).map_or(0, |root| root.borrows);
        if alone || readers < 0 {
            self.check_free(name)?;
        }
        let root = self.known(name, identity)?;
        root.borrows = if alone { -1 } else { root.borrows + 1 };
        Ok(root.entry.addr)
    }

    /// Borrows root `name` alone, whatever it was found as: it is about to be replaced.
    ///
    /// # Errors
    /// `NotFound`, `RootBorrowed`.
    pub fn hold(&mut self, name: &str) -> Result<()> {
        self.check_free(name)?;
        self.roots.get_mut(name).expect("it is free").borrows = -1;
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

    /// Every root: its name, its address, and how it is walked, if it was found in this process.
    pub fn each(&self) -> impl Iterator<Item = (&str, u64, Option<WalkRoot>)> {
        self.roots.values().map(|root| (root.entry.name.as_str(), root.entry.addr, root.found.map(|(_, walk)| walk)))
    }

    /// All entries by name, if the table changed since it was last taken.
    pub fn take_changed(&mut self) -> Option<Vec<RootEntry>> {
        std::mem::take(&mut self.changed).then(|| self.roots.values().map(|root| root.entry.clone()).collect())
    }

    /// The record that held the last change was lost.
    pub fn owe(&mut self) {
        self.changed = true;
    }

    /// Root `name`, if it is what it was found as.
    fn known(&mut self, name: &str, identity: u64) -> Result<&mut Root> {
        let root = self.roots.get_mut(name).ok_or_else(|| not_found(name))?;
        match root.found {
            Some((found, _)) if found == identity => Ok(root),
            _ => Err(Error::new(ErrorKind::RootType, format!("root `{name}` was replaced by one of another type"))),
        }
    }
}

/// `Desk<'_>` as `Desk`, `PVec<'_, u64>` as `PVec<u64>`.
fn without_lifetimes(name: &str) -> String {
    name.replace("'_, ", "").replace("<'_>", "")
}

fn entry(name: &str, kind: RootType, addr: u64) -> RootEntry {
    RootEntry { name: name.to_owned(), type_name: kind.text, size: kind.size, align: kind.align, addr }
}

fn not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no root `{name}`"))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::typed::{PBox, PVec};

    fn table_with<T: Persist>(name: &str) -> (RootTable, u64) {
        let mut table = RootTable::default();
        assert!(table.insert(name, RootType::of::<T>(), 0x1000));
        table.prepared(name, RootType::of::<T>(), |_, _| Ok(()));
        (table, RootType::of::<T>().identity())
    }

    #[test]
    fn another_type_is_refused_with_both_types() {
        let mut table = RootTable::default();
        assert!(table.insert("index", RootType::of::<u64>(), 0x1000));
        assert!(!table.insert("index", RootType::of::<u64>(), 0x2000));
        assert_eq!(table.find("index", &RootType::of::<u64>()), Lookup::Unprepared(0x1000));
        let wanted = RootType::of::<[u8; 3]>();
        let Lookup::Other(addr, stored) = table.find("index", &wanted) else { panic!("it is another type") };
        let e = wanted.mismatch("index", addr, &stored);
        assert_eq!(e.kind(), ErrorKind::RootType);
        let text = e.to_string();
        assert!(text.contains("0x1000 holds a u64 (size 8, alignment 8, fingerprint "), "{text}");
        assert!(text.contains("not a [u8;3] (size 3, alignment 1, fingerprint "), "{text}");
    }

    #[test]
    fn names_that_the_first_version_wrote_are_known() {
        let stored = |type_name: &str, size| RootEntry {
            name: "r".to_owned(),
            type_name: type_name.to_owned(),
            size,
            align: 8,
            addr: 0x1000,
        };
        let find = |entry, wanted: &RootType| RootTable::recover(vec![entry]).find("r", wanted);
        let boxed = RootType::of::<PBox<PVec<u64>>>();
        let name = "strewn::typed::pbox::PBox<strewn::typed::pvec::PVec<u64>>";
        assert_eq!(find(stored(name, 8), &boxed), Lookup::Unprepared(0x1000));
        assert!(matches!(find(stored(name, 16), &boxed), Lookup::Other(..)));
        assert!(matches!(find(stored("strewn::typed::pvec::PVec<u64>", 8), &boxed), Lookup::Other(..)));
        assert_eq!(without_lifetimes("a::Pair<'_, '_, b::C<'_>>"), "a::Pair<b::C>");
        // From then on the root is known by its description.
        let mut table = RootTable::recover(vec![stored(name, 8)]);
        table.prepared("r", boxed.clone(), |_, _| Ok(()));
        assert_eq!(table.take_changed().unwrap()[0].type_name, "PBox<PVec<u64>>");
    }

    #[test]
    fn borrows_are_those_of_a_ref_cell() {
        let (mut table, u8_) = table_with::<u8>("r");
        assert_eq!(table.borrow("r", u8_, false).unwrap(), 0x1000);
        table.borrow("r", u8_, false).unwrap();
        assert_eq!(table.borrow("r", u8_, true).unwrap_err().kind(), ErrorKind::RootBorrowed);
        assert_eq!(table.remove("r", u8_).unwrap_err().kind(), ErrorKind::RootBorrowed);
        table.release("r", false);
        table.release("r", false);
        table.borrow("r", u8_, true).unwrap();
        assert_eq!(table.borrow("r", u8_, false).unwrap_err().kind(), ErrorKind::RootBorrowed);
        table.release("r", true);
        assert_eq!(table.remove("r", u8_).unwrap(), Some(0x1000));
        assert_eq!(table.borrow("r", u8_, false).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn swapping_is_all_or_nothing() {
        let (mut table, _) = table_with::<u8>("a");
        table.insert("b", RootType::of::<u8>(), 0x2000);
        table.insert("c", RootType::of::<u64>(), 0x3000);
        let addr = |table: &RootTable, name: &str| table.roots[name].entry.addr;
        assert_eq!(table.swap(&[("a", "b"), ("b", "a")]).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(table.swap(&[("a", "b"), ("c", "d")]).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(table.swap(&[("a", "c")]).unwrap_err().kind(), ErrorKind::RootType);
        assert_eq!((addr(&table, "a"), addr(&table, "b")), (0x1000, 0x2000));
        table.swap(&[("a", "b")]).unwrap();
        assert_eq!((addr(&table, "a"), addr(&table, "b")), (0x2000, 0x1000));
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
