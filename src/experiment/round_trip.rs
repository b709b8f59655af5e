//! How well a trained network gives back what it encoded.
//!
//! The inverse of a Glow is a formula, and yet its error is that of the latent numbers' rounding times what the inverse
//! stretches them by, which nothing bounds: couplings may become as steep as training likes, up to losing their inverse
//! in floating point (Behrmann et al., *Understanding and Mitigating Exploding Inverses in Invertible Neural Networks*,
//! 2021). The inverse of an i-ResNet stretches by at most (1 - c)^-1 a block.

use serde::{Deserialize, Serialize};

use super::findings::{Cell, Claim, Findings, Sheet};
use super::{Step, Trained, median};
use crate::cli::images::Form;
use crate::config::{Architecture, Config, Kind};
use crate::data::Split;
use crate::data::source::Source;
use crate::eval::{Evaluator, Inverter, largest_difference};
use crate::nn::{Solver, Stop};

/// Blocks without a formula are inverted until nothing changes any more, or so many iterations.
const STOP: Stop = Stop { solver: Solver::Anderson, tolerance: 0.0, limit: 100 };
/// What counts as given back: far below a grey level, and a ten-thousandth of what the eye sees in the plane.
pub const FAITHFUL: f64 = 1e-5;
/// Headings of [`RoundTrip::cells`].
const COLUMNS: [&str; 4] =
    ["error there and back, median", "root mean square", "largest", "samples at or above 1e-5, %"];

/// Round trips of all networks of an experiment: a table, and what i-ResNets and Glows do.
pub struct RoundTrips {
    sheet: Sheet,
    iresnets: RoundTrip,
    glows: RoundTrip,
}

impl RoundTrips {
    /// None yet of what `samples` says; `names` are the headings of what tells networks apart.
    pub fn new(samples: &str, names: &[&str]) -> Self {
        let caption = format!(
            "{samples}; nothing bounds what the inverse of a Glow stretches the rounding of latent numbers by (Behrmann et al., \
             Understanding and Mitigating Exploding Inverses, 2021), that of an i-ResNet by at most 1 / (1 - c) a block"
        );
        let none = RoundTrip { errors: Vec::new() };
        let sheet = Sheet::new("there-and-back", caption, [names, &COLUMNS].concat());
        Self { sheet, iresnets: none.clone(), glows: none }
    }

    /// Adds that of a network.
    pub fn push(&mut self, names: impl IntoIterator<Item = Cell>, config: &Config, trip: &RoundTrip) {
        self.sheet.push(names.into_iter().chain(trip.cells()));
        let glow = config.model.architecture == Architecture::Glow;
        let all = if glow { &mut self.glows } else { &mut self.iresnets };
        all.errors.extend(&trip.errors);
    }

    /// Tells of them.
    pub fn report(self, findings: &mut Findings) {
        findings.sheet(self.sheet);
        findings.claim(self.iresnets.claim("the i-ResNets"));
        findings.claim(self.glows.claim("the Glows"));
    }
}

/// Errors of samples after there and back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Of each sample, the largest error of any of its numbers: of an image's pixels, of the range from black to white; of a
    /// point's coordinates, in their units. None where it is without bound.
    errors: Vec<Option<f64>>,
}

impl RoundTrip {
    /// Sends the first `count` test samples there and back.
    pub async fn of(trained: &mut Trained, count: usize) -> Step<Self> {
        let (x, z) = encoded(trained, count).await?;
        let back = Inverter::new(&mut trained.network, count, STOP).await?.invert(&z).await?.x;
        if trained.config.model.kind != Kind::Toy {
            return Ok(Self { errors: errors_of(Form::of(&trained.config, &trained.folder)?, &x, &back) });
        }
        let size = x.len() / count;
        let pairs = x.chunks_exact(size).zip(back.chunks_exact(size));
        Ok(Self { errors: pairs.map(|(x, back)| bounded(largest_difference(x, back).into())).collect() })
    }

    /// The error in the median; none where it is without bound.
    fn median(&self) -> Option<f64> {
        bounded(median(&self.infinite()))
    }

    /// The root mean square of the samples' errors; none where one is without bound.
    fn root_mean_square(&self) -> Option<f64> {
        let squares: f64 = self.infinite().iter().map(|error| error * error).sum();
        bounded((squares / self.errors.len() as f64).sqrt())
    }

    /// The largest error; none where one is without bound.
    fn largest(&self) -> Option<f64> {
        largest(&self.errors)
    }

    /// How many percent of the samples are not [given back](FAITHFUL).
    fn lost(&self) -> f64 {
        let lost = self.infinite().into_iter().filter(|&error| error >= FAITHFUL).count();
        100.0 * lost as f64 / self.errors.len() as f64
    }

