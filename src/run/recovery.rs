//! What a run does about an error that may pass.

use crate::config::{Config, OnNonfinite};
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// Times that a run begins again without having got further.
const MOST_RESTARTS: u32 = 3;
/// Times that the learning rate is halved.
pub(super) const MOST_ROLLBACKS: u32 = 8;

/// What has gone wrong so far.
#[derive(Debug)]
pub(super) struct Recovery {
    pieces: usize,
    rollbacks: u32,
    restarts: u32,
    /// The furthest step that a restart followed.
    furthest: u64,
}

impl Recovery {
    pub(super) fn new() -> Self {
        Self { pieces: 1, rollbacks: 0, restarts: 0, furthest: 0 }
    }

    /// Into how many pieces a batch is cut, for want of memory.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// How often the learning rate was halved.
    pub(super) fn rollbacks(&self) -> u32 {
        self.rollbacks
    }

    /// What to change after `error` ended the run behind step `reached`: gives what to tell the user. Changes the learning
    /// rate in `config` if it was that.
    ///
    /// # Errors
    /// `error` itself, if going on would not help.
    pub(super) fn plan(&mut self, error: Error, reached: u64, gpus: &[Gpu], config: &mut Config) -> Result<String> {
        if matches!(error, Error::Diverged(_)) {
            if config.train.on_nonfinite != OnNonfinite::Rollback || self.rollbacks >= MOST_ROLLBACKS {
                return Err(error);
            }
            self.rollbacks += 1;
            config.optimizer.lr /= 2.0;
            return Ok(format!(
                "{error}\nrolling back to the last checkpoint, with optimizer.lr = {} ({} of at most {MOST_ROLLBACKS} times)",
                config.optimizer.lr, self.rollbacks
            ));
        }
        let failed = gpus.iter().any(|gpu| gpu.check().is_err());
        let short = matches!(error, Error::OutOfMemory(_));
        if !failed && !short {
            return Err(error);
        }
        if reached > self.furthest {
            (self.furthest, self.restarts) = (reached, 0);
        }
        self.restarts += 1;
        // Whoever is short of memory gets further with each attempt.
        if self.restarts > MOST_RESTARTS && !(short && self.pieces < config.data.batch) {
            return Err(error);
        }
        if short {
            self.pieces *= 2;
            return Ok(format!("{error}\ngoing on from the last good state with batches in {} pieces", self.pieces));
        }
        Ok(format!("{error}\nopening the device again, and going on from the last good state"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(on_nonfinite: OnNonfinite) -> Config {
        let mut config = Config::default();
        config.train.on_nonfinite = on_nonfinite;
        config.optimizer.lr = 1.0;
        config
    }

    #[test]
    fn the_rate_is_halved_so_often_and_only_if_asked_for() {
        let diverged = || Error::Diverged("the loss became NaN".into());
        let mut recovery = Recovery::new();
        assert!(recovery.plan(diverged(), 5, &[], &mut config(OnNonfinite::Abort)).is_err());
        let mut config = config(OnNonfinite::Rollback);
        for time in 1..=MOST_ROLLBACKS {
            let said = recovery.plan(diverged(), 5, &[], &mut config).unwrap();
            assert!(said.contains("NaN") && said.contains(&format!("{time} of")), "{said}");
            assert_eq!(config.optimizer.lr, 0.5_f64.powi(time as i32));
        }
        assert_eq!(recovery.plan(diverged(), 5, &[], &mut config).unwrap_err().exit_code(), 6);
        assert_eq!(recovery.rollbacks(), MOST_ROLLBACKS);
    }

    #[test]
    fn want_of_memory_makes_pieces_until_they_are_single_samples() {
        let mut config = config(OnNonfinite::Abort);
        config.data.batch = 20;
        let mut recovery = Recovery::new();
        let short = || Error::OutOfMemory("no room".into());
        let mut times = 0;
        while recovery.plan(short(), 0, &[], &mut config).is_ok() {
            times += 1;
        }
        assert!(recovery.pieces() >= 20 && times < 10, "{recovery:?} after {times}");
    }

    #[test]
    fn what_would_happen_again_is_an_error() {
        let error = Error::Verification("a block was not inverted".into());
        assert!(Recovery::new().plan(error, 3, &[], &mut config(OnNonfinite::Rollback)).is_err());
        assert!(Recovery::new().plan(Error::Gpu("does not compile".into()), 3, &[], &mut Config::default()).is_err());
    }
}
