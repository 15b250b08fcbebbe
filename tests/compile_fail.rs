//! Programs that the compiler must refuse, each with its message, and some that it must not.
//!
//! The messages are those of the oldest compiler that the workspace allows. `TRYBUILD=overwrite cargo test -p strewn-tests --test compile_fail` writes them anew;
//! read them before they are committed.

/// What `#[derive(Persist)]` refuses, and what the borrow checker refuses of values in a heap.
#[test]
fn programs_that_would_go_wrong_are_refused_with_a_message_that_helps() {
    let programs = trybuild::TestCases::new();
    programs.pass("compile_pass/*.rs");
    programs.compile_fail("compile_fail/*/*.rs");
}
