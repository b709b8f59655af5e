//! Random numbers from a counter: Philox-4x32-10, the same on the CPU and in WGSL (`shaders/lib/random.wgsl`).
//!
//! Nothing is stored between draws: a number is a function of a [`Key`] (seed, step, stream) and its index. So a place in
//! training is a number, resuming is exact, every element of a tensor can be drawn at once and again, and the order of the
//! drawing does not matter. The generator is that of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011),
//! which passes BigCrush; the tests hold its published known answers.
//!
//! # Layout
//! The Philox key is the seed's low and high 24 bits, the counter is `[index / 4, stream, step, 0]`, and element `index`
//! takes word `index % 4` of the block. On a GPU the key is a tensor of four f32 ([`Key::numbers`]), whole numbers below
//! 2²⁴, because tensors hold f32 and those are exact.
//!
//! # From words to numbers
//! * uniform on [0, 1): `(word >> 8) · 2⁻²⁴`
//! * normal: Box and Muller on the word pairs (0, 1) and (2, 3), `r cos 2πv` for the even and `r sin 2πv` for the odd
//!   element, with `r = √(−2 ln u)`, `u = ((word >> 9) + ½) · 2⁻²³`, which is exact in f32 and never 0 or 1, and
//!   `v = (word' >> 8) · 2⁻²⁴`; the largest possible magnitude is 5.77
//! * Rademacher: −1 where the word's top bit is set, else 1
//!
//! Uniform and Rademacher numbers are the same bits everywhere. Normal numbers agree to about 10⁻⁶ between this module
//! (which works in f64) and the shader.
//!
//! # Streams
//! Graphs number their own streams upwards from 0; the host's uses are numbered downwards from 2²⁴ − 1 ([`stream`]), so
//! that one seed serves both.

/// Numbers of the streams drawn on the host. A graph's own streams are small numbers and never meet these.
pub mod stream {
    /// Order of the training images; the step is the epoch.
    pub const SHUFFLE: u32 = 0xff_ffff;
    /// Shifts and flips of training images.
    pub const AUGMENT: u32 = 0xff_fffe;
    /// Dequantisation noise of a training step.
    pub const DEQUANTIZE: u32 = 0xff_fffd;
    /// Points of the two-dimensional sets.
    pub const TOY: u32 = 0xff_fffc;
    /// Initial parameters.
    pub const INITIALIZE: u32 = 0xff_fffb;
    /// Dequantisation noise of training images in an evaluation; the step is the number of the image.
    pub const DEQUANTIZE_TRAIN: u32 = 0xff_fffa;
    /// Dequantisation noise of test images in an evaluation; the step is the number of the image.
    pub const DEQUANTIZE_TEST: u32 = 0xff_fff9;
}

/// What the numbers of one draw depend on. Equal keys give equal numbers, different keys independent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The run's seed; the low 48 bits are used.
    pub seed: u64,
    /// The step of the run (or epoch, or whatever counts), below 2²⁴.
    pub step: u32,
    /// Which of the step's draws this is, below 2²⁴.
    pub stream: u32,
}

/// Fields of a key are whole numbers below this, so that they are exact as f32.
const LIMIT: u32 = 1 << 24;

impl Key {
    /// A key. Panics if `step` or `stream` is 2²⁴ or more.
    #[track_caller]
    pub fn new(seed: u64, step: u32, stream: u32) -> Self {
        assert!(step < LIMIT && stream < LIMIT, "random key: step {step} and stream {stream} must be below {LIMIT}");
        Self { seed: seed & 0xffff_ffff_ffff, step, stream }
    }

    /// The key whose [`words`](Self::words) these are.
    #[track_caller]
    pub fn from_words(words: [u32; 4]) -> Self {
        assert!(words.iter().all(|&word| word < LIMIT), "random key: the words {words:?} must be below {LIMIT}");
        Self { seed: u64::from(words[0]) | u64::from(words[1]) << 24, step: words[2], stream: words[3] }
    }

    /// Low 24 bits of the seed, next 24 bits of the seed, step, stream.
    pub fn words(self) -> [u32; 4] {
        let mask = u64::from(LIMIT - 1);
        [(self.seed & mask) as u32, (self.seed >> 24 & mask) as u32, self.step, self.stream]
    }

    /// The [`words`](Self::words) as the f32 a tensor holds.
    pub fn numbers(self) -> [f32; 4] {
        self.words().map(|word| word as f32)
    }

    /// The four words that elements `4 · block` to `4 · block + 3` are made of.
    pub fn block(self, block: u32) -> [u32; 4] {
        let [low, high, step, stream] = self.words();
        philox([block, stream, step, 0], [low, high])
    }

    /// Four uniform numbers: elements `4 · block` to `4 · block + 3`.
    pub fn uniform_block(self, block: u32) -> [f64; 4] {
        self.block(block).map(uniform)
    }

