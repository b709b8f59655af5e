//! What is done with bytes from outside, one target a format, and files to begin with. Shared by the fuzz targets of
//! `cargo fuzz` and by `tests/hostile.rs`, which mutates the same files without a fuzzer.
//!
//! A target must neither panic nor hang nor allocate what the bytes claim; it returns whether they were accepted.

use std::io::Write;
use std::path::{Path, PathBuf};

use iresnet::arrays::{self, Array, ArrayFile};
use iresnet::checkpoint::Checkpoint;
use iresnet::config::{Config, Kind};
use iresnet::data::cifar::{self, Labels};
use iresnet::data::{archive, idx};
use iresnet::error::{Error, Result};
use iresnet::nn::{Model, param};
use iresnet::picture::{Fit, Picture};

/// One format.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Files to begin with.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Reads bytes: whether they were accepted.
    pub(crate) run: fn(&[u8]) -> bool,
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "model", seeds: models, run: model },
    Target { name: "safetensors", seeds: safetensors, run: |bytes| read_arrays("f.safetensors", bytes) },
    Target { name: "npy", seeds: npy, run: |bytes| read_arrays("f.npy", bytes) },
    Target { name: "npz", seeds: npz, run: |bytes| read_arrays("f.npz", bytes) },
    Target { name: "state_dict", seeds: states, run: state_dict },
    Target { name: "idx", seeds: idx_files, run: idx_file },
    Target { name: "cifar", seeds: cifar_files, run: cifar_file },
    Target { name: "tar_gz", seeds: archives, run: tar_gz },
    Target { name: "image", seeds: images, run: image },
    Target { name: "toml", seeds: configurations, run: toml },
];

/// The target called `name`.
#[allow(dead_code, reason = "tests go through all of them")]
pub(crate) fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of the list")
}

/// Every error must have a promised exit code, and a message.
fn judge<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error.exit_code(), 2 | 3 | 7), "exit code {} for {error}", error.exit_code());
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// A file of this thread's own, overwritten each time.
fn on_disk<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let shared = Path::new("/dev/shm");
    let root = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    let folder = root.join(format!("iresnet-hostile-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("room for a small file");
    let result = read(&path);
    // Left-overs of a crash are what one wants to look at.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn small() -> Config {
    let mut config = Config::default();
    config.model.kind = Kind::Toy;
    config.model.input = vec![2];
    (config.model.blocks, config.model.strides, config.model.channels) = (vec![1], vec![1], vec![3]);
    config.model.hidden_layers = 1;
    config.model.injective_padding = 0;
    config.data.name = "toy:checkerboard".into();
    config
}

fn models() -> Vec<Vec<u8>> {
    let config = small();
    let tensors = param::initialize(Model::new(&config).expect("a sound configuration").params(), 5);
    vec![Checkpoint { config, step: 7, tensors }.to_bytes()]
}

fn model(bytes: &[u8]) -> bool {
    judge(Checkpoint::from_bytes(bytes, Path::new("model.safetensors")))
}

fn read_arrays(name: &str, bytes: &[u8]) -> bool {
    on_disk(name, bytes, |path| {
        judge(ArrayFile::open(path).and_then(|file| {
            let names = if file.names().is_empty() { vec!["x"] } else { file.names() };
            for name in names {
                let array = file.read(name)?;
                // What cannot be numbers is said, not guessed.
                let _ = (array.tensor(), array.integers());
            }
            Ok(())
        }))
    })
}

/// A file as this program writes it.
fn written(name: &str) -> Vec<u8> {
    let x = Array::floats([2, 1, 2, 2], (0..8).map(|i| i as f32 / 8.0).collect());
    on_disk(name, &[], |path: &Path| {
        arrays::write(path, &[("x", x)]).expect("a small file");
        std::fs::read(path).expect("what was just written")
    })
}

fn safetensors() -> Vec<Vec<u8>> {
    let published = include_bytes!("../tests/fixtures/spectral_norm.safetensors");
    vec![written("f.safetensors"), published[..published.len().min(1 << 16)].to_vec()]
}

fn npy() -> Vec<Vec<u8>> {
    let file = |header: &str, data: &[u8]| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    };
    vec![
        written("f.npy"),
        file("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n", &[0; 32]),
        file("{'descr': '>i4', 'fortran_order': True, 'shape': (3,), }\n", &[1; 12]),
        file("{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", &[1]),
    ]
}

fn npz() -> Vec<Vec<u8>> {
    vec![written("f.npz")]
}

fn states() -> Vec<Vec<u8>> {
    models()
}

fn state_dict(bytes: &[u8]) -> bool {
    on_disk("state.safetensors", bytes, |path| judge(iresnet::interchange::import(path, &small())))
}

