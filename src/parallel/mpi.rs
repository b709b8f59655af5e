//! Other processes through MPI.

mod raw;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::environment::{Universe, processor_name};

use super::peers::Peers;
use crate::error::{Error, Result};
use raw::{Comm, Fault, Pending};

/// Most bytes of one message.
const MOST: usize = 1 << 30;
/// The tag of messages by which those that wait find out who does not.
const HERE: i32 = 1;
/// How often an operation is looked at before the processor is left to others.
const SPINS: u32 = 200;
/// The longest sleep between two looks.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);
/// How long a process that was asked to end waits for others.
const FAREWELL: Duration = Duration::from_secs(5);

/// The least time that is left for saving once nothing can be exchanged any more.
const LAST: Duration = Duration::from_secs(60);

/// Whether MPI was begun in this process and not brought to its end.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// The processes that `mpirun` or a batch system started together.
///
/// MPI may wait for ever for a process that is gone or stopped: when it is finalised, when it agrees on who is left, and in
/// what it has registered for the end of a process. So the first two have a deadline here, with which the process ends, and
/// the last is not done at all ([`leave`]).
pub struct Mpi {
    universe: RefCell<Option<Universe>>,
    group: RefCell<Group>,
    /// Sums under way, in the order in which they were begun, each in as many messages as it needs.
    sums: RefCell<Vec<Vec<Pending<f64>>>>,
    timeout: Duration,
    asked_to_end: fn() -> bool,
}

/// Those who are left.
struct Group {
    comm: Comm,
    rank: usize,
    names: Vec<String>,
    /// By the names of processes: machine and number there.
    places: HashMap<String, (String, u32)>,
    /// Why nothing can be exchanged any more.
    broken: Option<String>,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.group.borrow();
        out.debug_struct("Mpi").field("rank", &group.rank).field("names", &group.names).finish_non_exhaustive()
    }
}

