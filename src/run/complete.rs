//! Training that may have been done already.

use super::{MODEL, Options, checkpoints, recovery, train};
use crate::checkpoint::Checkpoint;
use crate::cli::Outcome;
use crate::config::{Config, OnNonfinite};
use crate::error::Result;

/// Trains as `options` say unless the folder holds the finished model of this configuration; goes on where an earlier
/// attempt was interrupted. What the folder holds of another configuration is begun anew.
///
/// # Errors
/// As [`train`].
pub async fn complete(options: Options) -> Result<Outcome> {
    let is_this = |checkpoint: &Checkpoint| is_of_run(&checkpoint.config, &options.config);
    if Checkpoint::load(&options.out.join(MODEL)).is_ok_and(|model| is_this(&model)) {
        return Ok(Outcome::Done);
    }
    let begun = checkpoints::newest(&options.out).ok().map(|(_, checkpoint, _)| checkpoint).filter(is_this);
    let Some(begun) = begun else {
        // Of another configuration: its files would be in the way of the new run's.
        checkpoints::clear(&options.out)?;
        return Ok(train(&Options { resume: false, ..options }).await?.outcome);
    };
    // With the rate that it has come down to.
    Ok(train(&Options { resume: true, config: begun.config, ..options }).await?.outcome)
}

/// Whether a run that was asked for with `asked` may have come to `found`: the same, or with a rate that was halved on the
/// way.
fn is_of_run(found: &Config, asked: &Config) -> bool {
    let mut same = asked.clone();
    if asked.train.on_nonfinite == OnNonfinite::Rollback {
        let halved = |times: u32| asked.optimizer.lr / f64::from(1 << times);
        let rates = (0..=recovery::MOST_ROLLBACKS).map(halved);
        same.optimizer.lr = rates.into_iter().find(|rate| *rate == found.optimizer.lr).unwrap_or(asked.optimizer.lr);
    }
    *found == same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_its_configuration_and_halved_rates() {
        let mut asked = Config::default();
        asked.optimizer.lr = 0.1;
        let with_rate = |asked: &Config, rate: f64| {
            let mut found = asked.clone();
            found.optimizer.lr = rate;
            found
        };
        assert!(is_of_run(&asked, &asked));
        assert!(!is_of_run(&with_rate(&asked, 0.05), &asked), "nobody asked for rollbacks");
        asked.train.on_nonfinite = OnNonfinite::Rollback;
        assert!(is_of_run(&with_rate(&asked, 0.05), &asked) && is_of_run(&with_rate(&asked, 0.1 / 256.0), &asked));
        for other in [0.2, 0.06, 0.1 / 512.0] {
            assert!(!is_of_run(&with_rate(&asked, other), &asked), "{other}");
        }
        let mut found = with_rate(&asked, 0.05);
        found.train.epochs += 1;
        assert!(!is_of_run(&found, &asked));
    }
}
