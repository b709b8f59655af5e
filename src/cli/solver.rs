//! How blocks are inverted: the flags of every command that goes backwards through a network.

use super::output;
use crate::error::{Error, Result};
use crate::eval::Inverted;
use crate::nn::{Solver, Stop};

/// The solvers by the names users type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The fixed-point iteration of the paper (algorithm 1).
    Picard,
    /// The same, accelerated: fewer evaluations for the same error.
    Anderson,
}

/// Flags that say how each residual block is inverted.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// How the equation of a residual block is solved.
    #[arg(long, value_name = "NAME", value_enum, default_value = "picard")]
    pub solver: Name,

    /// Most evaluations of the branch of one residual block.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: u32,

    /// A sample is done with a block when no element changes by more than this. 0 always runs N iterations.
    #[arg(long, value_name = "T", default_value_t = 1e-6, value_parser = tolerance)]
    pub tolerance: f64,

    /// End with exit code 9 if a sample does not converge, instead of a warning.
    #[arg(long)]
    pub strict: bool,
}

impl Args {
    /// What they ask for.
    pub fn stop(&self) -> Stop {
        let solver = match self.solver {
            Name::Picard => Solver::Picard,
            Name::Anderson => Solver::Anderson,
        };
        Stop { solver, tolerance: self.tolerance, limit: self.iterations }
    }

    /// Says so on standard error where samples did not converge.
    ///
    /// # Errors
    /// [`Error::Verification`] instead, if `--strict` is given.
    pub fn judge(&self, inverted: &Inverted) -> Result<()> {
        let Some(problem) = self.problem(inverted) else { return Ok(()) };
        if self.strict {
            return Err(Error::Verification(problem));
        }
        output::note(&format!("warning: {problem}"));
        Ok(())
    }

    /// What is to be said of samples that did not converge. A fixed number of iterations is not asked to.
    fn problem(&self, inverted: &Inverted) -> Option<String> {
        let (count, all) = (inverted.unconverged(), inverted.len());
        let (change, most) = (inverted.largest_residual(), self.iterations);
        if count == 0 || (self.tolerance == 0.0 && change < LOST) {
            return None;
        }
        let change = if change < LOST { format!("{change:.1e}") } else { String::from("without bound") };
        let advice = if change == "without bound" {
            "the branches of this model do not contract there"
        } else {
            "allow more with --iterations, or a larger --tolerance"
        };
        Some(format!(
            "{count} of {all} samples did not converge with {most} evaluations a block: last change {change}; {advice}"
        ))
    }
}

/// A change that is larger than any that still shrinks.
const LOST: f32 = 1e6;

fn tolerance(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err(String::from("a number of at least 0, such as 1e-6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        solver: Args,
    }

    fn parse(arguments: &[&str]) -> std::result::Result<Stop, String> {
        let parsed = Command::try_parse_from([&["command"], arguments].concat());
        parsed.map(|command| command.solver.stop()).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_a_stop() {
        assert_eq!(parse(&[]), Ok(Stop::default()));
        assert_eq!(parse(&["--iterations", "7", "--tolerance", "0"]), Ok(Stop::after(7)));
        let all = parse(&["--solver", "anderson", "--iterations", "3", "--tolerance", "1e-3"]);
        assert_eq!(all, Ok(Stop { solver: Solver::Anderson, tolerance: 1e-3, limit: 3 }));
    }

    #[test]
    fn what_did_not_converge_is_said() {
        let args = Command::try_parse_from(["command", "--strict"]).expect("good flags").solver;
        let well = Inverted { converged: vec![true; 3], residual: vec![1e-7; 3], ..Inverted::default() };
        assert!(args.judge(&well).is_ok());
        let ill = Inverted { converged: vec![true, false, false], residual: vec![1e-7, 0.25, f32::NAN], ..well };
        let problem = args.judge(&ill).expect_err("two did not");
        assert_eq!(problem.exit_code(), 9);
        let text = problem.to_string();
        assert!(
            text.contains("2 of 3") && text.contains("100 evaluations") && text.contains("without bound"),
            "{text}"
        );
        assert!(Args { strict: false, ..args }.judge(&ill).is_ok(), "a warning only");
        let few = Inverted { residual: vec![1e-7, 0.25, 0.1], ..ill };
        assert!(
            args.judge(&few).is_err() && Args { tolerance: 0.0, ..args }.judge(&few).is_ok(),
            "as many as asked for"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flag, value) in [
            ("--iterations", "0"),
            ("--iterations", "-1"),
            ("--tolerance", "-1e-6"),
            ("--tolerance", "NaN"),
            ("--tolerance", "inf"),
            ("--solver", "newton"),
        ] {
            let problem = parse(&[&format!("{flag}={value}")]).expect_err(value);
            assert!(problem.contains(flag) && problem.contains(value), "{problem}");
        }
    }
}
