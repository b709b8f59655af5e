//! Damaged and invented files of every format that is read: an error with a promised exit code, or what they say; never
//! a panic, nor memory by the word of a header.
//!
//! A few thousand files a format here. `IRESNET_TEST_HOSTILE=SECONDS cargo test --test hostile -- --nocapture` goes on for
//! longer, with other ones each second; `cargo fuzz run TARGET` looks for them by coverage. Both say what they met.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use iresnet::random::{Key, below};
use targets::{TARGETS, Target};

const VARIABLE: &str = "IRESNET_TEST_HOSTILE";
/// Files of each format in the usual test.
const USUAL: u32 = 2000;
/// Bytes that this process may have had in memory at its peak: more than any decoder's limit, less than what headers claim.
const MOST_MEMORY: u64 = 1 << 30;

/// Random whole numbers, one after the other.
struct Draw {
    key: Key,
    next: u32,
}

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.next += 1;
        below(self.key, self.next, bound as u32) as usize
    }
}

/// Numbers at which arithmetic tends to break.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    u64::MAX,
    u64::MAX / 4 + 1,
];

/// Changes a file in one to eight places.
fn mutate(file: &mut Vec<u8>, others: &[Vec<u8>], draw: &mut Draw) {
    for _ in 0..1 + draw.below(8) {
        if file.is_empty() {
            return;
        }
        let at = draw.below(file.len());
        let len = 1 + draw.below((file.len() - at).min(64));
        match draw.below(11) {
            0 => file[at] ^= 1 << draw.below(8),
            1 => file[at] = draw.below(256) as u8,
            2 => file.truncate(at),
            3 => drop(file.drain(at..at + len)),
            4 => {
                let copy = file[at..at + len].to_vec();
                let to = draw.below(file.len());
                file.splice(to..to, copy);
            }
            5 => file[at..at + len].fill(draw.below(256) as u8),
            6 | 7 => {
                let edge = EDGES[draw.below(EDGES.len())];
                let width = [1, 2, 4, 8][draw.below(4)].min(file.len() - at);
                let bytes = if draw.below(2) == 0 { edge.to_le_bytes() } else { edge.swap_bytes().to_le_bytes() };
                file[at..at + width].copy_from_slice(&bytes[..width]);
            }
            8 => {
                // A number in a text.
                let edge = EDGES[draw.below(EDGES.len())].to_string();
                file.splice(at..at, edge.into_bytes());
            }
            9 => {
                let other = &others[draw.below(others.len())];
                let from = draw.below(other.len().max(1));
                file.truncate(at);
                file.extend_from_slice(&other[from.min(other.len())..]);
            }
            _ => {
                let token: &[u8] =
                    [&b"[[[["[..], b"\"", b"{", b"-1", b"1e999", b"nan", b"../../", b"\0", b"(", b","][draw.below(10)];
                file.splice(at..at, token.iter().copied());
            }
        }
    }
}

/// Reads one file; a panic names it, and keeps it.
fn read(target: &Target, bytes: &[u8]) -> bool {
    let begun = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let slow = begun.elapsed() > Duration::from_secs(20);
    match result {
        Ok(accepted) if !slow => accepted,
        _ => {
            let name = format!("{}-{:016x}", target.name, hash(bytes));
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            std::fs::write(&path, bytes).unwrap();
            panic!("{}: {} on {}", target.name, if slow { "hangs" } else { "panics" }, path.display());
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Bytes of this process that lay in memory at most, where the system tells.
fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<u64>().ok()?)
}

#[test]
fn mutated_files_of_every_format() {
    let seconds = std::env::var(VARIABLE).ok().map(|text| text.parse::<u64>().expect("a number of seconds"));
    let each = Duration::from_secs(seconds.unwrap_or(0) / TARGETS.len() as u64);
    // Other files each time one asks for a long search, the same ones in the usual test.
    let seed = if seconds.is_some() { std::process::id().into() } else { 1 };
    for (number, target) in TARGETS.iter().enumerate() {
        let seeds = (target.seeds)();
        let taken = seeds.iter().filter(|seed| read(target, seed)).count();
        assert!(taken > 0, "{}: none of the files to begin with is accepted", target.name);
        let begun = Instant::now();
        let (mut files, mut accepted) = (0_u32, 0_u32);
        while if seconds.is_some() { begun.elapsed() < each } else { files < USUAL } {
            // Steps of keys are below 2^24.
            let key = Key::new(seed + u64::from(files >> 20), files & 0xf_ffff, number as u32);
            let mut draw = Draw { key, next: 0 };
            let mut file = seeds[draw.below(seeds.len())].clone();
            mutate(&mut file, &seeds, &mut draw);
            accepted += u32::from(read(target, &file));
            files += 1;
        }
        let took = begun.elapsed().as_secs_f64();
        println!("{:<12} {files:>9} files in {took:.0} s, {accepted} accepted, no panic", target.name);
    }
    if let Some(peak) = peak() {
        println!("at most {} MiB in memory", peak >> 20);
        assert!(peak < MOST_MEMORY, "{peak} bytes were in memory");
    }
}

/// Files that once were trouble, by target: `fuzz/cases/TARGET/…`.
#[test]
fn found_cases_stay_solved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/cases");
    let mut count = 0;
    for target in TARGETS {
        let Ok(entries) = std::fs::read_dir(root.join(target.name)) else { continue };
        for entry in entries.flatten() {
            read(target, &std::fs::read(entry.path()).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{}: no cases", root.display());
}
