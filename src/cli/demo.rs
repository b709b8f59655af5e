//! `iresnet demo`.

use std::path::PathBuf;
use std::time::Instant;

use super::{Outcome, model, output};
use crate::config::Config;
use crate::data::source::Source;
use crate::data::{Split, toy};
use crate::error::{Error, Result};
use crate::eval::{Evaluator, Inverter, PlaneDensity, largest_difference};
use crate::gpu::block_on;
use crate::network::Network;
use crate::nn::{Solver, Stop};
use crate::picture::{Picture, save_rgb};
use crate::report::density::EXTENT;
use crate::report::{Axis, Chart, DensityPanels, ImageGrid, Metrics, Report, Section, Series, Table, brief, grid};
use crate::run::{self, Options};

const EXAMPLES: &str = "\
Examples:
  iresnet demo                     everything goes to runs/demo
  iresnet demo --out /tmp/demo";

/// Train a small model on built-in data and write a report with pictures.
///
/// Needs no data and no network: the images are part of the program.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder for everything it writes; ends with report.html.
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,

    /// Adapter, as `iresnet adapters` names it. By default the best one.
    #[arg(long, value_name = "ID")]
    pub adapter: Option<String>,
}

/// Runs the demonstration.
///
/// # Errors
/// Of adapter and device; [`Error::Io`] where the folder cannot be written.
pub fn run(args: &Args) -> Result<Outcome> {
    std::fs::create_dir_all(&args.out).map_err(|source| Error::Io { path: args.out.clone(), source })?;
    block_on(Demo { args, started: Instant::now() }.go())
}

/// How samples are drawn: well below one grey level of 1/256.
const STOP: Stop = Stop { solver: Solver::Picard, tolerance: 1e-5, limit: 100 };

/// The parts of the demonstration: name of the folder, preset, and what is changed so that it takes minutes.
const PARTS: [Part; 4] = [
    Part {
        name: "classifier",
        preset: "fashion-mnist-small",
        set: &[
            ("data.name", "fashion-mnist-mini"),
            ("data.batch", "50"),
            ("train.epochs", "6"),
            ("train.init_batch", "500"),
        ],
    },
    Part {
        name: "unconstrained",
        preset: "fashion-mnist-small",
        set: &[
            ("data.name", "fashion-mnist-mini"),
            ("data.batch", "50"),
            ("train.epochs", "6"),
            ("train.init_batch", "500"),
            ("model.coefficient", "none"),
        ],
    },
    Part {
        name: "density",
        preset: "fashion-mnist-small-density",
        set: &[
            ("data.name", "fashion-mnist-mini"),
            ("data.batch", "50"),
            ("train.epochs", "4"),
            ("train.init_batch", "500"),
        ],
    },
    Part { name: "toy", preset: "toy-8gaussians", set: &[("train.epochs", "8")] },
];

struct Part {
    name: &'static str,
    preset: &'static str,
    set: &'static [(&'static str, &'static str)],
}

/// A trained part.
struct Trained {
    folder: PathBuf,
    config: Config,
    network: Network,
}

struct Demo<'a> {
    args: &'a Args,
    started: Instant,
}

/// How many test images are rebuilt.
const IMAGES: usize = 8;
/// After how many iterations of each block the reconstructions are shown.
const ITERATIONS: [u32; 6] = [1, 2, 5, 10, 20, 100];
/// Garments drawn.
const GARMENTS: usize = 64;
/// Points along each side of the map of a density.
const SIDE: usize = 128;
/// Points drawn from data and model.
const POINTS: usize = 4096;

