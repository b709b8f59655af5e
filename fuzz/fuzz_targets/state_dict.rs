//! Bytes from outside, read as `state_dict`: see `targets.rs`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (targets::named("state_dict").run)(bytes);
});
