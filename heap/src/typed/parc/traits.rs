//! What a [`PArc`] does because its value does.

use super::PArc;
use crate::typed::Persist;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

impl<T: Persist + Sync> Deref for PArc<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the object is there for as long as an owner is, and mapped for as long as a section (Y1). Nobody has a unique reference while there is another owner, and
        // this one is borrowed. Other threads have shared ones, which the value allows. What can be changed through one is read through its own lane.
        unsafe { &*self.value_ptr() }
    }
}

impl<T: Persist + Sync> AsRef<T> for PArc<'_, T> {
    fn as_ref(&self) -> &T {
        self
    }
}

impl<T: Persist + Sync> Borrow<T> for PArc<'_, T> {
    fn borrow(&self) -> &T {
        self
    }
}

impl<T: Persist + Sync + PartialEq> PartialEq for PArc<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Persist + Sync + Eq> Eq for PArc<'_, T> {}

impl<T: Persist + Sync + PartialOrd> PartialOrd for PArc<'_, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Persist + Sync + Ord> Ord for PArc<'_, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Persist + Sync + Hash> Hash for PArc<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Persist + Sync + fmt::Debug> fmt::Debug for PArc<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Persist + Sync + fmt::Display> fmt::Display for PArc<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
