//! Reading `metrics.jsonl`, the record that a run keeps, into series for charts.
//!
//! One JSON object a line. Training lines have at least `step`, `epoch` and `loss`; evaluation lines have `split`.
//! A killed run may leave a last line that is cut off: it is ignored. A resumed run repeats steps: where the step of
//! training lines goes back, what was recorded from there on is replaced. Any other damage is an error that names the
//! line.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    step: f64,
    split: Option<String>,
    values: Map<String, Value>,
}

/// The record of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    records: Vec<Record>,
    cut: bool,
}

impl Metrics {
    /// Reads the file at `path`. [`Error::Io`] where it cannot be read, [`Error::Data`] with the line where it is
    /// damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::parse(&bytes).map_err(|problem| Error::Data { path: path.to_owned(), problem })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut metrics = Self::default();
        let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        for (index, line) in lines.iter().enumerate() {
            let last = index + 1 == lines.len();
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(line) {
                Ok(Value::Object(values)) => {
                    metrics.add(values).map_err(|problem| format!("line {}: {problem}", index + 1))?;
                }
                Ok(_) if !last => return Err(format!("line {}: not a JSON object", index + 1)),
                Err(error) if !last => {
                    return Err(format!(
                        "line {}: {error}; remove the line, or resume the run from a checkpoint",
                        index + 1
                    ));
                }
                // Without a line break after it, the writer did not finish this line.
                Ok(_) | Err(_) => metrics.cut = true,
            }
        }
        Ok(metrics)
    }

    fn add(&mut self, values: Map<String, Value>) -> Result<(), String> {
        let split = match values.get("split") {
            None | Some(Value::Null) => None,
            Some(Value::String(split)) => Some(split.clone()),
            Some(other) => return Err(format!("\"split\" is {other}, a text is expected")),
        };
        let step = match (values.get("step").and_then(Value::as_f64), &split) {
            (Some(step), _) => step,
            // An evaluation without a step belongs to the training that went before.
            (None, Some(_)) => self.records.last().map_or(0.0, |record| record.step),
            (None, None) => return Err(String::from("no number \"step\"")),
        };
        if split.is_none() {
            if !values.contains_key("loss") {
                return Err(String::from("neither \"loss\" nor \"split\""));
            }
            let trained = self.records.iter().rev().find(|record| record.split.is_none());
            if trained.is_some_and(|record| step <= record.step) {
                self.records.retain(|record| record.step < step);
            }
        }
        self.records.push(Record { step, split, values });
        Ok(())
    }

    /// Whether the last line was cut off, as by a killed run.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// `key` of the training lines against the step; a value that JSON cannot write (null) is NaN, a line without it is
    /// left out.
    pub fn training(&self, key: &str) -> Vec<(f64, f64)> {
        self.values(None, key)
    }

    /// `key` of the evaluations of `split` against the step.
    pub fn evaluation(&self, split: &str, key: &str) -> Vec<(f64, f64)> {
        self.values(Some(split), key)
    }

    /// The splits that were evaluated, in the order of their first appearance.
    pub fn splits(&self) -> Vec<&str> {
        let mut splits: Vec<&str> = Vec::new();
        for split in self.records.iter().filter_map(|record| record.split.as_deref()) {
            if !splits.contains(&split) {
                splits.push(split);
            }
        }
        splits
    }

    /// The names of all numbers in the record but `step` and `epoch`, sorted.
    pub fn keys(&self) -> Vec<&str> {
        let numbers =
            self.records.iter().flat_map(|record| record.values.iter().filter(|(_, value)| value.is_number()));
        let mut keys: Vec<&str> = numbers.map(|(key, _)| key.as_str()).collect();
        keys.retain(|key| !matches!(*key, "step" | "epoch"));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn values(&self, split: Option<&str>, key: &str) -> Vec<(f64, f64)> {
        let records = self.records.iter().filter(|record| record.split.as_deref() == split);
        let points = records.filter_map(|record| match record.values.get(key)? {
            Value::Number(number) => Some((record.step, number.as_f64()?)),
            Value::Null => Some((record.step, f64::NAN)),
            _ => None,
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{"step": 1, "epoch": 0, "loss": 2.5, "seconds": 0.1}
{"step": 2, "epoch": 0, "loss": null}
{"split": "test", "step": 2, "accuracy": 0.5}

{"step": 3, "epoch": 1, "loss": 1.5}
"#;

    #[test]
    fn series_of_training_and_evaluation() {
        let metrics = Metrics::parse(RUN.as_bytes()).expect("a good file");
        let loss = metrics.training("loss");
        assert_eq!((loss[0], loss[2], loss.len()), ((1.0, 2.5), (3.0, 1.5), 3));
        assert!(loss[1].1.is_nan());
        assert_eq!(metrics.evaluation("test", "accuracy"), [(2.0, 0.5)]);
        assert_eq!(metrics.training("seconds"), [(1.0, 0.1)]);
        assert_eq!((metrics.splits(), metrics.keys()), (vec!["test"], vec!["accuracy", "loss", "seconds"]));
        assert!(!metrics.is_cut() && metrics.evaluation("train", "accuracy").is_empty());
    }

    #[test]
    fn cut_anywhere_the_whole_lines_before_survive() {
        for end in 0..RUN.len() {
            let metrics = Metrics::parse(&RUN.as_bytes()[..end]).unwrap_or_else(|e| panic!("cut at {end}: {e}"));
            let whole = RUN[..end].matches('\n').count();
            let lines = metrics.records.len();
            let wanted = RUN.lines().take(whole).filter(|line| !line.is_empty()).count();
            assert!(lines == wanted || lines == wanted + 1, "cut at {end}: {lines} records, {wanted} whole lines");
        }
        let cut = Metrics::parse(&RUN.as_bytes()[..RUN.len() - 3]).expect("tolerated");
        assert!(cut.is_cut() && cut.training("loss").len() == 2);
        // Cut within a character of several bytes.
        assert!(
            Metrics::parse("{\"step\": 1, \"loss\": 1, \"note\": \"é".as_bytes().split_last().expect("bytes").1)
                .is_ok()
        );
    }

    #[test]
    fn damage_elsewhere_names_file_and_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("metrics.jsonl");
        for (text, wanted) in [
            ("{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"lo\n{\"step\": 3, \"loss\": 1}\n", "line 2"),
            ("[1]\n", "line 1: not a JSON object"),
            ("{\"step\": 1, \"loss\": 1}\n{\"loss\": 1}\n", "line 2: no number \"step\""),
            ("{\"step\": 1}\n", "line 1: neither"),
            ("{\"split\": 3, \"step\": 1}\n", "line 1: \"split\" is 3"),
        ] {
            std::fs::write(&path, text).expect("a file");
            let said = Metrics::read(&path).expect_err(text).to_string();
            assert!(said.contains(wanted) && said.contains("metrics.jsonl"), "{said}");
        }
        assert!(matches!(Metrics::read(&folder.path().join("none")), Err(Error::Io { .. })));
    }

    #[test]
    fn a_resumed_run_replaces_what_it_repeats() {
        let text = "{\"step\":1,\"loss\":9}\n{\"step\":2,\"loss\":8}\n{\"split\":\"test\",\"step\":2,\"accuracy\":0.1}\n\
                    {\"step\":3,\"loss\":7}\n{\"step\":2,\"loss\":6}\n{\"split\":\"test\",\"step\":2,\"accuracy\":0.2}\n";
        let metrics = Metrics::parse(text.as_bytes()).expect("a good file");
        assert_eq!(metrics.training("loss"), [(1.0, 9.0), (2.0, 6.0)]);
        assert_eq!(metrics.evaluation("test", "accuracy"), [(2.0, 0.2)]);
    }
}
