//! Serialisation with the crate `serde`, behind the feature `serde`: what lives in a heap is written like its namesakes of the standard library, and read into the heap of a
//! section.
//!
//! Reading needs a section, which `serde::Deserialize` has no place for. So types that are read implement [`DeserializeIn`], and [`In`] makes a `DeserializeSeed` of a type
//! and a section, which every format takes.

use super::{PBTreeMap, PBTreeSet, PBox, PHashMap, PHashSet, PString, PVec, Persist};
use crate::base::Error;
use crate::section::Section;
use ::serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use ::serde::ser::{Serialize, Serializer};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

impl<T: Persist + Serialize> Serialize for PBox<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<T: Persist + Serialize> Serialize for PVec<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl Serialize for PString<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<K: Serialize, V: Serialize, H> Serialize for PHashMap<'_, K, V, H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<T: Serialize, H> Serialize for PHashSet<'_, T, H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<K: Persist + Serialize, V: Persist + Serialize> Serialize for PBTreeMap<'_, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<T: Persist + Serialize> Serialize for PBTreeSet<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

/// What can be read into a heap. For a type of yours that owns nothing in the heap and is [`Deserialize`](::serde::Deserialize), the method is
/// `Self::deserialize(deserializer)`.
pub trait DeserializeIn<'s, 'de>: Sized {
    /// Reads a value; what it owns, it owns in the heap of `section`.
    ///
    /// # Errors
    /// What the format finds wrong; the heap's own errors (`HeapFull`, `OutOfMemory`), as text.
    fn deserialize_in<D: Deserializer<'de>>(section: &'s Section<'_>, deserializer: D) -> Result<Self, D::Error>;
}

/// Reads a `T` into the heap of a section: a `DeserializeSeed`.
///
/// ```
/// # use strewn::{Heap, PHashMap, PString, PVec};
/// use serde::de::DeserializeSeed;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let heap = Heap::create(dir.path().join("serde.heap"))?;
/// let section = heap.enter();
/// let words = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new([("one", vec![1u64]), ("two", vec![2, 2])].into_iter());
/// let words: PHashMap<PString, PVec<u64>> = strewn::serde::In::of(&section).deserialize(words).unwrap();
/// assert_eq!(words["two"], [2, 2]);
/// # Ok::<(), strewn::Error>(())
/// ```
pub struct In<'s, 'h, T> {
    section: &'s Section<'h>,
    _reads: PhantomData<fn() -> T>,
}

impl<'s, 'h, T> In<'s, 'h, T> {
    /// Into the heap of `section`.
    pub fn of(section: &'s Section<'h>) -> Self {
        Self { section, _reads: PhantomData }
    }
}

impl<'s, 'de, T: DeserializeIn<'s, 'de>> DeserializeSeed<'de> for In<'s, '_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize_in(self.section, deserializer)
    }
}

/// Types that own nothing in a heap.
macro_rules! plain {
    ($($t:ty)*) => {
        $(
            impl<'s, 'de> DeserializeIn<'s, 'de> for $t {
                fn deserialize_in<D: Deserializer<'de>>(_: &'s Section<'_>, deserializer: D) -> Result<Self, D::Error> {
                    Self::deserialize(deserializer)
                }
            }
        )*
    };
}

plain!(() bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 std::time::Duration);

fn failed<E: de::Error>(e: Error) -> E {
    E::custom(e)
}

impl<'s, 'de> DeserializeIn<'s, 'de> for PString<'s> {
    fn deserialize_in<D: Deserializer<'de>>(section: &'s Section<'_>, deserializer: D) -> Result<Self, D::Error> {
        struct Text<'s, 'h>(&'s Section<'h>);
        impl<'s> Visitor<'_> for Text<'s, '_> {
            type Value = PString<'s>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PString<'s>, E> {
                PString::try_from_str_in(text, self.0).map_err(failed)
            }
        }
        deserializer.deserialize_str(Text(section))
    }
}

impl<'s, 'de, T: Persist + DeserializeIn<'s, 'de>> DeserializeIn<'s, 'de> for PBox<'s, T> {
    fn deserialize_in<D: Deserializer<'de>>(section: &'s Section<'_>, deserializer: D) -> Result<Self, D::Error> {
        PBox::try_new_in(T::deserialize_in(section, deserializer)?, section).map_err(failed)
    }
}

