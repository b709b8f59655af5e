//! What a run writes down on its way: steps, evaluations, the best model so far.

use serde_json::json;

use super::{Run, best};
use crate::data::source::Source;
use crate::error::{Error, Result};
use crate::eval::Summary;
use crate::nn::reversible;
use crate::train::StepReport;

/// Steps in a row that may be skipped as not numbers.
const MOST_SKIPPED: usize = 10;

impl Run<'_> {
    pub(super) fn record(&mut self, report: &StepReport) -> Result<()> {
        self.count_skipped(report)?;
        let mut shown = vec![("loss", f64::from(report.loss))];
        if let Some(accuracy) = report.accuracy {
            shown.push(("accuracy", f64::from(accuracy)));
            shown.extend(report.bits_per_dim.map(|bits| ("bits/dim", f64::from(bits))));
        }
        shown.push(("lr", report.learning_rate));
        self.progress.step(report.step + 1, &shown);
        let logged = (report.step + 1).is_multiple_of(self.config.train.log_every.max(1) as u64);
        if !logged && report.nonfinite == 0 {
            return Ok(());
        }
        let mut line = json!({
            "step": report.step,
            "epoch": report.step / self.per_epoch,
            "loss": report.loss,
            "lr": report.learning_rate,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        if let Some(accuracy) = report.accuracy {
            line["accuracy"] = json!(accuracy);
        }
        if let Some([log_prior, log_det]) = report.log_densities {
            line["log_prior"] = json!(log_prior);
            line["log_det"] = json!(log_det);
        }
        if let Some([residual, error]) = report.inversion {
            line[reversible::RESIDUAL] = json!(residual);
            line[reversible::DRIFT] = json!(error);
        }
        if let Some(bits) = report.bits_per_dim {
            line["bits_per_dim"] = json!(bits);
        }
        for (name, count) in [("nonfinite", report.nonfinite), ("rollbacks", self.rollbacks)] {
            if count > 0 {
                line[name] = json!(count);
            }
        }
        self.write(&line);
        Ok(())
    }

    /// Says that a step was skipped; too many in a row are not the data's fault.
    fn count_skipped(&mut self, report: &StepReport) -> Result<()> {
        if report.nonfinite == 0 {
            self.skipped = 0;
            return Ok(());
        }
        self.skipped += 1;
        let what = format!("step {}: {} of the loss and the gradients were no numbers", report.step, report.nonfinite);
        if self.skipped >= MOST_SKIPPED {
            return Err(Error::Diverged(format!(
                "{what}, as in the {} steps before; lower optimizer.lr or set optimizer.clip (for instance 1.0), and \
                 resume from the last checkpoint",
                self.skipped - 1
            )));
        }
        self.options.together.say_once(&self.progress, &format!("{what}: skipped"));
        Ok(())
    }

    fn write(&mut self, line: &serde_json::Value) {
        if let Some(warning) = self.log.line(line) {
            self.progress.note(&warning);
        }
    }

    pub(super) async fn evaluate(&mut self, test: &Source) -> Result<Summary> {
        let summary = self.training.evaluate(test, self.config.train.seed).await?;
        self.say_notes();
        let done = self.training.step_count();
        let mut line = json!({
            "split": "test",
            "step": done,
            "epoch": done / self.per_epoch,
            "seconds": self.started.elapsed().as_secs_f64(),
        });
        let mut text = format!("{}, step {done}: test", self.options.name);
        if let (Some(accuracy), Some(cross_entropy)) = (summary.accuracy, summary.cross_entropy) {
            line["accuracy"] = json!(accuracy);
            line["cross_entropy"] = json!(cross_entropy);
            text += &format!(" accuracy {:.2} %, cross-entropy {cross_entropy:.4} nats", 100.0 * accuracy);
        }
        match (summary.bits_per_dim, summary.log_prob) {
            (Some(bits), _) => {
                line["bits_per_dim"] = json!(bits);
                text += &format!(" {bits:.4} bits/dim");
            }
            (None, Some(log_prob)) => {
                line["log_prob"] = json!(log_prob);
                text += &format!(" log-likelihood {log_prob:.4} nats");
            }
            (None, None) => {}
        }
        self.write(&line);
        self.options.together.say_once(&self.progress, &text);
        let score = best(std::slice::from_ref(&line));
        if score < self.best {
            self.best = score;
            let saved = self.folder.save_best(self.training.checkpoint().await?);
            if let Err(error) = saved {
                self.progress.note(&format!("WARNING: the best model is not saved: {error}; the run goes on"));
            }
        }
        Ok(summary)
    }
}
