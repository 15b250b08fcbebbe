//! strewn's own policy: what each rung would have cost lately, by [`Costs`], lane-block by lane-block; the cheapest is taken.
//!
//! For each lane-block three accounts are kept, as averages that forget: what the last epochs cost, or would have cost, on each rung, given how many slots
//! were written. A lane-block moves when another rung has been cheaper by more than the move costs. So one burst is not enough to move a lane-block that
//! is rarely written, and one idle epoch does not cool one that is written densely; after bursts that come again and again it stays where a burst is cheap.
//!
//! How many slots were written is known of sparse lane-blocks and of those that are compared. Of one that woke, or that is copied, only that
//! it was written at all. So a few cold ones have their bytes kept and are counted when they wake; a few of the others are compared for one epoch
//! ([`PROBES`]); and what is found counts for all: until something has been found, woken lane-blocks stay cold. One that is copied is compared now and then, to see whether it still pays ([`LOOK_AGAIN`]).

// A zone of the twin has one block, which is too few for these.
#[cfg(all(test, not(any(miri, strewn_twin, loom, shuttle))))]
mod tests;

use super::State;
use super::costs::Costs;
use super::policy::{Eager, Policy, Room, Rung, Seen, Written};
use crate::base::{LaneBlock, SlotLayout};

/// An epoch's share of an account. The last 16 epochs count for two thirds.
const SHARE: f32 = 1.0 / 16.0;
/// A move must promise to save this much an epoch, in nanoseconds: half of what it costs (8 to 18 us; filling not counted, which pays for itself), spread over the epochs that the accounts remember.
const MOVE: f32 = 600.0;
/// And this part of what the lane-block costs where it is.
const MOVE_PART: f32 = 0.1;
/// Woken lane-blocks that are compared at each cut to find out how much was written.
const PROBES: u32 = 16;
/// Epochs after which a lane-block that is copied is compared once.
const LOOK_AGAIN: u8 = 16;
/// A probe's share of what is expected of lane-blocks that wake.
const PROBE_SHARE: f32 = 1.0 / 8.0;
/// An epoch's share of what is known of how much is written to a lane-block when it is written.
const BURST_SHARE: f32 = 1.0 / 4.0;
/// An epoch's share of what is known of how many wake.
const WAKING_SHARE: f32 = 1.0 / 4.0;

/// What is remembered of a lane-block.
#[derive(Clone, Copy, Debug)]
struct Account {
    sparse: f32,
    cold: f32,
    hot: f32,
    /// The epoch in which it was asked about last.
    epoch: u32,
    /// Slots written in it, as far as known.
    written: u16,
    /// Slots that are written in an epoch in which any are. 0 if that has never been known.
    burst: f32,
    /// Epochs since it was last compared, while it is copied.
    unseen: u8,
    /// It woke in the epoch before, and is hot to be counted.
    probed: bool,
}

/// See the module.
pub struct Adaptive {
    costs: Costs,
    slots: usize,
    epoch: u32,
    /// Block by block, so that memory grows with the zone.
    accounts: Vec<Option<Account>>,
    /// Slots that are written to a lane-block that wakes, in the epoch after. None before the first probe.
    after_waking: Option<f32>,
    probes: u32,
    /// Lane-blocks that woke at this cut.
    woken: u32,
    /// And at the one before.
    woken_before: u32,
    /// The share of the cold lane-blocks that wake in an epoch.
    waking: f32,
}

impl Adaptive {
    /// The policy for a zone of slots of `layout`.
    pub fn new(layout: SlotLayout, costs: Costs) -> Self {
        let slots = usize::from(layout.slots());
        Self {
            costs,
            slots,
            epoch: 1,
            accounts: Vec::new(),
            after_waking: None,
            probes: 0,
            woken: 0,
            woken_before: 0,
            waking: 0.0,
        }
    }

    fn account(&mut self, at: LaneBlock) -> &mut Option<Account> {
        let index = at.block() as usize * self.slots + at.slot().index();
        if index >= self.accounts.len() {
            self.accounts.resize((at.block() as usize + 1) * self.slots, None);
        }
        &mut self.accounts[index]
    }

    /// Brings `account` up to date: idle epochs since it was last asked about, then one with `written` slots written.
    fn book(&self, account: &mut Account, written: f32) {
        let idle = self.epoch.wrapping_sub(account.epoch).saturating_sub(1);
        let kept = (1.0 - SHARE).powi(idle.min(1000) as i32);
        let costs = &self.costs;
        let book = |account: &mut f32, idle: f32, now: f32| {
            *account = *account * kept + idle * (1.0 - kept);
            *account += (now - *account) * SHARE;
        };
        book(&mut account.sparse, costs.sparse(0.0), costs.sparse(written));
        book(&mut account.cold, costs.cold(0.0), costs.cold(written));
        book(&mut account.hot, costs.compared(0.0), costs.compared(written));
        account.epoch = self.epoch;
    }

