//! Times iresnet and burn on the same problems, on the same adapter, in turns. See README.md.
//!
//! A problem is first computed by both and the results are compared. Then the two take turns: in each round either
//! runs the problem for a while and waits for the end, and the adapter's multiply-add peak is measured. Medians over
//! the rounds count, with the quartiles beside them. The table goes to standard error, one JSON object for each problem to
//! standard output.

mod case;
mod ours;
mod theirs;

use std::error::Error;
use std::time::Instant;

use case::{BATCH, Case};
use iresnet::gpu::{AdapterInfo, Gpu, Tuning, Yardstick, block_on};
use ours::Ours;
use theirs::Theirs;

/// Seconds that either runs in a round, at least.
const TURN: f64 = 0.1;

/// Most repetitions in a turn.
const MOST_REPEATS: f64 = 100.0;

/// Rounds, unless told.
const ROUNDS: usize = 11;

/// Largest difference between the results, relative to the largest result, at which both are said to compute the same.
/// Both sum up to 4,608 products in f32 in different orders, which gives some 1e-6; a wrong tap, bias or derivative gives
/// more than 1e-2.
const SAME: f64 = 1e-4;

fn main() -> Result<(), Box<dyn Error>> {
    let (filter, rounds) = arguments()?;
    let gpu = block_on(Gpu::open(Some("vulkan")))?;
    let info = gpu.info();
    let (device, peer_adapter) = theirs::open(info.kind);
    eprintln!("iresnet on {} ({}), {}", info.name, info.backend, info.driver);
    eprintln!("burn {} on {peer_adapter} (vulkan)", theirs::version());
    if info.name != peer_adapter {
        return Err("the two opened different adapters: name one driver in VK_DRIVER_FILES".into());
    }
    eprintln!("{:48}{:>31}{:>33}   RATIO  PEAK  DIFFERENCE", "PROBLEM", "IRESNET", "BURN");
    let mut tuning = Tuning::measured();
    let yardstick = block_on(Yardstick::new(&gpu))?;
    for case in case::all().iter().filter(|case| case.name().contains(&filter)) {
        let ours = Ours::new(&gpu, case, &mut tuning)?;
        let theirs = Theirs::new(&device, case);
        let difference = difference(&ours.results()?, &theirs.results()?)?;
        if difference > SAME {
            return Err(format!("{}: results differ by {difference:.1e} of the largest", case.name()).into());
        }
        let mut run_ours = |times| ours.run(times).map_err(Into::into);
        let mut run_theirs = |times| theirs.run(times).map_err(Into::into);
        let repeats = [repeats(&mut run_ours)?, repeats(&mut run_theirs)?];
        let (mut our_seconds, mut their_seconds, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            our_seconds.push(seconds(&mut run_ours, repeats[0])?);
            their_seconds.push(seconds(&mut run_theirs, repeats[1])?);
            peaks.push(block_on(yardstick.gflops())?);
        }
        report(case, info, &quartiles(our_seconds), &quartiles(their_seconds), quartiles(peaks)[1], difference);
    }
    Ok(())
}

/// The text that names must contain, and the number of rounds: `[FILTER] [--rounds N]`.
fn arguments() -> Result<(String, usize), Box<dyn Error>> {
    let (mut filter, mut rounds) = (String::new(), ROUNDS);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = words.next().ok_or("--rounds wants a number")?.parse::<usize>()?.max(1),
            _ if word.starts_with('-') => return Err(format!("{word}: unknown; it is [FILTER] [--rounds N]").into()),
            _ => filter = word,
        }
    }
    Ok((filter, rounds))
}

type Run<'a> = dyn FnMut(u32) -> Result<(), Box<dyn Error>> + 'a;

/// How often to run for a turn. The first run pays for whatever is put off.
fn repeats(run: &mut Run<'_>) -> Result<u32, Box<dyn Error>> {
    run(1)?;
    let once = seconds(run, 1)?;
    Ok((TURN / once).ceil().clamp(1.0, MOST_REPEATS) as u32)
}

/// Seconds of one of so many runs.
fn seconds(run: &mut Run<'_>, times: u32) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    run(times)?;
    Ok(start.elapsed().as_secs_f64() / f64::from(times))
}

/// Lower quartile, median, upper quartile.
fn quartiles(mut samples: Vec<f64>) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    let last = samples.len() - 1;
    [samples[last / 4], samples[last / 2], samples[last - last / 4]]
}

/// The largest difference relative to the largest number, over all results.
fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Result<f64, Box<dyn Error>> {
    if ours.len() != theirs.len() || ours.iter().zip(theirs).any(|(ours, theirs)| ours.len() != theirs.len()) {
        return Err("results have different shapes".into());
    }
    let of = |(ours, theirs): (&Vec<f32>, &Vec<f32>)| {
        let largest = theirs.iter().fold(0.0_f64, |largest, number| largest.max(f64::from(number.abs())));
        let pairs = ours.iter().zip(theirs);
        let apart =
            pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, |most, next| if next > most { next } else { most });
        let all_finite = ours.iter().chain(theirs).all(|number| number.is_finite());
        if all_finite && largest > 0.0 { apart / largest } else { f64::INFINITY }
    };
    Ok(ours.iter().zip(theirs).map(of).fold(0.0, f64::max))
}

fn report(case: &Case, info: &AdapterInfo, ours: &[f64; 3], theirs: &[f64; 3], peak: f64, difference: f64) {
    let gflops = |seconds: f64| case.flops() as f64 / seconds * 1e-9;
    let column = |[low, middle, high]: [f64; 3]| {
        format!("{:.2} ms [{:.2}, {:.2}] {:.1}", 1e3 * middle, 1e3 * low, 1e3 * high, gflops(middle))
    };
    let ratio = theirs[1] / ours[1];
    eprintln!(
        "{:48}{:>31}{:>33}{ratio:>7.2}×{:>6.2}{difference:>10.1e}",
        case.name(),
        column(*ours),
        column(*theirs),
        gflops(ours[1]) / peak,
    );
    let object = serde_json::json!({
        "op": case.op_name(),
        "in": case.r#in,
        "out": case.out,
        "kernel": case.kernel,
        "height": case.side,
        "width": case.side,
        "batch": BATCH,
        "adapter": info.name,
        "driver": info.driver,
        "peak_gflops": peak,
        "seconds": ours[1],
        "seconds_quartiles": [ours[0], ours[2]],
        "gflops": gflops(ours[1]),
        "peak_ratio": gflops(ours[1]) / peak,
        "peer": format!("burn {}", theirs::version()),
        "peer_seconds": theirs[1],
        "peer_seconds_quartiles": [theirs[0], theirs[2]],
        "peer_gflops": gflops(theirs[1]),
        "ratio": ratio,
        "difference": difference,
    });
    println!("{object}");
}
