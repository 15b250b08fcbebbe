//! Iterators over arrays, and making arrays of what iterators yield.

use super::PVec;
use crate::section::Section;
use crate::typed::Persist;
use std::iter::FusedIterator;
use std::slice;

/// The values of an array, moved out one by one.
pub struct IntoIter<'s, T: Persist> {
    /// Of length 0, so that dropping it frees the memory and nothing else.
    memory: PVec<'s, T>,
    /// The values that are left.
    next: usize,
    end: usize,
}

impl<T: Persist> IntoIter<'_, T> {
    fn take(&mut self, at: usize) -> T {
        // SAFETY: `at` was among the values that are left, and no longer is.
        unsafe { self.memory.value_ptr(at).read() }
    }
}

impl<T: Persist> Iterator for IntoIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.take(self.next - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl<T: Persist> DoubleEndedIterator for IntoIter<'_, T> {
    fn next_back(&mut self) -> Option<T> {
        (self.next < self.end).then(|| {
            self.end -= 1;
            self.take(self.end)
        })
    }
}

impl<T: Persist> ExactSizeIterator for IntoIter<'_, T> {}
impl<T: Persist> FusedIterator for IntoIter<'_, T> {}

impl<T: Persist> Drop for IntoIter<'_, T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<'s, T: Persist> IntoIterator for PVec<'s, T> {
    type Item = T;
    type IntoIter = IntoIter<'s, T>;

    fn into_iter(mut self) -> IntoIter<'s, T> {
        let end = self.len();
        self.len = 0;
        IntoIter { memory: self, next: 0, end }
    }
}

impl<'a, T: Persist> IntoIterator for &'a PVec<'_, T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> slice::Iter<'a, T> {
        self.as_slice().iter()
    }
}

impl<'a, T: Persist> IntoIterator for &'a mut PVec<'_, T> {
    type Item = &'a mut T;
    type IntoIter = slice::IterMut<'a, T>;

    fn into_iter(self) -> slice::IterMut<'a, T> {
        self.as_mut_slice().iter_mut()
    }
}

impl<T: Persist> Extend<T> for PVec<'_, T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        let values = values.into_iter();
        self.reserve(values.size_hint().0);
        values.for_each(|value| self.push(value));
    }
}

impl<'a, T: Persist + Copy + 'a> Extend<&'a T> for PVec<'_, T> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        self.extend(values.into_iter().copied());
    }
}

/// What can be made of an iterator in a heap.
pub trait FromIteratorIn<'s, A>: Sized {
    /// A collection, in the heap of `section`, of what `values` yields.
    fn from_iter_in<I: IntoIterator<Item = A>>(values: I, section: &'s Section<'_>) -> Self;
}

impl<'s, T: Persist> FromIteratorIn<'s, T> for PVec<'s, T> {
    fn from_iter_in<I: IntoIterator<Item = T>>(values: I, section: &'s Section<'_>) -> Self {
        let mut vec = Self::new_in(section);
        vec.extend(values);
        vec
    }
}

/// `collect`, into a heap. (`collect` itself has no way to say which section the new collection belongs to.)
pub trait CollectIn: Iterator + Sized {
    /// Makes a collection, in the heap of `section`, of what the iterator yields.
    fn collect_in<'s, C: FromIteratorIn<'s, Self::Item>>(self, section: &'s Section<'_>) -> C {
        C::from_iter_in(self, section)
    }
}

impl<I: Iterator> CollectIn for I {}
