//! [`Store`]: an index in an open heap, and the sections in which it is read and changed.

use crate::index::Index;
use anyhow::Result;
use std::time::{Duration, Instant};
use strewn::{Heap, Root, Section};

/// The name of the root.
const ROOT: &str = "codeindex";

/// Whom [`Store::edit`] tells of changes.
pub trait Observer {
    /// How many files are about to be indexed.
    fn expect(&mut self, _files: u64) {}
    /// The index was changed, in a section that still lasts: no checkpoint has the change yet.
    fn changed(&mut self, _index: &Index<'_>) -> Result<()> {
        Ok(())
    }
    /// That section has ended, after generation `generation`: the next checkpoint has the change.
    fn left(&mut self, _generation: u64) {}
    /// A file has been dealt with.
    fn done(&mut self) {}
}

/// An index in an open heap.
pub struct Store<'h> {
    heap: &'h Heap,
    root: Root<'h, Index<'h>>,
    /// How long the longest section lasted that changed the index.
    pub section_max: Duration,
}

impl<'h> Store<'h> {
    /// Finds the index in `heap`, or puts an empty one there.
    pub fn open_or_create(heap: &'h Heap) -> Result<Self> {
        let root = heap.root::<Index>(ROOT, |section| Ok(Index::new_in(section)))?;
        Ok(Self { heap, root, section_max: Duration::ZERO })
    }

    /// Finds the index in `heap`, if there is one.
    pub fn open(heap: &'h Heap) -> Result<Option<Self>> {
        let root = heap.find_root(ROOT)?;
        Ok(root.map(|root| Self { heap, root, section_max: Duration::ZERO }))
    }

    /// Reads the index, in one section.
    pub fn read<T>(&self, look: impl FnOnce(&Index<'_>) -> T) -> Result<T> {
        let section = self.heap.enter();
        let index = self.root.read(&section)?;
        Ok(look(&index))
    }

    /// Changes the index, in one section: no checkpoint has half of what `change` does.
    pub fn edit(
        &mut self,
        observer: &mut impl Observer,
        change: impl for<'s> FnOnce(&mut Index<'s>, &'s Section<'_>),
    ) -> Result<()> {
        let section = self.heap.enter();
        let entered = Instant::now();
        let generation = {
            let mut index = self.root.write(&section)?;
            change(&mut index, &section);
            observer.changed(&index)?;
            index.generation
        };
        drop(section);
        self.section_max = self.section_max.max(entered.elapsed());
        observer.left(generation);
        Ok(())
    }
}