impl<'s, 'de, T: DeserializeIn<'s, 'de>> DeserializeIn<'s, 'de> for Option<T> {
    fn deserialize_in<D: Deserializer<'de>>(section: &'s Section<'_>, deserializer: D) -> Result<Self, D::Error> {
        struct Perhaps<'s, 'h, T>(In<'s, 'h, T>);
        impl<'s, 'de, T: DeserializeIn<'s, 'de>> Visitor<'de> for Perhaps<'s, '_, T> {
            type Value = Option<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or none")
            }

            fn visit_none<E: de::Error>(self) -> Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Option<T>, E> {
                Ok(None)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
                self.0.deserialize(deserializer).map(Some)
            }
        }
        deserializer.deserialize_option(Perhaps(In::of(section)))
    }
}

/// Room for what a format announces, which may be anything: a megabyte of it at most is believed.
fn believed<T>(announced: Option<usize>) -> usize {
    announced.unwrap_or(0).min((1 << 20) / size_of::<T>().max(1))
}

/// Collections that are written as sequences.
macro_rules! sequence {
    ($([$($bounds:tt)*] $name:ident, $make:expr, $add:ident;)*) => {
        $(
            impl<'s, 'de, T: DeserializeIn<'s, 'de> + $($bounds)*> DeserializeIn<'s, 'de> for $name<'s, T> {
                fn deserialize_in<D: Deserializer<'de>>(
                    section: &'s Section<'_>,
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    struct Sequence<'s, 'h, T>(&'s Section<'h>, PhantomData<fn() -> T>);
                    impl<'s, 'de, T: DeserializeIn<'s, 'de> + $($bounds)*> Visitor<'de> for Sequence<'s, '_, T> {
                        type Value = $name<'s, T>;

                        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                            f.write_str("a sequence")
                        }

                        fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<$name<'s, T>, A::Error> {
                            let room = believed::<T>(values.size_hint());
                            let mut all = $make(room, self.0).map_err(failed)?;
                            while let Some(value) = values.next_element_seed(In::of(self.0))? {
                                $name::$add(&mut all, value).map_err(failed)?;
                            }
                            Ok(all)
                        }
                    }
                    deserializer.deserialize_seq(Sequence(section, PhantomData))
                }
            }
        )*
    };
}

sequence! {
    [Persist] PVec, PVec::try_with_capacity_in, try_push;
    [Eq + Hash] PHashSet, PHashSet::try_with_capacity_in, try_insert;
    [Persist + Ord] PBTreeSet, |_, section| Ok(PBTreeSet::new_in(section)), try_insert;
}

/// Collections that are written as maps.
macro_rules! map {
    ($([$($key:tt)*] [$($value:tt)*] $name:ident, $make:expr, $add:ident;)*) => {
        $(
            impl<'s, 'de, K, V> DeserializeIn<'s, 'de> for $name<'s, K, V>
            where
                K: DeserializeIn<'s, 'de> + $($key)*,
                V: DeserializeIn<'s, 'de> + $($value)*,
            {
                fn deserialize_in<D: Deserializer<'de>>(
                    section: &'s Section<'_>,
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    struct Pairs<'s, 'h, K, V>(&'s Section<'h>, PhantomData<fn() -> (K, V)>);
                    impl<'s, 'de, K, V> Visitor<'de> for Pairs<'s, '_, K, V>
                    where
                        K: DeserializeIn<'s, 'de> + $($key)*,
                        V: DeserializeIn<'s, 'de> + $($value)*,
                    {
                        type Value = $name<'s, K, V>;

                        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                            f.write_str("a map")
                        }

                        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
                            let room = believed::<(K, V)>(pairs.size_hint());
                            let mut map = $make(room, self.0).map_err(failed)?;
                            while let Some((key, value)) = pairs.next_entry_seed(In::of(self.0), In::of(self.0))? {
                                $name::$add(&mut map, key, value).map_err(failed)?;
                            }
                            Ok(map)
                        }
                    }
                    deserializer.deserialize_map(Pairs(section, PhantomData))
                }
            }
        )*
    };
}

