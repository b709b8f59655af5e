//! Axes: which range to show, where the ticks stand, and how numbers are written.
//!
//! Linear ticks are 1, 2 or 5 times a power of ten apart. Logarithmic ticks are powers of ten where the range spans
//! several, 1-2-5 within one or two, and linear ticks within less than one. All labels of an axis share one form.

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences are equally long.
    Linear,
    /// Equal ratios are equally long; values of zero and below have no place and are left out.
    Log,
}

/// An axis: what it shows, in which unit, on which scale.
#[derive(Clone, Debug)]
pub struct Axis {
    label: String,
    unit: String,
    scale: Scale,
    whole: bool,
    range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis labelled `label`.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), unit: String::new(), scale: Scale::Linear, whole: false, range: None }
    }

    /// A logarithmic axis labelled `label`.
    pub fn log(label: impl Into<String>) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    /// Names the unit, written in parentheses after the label.
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: unit.into(), ..self }
    }

    /// Says that values are counts (steps, epochs, iterations): no ticks between whole numbers.
    pub fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// Shows `low` to `high` whatever the data; what lies outside is cut off.
    ///
    /// Panics unless `low < high`, both finite, and both positive on a logarithmic axis.
    #[track_caller]
    pub fn range(self, low: f64, high: f64) -> Self {
        assert!(low.is_finite() && high.is_finite() && low < high, "axis range {low} to {high}");
        assert!(self.scale == Scale::Linear || low > 0.0, "logarithmic axis range from {low}");
        Self { range: Some((low, high)), ..self }
    }

    /// The label with its unit.
    pub(crate) fn caption(&self) -> String {
        if self.unit.is_empty() { self.label.clone() } else { format!("{} ({})", self.label, self.unit) }
    }

    /// Whether `value` has a place on this axis.
    pub(crate) fn shows(&self, value: f64) -> bool {
        value.abs() <= LARGEST && (self.scale == Scale::Linear || value >= 1.0 / LARGEST)
    }

    /// The interval to show for `values`, of which those without a place are ignored; `margin` is the share of it to
    /// leave empty at each end.
    pub(crate) fn span(&self, values: impl Iterator<Item = f64>, margin: f64) -> Span {
        let scale = self.scale;
        if let Some((low, high)) = self.range {
            return Span { low, high, scale };
        }
        let bounds = values.filter(|&value| self.shows(value)).fold(None, |bounds: Option<(f64, f64)>, value| {
            Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        match (scale, bounds) {
            (Scale::Linear, None) => Span { low: 0.0, high: 1.0, scale },
            (Scale::Log, None) => Span { low: 0.1, high: 1.0, scale },
            (Scale::Linear, Some((low, high))) => {
                let size = low.abs().max(high.abs());
                if high - low <= size * 1e-9 {
                    let around = if self.whole || size == 0.0 { 1.0 } else { size * 0.1 };
                    return Span { low: low - around, high: high + around, scale };
                }
                let pad = (high - low) * margin;
                // Zero is a wall for quantities that are never negative.
                let floor = if low >= 0.0 { 0.0 } else { f64::MIN };
                Span { low: (low - pad).max(floor), high: high + pad, scale }
            }
            (Scale::Log, Some((low, high))) => {
                let decades = high.log10() - low.log10();
                let ratio = if decades <= 1e-9 { 3.0 } else { 10f64.powf(decades * margin) };
                Span { low: low / ratio, high: high * ratio, scale }
            }
        }
    }

    /// Up to about `want` ticks for `span`.
    pub(crate) fn ticks(&self, span: Span, want: usize) -> Vec<Tick> {
        let want = want.max(2);
        match self.scale {
            Scale::Linear => label(&linear(span, want, self.whole)),
            Scale::Log => logarithmic(span, want, self.whole),
        }
    }
}

/// Larger magnitudes (and on a logarithmic axis their inverses) are treated as missing: f64 itself ends at 1e308, and
/// margins need room.
const LARGEST: f64 = 1e250;

/// The interval an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) low: f64,
    pub(crate) high: f64,
    scale: Scale,
}

