//! What `#[derive(Persist)]` makes of a type, on a heap: what is described, what comes back, what is made anew, and which bytes are refused.

use std::sync::atomic::AtomicU64;
use strewn::derive_support::Schema;
use strewn::{ErrorKind, Heap, Migrate, PBox, PString, PVec, Persist, Result, Section, Writes};
use tempfile::TempDir;

#[derive(Persist, Clone, Copy, Debug, PartialEq)]
#[repr(i16)]
enum Plain {
    Below = -3,
    Next,
    Computed = 5 * 2,
    Last,
}

#[derive(Persist)]
#[repr(u8)]
enum Shape<'s, T> {
    Dot,
    Circle(bool, u64, T) = 7,
    Path { width: u16, corners: PVec<'s, T>, unit: (), next: Option<PBox<'s, Self>>, large: u128 },
}

#[derive(Persist)]
#[repr(u8, align(64))]
enum Aligned {
    One(u8, u64),
    Other { a: u16, b: [u8; 3], c: u32 },
}

#[derive(Persist)]
#[repr(C)]
struct Pair<A, B, const N: usize, const LETTER: char> {
    a: A,
    b: [B; N],
}

fn lucky() -> u64 {
    7
}

#[derive(Persist)]
#[persist(name = "Log", version = 2, from = OldLog<'s>, writes = "barrier")]
#[repr(C)]
struct Log<'s> {
    lines: PVec<'s, PString<'s>>,
    kind: Plain,
    r#type: u8,
    #[persist(rebuild)]
    cache: Vec<String>,
    #[persist(rebuild = lucky)]
    lucky: u64,
}

#[derive(Persist)]
#[persist(name = "Log")]
struct OldLog<'s>(PString<'s>);

impl<'s> Migrate<'s, OldLog<'s>> for Log<'s> {
    fn migrate(old: OldLog<'s>, section: &'s Section<'_>) -> Result<Self> {
        let mut log = log(section);
        log.lines.push(old.0);
        Ok(log)
    }
}

fn log<'s>(section: &'s Section<'_>) -> Log<'s> {
    let cache = vec!["of this process".to_owned()];
    Log { lines: PVec::new_in(section), kind: Plain::Computed, r#type: 1, cache, lucky: 1 }
}

#[derive(Persist)]
struct Counter {
    count: AtomicU64,
}

#[derive(Persist)]
struct Deep<'s> {
    counters: [(u8, Counter); 2],
    outside: PVec<'s, Counter>,
}

#[derive(Persist)]
struct Behind<'s> {
    counter: PBox<'s, Counter>,
    #[persist(rebuild)]
    cache: std::cell::Cell<u64>,
}

fn open(dir: &TempDir) -> Heap {
    Heap::options().verify(true).open(dir.path().join("derived.heap")).unwrap()
}

fn create() -> (TempDir, Heap) {
    let dir = tempfile::tempdir().unwrap();
    let heap = Heap::create(dir.path().join("derived.heap")).unwrap();
    (dir, heap)
}

/// Descriptions decide whether a program may read a heap: those of types whose layout is fixed are written out here.
#[test]
fn descriptions_say_every_name_place_and_type() {
    let plain = "Plain\nPlain{v1;2/2;=-3:Below;=-2:Next;=10:Computed;=11:Last}";
    assert_eq!(Schema::of::<Plain>().text, plain);
    assert_eq!(
        Schema::of::<Aligned>().text,
        "Aligned\nAligned{v1;64/64;=0:One;0@1+1:u8;1@8+8:u64;=1:Other;a@2+2:u16;b@4+3:[u8;3];c@8+4:u32}"
    );
    assert_eq!(
        Schema::of::<Pair<u64, Plain, 3, ';'>>().text,
        "Pair<u64,Plain,3,59>\nPlain{v1;2/2;=-3:Below;=-2:Next;=10:Computed;=11:Last}\n\
         Pair<u64,Plain,3,59>{v1;16/8;a@0+8:u64;b@8+6:[Plain;3]}"
    );
    let log = Schema::of::<Log>();
    assert!(log.rebuilds);
    let fields = ";kind@24+2:Plain;type@26+1:u8;cache@32+24:rebuilt;lucky@56+8:rebuilt}";
    assert!(log.text.starts_with("Log\n") && log.text.ends_with(fields), "{}", log.text);
    assert!(log.text.contains("\nLog{v2;64/8;lines@0+24:PVec<PString>;"), "{}", log.text);
    let shape = Schema::of::<Shape<u32>>();
    assert!(!shape.rebuilds);
    assert!(shape.text.contains(";next@32+8:Option<PBox<Shape<u32>>>"), "{}", shape.text);
}

