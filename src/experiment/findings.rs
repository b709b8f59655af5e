//! What an experiment found: tables, charts, pictures, and claims of the paper that held or did not.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::report::{Chart, Section, Table, brief, write_file};

/// A cell of a [`Sheet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number, of which a page shows three digits and a file all.
    Number(f64),
    /// A text.
    Text(String),
    /// Nothing is known.
    Missing,
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl Cell {
    /// As a page shows it.
    pub fn brief(&self) -> String {
        match self {
            Self::Number(value) => brief(*value),
            Self::Text(text) => text.clone(),
            Self::Missing => "–".into(),
        }
    }

    /// As a field of a CSV file (RFC 4180).
    fn csv(&self) -> String {
        match self {
            Self::Number(value) => value.to_string(),
            Self::Text(text) if text.contains([',', '"', '\n']) => format!("\"{}\"", text.replace('"', "\"\"")),
            Self::Text(text) => text.clone(),
            Self::Missing => String::new(),
        }
    }
}

/// A table of numbers with a name for its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    /// Name of its file, without `.csv`.
    pub name: String,
    /// What it shows.
    pub caption: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Sheet {
    /// A table without rows yet.
    pub fn new<T: Into<String>>(
        name: impl Into<String>,
        caption: impl Into<String>,
        columns: impl IntoIterator<Item = T>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { name: name.into(), caption: caption.into(), columns, rows: Vec::new() }
    }

    /// Adds a row. Panics unless it has as many cells as there are columns.
    #[track_caller]
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "cells of a row against columns {:?}", self.columns);
        self.rows.push(row);
    }

    /// As a CSV file.
    pub fn csv(&self) -> String {
        let headings: Vec<Cell> = self.columns.iter().map(|column| column.as_str().into()).collect();
        let lines = std::iter::once(&headings).chain(&self.rows);
        lines.map(|row| row.iter().map(Cell::csv).collect::<Vec<_>>().join(",") + "\n").collect()
    }

    /// As a page shows it.
    pub fn table(&self) -> Table {
        let table = Table::new(&self.caption, self.columns.iter().map(String::as_str));
        self.rows.iter().fold(table, |table, row| table.row(row.iter().map(Cell::brief)))
    }
}

/// Something that the paper says, or that follows from it, and whether it was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What is claimed.
    pub text: String,
    /// Whether it held.
    pub holds: bool,
    /// The figures that it is judged by.
    pub measured: String,
}

impl Claim {
    /// A claim, whether it held, and by what.
    pub fn new(text: impl Into<String>, holds: bool, measured: impl Into<String>) -> Self {
        Self { text: text.into(), holds, measured: measured.into() }
    }
}

/// A figure of a document: a PNG file of the experiment's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Name of the file.
    pub file: String,
    /// What it shows.
    pub caption: String,
}

/// What an experiment found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Tables.
    pub sheets: Vec<Sheet>,
    /// Tables too long for a page.
    pub files: Vec<Sheet>,
    /// Claims.
    pub claims: Vec<Claim>,
    /// Charts, by the name of their files, with captions.
    pub charts: Vec<(String, Chart, String)>,
    /// Figures for a document; every chart is one.
    pub figures: Vec<Figure>,
    /// Further parts of the page.
    pub sections: Vec<Section>,
}

impl Findings {
    /// Adds a table.
    pub fn sheet(&mut self, sheet: Sheet) {
        self.sheets.push(sheet);
    }

    /// Adds a table that is written to its file only.
    pub fn file(&mut self, sheet: Sheet) {
        self.files.push(sheet);
    }

    /// Adds a chart, to be written as `name.svg` and `name.png`.
    pub fn chart(&mut self, name: &str, chart: Chart, caption: &str) {
        self.figures.push(Figure { file: format!("{name}.png"), caption: caption.into() });
        self.charts.push((name.into(), chart, caption.into()));
    }

    /// Adds a part of the page with one picture, which is the figure `file` as well.
    pub fn picture(&mut self, section: Section, file: &str, caption: &str) {
        self.figures.push(Figure { file: file.into(), caption: caption.into() });
        self.sections.push(section);
    }

    /// Adds a claim.
    pub fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Claims as a table.
    pub fn verdicts(&self) -> Table {
        let table = Table::new("What was expected, and what was seen", ["expected", "holds", "seen"]);
        self.claims.iter().fold(table, |table, claim| {
            table.row([claim.text.as_str(), if claim.holds { "yes" } else { "no" }, &claim.measured])
        })
    }

    /// Writes tables and charts into `folder`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::error::Error::Io).
    pub fn write(&self, folder: &Path) -> Result<()> {
        for sheet in self.sheets.iter().chain(&self.files) {
            write_file(&folder.join(format!("{}.csv", sheet.name)), sheet.csv().as_bytes())?;
        }
        for (name, chart, _) in &self.charts {
            chart.write(folder, name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_csv() {
        let mut sheet = Sheet::new("a", "caption", ["x", "y, z"]);
        sheet.push([0.1.into(), "a \"b\"".into()]);
        sheet.push([Cell::Missing, 1e-7.into()]);
        assert_eq!(sheet.csv(), "x,\"y, z\"\n0.1,\"a \"\"b\"\"\"\n,0.0000001\n");
    }

    #[test]
    #[should_panic(expected = "cells of a row")]
    fn a_row_must_fit() {
        Sheet::new("a", "caption", ["x"]).push([1.0.into(), 2.0.into()]);
    }
}
