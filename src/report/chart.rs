//! Line charts: loss curves, error against iterations, and the like, as SVG and PNG.
//!
//! A chart is data until it is drawn, and may be drawn at several widths (a report shows a wide and a narrow one).
//! A point that is not finite, or not positive on a logarithmic axis, is a gap in its line, never a guess.
//! PNGs have a white ground, readable on any page; SVGs bring their own ground, which follows the reader's light or
//! dark preference.

use super::axis::{Axis, Tick};
use super::frame::{Frame, thin};
use super::palette::{Ink, SERIES};
use super::scene::{Anchor, EXPONENT, Item, Scene, measure, shorten, wrap};
use super::write::{write_file, write_png};
use crate::error::Result;
use image::RgbImage;
use std::path::{Path, PathBuf};

/// Font sizes in CSS pixels.
const TITLE: f64 = 16.0;
const LABEL: f64 = 13.0;
const TICK: f64 = 12.0;
/// The width at which charts are written to files, in CSS pixels; their PNGs have twice as many pixels.
const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 460.0;
/// The length of a line's sample in the legend.
const SAMPLE: f64 = 30.0;
/// Lines of up to this many points bear markers.
const MARKED: usize = 60;
/// Markers stand at least this far apart.
const APART: f64 = 14.0;
/// Dashes, so that lines are told apart without colour.
const DASHES: [&[f64]; SERIES] =
    [&[], &[8.0, 4.0], &[2.0, 3.0], &[10.0, 3.0, 2.0, 3.0], &[14.0, 4.0], &[5.0, 3.0, 1.5, 3.0, 1.5, 3.0]];

/// A named line.
#[derive(Clone, Debug)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    smoothing: Option<f64>,
    width: f64,
}

impl Series {
    /// A line through `points` (x, y) in the order given.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, smoothing: None, width: 2.0 }
    }

    /// Half as wide: for many lines in one series, with gaps between them.
    pub fn thin(self) -> Self {
        Self { width: 1.0, ..self }
    }

    /// Draws the values themselves pale, and over them their average over about `points` neighbouring points (see
    /// [`smooth`]).
    pub fn smoothed(self, points: f64) -> Self {
        Self { smoothing: Some(points), ..self }
    }
}

/// The average of each point and those around it, with weights falling by e every `span` / 2 points either way; NaN
/// where a value is not finite.
///
/// Looking both ways keeps the line in the middle of falling values, where a running average would trail above them.
pub fn smooth(points: &[(f64, f64)], span: f64) -> Vec<(f64, f64)> {
    let keep = (-2.0 / span.max(1e-3)).exp();
    // Sum and weight of what lies behind each point, then of what lies ahead.
    let pass = |ys: &mut dyn Iterator<Item = f64>| -> Vec<(f64, f64)> {
        let mut state = (0.0, 0.0);
        let step = |y: f64| {
            let behind = state;
            let (value, weight) = if y.is_finite() { (y, 1.0) } else { (0.0, 0.0) };
            state = (keep * (state.0 + value), keep * (state.1 + weight));
            behind
        };
        ys.map(step).collect()
    };
    let behind = pass(&mut points.iter().map(|p| p.1));
    let mut ahead = pass(&mut points.iter().rev().map(|p| p.1));
    ahead.reverse();
    let sides = behind.iter().zip(&ahead);
    let average = points
        .iter()
        .zip(sides)
        .map(|(&(x, y), (b, a))| (x, if y.is_finite() { (y + b.0 + a.0) / (1.0 + b.1 + a.1) } else { f64::NAN }));
    average.collect()
}

/// One series in the legend, and the width it takes.
struct Entry {
    index: usize,
    name: String,
    wide: f64,
}

/// A line chart.
#[derive(Clone, Debug)]
pub struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

