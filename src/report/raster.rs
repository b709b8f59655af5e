//! A drawing as pixels, for PNG.
//!
//! plotters' bitmap backend draws at twice the output resolution, in bands, which are averaged down: its polygons and
//! thick lines have hard edges otherwise.

use super::palette::Ink;
use super::scene::{Anchor, EXPONENT, HEIGHT_PER_EM, Item, RAISE, Scene, font, measure};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::FontTransform;

/// Raster pixels drawn per output pixel and axis.
const OVERSAMPLE: u32 = 2;
/// Output rows drawn at a time, so that a tall picture needs no buffer of its own size times four.
const BAND: u32 = 256;

impl Scene {
    /// The drawing on white, `scale` output pixels per CSS pixel.
    pub(crate) fn raster(&self, scale: u32) -> RgbImage {
        let (width, height) = ((self.width * f64::from(scale)) as u32, (self.height * f64::from(scale)) as u32);
        let mut output = RgbImage::new(width, height);
        let fine = scale * OVERSAMPLE;
        for top in (0..height).step_by(BAND as usize) {
            let rows = BAND.min(height - top);
            let (wide, tall) = (width * OVERSAMPLE, rows * OVERSAMPLE);
            let mut buffer = vec![255u8; wide as usize * tall as usize * 3];
            {
                let backend = BitMapBackend::with_buffer(&mut buffer, (wide, tall));
                let mut brush = Brush { backend, scale: f64::from(fine), top: f64::from(top * OVERSAMPLE) };
                self.items.iter().for_each(|item| brush.item(item));
            }
            let at = |x: u32, y: u32, c: usize| u32::from(buffer[(y * wide + x) as usize * 3 + c]);
            for y in 0..rows {
                for x in 0..width {
                    let mean = |c| {
                        let cells = (0..OVERSAMPLE * OVERSAMPLE).map(|i| (i % OVERSAMPLE, i / OVERSAMPLE));
                        let sum: u32 = cells.map(|(dx, dy)| at(x * OVERSAMPLE + dx, y * OVERSAMPLE + dy, c)).sum();
                        ((sum + OVERSAMPLE * OVERSAMPLE / 2) / (OVERSAMPLE * OVERSAMPLE)) as u8
                    };
                    output.put_pixel(x, top + y, Rgb([mean(0), mean(1), mean(2)]));
                }
            }
        }
        output
    }
}

/// Draws items on a raster whose uppermost row is row `top` of the whole.
struct Brush<'a> {
    backend: BitMapBackend<'a>,
    scale: f64,
    top: f64,
}

