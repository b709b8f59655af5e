//! The command line.

use crate::web::Goal;
use crate::{Stop, suites};
use std::path::PathBuf;

const HELP: &str = "\
Tasks of the project; each sets up what it needs and says so.

    cargo xtask demo [--yes] [--out DIR]         build the program, run the demonstration, write pictures and report.html
    cargo xtask test [--yes] [--only SUITE]…     everything that CI runs; the last line counts the suites
    cargo xtask mpi                              fetch an MPI where there is none, and build the program with it
    cargo xtask web [--yes] [GOAL]               the npm package, and what is shown with it; without a goal the demo, served
    cargo xtask setup [--yes]                    only the set-up: a Vulkan driver, a browser, Node, Python

    --yes         install what is missing without asking (CI=true does the same); needs root or passwordless sudo
    --out DIR     folder for the demonstration's results [runs/demo]
    --build       only build the package, web/package/dist, and check its size
    --pack        the package as a tarball for npm, web/package/iresnet-VERSION.tgz
    --bench       compare its speed with that of other packages in one browser
    --leak        load, invert and dispose of a model 1,000 times, and look at the memory
    --only SUITE  one suite, may be repeated:
";

/// What the user asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Demo { yes: bool, out: PathBuf },
    Test { yes: bool, only: Vec<&'static str> },
    Mpi,
    Web { yes: bool, goal: Goal },
    Setup { yes: bool },
    Help(String),
}

pub(crate) fn parse(arguments: &[String]) -> Result<Task, Stop> {
    let mut words = arguments.iter().map(String::as_str);
    let task = words.next().unwrap_or("help");
    let (mut yes, mut out, mut only, mut goal) = (false, None, Vec::new(), Goal::Serve);
    while let Some(word) = words.next() {
        let (flag, joined) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        let mut value = || {
            let found = joined.or_else(|| words.next());
            found.ok_or_else(|| Stop::new(2, format!("xtask: {flag} needs a value\n\n{}", help())))
        };
        match (task, flag) {
            (_, "--help" | "-h") => return Ok(Task::Help(help())),
            ("demo" | "test" | "web" | "setup", "--yes" | "-y") => yes = true,
            ("web", "--build") => goal = Goal::Build,
            ("web", "--pack") => goal = Goal::Pack,
            ("web", "--bench") => goal = Goal::Bench,
            ("web", "--leak") => goal = Goal::Leak,
            ("demo", "--out") => out = Some(PathBuf::from(value()?)),
            ("test", "--only") => {
                let name = value()?;
                let names: Vec<_> = suites::ALL.iter().map(|suite| suite.name).collect();
                let suite = names.iter().find(|known| **known == name);
                only.push(*suite.ok_or_else(|| unknown("suite", name, &names))?);
            }
            ("mpi", _) => return Err(unknown("option", flag, &["--help"])),
            ("demo", _) => return Err(unknown("option", flag, &["--yes", "--out", "--help"])),
            ("test", _) => return Err(unknown("option", flag, &["--yes", "--only", "--help"])),
            ("web", _) => {
                return Err(unknown("option", flag, &["--build", "--pack", "--bench", "--leak", "--yes", "--help"]));
            }
            ("setup", _) => return Err(unknown("option", flag, &["--yes", "--help"])),
            _ => break,
        }
    }
    match task {
        "demo" => Ok(Task::Demo { yes, out: out.unwrap_or_else(|| PathBuf::from("runs/demo")) }),
        "test" => Ok(Task::Test { yes, only }),
        "mpi" => Ok(Task::Mpi),
        "web" => Ok(Task::Web { yes, goal }),
        "setup" => Ok(Task::Setup { yes }),
        "help" | "--help" | "-h" => Ok(Task::Help(help())),
        _ => Err(unknown("task", task, &["demo", "test", "mpi", "web", "setup", "help"])),
    }
}

fn help() -> String {
    let suites: Vec<_> =
        suites::ALL.iter().map(|suite| format!("                    {:9} {}", suite.name, suite.about)).collect();
    format!("{HELP}{}", suites.join("\n"))
}

fn unknown(what: &str, word: &str, known: &[&str]) -> Stop {
    let nearest = known.iter().min_by_key(|candidate| distance(word, candidate));
    let guess = match nearest {
        Some(candidate) if distance(word, candidate) <= 2 + word.len() / 4 => format!("; did you mean `{candidate}`?"),
        _ => format!("; there are {}", known.join(", ")),
    };
    Stop::new(2, format!("xtask: no {what} `{word}`{guess}\n`cargo xtask help` explains all."))
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Task, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words).map_err(|stop| {
            assert_eq!(stop.code, 2);
            stop.message
        })
    }

    #[test]
    fn tasks_and_options_are_understood() {
        assert_eq!(parse_line("demo"), Ok(Task::Demo { yes: false, out: "runs/demo".into() }));
        assert_eq!(parse_line("demo --yes --out=a/b"), Ok(Task::Demo { yes: true, out: "a/b".into() }));
        assert_eq!(
            parse_line("test --only fmt --only tint -y"),
            Ok(Task::Test { yes: true, only: vec!["fmt", "tint"] })
        );
        assert_eq!(parse_line("mpi"), Ok(Task::Mpi));
        assert_eq!(parse_line("setup"), Ok(Task::Setup { yes: false }));
        assert_eq!(parse_line("web"), Ok(Task::Web { yes: false, goal: Goal::Serve }));
        assert_eq!(parse_line("web --pack --yes"), Ok(Task::Web { yes: true, goal: Goal::Pack }));
        assert!(matches!(parse_line(""), Ok(Task::Help(text)) if text.contains("cargo xtask demo")));
    }

    #[test]
    fn mistakes_get_a_suggestion() {
        assert!(parse_line("tets").unwrap_err().contains("did you mean `test`?"));
        assert!(parse_line("test --onyl fmt").unwrap_err().contains("did you mean `--only`?"));
        assert!(parse_line("test --only clipy").unwrap_err().contains("did you mean `clippy`?"));
        assert!(parse_line("frobnicate").unwrap_err().contains("there are demo, test"));
        assert!(parse_line("web --pakc").unwrap_err().contains("did you mean `--pack`?"));
        assert!(parse_line("demo --out").unwrap_err().contains("--out needs a value"));
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("same", "same")), (3, 3, 0));
    }
}
