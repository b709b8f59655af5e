//! Figure 4 and appendix E: how far estimates of the log-determinant are off, and how much they scatter.

use super::findings::{Claim, Findings, Sheet};
use super::{Experiment, Lab, Scale, Step, Trained, Training};
use crate::config::Config;
use crate::data::Split;
use crate::data::source::Source;
use crate::error::Result;
use crate::eval::{Evaluator, ExactEvaluator, bias_bound, lipschitz_constants};
use crate::nn::LogDet;
use crate::nn::logdet::Law;
use crate::random::Distribution;
use crate::report::{Axis, Chart, Series};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "log-det-estimator",
    paper: "Figure 4 and appendix E",
    shows: "Bias and standard deviation of estimates of the log-determinant on a trained density model, against the exact \
            value, by the number of terms of the power series; and of the unbiased estimator.",
    found: "after 10 terms the bias is negligible; the standard deviation does not depend on the number of terms.",
    minutes: 8,
    trainings,
    run: |lab| Box::pin(run(lab)),
};

/// Numbers of terms of the truncated series.
const TERMS: [usize; 8] = [1, 2, 3, 4, 5, 7, 10, 20];
/// Test images whose exact log-determinant is computed.
const IMAGES: usize = 8;
/// How often each image stands in a batch, each time with a probe of its own.
const COPIES: usize = 8;
/// Batches of estimates.
const DRAWS: u32 = 16;

fn trainings(scale: Scale) -> Result<Vec<Training>> {
    // The exact value of the paper's own networks is out of reach of anyone: the small one serves at both scales.
    let mut config = Config::preset("fashion-mnist-small-density")?;
    config.data.name = "fashion-mnist-mini".into();
    config.train.epochs = if scale == Scale::Quick { 6 } else { 60 };
    Ok(vec![Training::new("density", config)])
}

/// Estimates of every image: `[image][draw]`, in nats.
type Estimates = Vec<Vec<f64>>;

async fn run(lab: &Lab) -> Step<Findings> {
    let Training { name, config, .. } = lab.trainings()?.remove(0);
    let mut trained = lab.train(&name, &config).await?;
    let source = Source::open(&config, None, Split::Test)?;
    let x = source.at(&(0..IMAGES as u32).collect::<Vec<_>>()).x.into_data();
    let of = config.to_toml();
    let exact: Vec<f64> = lab.measured("exact", &of, exact(&mut trained, &x)).await?;
    let dimensions = trained.network.model().input_len() as f64;
    let bits = 1.0 / (std::f64::consts::LN_2 * dimensions);

    let probe = Distribution::Normal;
    let mut estimators: Vec<(String, LogDet)> =
        TERMS.iter().map(|&terms| (format!("{terms}"), LogDet::Series { terms, samples: 1, probe })).collect();
    for (name, law) in [
        ("unbiased, geometric", Law::Geometric { probability: 0.5 }),
        ("unbiased, Poisson", Law::Poisson { rate: 2.0 }),
    ] {
        estimators.push((name.into(), LogDet::Unbiased { law, exact_terms: 2, samples: 1, probe }));
    }
    let columns = [
        "terms",
        "bias",
        "standard error of it",
        "difference from 20 terms",
        "bound of the bias",
        "standard deviation",
    ];
    let mut sheet = Sheet::new("estimates", "In bits per dimension, over images and draws", columns);
    let constants = lipschitz_constants(&trained.network).await?;
    let mut found = Vec::new();
    for (name, log_det) in estimators {
        let key = format!("estimates-{}", name.replace(", ", "-"));
        let estimates: Estimates = lab.measured(&key, &of, estimates(&mut trained, &x, log_det.clone())).await?;
        let (bias, scatter) = statistics(&estimates, &exact);
        let count = (IMAGES * COPIES * DRAWS as usize) as f64;
        let terms = name.parse::<usize>().ok();
        let bound = terms.map(|terms| bias_bound(trained.network.model(), &constants, terms));
        found.push((name, terms, bias * bits, scatter * bits, scatter * bits / count.sqrt(), bound));
    }
    let longest = found[TERMS.len() - 1].2;
    for (name, terms, bias, scatter, error, bound) in &found {
        let difference = terms.map(|_| bias - longest);
        sheet.push([
            name.as_str().into(),
            (*bias).into(),
            (*error).into(),
            difference.into(),
            (*bound).into(),
            (*scatter).into(),
        ]);
    }
    findings(&found, sheet)
}

type Found = (String, Option<usize>, f64, f64, f64, Option<f64>);

