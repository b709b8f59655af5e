//! Bytes from outside, read as `image`: see `targets.rs`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (targets::named("image").run)(bytes);
});
