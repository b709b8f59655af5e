//! Two-dimensional sets for density estimation: samplers, and the exact density where it is known.
//!
//! The shapes, scales and noise are those of the samplers published with FFJORD, i-ResNet and Residual Flows, which all
//! fit into [−4, 4]² but for a little noise. There is one difference: the published samplers of moons, circles, rings and
//! pinwheel put an equal number of points on each part, at equal distances; here every point is drawn on its own, so that
//! a set is a distribution, and point `i` of a key is a pure function of the key and `i`.
//!
//! With u uniform on [0, 1), n standard normal, all independent:
//!
//! | name | point |
//! | --- | --- |
//! | `8gaussians` | (4 c + n/2) / 1.414, c one of 8 points evenly on the unit circle: radius 2.829, standard deviation 0.3536 |
//! | `checkerboard` | 2 (a, b), a uniform on [−2, 2), b uniform on the two unit cells of its column: 8 cells of 2×2 |
//! | `2spirals` | ±((−t cos t + u/2), (t sin t + u′/2)) / 3 + 0.1 n, t = 3π √u |
//! | `moons` | 2 (half circle + 0.1 n) + (−1, −0.2): arcs of radius 1 about (0, 0) above and (1, ½) below |
//! | `circles` | 3 (circle of radius 1 or ½ + 0.08 n) |
//! | `pinwheel` | 2 (1 + 0.3 n, 0.1 n′) turned by 2πk/5 + ¼ e^(1 + 0.3 n), clockwise as published |
//! | `swissroll` | (t cos t + n, t sin t + n′) / 5, t = 1.5 π (1 + 2u) |
//! | `rings` | circle of radius 3, 2.25, 1.5 or 0.75 + 0.08 n |

use std::f64::consts::{PI, TAU};

use crate::error::{Error, Result};
use crate::nearest;
use crate::random::Key;

/// A two-dimensional set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toy {
    /// Eight normal distributions on a circle.
    EightGaussians,
    /// Every other cell of a board of 4×4.
    Checkerboard,
    /// Two arms of a spiral.
    TwoSpirals,
    /// Two half circles reaching into each other.
    Moons,
    /// Two circles about one centre.
    Circles,
    /// Five bent arms.
    Pinwheel,
    /// A rolled-up strip seen from its edge.
    SwissRoll,
    /// Four circles about one centre.
    Rings,
}

/// The published code divides by this and not by √2.
const GAUSSIANS_SCALE: f64 = 1.414;
const GAUSSIANS_RADIUS: f64 = 4.0 / GAUSSIANS_SCALE;
const GAUSSIANS_STD: f64 = 0.5 / GAUSSIANS_SCALE;
const CIRCLES: ([f64; 2], f64) = ([3.0, 1.5], 3.0 * 0.08);
const RINGS: ([f64; 4], f64) = ([3.0, 2.25, 1.5, 0.75], 0.08);

/// ∫ p ln p of the eight normal distributions, by the trapezoidal rule; a test does it again. Far apart they would give
/// −ln 8 − ln(2πe σ²) = −2.838179; neighbours, 6.1 σ apart, overlap a little.
const GAUSSIANS_NEGATIVE_ENTROPY: f64 = -2.831_880_4;

impl Toy {
    /// Every set.
    pub const ALL: [Self; 8] = [
        Self::EightGaussians,
        Self::Checkerboard,
        Self::TwoSpirals,
        Self::Moons,
        Self::Circles,
        Self::Pinwheel,
        Self::SwissRoll,
        Self::Rings,
    ];

