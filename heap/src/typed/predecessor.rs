//! [`Migrate`]: from what a type was to what it is.

use super::access::own_ptr;
use super::schema::Described;
use super::{PBox, Persist, Schema, Walker};
use crate::base::Result;
use crate::checkpoint::RootType;
use crate::section::{Section, free};

/// How a value of an older type becomes one of this type. Written by the program whose type has `#[persist(from = Old)]`:
///
/// ```
/// use strewn::{Heap, Migrate, PString, Persist, Result, Section};
///
/// #[derive(Persist)]
/// #[persist(name = "Settings")] // what the type was called by the older program
/// struct SettingsV1 { volume: u8 }
///
/// #[derive(Persist)]
/// #[persist(version = 2, from = SettingsV1)]
/// struct Settings<'s> { volume: f64, name: PString<'s> }
///
/// impl<'s> Migrate<'s, SettingsV1> for Settings<'s> {
///     fn migrate(old: SettingsV1, section: &'s Section<'_>) -> Result<Self> {
///         Ok(Self { volume: f64::from(old.volume) / 255.0, name: PString::try_from_str_in("unnamed", section)? })
///     }
/// }
/// ```
///
/// A root that holds the older type is migrated when it is first asked for as the newer one; through several versions, if the older type has a predecessor in turn. All of it
/// happens within one section, and is durable with the next checkpoint: a crash before leaves the older heap, one after it the newer. If `migrate` fails or panics, the heap
/// refuses checkpoints, whatever [`HeapOptions::on_panic`](crate::HeapOptions::on_panic) says, and has no such root any more until it is opened again: what is on disk stays as it was.
/// (Who forgives it, by [`Heap::forgive_panic`](crate::Heap::forgive_panic), has a heap without that root.) `migrate` must not look for roots itself: another is being found.
///
/// Keep the older type for as long as there are heaps that hold it.
pub trait Migrate<'s, Old>: Sized {
    /// Makes the newer value of the older one, which it may take apart. It is dropped unless moved.
    ///
    /// # Errors
    /// What keeps it from being made.
    fn migrate(old: Old, section: &'s Section<'_>) -> Result<Self>;
}

/// An older type, and the way from it to a newer one.
pub struct Predecessor {
    pub(crate) described: fn() -> Described,
    pub(crate) kind: fn() -> RootType,
    pub(crate) predecessor: fn() -> Option<Predecessor>,
    /// # Safety
    /// That of [`Walker::root`], for an object of the older type.
    pub(crate) walk: unsafe fn(&mut Walker<'_>, u64) -> Result<()>,
    /// Moves the object at the address out, and frees it; returns the address of the newer one.
    ///
    /// # Safety
    /// An object of the older type, in the heap of the section, that nobody owns or uses.
    pub(crate) carry: unsafe fn(u64, &Section<'_>) -> Result<u64>,
}

impl Predecessor {
    /// The way from `Old` to `New`.
    pub fn of<Old: Persist, New: Persist>() -> Self
    where
        for<'s> New::In<'s>: Migrate<'s, Old::In<'s>>,
    {
        Self {
            described: Schema::of::<Old>,
            kind: RootType::of::<Old>,
            predecessor: Old::predecessor,
            walk: |walker, addr| {
                // SAFETY: the contract of the field.
                unsafe { walker.root::<Old>(addr) }
            },
            carry: |addr, section| {
                // SAFETY: the contract of the field; the object is not used any more.
                unsafe { carry::<Old, New>(addr, section) }
            },
        }
    }
}

/// # Safety
/// That of [`Predecessor::carry`].
unsafe fn carry<'s, Old: Persist, New: Persist>(addr: u64, section: &'s Section<'_>) -> Result<u64>
where
    New::In<'s>: Migrate<'s, Old::In<'s>>,
{
    // SAFETY: an object of this type but for the lifetime, moved out here and nowhere else.
    let old = unsafe { own_ptr::<Old::In<'s>>(addr).read() };
    free(addr);
    let new = New::In::<'s>::migrate(old, section)?;
    Ok(PBox::into_address(PBox::try_new_in(new, section)?))
}