impl Brush<'_> {
    /// A position on the raster. Far outside is cut to a distance that plotters' integer arithmetic can bear.
    fn place(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let cut = |v: f64| v.round().clamp(-1e5, 1e5) as i32;
        (cut(x * self.scale), cut(y * self.scale - self.top))
    }

    /// Whether rows from `low` to `high`, in CSS pixels, touch this band.
    fn touches(&self, low: f64, high: f64) -> bool {
        let rows = f64::from(self.backend.get_size().1);
        high * self.scale - self.top >= 0.0 && low * self.scale - self.top <= rows
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Line { points, ink, width, dash } => {
                let colour = colour(*ink);
                for stroke in dashes(points, dash) {
                    stroke.windows(2).for_each(|ends| self.segment(ends[0], ends[1], *width, colour));
                }
            }
            Item::Polygon { points, ink } => self.polygon(points, colour(*ink)),
            Item::Text { at, text, exponent, size, anchor, ink, upward } => {
                let whole = measure(text, *size) + measure(exponent, size * EXPONENT);
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => whole / 2.0,
                    Anchor::End => whole,
                };
                let step = measure(text, *size);
                let (first, second) = if *upward {
                    ((at.0, at.1 + back), (at.0 - size * RAISE, at.1 + back - step))
                } else {
                    ((at.0 - back, at.1), (at.0 - back + step, at.1 - size * RAISE))
                };
                self.text(first, text, *size, *ink, *upward);
                self.text(second, exponent, size * EXPONENT, *ink, *upward);
            }
            Item::Picture { at, scale, image } => {
                let side = *scale;
                for (x, y, pixel) in image.enumerate_pixels() {
                    let (left, upper) = (at.0 + f64::from(x) * side, at.1 + f64::from(y) * side);
                    let (from, to) = (self.place((left, upper)), self.place((left + side, upper + side)));
                    self.fill(from, to, RGBColor(pixel[0], pixel[1], pixel[2]));
                }
            }
        }
    }

    /// One straight stroke with round ends. Each is drawn on its own, because plotters' polygon of a whole path
    /// leaves holes where a noisy curve overlaps itself.
    fn segment(&mut self, a: (f64, f64), b: (f64, f64), width: f64, colour: RGBColor) {
        let half = width / 2.0;
        if !self.touches(a.1.min(b.1) - half, a.1.max(b.1) + half) {
            return;
        }
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = dx.hypot(dy);
        if length > 0.0 && (dx == 0.0 || dy == 0.0) {
            let (low, high) = ((a.0.min(b.0), a.1.min(b.1)), (a.0.max(b.0), a.1.max(b.1)));
            let (wx, wy) = if dx == 0.0 { (half, 0.0) } else { (0.0, half) };
            let from = self.place((low.0 - wx, low.1 - wy));
            let to = self.place((high.0 + wx, high.1 + wy));
            self.fill(from, (to.0.max(from.0 + 1), to.1.max(from.1 + 1)), colour);
        } else if length > 0.0 {
            let (nx, ny) = (-dy / length * half, dx / length * half);
            let corners = [(a.0 + nx, a.1 + ny), (b.0 + nx, b.1 + ny), (b.0 - nx, b.1 - ny), (a.0 - nx, a.1 - ny)];
            self.polygon(&corners, colour);
        }
        let radius = (half * self.scale).round() as u32;
        if radius > 1 && width > 1.0 {
            for end in [a, b] {
                let centre = self.place(end);
                infallible(self.backend.draw_circle(centre, radius, &colour, true));
            }
        }
    }

    fn polygon(&mut self, points: &[(f64, f64)], colour: RGBColor) {
        let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p.1), high.max(p.1)));
        if !self.touches(low, high) {
            return;
        }
        // Row by row between the crossings of its edges: plotters' own polygons lose some of those with level sides.
        let corners: Vec<(f64, f64)> =
            points.iter().map(|&(x, y)| (x * self.scale, y * self.scale - self.top)).collect();
        let rows = f64::from(self.backend.get_size().1);
        let (first, last) = ((low * self.scale - self.top).max(0.0), (high * self.scale - self.top).min(rows));
        for row in first.round() as i32..(last.round() as i32) {
            let y = f64::from(row) + 0.5;
            let edges = corners.iter().zip(corners.iter().cycle().skip(1));
            let crossings = edges.filter(|(a, b)| (a.1 <= y) != (b.1 <= y));
            let xs = crossings.map(|(a, b)| a.0 + (y - a.1) / (b.1 - a.1) * (b.0 - a.0));
            let (left, right) = xs.fold((f64::MAX, f64::MIN), |(left, right), x| (left.min(x), right.max(x)));
            if left < right {
                let cut = |x: f64| x.round().clamp(-1e5, 1e5) as i32;
                self.fill((cut(left), row), (cut(right), row + 1), colour);
            }
        }
    }

    /// Fills the pixels from `from` up to but excluding `to`.
    fn fill(&mut self, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
        let (width, height) = self.backend.get_size();
        let (left, upper) = (from.0.max(0), from.1.max(0));
        let (right, lower) = ((to.0 - 1).min(width as i32 - 1), (to.1 - 1).min(height as i32 - 1));
        if left <= right && upper <= lower {
            infallible(self.backend.draw_rect((left, upper), (right, lower), &colour, true));
        }
    }

    fn text(&mut self, at: (f64, f64), text: &str, size: f64, ink: Ink, upward: bool) {
        let reach = if upward { measure(text, size) } else { size };
        if text.is_empty() || !self.touches(at.1 - reach, at.1 + size) {
            return;
        }
        let pixels = size * HEIGHT_PER_EM * self.scale;
        let (x, y) = self.place(at);
        // plotters draws the baseline half the size below the point it is given.
        let drop = (pixels as f32 / 2.0) as i32;
        let turn = if upward { FontTransform::Rotate270 } else { FontTransform::None };
        let at = if upward { (x - drop, y) } else { (x, y - drop) };
        let colour = colour(ink);
        let style = TextStyle::from(font(pixels)).color(&colour).transform(turn);
        infallible(self.backend.draw_text(text, &style, at));
    }
}

/// Drawing into memory with a registered font cannot fail; were it to, the bug is here.
#[track_caller]
fn infallible<E: std::fmt::Debug>(result: Result<(), E>) {
    if let Err(error) = result {
        panic!("drawing into memory failed: {error:?}");
    }
}

fn colour(ink: Ink) -> RGBColor {
    let [red, green, blue] = ink.light();
    RGBColor(red, green, blue)
}

/// `points` cut into the strokes that `dash` draws.
fn dashes(points: &[(f64, f64)], dash: &[f64]) -> Vec<Vec<(f64, f64)>> {
    if dash.is_empty() {
        return vec![points.to_vec()];
    }
    let Some(&first) = points.first() else { return Vec::new() };
    let (mut strokes, mut stroke, mut index, mut left) = (Vec::new(), vec![first], 0, dash[0]);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length < left {
                left -= length;
                if index % 2 == 0 {
                    stroke.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if index % 2 == 0 {
                stroke.push(from);
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke.push(from);
            }
            index += 1;
            left = dash[index % dash.len()];
        }
    }
    strokes.push(stroke);
    strokes.retain(|stroke| stroke.len() > 1);
    strokes
}
