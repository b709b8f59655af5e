//! Progress of long work: a bar for whoever watches, a line now and then for a log.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// How often a log gets a line.
const INTERVAL: Duration = Duration::from_secs(10);

/// All bars of this process: several may be shown at a time.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));

/// Shows how far a run of steps has come. On a terminal it is a bar; elsewhere, or with `CI` set, one line every 10
/// seconds. Both go to standard error; `NO_COLOR` takes the colour away.
pub struct Progress {
    show: Show,
    name: String,
    steps: u64,
    done: u64,
    /// Where this process began; a resumed run does not begin at zero.
    first: u64,
    start: Instant,
    /// What `step` last reported.
    text: String,
}

enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Progress {
    /// Progress of `steps` steps called `name`, of which `done` were done before.
    pub fn new(name: &str, steps: u64, done: u64) -> Self {
        let show = if output::is_interactive() {
            let bar = BARS.add(ProgressBar::new(steps));
            bar.set_style(ProgressStyle::with_template(template(output::colors())).expect("a constant that is right"));
            bar.set_prefix(name.to_owned());
            bar.set_position(done);
            bar.reset_eta();
            Show::Bar(bar)
        } else {
            Show::Lines { last: Instant::now() }
        };
        let start = Instant::now();
        Self { show, name: name.into(), steps, done, first: done, start, text: String::new() }
    }

    /// Progress that another process shows; only what is said aloud is heard.
    pub fn silent() -> Self {
        let start = Instant::now();
        Self { show: Show::Nothing, name: String::new(), steps: 0, done: 0, first: 0, start, text: String::new() }
    }

    /// Notes that `done` steps are done in all, with values such as `[("loss", 0.5), ("lr", 1e-3)]`.
    pub fn step(&mut self, done: u64, values: &[(&str, f64)]) {
        self.done = done;
        self.text = describe(values);
        let rate = self.rate();
        match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                bar.set_message(format!("{}  {rate}", self.text));
                bar.set_position(done);
            }
            Show::Lines { last } => {
                if last.elapsed() >= INTERVAL {
                    *last = Instant::now();
                    output::note(&self.line());
                }
            }
        }
    }

    /// Writes a line of text without tearing the bar.
    pub fn note(&self, text: &str) {
        match &self.show {
            Show::Bar(_) => BARS.suspend(|| output::note(text)),
            Show::Nothing | Show::Lines { .. } => output::note(text),
        }
    }

    /// Ends the display: what has been reached stays to be read.
    pub fn finish(self) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.abandon(),
            Show::Lines { .. } => output::note(&self.line()),
        }
    }

    fn steps_per_s(&self) -> f64 {
        (self.done - self.first) as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    fn rate(&self) -> String {
        match self.steps_per_s() {
            0.0 => String::new(),
            rate if rate < 1.0 => format!("{:.2} s/step", 1.0 / rate),
            rate => format!("{rate:.1} steps/s"),
        }
    }

    fn line(&self) -> String {
        let Self { name, steps, done, text, .. } = self;
        let rate = self.rate();
        let left = match self.steps_per_s() {
            0.0 => String::new(),
            rate => format!("{} left", duration((steps.saturating_sub(*done)) as f64 / rate)),
        };
        let parts = [format!("{name} {done}/{steps}"), text.clone(), rate, left];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

fn template(colors: bool) -> &'static str {
    if colors {
        "{prefix} {bar:24.cyan/dim} {pos}/{len}  {msg}  {eta} left"
    } else {
        "{prefix} {bar:24} {pos}/{len}  {msg}  {eta} left"
    }
}

fn describe(values: &[(&str, f64)]) -> String {
    let value = |&(name, value): &(&str, f64)| format!("{name} {}", brief(value));
    values.iter().map(value).collect::<Vec<_>>().join("  ")
}

/// Four significant digits.
fn brief(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || !value.is_finite() {
        format!("{value}")
    } else if (1e-3..1e5).contains(&magnitude) {
        let digits = 3 - magnitude.log10().floor() as i32;
        format!("{value:.*}", digits.max(0) as usize)
    } else {
        format!("{value:.2e}")
    }
}

/// `1h02m`, `3m05s`, `42s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round().clamp(0.0, 1e9) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(describe(&[("loss", 2.345_678), ("lr", 1e-4), ("bpd", 0.25)]), "loss 2.346  lr 1.00e-4  bpd 0.2500");
        assert_eq!(brief(123_456.0), "1.23e5");
        assert_eq!(brief(98_765.4), "98765");
        assert_eq!(brief(f64::NAN), "NaN");
        assert_eq!([42.0, 185.2, 3725.0].map(duration), ["42s", "3m05s", "1h02m"]);
    }

    #[test]
    fn a_line_has_what_matters() {
        let mut progress = Progress::new("epoch 1", 100, 10);
        progress.show = Show::Lines { last: Instant::now() };
        progress.start = Instant::now() - Duration::from_secs(10);
        progress.text = describe(&[("loss", 0.5)]);
        progress.done = 30;
        assert_eq!(progress.line(), "epoch 1 30/100  loss 0.5000  2.0 steps/s  35s left");
    }

    #[test]
    fn bars_can_be_drawn() {
        for colors in [false, true] {
            let style = ProgressStyle::with_template(template(colors)).unwrap();
            let bar = ProgressBar::with_draw_target(Some(10), ProgressDrawTarget::hidden()).with_style(style);
            bar.set_position(5);
            bar.abandon();
        }
    }
}
