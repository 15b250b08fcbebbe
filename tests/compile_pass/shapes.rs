//! Everything that can be derived.
use std::marker::PhantomData;
use std::sync::Mutex;
use strewn::{Migrate, PBox, PString, PVec, Persist, Result, Section};

#[derive(Persist)]
struct Unit;

#[derive(Persist)]
struct Empty {}

#[derive(Persist)]
struct Tuple<'s>(u64, PString<'s>, (bool, [char; 3]));

#[derive(Persist)]
#[repr(C, align(32))]
struct Generic<'s, A: Persist, B: Send = u64, const N: usize = 4>
where
    A: Sized,
    u8: Copy,
{
    a: PVec<'s, A>,
    b: [Option<B>; N],
    stands_for: PhantomData<A>,
}

#[derive(Persist)]
#[repr(transparent)]
struct Id<Of>(u64, PhantomData<Of>);

#[derive(Persist, Clone, Copy, PartialEq)]
#[repr(u16)]
enum Plain {
    One = 1,
    Two,
    Ten = 5 * 2,
    Eleven,
}

#[derive(Persist)]
#[repr(u8, align(16))]
enum Tree<'s, T> {
    Leaf,
    Node { left: Option<PBox<'s, Tree<'s, T>>>, value: T, right: Option<PBox<'s, Self>> },
    Many(PVec<'s, Self>, Plain),
}

fn seven() -> u64 {
    7
}

#[derive(Persist)]
#[persist(name = "Log", version = 3, writes = "barrier", from = OldLog<'s>)]
struct Log<'s> {
    lines: PVec<'s, PString<'s>>,
    #[persist(rebuild)]
    file: Option<std::fs::File>,
    #[persist(rebuild = seven)]
    lucky: u64,
    #[persist(rebuild = Mutex::default)]
    cache: Mutex<Vec<String>>,
}

#[derive(Persist)]
#[persist(name = "Log", version = 2, writes = "hardware")]
struct OldLog<'s> {
    text: PString<'s>,
}

impl<'s> Migrate<'s, OldLog<'s>> for Log<'s> {
    fn migrate(old: OldLog<'s>, section: &'s Section<'_>) -> Result<Self> {
        let mut lines = PVec::new_in(section);
        lines.push(old.text);
        Ok(Self { lines, file: None, lucky: seven(), cache: Mutex::default() })
    }
}

/// A destructor of the user's.
impl Drop for Log<'_> {
    fn drop(&mut self) {}
}

fn is_persist<T: Persist>() {}

fn main() {
    is_persist::<(Unit, Empty, Tuple, Id<Plain>)>();
    is_persist::<Generic<'_, Tree<'_, Tuple<'_>>, Option<Log<'_>>, 9>>();
}
