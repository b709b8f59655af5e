//! `iresnet data`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::table::Table;
use super::{Outcome, output};
use crate::data::{self, Entry, Split, Verified, fetch, folder};
use crate::error::{Error, Result};

const EXAMPLES: &str = "\
Examples:
  iresnet data list                which data sets there are, and which can be used now
  iresnet data fetch mnist         get the official files
  iresnet data fetch cifar10 --mirror http://localhost:8000
  iresnet data verify              check the files of all that are there
  iresnet data verify mnist

Files are looked for in the folder NAME of $IRESNET_DATA, then of ~/.cache/iresnet/datasets, under their official
names, plain or with .gz; CIFAR also as the .tar.gz as distributed. `fetch` puts them there. It goes on where it was
interrupted, compares what it gets with the official digests, and goes through the proxy that HTTPS_PROXY, HTTP_PROXY
or ALL_PROXY name. A folder of pictures or a file of arrays of your own needs no list: set data.name=folder:DIR or
data.name=arrays:FILE.";

/// List data sets, fetch and verify their files.
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
    /// Get the official files of data sets that are not there yet.
    Fetch {
        /// Data sets.
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Address to get them from instead of the canonical ones: file FILE of set NAME is at URL/NAME/FILE. By default
        /// $IRESNET_MIRROR, if that is set.
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Compare files with the official ones: of one set, or of every set that is there. Of a folder, decode every picture.
    Verify {
        /// Data set, or folder:DIR. By default all sets known by name that are there.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// Lists, fetches or verifies.
///
/// # Errors
/// [`Error::Config`] for an unknown name, [`Error::Data`] for files that are missing or cannot be fetched,
/// [`Error::Verification`] for files that are not the official ones.
pub fn run(args: &Args) -> Result<Outcome> {
    match &args.action {
        Action::List { json } => list(*json),
        Action::Fetch { names, mirror } => {
            let given = std::env::var("IRESNET_MIRROR").ok().filter(|mirror| !mirror.is_empty());
            let mirror = mirror.clone().or(given);
            let root = fetch::root()?;
            for name in names {
                let mut show = Show::new();
                let verified = fetch::fetch(name, &root, mirror.as_deref(), &mut |progress| show.update(progress));
                show.finish();
                report(name, &verified?);
            }
        }
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
    if let Some(path) = folder::path(name) {
        for split in [Split::Train, Split::Test] {
            let listing = folder::check(&path, split)?;
            let (pictures, classes) = (listing.pictures.len(), listing.classes.len());
            output::print(&format!("{name}: {}: {pictures} whole pictures, {classes} classes", split.name()));
        }
        return Ok(());
    }
    let files = data::verify(name)?;
    if files.is_empty() {
        output::print(&format!("{name}: drawn by this program, has no files"));
    }
    report(name, &files);
    Ok(())
}

fn report(name: &str, files: &[Verified]) {
    for file in files {
        let how = match file.md5 {
            Some(md5) => format!("as published (MD5 {md5})"),
            None => "number, balance and kinds of classes as published; no digest of this file is".to_owned(),
        };
        output::print(&format!("{name}: {}: {how}", file.path.display()));
    }
}

/// How far a download has come: a bar on a terminal, else a line now and then.
struct Show {
    bar: Option<ProgressBar>,
    path: PathBuf,
    last: Instant,
}

/// How often a log gets a line.
const INTERVAL: Duration = Duration::from_secs(10);

impl Show {
    fn new() -> Self {
        Self { bar: None, path: PathBuf::new(), last: Instant::now() }
    }

    fn update(&mut self, progress: &fetch::Progress<'_>) {
        if self.path != progress.path {
            self.begin(progress.path);
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.total.unwrap_or(progress.done));
                bar.set_position(progress.done);
            }
            None if self.last.elapsed() >= INTERVAL => {
                self.last = Instant::now();
                let total = progress.total.map_or_else(String::new, |total| format!(" of {}", output::bytes(total)));
                output::note(&format!("{}: {}{total}", progress.path.display(), output::bytes(progress.done)));
            }
            None => {}
        }
    }

    fn begin(&mut self, path: &Path) {
        self.finish();
        path.clone_into(&mut self.path);
        if output::is_interactive() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            let template = "{prefix} {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
            bar.set_style(ProgressStyle::with_template(template).expect("a constant that is right"));
            bar.set_prefix(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            self.bar = Some(bar);
        } else {
            output::note(&format!("fetching {}", path.display()));
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}
