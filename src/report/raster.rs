//! A drawing as pixels, for PNG.
//!
//! Drawn at twice the output resolution, in bands, which are averaged down. plotters' bitmap backend draws the text;
//! the few shapes are filled here, because its polygons have holes where a noisy curve overlaps itself, lose squares
//! with level sides, and leave out the last row and column of rectangles.

use super::palette::Ink;
use super::scene::{Anchor, EXPONENT, HEIGHT_PER_EM, Item, RAISE, Scene, font, measure};
use image::{Rgb, RgbImage};
use plotters::backend::{BitMapBackend, DrawingBackend, RGBPixel};
use plotters::style::{FontTransform, RGBColor, TextStyle};

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
            let buffer = vec![255u8; wide as usize * tall as usize * 3];
            let mut brush = Brush { buffer, wide, tall, scale: f64::from(fine), top: f64::from(top * OVERSAMPLE) };
            self.items.iter().for_each(|item| brush.item(item));
            let buffer = brush.buffer;
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
struct Brush {
    /// Rows of red, green, blue.
    buffer: Vec<u8>,
    wide: u32,
    tall: u32,
    scale: f64,
    top: f64,
}

impl Brush {
    /// A position on the raster.
    fn place(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let cut = |v: f64| v.round().clamp(-1e5, 1e5) as i32;
        (cut(x * self.scale), cut(y * self.scale - self.top))
    }

    /// Whether rows from `low` to `high`, in CSS pixels, touch this band.
    fn touches(&self, low: f64, high: f64) -> bool {
        let rows = f64::from(self.tall);
        high * self.scale - self.top >= 0.0 && low * self.scale - self.top <= rows
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Line { points, ink, width, dash } => {
                let colour = colour(*ink);
                for stroke in dashes(points, dash) {
                    stroke.windows(2).for_each(|ends| self.segment(ends[0], ends[1], *width, colour));
                    if *width > 1.0 {
                        let joints = stroke.iter().skip(1).take(stroke.len().saturating_sub(2));
                        joints.for_each(|&at| self.disc(at, width / 2.0, colour));
                    }
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
                    self.fill(from, to, *pixel);
                }
            }
        }
    }

    /// One straight stroke.
    fn segment(&mut self, a: (f64, f64), b: (f64, f64), width: f64, colour: Rgb<u8>) {
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
    }

    fn disc(&mut self, at: (f64, f64), radius: f64, colour: Rgb<u8>) {
        let (x, y, radius) = (at.0 * self.scale, at.1 * self.scale - self.top, radius * self.scale);
        for row in (y - radius).round().max(0.0) as i32..(y + radius).round().min(f64::from(self.tall)) as i32 {
            let off = f64::from(row) + 0.5 - y;
            let half = (radius * radius - off * off).max(0.0).sqrt();
            self.fill(((x - half).round() as i32, row), ((x + half).round() as i32, row + 1), colour);
        }
    }

    fn polygon(&mut self, points: &[(f64, f64)], colour: Rgb<u8>) {
        let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(p.1), high.max(p.1)));
        if !self.touches(low, high) {
            return;
        }
        // Row by row between the crossings of its edges.
        let corners: Vec<(f64, f64)> =
            points.iter().map(|&(x, y)| (x * self.scale, y * self.scale - self.top)).collect();
        let rows = f64::from(self.tall);
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
    fn fill(&mut self, from: (i32, i32), to: (i32, i32), colour: Rgb<u8>) {
        let (left, upper) = (from.0.max(0) as usize, from.1.max(0) as usize);
        let (right, lower) = (to.0.clamp(0, self.wide as i32) as usize, to.1.clamp(0, self.tall as i32) as usize);
        for row in upper..lower {
            let start = row * self.wide as usize;
            if left < right {
                self.buffer[(start + left) * 3..(start + right) * 3]
                    .chunks_exact_mut(3)
                    .for_each(|pixel| pixel.copy_from_slice(&colour.0));
            }
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
        let [red, green, blue] = ink.light();
        let colour = RGBColor(red, green, blue);
        let style = TextStyle::from(font(pixels)).color(&colour).transform(turn);
        let mut backend = BitMapBackend::<RGBPixel>::with_buffer(&mut self.buffer, (self.wide, self.tall));
        if let Err(error) = backend.draw_text(text, &style, at) {
            // In memory and with a registered font this cannot fail; were it to, the bug is here.
            panic!("drawing {text:?} failed: {error:?}");
        }
    }
}

fn colour(ink: Ink) -> Rgb<u8> {
    Rgb(ink.light())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_run_on_round_corners() {
        let strokes = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 8.5)], &[4.0, 2.0]);
        let wanted = [vec![(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)], vec![(3.0, 3.0), (3.0, 7.0)]];
        assert_eq!(strokes, wanted);
        assert!(dashes(&[], &[4.0, 2.0]).is_empty() && dashes(&[(1.0, 1.0)], &[4.0, 2.0]).is_empty());
    }

    #[test]
    fn shapes_cover_exactly_their_pixels_across_bands() {
        // Taller than two bands, so that seams would show.
        let mut scene = Scene::new(20.0, 600.0);
        scene.rect((2.0, 1.0), 3.0, 598.0, Ink::Fixed([0, 0, 0]));
        let turned = vec![(12.0, 1.0), (12.0, 599.0), (10.0, 599.0), (10.0, 1.0)];
        scene.items.push(Item::Polygon { points: turned, ink: Ink::Fixed([0, 0, 0]) });
        scene.line(vec![(15.0, 1.0), (15.0, 599.0)], Ink::Fixed([0, 0, 0]), 2.0, &[]);
        let image = scene.raster(1);
        for (x, y, pixel) in image.enumerate_pixels() {
            let inside =
                (1..599).contains(&y) && ((2..5).contains(&x) || (10..12).contains(&x) || (14..16).contains(&x));
            assert_eq!(pixel.0, if inside { [0; 3] } else { [255; 3] }, "at ({x}, {y})");
        }
    }

    #[test]
    fn upright_text_is_the_level_text_turned() {
        let ink = |upward: bool, x: f64, y: f64| {
            let mut scene = Scene::new(60.0, 60.0);
            let (text, exponent) = (String::from("loss"), String::new());
            scene.items.push(Item::Text {
                at: (x, y),
                text,
                exponent,
                size: 14.0,
                anchor: Anchor::Middle,
                ink: Ink::Text,
                upward,
            });
            let image = scene.raster(1);
            let dark = |across: bool| -> Vec<u32> {
                let mut places: Vec<u32> = image
                    .enumerate_pixels()
                    .filter(|(.., p)| p[0] < 160)
                    .map(|(x, y, _)| if across { x } else { y })
                    .collect();
                places.sort_unstable();
                vec![places[0], places[places.len() - 1]]
            };
            (dark(true), dark(false))
        };
        let (level, turned) = (ink(false, 30.0, 30.0), ink(true, 30.0, 30.0));
        // Half pixels round one way across and the other way up.
        let near = |a: u32, b: u32| a.abs_diff(b) <= 1;
        assert!(near(level.1[0], turned.0[0]) && near(level.1[1], turned.0[1]), "{level:?} {turned:?}");
        assert!(near(level.0[0], 59 - turned.1[1]) && near(level.0[1], 59 - turned.1[0]), "{level:?} {turned:?}");
        assert!(level.1[1] <= 30, "nothing below the baseline of a text without descenders");
    }
}