    /// The set's name in a configuration, after `toy:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EightGaussians => "8gaussians",
            Self::Checkerboard => "checkerboard",
            Self::TwoSpirals => "2spirals",
            Self::Moons => "moons",
            Self::Circles => "circles",
            Self::Pinwheel => "pinwheel",
            Self::SwissRoll => "swissroll",
            Self::Rings => "rings",
        }
    }

    /// The set of that name; an unknown one is [`Error::Config`], which names the nearest and lists all.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|toy| toy.name() == name)
            .ok_or_else(|| Error::Config(nearest::unknown("toy data set", name, Self::ALL.map(Self::name))))
    }

    /// Point `index` of `key`. It takes two blocks of the generator: one of uniform and one of normal numbers.
    pub fn point(self, key: Key, index: u32) -> [f32; 2] {
        let [u, v, w, _] = key.uniform_block(2 * index);
        let [n, m, ..] = key.normal_block(2 * index + 1);
        let [x, y] = match self {
            Self::EightGaussians => {
                let [x, y] = circle(4.0, (8.0 * u).floor() / 8.0);
                [(x + 0.5 * n) / GAUSSIANS_SCALE, (y + 0.5 * m) / GAUSSIANS_SCALE]
            }
            Self::Checkerboard => {
                let a = 4.0 * u - 2.0;
                let lower = if w < 0.5 { 2.0 } else { 0.0 };
                [2.0 * a, 2.0 * (v - lower + a.floor().rem_euclid(2.0))]
            }
            Self::TwoSpirals => {
                // The arm is the uniform number's first bit, the place on it the rest.
                let (sign, place) = if u < 0.5 { (1.0, 2.0 * u) } else { (-1.0, 2.0 * u - 1.0) };
                let t = 3.0 * PI * place.sqrt();
                let (x, y) = (-t * t.cos() + 0.5 * v, t * t.sin() + 0.5 * w);
                [sign * x / 3.0 + 0.1 * n, sign * y / 3.0 + 0.1 * m]
            }
            Self::Moons => {
                let (sin, cos) = (PI * v).sin_cos();
                let [x, y] = if u < 0.5 { [cos, sin] } else { [1.0 - cos, 0.5 - sin] };
                [2.0 * (x + 0.1 * n) - 1.0, 2.0 * (y + 0.1 * m) - 0.2]
            }
            Self::Circles => on_circles(&CIRCLES.0, CIRCLES.1, [u, v], [n, m]),
            Self::Pinwheel => {
                let (a, b) = (1.0 + 0.3 * n, 0.1 * m);
                let (sin, cos) = (TAU * (5.0 * u).floor() / 5.0 + 0.25 * a.exp()).sin_cos();
                [2.0 * (a * cos + b * sin), 2.0 * (b * cos - a * sin)]
            }
            Self::SwissRoll => {
                let t = 1.5 * PI * (1.0 + 2.0 * u);
                [(t * t.cos() + n) / 5.0, (t * t.sin() + m) / 5.0]
            }
            Self::Rings => on_circles(&RINGS.0, RINGS.1, [u, v], [n, m]),
        };
        [x as f32, y as f32]
    }

    /// The first `len` points of `key`.
    #[track_caller]
    pub fn sample(self, key: Key, len: usize) -> Vec<[f32; 2]> {
        assert!(len < 1 << 31, "{}: {len} points of one key, at most 2^31 exist", self.name());
        (0..len as u32).map(|index| self.point(key, index)).collect()
    }

    /// Natural logarithm of the density at a point, −∞ where it is 0; `None` for the sets without a closed form.
    pub fn log_density(self, [x, y]: [f64; 2]) -> Option<f64> {
        match self {
            Self::EightGaussians => {
                let variance = GAUSSIANS_STD * GAUSSIANS_STD;
                let exponents: [f64; 8] = std::array::from_fn(|k| {
                    let [a, b] = circle(GAUSSIANS_RADIUS, k as f64 / 8.0);
                    -((x - a).powi(2) + (y - b).powi(2)) / (2.0 * variance)
                });
                Some(log_sum_exp(&exponents) - (8.0 * TAU * variance).ln())
            }
            Self::Checkerboard => {
                let (a, b) = ((x / 2.0).floor(), (y / 2.0).floor());
                let inside = [a, b].iter().all(|cell| (-2.0..2.0).contains(cell)) && (a + b).rem_euclid(2.0) == 0.0;
                Some(if inside { -CHECKERBOARD_AREA.ln() } else { f64::NEG_INFINITY })
            }
            Self::Circles => Some(circles_log_density(&CIRCLES.0, CIRCLES.1, x.hypot(y))),
            Self::Rings => Some(circles_log_density(&RINGS.0, RINGS.1, x.hypot(y))),
            Self::TwoSpirals | Self::Moons | Self::Pinwheel | Self::SwissRoll => None,
        }
    }

    /// ∫ p ln p in nats: the mean log-density that no model can exceed. `None` where it is not known.
    pub fn negative_entropy(self) -> Option<f64> {
        match self {
            Self::EightGaussians => Some(GAUSSIANS_NEGATIVE_ENTROPY),
            Self::Checkerboard => Some(-CHECKERBOARD_AREA.ln()),
            _ => None,
        }
    }
}

