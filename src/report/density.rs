//! Densities in the plane, side by side: data, what was learned, samples; one colour scale for all.
//!
//! Every panel shows [-4, 4]². Points are counted into square bins and divided by number and area, so that a histogram
//! and a density agree in unit and share the colour bar beside them. The bar ends at the largest density of a heat map,
//! or at the 99.5th percentile of the filled bins where there are only histograms, whose largest bin says little.

use super::axis::Axis;
use super::palette::{Ink, heat};
use super::scene::{Anchor, EXPONENT, Item, Scene, measure, shorten};
use super::write::write_png;
use crate::error::Result;
use image::{Rgb, RgbImage};
use std::path::Path;

/// Half the side of the square shown.
pub const EXTENT: f64 = 4.0;

/// A panel's side in CSS pixels; spaces; font sizes.
const SIDE: f64 = 216.0;
const GAP: f64 = 36.0;
const TITLE: f64 = 14.0;
const TICK: f64 = 12.0;
/// Bins along each side of a histogram.
const BINS: usize = 64;

#[derive(Clone, Debug)]
enum Content {
    /// Densities at cell centres; a histogram's scale is softened.
    Cells { side: usize, values: Vec<f64>, histogram: bool },
    /// Single points.
    Points(Vec<[f32; 2]>),
}

/// Panels in a row under titles, with a colour bar.
#[derive(Clone, Debug, Default)]
pub struct DensityPanels {
    panels: Vec<(String, Content)>,
}

impl DensityPanels {
    /// No panels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a panel of the density that `points` (x, y) have; points outside the square count in the total only.
    pub fn histogram(mut self, title: impl Into<String>, points: &[[f32; 2]]) -> Self {
        let mut values = vec![0.0; BINS * BINS];
        let width = 2.0 * EXTENT / BINS as f64;
        let share = 1.0 / (points.len().max(1) as f64 * width * width);
        for point in points {
            let bin = point.map(|v| (f64::from(v) + EXTENT) / width);
            if bin.iter().all(|v| (0.0..BINS as f64).contains(v)) {
                values[bin[1] as usize * BINS + bin[0] as usize] += share;
            }
        }
        self.panels.push((title.into(), Content::Cells { side: BINS, values, histogram: true }));
        self
    }

    /// Adds a panel of densities (not their logarithms) at the centres of side² cells: x fastest, y upward.
    ///
    /// Panics unless there are `side`² values.
    #[track_caller]
    pub fn heat_map(mut self, title: impl Into<String>, side: usize, values: Vec<f64>) -> Self {
        assert_eq!(side * side, values.len(), "a heat map of side {side} needs {} values", side * side);
        self.panels.push((title.into(), Content::Cells { side, values, histogram: false }));
        self
    }

    /// Adds a panel with a dot for each of `points` (x, y).
    pub fn scatter(mut self, title: impl Into<String>, points: Vec<[f32; 2]>) -> Self {
        self.panels.push((title.into(), Content::Points(points)));
        self
    }

    /// The panels as a picture on white, two pixels per CSS pixel.
    pub fn png(&self) -> RgbImage {
        self.scene().raster(2)
    }

    /// Writes the panels to `path` as PNG.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_png(path, &self.png())
    }

    /// The density that the brightest colour stands for.
    fn brightest(&self) -> f64 {
        let cells = |wanted: bool| {
            self.panels.iter().filter_map(move |(_, content)| match content {
                Content::Cells { values, histogram, .. } if *histogram == wanted => Some(values),
                _ => None,
            })
        };
        let learned = cells(false).flatten().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
        if learned > 0.0 {
            return learned;
        }
        let mut counted: Vec<f64> = cells(true).flatten().copied().filter(|&v| v > 0.0).collect();
        counted.sort_by(f64::total_cmp);
        let index = (counted.len() as f64 * 0.995) as usize;
        counted.get(index.min(counted.len().saturating_sub(1))).copied().unwrap_or(1.0)
    }

    fn scene(&self) -> Scene {
        let brightest = self.brightest();
        let (left, top) = (34.0, 34.0);
        let count = self.panels.len() as f64;
        let scaled = self.panels.iter().any(|(_, content)| matches!(content, Content::Cells { .. }));
        let end = left + count * (SIDE + GAP) - GAP;
        let mut scene = Scene::new(end + if scaled { 106.0 } else { 16.0 }, top + SIDE + 34.0);
        for (index, (title, content)) in self.panels.iter().enumerate() {
            let x = left + index as f64 * (SIDE + GAP);
            let title = shorten(title, TITLE, SIDE + GAP - 8.0);
            scene.text((x + SIDE / 2.0, top - 11.0), title, TITLE, Anchor::Middle, Ink::Text);
            scene.rect((x, top), SIDE, SIDE, Ink::Fixed(heat(0.0)));
            match content {
                Content::Cells { side, values, .. } => {
                    let pixel = 0.5;
                    let pixels = (SIDE / pixel) as u32;
                    // Output pixels pick their cell, so that any side fills the panel exactly.
                    let image = RgbImage::from_fn(pixels, pixels, |px, py| {
                        let cell = |p: u32| (f64::from(p) + 0.5) / f64::from(pixels) * *side as f64;
                        let (column, row) = (cell(px) as usize, side - 1 - cell(py) as usize);
                        Rgb(heat(values[row * side + column] / brightest))
                    });
                    scene.items.push(Item::Picture { at: (x, top), scale: pixel, image });
                }
                Content::Points(points) => {
                    for point in points {
                        let [px, py] = point.map(|v| (f64::from(v) + EXTENT) / (2.0 * EXTENT));
                        if (0.0..=1.0).contains(&px) && (0.0..=1.0).contains(&py) {
                            let (cx, cy) = (x + px * SIDE, top + (1.0 - py) * SIDE);
                            scene.rect((cx - 0.75, cy - 0.75), 1.5, 1.5, Ink::Fixed(heat(0.75)));
                        }
                    }
                }
            }
            axes(&mut scene, (x, top));
        }
        if scaled {
            bar(&mut scene, (end + 22.0, top), brightest);
        }
        scene
    }
}