impl Chart {
    /// A chart without lines yet.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, series: Vec::new() }
    }

    /// Adds a line.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// The chart's title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The chart as an SVG document of `width` × `height` CSS pixels (at least 240 × 180).
    pub fn svg(&self, width: f64, height: f64) -> String {
        self.scene(width, height).svg(&self.title, &self.description())
    }

    /// The chart as an element of an HTML page.
    pub(crate) fn svg_inline(&self, width: f64, height: f64, class: &str) -> String {
        self.scene(width, height).svg_inline(&self.title, &self.description(), class)
    }

    /// The chart as a picture on white, two pixels per CSS pixel.
    pub fn png(&self, width: f64, height: f64) -> RgbImage {
        self.scene(width, height).raster(2)
    }

    /// Writes `stem.svg` and `stem.png` into `folder` and returns their paths.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<[PathBuf; 2]> {
        let [svg, png] = ["svg", "png"].map(|extension| folder.join(format!("{stem}.{extension}")));
        write_file(&svg, self.svg(WIDTH, HEIGHT).as_bytes())?;
        write_png(&png, &self.png(WIDTH, HEIGHT))?;
        Ok([svg, png])
    }

    /// What the chart shows, in words: the axes, and for each line where it starts, ends and is lowest.
    pub fn description(&self) -> String {
        let mut text = format!("Line chart of {} against {}.", self.y.caption(), self.x.caption());
        for series in &self.series {
            let shown = || series.points.iter().filter(|point| self.shows(point));
            let (Some(first), Some(last)) = (shown().next(), shown().next_back()) else {
                text += &format!(" {}: no data.", series.name);
                continue;
            };
            let low = shown().fold(first, |low, point| if point.1 < low.1 { point } else { low });
            let brief = super::brief;
            text += &format!(
                " {}: from {} at {} to {} at {}, lowest {} at {}.",
                if series.name.is_empty() { "Line" } else { &series.name },
                brief(first.1),
                brief(first.0),
                brief(last.1),
                brief(last.0),
                brief(low.1),
                brief(low.0)
            );
        }
        text
    }

    fn shows(&self, point: &(f64, f64)) -> bool {
        self.x.shows(point.0) && self.y.shows(point.1)
    }

    pub(crate) fn scene(&self, width: f64, height: f64) -> Scene {
        let (width, height) = (width.max(240.0), height.max(180.0));
        let mut scene = Scene::new(width, height);
        let shown = || self.series.iter().flat_map(|series| &series.points).filter(|point| self.shows(point));
        let (xs, ys) = (self.x.span(shown().map(|p| p.0), 0.0), self.y.span(shown().map(|p| p.1), 0.04));

        let mut top = 10.0;
        for line in wrap(&self.title, TITLE, width - 24.0) {
            top += TITLE * 1.25;
            scene.text((width / 2.0, top - 5.0), line, TITLE, Anchor::Middle, Ink::Text);
        }
        top = self.legend(&mut scene, top) + 12.0;

        let bottom = height - 48.0;
        let y_ticks = self.y.ticks(ys, ((bottom - top) / 34.0) as usize);
        let widest = y_ticks.iter().map(tick_width).fold(0.0, f64::max);
        let left = 12.0 + LABEL * 1.5 + widest + 8.0;
        let mut frame = Frame { left, right: width - 20.0, top, bottom, xs, ys };
        let x_ticks = self.x_ticks(&frame);
        // Room for half of the last label, where it stands near the end.
        if let Some(last) = x_ticks.last() {
            let over = frame.place((last.value, ys.low)).0 + tick_width(last) / 2.0 + 6.0 - width;
            frame.right -= over.max(0.0);
        }
        self.axes(&mut scene, &frame, &x_ticks, &y_ticks);
        if shown().next().is_none() {
            let centre = ((frame.left + frame.right) / 2.0, (frame.top + frame.bottom) / 2.0);
            scene.text(centre, "no data", TITLE, Anchor::Middle, Ink::Muted);
        }
        // Pale lines first, so that no average is hidden by another line's noise.
        for (index, series) in self.series.iter().enumerate() {
            if series.smoothing.is_some() {
                self.curve(&mut scene, &frame, &series.points, Ink::Pale(index), 1.0, &[]);
            }
        }
        for (index, series) in self.series.iter().enumerate() {
            let points = series.smoothing.map(|span| smooth(&series.points, span));
            let points = points.as_deref().unwrap_or(&series.points);
            self.curve(&mut scene, &frame, points, Ink::Series(index), series.width, DASHES[index % SERIES]);
            if series.points.len() <= MARKED {
                let shown = points.iter().filter(|point| self.shows(point)).map(|&point| frame.place(point));
                let mut last: Option<(f64, f64)> = None;
                for at in shown.filter(|&at| frame.holds(at)) {
                    // Markers that would touch their neighbour hide the line.
                    if last.is_none_or(|last| (at.0 - last.0).hypot(at.1 - last.1) >= APART) {
                        marker(&mut scene, at, index);
                        last = Some(at);
                    }
                }
            }
        }
        scene
    }

    /// As many x ticks as their labels leave room for.
    fn x_ticks(&self, frame: &Frame) -> Vec<Tick> {
        let room = frame.right - frame.left;
        let mut want = ((room / 60.0) as usize).max(4);
        loop {
            let ticks = self.x.ticks(frame.xs, want);
            let fits = ticks.windows(2).all(|pair| {
                let distance = frame.place((pair[1].value, 0.0)).0 - frame.place((pair[0].value, 0.0)).0;
                distance >= (tick_width(&pair[0]) + tick_width(&pair[1])) / 2.0 + 14.0
            });
            if fits || want <= 2 {
                return ticks;
            }
            want -= 1;
        }
    }

    /// Draws samples and names from `top` down, in as many rows as needed; returns where they end.
    fn legend(&self, scene: &mut Scene, top: f64) -> f64 {
        let room = scene.width - 24.0;
        let mut rows: Vec<(f64, Vec<Entry>)> = Vec::new();
        for (index, series) in self.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty()) {
            let name = shorten(&series.name, TICK, room - SAMPLE - 26.0);
            let entry = Entry { index, wide: SAMPLE + 6.0 + measure(&name, TICK) + 20.0, name };
            match rows.last_mut() {
                Some((used, row)) if *used + entry.wide <= room => {
                    *used += entry.wide;
                    row.push(entry);
                }
                _ => rows.push((entry.wide, vec![entry])),
            }
        }
        let mut y = top;
        for (used, row) in rows {
            y += TICK * 1.6;
            let mut x = (scene.width - (used - 20.0)) / 2.0;
            for Entry { index, name, wide } in row {
                let middle = y - TICK * 0.35;
                let line = vec![(x, middle), (x + SAMPLE, middle)];
                scene.line(line, Ink::Series(index), 2.0, DASHES[index % SERIES]);
                if self.series[index].points.len() <= MARKED {
                    marker(scene, (x + SAMPLE / 2.0, middle), index);
                }
                scene.text((x + SAMPLE + 6.0, y), name, TICK, Anchor::Start, Ink::Text);
                x += wide;
            }
        }
        y
    }

    fn axes(&self, scene: &mut Scene, frame: &Frame, x_ticks: &[Tick], y_ticks: &[Tick]) {
        for tick in x_ticks {
            let (x, _) = frame.place((tick.value, frame.ys.low));
            scene.line(vec![(x, frame.top), (x, frame.bottom)], Ink::Grid, 1.0, &[]);
            scene.line(vec![(x, frame.bottom), (x, frame.bottom + 5.0)], Ink::Frame, 1.0, &[]);
            tick_label(scene, (x, frame.bottom + 7.0 + TICK), tick, Anchor::Middle);
        }
        for tick in y_ticks {
            let (_, y) = frame.place((frame.xs.low, tick.value));
            scene.line(vec![(frame.left, y), (frame.right, y)], Ink::Grid, 1.0, &[]);
            scene.line(vec![(frame.left - 5.0, y), (frame.left, y)], Ink::Frame, 1.0, &[]);
            tick_label(scene, (frame.left - 8.0, y + TICK * 0.36), tick, Anchor::End);
        }
        for value in frame.xs.minor() {
            let (x, _) = frame.place((value, frame.ys.low));
            scene.line(vec![(x, frame.bottom), (x, frame.bottom + 3.0)], Ink::Frame, 1.0, &[]);
        }
        for value in frame.ys.minor() {
            let (_, y) = frame.place((frame.xs.low, value));
            scene.line(vec![(frame.left - 3.0, y), (frame.left, y)], Ink::Frame, 1.0, &[]);
        }
        scene.line(vec![(frame.left, frame.top), (frame.left, frame.bottom)], Ink::Frame, 1.0, &[]);
        scene.line(vec![(frame.left, frame.bottom), (frame.right, frame.bottom)], Ink::Frame, 1.0, &[]);
        let below = (f64::midpoint(frame.left, frame.right), scene.height - 10.0);
        let caption = shorten(&self.x.caption(), LABEL, scene.width - 24.0);
        scene.text(below, caption, LABEL, Anchor::Middle, Ink::Text);
        scene.items.push(Item::Text {
            at: (10.0 + LABEL, f64::midpoint(frame.top, frame.bottom)),
            text: shorten(&self.y.caption(), LABEL, frame.bottom - frame.top + 40.0),
            exponent: String::new(),
            size: LABEL,
            anchor: Anchor::Middle,
            ink: Ink::Text,
            upward: true,
        });
    }

    /// Draws one line, broken at gaps and cut at the frame; a point between two gaps becomes a dot.
    fn curve(
        &self,
        scene: &mut Scene,
        frame: &Frame,
        points: &[(f64, f64)],
        ink: Ink,
        width: f64,
        dash: &'static [f64],
    ) {
        for run in points.split(|point| !self.shows(point)).filter(|run| !run.is_empty()) {
            let places: Vec<(f64, f64)> = run.iter().map(|&point| frame.place(point)).collect();
            if let [only] = places[..] {
                if frame.holds(only) {
                    scene.items.push(Item::Polygon { points: disc(only, width + 1.0), ink });
                }
                continue;
            }
            for piece in frame.cut(&thin(&places)) {
                scene.line(piece, ink, width, dash);
            }
        }
    }
}

