//! What to use instead of types of the standard library that cannot live in a heap.
//!
//! A macro sees names, not types: a `Cell` may be the user's own. So a name only picks the words, and the trait decides. A field of whose type `Vec` is a
//! part is asked for a trait that exactly the types that are `Persist` have, and whose message is about `Vec`.
//!
//! Types that are not even `Send` are refused by their names, because the compiler would go on about threads. Who has an `Rc` of their own writes `self::Rc`.

use crate::expand::{fresh, persist, support};
use crate::refuse::parts;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use std::collections::BTreeMap;
use syn::{Path, Type};

/// Names of one kind, why values of such types cannot live in a heap, and what can.
struct Kind {
    names: &'static [&'static str],
    send: bool,
    because: &'static str,
    instead: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { send: true, names: &["Box"], because: "it points out of the heap", instead: "use `PBox<'s, T>`" },
    Kind { send: true, names: &["Vec"], because: "its elements lie outside the heap", instead: "use `PVec<'s, T>`" },
    Kind {
        send: true,
        names: &["VecDeque", "LinkedList", "BinaryHeap"],
        because: "its elements lie outside the heap",
        instead: "use `PVec<'s, T>`",
    },
    Kind { send: true, names: &["String"], because: "its text lies outside the heap", instead: "use `PString<'s>`" },
    Kind {
        send: true,
        names: &["OsString", "PathBuf", "CString"],
        because: "its bytes lie outside the heap",
        instead: "use `PString<'s>`, or `PVec<'s, u8>`",
    },
    Kind {
        send: true,
        names: &["Cow"],
        because: "it points out of the heap",
        instead: "use `PString<'s>` or `PVec<'s, T>`",
    },
    Kind {
        send: false,
        names: &["Rc"],
        because: "it points out of the heap",
        instead: "use `PArc<'s, T>`, which threads can share",
    },
    Kind { send: true, names: &["Arc"], because: "it points out of the heap", instead: "use `PArc<'s, T>`" },
    Kind {
        send: false,
        names: &["Weak"],
        because: "it points out of the heap",
        instead: "use an index, or `PArc<'s, T>` where that makes no cycle",
    },
    Kind {
        send: true,
        names: &["HashMap"],
        because: "its entries lie outside the heap",
        instead: "use `PHashMap<'s, K, V>`",
    },
    Kind {
        send: true,
        names: &["HashSet"],
        because: "its elements lie outside the heap",
        instead: "use `PHashSet<'s, T>`",
    },
    Kind {
        send: true,
        names: &["BTreeMap"],
        because: "its entries lie outside the heap",
        instead: "use `PBTreeMap<'s, K, V>`",
    },
    Kind {
        send: true,
        names: &["BTreeSet"],
        because: "its elements lie outside the heap",
        instead: "use `PBTreeMap<'s, T, ()>`, or `PHashSet<'s, T>` if their order does not matter",
    },
    Kind {
        send: true,
        names: &["Cell", "RefCell", "UnsafeCell"],
        because: "writes through shared references would be missed",
        instead: "use `PCell<T>`",
    },
    Kind {
        send: true,
        names: &["Mutex"],
        because: "writes through shared references would be missed, and after a crash it would stay locked",
        instead: "use `PMutex<T>`",
    },
    Kind {
        send: true,
        names: &["RwLock"],
        because: "writes through shared references would be missed, and after a crash it would stay locked",
        instead: "use `PRwLock<T>`",
    },
    Kind {
        send: true,
        names: &["OnceCell", "OnceLock", "LazyCell", "LazyLock", "Once"],
        because: "writes through shared references would be missed",
        instead: "use `Option<T>`, or say `#[persist(rebuild)]`",
    },
    Kind {
        send: true,
        names: &["Condvar", "Barrier", "Sender", "SyncSender", "Receiver", "JoinHandle", "Thread"],
        because: "threads end with the process",
        instead: "say `#[persist(rebuild)]`, of an `Option` if it has no default",
    },
    Kind {
        send: true,
        names: &["File", "OwnedFd", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "Child"],
        because: "the operating system closes it with the process",
        instead: "say `#[persist(rebuild)]`, of an `Option` if it has no default",
    },
    Kind {
        send: true,
        names: &["Instant"],
        because: "it counts from a start that the next process does not share",
        instead: "use a `Duration`",
    },
    Kind {
        send: true,
        names: &["SystemTime"],
        because: "its layout is the operating system's",
        instead: "use the `Duration` since `UNIX_EPOCH`, or a `u64` of seconds",
    },
    Kind {
        send: false,
        names: &["NonNull"],
        because: "nobody knows what it points to after a restart",
        instead: "use `PBox<'s, T>`, or the address as a `u64` if it came from `Section::alloc`",
    },
    Kind {
        send: true,
        names: &["AtomicPtr"],
        because: "nobody knows what it points to after a restart",
        instead: "use an index, or the address as an `AtomicU64` if it came from `Section::alloc`",
    },
    Kind {
        send: true,
        names: &["TypeId"],
        because: "it differs from build to build",
        instead: "use an enum, or a number of your own",
    },
];

