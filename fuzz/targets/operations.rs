//! Bytes as operations on a heap: see `strewn_tests::fuzz::operations`.
#![no_main]

#[global_allocator]
static ALLOCATOR: strewn_tests::fuzz::budget::Counting = strewn_tests::fuzz::budget::Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| strewn_tests::fuzz::operations::run(data));
