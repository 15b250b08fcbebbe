//! What is allocated: questions about one address, and the list of all objects. Changes nothing.

use super::{Allocator, Class, RUNS};
use crate::arena::{locate, slot_address};
use crate::base::sync::lock;
use crate::base::{PAGE, ZONE_SHIFT, ZoneNumber};

impl Allocator {
    /// How many bytes the object at `addr` may use: the whole slot, or all pages of the run. `None` if no object can start there. Whether a slot is
    /// allocated is not looked up.
    pub fn usable_bytes(&self, addr: u64) -> Option<usize> {
        let number = ZoneNumber((addr >> ZONE_SHIFT) as u16);
        match self.owner(addr)? {
            RUNS => {
                let zones = lock(&self.runs);
                let zone = zones.iter().find(|zone| zone.mapping.number() == number)?;
                let pages = zone.pages_at(addr).filter(|_| addr.is_multiple_of(PAGE as u64))?;
                Some(pages as usize * PAGE)
            }
            class => {
                let layout = Class::from_index(usize::from(class)).layout();
                let spot = locate(layout, addr);
                let exists = spot.slot.0 < layout.slots() && slot_address(number, layout, self.how, spot) == addr;
                exists.then_some(layout.slot_bytes())
            }
        }
    }

    /// How many bytes the object that starts at `addr` may use, if there is one that is taken: allocated, or in a thread's cache.
    pub fn live_bytes(&self, addr: u64) -> Option<usize> {
        let usable = self.usable_bytes(addr)?;
        let class = self.owner(addr).filter(|owner| *owner != RUNS);
        let Some(class) = class.map(|class| Class::from_index(usize::from(class))) else { return Some(usable) };
        let number = ZoneNumber((addr >> ZONE_SHIFT) as u16);
        let taken = self.with_slots(class, |zones| {
            zones
                .iter()
                .find(|zone| zone.mapping.number() == number)
                .is_some_and(|zone| zone.is_taken(locate(class.layout(), addr)))
        });
        taken.then_some(usable)
    }

    /// Whether `addr` lies in a zone of slots of this heap.
    pub fn is_slot(&self, addr: u64) -> bool {
        self.owner(addr).is_some_and(|owner| owner != RUNS)
    }

    /// Calls `visit` with each object that is allocated or in a thread's cache, and the bytes that it may use. Whoever wants a true picture has stopped the world.
    pub fn each_taken(&self, mut visit: impl FnMut(u64, usize)) {
        for zones in &self.slots {
            for zone in lock(zones).iter() {
                zone.each_taken(|addr| visit(addr, zone.layout().slot_bytes()));
            }
        }
        for zone in lock(&self.runs).iter() {
            zone.each_allocated(|addr, pages| visit(addr, pages as usize * PAGE));
        }
    }
}
