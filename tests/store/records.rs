//! Records: what goes in comes out, in few bytes, and nothing else makes the decoder stumble.

use proptest::prelude::*;

use strewn::Result;
use strewn::testing::*;
use strewn_tests::sim::Coins;
use strewn_tests::store_model::Model;

fn layout(slot_bytes: u16) -> SlotLayout {
    SlotLayout::new(slot_bytes).unwrap()
}

fn decode(payload: &[u8]) {
    let items = Items::new(payload).collect::<Vec<_>>();
    assert!(items.len() <= payload.len());
    assert!(items.iter().rev().skip(1).all(|item| item.is_ok()));
}

proptest! {
    #[test]
    fn frames_round_trip(
        slot_bytes in (1u16..=128).prop_map(|n| n * 16),
        frames in prop::collection::vec((0..ZONE_FRAMES, any::<[u64; 4]>(), prop::option::of(any::<[u64; 4]>()), 0..6u8), 1..20),
        kept in any::<[u64; 4]>(),
    ) {
        let layout = layout(slot_bytes);
        let all = SlotMask::first(layout.slots());
        let page: Vec<u8> = (0..PAGE).map(|i| (i * 7 + i / 256) as u8).collect();
        let mut builder = RecordBuilder::new(vec![1; 9]);
        let mut expected = Vec::new();
        for (frame, dirty, allocated, kind) in frames {
            let sparse = SlotMask::from_words(&dirty).and(&SlotMask::from_words(&[dirty[1], dirty[2], dirty[3], dirty[0]]));
            let whole = kind == 3;
            let dirty = match kind { 0 => SlotMask::from_words(&dirty), 1 => sparse.and(&SlotMask::first(9)), _ => all }.and(&all);
            let suspects = kind >= 4;
            let allocated = allocated.filter(|_| !suspects).map(|mask| SlotMask::from_words(&mask).and(&all));
            let frame = FrameIndex(frame);
            // SAFETY: `page` has PAGE bytes and is not written.
            unsafe {
                if suspects {
                    builder.suspects(ZoneIndex(3), layout, frame, &dirty, page.as_ptr());
                } else if whole {
                    builder.whole_frame(ZoneIndex(3), layout, frame, allocated.as_ref(), page.as_ptr());
                } else {
                    builder.frame(ZoneIndex(3), layout, frame, allocated.as_ref(), &dirty, page.as_ptr());
                }
            }
            expected.push((frame, allocated, dirty, whole, suspects));
        }
        let mut record = builder.finish();
        let check = |record: &Record, expected: &[(FrameIndex, Option<SlotMask>, SlotMask, bool, bool)]| {
            let mut items = record.items();
            for &(frame, allocated, dirty, whole, _) in expected {
                let slots = || dirty.iter().flat_map(|s| page[layout.byte_of(s)..][..layout.slot_bytes()].to_vec()).collect();
                let bytes = if whole { page.clone() } else { slots() };
                let item = Item::Frame { zone: ZoneIndex(3), layout, frame, allocated, dirty, whole, bytes: &bytes };
                prop_assert_eq!(items.next().map(|item| item.unwrap()), Some(item));
            }
            prop_assert!(items.next().is_none());
            Ok(())
        };
        check(&record, &expected)?;
        prop_assert_eq!(record.has_suspects(), expected.iter().any(|frame| frame.4));
        // Sifted, it is as if only what is kept had been added.
        let kept = SlotMask::from_words(&kept);
        let mut asked = expected.iter().filter(|frame| frame.4);
        record.sift(vec![2; 5], |zone, of, frame, slots, bytes| {
            let (expected, _, dirty, ..) = asked.next().unwrap();
            assert_eq!((zone, of, frame, slots), (ZoneIndex(3), layout, *expected, dirty));
            slots.iter().for_each(|slot| {
                let place = layout.byte_of(slot)..layout.byte_of(slot) + layout.slot_bytes();
                assert_eq!(bytes[place.clone()], page[place]);
            });
            kept
        });
        prop_assert!(asked.next().is_none() && !record.has_suspects());
        expected.iter_mut().filter(|frame| frame.4).for_each(|frame| frame.2 = frame.2.and(&kept));
        expected.retain(|frame| !frame.4 || !frame.2.is_empty());
        check(&record, &expected)?;
    }

    #[test]
    fn random_bytes_never_make_the_decoder_stumble(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode(&bytes);
    }

    #[test]
    fn mutated_records_never_make_the_decoder_stumble(seed in any::<u64>(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (mut coins, mut model) = (Coins::new(seed), Model::default());
        let record = model.change(&mut coins);
        prop_assert!(record.items().all(|item| item.is_ok()));
        let mut payload = record.payload().to_vec();
        decode(&payload);
        payload.truncate(at.index(payload.len() + 1));
        decode(&payload);
        if !payload.is_empty() {
            let at = at.index(payload.len());
            payload[at] = to;
            decode(&payload);
        }
    }
}

#[test]
fn other_items_round_trip() {
    let root = RootEntry { name: "r".into(), type_name: "τ".into(), size: 1, align: 1 << 40, addr: u64::MAX };
    let (zone, first) = (ZoneIndex(1), FrameIndex(9));
    let mut builder = RecordBuilder::new(Vec::new());
    assert!(builder.is_empty());
    builder.zone(ZoneIndex(0), ZoneNumber(0x44), ZoneKind::Slots(layout(64)));
    builder.zone(zone, ZoneNumber(0x45), ZoneKind::Runs);
    builder.roots(std::slice::from_ref(&root));
    builder.run_allocated(zone, first, 2);
    let bytes = vec![5; 2 * PAGE];
    // SAFETY: `bytes` has two pages and is not written.
    unsafe { builder.pages(zone, first, 2, bytes.as_ptr()) };
    builder.zero_pages(zone, first, 1);
    builder.run_freed(zone, first, 2);
    let len = builder.len();
    let record = builder.finish();
    assert_eq!(record.payload_len(), len);
    let items = record.items().collect::<Result<Vec<_>>>().unwrap();
    let expected = [
        Item::Zone { index: ZoneIndex(0), number: ZoneNumber(0x44), kind: ZoneKind::Slots(layout(64)) },
        Item::Zone { index: zone, number: ZoneNumber(0x45), kind: ZoneKind::Runs },
        Item::Roots(vec![root]),
        Item::RunAllocated { zone, first, pages: 2 },
        Item::Pages { zone, first, bytes: &bytes },
        Item::ZeroPages { zone, first, pages: 1 },
        Item::RunFreed { zone, first, pages: 2 },
    ];
    assert_eq!(items, expected);
}

#[test]
fn scattered_small_objects_cost_little_more_than_themselves() {
    let page = [1; PAGE];
    // One object in a hundred, of a million of 64 bytes.
    let (mut coins, mut frames) = (Coins::new(1), std::collections::BTreeMap::<u32, SlotMask>::new());
    for _ in 0..10_000 {
        let object = coins.below(1_000_000);
        frames.entry(object as u32 / 64).or_default().insert(SlotIndex(object as u16 % 64));
    }
    let mut builder = RecordBuilder::new(Vec::new());
    let mut modified = 0;
    for (frame, dirty) in &frames {
        modified += dirty.count() as usize * 64;
        // SAFETY: `page` has PAGE bytes and is not written.
        unsafe { builder.frame(ZoneIndex(0), layout(64), FrameIndex(*frame), None, dirty, page.as_ptr()) };
    }
    let ratio = builder.len() as f64 / modified as f64;
    assert!(ratio < 1.05, "{ratio}");

    let mut builder = RecordBuilder::new(Vec::new());
    for frame in 0..1000 {
        let dirty = SlotMask::from_iter([SlotIndex(coins.below(256) as u16)]);
        // SAFETY: `page` has PAGE bytes and is not written.
        unsafe { builder.frame(ZoneIndex(0), layout(16), FrameIndex(frame * 100), None, &dirty, page.as_ptr()) };
    }
    assert!(builder.len() <= 1000 * (16 + 3) + 3, "{}", builder.len());
}
