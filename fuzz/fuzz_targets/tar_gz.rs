//! Bytes from outside, read as `tar_gz`: see `targets.rs`.

#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (targets::named("tar_gz").run)(bytes);
});