fn tick_width(tick: &Tick) -> f64 {
    measure(&tick.text, TICK) + measure(&tick.exponent, TICK * EXPONENT)
}

fn tick_label(scene: &mut Scene, at: (f64, f64), tick: &Tick, anchor: Anchor) {
    let (text, exponent) = (tick.text.clone(), tick.exponent.clone());
    scene.items.push(Item::Text { at, text, exponent, size: TICK, anchor, ink: Ink::Muted, upward: false });
}

fn disc((x, y): (f64, f64), radius: f64) -> Vec<(f64, f64)> {
    corners((x, y), radius, 16, 0.0)
}

fn corners((x, y): (f64, f64), radius: f64, count: u32, turn: f64) -> Vec<(f64, f64)> {
    let angle = |i| (f64::from(i) / f64::from(count) + turn) * std::f64::consts::TAU;
    (0..count).map(|i| (x + radius * angle(i).cos(), y + radius * angle(i).sin())).collect()
}

/// A marker whose shape differs from series to series.
fn marker(scene: &mut Scene, at: (f64, f64), index: usize) {
    let points = match index % 4 {
        0 => disc(at, 3.5),
        1 => corners(at, 4.6, 4, 0.125),
        2 => corners(at, 5.0, 3, -0.25),
        _ => corners(at, 4.8, 4, 0.0),
    };
    scene.items.push(Item::Polygon { points, ink: Ink::Series(index) });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels of `image` within 40 of `rgb` in every channel.
    fn count(image: &RgbImage, rgb: [u8; 3]) -> usize {
        image.pixels().filter(|p| (0..3).all(|c| p[c].abs_diff(rgb[c]) < 40)).count()
    }

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart::new("", Axis::linear("x").range(0.0, 10.0), Axis::linear("y").range(0.0, 1.0))
            .series(Series::new("", points))
    }

    fn lines(chart: &Chart) -> Vec<Vec<(f64, f64)>> {
        let scene = chart.scene(400.0, 300.0);
        let of_series = |item: Item| match item {
            Item::Line { points, ink: Ink::Series(_), .. } => Some(points),
            _ => None,
        };
        scene.items.into_iter().filter_map(of_series).collect()
    }

    #[test]
    fn lines_break_at_gaps_and_lone_points_are_dots() {
        let ys = [0.1, 0.2, f64::NAN, 0.4, f64::INFINITY, 0.6, 0.7];
        let chart = chart(ys.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect());
        assert_eq!(lines(&chart).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        let scene = chart.scene(400.0, 300.0);
        let marks = scene.items.iter().filter(|i| matches!(i, Item::Polygon { ink: Ink::Series(0), .. })).count();
        assert_eq!(marks, 5 + 1, "a marker on each shown point, and the lone point's dot");
    }

    #[test]
    fn zero_is_a_gap_on_a_log_axis() {
        let axes = (Axis::linear("x"), Axis::log("y"));
        let chart = Chart::new("", axes.0, axes.1).series(Series::new("", vec![(0.0, 1.0), (1.0, 0.1), (2.0, 0.0)]));
        assert_eq!(lines(&chart).iter().map(Vec::len).sum::<usize>(), 2);
    }

    #[test]
    fn lines_are_cut_at_the_frame() {
        let pieces = lines(&chart(vec![(0.0, 0.5), (5.0, 2.5), (10.0, 0.5)]));
        assert_eq!(pieces.len(), 2, "out at the top and in again");
        assert_eq!(pieces[0][1].1, pieces[1][0].1, "both at the upper edge");
        assert!(lines(&chart(vec![(0.0, 2.0), (10.0, 3.0)])).is_empty());
    }

    #[test]
    fn a_line_is_where_its_values_are() {
        let image = chart(vec![(0.0, 0.5), (10.0, 0.5)]).png(400.0, 300.0);
        let blue = Ink::Series(0).light();
        let rows: Vec<u32> = image.enumerate_pixels().filter(|(_, _, p)| p.0 == blue).map(|(_, y, _)| y).collect();
        let (low, high) = (rows.iter().min().copied().unwrap_or(0), rows.iter().max().copied().unwrap_or(0));
        // The frame reaches from 22 to 252 CSS pixels; markers are 3.5 in radius.
        assert!((low + high).abs_diff(2 * (22 + 252)) <= 4, "rows {low} to {high}");
        assert!(high - low < 16 && count(&image, blue) > 1000);
    }

    #[test]
    fn odd_data_are_drawn_at_any_size() {
        let wild =
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.0, -1.0, 1e200];
        let points: Vec<_> = wild.iter().flat_map(|&x| wild.iter().map(move |&y| (x, y))).collect();
        for points in [vec![], vec![(1.0, 1.0)], vec![(2.0, 3.0); 5], points] {
            for (x, y) in [(Axis::linear("x"), Axis::log("y")), (Axis::log("x").whole(), Axis::linear("y"))] {
                let series = Series::new("n".repeat(300), points.clone());
                let chart = Chart::new("t".repeat(300), x, y).series(series.clone()).series(series.smoothed(10.0));
                let svg = chart.svg(1.0, 1.0);
                assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{svg}");
                chart.png(1.0, 1.0);
                chart.svg(2000.0, 900.0);
            }
        }
    }

    #[test]
    fn smoothing_keeps_a_straight_line_and_gaps() {
        let mut points: Vec<(f64, f64)> = (0..401).map(|i| (f64::from(i), f64::from(i))).collect();
        points[300].1 = f64::NAN;
        let smooth = smooth(&points, 20.0);
        assert!((smooth[150].1 - 150.0).abs() < 1e-3, "no lag in the middle: {}", smooth[150].1);
        assert!(smooth[300].1.is_nan() && smooth[301].1.is_finite());
    }

    #[test]
    fn files_are_written_and_described() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chart = Chart::new("Loss <1>", Axis::linear("step"), Axis::linear("loss").unit("nats"))
            .series(Series::new("train", vec![(1.0, 2.0), (2.0, 0.5), (3.0, 1.0)]));
        let [svg, png] = chart.write(folder.path(), "loss").expect("written");
        let text = std::fs::read_to_string(svg).expect("the SVG");
        assert!(text.contains("<title>Loss &lt;1&gt;</title>") && text.contains("loss (nats)"));
        assert!(text.contains("from 2 at 1 to 1 at 3, lowest 0.500 at 2"), "{}", chart.description());
        assert_eq!(image::open(png).expect("the PNG").width(), 1600);
    }
}
