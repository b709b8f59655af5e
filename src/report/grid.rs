//! Grids of images: originals over reconstructions with row labels and column headings, or bare samples.
//!
//! Pixels are enlarged by whole factors and never smoothed, so that what one sees is what the model made.

use super::palette::Ink;
use super::scene::{Anchor, Item, Scene, measure, wrap};
use crate::error::Result;
use crate::picture::{Picture, save_rgb};
use image::{Rgb, RgbImage, imageops};
use std::path::Path;

/// Font size of labels, and spaces, in pixels.
const TEXT: f64 = 13.0;
const GAP: u32 = 4;
const MARGIN: f64 = 12.0;
/// Row labels are broken into lines of at most this width.
const LABEL: f64 = 150.0;
/// Enlargement stops before a tile's side exceeds this many pixels.
const TILE: usize = 96;

/// The whole factor that makes a tile of `side` pixels comfortably visible.
fn enlargement(side: usize) -> u32 {
    (TILE / side.max(1)).max(1) as u32
}

/// `pictures` in rows of `columns`, enlarged by `scale` (`None`: chosen by size), with thin white lines between, no
/// text.
///
/// Panics where there is no picture, `columns` or `scale` is 0, or shapes differ.
#[track_caller]
pub fn samples(pictures: &[Picture], columns: usize, scale: Option<u32>) -> RgbImage {
    assert!(!pictures.is_empty() && columns > 0, "a grid of {} pictures in {columns} columns", pictures.len());
    let [_, height, width] = pictures[0].shape();
    let scale = scale.unwrap_or_else(|| enlargement(height.max(width)));
    assert!(scale > 0, "enlargement by 0");
    let columns = columns.min(pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let (wide, tall) = (width as u32 * scale, height as u32 * scale);
    let gap = GAP / 2;
    let size = |count: usize, side: u32| count as u32 * (side + gap) + gap;
    let mut grid = RgbImage::from_pixel(size(columns, wide), size(rows, tall), Rgb([255; 3]));
    for (index, picture) in pictures.iter().enumerate() {
        assert_eq!(picture.shape(), pictures[0].shape(), "picture {index} of a grid has another shape");
        let tile = imageops::resize(&picture.to_rgb(), wide, tall, imageops::FilterType::Nearest);
        let (row, column) = ((index / columns) as u32, (index % columns) as u32);
        let (x, y) = (gap + column * (wide + gap), gap + row * (tall + gap));
        imageops::replace(&mut grid, &tile, i64::from(x), i64::from(y));
    }
    grid
}

/// One row of a labelled grid.
#[derive(Clone, Debug)]
struct Row {
    label: String,
    pictures: Vec<Picture>,
    captions: Vec<String>,
}

/// Rows of pictures with a label each, under column headings.
#[derive(Clone, Debug, Default)]
pub struct ImageGrid {
    headings: Vec<String>,
    rows: Vec<Row>,
    scale: Option<u32>,
}

impl ImageGrid {
    /// An empty grid.
    pub fn new() -> Self {
        Self::default()
    }

    /// Column headings; they may be fewer than the columns.
    pub fn headings<T: Into<String>>(self, headings: impl IntoIterator<Item = T>) -> Self {
        Self { headings: headings.into_iter().map(Into::into).collect(), ..self }
    }

    /// The factor of enlargement, instead of one chosen by size. Panics on 0.
    #[track_caller]
    pub fn scale(self, scale: u32) -> Self {
        assert!(scale > 0, "enlargement by 0");
        Self { scale: Some(scale), ..self }
    }

    /// Adds a row labelled `label`.
    pub fn row(self, label: impl Into<String>, pictures: Vec<Picture>) -> Self {
        self.captioned_row(label, pictures, Vec::new())
    }

    /// Adds a row with a caption under each picture, such as its error; captions may be fewer than pictures.
    pub fn captioned_row(mut self, label: impl Into<String>, pictures: Vec<Picture>, captions: Vec<String>) -> Self {
        self.rows.push(Row { label: label.into(), pictures, captions });
        self
    }

    /// The grid as a picture on white.
    pub fn png(&self) -> RgbImage {
        self.scene().raster(1)
    }

    /// Writes the grid to `path` as PNG (or JPEG by its name).
    pub fn write(&self, path: &Path) -> Result<()> {
        save_rgb(path, &self.png())
    }

    fn scene(&self) -> Scene {
        let columns = self.rows.iter().map(|row| row.pictures.len()).max().unwrap_or(0).max(self.headings.len());
        let side =
            |axis: usize| self.rows.iter().flat_map(|row| &row.pictures).map(|p| p.shape()[axis]).max().unwrap_or(1);
        let scale = self.scale.unwrap_or_else(|| enlargement(side(1).max(side(2))));
        let (tile_wide, tile_tall) = (side(2) as f64 * f64::from(scale), side(1) as f64 * f64::from(scale));
        let gap = f64::from(GAP);

        // A caption or a long word of a heading may be wider than a picture: the column grows with it.
        let words = self.headings.iter().flat_map(|heading| heading.split_whitespace());
        let captions = self.rows.iter().flat_map(|row| row.captions.iter().map(String::as_str));
        let widest = words.chain(captions).map(|text| measure(text, TEXT) + 4.0).fold(tile_wide, f64::max);
        let column = widest.min(tile_wide.max(LABEL)).ceil();
        let labels: Vec<Vec<String>> = self.rows.iter().map(|row| wrap(&row.label, TEXT, LABEL)).collect();
        let label_width = labels.iter().flatten().map(|line| measure(line, TEXT)).fold(0.0, f64::max).ceil();
        let left = MARGIN + label_width + if label_width > 0.0 { 10.0 } else { 0.0 };
        let headings: Vec<Vec<String>> = self.headings.iter().map(|text| wrap(text, TEXT, column)).collect();
        let heading_lines = headings.iter().map(Vec::len).max().unwrap_or(0);
        let line = TEXT * 1.3;

        let mut scene = Scene::new(left + columns as f64 * (column + gap) - gap + MARGIN, 0.0);
        let mut top = MARGIN + (heading_lines as f64 * line).ceil() + if heading_lines > 0 { 4.0 } else { 0.0 };
        let middle = |index: usize| left + index as f64 * (column + gap) + column / 2.0;
        for (index, lines) in headings.iter().enumerate() {
            for (i, text) in lines.iter().rev().enumerate() {
                let y = top - 7.0 - i as f64 * line;
                scene.text((middle(index), y), text, TEXT, Anchor::Middle, Ink::Text);
            }
        }
        for (row, lines) in self.rows.iter().zip(&labels) {
            let first = top + tile_tall / 2.0 - (lines.len() as f64 - 1.0) / 2.0 * line + TEXT * 0.36;
            for (i, text) in lines.iter().enumerate() {
                let at = (left - 10.0, first + i as f64 * line);
                scene.text(at, text, TEXT, Anchor::End, Ink::Text);
            }
            for (index, picture) in row.pictures.iter().enumerate() {
                let at = ((middle(index) - tile_wide / 2.0).floor(), top);
                scene.items.push(Item::Picture { at, scale: f64::from(scale), image: picture.to_rgb() });
            }
            for (index, text) in row.captions.iter().enumerate().take(columns) {
                let at = (middle(index), top + tile_tall + TEXT + 1.0);
                let text = super::scene::shorten(text, TEXT - 1.0, column);
                scene.text(at, text, TEXT - 1.0, Anchor::Middle, Ink::Muted);
            }
            top += tile_tall + if row.captions.is_empty() { gap } else { (TEXT * 1.9).ceil() };
        }
        scene.height = (top - gap + MARGIN).ceil();
        scene
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f32) -> Picture {
        Picture::new([1, 2, 2], vec![value; 4])
    }

    #[test]
    fn samples_stand_in_rows_enlarged_whole() {
        let pictures: Vec<Picture> = [-0.5, 0.0, 0.5].map(plain).to_vec();
        let grid = samples(&pictures, 2, Some(3));
        assert_eq!(grid.dimensions(), (2 + 2 * 8, 2 + 2 * 8));
        assert_eq!((grid[(2, 2)].0, grid[(7, 7)].0), ([0; 3], [0; 3]), "first tile, corner to corner");
        assert_eq!(grid[(8, 2)].0, [255; 3], "white between");
        assert_eq!(grid[(10, 2)].0, [128; 3], "second tile");
        assert_eq!(grid[(2, 10)].0, [255; 3], "third tile below");
    }

    #[test]
    fn labelled_grid_shows_pictures_and_text() {
        let dark = Picture::new([3, 4, 4], [vec![0.5; 16], vec![-0.5; 32]].concat());
        let grid = ImageGrid::new().headings(["shirt", "shoe"]).scale(10).row("original", vec![dark.clone(), dark]);
        let image = grid.png();
        let red = image.pixels().filter(|pixel| pixel.0 == [255, 0, 0]).count();
        assert_eq!(red, 2 * 40 * 40, "every pixel of both tiles, and no other, is exactly red");
        let text = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
            y.flat_map(|y| x.clone().map(move |x| (x, y))).any(|at| image[at].0.iter().all(|&v| v < 120))
        };
        let (width, height) = image.dimensions();
        assert!(text(70..width, 0..34), "headings above the tiles");
        assert!(text(0..68, 34..height), "a label left of them");
    }

    #[test]
    fn odd_grids_are_drawn() {
        ImageGrid::new().png();
        let uneven = ImageGrid::new().headings(["a", "b", "c"]).row("", vec![plain(0.0)]).row("second", vec![]);
        assert!(uneven.png().width() > 3 * 84);
        let long = "x".repeat(500);
        let wide = ImageGrid::new().headings([long.clone()]).captioned_row(long.clone(), vec![plain(0.0)], vec![long]);
        assert!(wide.png().width() < 500, "long words are cut, not followed");
    }
}