    /// Four standard normal numbers: elements `4 · block` to `4 · block + 3`.
    pub fn normal_block(self, block: u32) -> [f64; 4] {
        let [a, b, c, d] = self.block(block);
        let ([x, y], [z, w]) = (normal(a, b), normal(c, d));
        [x, y, z, w]
    }

    /// The first `len` uniform numbers on [0, 1).
    #[track_caller]
    pub fn uniforms(self, len: usize) -> Vec<f32> {
        self.fill(len, |key, block| key.uniform_block(block).map(|number| number as f32))
    }

    /// The first `len` standard normal numbers.
    #[track_caller]
    pub fn normals(self, len: usize) -> Vec<f32> {
        self.fill(len, |key, block| key.normal_block(block).map(|number| number as f32))
    }

    #[track_caller]
    fn fill<T>(self, len: usize, draw: impl Fn(Self, u32) -> [T; 4]) -> Vec<T> {
        assert!(u32::try_from(len).is_ok(), "random: {len} numbers of one key, at most {} exist", u32::MAX);
        (0..len.div_ceil(4)).flat_map(|block| draw(self, block as u32)).take(len).collect()
    }
}

/// What a random number is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Uniform on [0, 1).
    Uniform,
    /// Standard normal.
    Normal,
    /// −1 or 1, equally likely.
    Rademacher,
}

impl Distribution {
    /// The distribution's name; the shader's function is `random_` and this.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Rademacher => "rademacher",
        }
    }

    /// Number `index` of `key`.
    pub fn draw(self, key: Key, index: u32) -> f64 {
        self.block(key, index / 4)[index as usize % 4]
    }

    /// The first `len` numbers of `key`.
    #[track_caller]
    pub fn draws(self, key: Key, len: usize) -> Vec<f64> {
        key.fill(len, |key, block| self.block(key, block))
    }

    /// Numbers `4 · block` to `4 · block + 3` of `key`.
    fn block(self, key: Key, block: u32) -> [f64; 4] {
        match self {
            Self::Uniform => key.uniform_block(block),
            Self::Normal => key.normal_block(block),
            Self::Rademacher => key.block(block).map(|word| [1.0, -1.0][(word >> 31) as usize]),
        }
    }
}

/// The numbers 0 to `len` − 1 in an order that depends on `key` only, every order equally likely up to a bias below
/// 2⁻³² (Fisher and Yates; each swap takes 64 random bits).
#[track_caller]
pub fn permutation(key: Key, len: usize) -> Vec<u32> {
    assert!(len < 1 << 31, "permutation of {len} elements: at most 2^31 fit");
    let mut order: Vec<u32> = (0..len as u32).collect();
    for last in (1..len).rev() {
        order.swap(last, below(key, last as u32, last as u32 + 1) as usize);
    }
    order
}

/// Whole number `index` of `key`, uniform on 0 to `bound` − 1 with a bias below `bound` · 2⁻⁶⁴. It takes two of the key's
/// words: numbers `2 index` and `2 index + 1`.
#[track_caller]
pub fn below(key: Key, index: u32, bound: u32) -> u32 {
    assert!(bound > 0, "random number below 0");
    let words = key.block(index / 2);
    let half = 2 * (index as usize % 2);
    let word = u64::from(words[half]) << 32 | u64::from(words[half + 1]);
    ((u128::from(word) * u128::from(bound)) >> 64) as u32
}

/// Philox-4x32-10: four words for a counter of four and a key of two.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let first = 0xd251_1f53_u64 * u64::from(c[0]);
        let second = 0xcd9e_8d57_u64 * u64::from(c[2]);
        let (first_high, second_high) = ((first >> 32) as u32, (second >> 32) as u32);
        c = [second_high ^ c[1] ^ k[0], second as u32, first_high ^ c[3] ^ k[1], first as u32];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c
}

fn uniform(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(LIMIT)
}

