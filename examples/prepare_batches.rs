//! How fast batches are prepared on the host: images per second on one thread, as for CIFAR-10, with augmentation, for a
//! classifier and for a density. A device that trains faster than that waits for data.
//!
//! `cargo run --release --example prepare_batches`

use std::time::Instant;

use iresnet::data::{Augment, Batches, Dataset, Prepare, Split};

const IMAGES: usize = 10_000;
const BATCH: usize = 128;
const STEPS: u32 = 100;

fn main() {
    let bytes: Vec<u8> = (0..IMAGES * 3072).map(|k| (k * 31 % 251) as u8).collect();
    let labels = (0..IMAGES).map(|k| (k % 10) as u32).collect();
    let set = Dataset::from_bytes("cifar10", Split::Train, [3, 32, 32], bytes, labels, 10);
    let augment = Augment::usual("cifar10");
    for (name, prepare) in [
        ("as they are", Prepare::default()),
        ("classifier, augmented", Prepare { augment, ..Prepare::default() }),
        ("density, augmented", Prepare { augment, dequantize: true, ..Prepare::default() }),
    ] {
        let mut batches = Batches::new(1, BATCH, IMAGES);
        let (begun, mut sum) = (Instant::now(), 0.0);
        for step in 0..STEPS {
            let indices = batches.indices(step);
            sum += prepare.batch(&set, &indices, 1, step).x.data()[0];
        }
        let seconds = begun.elapsed().as_secs_f64();
        let images = f64::from(STEPS) * BATCH as f64;
        println!(
            "{name}: {:.0} images/s, {:.2} ms a batch of {BATCH} ({sum})",
            images / seconds,
            1e3 * seconds / f64::from(STEPS)
        );
    }
}
