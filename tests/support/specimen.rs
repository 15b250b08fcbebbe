//! A small heap with known contents, for suites that damage it.
//!
//! A specimen of step n has the contents that n calls of [`grow`] leave. Each call is one section.

use crate::memory::mix;
use std::path::Path;
use strewn::{ErrorKind, Heap, PBox, PVec, Persist, Result, TrackerKind};

const ROOT: &str = "specimen";
const PAGE_BYTES: usize = 5000;

/// The root. Its path and layout are those that the first heaps were written with, which knew a root's type by its path.
#[repr(C)]
#[derive(Persist)]
pub struct Specimen<'s> {
    step: u64,
    numbers: PVec<'s, u64>,
    texts: PVec<'s, PVec<'s, u8>>,
    /// Larger than half a page, so that there are page runs too; mostly zeros, so that few bytes are worth damaging.
    page: PVec<'s, u8>,
    odd: Option<PBox<'s, [u64; 5]>>,
}

fn number(i: usize) -> u64 {
    mix(1, i as u64)
}

fn text(i: usize) -> Vec<u8> {
    crate::memory::pattern(i as u64, 10 + 7 * i)
}

fn page_byte(step: u64, i: usize) -> u8 {
    if i.is_multiple_of(97) { (mix(step, i as u64) as u8) | 1 } else { 0 }
}

fn odd_words(step: u64) -> [u64; 5] {
    [step, mix(2, step), 0, 0, !0]
}

/// Takes the specimen one step on, in one section.
///
/// # Errors
/// What the heap reports.
pub fn grow(heap: &Heap) -> Result<u64> {
    let section = heap.try_enter()?;
    let root = heap.root::<Specimen>(ROOT, |section| {
        let (numbers, texts, page) = (PVec::new_in(section), PVec::new_in(section), PVec::new_in(section));
        Ok(Specimen { step: 0, numbers, texts, page, odd: None })
    })?;
    let mut specimen = root.write(&section)?;
    let Specimen { step, numbers, texts, page, odd } = &mut *specimen;
    *step += 1;
    for _ in 0..3 {
        numbers.try_push(number(numbers.len()))?;
    }
    let mut words = PVec::new_in(&section);
    words.try_extend_from_slice(&text(texts.len()))?;
    texts.try_push(words)?;
    if page.is_empty() {
        page.try_extend_from_slice(&[0; PAGE_BYTES])?;
    }
    for (i, byte) in page.iter_mut().enumerate() {
        *byte = page_byte(*step, i);
    }
    *odd = match odd.take() {
        Some(_) => None,
        None => Some(PBox::try_new_in(odd_words(*step), &section)?),
    };
    Ok(*step)
}

/// Compares all contents with what they must be, in a heap that was not modified since its last checkpoint. Returns the
/// step, 0 for a heap without a specimen.
///
/// # Errors
/// What differs.
pub fn verify(heap: &Heap) -> std::result::Result<u64, String> {
    let step = verify_contents(heap)?;
    let live = heap.stats().map_err(|e| e.to_string())?.live_objects;
    let expected = if step == 0 { 0 } else { 1 + 1 + 1 + step + 1 + step % 2 };
    if live == expected { Ok(step) } else { Err(format!("{live} live objects at step {step}, not {expected}")) }
}

fn verify_contents(heap: &Heap) -> std::result::Result<u64, String> {
    let section = heap.enter();
    let Some(root) = heap.find_root::<Specimen>(ROOT).map_err(|e| e.to_string())? else {
        let names = heap.root_names();
        return if names.is_empty() { Ok(0) } else { Err(format!("other roots: {names:?}")) };
    };
    let specimen = root.read(&section).map_err(|e| e.to_string())?;
    let step = specimen.step;
    let same = |what: &str, equal: bool| if equal { Ok(()) } else { Err(format!("{what} of step {step} differ")) };
    same("numbers", specimen.numbers.iter().copied().eq((0..3 * step as usize).map(number)))?;
    same("count of texts", specimen.texts.len() as u64 == step)?;
    for (i, words) in specimen.texts.iter().enumerate() {
        same("texts", *words == text(i))?;
    }
    let page = &specimen.page;
    same("length of the page", page.len() == PAGE_BYTES)?;
    same("bytes of the page", page.iter().enumerate().all(|(i, byte)| *byte == page_byte(step, i)))?;
    let box_is_right = match &specimen.odd {
        Some(found) => step % 2 == 1 && **found == odd_words(step),
        None => step % 2 == 0,
    };
    same("box", box_is_right)?;
    Ok(step)
}

/// Opens `path`, verifies, and drops the heap without closing it. Returns the step.
///
/// # Errors
/// The kind, and what happened; no kind if the contents differ.
pub fn open_and_verify(path: &Path, tracker: TrackerKind) -> std::result::Result<u64, (Option<ErrorKind>, String)> {
    let checked = strewn::check(path);
    let opened = Heap::options().tracker(tracker).open(path);
    match (&checked, &opened) {
        (Ok(_), Ok(_)) => {}
        (Err(e), Err(other)) if e.kind() == other.kind() => {}
        // What `check` does not look at.
        (Ok(_), Err(e)) if [ErrorKind::AddressInUse, ErrorKind::OutOfMemory].contains(&e.kind()) => {}
        _ => return Err((None, format!("check says {checked:?}, and open {:?}", opened.map(drop)))),
    }
    let heap = opened.map_err(|e| (Some(e.kind()), e.to_string()))?;
    heap.check();
    let step = verify(&heap).map_err(|what| (None, what))?;
    let live = checked.map_or(0, |report| report.live_objects);
    let counted = heap.stats().map_err(|e| (Some(e.kind()), e.to_string()))?.live_objects;
    if live == counted {
        Ok(step)
    } else {
        Err((None, format!("check counts {live} live objects, the heap {counted}")))
    }
}