impl Span {
    /// Where `value` stands, 0 at the low end and 1 at the high end.
    pub(crate) fn fraction(self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            // Differences of logarithms: the ratios themselves may exceed f64.
            Scale::Log => (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10()),
        }
    }

    /// The multiples 2 to 9 of each power of ten where the span shows few enough decades for short marks there to help.
    pub(crate) fn minor(self) -> Vec<f64> {
        let decades = (self.high.log10(), self.low.log10());
        if self.scale == Scale::Linear || decades.0 - decades.1 > 6.0 || decades.0 - decades.1 < 0.9 {
            return Vec::new();
        }
        let powers = decades.1.floor() as i32..=decades.0.ceil() as i32;
        let all = powers.flat_map(|power| (2..10).map(move |digit| f64::from(digit) * 10f64.powi(power)));
        all.filter(|&value| self.contains(value)).collect()
    }

    fn contains(self, value: f64) -> bool {
        (-1e-9..=1.0 + 1e-9).contains(&self.fraction(value))
    }
}

/// A labelled position on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) text: String,
    /// The power of ten that follows `text`, raised.
    pub(crate) exponent: String,
}

/// Multiples of the smallest 1-2-5 step that makes at most `want` intervals, and that step.
struct Linear {
    first: f64,
    last: f64,
    step: f64,
}

fn linear(span: Span, want: usize, whole: bool) -> Linear {
    let raw = (span.high - span.low) / want as f64;
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= raw * (1.0 - 1e-9)).unwrap_or(10.0);
    let step = if whole { (digit * power).max(1.0) } else { digit * power };
    // A little slack, so that rounding does not lose a tick at the very end.
    Linear { first: (span.low / step - 1e-9).ceil(), last: (span.high / step + 1e-9).floor(), step }
}

/// Ticks of `linear`, in one common form: plain, or times a power of ten.
fn label(&Linear { first, last, step }: &Linear) -> Vec<Tick> {
    let count = (last - first).clamp(-1.0, 1000.0) as i64;
    let values = (0..=count).map(|i| (first + i as f64) * step);
    let largest = first.abs().max(last.abs()) * step;
    let exponent = if largest > 0.0 { largest.log10().floor() as i32 } else { 0 };
    let step_exponent = (step.log10() + 1e-9).floor() as i32;
    let plain = largest == 0.0 || (1e-3..1e6).contains(&largest);
    values
        .map(|value| {
            if plain || value == 0.0 {
                let decimals = if plain { (-step_exponent).clamp(0, 12) as usize } else { 0 };
                Tick { value, text: group(value, decimals), exponent: String::new() }
            } else {
                let decimals = (exponent - step_exponent).clamp(0, 12) as usize;
                let text = format!("{}×10", group(value / 10f64.powi(exponent), decimals));
                Tick { value, text, exponent: minus(&exponent.to_string()) }
            }
        })
        .collect()
}

fn logarithmic(span: Span, want: usize, whole: bool) -> Vec<Tick> {
    let (low, high) = (span.low.log10(), span.high.log10());
    if high - low < 0.9 {
        return label(&linear(span, want, whole));
    }
    let powers = (low - 1e-9).ceil() as i32..=(high + 1e-9).floor() as i32;
    let small = powers.clone().count() <= 2 && want >= 3;
    let wanted = powers.clone().count().div_ceil(want) as i32;
    let stride = [1, 2, 3, 5, 10, 20, 50].into_iter().find(|&stride| stride >= wanted).unwrap_or(100);
    let around = low.floor() as i32..=high.ceil() as i32;
    let values: Vec<(i32, u8)> = if small {
        around.flat_map(|power| [1, 2, 5].map(|digit| (power, digit))).collect()
    } else {
        powers.filter(|power| power.rem_euclid(stride) == 0).map(|power| (power, 1)).collect()
    };
    let shown: Vec<(i32, u8)> =
        values.into_iter().filter(|&(power, digit)| span.contains(f64::from(digit) * 10f64.powi(power))).collect();
    let plain = shown.iter().all(|(power, _)| (-3..5).contains(power));
    shown
        .into_iter()
        .filter(|&(power, _)| !whole || power >= 0)
        .map(|(power, digit)| {
            let value = f64::from(digit) * 10f64.powi(power);
            if plain {
                return Tick { value, text: group(value, (-power).max(0) as usize), exponent: String::new() };
            }
            let text = if digit == 1 { String::from("10") } else { format!("{digit}×10") };
            Tick { value, text, exponent: minus(&power.to_string()) }
        })
        .collect()
}

