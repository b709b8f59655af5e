//! `iresnet data`.

use serde::Serialize;

use super::table::Table;
use super::{Outcome, output};
use crate::data::{self, Entry};
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet data list                which data sets there are, and which can be used now
  iresnet data verify              check the files of all that are there
  iresnet data verify mnist

Files are looked for in the folder NAME of $IRESNET_DATA, then of ~/.cache/iresnet/datasets, under their official
names, plain or with .gz. This program downloads nothing.";

/// List data sets and verify their files.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the data sets known by name, and whether they are there.
    List {
        /// Print JSON: a list with one object for each set.
        #[arg(long)]
        json: bool,
    },
    /// Compare files with the official ones: of one set, or of every set that is there.
    Verify {
        /// Data set. By default all that are there.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// Lists or verifies.
///
/// # Errors
/// [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or not the official ones.
pub fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List { json } => list(*json),
        Action::Verify { name: Some(name) } => verify(name)?,
        Action::Verify { name: None } => {
            let mut failure: Option<Error> = None;
            for entry in data::catalogue().iter().filter(|entry| entry.available && entry.images.is_some()) {
                // All are looked at, whatever is wrong with one.
                if let Err(error) = verify(&entry.name)
                    && let Some(before) = failure.replace(error)
                {
                    output::error(&before.to_string());
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }
    Ok(Outcome::Done)
}

/// What is printed of a set.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    available: bool,
    path: Option<String>,
    train: Option<usize>,
    test: Option<usize>,
    shape: [usize; 3],
    classes: &'a [&'static str],
    licence: &'a str,
}

impl<'a> Line<'a> {
    fn of(entry: &'a Entry) -> Self {
        Self {
            name: &entry.name,
            available: entry.available,
            path: entry.path.as_ref().map(|path| path.display().to_string()),
            train: entry.images.map(|images| images[0]),
            test: entry.images.map(|images| images[1]),
            shape: entry.shape,
            classes: &entry.classes,
            licence: entry.licence,
        }
    }
}

fn list(json: bool) {
    let entries = data::catalogue();
    let lines: Vec<Line<'_>> = entries.iter().map(Line::of).collect();
    if json {
        output::print_json(&lines);
        return;
    }
    let mut table = Table::new(&["NAME", "THERE", ">TRAIN", ">TEST", "SHAPE", ">CLASSES", "FOLDER"]);
    for line in &lines {
        let count = |count: Option<usize>| count.map_or("∞".to_owned(), |count| count.to_string());
        table.row([
            line.name.to_owned(),
            if line.available { "yes" } else { "no" }.to_owned(),
            count(line.train),
            count(line.test),
            line.shape.map(|extent| extent.to_string()).join("×"),
            line.classes.len().to_string(),
            line.path.clone().unwrap_or_else(|| "built in".into()),
        ]);
    }
    output::print(&table.to_string());
}

fn verify(name: &str) -> Result<()> {
    let files = data::verify(name)?;
    if files.is_empty() {
        output::print(&format!("{name}: drawn by this program, has no files"));
    }
    for file in files {
        output::print(&format!("{name}: {}: as published (MD5 {})", file.path.display(), file.md5));
    }
    Ok(())
}
