//! Tables that hashbrown could not have left: a walk refuses them before a reference is made.

use super::*;

type Map<'s> = PHashMap<'s, u64, PBox<'s, u64>>;

/// What is done to a map of ten pairs: to its words (a tag, then in the order of the shape), or to its memory.
enum Damage {
    Mask(fn(usize) -> usize),
    Items(fn(usize) -> usize),
    Room(fn(usize) -> usize),
    Ctrl(fn(*mut u8) -> *mut u8),
    /// A control byte with this value becomes another.
    Byte(fn(u8) -> bool, u8),
    /// The control byte that repeats the first.
    Repeated,
    Key,
    Value(fn(u64) -> u64),
}

static STATIC: [u8; 64] = [0xFF; 64];

fn damages() -> Vec<(&'static str, Damage)> {
    use Damage::*;
    vec![
        ("no bucket", Mask(|_| usize::MAX)),
        ("one bucket", Mask(|_| 0)),
        ("no power of two", Mask(|mask| mask + 1)),
        ("more buckets than memory", Mask(|mask| (mask + 1) * 64 - 1)),
        ("fewer buckets", Mask(|mask| mask / 2)),
        ("buckets beyond any memory", Mask(|_| (1 << 60) - 1)),
        ("an item too many", Items(|items| items + 1)),
        ("an item too few", Items(|items| items - 1)),
        ("items beyond numbers", Items(|_| usize::MAX)),
        ("too much room", Room(|room| room + 1)),
        ("no room", Room(|_| 0)),
        ("null", Ctrl(|_| std::ptr::null_mut())),
        ("within the object", Ctrl(|ctrl| ctrl.wrapping_add(16))),
        ("another object", Ctrl(|ctrl| ctrl.wrapping_add(4096))),
        ("a static of the program", Ctrl(|_| (&raw const STATIC).cast_mut().cast())),
        ("a pair is forgotten", Byte(|byte| byte < 0x80, 0xFF)),
        ("a pair is deleted", Byte(|byte| byte < 0x80, 0x80)),
        ("a pair that is none", Byte(|byte| byte == 0xFF, 0x11)),
        ("neither full, empty nor deleted", Byte(|byte| byte == 0xFF, 0x90)),
        ("another hash", Byte(|byte| byte < 0x7F, 0x7F)),
        ("another first byte", Repeated),
        ("another key", Key),
        ("no object", Value(|_| 8)),
        ("a value owned twice", Value(|other| other)),
    ]
}

/// Does `damage`, and returns how it is undone.
///
/// # Safety
/// Nobody uses the map before it is undone.
unsafe fn apply(map: *mut Map<'_>, damage: &Damage) -> Box<dyn FnOnce()> {
    let shape = Shape::of_tables();
    // SAFETY: words of the map, whose table has memory, and bytes of that memory.
    unsafe {
        let words = map.cast::<usize>().add(1);
        let (buckets, ctrl) = (words.add(shape.mask).read() + 1, words.add(shape.ctrl).cast::<*mut u8>());
        let bytes = ctrl.read();
        let pair = |nth| {
            let full = (0..buckets).filter(|at| bytes.add(*at).read() < 0x80).nth(nth).unwrap();
            bytes.cast::<(u64, u64)>().sub(full + 1).cast::<u8>()
        };
        let of_pair = |nth, offset| pair(nth).add(offset).cast::<u64>();
        let (key, value) =
            (std::mem::offset_of!((u64, PBox<'_, u64>), 0), std::mem::offset_of!((u64, PBox<'_, u64>), 1));
        match damage {
            Damage::Mask(change) => change_to(words.add(shape.mask), change),
            Damage::Items(change) => change_to(words.add(shape.items), change),
            Damage::Room(change) => change_to(words.add(shape.room), change),
            Damage::Ctrl(change) => change_to(ctrl, change),
            Damage::Byte(which, new) => {
                let at = (0..buckets).find(|at| which(bytes.add(*at).read())).unwrap();
                let undo = change_to(bytes.add(at), |_| *new);
                // Consistently, as a program would have written it: only what is wrong with the byte itself is to be found.
                let again = (at < shape.group).then(|| change_to(bytes.add(buckets.max(shape.group) + at), |_| *new));
                Box::new(move || (undo(), again.into_iter().for_each(|again| again())).0)
            }
            Damage::Repeated => change_to(bytes.add(buckets.max(shape.group)), |byte| byte ^ 1),
            Damage::Key => change_to(of_pair(3, key), |key| key + 1000),
            Damage::Value(change) => {
                let other = of_pair(4, value).read();
                change_to(of_pair(3, value), |_| change(other))
            }
        }
    }
}

unsafe fn change_to<T: Copy + 'static>(at: *mut T, change: impl FnOnce(T) -> T) -> Box<dyn FnOnce()> {
    // SAFETY: the caller's.
    unsafe {
        let before = at.read();
        at.write(change(before));
        // SAFETY: the place is there until it is undone, as the caller says.
        Box::new(move || at.write(before))
    }
}

#[test]
fn a_damaged_table_is_refused_and_a_whole_one_is_not() {
    let (_dir, path) = place();
    // With one seed in a hundred or so, a key that was changed by hand is found where it is.
    let heap = Heap::options().seed(11).create(path).unwrap();
    let section = heap.enter();
    let pairs = (0..10u64).map(|i| (i, PBox::new_in(i, &section)));
    let mut boxed: PBox<'_, Map<'_>> = PBox::new_in(pairs.collect_in(&section), &section);
    let addr = PBox::address(&boxed);
    // SAFETY: an object that nobody uses meanwhile.
    let walk = || unsafe { Walker::new(heap.engine(), Purpose::Trace).root::<Map<'_>>(addr) };
    walk().unwrap();
    for (name, damage) in damages() {
        // SAFETY: undone before the map is used again.
        let undo = unsafe { apply(&raw mut *boxed, &damage) };
        let said = walk();
        undo();
        let e = said.expect_err(name);
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{name}: {e}");
        walk().unwrap();
    }
    assert!((0..10).all(|i| *boxed[&i] == i));
}

thread_local!(static SALT: Cell<u64> = const { Cell::new(0) });

/// A key whose hash is not the same in every build.
#[derive(PartialEq, Eq)]
struct Unsteady(u64);

impl Hash for Unsteady {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0 ^ SALT.get()).hash(state);
    }
}

// SAFETY: a number.
unsafe impl Persist for Unsteady {
    type In<'s> = Self;
    const INTERIOR: bool = false;
    fn describe(_: &mut Schema) -> String {
        "Unsteady".to_owned()
    }
    unsafe fn walk(_: *mut Self, _: &mut Walker<'_>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn keys_that_hash_otherwise_than_when_they_were_stored_are_found_out() {
    let (_dir, path) = place();
    let heap = Heap::create(path).unwrap();
    let section = heap.enter();
    let inner: PHashSet<Unsteady> = (0..20).map(Unsteady).collect_in(&section);
    // In a vector in a map, so that it is found later than all that it owns.
    let mut outer = PHashMap::<u64, PVec<'_, PHashSet<'_, Unsteady>>>::new_in(&section);
    outer.entry(1).or_insert_with(|| PVec::new_in(&section)).push(inner);
    let (said, outer) = walked(outer, &heap);
    said.unwrap();
    SALT.set(1);
    let (said, outer) = walked(outer, &heap);
    let text = said.expect_err("other hashes").to_string();
    assert!(text.contains("not where its hash says") && text.contains("Unsteady"), "{text}");
    SALT.set(0);
    assert!(outer[&1][0].contains(&Unsteady(19)));
}
