//! `report.html`: one page of prose, figures and tables that opens anywhere, without a network.
//!
//! Charts are inline SVG: sharp at every zoom, recoloured in dark mode, selectable. Pictures are PNG files beside the
//! page, referred to by name, rather than data inside it: they are of use by themselves (in a paper, an issue), the
//! page stays small enough to read and compare as text, and a run folder is moved as a whole anyway. There is no
//! script. Each chart stands on the page twice, wide and narrow, and the reader's screen decides, because a wide
//! chart's labels are illegible when shrunk to a phone. Every text from outside is escaped.

use super::chart::Chart;
use super::density::DensityPanels;
use super::grid::ImageGrid;
use super::svg::{dark_rules, escape};
use super::write::{write_file, write_png};
use crate::error::{Error, Result};
use image::RgbImage;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Sizes of a chart on a wide and on a narrow screen, in CSS pixels.
const WIDE: (f64, f64) = (840.0, 440.0);
const NARROW: (f64, f64) = (360.0, 330.0);

/// A table with a caption and column headings.
#[derive(Clone, Debug)]
pub struct Table {
    caption: String,
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows yet.
    pub fn new<T: Into<String>>(caption: impl Into<String>, headings: impl IntoIterator<Item = T>) -> Self {
        let headings = headings.into_iter().map(Into::into).collect();
        Self { caption: caption.into(), headings, rows: Vec::new() }
    }

    /// Adds a row; its first cell names it. Panics unless it has as many cells as there are headings.
    #[track_caller]
    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.headings.len(), "cells of a table row against headings {:?}", self.headings);
        self.rows.push(cells);
        self
    }

    fn html(&self) -> String {
        let mut out = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\">\n<table>\n<caption>{0}</caption>\n<thead><tr>",
            escape(&self.caption)
        );
        // A column is set right when all its cells are numbers.
        let numeric: Vec<bool> =
            (0..self.headings.len()).map(|i| i > 0 && self.rows.iter().all(|row| is_number(&row[i]))).collect();
        let class = |i: usize| if numeric[i] { " class=\"number\"" } else { "" };
        for (i, heading) in self.headings.iter().enumerate() {
            let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(i), escape(heading));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for (i, cell) in row.iter().enumerate() {
                let (open, close) = if i == 0 { ("<th scope=\"row\"", "</th>") } else { ("<td", "</td>") };
                let _ = write!(out, "{open}{}>{}{close}", class(i), escape(cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table>\n</div>\n");
        out
    }
}

/// Whether `cell` is a number, possibly with a unit, or a dash for a missing one.
fn is_number(cell: &str) -> bool {
    let first = cell.trim_start_matches(['-', '−', '+', '<', '>', '≈', ' ']).chars().next();
    first.is_none_or(|c| c.is_ascii_digit() || c == '–' || c == '—')
}

/// Part of a report under one heading.
#[derive(Clone, Debug)]
pub struct Section {
    heading: String,
    body: String,
    pictures: Vec<(String, RgbImage)>,
}

impl Section {
    /// An empty section.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), body: String::new(), pictures: Vec::new() }
    }

    /// Adds paragraphs, separated by blank lines; text between backticks is set as code.
    pub fn prose(mut self, text: &str) -> Self {
        self.body += &paragraphs(text);
        self
    }

    /// Adds a line chart. Its description in words is derived from the data.
    pub fn chart(mut self, chart: &Chart, caption: &str) -> Self {
        let (wide, narrow) = (chart.svg_inline(WIDE.0, WIDE.1, "wide"), chart.svg_inline(NARROW.0, NARROW.1, "narrow"));
        let _ = write!(self.body, "<figure>\n{wide}{narrow}<figcaption>{}</figcaption>\n</figure>\n", inline(caption));
        self
    }

    /// Adds `image`, to be written as PNG to `file` beside the page and shown pixel by pixel; `alt` says what it shows.
    ///
    /// Panics unless `file` is a plain file name of letters, digits, dots, dashes and underscores that ends in .png.
    #[track_caller]
    pub fn image(self, file: &str, image: RgbImage, alt: &str, caption: &str) -> Self {
        self.picture(file, image, 1, alt, caption)
    }

    /// Adds a grid of images like [`Section::image`].
    #[track_caller]
    pub fn grid(self, file: &str, grid: &ImageGrid, alt: &str, caption: &str) -> Self {
        self.picture(file, grid.png(), 1, alt, caption)
    }

    /// Adds density panels like [`Section::image`].
    #[track_caller]
    pub fn densities(self, file: &str, panels: &DensityPanels, alt: &str, caption: &str) -> Self {
        self.picture(file, panels.png(), 2, alt, caption)
    }

    /// Adds a table.
    pub fn table(mut self, table: &Table) -> Self {
        self.body += &table.html();
        self
    }

    #[track_caller]
    fn picture(mut self, file: &str, image: RgbImage, pixels: u32, alt: &str, caption: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        assert!(file.ends_with(".png") && file.chars().all(plain), "{file:?} is not a plain name ending in .png");
        let (width, height) = (image.width() / pixels, image.height() / pixels);
        let _ = write!(
            self.body,
            "<figure>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{alt}\"><a href=\"{file}\">\
             <img src=\"{file}\" width=\"{width}\" height=\"{height}\" style=\"--natural:{width}px\" alt=\"{alt}\">\
             </a></div>\n<figcaption>{}</figcaption>\n</figure>\n",
            inline(caption),
            alt = escape(alt),
        );
        self.pictures.push((file.to_owned(), image));
        self
    }
}