/// A value of each of two types, for their descriptions.
fn both<A: Persist, B: Persist>(_: A, _: B) -> Schema {
    let mut schema = Schema::default();
    A::describe(&mut schema);
    B::describe(&mut schema);
    schema
}

#[test]
fn two_types_of_one_path_are_two() {
    let one = {
        #[derive(Persist)]
        struct Local {
            _a: u64,
        }
        Local { _a: 1 }
    };
    let other = {
        #[derive(Persist)]
        struct Local {
            _b: [u8; 3],
        }
        Local { _b: [1; 3] }
    };
    let schema = both(one, other);
    let text = schema.text();
    assert!(text.contains("Local{v1;8/8;_a@0+8:u64}") && text.contains("Local#2{v1;3/1;_b@0+3:[u8;3]}"), "{text}");
}

/// The offsets in a description of a variant are computed: here they are compared with addresses.
#[test]
fn fields_of_variants_lie_where_they_are_described() {
    let (_dir, heap) = create();
    let section = heap.enter();
    let path: Shape<u8> = Shape::Path { width: 1, corners: PVec::new_in(&section), unit: (), next: None, large: 2 };
    let Shape::Path { width, corners, unit, next, large } = &path else { unreachable!() };
    let fields = [
        ("width", (&raw const *width).addr(), 2),
        ("corners", (&raw const *corners).addr(), 24),
        ("unit", (&raw const *unit).addr(), 0),
        ("next", (&raw const *next).addr(), 8),
        ("large", (&raw const *large).addr(), 16),
    ];
    let text = Schema::of::<Shape<u8>>().text;
    for (name, address, bytes) in fields {
        let offset = address - (&raw const path).addr();
        assert!(text.contains(&format!(";{name}@{offset}+{bytes}:")), "{name} at {offset}: {text}");
    }
    let circle = Shape::Circle(true, 1, [2u16; 3]);
    let Shape::Circle(zero, one, two) = &circle else { unreachable!() };
    let addresses = [(&raw const *zero).addr(), (&raw const *one).addr(), (&raw const *two).addr()];
    let offsets = addresses.map(|address| address - (&raw const circle).addr());
    let text = Schema::of::<Shape<[u16; 3]>>().text;
    for (name, offset) in offsets.iter().enumerate() {
        assert!(text.contains(&format!(";{name}@{offset}+")), "{name} at {offset}: {text}");
    }
    // A larger alignment of the whole moves no field: `descriptions_say_every_name_place_and_type` has these offsets.
    let aligned = [Aligned::One(1, 2), Aligned::Other { a: 1, b: [2; 3], c: 3 }];
    let offsets = aligned.each_ref().map(|aligned| {
        let fields = match aligned {
            Aligned::One(a, b) => [(&raw const *a).addr(), (&raw const *b).addr(), 0],
            Aligned::Other { a, b, c } => [(&raw const *a).addr(), (&raw const *b).addr(), (&raw const *c).addr()],
        };
        fields.map(|field| field.saturating_sub((&raw const *aligned).addr()))
    });
    assert_eq!(offsets, [[1, 8, 0], [2, 4, 8]]);
}