/// Where the standard library has these names, as far as programs write it out.
const HOMES: [&str; 20] = [
    "std",
    "core",
    "alloc",
    "boxed",
    "vec",
    "string",
    "collections",
    "hash_map",
    "btree_map",
    "borrow",
    "rc",
    "sync",
    "cell",
    "mpsc",
    "thread",
    "fs",
    "net",
    "time",
    "path",
    "ptr",
];

/// The traits that one derive asks its fields for, beside `Persist`, by the name that they speak of.
#[derive(Default)]
pub(crate) struct Traits {
    asked: BTreeMap<&'static str, &'static Kind>,
}

impl Traits {
    /// The trait for a field of type `of`, if it names something that likely is no part of a heap.
    pub(crate) fn of(&mut self, of: &Type) -> Option<Ident> {
        let (name, kind) = find(of)?;
        self.asked.insert(name, kind);
        Some(named(name))
    }

    /// The definitions of those traits.
    pub(crate) fn define(&self) -> TokenStream {
        self.asked.iter().map(|(name, kind)| define(name, kind)).collect()
    }
}

/// Why a value of the type that `path` names cannot live in a heap, if its name is enough to say so.
pub(crate) fn refused(path: &Path) -> Option<String> {
    let (name, kind) = of_standard_library(path).filter(|(_, kind)| !kind.send)?;
    Some(format!("`{name}` cannot live in a heap, because {}; {}", kind.because, kind.instead))
}

/// Whether an `Rc` is part of what is rebuilt. It could not be sent to another thread, though what is in a heap may be.
pub(crate) fn has_rc(of: &Type) -> bool {
    let is_rc = matches!(of, Type::Path(path) if of_standard_library(&path.path).is_some_and(|(name, _)| name == "Rc"));
    is_rc || parts(of).into_iter().any(has_rc)
}

/// The outermost name that is known, and what to say of it.
fn find(of: &Type) -> Option<(&'static str, &'static Kind)> {
    let known = match of {
        Type::Path(path) if path.qself.is_none() => of_standard_library(&path.path),
        _ => None,
    };
    known.or_else(|| parts(of).into_iter().find_map(find))
}

fn of_standard_library(path: &Path) -> Option<(&'static str, &'static Kind)> {
    let first = path.segments.first()?;
    if path.segments.len() > 1 && !HOMES.iter().any(|home| first.ident == home) {
        return None;
    }
    let last = &path.segments.last()?.ident;
    KINDS.iter().find_map(|kind| Some((*kind.names.iter().find(|name| last == *name)?, kind)))
}

fn named(name: &str) -> Ident {
    let span = proc_macro2::Span::mixed_site();
    format_ident!("PersistInsteadOf{name}", span = span)
}

fn define(name: &str, kind: &Kind) -> TokenStream {
    let (persist, support) = (persist(), support());
    let (fields, walker, this) = (fresh("fields"), fresh("walker"), fresh("this"));
    let of = named(name);
    let message = format!("`{name}` cannot live in a heap, because {}", kind.because);
    let label = kind.instead;
    let rebuilt = "a field that need not survive can say `#[persist(rebuild)]`";
    let own = format!("if this `{name}` is a type of your own, derive `Persist` for it");
    quote! {
        #[diagnostic::on_unimplemented(message = #message, label = #label, note = #rebuilt, note = #own)]
        trait #of {
            const INTERIOR: bool;
            fn describe(fields: &mut #support::Fields<'_>, name: &str, offset: usize);
            unsafe fn walk(this: *mut Self, walker: &mut #support::Walker<'_>) -> ::strewn::Result<()>;
        }
        #[diagnostic::do_not_recommend]
        impl<FieldType: #persist> #of for FieldType {
            const INTERIOR: bool = <FieldType as #persist>::INTERIOR;
            fn describe(#fields: &mut #support::Fields<'_>, name: &str, offset: usize) {
                #fields.field::<FieldType>(name, offset)
            }
            unsafe fn walk(#this: *mut Self, #walker: &mut #support::Walker<'_>) -> ::strewn::Result<()> {
                // SAFETY: the same contract.
                unsafe { <FieldType as #persist>::walk(#this, #walker) }
            }
        }
    }
}

/// All names that are known.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.names).copied()
}