/// A page under construction.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    lead: String,
    figures: Vec<(String, String)>,
    sections: Vec<Section>,
    configuration: String,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        let (lead, configuration) = (String::new(), String::new());
        Self { title: title.into(), lead, figures: Vec::new(), sections: Vec::new(), configuration }
    }

    /// Paragraphs directly under the title.
    pub fn lead(mut self, text: &str) -> Self {
        self.lead += &paragraphs(text);
        self
    }

    /// Adds a key figure, such as "test accuracy" and "91.3 %", shown large at the top.
    pub fn key_figure(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.figures.push((label.into(), value.into()));
        self
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The run's configuration as text, folded away at the end.
    pub fn configuration(self, text: impl Into<String>) -> Self {
        Self { configuration: text.into(), ..self }
    }

    /// Writes `report.html` and its pictures into `folder`, made if absent, and returns the page's path.
    ///
    /// The page is written last and in one step, so that it never refers to a picture that is not there yet.
    ///
    /// Panics where two pictures bear one name.
    #[track_caller]
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let pictures: Vec<&(String, RgbImage)> = self.sections.iter().flat_map(|section| &section.pictures).collect();
        for (index, (name, _)) in pictures.iter().enumerate() {
            assert!(pictures[..index].iter().all(|(other, _)| other != name), "two pictures are called {name}");
        }
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { path: folder.to_owned(), source })?;
        for (name, image) in pictures {
            write_png(&folder.join(name), image)?;
        }
        let page = folder.join("report.html");
        write_file(&page, self.html().as_bytes())?;
        Ok(page)
    }

    /// The page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>\n{STYLE}{}\n</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}",
            dark_rules(),
            self.lead
        );
        if !self.figures.is_empty() {
            out.push_str("<dl class=\"key\">\n");
            for (label, value) in &self.figures {
                let _ = writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(label), escape(value));
            }
            out.push_str("</dl>\n");
        }
        for section in &self.sections {
            let _ = write!(out, "<section>\n<h2>{}</h2>\n{}</section>\n", escape(&section.heading), section.body);
        }
        if !self.configuration.is_empty() {
            let text = escape(self.configuration.trim_end());
            let _ = write!(
                out,
                "<section>\n<h2>Configuration</h2>\n<details><summary>Every setting of this run</summary>\n\
                 <pre tabindex=\"0\"><code>{text}</code></pre>\n</details>\n</section>\n"
            );
        }
        let _ = write!(
            out,
            "</main>\n<footer>Written by {} {}.</footer>\n</body>\n</html>\n",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        );
        out
    }
}

/// `text` as paragraphs.
fn paragraphs(text: &str) -> String {
    let parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| format!("<p>{}</p>\n", inline(part))).collect()
}

/// `text` escaped, with parts between pairs of backticks as code.
fn inline(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let mut out = String::new();
    for (index, part) in parts.iter().enumerate() {
        let paired = index + 1 < parts.len();
        match index % 2 {
            1 if paired => out += &format!("<code>{}</code>", escape(part)),
            1 => out += &format!("`{}", escape(part)),
            _ => out += &escape(part),
        }
    }
    out
}