impl Demo<'_> {
    async fn go(&self) -> Result<Outcome> {
        let mut trained = Vec::new();
        for (number, part) in PARTS.iter().enumerate() {
            output::note(&format!("[{}/{}] training {}", number + 1, PARTS.len(), part.name));
            match self.train(part).await? {
                Ok(part) => trained.push(part),
                Err(interrupted) => return Ok(interrupted),
            }
        }
        let [mut classifier, mut twin, mut density, mut toy]: [Trained; 4] =
            trained.try_into().unwrap_or_else(|_| unreachable!("one of each part"));
        output::note("rebuilding images, drawing samples");
        let mut report = Report::new("Invertible residual networks on this machine").lead(&format!(
            "Four small networks, trained just now by WGSL compute shaders on {}. The first classifies Fashion-MNIST and can \
             be run backwards; the second is its twin without the Lipschitz constraint; the third models the density of \
             images, the fourth that of points in the plane.",
            classifier.network.gpu().info()
        ));
        report = report.section(self.learning(&classifier, &twin, &density)?);
        let (section, figures) = self.inversion(&mut classifier, &mut twin).await?;
        for (label, value) in figures {
            report = report.key_figure(label, value);
        }
        report = report.section(section);
        let (section, figure) = self.plane(&mut toy).await?;
        report = report.key_figure("Integral of the learned density", figure).section(section);
        report = report.section(self.garments(&mut density).await?);
        report = report.key_figure("Seconds in all", format!("{:.0}", self.started.elapsed().as_secs_f64()));
        let configurations = [&classifier, &twin, &density, &toy]
            .map(|part| format!("# {}\n{}", part.folder.display(), part.config.to_toml()));
        let path = report.configuration(configurations.join("\n")).write(&self.args.out)?;
        output::print(&format!("{}", path.display()));
        Ok(Outcome::Done)
    }

    /// Trains a part, or finds it trained. `Err` if interrupted.
    async fn train(&self, part: &Part) -> Result<std::result::Result<Trained, Outcome>> {
        let mut config = Config::preset(part.preset)?;
        for (key, value) in part.set {
            config.set(key, value)?;
        }
        let path = self.args.out.join(part.name);
        let adapters = self.args.adapter.iter().cloned().collect();
        let options = Options { adapters, ..Options::new(config, &path) };
        let outcome = run::complete(options).await?;
        if outcome != Outcome::Done {
            return Ok(Err(outcome));
        }
        let model = path.join(run::MODEL);
        let (network, config) = model::open(&model, self.args.adapter.as_deref()).await?;
        Ok(Ok(Trained { folder: path, config, network }))
    }

    fn learning(&self, classifier: &Trained, twin: &Trained, density: &Trained) -> Result<Section> {
        let metrics = |part: &Trained| Metrics::read(&part.folder.join("metrics.jsonl"));
        let (constrained, unconstrained, images) = (metrics(classifier)?, metrics(twin)?, metrics(density)?);
        let steps = || Axis::linear("training step").whole();
        let losses = Chart::new("Loss of the classifiers", steps(), Axis::linear("cross-entropy").unit("nats"))
            .series(Series::new("c = 0.9", constrained.training("loss")).smoothed(15.0))
            .series(Series::new("unconstrained", unconstrained.training("loss")).smoothed(15.0));
        let accuracy = Chart::new("Accuracy on 500 test images", steps(), Axis::linear("accuracy").range(0.0, 1.0))
            .series(Series::new("c = 0.9", constrained.evaluation("test", "accuracy")))
            .series(Series::new("unconstrained", unconstrained.evaluation("test", "accuracy")));
        let bits =
            Chart::new("Density model of images", steps(), Axis::linear("negative log-likelihood").unit("bits/dim"))
                .series(Series::new("training", images.training("loss")).smoothed(15.0))
                .series(Series::new("test", images.evaluation("test", "bits_per_dim")));
        for (chart, stem) in [(&losses, "loss"), (&accuracy, "accuracy"), (&bits, "bits-per-dim")] {
            chart.write(&self.args.out, stem)?;
        }
        Ok(Section::new("Learning")
            .prose(
                "2,000 training images of Fashion-MNIST come with the program; real runs use all 60,000 \
                 (`iresnet train --preset fashion-mnist-small`).",
            )
            .chart(&losses, "Training loss of the classifier and of its twin without spectral normalisation.")
            .chart(&accuracy, "Accuracy after each epoch.")
            .chart(&bits, "Bits per dimension of the density model; 8 would be a uniform guess over grey levels."))
    }

    async fn inversion(
        &self,
        classifier: &mut Trained,
        twin: &mut Trained,
    ) -> Result<(Section, Vec<(&'static str, String)>)> {
        let mut section = Section::new("Running a classifier backwards").prose(
            "Each image is sent through all blocks to its latent numbers, and back by fixed-point iteration: \
             `x ← y − F(x)`, block after block. Where every block is a contraction the error falls geometrically until \
             the rounding of 32-bit numbers is reached; where it is not, nothing need converge.",
        );
        let mut chart = Chart::new(
            "Error of the reconstruction",
            Axis::log("iterations of each block").whole(),
            Axis::log("largest error of a pixel"),
        );
        let mut figures = Vec::new();
        let mut table = Table::new("Largest error over the images shown", ["iterations", "c = 0.9", "unconstrained"]);
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for (part, name, file) in
            [(&mut *classifier, "c = 0.9", "reconstruction.png"), (&mut *twin, "unconstrained", "unconstrained.png")]
        {
            let &[c, h, w] = part.config.model.input.as_slice() else { unreachable!("both presets are of images") };
            let source = Source::open(&part.config, None, Split::Test)?;
            // One of each class, whose images come in turn.
            let indices: Vec<u32> = one_of_each(source.dataset().labels(), IMAGES);
            let x = source.at(&indices).x.into_data();
            let picture = |data: &[f32]| Picture::new([c, h, w], data.to_vec());
            let pictures = |data: &[f32]| data.chunks_exact(c * h * w).map(picture).collect::<Vec<_>>();
            let evaluator = Evaluator::new(&mut part.network, IMAGES, None).await?;
            evaluator.run(&x, &[0; IMAGES], 0, 0);
            let z = evaluator.read("z").await?;
            let mut grid = ImageGrid::new().row("original", pictures(&x));
            let mut points = Vec::new();
            for count in ITERATIONS {
                let inverter = Inverter::new(&mut part.network, IMAGES, Stop::after(count)).await?;
                let back = inverter.invert(&z).await?;
                let pairs = x.chunks_exact(c * h * w).zip(back.x.chunks_exact(c * h * w));
                let errors: Vec<f64> = pairs.map(|(a, b)| f64::from(largest_difference(a, b))).collect();
                let captions = errors.iter().map(|&error| brief(error)).collect();
                let label = format!("{count} iteration{}", if count == 1 { "" } else { "s" });
                grid = grid.captioned_row(label, pictures(&back.x), captions);
                points.push((f64::from(count), errors.into_iter().fold(0.0, f64::max)));
            }
            columns.push(points.iter().map(|&(_, error)| error).collect());
            let last = points.last().map_or(f64::NAN, |&(_, error)| error);
            figures.push((
                if name == "c = 0.9" { "Largest error, c = 0.9" } else { "Largest error, unconstrained" },
                brief(last),
            ));
            chart = chart.series(Series::new(name, points));
            grid.write(&self.args.out.join(file))?;
            let caption = format!("{name}: test images and what comes back; below each its largest error.");
            section = section.grid(file, &grid, &caption, &caption);
        }
        for (row, count) in ITERATIONS.iter().enumerate() {
            table = table.row([count.to_string(), brief(columns[0][row]), brief(columns[1][row])]);
        }
        chart.write(&self.args.out, "inversion")?;
        let caption = "Largest error of any pixel of the images above against the number of iterations.";
        Ok((section.chart(&chart, caption).table(&table), figures))
    }

    async fn plane(&self, toy: &mut Trained) -> Result<(Section, String)> {
        let density = PlaneDensity::of(&mut toy.network, EXTENT, SIDE).await?;
        let integral = density.integral();
        let sampler = Inverter::sampler(&mut toy.network, POINTS, STOP).await?;
        let points = |data: &[f32]| data.chunks_exact(2).map(|p| [p[0], p[1]]).collect::<Vec<_>>();
        let samples = points(&sampler.sample(0, 0, 1.0).await?.x);
        let source = Source::open(&toy.config, None, Split::Test)?;
        let data = points(source.at(&(0..POINTS as u32).collect::<Vec<_>>()).x.data());
        let panels = DensityPanels::new()
            .histogram("data", &data)
            .heat_map("learned density", SIDE, density.values)
            .histogram("samples", &samples);
        let file = "densities.png";
        panels.write(&self.args.out.join(file))?;
        let log_det = toy.network.model().training_log_det();
        let evaluator = Evaluator::new(&mut toy.network, POINTS, log_det).await?;
        let summary = evaluator.summarize(source.once(POINTS), 0).await?;
        let entropy = toy::negative_entropy(&toy.config.data.name);
        let caption = "Points of the data, the density that the network learned, and points drawn from it.";
        let section = Section::new("A density in the plane")
            .prose(&format!(
                "The exact log-determinant gives the density itself. Mean log-likelihood of test points: {:.3} nats{}. The \
                 density integrates to {integral:.4} over the square shown.",
                -summary.loss,
                entropy.map_or(String::new(), |best| format!("; no model can exceed {best:.3}")),
            ))
            .densities(file, &panels, caption, caption);
        Ok((section, format!("{integral:.4}")))
    }

    async fn garments(&self, density: &mut Trained) -> Result<Section> {
        let &[c, h, w] = density.config.model.input.as_slice() else { unreachable!("the preset is of images") };
        let sampler = Inverter::sampler(&mut density.network, GARMENTS, STOP).await?;
        let drawn = sampler.sample(0, 0, 0.8).await?;
        let pictures: Vec<Picture> =
            drawn.x.chunks_exact(c * h * w).map(|image| Picture::new([c, h, w], image.to_vec())).collect();
        let image = grid::samples(&pictures, 16, Some(2));
        let file = "garments.png";
        save_rgb(&self.args.out.join(file), &image)?;
        let caption =
            "Images drawn from the density model at temperature 0.8: noise, sent backwards through the network.";
        Ok(Section::new("Garments that do not exist")
            .prose(
                "Minutes of training on 2,000 images give shapes and shades, no fashion; `iresnet train --preset \
                 fashion-mnist-small-density` goes further.",
            )
            .image(file, image, caption, caption))
    }
}

/// The index of the first sample of each class, then of the second, until there are `count`.
fn one_of_each(labels: &[u32], count: usize) -> Vec<u32> {
    let mut order: Vec<(usize, u32, u32)> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    for (index, &label) in labels.iter().enumerate() {
        let turn = seen.entry(label).or_insert(0usize);
        order.push((*turn, label, index as u32));
        *turn += 1;
    }
    order.sort_unstable();
    order.into_iter().take(count).map(|(_, _, index)| index).collect()
}