impl Mpi {
    /// Meets the others. Whoever keeps them waiting for longer than `timeout` counts as lost; `asked_to_end` tells whether
    /// this process is about to be ended.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if they cannot be met, [`Error::Config`] if MPI is in use already.
    pub fn open(timeout: Duration, asked_to_end: fn() -> bool) -> Result<Self> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::Config("MPI was initialised before in this process".into()))?;
        BEGUN.store(true, Ordering::Relaxed);
        let comm = Comm::of_all().map_err(|fault| Error::PeerLost(format!("MPI cannot be used: {fault:?}")))?;
        let (names, places) = (vec![String::new(); comm.count()], HashMap::new());
        let group = Group { comm, rank: comm.rank(), names, places, broken: None };
        let this = Self {
            universe: RefCell::new(Some(universe)),
            group: RefCell::new(group),
            sums: RefCell::default(),
            timeout,
            asked_to_end,
        };
        let machine = processor_name().unwrap_or_else(|_| "a machine without a name".into());
        let machines = this.collect(machine.clone())?;
        let ids = this.collect(std::process::id().to_string())?.into_iter().map(|id| id.parse().unwrap_or(0));
        let names = this.collect(format!("rank {} ({machine}, process {})", comm.rank(), std::process::id()))?;
        let mut group = this.group.borrow_mut();
        group.places = names.iter().cloned().zip(machines.into_iter().zip(ids)).collect();
        group.names = names;
        drop(group);
        Ok(this)
    }

    /// Everybody's text.
    fn collect(&self, own: String) -> Result<Vec<String>> {
        let texts = self.gather(own.into_bytes())?;
        Ok(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
    }

    fn comm(&self) -> Result<Comm> {
        let group = self.group.borrow();
        group.broken.as_ref().map_or(Ok(group.comm), |why| Err(Error::PeerLost(why.clone())))
    }

    /// Waits for an operation.
    fn end<T>(&self, begun: Result<Pending<T>, Fault>) -> Result<Vec<T>> {
        let comm = self.group.borrow().comm;
        let mut pending = begun.map_err(|fault| self.lost(&fault))?;
        let mut start = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut all_answered = false;
        let (mut looks, mut sleep) = (0, Duration::from_micros(20));
        while !pending.is_done().map_err(|fault| self.lost(&fault))? {
            looks += 1;
            if looks < SPINS {
                std::thread::yield_now();
                continue;
            }
            std::thread::sleep(sleep);
            sleep = (sleep + sleep / 4).min(LONGEST_SLEEP);
            // Others have lost patience, or this one has.
            if comm.was_told(HERE).map_err(|fault| self.lost(&fault))? || start.elapsed() > self.timeout {
                let silent = self.find_who_stalls(comm);
                if !silent.is_empty() {
                    return Err(self.leave_out(&silent));
                }
                if all_answered {
                    let why =
                        "every process answers, but an exchange does not come to its end: is the network failing?";
                    return Err(self.give_up(why.into()));
                }
                // The last of them has come meanwhile, so what all wait for can be done now.
                all_answered = true;
                start = Instant::now();
            }
            if (self.asked_to_end)() {
                // A launcher that ends a job because a process is gone leaves no time to wait for it.
                let missing = self.missing_here();
                if !missing.is_empty() || asked.get_or_insert_with(Instant::now).elapsed() > FAREWELL {
                    let who = if missing.is_empty() { "the others did not come".into() } else { missing + " is gone" };
                    return Err(self.give_up(format!("{who}, and this process was asked to end")));
                }
            }
        }
        Ok(pending.result())
    }

    /// The first process of this machine that is no more, as far as the system shows that.
    fn missing_here(&self) -> String {
        let group = self.group.borrow();
        let here = group.places.get(&group.names[group.rank]).map(|(machine, _)| machine.as_str());
        let processes = std::path::Path::new("/proc");
        let is_missing = |name: &&String| {
            let place = group.places.get(*name).filter(|(machine, _)| Some(machine.as_str()) == here);
            place.is_some_and(|(_, id)| processes.join("self").exists() && !processes.join(id.to_string()).exists())
        };
        group.names.iter().find(is_missing).cloned().unwrap_or_default()
    }

    /// Nothing can be exchanged any more, as `why` says. What is left to do has its time.
    fn give_up(&self, why: String) -> Error {
        if self.group.borrow_mut().broken.replace(why.clone()).is_none() {
            let said = why.clone();
            let watch = within(self.timeout.max(LAST), move |limit| {
                format!("{said}; what this process had to do after that did not end within {limit:?}")
            });
            // Until the process ends.
            std::mem::forget(watch);
        }
        Error::PeerLost(why)
    }

    /// What to say of an operation that failed. Everybody else's fails then too.
    fn lost(&self, fault: &Fault) -> Error {
        let (comm, names) = (self.group.borrow().comm, self.group.borrow().names.clone());
        match fault {
            Fault::Peer => {
                let gone = comm.failed();
                comm.revoke();
                let gone: Vec<&str> = gone.iter().map(|&rank| names[rank].as_str()).collect();
                Error::PeerLost(if gone.is_empty() {
                    "a process of this run is gone".into()
                } else {
                    format!("{} {} gone", gone.join(", "), if gone.len() == 1 { "is" } else { "are" })
                })
            }
            Fault::Other(text) => self.give_up(format!("MPI failed: {text}")),
        }
    }

    /// All who wait for an operation tell each other so; the ranks that do not, in some time.
    fn find_who_stalls(&self, comm: Comm) -> Vec<usize> {
        let own = self.rank();
        let others: Vec<usize> = (0..self.count()).filter(|&other| other != own).collect();
        let told: Vec<_> = others.iter().map(|&other| comm.tell(other, HERE)).collect();
        let mut heard: Vec<_> = others.iter().map(|&other| comm.hear(other, HERE)).collect();
        let grace = (self.timeout / 2).clamp(Duration::from_secs(1), Duration::from_secs(10));
        let start = Instant::now();
        let is_here = |pending: &mut Result<Pending<u8>, Fault>| match pending {
            Ok(pending) => pending.is_done().unwrap_or(false),
            Err(_) => false,
        };
        while !heard.iter_mut().all(is_here) && start.elapsed() < grace {
            std::thread::sleep(LONGEST_SLEEP);
        }
        drop(told);
        others.iter().zip(&mut heard).filter_map(|(&other, heard)| (!is_here(heard)).then_some(other)).collect()
    }

    /// Goes on without those that keep the others waiting, though nothing can be exchanged any more: MPI has no way around a
    /// process that is there and does not answer.
    fn leave_out(&self, silent: &[usize]) -> Error {
        let mut group = self.group.borrow_mut();
        let (rank, names) = (group.rank, std::mem::take(&mut group.names));
        let left_out: Vec<&str> = silent.iter().map(|&rank| names[rank].as_str()).collect();
        let why = format!(
            "{} {} the others waiting for more than {} s (--peer-timeout)",
            left_out.join(", "),
            if left_out.len() == 1 { "keeps" } else { "keep" },
            self.timeout.as_secs_f64()
        );
        group.rank = (0..rank).filter(|other| !silent.contains(other)).count();
        group.names =
            (0..names.len()).filter(|other| !silent.contains(other)).map(|other| names[other].clone()).collect();
        drop(group);
        self.give_up(why)
    }

    /// Ends the process if those who are left do not find each other in time: that call cannot be given a deadline.
    fn shrink(&self, comm: Comm) -> Result<Comm, Fault> {
        let _watch = within(self.timeout, |limit| {
            format!("after the loss of a process the others did not find each other within {limit:?}")
        });
        comm.shrink()
    }
}

/// Ends the process with the code of a lost peer, saying what `problem` says, unless what this returns is dropped within
/// `limit`. To forget it is to let the time run.
fn within(limit: Duration, problem: impl FnOnce(Duration) -> String + Send + 'static) -> Sender<()> {
    let (done, ends) = channel();
    std::thread::spawn(move || {
        if ends.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let error = Error::PeerLost(problem(limit));
            eprintln!("error: {error}");
            signal_hook::low_level::exit(error.exit_code().into());
        }
    });
    done
}