fn normal(first: u32, second: u32) -> [f64; 2] {
    let u = (f64::from(first >> 9) + 0.5) / f64::from(LIMIT / 2);
    let radius = (-2.0 * u.ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform(second)).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws in the tests of moments. Bounds below are five standard errors, so a right generator fails one in a million
    /// times, and these draws are fixed anyway.
    const DRAWS: usize = 200_000;
    const STANDARD_ERRORS: f64 = 5.0;

    #[test]
    fn philox_gives_the_published_known_answers() {
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        for (counter, key, words) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
        ] {
            assert_eq!(philox(counter, key), words, "counter {counter:x?}, key {key:x?}");
        }
    }

    fn draws(distribution: Distribution) -> Vec<f64> {
        let key = Key::new(7, 3, 1);
        (0..DRAWS as u32).map(|index| distribution.draw(key, index)).collect()
    }

    /// The mean of `powers`-th powers must be `expected` to within five standard errors of a quantity with `variance`.
    #[track_caller]
    fn assert_moment(numbers: &[f64], power: i32, expected: f64, variance: f64) {
        let mean = numbers.iter().map(|number| number.powi(power)).sum::<f64>() / numbers.len() as f64;
        let bound = STANDARD_ERRORS * (variance / numbers.len() as f64).sqrt();
        assert!((mean - expected).abs() <= bound, "moment {power}: {mean}, expected {expected} ± {bound}");
    }

    #[test]
    fn uniform_numbers_fill_the_interval_evenly() {
        let numbers = draws(Distribution::Uniform);
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert_moment(&numbers, 1, 1.0 / 2.0, 1.0 / 12.0);
        assert_moment(&numbers, 2, 1.0 / 3.0, 1.0 / 5.0 - 1.0 / 9.0);
        let mut bins = [0_u32; 100];
        for number in &numbers {
            bins[(number * 100.0) as usize] += 1;
        }
        let expected = DRAWS as f64 / 100.0;
        let chi2: f64 = bins.iter().map(|&bin| (f64::from(bin) - expected).powi(2) / expected).sum();
        // 99 degrees of freedom: mean 99, standard deviation √198.
        assert!((chi2 - 99.0).abs() < STANDARD_ERRORS * 198_f64.sqrt(), "chi² {chi2}");
    }

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let numbers = draws(Distribution::Normal);
        assert_moment(&numbers, 1, 0.0, 1.0);
        assert_moment(&numbers, 2, 1.0, 2.0);
        assert_moment(&numbers, 3, 0.0, 15.0);
        assert_moment(&numbers, 4, 3.0, 96.0);
        let within = numbers.iter().filter(|number| number.abs() < 1.0).count() as f64 / DRAWS as f64;
        assert!((within - 0.682_689).abs() < STANDARD_ERRORS * (0.6827 * 0.3173 / DRAWS as f64).sqrt(), "{within}");
    }

    #[test]
    fn the_two_halves_of_a_normal_pair_are_not_correlated() {
        let numbers = draws(Distribution::Normal);
        let products: Vec<f64> = numbers.windows(2).map(|pair| pair[0] * pair[1]).collect();
        assert_moment(&products, 1, 0.0, 1.0);
    }

    #[test]
    fn rademacher_numbers_are_signs() {
        let numbers = draws(Distribution::Rademacher);
        assert!(numbers.iter().all(|number| number.abs() == 1.0));
        assert_moment(&numbers, 1, 0.0, 1.0);
    }

    #[test]
    fn normal_numbers_stay_finite_at_the_extreme_words() {
        for (first, second) in [(0, 0), (u32::MAX, u32::MAX), (0, u32::MAX), (u32::MAX, 0)] {
            let pair = normal(first, second);
            assert!(pair.iter().all(|number| number.is_finite() && number.abs() < 5.78), "{pair:?}");
        }
    }

    #[test]
    fn every_field_of_the_key_matters() {
        let key = Key::new(0x1234_5678_9abc, 5, 6);
        let others =
            [Key { seed: key.seed ^ 1, ..key }, Key { seed: key.seed ^ 1 << 47, ..key }, Key { step: 6, ..key }];
        for other in others.into_iter().chain([Key { stream: 5, ..key }, Key { step: 6, stream: 5, ..key }]) {
            assert_ne!(key.block(0), other.block(0), "{other:?}");
        }
    }

    #[test]
    fn a_key_survives_the_journey_through_floats() {
        let key = Key::new(0xffff_ffff_ffff, 0xff_ffff, 0xff_fffe);
        assert_eq!(Key::from_words(key.numbers().map(|number| number as u32)), key);
    }

    #[test]
    fn vectors_are_the_single_draws() {
        let key = Key::new(1, 2, 3);
        for (index, (uniform, normal)) in key.uniforms(11).into_iter().zip(key.normals(11)).enumerate() {
            assert_eq!(uniform, Distribution::Uniform.draw(key, index as u32) as f32);
            assert_eq!(normal, Distribution::Normal.draw(key, index as u32) as f32);
        }
        for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Rademacher] {
            let single: Vec<f64> = (0..11).map(|index| distribution.draw(key, index)).collect();
            assert_eq!(distribution.draws(key, 11), single, "{}", distribution.name());
        }
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        for len in [0, 1, 2, 3, 1000] {
            let mut order = permutation(Key::new(9, 0, stream::SHUFFLE), len);
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..len as u32), "{len}");
        }
    }

    #[test]
    fn all_permutations_of_three_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        let trials = 60_000;
        for step in 0..trials {
            *counts.entry(permutation(Key::new(4, step, 0), 3)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        let expected = f64::from(trials) / 6.0;
        let bound = STANDARD_ERRORS * (expected * 5.0 / 6.0).sqrt();
        for (order, count) in counts {
            assert!((f64::from(count) - expected).abs() < bound, "{order:?}: {count} of {trials}");
        }
    }
}
