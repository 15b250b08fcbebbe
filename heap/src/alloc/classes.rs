//! Size classes: which slot size serves a request. Requests that no slot serves go to page runs.

use crate::base::{PAGE, SlotLayout};
use std::alloc::Layout;

/// Slot sizes in bytes. Up to 128 in steps of 16; above, at most a third of a slot is wasted, and the sizes fill the frame well.
const SLOT_BYTES: [u16; 22] =
    [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 672, 816, 1024, 1360, 2048];

/// How many size classes there are.
pub const CLASSES: usize = SLOT_BYTES.len();

/// The largest request that goes to a slot: half a frame.
pub const SLOT_BYTES_MAX: usize = PAGE / 2;

/// A size class, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class(u8);

/// The class for each size, in steps of 16 bytes.
const CLASS_OF: [u8; SLOT_BYTES_MAX / 16 + 1] = {
    let mut table = [0; SLOT_BYTES_MAX / 16 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * 16 > SLOT_BYTES[class] as usize {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

/// How many bytes may be used where an object of `layout` is allocated: the whole slot, or all pages of the run.
#[inline]
pub const fn usable_like(layout: Layout) -> usize {
    match Class::of(layout) {
        Some(class) => SLOT_BYTES[class.0 as usize] as usize,
        None => layout.size().next_multiple_of(PAGE),
    }
}

impl Class {
    /// The class that serves `layout`, or `None` if it wants a page run.
    #[inline]
    pub const fn of(layout: Layout) -> Option<Self> {
        if layout.size() > SLOT_BYTES_MAX {
            return None;
        }
        let class = CLASS_OF[layout.size().div_ceil(16)];
        if layout.align() <= 16 {
            return Some(Self(class));
        }
        Self::aligned(class, layout.align())
    }

    /// The first class from `class` on whose slots are all aligned to `align`.
    const fn aligned(mut class: u8, align: usize) -> Option<Self> {
        while (class as usize) < CLASSES {
            if (SLOT_BYTES[class as usize] as usize).is_multiple_of(align) {
                return Some(Self(class));
            }
            class += 1;
        }
        None
    }

    /// The class with this number.
    ///
    /// # Panics
    /// If there is none.
    pub fn from_index(index: usize) -> Self {
        assert!(index < CLASSES, "size class {index} of {CLASSES}");
        Self(index as u8)
    }

    /// The class whose slots are laid out like this.
    pub fn with_layout(layout: SlotLayout) -> Option<Self> {
        SLOT_BYTES.iter().position(|bytes| usize::from(*bytes) == layout.slot_bytes()).map(|i| Self(i as u8))
    }

    /// The number, to index with.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// How this class cuts frames.
    #[inline]
    pub fn layout(self) -> SlotLayout {
        const LAYOUTS: [SlotLayout; CLASSES] = {
            let mut layouts = [SlotLayout::new(16).expect("a slot size"); CLASSES];
            let mut i = 0;
            while i < CLASSES {
                layouts[i] = SlotLayout::new(SLOT_BYTES[i]).expect("a slot size");
                i += 1;
            }
            layouts
        };
        LAYOUTS[self.index()]
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_request_gets_the_smallest_fitting_class() {
        for size in 0..=SLOT_BYTES_MAX {
            for shift in 0..=12 {
                let request = Layout::from_size_align(size, 1 << shift).unwrap();
                let best =
                    SLOT_BYTES.iter().map(|b| usize::from(*b)).find(|b| *b >= size && b.is_multiple_of(1 << shift));
                assert_eq!(Class::of(request).map(|c| c.layout().slot_bytes()), best, "{request:?}");
            }
        }
        assert_eq!(Class::of(Layout::from_size_align(2049, 1).unwrap()), None);
    }

    #[test]
    fn at_most_a_third_is_wasted_above_128_bytes() {
        for pair in SLOT_BYTES.windows(2).filter(|p| p[0] >= 128) {
            assert!(f64::from(pair[0] + 1) / f64::from(pair[1]) > 0.65, "{pair:?}");
        }
        for class in (0..CLASSES).map(Class::from_index) {
            assert_eq!(Class::with_layout(class.layout()), Some(class));
        }
    }
}