/// Ends the process with this code if MPI was begun and not brought to its end, without what MPI, drivers and others have
/// registered for that: it may wait for processes that are gone.
pub fn leave(code: u8) {
    if BEGUN.load(Ordering::Relaxed) {
        signal_hook::low_level::exit(code.into());
    }
}

impl Peers for Mpi {
    fn rank(&self) -> usize {
        self.group.borrow().rank
    }

    fn count(&self) -> usize {
        self.group.borrow().names.len()
    }

    fn name(&self, rank: usize) -> String {
        self.group.borrow().names[rank].clone()
    }

    fn machine(&self, rank: usize) -> String {
        let group = self.group.borrow();
        group.places.get(&group.names[rank]).map(|(machine, _)| machine.clone()).unwrap_or_default()
    }

    fn begin_sum(&self, numbers: Vec<f64>) -> Result<()> {
        let comm = self.comm()?;
        // MPI moves data only while it is called.
        for pending in self.sums.borrow_mut().iter_mut().flatten() {
            pending.is_done().map_err(|fault| self.lost(&fault))?;
        }
        // With so many processes an MPI adds up in the same order every time.
        let parts: Result<_, Fault> =
            numbers.chunks(MOST / size_of::<f64>()).map(|part| comm.sum(part.to_vec())).collect();
        self.sums.borrow_mut().push(parts.map_err(|fault| self.lost(&fault))?);
        Ok(())
    }

    fn end_sums(&self) -> Result<Vec<Vec<f64>>> {
        self.comm()?;
        let end = |parts: Vec<Pending<f64>>| -> Result<Vec<f64>> {
            let parts: Result<Vec<Vec<f64>>> = parts.into_iter().map(|part| self.end(Ok(part))).collect();
            Ok(parts?.concat())
        };
        self.sums.take().into_iter().map(end).collect()
    }

    fn gather(&self, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        let comm = self.comm()?;
        let eight = vec![size_of::<u64>(); comm.count()];
        let lens = self.end(comm.gather((own.len() as u64).to_le_bytes().to_vec(), &eight))?;
        let lens: Vec<usize> = lens.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes) as usize).collect();
        if lens.iter().sum::<usize>() > MOST {
            let problem = "a batch's activations are more than MPI moves at once (1 GiB); set a smaller data.batch";
            return Err(Error::Config(problem.into()));
        }
        let all = self.end(comm.gather(own, &lens))?;
        let mut rest = all.as_slice();
        let part = |len: &usize| {
            let (head, tail) = rest.split_at(*len);
            rest = tail;
            head.to_vec()
        };
        Ok(lens.iter().map(part).collect())
    }

    fn share(&self, of_first: Vec<u8>) -> Result<Vec<u8>> {
        let comm = self.comm()?;
        let len = self.end(comm.share((of_first.len() as u64).to_le_bytes().to_vec()))?;
        let len = u64::from_le_bytes(*len.first_chunk().expect("eight bytes")) as usize;
        let mut bytes = of_first;
        // Of those who only listen it has any length.
        bytes.resize(len, 0);
        let parts: Result<Vec<Vec<u8>>> = bytes.chunks(MOST).map(|part| self.end(comm.share(part.to_vec()))).collect();
        Ok(parts?.concat())
    }

    fn regroup(&self) -> Result<()> {
        // They can come to no end any more.
        self.sums.take();
        let mut comm = self.comm()?;
        let own = self.name(self.rank());
        let mut attempts = self.count();
        loop {
            comm.revoke();
            comm = self.shrink(comm).map_err(|fault| match fault {
                Fault::Peer => self.give_up("another process was lost before the others had found each other".into()),
                Fault::Other(text) => self.give_up(text),
            })?;
            {
                let mut group = self.group.borrow_mut();
                (group.comm, group.rank, group.names) = (comm, comm.rank(), vec![String::new(); comm.count()]);
            }
            attempts -= 1;
            match self.collect(own.clone()) {
                Err(Error::PeerLost(_)) if attempts > 0 && self.group.borrow().broken.is_none() => {}
                Err(error) => return Err(error),
                Ok(names) => {
                    self.group.borrow_mut().names = names;
                    return Ok(());
                }
            }
        }
    }

    /// Finalising waits for all.
    fn finish(&self) {
        if self.group.borrow().broken.is_some() {
            return;
        }
        let _watch = within(self.timeout, |limit| {
            format!("this process has done all it had to do, but the others did not end with it within {limit:?}")
        });
        drop(self.universe.borrow_mut().take());
        BEGUN.store(false, Ordering::Relaxed);
    }
}

/// Finalising waits for all, which is for a good end only.
impl Drop for Mpi {
    fn drop(&mut self) {
        std::mem::forget(self.universe.borrow_mut().take());
    }
}
