//! Pictures and reports of a run: line charts, image grids, density panels and the HTML page that shows them.
//!
//! Everything here takes plain numbers and knows nothing of graphs or devices, so that any part of the program, or
//! another program reading a run folder, may use it. Nothing is fetched: the font is bundled, pages refer to no other
//! host. Deliberately absent: interactive charts, and every kind of chart but the line chart.

pub mod axis;
pub mod chart;
pub mod density;
mod frame;
pub mod grid;
pub mod html;
pub mod metrics;
pub mod palette;
mod raster;
mod scene;
mod svg;
mod write;

pub use axis::Axis;
pub use chart::{Chart, Series};
pub use density::DensityPanels;
pub use grid::ImageGrid;
pub use html::{Report, Section, Table};
pub use metrics::Metrics;
pub(crate) use write::write_file;

/// `value` as a person would write it: three significant digits, a power of ten where it is very large or small.
pub fn brief(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            String::from("not a number")
        } else {
            format!("{value}").replace("inf", "infinity")
        };
    }
    let size = value.abs();
    if size == 0.0 || (value.fract() == 0.0 && size < 1e6) {
        return format!("{value:.0}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let decimals = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.decimals$}")
}