#[test]
fn values_come_back_and_what_is_no_part_of_them_is_made_anew() {
    let (dir, heap) = create();
    {
        let section = heap.enter();
        let shapes = heap.root::<PVec<Shape<u32>>>("shapes", |section| Ok(PVec::new_in(section))).unwrap();
        let mut shapes = shapes.write(&section).unwrap();
        shapes.push(Shape::Dot);
        shapes.push(Shape::Circle(true, u64::MAX, 5));
        let corners = PVec::from_slice_in(&[1, 2, 3], &section);
        let next = Some(PBox::new_in(Shape::Circle(false, 6, 7), &section));
        shapes.push(Shape::Path { width: 9, corners, unit: (), next, large: u128::MAX });
        let root = heap.root::<Log>("log", |section| Ok(log(section))).unwrap();
        let mut log = root.write(&section).unwrap();
        log.lines.push(PString::from_str_in("first", &section));
        log.lucky = 1;
    }
    heap.checkpoint().unwrap();
    drop(heap);

    let heap = open(&dir);
    let section = heap.enter();
    let shapes = heap.find_root::<PVec<Shape<u32>>>("shapes").unwrap().unwrap();
    let shapes = shapes.read(&section).unwrap();
    assert!(matches!(shapes[0], Shape::Dot));
    assert!(matches!(shapes[1], Shape::Circle(true, u64::MAX, 5)));
    let Shape::Path { width: 9, corners, unit: (), next: Some(next), large: u128::MAX } = &shapes[2] else {
        panic!("the third shape is another")
    };
    assert_eq!(corners[..], [1, 2, 3]);
    assert!(matches!(**next, Shape::Circle(false, 6, 7)));
    let log = heap.find_root::<Log>("log").unwrap().unwrap();
    let log = log.read(&section).unwrap();
    assert_eq!((log.lines.len(), &*log.lines[0], log.kind, log.r#type), (1, "first", Plain::Computed, 1));
    assert_eq!((log.cache.len(), log.lucky), (0, 7), "made anew, by Default and by the function");
}

#[test]
fn the_older_version_becomes_the_newer_one() {
    let (dir, heap) = create();
    heap.root::<OldLog>("log", |section| Ok(OldLog(PString::from_str_in("old", section)))).unwrap();
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = open(&dir);
    let section = heap.enter();
    let log = heap.find_root::<Log>("log").unwrap().unwrap();
    assert_eq!(&*log.read(&section).unwrap().lines[0], "old");
}

/// Two types that look alike, but for what is made anew: of that the heap knows the size only, and each process its own values.
#[test]
fn what_was_made_anew_as_one_type_is_not_seen_as_another() {
    #[derive(Persist)]
    struct Cached {
        steps: u64,
        #[persist(rebuild)]
        cache: Vec<u64>,
    }
    #[derive(Persist)]
    #[persist(name = "Cached")]
    struct Other {
        steps: u64,
        #[persist(rebuild)]
        cache: String,
    }
    #[derive(Persist)]
    #[persist(version = 2, from = Other)]
    struct Later {
        steps: u64,
    }
    impl<'s> Migrate<'s, Other> for Later {
        fn migrate(old: Other, _: &'s Section<'_>) -> Result<Self> {
            Ok(Self { steps: old.steps + old.cache.len() as u64 })
        }
    }
    assert_eq!(Schema::of::<Cached>().text, Schema::of::<Other>().text);
    let (dir, heap) = create();
    let root = heap.root::<Cached>("cached", |_| Ok(Cached { steps: 1, cache: Vec::new() })).unwrap();
    root.write(&heap.enter()).unwrap().cache.extend([1, 2, 3]);
    assert_eq!(heap.find_root::<Other>("cached").map(drop).unwrap_err().kind(), ErrorKind::RootType);
    assert_eq!(heap.find_root::<Later>("cached").map(drop).unwrap_err().kind(), ErrorKind::RootType);
    assert_eq!(root.read(&heap.enter()).unwrap().cache, [1, 2, 3]);
    drop(root);
    heap.checkpoint().unwrap();
    drop(heap);
    // Another process may see it as the other, for which it is then made.
    let heap = open(&dir);
    let root = heap.find_root::<Other>("cached").unwrap().unwrap();
    let section = heap.enter();
    let other = root.read(&section).unwrap();
    assert_eq!((other.steps, &*other.cache), (1, ""));
    assert_eq!(heap.find_root::<Cached>("cached").map(drop).unwrap_err().kind(), ErrorKind::RootType);
}

/// Every tag that there can be, each in a root of its own.
#[test]
fn tags_of_no_variant_are_refused() {
    let (dir, heap) = create();
    for tag in 0..=u8::MAX {
        poke::<Shape<u8>>(&heap, &tag.to_string(), |_| Ok(Shape::Circle(true, 0, 0)), 0, tag);
    }
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = open(&dir);
    for tag in 0..=u8::MAX {
        match (tag, heap.find_root::<Shape<u8>>(&tag.to_string())) {
            (0 | 7, found) => assert!(found.unwrap().is_some()),
            // A path, of bytes that are those of a circle, or that nobody wrote.
            (8, _) => {}
            (_, found) => {
                let Err(error) = found else { panic!("tag {tag} is one of a variant?") };
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert!(error.to_string().contains(&format!("field `tag`: {tag} is no derived::Shape")), "{error}");
            }
        }
    }
}

/// Tags of two bytes, below zero, and written out.
#[test]
fn tags_of_all_widths_and_signs_are_looked_at() {
    let (dir, heap) = create();
    let tags = [
        (-4, false),
        (-3, true),
        (-2, true),
        (-1, false),
        (0, false),
        (10, true),
        (11, true),
        (12, false),
        (266, false),
    ];
    for (tag, _) in tags {
        let [low, high] = i16::to_le_bytes(tag);
        poke::<Plain>(&heap, &tag.to_string(), |_| Ok(Plain::Below), 0, low);
        poke::<Plain>(&heap, &tag.to_string(), |_| Ok(Plain::Below), 1, high);
    }
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = open(&dir);
    for (tag, valid) in tags {
        assert_eq!(heap.find_root::<Plain>(&tag.to_string()).is_ok(), valid, "tag {tag}");
    }
}

#[test]
fn fields_of_variants_are_looked_at_and_named() {
    let (dir, heap) = create();
    poke::<Shape<Plain>>(&heap, "bool", |_| Ok(Shape::Circle(true, 0, Plain::Next)), 1, 2);
    poke::<Shape<Plain>>(&heap, "inner", |_| Ok(Shape::Circle(true, 0, Plain::Next)), 16, 99);
    poke::<[Option<Pair<u8, Plain, 2, 'x'>>; 2]>(
        &heap,
        "deep",
        |_| Ok([None, Some(Pair { a: 1, b: [Plain::Last; 2] })]),
        10,
        99,
    );
    heap.checkpoint().unwrap();
    drop(heap);
    let heap = open(&dir);
    for (name, said) in
        [("bool", "field `Circle.0`: 0x2 is no bool"), ("inner", "field `tag`: -157 is no derived::Plain")]
    {
        let Err(error) = heap.find_root::<Shape<Plain>>(name) else { panic!("{name} is read") };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(heap.find_root::<[Option<Pair<u8, Plain, 2, 'x'>>; 2]>("deep").is_err());
}

#[test]
fn what_is_said_of_a_type_is_what_the_heap_is_told() {
    assert!(matches!(Log::WRITES, Writes::Barrier));
    assert!(matches!(Counter::WRITES, Writes::OfHeap));
    let interior = [Counter::INTERIOR, Deep::INTERIOR, Behind::INTERIOR, Log::INTERIOR, Shape::<AtomicU64>::INTERIOR];
    assert_eq!(
        interior,
        [true, true, false, false, true],
        "in the value itself, at whatever depth, not behind a pointer"
    );
    assert!(Log::predecessor().is_some() && OldLog::predecessor().is_none());
}

/// Makes the root `name` unless it is there, and writes `byte` at `offset`, as a broken program would.
fn poke<T: Persist>(
    heap: &Heap,
    name: &str,
    make: impl for<'s> FnOnce(&'s Section<'_>) -> Result<T::In<'s>>,
    offset: usize,
    byte: u8,
) {
    let root = heap.root::<T>(name, make).unwrap();
    let section = heap.enter();
    let place = (&raw mut *root.write(&section).unwrap()).cast::<u8>();
    // SAFETY: a byte of the value, which nobody borrows any more, and which nobody uses as a value again before the heap is closed.
    unsafe { place.add(offset).write_volatile(byte) };
}