/// Eight cells of 2×2.
const CHECKERBOARD_AREA: f64 = 32.0;

/// The first `len` points that `key` gives of the set `name`.
pub fn sample(name: &str, key: Key, len: usize) -> Result<Vec<[f32; 2]>> {
    Ok(Toy::parse(name)?.sample(key, len))
}

/// [`Toy::log_density`] of the set `name`; `None` also for an unknown name.
pub fn log_density(name: &str, point: [f64; 2]) -> Option<f64> {
    Toy::parse(name).ok()?.log_density(point)
}

/// [`Toy::negative_entropy`] of the data set `toy:NAME`; `None` also for any other data set.
pub fn negative_entropy(data_set: &str) -> Option<f64> {
    Toy::parse(data_set.strip_prefix("toy:")?).ok()?.negative_entropy()
}

/// The point at `turns` of a whole turn on a circle.
fn circle(radius: f64, turns: f64) -> [f64; 2] {
    let (sin, cos) = (TAU * turns).sin_cos();
    [radius * cos, radius * sin]
}

fn on_circles(radii: &[f64], std: f64, [u, v]: [f64; 2], [n, m]: [f64; 2]) -> [f64; 2] {
    let [x, y] = circle(radii[(radii.len() as f64 * u) as usize], v);
    [x + std * n, y + std * m]
}

/// Log-density at distance `r` from the common centre: a circle of radius R blurred by a normal distribution has the
/// density exp(−(r² + R²) / 2σ²) I₀(r R / σ²) / 2πσ².
fn circles_log_density(radii: &[f64], std: f64, r: f64) -> f64 {
    let variance = std * std;
    let log = |radius: &f64| {
        // I₀(z) = e^z · scaled(z), and the exponents join to −(r − R)² / 2σ².
        -(r - radius).powi(2) / (2.0 * variance) + scaled_bessel_i0(r * radius / variance).ln()
    };
    let terms: Vec<f64> = radii.iter().map(log).collect();
    log_sum_exp(&terms) - (radii.len() as f64 * TAU * variance).ln()
}

/// e^(−z) I₀(z), z ≥ 0, from the integral of e^(z (cos a − 1)) over half a turn: the trapezoidal rule converges faster
/// than any power because the integrand is periodic and smooth. The number of points follows the width of its peak.
fn scaled_bessel_i0(z: f64) -> f64 {
    let points = 16 + (8.0 * z.sqrt()) as u32;
    let term = |k: u32| (z * ((PI * f64::from(k) / f64::from(points)).cos() - 1.0)).exp();
    let ends = 0.5 * (term(0) + term(points));
    (ends + (1..points).map(term).sum::<f64>()) / f64::from(points)
}

