//! What is done to a [`World`](super::World) at random.

use super::*;

#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// The record reaches the image, and all that was owed with it.
    Durable,
    /// The record is lost, and owed some time later.
    Lost,
    /// The tracker fails after this many harvests. If it is not asked that often, the record is lost.
    Failed(u32),
    /// The record reaches the image, though the tracker, after so many calls of each kind, neither tracks nor arms what is to change its rung.
    Hampered(u32),
}

/// Objects are picked by a number, modulo how many live.
#[derive(Clone, Debug)]
pub enum Op {
    /// Allocates objects, and fills them or leaves them as they are.
    Alloc {
        count: u16,
        bytes: usize,
        fill: Option<u8>,
        writes: Writes,
    },
    Free(u16),
    /// Frees objects in the order of their addresses, so that frames become empty.
    FreeMany {
        first: u16,
        count: u16,
    },
    /// Frees all objects, and gives back what lies in the thread's cache, so that whole blocks become empty.
    FreeAll,
    Write {
        object: u16,
        at: u16,
        value: u8,
        writes: Writes,
    },
    /// Writes a byte at one place of each of so many objects, from one on in the order of addresses: in one lane-block, mostly.
    WriteMany {
        first: u16,
        count: u16,
        at: u16,
        value: u8,
        writes: Writes,
    },
    /// Cuts in a row that find nothing new, so that lane-blocks cool.
    Idle(u8),
    /// Returns empty memory to the operating system, as a checkpoint may while others are in their sections.
    Punch,
    Cut(Fate),
    /// A thread frees objects of others and leaves new ones behind; then it ends, perhaps having seen a cut.
    Thread {
        frees: u8,
        allocs: u8,
        cut: Option<Fate>,
    },
}

/// How a write is caught.
pub fn writes() -> impl Strategy<Value = Writes> {
    prop_oneof![Just(Writes::Hardware), Just(Writes::Barrier)]
}

/// Where to write what. Half the time so few places and values that objects often become what they were.
fn byte() -> impl Strategy<Value = (u16, u8)> {
    prop_oneof![any::<(u16, u8)>(), (Just(0u16), 0u8..2)]
}

pub fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => Just(Fate::Durable),
        2 => Just(Fate::Lost),
        1 => (0u32..20).prop_map(Fate::Failed),
        1 => (0u32..3).prop_map(Fate::Hampered),
    ]
}

/// Operations for a heap that is mapped like this. By huge pages, there are so many small objects that lane-blocks are filled, and now and then a whole block.
pub fn op(mapping: Mapping) -> impl Strategy<Value = Op> {
    let fill = || any::<Option<u8>>();
    let (many, sizes, block) = match mapping {
        Mapping::Huge if huge_lanes().is_available() => (500u16..1500, &[16, 256][..], BLOCK_OBJECTS),
        _ => (100..250, &[16, 1360, 2048][..], 500),
    };
    // Half the time so many that thread caches overflow, and whole frames come and go.
    let count = prop_oneof![1u16..20, many];
    let bytes = prop_oneof![4 => proptest::sample::select(sizes), 1 => 1usize..2049];
    let slots = (count, bytes, fill(), writes());
    let slots = slots.prop_map(|(count, bytes, fill, writes)| Op::Alloc { count, bytes, fill, writes });
    let run = (2049usize..20000, fill(), writes());
    let run = run.prop_map(|(bytes, fill, writes)| Op::Alloc { count: 1, bytes, fill, writes });
    let write = (any::<u16>(), byte(), writes());
    let write = write.prop_map(|(object, (at, value), writes)| Op::Write { object, at, value, writes });
    let dense = (any::<u16>(), 0u16..2000, byte(), writes());
    let dense = dense.prop_map(|(first, count, (at, value), writes)| Op::WriteMany { first, count, at, value, writes });
    let thread = (0u8..200, 0u8..100, proptest::option::of(fate()));
    let filled = (fill(), writes());
    let block =
        filled.prop_map(move |(fill, writes)| Op::Alloc { count: block, bytes: BLOCK_OBJECT_BYTES, fill, writes });
    prop_oneof![
        40 => slots,
        20 => run,
        40 => any::<u16>().prop_map(Op::Free),
        20 => (any::<u16>(), 0u16..1000).prop_map(|(first, count)| Op::FreeMany { first, count }),
        50 => write,
        40 => dense,
        10 => (0u8..40).prop_map(Op::Idle),
        10 => Just(Op::Punch),
        50 => fate().prop_map(Op::Cut),
        10 => thread.prop_map(|(frees, allocs, cut)| Op::Thread { frees, allocs, cut }),
        2 => block,
        4 => Just(Op::FreeAll),
    ]
}

/// Operations on whole blocks: they fill, are written, become empty and are filled again.
pub fn large_op() -> impl Strategy<Value = Op> {
    let slots = (
        prop_oneof![1u16..100, 1000u16..9000],
        proptest::sample::select(&[256, 256, 128][..]),
        any::<Option<u8>>(),
        writes(),
    );
    let slots = slots.prop_map(|(count, bytes, fill, writes)| Op::Alloc { count, bytes, fill, writes });
    let write = (any::<u16>(), byte(), writes());
    let write = write.prop_map(|(object, (at, value), writes)| Op::Write { object, at, value, writes });
    let dense = (any::<u16>(), 0u16..2000, byte(), writes());
    prop_oneof![
        5 => slots,
        1 => any::<u16>().prop_map(Op::Free),
        4 => (any::<u16>(), 0u16..20000).prop_map(|(first, count)| Op::FreeMany { first, count }),
        1 => Just(Op::FreeMany { first: 0, count: u16::MAX }),
        5 => write,
        4 => dense.prop_map(|(first, count, (at, value), writes)| Op::WriteMany { first, count, at, value, writes }),
        1 => (0u8..30).prop_map(Op::Idle),
        1 => Just(Op::Punch),
        5 => fate().prop_map(Op::Cut),
    ]
}
