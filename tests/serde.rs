//! What lives in a heap, as JSON and back: in this package, because `serde_json` makes comparisons of numbers with `[]` ambiguous in the heap's own tests.

use serde_json::{json, to_value};
use strewn::serde::In;
use strewn::{CollectIn, Heap, PBTreeMap, PBTreeSet, PBox, PHashMap, PHashSet, PString, PVec};

type Words<'s> = PHashMap<'s, PString<'s>, PVec<'s, (u64, Option<PBox<'s, PString<'s>>>)>>;

fn with_heap(work: impl FnOnce(&Heap) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    work(&Heap::create(dir.path().join("json.heap"))?)
}

#[test]
fn what_was_written_as_json_is_read_into_a_heap() -> anyhow::Result<()> {
    with_heap(|heap| {
        let text = r#"{"one": [[1, null], [2, "tw\u00f6"]], "none": []}"#;
        let section = heap.enter();
        let words: Words<'_> =
            serde::de::DeserializeSeed::deserialize(In::of(&section), &mut serde_json::Deserializer::from_str(text))?;
        assert_eq!(words["one"][1].1.as_ref().unwrap().as_str(), "twö");
        assert_eq!((words["one"][0].0, words["none"].len(), words.len()), (1, 0, 2));
        assert_eq!(to_value(&words)?, serde_json::from_str::<serde_json::Value>(text)?);
        Ok(())
    })
}

#[test]
fn it_lies_in_a_root_and_what_is_wrong_is_refused() -> anyhow::Result<()> {
    with_heap(|heap| {
        let root = heap.root::<(PHashSet<u32>, PVec<bool>)>("root", |section| {
            let json = json!([[3, 1, 3], [true, false]]);
            serde::de::DeserializeSeed::deserialize(In::of(section), json)
                .map_err(|e| strewn::Error::new(strewn::ErrorKind::InvalidArgument, e.to_string()))
        })?;
        heap.checkpoint()?;
        let section = heap.enter();
        let (set, flags) = &*root.read(&section)?;
        assert_eq!(*set, [1, 3].into_iter().collect_in(&section));
        assert_eq!(to_value(flags)?, json!([true, false]));
        for wrong in [json!({"a": [[1]]}), json!({"a": 1}), json!([]), json!({"a": [["1", null]]})] {
            let read: Result<Words<'_>, _> = serde::de::DeserializeSeed::deserialize(In::of(&section), &wrong);
            assert!(read.is_err(), "{wrong}");
        }
        Ok(())
    })
}

#[test]
fn sorted_collections_are_written_in_order() -> anyhow::Result<()> {
    with_heap(|heap| {
        let section = heap.enter();
        let json = json!({"b": [2, 1], "a": []});
        let sorted: PBTreeMap<'_, PString<'_>, PBTreeSet<'_, u8>> =
            serde::de::DeserializeSeed::deserialize(In::of(&section), &json)?;
        assert_eq!(serde_json::to_string(&sorted)?, r#"{"a":[],"b":[1,2]}"#);
        Ok(())
    })
}