fn log_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { seed: 11, step: 0, stream: crate::random::stream::TOY };
    const POINTS: usize = 100_000;
    const STANDARD_ERRORS: f64 = 5.0;

    /// ∫ f over [−`side`, `side`]² by the trapezoidal rule with step `h`; f is 0 at the border.
    fn integrate(side: f64, h: f64, f: impl Fn([f64; 2]) -> f64) -> f64 {
        let n = (side / h).round() as i32;
        let rows = (-n..=n).map(|i| (-n..=n).map(|j| f([f64::from(i) * h, f64::from(j) * h])).sum::<f64>());
        rows.sum::<f64>() * h * h
    }

    #[test]
    fn the_known_densities_integrate_to_one() {
        // The error of the trapezoidal rule for a normal density is about exp(−2π² σ²/h²).
        let total = integrate(6.0, 0.1, |point| Toy::EightGaussians.log_density(point).unwrap().exp());
        assert!((total - 1.0).abs() < 1e-9, "8gaussians: {total}");
        // These depend on the distance from the centre only.
        for toy in [Toy::Circles, Toy::Rings] {
            let h = 0.01;
            let ring = |k: i32| {
                let r = (f64::from(k) + 0.5) * h;
                TAU * r * h * toy.log_density([r, 0.0]).unwrap().exp()
            };
            let total: f64 = (0..600).map(ring).sum();
            assert!((total - 1.0).abs() < 1e-4, "{}: {total}", toy.name());
        }
        // Cells are whole squares; points in the middle of small squares count each cell exactly.
        let middle =
            integrate(5.0, 0.25, |[x, y]| Toy::Checkerboard.log_density([x + 0.125, y + 0.125]).unwrap().exp());
        assert!((middle - 1.0).abs() < 1e-12, "{middle}");
    }

    #[test]
    fn the_entropy_of_eight_gaussians_is_the_integral() {
        let integrand = |point| {
            let log = Toy::EightGaussians.log_density(point).unwrap();
            log.exp() * log
        };
        let integral = integrate(6.0, 0.1, integrand);
        assert!((integral - GAUSSIANS_NEGATIVE_ENTROPY).abs() < 1e-7, "{integral:.9}");
    }

    #[test]
    fn points_follow_the_known_densities() {
        // The mean log-density of the points is an estimate of ∫ p ln p.
        for toy in [Toy::EightGaussians, Toy::Checkerboard] {
            let logs: Vec<f64> = toy
                .sample(KEY, POINTS)
                .into_iter()
                .map(|point| toy.log_density(point.map(f64::from)).unwrap())
                .collect();
            let mean = logs.iter().sum::<f64>() / POINTS as f64;
            let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / POINTS as f64;
            let bound = STANDARD_ERRORS * (variance / POINTS as f64).sqrt() + 1e-9;
            let expected = toy.negative_entropy().unwrap();
            assert!((mean - expected).abs() < bound, "{}: {mean}, expected {expected} ± {bound}", toy.name());
        }
    }

    /// Share of points within the square of side 2h about `centre` against the integral of the density.
    #[test]
    fn circles_and_rings_have_the_right_share_in_a_window() {
        for (toy, [a, b], half) in [(Toy::Circles, [2.0, 1.0], 0.8), (Toy::Rings, [1.0, -1.0], 0.6)] {
            let steps = 60;
            let h = 2.0 * half / f64::from(steps);
            let cell = |i: i32| (f64::from(i) + 0.5) * h - half;
            let share: f64 = (0..steps * steps)
                .map(|k| toy.log_density([a + cell(k / steps), b + cell(k % steps)]).unwrap().exp() * h * h)
                .sum();
            let inside =
                |point: &[f32; 2]| (f64::from(point[0]) - a).abs() < half && (f64::from(point[1]) - b).abs() < half;
            let found = toy.sample(KEY, POINTS).iter().filter(|point| inside(point)).count() as f64 / POINTS as f64;
            let bound = STANDARD_ERRORS * (share * (1.0 - share) / POINTS as f64).sqrt() + 1e-4;
            assert!((found - share).abs() < bound, "{}: {found}, expected {share} ± {bound}", toy.name());
        }
    }

    #[test]
    fn eight_gaussians_have_their_published_radius_and_spread() {
        let points = Toy::EightGaussians.sample(KEY, POINTS);
        let mean_square = points.iter().map(|[x, y]| f64::from(x * x + y * y)).sum::<f64>() / POINTS as f64;
        // E|x|² = R² + 2σ² = (16 + ½) / 1.414².
        assert!((mean_square - 16.5 / (1.414 * 1.414)).abs() < 0.05, "{mean_square}");
        // Each eighth of a turn about a centre holds an eighth of the points.
        let mut sectors = [0_u32; 8];
        for [x, y] in points {
            let turns = f64::from(y).atan2(f64::from(x)) / TAU;
            sectors[(8.0 * turns).round().rem_euclid(8.0) as usize] += 1;
        }
        let expected = POINTS as f64 / 8.0;
        for (sector, count) in sectors.into_iter().enumerate() {
            assert!((f64::from(count) - expected).abs() < STANDARD_ERRORS * expected.sqrt(), "{sector}: {count}");
        }
    }

    /// Mean and mean square of each coordinate, by midpoint quadrature of the published formulas (independent of `point`).
    #[test]
    fn sets_without_a_density_have_the_moments_of_their_formulas() {
        // moons: x of the upper arc has mean 0, of the lower 1: 2·½ − 1 = 0; y: 2·(2/π + ½ − 2/π)/2 − 0.2 = 0.3.
        // 2spirals and pinwheel are symmetric: 0 (the pinwheel's five arms cancel).
        // swissroll: E[t cos t]/5 and E[t sin t]/5 for t uniform on [1.5π, 4.5π], which are
        // [t sin t + cos t] and [sin t − t cos t] between the ends over 3π: 6π/3π = 2 and 2/3π.
        let expected = [
            (Toy::Moons, [0.0, 0.3]),
            (Toy::TwoSpirals, [0.0, 0.0]),
            (Toy::Pinwheel, [0.0, 0.0]),
            (Toy::SwissRoll, [2.0 / 5.0, 2.0 / (3.0 * PI) / 5.0]),
        ];
        for (toy, means) in expected {
            let points = toy.sample(KEY, POINTS);
            for axis in 0..2 {
                let values: Vec<f64> = points.iter().map(|point| f64::from(point[axis])).collect();
                let mean = values.iter().sum::<f64>() / POINTS as f64;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / POINTS as f64;
                let bound = STANDARD_ERRORS * (variance / POINTS as f64).sqrt();
                assert!((mean - means[axis]).abs() < bound, "{} axis {axis}: {mean} ± {bound}", toy.name());
            }
        }
    }

    #[test]
    fn every_set_fits_its_usual_window() {
        for toy in Toy::ALL {
            let points = toy.sample(KEY, 10_000);
            let inside = points.iter().filter(|point| point.iter().all(|value| value.abs() <= 4.0)).count();
            assert!(inside >= 9_900, "{}: {inside} of 10000 points within [-4, 4]²", toy.name());
            assert!(points.iter().flatten().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_and_all() {
        let message = sample("checkboard", KEY, 1).unwrap_err().to_string();
        assert!(message.contains("did you mean \"checkerboard\"?"), "{message}");
        assert!(Toy::ALL.iter().all(|toy| message.contains(toy.name())), "{message}");
    }

    #[test]
    fn the_bessel_function_has_its_tabled_values() {
        // I₀(1) = 1.2660658778, I₀(10) = 2815.7166285, and the asymptotic form 1/√(2πz) (1 + 1/8z) for large z.
        let tolerance = 1e-9;
        assert!((scaled_bessel_i0(0.0) - 1.0).abs() < tolerance);
        assert!((scaled_bessel_i0(1.0) * 1.0_f64.exp() - 1.266_065_877_752_008_4).abs() < tolerance);
        assert!((scaled_bessel_i0(10.0) - 2_815.716_628_466_254 * (-10.0_f64).exp()).abs() < tolerance);
        let large = 10_000.0;
        let asymptotic = (1.0 + 1.0 / (8.0 * large)) / (TAU * large).sqrt();
        assert!((scaled_bessel_i0(large) / asymptotic - 1.0).abs() < 1e-8);
    }
}
