//! The `#[global_allocator]` for strewn heaps. **Not written yet**: this crate only reserves the name and the place.
//!
//! What it will be: inside `persistent(&heap, || ...)` a thread's allocations go to a strewn heap, elsewhere to
//! the system allocator, and free and realloc find the owner by address; so that ordinary `String`, `Vec` and
//! `BTreeMap` values survive a crash with no change to their code. Until then use the typed API of [`strewn`].

pub use strewn;
