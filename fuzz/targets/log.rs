//! Bytes as records in the log of a heap: see `strewn_tests::fuzz::log`.
#![no_main]

#[global_allocator]
static ALLOCATOR: strewn_tests::fuzz::budget::Counting = strewn_tests::fuzz::budget::Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| strewn_tests::fuzz::log::run(data));
