//! A run by several processes: what they agree on, and which of them speaks and writes.

use std::rc::Rc;
use std::time::Duration;

use super::Folder;
use crate::checkpoint::Checkpoint;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::signal::{self, Signal};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{self, Adapter};
use crate::parallel::{Alone, Peers};

/// Time for saving where nobody can say when it is done.
const SAVING: Duration = Duration::from_secs(10);

/// What becomes of a run that loses one of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnPeerLoss {
    /// It ends, as it was at its last checkpoint.
    Abort,
    /// The others go on, each with a larger part of the batch.
    Shrink,
    /// The others save the last finished step, and end.
    #[default]
    CheckpointExit,
}

/// The processes of a run.
#[derive(Clone, Debug)]
pub struct Together {
    peers: Rc<dyn Peers>,
    /// What to do when one is lost.
    pub(super) on_loss: OnPeerLoss,
    compare_every: u64,
}

impl Default for Together {
    /// One.
    fn default() -> Self {
        Self::new(Rc::new(Alone::default()), OnPeerLoss::default(), 0)
    }
}

impl Together {
    /// With `peers`. What their devices hold is compared every `compare_every` steps, unless that is 0.
    pub fn new(peers: Rc<dyn Peers>, on_loss: OnPeerLoss, compare_every: u64) -> Self {
        Self { peers, on_loss, compare_every }
    }

    pub(super) fn peers(&self) -> Rc<dyn Peers> {
        Rc::clone(&self.peers)
    }

    pub(super) fn count(&self) -> usize {
        self.peers.count()
    }

    /// Whether this process writes the folder.
    pub fn leads(&self) -> bool {
        self.peers.rank() == 0
    }

    /// Whether devices are compared after step `done`.
    pub(super) fn compares_after(&self, done: u64) -> bool {
        self.count() > 1 && self.compare_every > 0 && done.is_multiple_of(self.compare_every)
    }

    /// A text that says whose it is, where there are several.
    pub(super) fn signed(&self, text: &str) -> String {
        if self.count() > 1 { format!("{}: {text}", self.peers.name(self.peers.rank())) } else { text.into() }
    }

    /// Says what concerns this process.
    pub(super) fn note(&self, text: &str) {
        output::note(&self.signed(text));
    }

    /// Says what all know.
    pub(super) fn note_once(&self, text: &str) {
        if self.leads() {
            output::note(text);
        }
    }

    /// The same beside a bar.
    pub(super) fn say_once(&self, progress: &Progress, text: &str) {
        if self.leads() {
            progress.note(text);
        }
    }

    /// Sees to it that all do the same.
    ///
    /// # Errors
    /// [`Error::Config`] naming a process with another configuration, other data or another version of the program;
    /// [`Error::PeerLost`].
    pub(super) fn agree(&self, config: &Config, samples: usize) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let own = format!("{version} {samples} {}", blake3::hash(config.to_json().as_bytes())).into_bytes();
        let all = self.peers.gather(own)?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::Config(format!(
                "{} has another configuration, other data or another version of the program than {}: all must have the same",
                self.peers.name(rank),
                self.peers.name(0)
            ))),
        }
    }

    /// The adapters for this process. Several on one machine that are not told which take one each.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], [`Error::Config`], [`Error::PeerLost`].
    pub(super) async fn choose(&self, asked: &[String]) -> Result<(Vec<Adapter>, Vec<String>)> {
        let (chosen, notes) = gpu::choose_several(asked).await?;
        let here = self.peers.machine(self.peers.rank());
        let before = |last: usize| (0..last).filter(|&rank| self.peers.machine(rank) == here).count();
        if !asked.is_empty() || before(self.count()) == 1 || chosen[0].info().is_software {
            return Ok((chosen, notes));
        }
        let (all, _) = gpu::choose_several(&["all".into()]).await?;
        // Where the environment names another one, it is meant for all.
        if all[0].info().id != chosen[0].info().id {
            return Ok((chosen, notes));
        }
        Ok((vec![all[before(self.peers.rank()) % all.len()].clone()], notes))
    }

    /// The newest whole checkpoint, which rank 0 reads for all; what is wrong with newer ones is said aloud.
    ///
    /// # Errors
    /// Those of the folder; [`Error::PeerLost`].
    pub(super) fn newest(&self, folder: &Folder, config: &Config) -> Result<Checkpoint> {
        let found = if self.leads() {
            let (checkpoint, warnings) = folder.checkpoint(config)?;
            warnings.iter().for_each(|warning| output::note(warning));
            Some(checkpoint)
        } else {
            None
        };
        if let (Some(checkpoint), 1) = (&found, self.count()) {
            return Ok(checkpoint.clone());
        }
        let bytes = self.peers.share(found.map_or_else(Vec::new, |checkpoint| checkpoint.to_bytes()))?;
        Checkpoint::from_bytes(&bytes, folder.path())
    }

    /// Whether rank 0 says so.
    ///
    /// # Errors
    /// [`Error::PeerLost`].
    pub(super) fn any(&self, own: bool) -> Result<bool> {
        Ok(self.peers.share(vec![u8::from(own)])? == [1])
    }

    /// The signal that any of them got: all stop after the same step.
    ///
    /// # Errors
    /// [`Error::PeerLost`].
    pub(super) fn stop_requested(&self) -> Result<Option<Signal>> {
        let own = signal::stop_requested();
        if self.count() == 1 {
            return Ok(own);
        }
        let codes = self.peers.gather(vec![own.map_or(0, Signal::exit_code)])?;
        let code = codes.into_iter().flatten().max();
        Ok([Signal::Interrupt, Signal::Terminate].into_iter().find(|signal| Some(signal.exit_code()) == code))
    }

    /// After a loss, waits until rank 0 has saved: launchers end all processes soon after the first that fails.
    pub(super) fn wait_for_the_save(&self, regrouped: bool) {
        if regrouped {
            // Whoever is lost now was on its way out.
            let _ = self.peers.gather(Vec::new());
        } else if !self.leads() {
            std::thread::sleep(SAVING);
        }
    }

    /// Ends the exchange, when all are done.
    pub(super) fn finish(&self) {
        self.peers.finish();
    }
}