/// Ticks at -4, -2, 0, 2, 4 along the left and lower sides of the panel at `(x, y)`.
fn axes(scene: &mut Scene, (x, y): (f64, f64)) {
    for value in [-4i32, -2, 0, 2, 4] {
        let share = (f64::from(value) + EXTENT) / (2.0 * EXTENT);
        let (across, up) = (x + share * SIDE, y + (1.0 - share) * SIDE);
        let text = value.to_string().replace('-', "−");
        scene.line(vec![(across, y + SIDE), (across, y + SIDE + 4.0)], Ink::Frame, 1.0, &[]);
        scene.line(vec![(x - 4.0, up), (x, up)], Ink::Frame, 1.0, &[]);
        scene.text((across, y + SIDE + 6.0 + TICK), text.clone(), TICK, Anchor::Middle, Ink::Muted);
        scene.text((x - 7.0, up + TICK * 0.36), text, TICK, Anchor::End, Ink::Muted);
    }
}

/// The colour bar, its ticks, and its unit.
fn bar(scene: &mut Scene, (x, y): (f64, f64), brightest: f64) {
    let (width, steps) = (14.0, SIDE as u32);
    let image =
        RgbImage::from_fn(width as u32, steps, |_, row| Rgb(heat(1.0 - (f64::from(row) + 0.5) / f64::from(steps))));
    scene.items.push(Item::Picture { at: (x, y), scale: 1.0, image });
    let axis = Axis::linear("density").range(0.0, brightest);
    let span = axis.span(std::iter::empty(), 0.0);
    for tick in axis.ticks(span, 5) {
        let up = y + (1.0 - span.fraction(tick.value)) * SIDE;
        scene.line(vec![(x + width, up), (x + width + 4.0, up)], Ink::Frame, 1.0, &[]);
        let at = (x + width + 7.0, up + TICK * 0.36);
        debug_assert!(measure(&tick.text, TICK) + measure(&tick.exponent, TICK * EXPONENT) < 64.0);
        let (text, exponent) = (tick.text, tick.exponent);
        let (anchor, ink) = (Anchor::Start, Ink::Muted);
        scene.items.push(Item::Text { at, text, exponent, size: TICK, anchor, ink, upward: false });
    }
    scene.text((x, y - 11.0), "density", TICK, Anchor::Start, Ink::Muted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cell_centres;

    /// The colour of the panel `index` at (x, y) of the plane.
    fn colour(image: &RgbImage, index: usize, x: f64, y: f64) -> [u8; 3] {
        let place = |share: f64, start: f64| ((start + share * SIDE) * 2.0) as u32;
        let left = 34.0 + index as f64 * (SIDE + GAP);
        let across = place((x + EXTENT) / 8.0, left);
        image[(across, place((EXTENT - y) / 8.0, 34.0))].0
    }

    #[test]
    fn heat_map_is_upright_and_scaled() {
        let values = cell_centres(EXTENT, 8).iter().map(|&[x, y]| if x > 3.0 && y > 3.0 { 0.3 } else { 0.0 }).collect();
        let image = DensityPanels::new().heat_map("learned", 8, values).png();
        assert_eq!(colour(&image, 0, 3.5, 3.5), heat(1.0), "upper right");
        assert_eq!(colour(&image, 0, -3.5, -3.5), heat(0.0));
        assert_eq!(colour(&image, 0, 3.5, -3.5), heat(0.0));
    }

    #[test]
    fn histogram_agrees_with_the_density_it_counts() {
        // Uniform on the whole square: density 1/64 everywhere, 16 points a bin.
        let fine = cell_centres(EXTENT, BINS * 4);
        let panels = DensityPanels::new().histogram("data", &fine).heat_map("learned", 4, vec![1.0 / 64.0; 16]);
        let image = panels.png();
        for (x, y) in [(-3.9, -3.9), (0.1, 0.2), (3.9, 1.0)] {
            assert_eq!(colour(&image, 0, x, y), heat(1.0), "at ({x}, {y})");
            assert_eq!(colour(&image, 1, x, y), heat(1.0), "at ({x}, {y})");
        }
    }

    #[test]
    fn odd_panels_are_drawn() {
        DensityPanels::new().png();
        let wild = vec![[f32::NAN, 0.0], [f32::INFINITY, 1.0], [99.0, 0.0]];
        let panels = DensityPanels::new().histogram("none", &[]).histogram("wild", &wild).scatter("wild", wild);
        panels.png();
        let image = DensityPanels::new().heat_map("not a number", 1, vec![f64::NAN]).png();
        assert_eq!(colour(&image, 0, 0.0, 0.0), heat(f64::NAN));
    }
}
