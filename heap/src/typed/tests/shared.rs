//! [`PArc`]: counts, in one process and the next.

use super::{place, reopen};
use crate::typed::*;
use crate::{Heap, Result};
use std::time::Duration;

/// How many objects no root reaches, and how many one does.
fn objects(heap: &Heap) -> (usize, u64) {
    let report = heap.leaks().unwrap();
    assert_eq!(report.miscounted, []);
    (report.objects.len(), report.reached)
}

#[test]
fn the_last_owner_frees() -> Result<()> {
    let (_dir, path) = place();
    let heap = Heap::create(&path)?;
    {
        let section = heap.enter();
        let name = PArc::new_in(PString::from_str_in("name", &section), &section);
        let again = name.clone();
        let other = PArc::new_in(PString::from_str_in("name", &section), &section);
        assert!(PArc::ptr_eq(&name, &again) && !PArc::ptr_eq(&name, &other) && name == other);
        assert_eq!((PArc::strong_count(&name), PArc::strong_count(&other)), (2, 1));
        drop(name);
        assert_eq!((PArc::strong_count(&again), again.as_str()), (1, "name"));
    }
    assert_eq!(objects(&heap), (0, 0));
    Ok(())
}

#[test]
fn only_a_single_owner_changes_or_takes_the_value() -> Result<()> {
    let (_dir, path) = place();
    let heap = Heap::create(&path)?;
    {
        let section = heap.enter();
        let mut one = PArc::new_in(PVec::from_slice_in(&[1, 2], &section), &section);
        PArc::get_mut(&mut one).expect("the only owner").push(3);
        let other = one.clone();
        assert!(PArc::get_mut(&mut one).is_none());
        let one = PArc::try_unwrap(one).expect_err("there is another owner");
        let mut changed = one.clone();
        PArc::make_mut(&mut changed).push(4);
        assert_eq!((PArc::strong_count(&one), PArc::strong_count(&changed)), (2, 1));
        let place = PArc::address(&changed);
        PArc::make_mut(&mut changed).push(5);
        assert_eq!(PArc::address(&changed), place, "no copy for the only owner");
        assert_eq!((&**one, &**changed), (&[1, 2, 3][..], &[1, 2, 3, 4, 5][..]));
        drop(other);
        assert_eq!(PArc::try_unwrap(one).expect("the only owner"), [1, 2, 3]);
    }
    assert_eq!(objects(&heap), (0, 0));
    Ok(())
}

#[test]
fn counts_are_part_of_checkpoints() -> Result<()> {
    type Shelf<'s> = PMutex<PVec<'s, PArc<'s, PString<'s>>>>;
    let (_dir, path) = place();
    let heap = Heap::create(&path)?;
    heap.root::<Shelf>("shelf", |section| {
        let name = PArc::new_in(PString::from_str_in("shared by many", section), section);
        Ok(PMutex::new([name].into_iter().collect_in(section)))
    })?;
    // What is new is recorded anyway; from here on the count is only where it is noticed.
    heap.checkpoint()?;
    heap.checkpoint()?;
    let mut heap = Some(heap);
    for owners in 2..6 {
        let open = heap.take().unwrap();
        {
            let section = open.enter();
            let root = open.root::<Shelf>("shelf", |_| panic!("it is there"))?;
            let shelf = root.read(&section)?;
            let mut names = shelf.lock();
            let clone = names[0].clone();
            names.push(clone);
        }
        open.checkpoint()?;
        drop(open);
        let open = reopen(&Heap::options().verify(true), &path);
        {
            let root = open.root::<Shelf>("shelf", |_| panic!("it is there"))?;
            let section = open.enter();
            let shelf = root.read(&section)?;
            assert_eq!(PArc::strong_count(&shelf.lock()[0]), owners);
            assert_eq!(**shelf.lock()[owners - 1], *"shared by many");
        }
        // The root, the array, the object, the text.
        assert_eq!(objects(&open), (0, 4));
        heap = Some(open);
    }
    let heap = heap.unwrap();
    {
        let section = heap.enter();
        let root = heap.root::<Shelf>("shelf", |_| panic!("it is there"))?;
        root.write(&section)?.get_mut().clear();
    }
    assert_eq!(objects(&heap), (0, 2));
    Ok(())
}

#[test]
fn threads_clone_and_drop_beside_checkpoints() -> Result<()> {
    let (_dir, path) = place();
    let heap = Heap::create(&path)?;
    let root = heap.root::<PArc<PMutex<u64>>>("shared", |section| Ok(PArc::new_in(PMutex::new(0), section)))?;
    let rounds = if cfg!(miri) { 3 } else { 2000 };
    let ticker = (!cfg!(miri)).then(|| heap.checkpoint_every(Duration::from_millis(2)).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let section = heap.enter();
                    let owner = root.read(&section).unwrap().clone();
                    let more = [owner.clone(), owner];
                    *more[1].lock() += 1;
                }
            });
        }
    });
    drop(ticker);
    {
        let section = heap.enter();
        let shared = root.read(&section)?;
        assert_eq!((PArc::strong_count(&shared), *shared.lock()), (1, 3 * rounds));
    }
    assert_eq!(objects(&heap), (0, 2));
    // At every cut all sections are over, and with them all owners but the root's.
    drop(heap);
    let heap = reopen(&Heap::options(), &path);
    if let Some(root) = heap.find_root::<PArc<PMutex<u64>>>("shared")? {
        let section = heap.enter();
        let shared = root.read(&section)?;
        assert_eq!(PArc::strong_count(&shared), 1);
    }
    Ok(())
}
