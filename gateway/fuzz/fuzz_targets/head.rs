//! See `trysail_properties::ALL`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trysail_properties::ask("head", bytes));
