//! A document of all experiments that were run, from their folders: `iresnet experiment results`.

use std::fs;
use std::path::Path;

use super::lab::{RESULTS, Results};
use super::{CATALOGUE, Cell, Experiment, Sheet};
use crate::error::{Error, Result};
use crate::report::write_file;

/// Rate at which times of the paper's scale are told, in operations a second.
const YARDSTICK: f64 = 1e13;

/// Reads `FOLDER/*/results.json`, in the order of the catalogue.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read, [`Error::Data`] if it holds no results or a file is damaged.
pub fn collect(folder: &Path) -> Result<Vec<(String, Results)>> {
    let io = |source| Error::Io { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        let path = folder.join(&name).join(RESULTS);
        let Ok(bytes) = fs::read(&path) else { continue };
        let results: Results = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Data { path, problem: format!("{error}; run the experiment again") })?;
        found.push((name, results));
    }
    if found.is_empty() {
        let problem = format!("no experiment was finished here: there is no */{RESULTS}");
        return Err(Error::Data { path: folder.into(), problem });
    }
    let place = |results: &Results| CATALOGUE.iter().position(|experiment| experiment.name == results.name);
    found.sort_by(|a, b| (place(&a.1), &a.1.scale).cmp(&(place(&b.1), &b.1.scale)));
    Ok(found)
}

/// Writes the document to `output`, and what it is made from (`results.json` and figures of each experiment) into a folder
/// beside it that has its name and ends in `-data`. From that folder it can be written anew.
///
/// # Errors
/// Of [`collect`]; [`Error::Io`] if something cannot be written.
pub fn write(folder: &Path, output: &Path) -> Result<()> {
    let found = collect(folder)?;
    let data = format!("{}-data", output.file_stem().unwrap_or_default().to_string_lossy());
    let beside = output.with_file_name(&data);
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    };
    for (name, results) in &found {
        let (from, to) = (folder.join(name), beside.join(name));
        fs::create_dir_all(&to).map_err(io(&to))?;
        if from.canonicalize().map_err(io(&from))? == to.canonicalize().map_err(io(&to))? {
            continue;
        }
        for file in results.figures.iter().map(|figure| figure.file.as_str()).chain([RESULTS]) {
            fs::copy(from.join(file), to.join(file)).map_err(io(&from.join(file)))?;
        }
    }
    write_file(output, markdown(&found, &data).as_bytes())
}

/// The document, of experiments by the names of their folders, which are in the folder `data` beside it.
pub fn markdown(found: &[(String, Results)], data: &str) -> String {
    let mut text = String::from(
        "# Results\n\nWritten by `iresnet experiment results`; do not edit. Each part comes from one command, `iresnet \
         experiment NAME --scale SCALE`.\n\n**Scale `quick` means small networks and few steps on the machine named below: \
         orderings may be compared with the paper's, numbers not.** Where an expectation did not hold it says **no**, with what \
         was seen. The paper is Behrmann et al., *Invertible Residual Networks*, ICML 2019.\n\nThe last column is what the \
         trainings of the paper's size take at 10 TFLOP/s, sustained: their operations (two a multiply-add) are counted, not \
         measured; at R TFLOP/s it is 10 / R times as long.\n\n| experiment | paper | scale | held | minutes | paper scale, hours at 10 TFLOP/s |\n| --- | \
         --- | --- | --- | --- | --- |\n",
    );
    for (_, results) in found {
        let held = results.claims.iter().filter(|claim| claim.holds).count();
        let hours = hours(results);
        let paper = Experiment::find(&results.name).map_or("", |experiment| experiment.paper);
        text += &format!(
            "| [{0}](#{0}) | {paper} | {1} | {held} of {2} | {3:.0} | {hours} |\n",
            results.name,
            results.scale,
            results.claims.len(),
            results.seconds / 60.0
        );
    }
    for (name, results) in found {
        text += &part(results, &format!("{data}/{name}"));
    }
    text
}

/// Hours of its trainings at the scale of the paper, in words; a dash where it has none.
fn hours(results: &Results) -> String {
    match results.paper_operations / YARDSTICK / 3600.0 {
        0.0 => "–".into(),
        hours if hours < 0.1 => "less than 0.1".into(),
        hours => format!("{hours:.1}"),
    }
}

fn part(results: &Results, data: &str) -> String {
    let mut text = format!("\n## {}\n\n", results.name);
    if let Some(experiment) = Experiment::find(&results.name) {
        text += &format!("{}\n\nThe paper ({}): {}\n\n", experiment.shows, experiment.paper, experiment.found);
    }
    text += &format!(
        "Scale {}, {:.0} s in all; iresnet {} on {}; {}; seeds {:?}.\n\n",
        results.scale, results.seconds, results.version, results.adapter, results.machine, results.seeds
    );
    if results.paper_operations > 0.0 {
        text += &format!(
            "At the scale of the paper its trainings take {:.1e} operations, {} hours at 10 TFLOP/s.\n\n",
            results.paper_operations,
            hours(results)
        );
    }
    text += "| expected | holds | seen |\n| --- | --- | --- |\n";
    for claim in &results.claims {
        let holds = if claim.holds { "yes" } else { "**no**" };
        text += &format!("| {} | {holds} | {} |\n", escape(&claim.text), escape(&claim.measured));
    }
    for figure in &results.figures {
        text += &format!("\n![{0}]({data}/{1})\n\n*{0}*\n", figure.caption, figure.file);
    }
    for sheet in &results.sheets {
        text += &table(sheet);
    }
    text
}

fn table(sheet: &Sheet) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("\n{}:\n\n", sheet.caption);
    text += &line(sheet.columns.iter().map(|column| escape(column)).collect());
    text += &line(vec!["---".into(); sheet.columns.len()]);
    for row in &sheet.rows {
        text += &line(row.iter().map(Cell::brief).map(|cell| escape(&cell)).collect());
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}
