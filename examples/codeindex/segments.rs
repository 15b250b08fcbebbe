//! [`Segments`]: an array that grows without moving its values.
//!
//! A long `PVec` that doubles copies itself whole, within one section, and is modified as a whole by the cut that follows. An array in segments adds one
//! small object at a time instead, and changing a value modifies only its segment. (The directory of segments does double: 8 bytes a segment.)

use strewn::{PBox, PVec, Persist, Result, Section};

/// A growable array in small objects of N values each. It never shrinks.
#[repr(C)]
pub struct Segments<T, const N: usize> {
    directory: PVec<PBox<[T; N]>>,
    len: u64,
}

// SAFETY: an array of boxes and a number, `repr(C)`.
unsafe impl<T: Persist, const N: usize> Persist for Segments<T, N> {}

impl<T, const N: usize> Default for Segments<T, N> {
    fn default() -> Self {
        Self { directory: PVec::default(), len: 0 }
    }
}

impl<T: Persist + Default, const N: usize> Segments<T, N> {
    /// How many values there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.len).expect("`push` keeps to 32 bits")
    }

    /// The value at `index`. Panics if there is none.
    pub fn get<'a>(&'a self, index: u32, section: &'a Section<'_>) -> &'a T {
        assert!(index < self.len(), "{index} is out of {} values", self.len);
        let (segment, place) = (index as usize / N, index as usize % N);
        &self.directory.as_slice(section)[segment].get(section)[place]
    }

    /// The value at `index`, to change it. Panics if there is none.
    pub fn get_mut<'a>(&'a mut self, index: u32, section: &'a Section<'_>) -> &'a mut T {
        assert!(index < self.len(), "{index} is out of {} values", self.len);
        let (segment, place) = (index as usize / N, index as usize % N);
        &mut self.directory.as_mut_slice(section)[segment].get_mut(section)[place]
    }

    /// Appends `value` and returns its index. The last 32-bit number is not used for one.
    pub fn push(&mut self, value: T, section: &Section<'_>) -> Result<u32> {
        let index = self.len();
        assert!(index < u32::MAX - 1, "an index holds fewer than 2^32 - 1 entries");
        let segment = index as usize / N;
        if segment == self.directory.len() {
            let values = std::array::from_fn(|_| T::default());
            self.directory.push(PBox::new(values, section)?, section)?;
        }
        self.len += 1;
        *self.get_mut(index, section) = value;
        Ok(index)
    }

    /// How many objects of the heap the array itself takes.
    pub fn objects(&self) -> u64 {
        self.directory.len() as u64 + u64::from(self.directory.capacity() > 0)
    }
}