fn findings(found: &[Found], sheet: Sheet) -> Step<Findings> {
    let mut findings = Findings::default();
    let (series, unbiased) = found.split_at(TERMS.len());
    let longest = series[TERMS.len() - 1].2;
    let points = |value: &dyn Fn(&Found) -> f64| -> Vec<(f64, f64)> {
        series.iter().map(|one| (one.1.unwrap_or(0) as f64, value(one))).collect()
    };
    let chart = Chart::new(
        "Bias of the truncated series",
        Axis::linear("terms").whole(),
        Axis::log("size of the bias").unit("bits/dim"),
    )
    .series(Series::new("measured (difference from 20 terms)", points(&|one| (one.2 - longest).abs())))
    .series(Series::new("bound by certified Lipschitz constants", points(&|one| one.5.unwrap_or(f64::NAN))))
    .series(Series::new("standard error of the mean", points(&|one| one.4)));
    findings.chart(
        "bias",
        chart,
        "The bias falls with every term; probes are the same for all numbers of terms, so that differences are sharper than \
         the standard error.",
    );
    // From zero: it is a little wave that should not look like much.
    let most = found.iter().map(|one| one.3).fold(f64::MIN_POSITIVE, f64::max);
    let chart = Chart::new(
        "Standard deviation of one estimate",
        Axis::linear("terms").whole(),
        Axis::linear("standard deviation").unit("bits/dim").range(0.0, 1.2 * most),
    )
    .series(Series::new("truncated series", points(&|one| one.3)));
    findings.chart("deviation", chart, "How much an estimate with one probe scatters.");
    findings.sheet(sheet);

    let biases: Vec<f64> = series[..TERMS.len() - 1].iter().map(|one| (one.2 - longest).abs()).collect();
    let list: Vec<String> = biases.iter().map(|bias| format!("{bias:.1e}")).collect();
    // f32 sums of this length differ by about so much.
    let noise = 1e-6;
    let falls = biases.windows(2).all(|pair| pair[1] <= pair[0] + noise);
    findings.claim(Claim::new("the truncated series' bias falls with the terms", falls, list.join(", ")));
    let ten = TERMS.iter().position(|&terms| terms == 10).expect("one of them");
    let (bias, error) = (biases[ten], series[ten].4);
    let text = "with 10 terms the bias is below what probes can tell";
    findings.claim(Claim::new(text, bias < error, format!("{bias:.1e}, standard error {error:.1e} bits/dim")));
    let (last, error) = (series[TERMS.len() - 1].2, series[TERMS.len() - 1].4);
    let text = "with 20 terms the mean is the exact value, up to three standard errors";
    let seen = format!("off by {last:.1e}, standard error {error:.1e} bits/dim");
    findings.claim(Claim::new(text, last.abs() <= 3.0 * error, seen));
    let within = series.iter().all(|one| one.5.is_none_or(|bound| (one.2 - longest).abs() <= bound + 3.0 * one.4));
    findings.claim(Claim::new("the bias lies within its bound", within, "for every number of terms"));
    for one in unbiased {
        let text = format!("{}: the mean is the exact value, up to three standard errors", one.0);
        let seen = format!("off by {:.1e}, standard error {:.1e} bits/dim", one.2, one.4);
        findings.claim(Claim::new(text, one.2.abs() <= 3.0 * one.4, seen));
    }
    let (two, twenty) = (series[1].3, series[TERMS.len() - 1].3);
    let text = "the standard deviation does not depend on the terms, from two on (to 10 %)";
    let seen = format!("{two:.4} with 2 terms, {twenty:.4} with 20");
    findings.claim(Claim::new(text, (two / twenty - 1.0).abs() < 0.1, seen));
    Ok(findings)
}

/// Mean deviation from the exact values, and the root of the mean variance of single estimates.
fn statistics(estimates: &Estimates, exact: &[f64]) -> (f64, f64) {
    let mut bias = 0.0;
    let mut variance = 0.0;
    for (draws, exact) in estimates.iter().zip(exact) {
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        bias += mean - exact;
        variance += draws.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (draws.len() - 1) as f64;
    }
    let count = exact.len() as f64;
    (bias / count, (variance / count).sqrt())
}

async fn exact(trained: &mut Trained, x: &[f32]) -> Step<Vec<f64>> {
    let evaluator = ExactEvaluator::new(&mut trained.network, IMAGES).await?;
    let found = evaluator.run(&mut trained.network, x, IMAGES).await?;
    Ok(found.into_iter().map(|[_, log_det]| log_det).collect())
}

async fn estimates(trained: &mut Trained, x: &[f32], log_det: LogDet) -> Step<Estimates> {
    let batch = IMAGES * COPIES;
    let copies = x.repeat(COPIES);
    let seed = trained.config.train.seed;
    let evaluator = Evaluator::new(&mut trained.network, batch, Some(log_det)).await?;
    let mut estimates = vec![Vec::new(); IMAGES];
    for draw in 0..DRAWS {
        evaluator.run(&copies, &[], seed, draw);
        for (index, value) in evaluator.read("log_det").await?.into_iter().enumerate() {
            estimates[index % IMAGES].push(f64::from(value));
        }
    }
    Ok(estimates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bias_and_scatter_of_known_numbers() {
        let (bias, scatter) = statistics(&vec![vec![1.0, 3.0], vec![5.0, 5.0]], &[1.0, 5.0]);
        assert!((bias - 0.5).abs() < 1e-12 && (scatter - 1.0).abs() < 1e-12, "{bias} {scatter}");
    }
}
