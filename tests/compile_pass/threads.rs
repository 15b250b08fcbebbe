//! A section belongs to the thread that entered it; what is in a heap may be seen by others for as long as it lasts.
//!
//! That something is not `Send` is said so that it fails to compile if it is: of two traits that it has then, the compiler cannot choose one. As a program that is
//! refused, it would show sources of the standard library, which not every toolchain has.
use strewn::{Heap, PBox, PString, PVec, Root, Section};

macro_rules! is_not {
    ($trait:ident: $($t:ty),+) => {
        $({
            trait Ambiguous<Which> {
                fn chosen() {}
            }
            struct IfItIs;
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + $trait> Ambiguous<IfItIs> for T {}
            <$t as Ambiguous<_>>::chosen();
        })+
    };
}

fn is_send<T: Send>() {}
fn is_sync<T: Sync>() {}

fn main() {
    is_not!(Send: Section<'static>, &'static Section<'static>);
    is_not!(Sync: Section<'static>);

    is_send::<(PBox<u64>, PVec<PString>)>();
    is_sync::<(PBox<u64>, PVec<PString>)>();
    is_send::<Heap>();
    is_sync::<Heap>();
    is_send::<Root<'_, PVec<u64>>>();
    is_sync::<Root<'_, PVec<u64>>>();
}