map! {
    [Eq + Hash] [Sized] PHashMap, PHashMap::try_with_capacity_in, try_insert;
    [Persist + Ord] [Persist] PBTreeMap, |_, section| Ok(PBTreeMap::new_in(section)), try_insert;
}

/// Tuples, each of its length.
macro_rules! tuple {
    ($count:literal: $($t:ident),+) => {
        impl<'s, 'de, $($t: DeserializeIn<'s, 'de>),+> DeserializeIn<'s, 'de> for ($($t,)+) {
            fn deserialize_in<De: Deserializer<'de>>(
                section: &'s Section<'_>,
                deserializer: De,
            ) -> Result<Self, De::Error> {
                struct Tuple<'s, 'h, T>(&'s Section<'h>, PhantomData<fn() -> T>);
                impl<'s, 'de, $($t: DeserializeIn<'s, 'de>),+> Visitor<'de> for Tuple<'s, '_, ($($t,)+)> {
                    type Value = ($($t,)+);

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a tuple of {}", $count)
                    }

                    fn visit_seq<Acc: SeqAccess<'de>>(self, mut values: Acc) -> Result<Self::Value, Acc::Error> {
                        let mut read = 0;
                        Ok(($({
                            let value: Option<$t> = values.next_element_seed(In::of(self.0))?;
                            read += 1;
                            value.ok_or_else(|| de::Error::invalid_length(read - 1, &self))?
                        },)+))
                    }
                }
                deserializer.deserialize_tuple($count, Tuple(section, PhantomData))
            }
        }
    };
}

tuple!(1: A);
tuple!(2: A, B);
tuple!(3: A, B, C);
tuple!(4: A, B, C, D);

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::typed::tests::place;
    use crate::{CollectIn, Heap};

    type Root<'s> = PHashMap<'s, PString<'s>, PVec<'s, (u64, Option<PBox<'s, PString<'s>>>)>>;

    // The heap crate's tests compare numbers with `[]`, which a dependency on `serde_json` would make ambiguous. What it does with these types is tested in `strewn-tests`.
    use ::serde::de::IntoDeserializer;
    use ::serde::de::value::{Error, MapDeserializer, SeqDeserializer};

    #[test]
    fn what_is_read_is_in_the_heap() {
        let (_dir, path) = place();
        let heap = Heap::create(path).unwrap();
        let section = heap.enter();
        let numbers = SeqDeserializer::<_, Error>::new([3u64, 1, 3].into_iter());
        let set: PHashSet<'_, u64> = In::of(&section).deserialize(numbers.clone()).unwrap();
        let vec: PVec<'_, u64> = In::of(&section).deserialize(numbers).unwrap();
        assert_eq!((set, &vec), ([1, 3].into_iter().collect_in(&section), &[3, 1, 3].into_iter().collect_in(&section)));
        let pairs = MapDeserializer::<_, Error>::new([("a", vec![1u64]), ("b", vec![])].into_iter());
        let map: PHashMap<'_, PString<'_>, PVec<'_, u64>> = In::of(&section).deserialize(pairs).unwrap();
        assert_eq!((map["a"].len(), map["b"].len(), map.len()), (1, 0, 2));
        let text = IntoDeserializer::<Error>::into_deserializer("text");
        let text: PBox<'_, PString<'_>> = In::of(&section).deserialize(text).unwrap();
        assert_eq!(**text, *"text");
        let short = SeqDeserializer::<_, Error>::new([1u64].into_iter());
        let e = In::<(u64, u64)>::of(&section).deserialize(short).expect_err("one of two");
        assert!(e.to_string().contains("invalid length 1, expected a tuple of 2"), "{e}");
        let wrong = SeqDeserializer::<_, Error>::new([1u64].into_iter());
        assert!(In::<Root<'_>>::of(&section).deserialize(wrong).is_err());
    }

    #[test]
    fn what_a_format_announces_is_not_believed() {
        assert_eq!(believed::<u64>(Some(usize::MAX)), 1 << 17);
        assert_eq!((believed::<u64>(Some(5)), believed::<u64>(None)), (5, 0));
    }
}
