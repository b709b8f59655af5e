//! A drawing as plain data, and its two forms: a PNG-ready raster and an SVG document.
//!
//! Charts and panels only say what stands where, in CSS pixels; how it becomes pixels (`raster.rs`) or markup
//! (`svg.rs`) is decided once. Text is measured in the bundled DejaVu Sans, one of the widest common faces: what fits
//! here fits in a browser's font.

use super::palette::Ink;
use image::RgbImage;
use plotters::style::{FontDesc, FontStyle, IntoFont, register_font};
use std::sync::OnceLock;

/// The family name under which the bundled face is known to plotters.
const FAMILY: &str = "DejaVu Sans";
/// ab_glyph sizes fonts by ascent plus descent; of this face they make 1.1641 em.
pub(super) const HEIGHT_PER_EM: f64 = (1901.0 + 483.0) / 2048.0;
/// Which point of a text its position names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One mark. Positions are in CSS pixels from the upper left corner.
pub(crate) enum Item {
    /// A polyline; `dash` alternates lengths drawn and skipped, empty for a solid line.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64, dash: &'static [f64] },
    /// A filled convex polygon.
    Polygon { points: Vec<(f64, f64)>, ink: Ink },
    /// One line of text whose baseline passes through `at`; `exponent` follows it, small and raised.
    Text { at: (f64, f64), text: String, exponent: String, size: f64, anchor: Anchor, ink: Ink, upward: bool },
    /// A picture of `scale` CSS pixels per pixel (SVG leaves it out: heat maps and photographs are written as PNG).
    Picture { at: (f64, f64), scale: f64, image: RgbImage },
}

/// A drawing of a given size.
pub(crate) struct Scene {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) items: Vec<Item>,
}

impl Scene {
    /// An empty drawing of `width` × `height` CSS pixels.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, items: Vec::new() }
    }

    /// A polyline.
    pub(crate) fn line(&mut self, points: Vec<(f64, f64)>, ink: Ink, width: f64, dash: &'static [f64]) {
        self.items.push(Item::Line { points, ink, width, dash });
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, (x, y): (f64, f64), width: f64, height: f64, ink: Ink) {
        let points = vec![(x, y), (x + width, y), (x + width, y + height), (x, y + height)];
        self.items.push(Item::Polygon { points, ink });
    }

    /// One line of horizontal text.
    pub(crate) fn text(&mut self, at: (f64, f64), text: impl Into<String>, size: f64, anchor: Anchor, ink: Ink) {
        let (text, exponent) = (text.into(), String::new());
        self.items.push(Item::Text { at, text, exponent, size, anchor, ink, upward: false });
    }
}

/// An exponent's size, and how far it is raised, in parts of its base's size.
pub(super) const EXPONENT: f64 = 0.75;
pub(super) const RAISE: f64 = 0.38;

/// The bundled face at `pixels` of ascent plus descent.
pub(super) fn font(pixels: f64) -> FontDesc<'static> {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    REGISTERED.get_or_init(|| {
        let face = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
        assert!(register_font(FAMILY, FontStyle::Normal, face).is_ok(), "the bundled font does not parse");
    });
    (FAMILY, pixels).into_font()
}

/// The width of `text` in CSS pixels at `size` pixels per em.
pub(crate) fn measure(text: &str, size: f64) -> f64 {
    if text.is_empty() {
        return 0.0;
    }
    // plotters rounds widths down to whole pixels: measured large, that does not matter.
    const LARGE: f64 = 1000.0;
    let width = font(LARGE * HEIGHT_PER_EM).box_size(text).map_or(0, |(width, _)| width);
    f64::from(width) / LARGE * size
}

/// `text` broken at spaces into lines no wider than `width` where words allow; a longer word is cut with an ellipsis.
pub(crate) fn wrap(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = shorten(word, size, width);
        match lines.last_mut() {
            Some(line) if measure(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// `text`, its end replaced by an ellipsis where it is wider than `width`.
pub(crate) fn shorten(text: &str, size: f64, width: f64) -> String {
    if measure(text, size) <= width {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let candidate: String = kept.iter().chain(&['…']).collect();
        if measure(&candidate, size) <= width {
            return candidate;
        }
    }
    String::from("…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_measured_and_broken_to_fit() {
        assert!(measure("wide", 20.0) > measure("wide", 10.0) * 1.9 && measure("", 10.0) == 0.0);
        let text = "error of the reconstruction against iterations";
        let lines = wrap(text, 12.0, 120.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| measure(line, 12.0) <= 120.0), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        let cut = shorten(&"m".repeat(50), 12.0, 60.0);
        assert!(cut.ends_with('…') && measure(&cut, 12.0) <= 60.0, "{cut}");
        assert!(wrap("  ", 12.0, 120.0).is_empty());
    }
}
