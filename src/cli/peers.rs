//! Whether this process was started together with others, and how it meets them.

use std::rc::Rc;
use std::time::Duration;

#[cfg(not(feature = "mpi"))]
use crate::error::Error;
use crate::error::Result;
use crate::parallel::{Alone, Peers};

/// Variables that launchers set: the number of processes started together, by Open MPI, by MPICH and its kin, by Slurm.
const COUNTS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The processes that a launcher started together with this one, if any. Whoever keeps them waiting for longer than
/// `timeout` counts as lost.
///
/// # Errors
/// [`Error::PeerLost`](crate::error::Error::PeerLost) if they cannot be met; [`Error::Config`](crate::error::Error::Config)
/// if there are some and this program was built without MPI.
pub(super) fn meet(timeout: Duration) -> Result<Rc<dyn Peers>> {
    let count = |name: &&str| std::env::var(name).ok()?.parse::<usize>().ok().filter(|count| *count > 1);
    match COUNTS.iter().find_map(count) {
        None => Ok(Rc::new(Alone::default())),
        Some(count) => meet_others(count, timeout),
    }
}

#[cfg(feature = "mpi")]
fn meet_others(_: usize, timeout: Duration) -> Result<Rc<dyn Peers>> {
    let asked_to_end = || super::signal::stop_requested().is_some();
    // From the first exchange on.
    super::signal::listen();
    Ok(Rc::new(crate::parallel::Mpi::open(timeout, asked_to_end)?))
}

#[cfg(not(feature = "mpi"))]
fn meet_others(count: usize, _: Duration) -> Result<Rc<dyn Peers>> {
    Err(Error::Config(format!(
        "{count} processes were started together, but this program was built without MPI, and each would train for itself: \
         build it with `cargo build --release --features mpi` (`cargo xtask mpi` sets up what that needs)"
    )))
}

/// To be called last: what is registered for the end of a process may wait for others that are gone.
pub(super) fn part(code: u8) {
    #[cfg(feature = "mpi")]
    crate::parallel::leave(code);
    #[cfg(not(feature = "mpi"))]
    let _ = code;
}