    /// What stands below [`COLUMNS`].
    fn cells(&self) -> [Cell; COLUMNS.len()] {
        [finite(self.median()), finite(self.root_mean_square()), finite(self.largest()), self.lost().into()]
    }

    /// That `who` give their samples back, judged by the root mean square; single samples may lie where the inverse stretches
    /// by so much that the rounding of their latent numbers alone moves them further.
    fn claim(&self, who: &str) -> Claim {
        let text = format!(
            "{who} give {} test samples back to below {FAITHFUL:.0e} (root mean square of the samples' errors)",
            self.errors.len()
        );
        let [typical, most] = [self.root_mean_square(), self.largest()];
        let seen = format!("{}, {} at most, {:.1} % above", in_words(typical), in_words(most), self.lost());
        Claim::new(text, typical.is_some_and(|error| error < FAITHFUL), seen)
    }

    fn infinite(&self) -> Vec<f64> {
        self.errors.iter().map(|error| error.unwrap_or(f64::INFINITY)).collect()
    }
}

/// The first `count` test samples of a network, and what it encodes them as.
pub async fn encoded(trained: &mut Trained, count: usize) -> Step<(Vec<f32>, Vec<f32>)> {
    let source = Source::open(&trained.config, None, Split::Test)?;
    let x = source.at(&(0..count as u32).collect::<Vec<_>>()).x.into_data();
    let evaluator = Evaluator::new(&mut trained.network, count, None).await?;
    evaluator.run(&x, &vec![0; count], 0, 0);
    let z = evaluator.read("z").await?;
    Ok((x, z))
}

/// The largest error of a pixel in each image, of the range from black to white; none where it is without bound.
pub fn errors_of(form: Form, x: &[f32], back: &[f32]) -> Vec<Option<f64>> {
    let pairs = form.pictures(x).into_iter().zip(form.pictures(back));
    pairs.map(|(x, back)| bounded(largest_difference(x.data(), back.data()).into())).collect()
}

/// An error, unless it has grown out of the numbers.
pub fn bounded(error: f64) -> Option<f64> {
    error.is_finite().then_some(error)
}

/// The largest of errors; none where one is without bound.
pub fn largest(errors: &[Option<f64>]) -> Option<f64> {
    errors.iter().try_fold(0.0, |largest: f64, &error| Some(largest.max(error?)))
}

/// An error as a cell, in words where it is without bound.
pub fn finite(error: Option<f64>) -> Cell {
    error.map_or("without bound".into(), Cell::from)
}

/// An error in a sentence.
pub fn in_words(error: Option<f64>) -> String {
    error.map_or("without bound".into(), |error| format!("{error:.1e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_pixels() {
        let mut config = Config::preset("cifar10-small").unwrap();
        config.data.normalize = true;
        let form = Form::of(&config, std::path::Path::new("model")).unwrap();
        let x = vec![0.25; 2 * 3 * 32 * 32];
        let mut back = x.clone();
        // CIFAR-10's second channel has a deviation of 0.1994.
        back[32 * 32] += 0.01;
        let errors = errors_of(form, &x, &back);
        assert!((errors[0].unwrap() - 0.001_994).abs() < 1e-6 && errors[1] == Some(0.0), "{errors:?}");
        back[0] = f32::NAN;
        assert_eq!(largest(&errors_of(form, &x, &back)), None);
    }

    #[test]
    fn a_round_trip_is_judged_by_its_root_mean_square() {
        let mut found = RoundTrip { errors: vec![Some(3e-6), Some(4e-6)] };
        let squares = found.root_mean_square().unwrap();
        assert!((squares - 12.5e-12_f64.sqrt()).abs() < 1e-12, "{squares}");
        assert_eq!((found.median(), found.largest(), found.lost()), (Some(4e-6), Some(4e-6), 0.0));
        assert!(found.claim("Glows").holds);
        let glow = Config::preset("toy-8gaussians-glow").unwrap();
        let mut trips = RoundTrips::new("points", &["data"]);
        for trip in [&found, &RoundTrip { errors: vec![Some(1e-5); 2] }] {
            trips.push(["points".into()], &glow, trip);
        }
        assert_eq!((trips.iresnets.errors.len(), trips.sheet.rows.len()), (0, 2));
        let both = trips.glows;
        assert_eq!((both.errors.len(), both.largest(), both.lost()), (4, Some(1e-5), 50.0));
        assert!(both.claim("Glows").holds);
        found.errors[0] = Some(2e-5);
        assert!(!found.claim("Glows").holds);
        found.errors[1] = None;
        assert_eq!((found.root_mean_square(), found.largest(), found.lost()), (None, None, 100.0));
        assert!(!found.claim("Glows").holds);
    }
}