    fn fresh(&self) -> Account {
        let costs = &self.costs;
        Account {
            sparse: costs.sparse(0.0),
            cold: costs.cold(0.0),
            hot: costs.compared(0.0),
            epoch: self.epoch - 1,
            written: 0,
            burst: 0.0,
            unseen: 0,
            probed: false,
        }
    }

    /// The cheapest rung for a lane-block that stands on that of `state`.
    fn cheapest(&self, account: &Account, state: State, room: Room) -> Rung {
        let here = match state {
            State::Young | State::Cold => account.cold,
            State::Sparse => account.sparse,
            State::Hot => 0.0,
        };
        let copied = self.costs.copied(f32::from(account.written));
        let compared = room == Room::Compare && self.costs.compared(f32::from(account.written)) < copied;
        let (hot, eager) = if compared { (account.hot, Eager::Compare) } else { (copied, Eager::Copy) };
        let here = if state == State::Hot { hot } else { here };
        let stay = match state {
            State::Young | State::Cold => Rung::Cold,
            State::Sparse => Rung::Sparse,
            State::Hot => Rung::Hot(eager),
        };
        let rungs = [(account.sparse, Rung::Sparse), (account.cold, Rung::Cold), (hot, Rung::Hot(eager))];
        let (cost, rung) = rungs.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are three");
        if cost + MOVE + here * MOVE_PART < here { rung } else { stay }
    }
}

impl Policy for Adaptive {
    fn decide(&mut self, at: LaneBlock, seen: Seen) -> Rung {
        let mut account = self.account(at).unwrap_or_else(|| self.fresh());
        let rung = self.judge(&mut account, seen);
        *self.account(at) = Some(account);
        rung
    }

    /// If cold lane-blocks wake so often that they had better be sparse, as many as woke are made so before they wake as well.
    fn refine_cold(&mut self, cold: u64) -> u32 {
        let woken = self.woken;
        let share = woken as f32 / (cold + u64::from(woken)).max(1) as f32;
        self.waking += (share - self.waking) * WAKING_SHARE;
        let Some(written) = self.after_waking else { return 0 };
        let wake = self.waking * self.costs.cold(written.max(1.0));
        if self.costs.sparse(self.waking * written) + MOVE < wake { woken } else { 0 }
    }

    fn refines(&self, at: LaneBlock) -> bool {
        let expected = self.after_waking.unwrap_or(1.0).max(1.0);
        let index = at.block() as usize * self.slots + at.slot().index();
        self.accounts.get(index).copied().flatten().is_none_or(|account| account.burst <= 2.0 * expected)
    }

    /// It costs as much as the second faults of 33 slots, and what is written densely after all has 512 of them.
    fn fills(&self) -> bool {
        true
    }

    fn end_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        (self.woken_before, self.woken, self.probes) = (self.woken, 0, 0);
    }

    fn memory_bytes(&self) -> usize {
        self.accounts.capacity() * size_of::<Option<Account>>()
    }
}

impl Adaptive {
    fn judge(&mut self, account: &mut Account, seen: Seen) -> Rung {
        let (state, written) = (seen.state, seen.written);
        if state == State::Young {
            return if self.costs.is_coarse() { Rung::Cold } else { Rung::Sparse };
        }
        if let Written::Exactly(count) = written {
            account.unseen = 0;
            if std::mem::take(&mut account.probed) || state == State::Cold {
                let mean = self.after_waking.get_or_insert(f32::from(count));
                *mean += (f32::from(count) - *mean) * PROBE_SHARE;
            }
            account.written = count;
            self.woken += u32::from(state == State::Cold);
            if count > 0 {
                let share = if account.burst == 0.0 { 1.0 } else { BURST_SHARE };
                account.burst += (f32::from(count) - account.burst) * share;
            }
            self.book(account, f32::from(count));
            return self.cheapest(account, state, seen.room);
        }
        match state {
            State::Cold => self.wake(account, seen.room),
            _ => {
                // Copied, and changed: as much as the last time that it was compared.
                account.written = account.written.max(1);
                self.book(account, f32::from(account.written));
                account.unseen = account.unseen.saturating_add(1);
                if account.unseen >= LOOK_AGAIN && seen.room >= Room::Count {
                    return Rung::Hot(Eager::Count);
                }
                self.cheapest(account, state, seen.room)
            }
        }
    }

    fn wake(&mut self, account: &mut Account, room: Room) -> Rung {
        self.woken += 1;
        let expected = if account.burst > 0.0 { account.burst } else { self.after_waking.unwrap_or(1.0).max(1.0) };
        account.written = expected as u16;
        self.book(account, expected);
        // Not always the same ones.
        let turn = self.epoch.wrapping_mul(PROBES).wrapping_add(self.woken) % (self.woken_before / PROBES).max(1);
        if turn == 0 && self.probes < PROBES && room >= Room::Count {
            self.probes += 1;
            account.probed = true;
            return Rung::Hot(Eager::Count);
        }
        if account.burst == 0.0 && self.after_waking.is_none() {
            Rung::Cold
        } else {
            self.cheapest(account, State::Cold, room)
        }
    }
}
