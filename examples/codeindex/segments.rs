//! [`Segments`]: an array that grows without moving its values.
//!
//! A long `PVec` that doubles copies itself whole, within one section, and is modified as a whole by the cut that follows. An array in segments adds one
//! small object at a time instead, and changing a value modifies only its segment. (The directory of segments does double: 8 bytes a segment.)

use strewn::{PBox, PVec, Persist, Result, Section};

/// A growable array in small objects of N values each. It never shrinks.
#[derive(Persist)]
pub struct Segments<'s, T, const N: usize> {
    directory: PVec<'s, PBox<'s, [T; N]>>,
    len: u64,
}

impl<'s, T: Persist + Default, const N: usize> Segments<'s, T, N> {
    /// An empty array.
    pub fn new_in(section: &'s Section<'_>) -> Self {
        Self { directory: PVec::new_in(section), len: 0 }
    }

    /// How many values there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.len).expect("`push` keeps to 32 bits")
    }

    /// The value at `index`. Panics if there is none.
    pub fn get(&self, index: u32) -> &T {
        assert!(index < self.len(), "{index} is out of {} values", self.len);
        let (segment, place) = (index as usize / N, index as usize % N);
        &self.directory[segment][place]
    }

    /// The value at `index`, to change it. Panics if there is none.
    pub fn get_mut(&mut self, index: u32) -> &mut T {
        assert!(index < self.len(), "{index} is out of {} values", self.len);
        let (segment, place) = (index as usize / N, index as usize % N);
        &mut self.directory[segment][place]
    }

    /// Appends `value` and returns its index. The last 32-bit number is not used for one.
    pub fn push(&mut self, value: T, section: &'s Section<'_>) -> Result<u32> {
        let index = self.len();
        assert!(index < u32::MAX - 1, "an index holds fewer than 2^32 - 1 entries");
        let segment = index as usize / N;
        if segment == self.directory.len() {
            let values = std::array::from_fn(|_| T::default());
            self.directory.try_push(PBox::try_new_in(values, section)?)?;
        }
        self.len += 1;
        *self.get_mut(index) = value;
        Ok(index)
    }

    /// How many objects of the heap the array itself takes.
    pub fn objects(&self) -> u64 {
        self.directory.len() as u64 + u64::from(self.directory.capacity() > 0)
    }
}