/// Everything the page looks like, apart from the inside of charts.
const STYLE: &str = "\
:root{--text:#1f2328;--muted:#505861;--paper:#fff;--page:#f6f8fa;--line:#d0d7de;--link:#0969da}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ed;--muted:#a5adb7;--paper:#161b22;--page:#0d1117;--line:#3d444d;--link:#6cb6ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:1rem/1.6 system-ui,'DejaVu Sans',sans-serif;overflow-wrap:break-word}
main{max-width:57rem;margin:0 auto;padding:1.5rem 1rem}
footer{max-width:57rem;margin:0 auto;padding:0 1rem 2rem;color:var(--muted);font-size:.875rem}
h1{font-size:1.9rem;line-height:1.25;margin:.5rem 0 1rem}
h2{font-size:1.35rem;line-height:1.3;margin:2.5rem 0 .75rem}
p{max-width:44rem;margin:.75rem 0}
a{color:var(--link)}
.key{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.75rem;margin:1.5rem 0}
.key div{display:flex;flex-direction:column;background:var(--paper);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
.key dt{color:var(--muted);font-size:.875rem}
.key dd{margin:auto 0 0;font-size:1.5rem;font-variant-numeric:tabular-nums}
figure{margin:1.25rem 0;background:var(--paper);border:1px solid var(--line);border-radius:.5rem;padding:.75rem}
figcaption{color:var(--muted);font-size:.9375rem;max-width:44rem;margin-top:.5rem}
.chart{display:block;max-width:100%;height:auto;margin:0 auto}
.narrow{display:none}
.scroll{overflow-x:auto}
.scroll:focus-visible,summary:focus-visible,pre:focus-visible{outline:2px solid var(--link);outline-offset:2px}
img{display:block;width:min(var(--natural),max(100%,37rem));height:auto;margin:0 auto;background:#fff;border-radius:.25rem}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);font-size:.9375rem;padding-bottom:.375rem}
th,td{padding:.375rem .875rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{border-bottom-width:2px;white-space:nowrap}
tbody th{font-weight:normal}
.number{text-align:right;white-space:nowrap}
code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.9em}
pre{background:var(--paper);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem;overflow-x:auto;line-height:1.45}
summary{cursor:pointer}
@media screen and (max-width:40rem){.wide{display:none}.narrow{display:block}h1{font-size:1.5rem}figure{padding:.5rem;margin-left:-.5rem;margin-right:-.5rem}th,td{padding:.375rem .625rem}.key{grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr))}.key dd{font-size:1.25rem}}
@media print{body{background:#fff}figure,tr{break-inside:avoid}}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Axis, Series};

    const HOSTILE: &str = "</title><script>alert('x' & \"y\")</script>";

    fn chart() -> Chart {
        let series = Series::new(HOSTILE, vec![(0.0, 1.0), (1.0, 2.0)]);
        Chart::new(HOSTILE, Axis::linear(HOSTILE), Axis::log(HOSTILE).unit(HOSTILE)).series(series)
    }

    #[test]
    fn everything_is_escaped_and_nothing_fetched() {
        let image = RgbImage::new(2, 2);
        let section = Section::new(HOSTILE)
            .prose(HOSTILE)
            .prose(&format!("`{HOSTILE}`"))
            .chart(&chart(), HOSTILE)
            .image("a.png", image, HOSTILE, HOSTILE)
            .table(&Table::new(HOSTILE, [HOSTILE, "b"]).row([HOSTILE, HOSTILE]));
        let report = Report::new(HOSTILE).lead(HOSTILE).key_figure(HOSTILE, HOSTILE).section(section);
        let html = report.configuration(HOSTILE).html();
        assert!(!html.contains("<script"), "a script got through");
        assert!(!html.contains("alert('x'"), "a quote got through");
        let links = html.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains("http") && !links.contains("url(") && !links.contains("//"), "a reference outside");
    }

    #[test]
    fn page_is_well_formed_and_in_order() {
        let section = Section::new("One").prose("a\n\nb `c` d ` e").chart(&chart(), "x");
        let html = Report::new("T").section(section).configuration("a = 1").html();
        assert!(html.contains("<p>a</p>\n<p>b <code>c</code> d ` e</p>"), "{html}");
        let mut open: Vec<String> = Vec::new();
        let empty = ["meta", "img", "rect", "polyline", "polygon", "!doctype"];
        for tag in html.split('<').skip(1) {
            let name: String = tag.chars().take_while(|c| !c.is_whitespace() && *c != '>').collect();
            if let Some(closed) = name.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(closed), "closing tag out of order");
            } else if !empty.contains(&name.as_str()) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
        assert!(html.find("<h1>") < html.find("<h2>") && !html.contains("<h3"));
        assert_eq!(html.matches("<h1>").count(), 1);
    }

    #[test]
    fn pictures_are_written_beside_the_page() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = folder.path().join("run");
        let section = Section::new("S").image("a-1.png", RgbImage::new(3, 2), "three by two", "c");
        let page = Report::new("T").section(section).write(&place).expect("written");
        assert!(page.ends_with("report.html"));
        assert_eq!(image::open(place.join("a-1.png")).expect("a PNG").width(), 3);
        let mut names: Vec<_> =
            std::fs::read_dir(&place).expect("a folder").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["a-1.png", "report.html"], "and nothing else is left");
    }

    #[test]
    #[should_panic(expected = "not a plain name")]
    fn picture_names_cannot_leave_the_folder() {
        let _ = Section::new("S").image("../a.png", RgbImage::new(1, 1), "", "");
    }

    #[test]
    fn number_columns_are_set_right() {
        let html = Table::new("t", ["name", "error", "note"]).row(["a", "−1.5e-3", "x"]).row(["b", "—", "1"]).html();
        assert!(html.contains("<th scope=\"col\" class=\"number\">error</th><th scope=\"col\">note</th>"), "{html}");
    }
}