/// `value` with `decimals` places, thousands set apart by commas from ten thousand on, and a true minus sign.
fn group(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("−", rest));
    let sign = if digits.chars().all(|c| c == '0' || c == '.') { "" } else { sign };
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if whole.len() > 4 && index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

fn minus(text: &str) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, low: f64, high: f64, want: usize) -> Vec<String> {
        let span = axis.clone().range(low, high).span(std::iter::empty(), 0.0);
        axis.ticks(span, want).into_iter().map(|tick| tick.text + &tick.exponent).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        let axis = Axis::linear("x");
        assert_eq!(texts(&axis, 0.0, 2000.0, 5), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(texts(&axis, -0.31, 0.3, 6), ["−0.2", "0.0", "0.2"]);
        assert_eq!(texts(&axis, 0.0, 50_000.0, 3), ["0", "20,000", "40,000"]);
        assert_eq!(texts(&axis, 0.0, 5e-5, 3), ["0", "2×10−5", "4×10−5"]);
        assert_eq!(texts(&axis, 1e6, 2.5e6, 4), ["1.0×106", "1.5×106", "2.0×106", "2.5×106"]);
    }

    #[test]
    fn counts_have_no_ticks_between_whole_numbers() {
        assert_eq!(texts(&Axis::linear("epoch").whole(), 0.0, 2.0, 10), ["0", "1", "2"]);
        assert_eq!(texts(&Axis::log("iterations").whole(), 0.9, 110.0, 6), ["1", "10", "100"]);
    }

    #[test]
    fn log_ticks_follow_the_span() {
        let axis = Axis::log("error");
        assert_eq!(texts(&axis, 1e-8, 1e-1, 4), ["10−8", "10−6", "10−4", "10−2"]);
        assert_eq!(texts(&axis, 0.15, 30.0, 8), ["0.2", "0.5", "1", "2", "5", "10", "20"]);
        assert_eq!(texts(&axis, 2.0, 3.1, 4), ["2.0", "2.5", "3.0"]);
        assert!(texts(&axis, 1e-280, 1e280, 6).len() <= 7);
    }

    #[test]
    fn spans_of_odd_data() {
        let (linear, log) = (Axis::linear("y"), Axis::log("y"));
        let span = |axis: &Axis, values: &[f64]| {
            let span = axis.span(values.iter().copied(), 0.05);
            (span.low, span.high)
        };
        assert_eq!(span(&linear, &[]), (0.0, 1.0));
        assert_eq!(span(&linear, &[f64::NAN, f64::INFINITY]), (0.0, 1.0));
        assert_eq!(span(&linear, &[0.0, 0.0]), (-1.0, 1.0));
        let (low, high) = span(&linear, &[2.5, 2.5]);
        assert!(low < 2.5 && high > 2.5);
        let (low, high) = span(&log, &[0.0, -3.0, 1e-3, 1.0]);
        assert!(low < 1e-3 && low > 1e-4 && high > 1.0 && high < 10.0);
        let (low, high) = span(&linear, &[-1e249, 1e249]);
        assert!((high - low).is_finite());
    }
}