fn idx_files() -> Vec<Vec<u8>> {
    let images = idx::encode(&[3, 4, 5], &(0..60).collect::<Vec<u8>>());
    let labels = idx::encode(&[10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let packed = include_bytes!("../assets/fashion-mnist-mini/t10k-labels-idx1-ubyte.gz").to_vec();
    vec![images, labels, packed]
}

fn idx_file(bytes: &[u8]) -> bool {
    let path = Path::new("idx-ubyte");
    let images = idx::unpack(bytes, path).and_then(|source| idx::parse_images(source, path));
    let labels = idx::unpack(bytes, path).and_then(|source| idx::parse_labels(source, path, 10));
    judge(images) | judge(labels)
}

fn cifar_files() -> Vec<Vec<u8>> {
    let record = |labels: &[u8]| [labels, &[127; 3072]].concat();
    vec![[record(&[3]), record(&[9])].concat(), record(&[4, 30])]
}

fn cifar_file(bytes: &[u8]) -> bool {
    let path = Path::new("data_batch_1.bin");
    let one = judge(cifar::parse(bytes, path, Labels::One, 10));
    one | judge(cifar::parse(bytes, path, Labels::CoarseAndFine, 100))
}

/// A header and its content, padded to whole blocks of 512 bytes.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[156] = b'0';
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [&header[..], content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn archives() -> Vec<Vec<u8>> {
    let files = [entry("set/a.bin", b"alpha"), entry("../b.bin", b"out"), entry("set/b.bin", b"beta"), vec![0; 1024]];
    vec![files.concat()]
}

fn tar_gz(bytes: &[u8]) -> bool {
    // Plain, so that changes reach the archive and not only the checksum around it; and packed.
    let packed = flate2_of(bytes);
    [bytes, &packed].into_iter().fold(false, |accepted, bytes| {
        let read = on_disk("set.tar.gz", bytes, |path: &Path| {
            let before = entries_beside(path);
            let mut unpacked = 0;
            let result = archive::each(path, "set", &["a.bin", "b.bin"], |_, _, content| {
                let mut sink = Vec::new();
                content.read_to_end(&mut sink).map_err(|source| Error::Io { path: path.into(), source })?;
                unpacked += sink.len();
                Ok(())
            });
            assert!(unpacked <= bytes.len().max(1 << 12) * 1100, "{unpacked} bytes out of {}", bytes.len());
            assert_eq!(entries_beside(path), before, "nothing is unpacked to the disk");
            judge(result)
        });
        accepted | read
    })
}

fn entries_beside(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().expect("a file in a folder");
    let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    list(folder).collect()
}

/// gzip's stored form: a header, one block a piece, the checksum.
fn flate2_of(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut pieces = bytes.chunks(0xffff).peekable();
    if bytes.is_empty() {
        packed.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(piece) = pieces.next() {
        let len = piece.len() as u16;
        packed.push(u8::from(pieces.peek().is_none()));
        packed.extend(len.to_le_bytes());
        packed.extend((!len).to_le_bytes());
        packed.write_all(piece).expect("memory takes it");
    }
    let mut checksum = u32::MAX;
    for &byte in bytes {
        checksum ^= u32::from(byte);
        for _ in 0..8 {
            checksum = if checksum & 1 == 1 { checksum >> 1 ^ 0xedb8_8320 } else { checksum >> 1 };
        }
    }
    packed.extend((!checksum).to_le_bytes());
    packed.extend((bytes.len() as u32).to_le_bytes());
    packed
}

fn images() -> Vec<Vec<u8>> {
    let picture = Picture::from_bytes([3, 4, 6], &(0..72).map(|i| (i * 3) as u8).collect::<Vec<u8>>());
    let grey = Picture::from_bytes([1, 5, 5], &(0..25).map(|i| (i * 10) as u8).collect::<Vec<u8>>());
    let saved = |picture: &Picture, name: &str| {
        on_disk(name, &[], |path: &Path| {
            picture.save(path).expect("a small picture");
            std::fs::read(path).expect("what was just written")
        })
    };
    vec![saved(&picture, "p.png"), saved(&grey, "g.png"), saved(&picture, "p.jpg")]
}

fn image(bytes: &[u8]) -> bool {
    // Once by each name: the content decides, not the ending.
    ["p.png", "p.jpg"].into_iter().fold(false, |accepted, name| {
        let read = on_disk(name, bytes, |path: &Path| judge(Picture::load(path, [3, 4, 6], Fit::Resize)));
        accepted | read
    })
}

fn configurations() -> Vec<Vec<u8>> {
    let presets = ["fashion-mnist-small", "mnist-small-hybrid", "toy-checkerboard"];
    presets.map(|name| Config::preset(name).expect("a preset").to_toml().into_bytes()).to_vec()
}

fn toml(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    judge(Config::from_toml(text, "config.toml").and_then(|config| config.validate()))
}
