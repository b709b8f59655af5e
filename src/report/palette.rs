//! Colours: a palette for series, inks for everything else, and a colour map for densities.
//!
//! Invariants, each held by a test: every series colour contrasts at least 3:1 with the paper it is drawn on, light or
//! dark; the colour map's lightness grows monotonically, so that it survives a grey print and every kind of colour
//! blindness. Series differ in dash and marker as well as in hue, because hue alone never suffices.

/// A colour as red, green, blue, 0 to 255.
pub type Rgb = [u8; 3];

/// What a mark is, from which each theme derives its colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ink {
    /// Titles and labels.
    Text,
    /// Tick labels.
    Muted,
    /// Axis lines.
    Frame,
    /// Grid lines.
    Grid,
    /// The background.
    Paper,
    /// The line of series `.0`.
    Series(usize),
    /// The same, pale: raw values behind a smoothed line.
    Pale(usize),
    /// A colour that no theme changes.
    Fixed(Rgb),
}

/// Series colours on white: Okabe and Ito's hues, darkened where they were too light for a thin line.
const LIGHT: [Rgb; 6] = [[0, 114, 178], [204, 82, 0], [0, 128, 96], [170, 68, 153], [125, 100, 0], [80, 80, 80]];
/// The same hues on a dark page.
const DARK: [Rgb; 6] =
    [[86, 180, 233], [255, 146, 56], [46, 196, 152], [224, 140, 200], [230, 190, 60], [190, 190, 190]];

/// The number of distinct series colours; later series start over.
pub(crate) const SERIES: usize = LIGHT.len();

impl Ink {
    /// The colour on white paper.
    pub(crate) fn light(self) -> Rgb {
        match self {
            Self::Text => [31, 35, 40],
            Self::Muted => [80, 88, 97],
            Self::Frame => [140, 149, 159],
            Self::Grid => [230, 233, 237],
            Self::Paper => [255, 255, 255],
            Self::Series(index) => LIGHT[index % SERIES],
            Self::Pale(index) => mix(LIGHT[index % SERIES], Self::Paper.light(), 0.68),
            Self::Fixed(rgb) => rgb,
        }
    }

    /// The colour on dark paper.
    pub(crate) fn dark(self) -> Rgb {
        match self {
            Self::Text => [230, 233, 237],
            Self::Muted => [165, 173, 183],
            Self::Frame => [110, 118, 129],
            Self::Grid => [45, 51, 59],
            Self::Paper => [22, 27, 34],
            Self::Series(index) => DARK[index % SERIES],
            Self::Pale(index) => mix(DARK[index % SERIES], Self::Paper.dark(), 0.62),
            Self::Fixed(rgb) => rgb,
        }
    }
}

/// `rgb` as `#rrggbb`.
pub(crate) fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// `share` of `b`, the rest of `a`.
fn mix(a: Rgb, b: Rgb, share: f64) -> Rgb {
    std::array::from_fn(|i| (f64::from(a[i]) * (1.0 - share) + f64::from(b[i]) * share).round() as u8)
}

/// Anchors of the colour map, evenly spaced over [0, 1]: near-black violet, magenta, orange, pale yellow.
///
/// Made in CIELAB: lightness rises in equal steps of 7.8 from 2 to 96, which makes equal differences of density look
/// about equally large; the hue turns only for the sake of contrast.
const MAP: [Rgb; 13] = [
    [9, 5, 21],
    [37, 13, 67],
    [69, 14, 98],
    [104, 17, 115],
    [141, 29, 111],
    [177, 44, 96],
    [208, 64, 75],
    [232, 91, 48],
    [243, 125, 31],
    [248, 158, 35],
    [248, 190, 60],
    [252, 218, 118],
    [253, 246, 181],
];

/// The perceptually even colour of `value` in [0, 1]; outside values take the nearest end, NaN is mid-grey.
pub fn heat(value: f64) -> Rgb {
    if value.is_nan() {
        return [128, 128, 128];
    }
    let position = value.clamp(0.0, 1.0) * (MAP.len() - 1) as f64;
    let index = (position as usize).min(MAP.len() - 2);
    mix(MAP[index], MAP[index + 1], position - index as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance as the accessibility guidelines (WCAG 2) define it.
    fn luminance(rgb: Rgb) -> f64 {
        let [r, g, b] = rgb.map(|v| {
            let v = f64::from(v) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// CIE lightness, 0 to 100.
    fn lightness(rgb: Rgb) -> f64 {
        let y = luminance(rgb);
        if y > 0.008_856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    #[test]
    fn series_and_text_contrast_with_either_paper() {
        for index in 0..SERIES {
            let ink = Ink::Series(index);
            assert!(contrast(ink.light(), Ink::Paper.light()) >= 3.0, "series {index} on white");
            assert!(contrast(ink.dark(), Ink::Paper.dark()) >= 3.0, "series {index} on dark");
        }
        for ink in [Ink::Text, Ink::Muted] {
            assert!(contrast(ink.light(), Ink::Paper.light()) >= 4.5, "{ink:?}");
            assert!(contrast(ink.dark(), Ink::Paper.dark()) >= 4.5, "{ink:?}");
        }
    }

    /// Mixing in sRGB between anchors, and rounding to bytes, bends the steps by this much of their mean.
    const UNEVEN: f64 = 0.35;

    #[test]
    fn map_is_even_in_lightness_and_total() {
        let steps: Vec<f64> = (0..=24).map(|i| lightness(heat(f64::from(i) / 24.0))).collect();
        let mean = (steps[24] - steps[0]) / 24.0;
        for pair in steps.windows(2) {
            let step = pair[1] - pair[0];
            assert!(
                (1.0 - UNEVEN..1.0 + UNEVEN).contains(&(step / mean)),
                "lightness step {step} against {mean}: {steps:?}"
            );
        }
        assert_eq!(heat(-1.0), heat(0.0));
        assert_eq!(heat(f64::INFINITY), heat(1.0));
        assert_eq!(heat(f64::NAN), [128, 128, 128]);
    }
}
