//! The part of MPI that the crate `mpi` has only as C functions: operations that do not block and can fail, and what the
//! fault-tolerant extension (ULFM) adds. All `unsafe` code of the feature `mpi` is here.
//!
//! Why it is sound: handles are plain values of MPI's own, made by MPI and never invented. What MPI reads or writes while an
//! operation is under way are heap buffers that its [`Pending`] owns, that nobody else can reach, and that are given back only
//! when MPI says it is done; one that is dropped before leaks them, so that MPI never writes to freed memory. Lengths are
//! those of the buffers. Calls come from one thread at a time, since [`Comm`] and [`Pending`] are neither `Send` nor `Sync`.
#![expect(unsafe_code, reason = "foreign functions; the argument stands above")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};

use mpi::ffi;

/// What MPI says when something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process is gone, or another one has revoked the communicator as it knows of one.
    Peer,
    /// Anything else, in MPI's words.
    Other(String),
}

#[cfg(ulfm)]
unsafe extern "C" {
    fn MPIX_Comm_revoke(comm: ffi::MPI_Comm) -> c_int;
    fn MPIX_Comm_shrink(comm: ffi::MPI_Comm, smaller: *mut ffi::MPI_Comm) -> c_int;
    fn MPIX_Comm_agree(comm: ffi::MPI_Comm, flag: *mut c_int) -> c_int;
    fn MPIX_Comm_failure_ack(comm: ffi::MPI_Comm) -> c_int;
    fn MPIX_Comm_failure_get_acked(comm: ffi::MPI_Comm, failed: *mut ffi::MPI_Group) -> c_int;
}

/// Processes that can talk to each other.
#[derive(Clone, Copy)]
pub(super) struct Comm {
    handle: ffi::MPI_Comm,
    one_thread: PhantomData<*const ()>,
}

/// An operation under way, with its buffers.
pub(super) struct Pending<T> {
    request: ffi::MPI_Request,
    done: bool,
    given: ManuallyDrop<Vec<T>>,
    received: ManuallyDrop<Vec<T>>,
    /// Lengths and places of parts of `received`.
    layout: ManuallyDrop<[Vec<c_int>; 2]>,
}

/// A length as MPI takes it.
fn count(len: usize) -> c_int {
    c_int::try_from(len).expect("messages are cut below 2^31 elements")
}

fn check(code: c_int) -> Result<(), Fault> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut class: c_int = 0;
    // SAFETY: `class` lives through the call.
    unsafe { ffi::MPI_Error_class(code, &mut class) };
    #[cfg(ulfm)]
    if [ffi::MPI_ERR_PROC_FAILED, ffi::MPI_ERR_PROC_FAILED_PENDING, ffi::MPI_ERR_REVOKED].contains(&(class as _)) {
        return Err(Fault::Peer);
    }
    let mut text: [c_char; ffi::MPI_MAX_ERROR_STRING as usize + 1] = [0; _];
    let mut len: c_int = 0;
    // SAFETY: `text` has the room that MPI promises to suffice, and a zero behind it.
    let text = unsafe {
        ffi::MPI_Error_string(code, text.as_mut_ptr(), &mut len);
        CStr::from_ptr(text.as_ptr())
    };
    Err(Fault::Other(text.to_string_lossy().into_owned()))
}

impl Comm {
    /// All processes that were started together, in a communicator of our own whose errors are returned. MPI must be
    /// initialised, and not finalised before the last use.
    pub(super) fn of_all() -> Result<Self, Fault> {
        // SAFETY: a constant of MPI's.
        Self { handle: unsafe { ffi::RSMPI_COMM_WORLD }, one_thread: PhantomData }.copy()
    }

    /// The same processes in a communicator of its own.
    fn copy(self) -> Result<Self, Fault> {
        self.return_errors()?;
        let mut copy = self;
        // SAFETY: `copy` lives through the call.
        check(unsafe { ffi::MPI_Comm_dup(self.handle, &mut copy.handle) })?;
        copy.return_errors()?;
        Ok(copy)
    }

    fn return_errors(self) -> Result<(), Fault> {
        // SAFETY: a constant of MPI's.
        check(unsafe { ffi::MPI_Comm_set_errhandler(self.handle, ffi::RSMPI_ERRORS_RETURN) })
    }

    pub(super) fn rank(self) -> usize {
        let mut rank: c_int = 0;
        // SAFETY: `rank` lives through the call.
        unsafe { ffi::MPI_Comm_rank(self.handle, &mut rank) };
        rank as usize
    }

    pub(super) fn count(self) -> usize {
        let mut count: c_int = 1;
        // SAFETY: `count` lives through the call.
        unsafe { ffi::MPI_Comm_size(self.handle, &mut count) };
        count as usize
    }

    /// Begins to add up everybody's numbers.
    pub(super) fn sum(self, numbers: Vec<f64>) -> Result<Pending<f64>, Fault> {
        let mut pending = Pending::new(numbers.clone(), numbers, [Vec::new(), Vec::new()]);
        let (given, received, len) =
            (pending.given.as_ptr().cast(), pending.received.as_mut_ptr().cast(), count(pending.given.len()));
        // SAFETY: both buffers hold `len` numbers and outlive the operation (see `Pending`).
        check(unsafe {
            ffi::MPI_Iallreduce(
                given,
                received,
                len,
                ffi::RSMPI_DOUBLE,
                ffi::RSMPI_SUM,
                self.handle,
                &mut pending.request,
            )
        })?;
        Ok(pending.begun())
    }

    /// Begins to bring rank 0's bytes to all; everybody gives as many.
    pub(super) fn share(self, bytes: Vec<u8>) -> Result<Pending<u8>, Fault> {
        let mut pending = Pending::new(Vec::new(), bytes, [Vec::new(), Vec::new()]);
        let (buffer, len) = (pending.received.as_mut_ptr().cast(), count(pending.received.len()));
        // SAFETY: the buffer holds `len` bytes and outlives the operation.
        check(unsafe { ffi::MPI_Ibcast(buffer, len, ffi::RSMPI_UINT8_T, 0, self.handle, &mut pending.request) })?;
        Ok(pending.begun())
    }

    /// Begins to collect everybody's bytes, of which rank r has `lens[r]`, for all.
    pub(super) fn gather(self, own: Vec<u8>, lens: &[usize]) -> Result<Pending<u8>, Fault> {
        assert_eq!((lens.len(), lens[self.rank()]), (self.count(), own.len()), "a length for each rank");
        let places = lens.iter().scan(0, |place, &len| Some(std::mem::replace(place, *place + len)));
        let layout = [lens.iter().map(|&len| count(len)).collect(), places.map(count).collect()];
        let mut pending = Pending::new(own, vec![0; lens.iter().sum()], layout);
        let (given, received) = (pending.given.as_ptr().cast(), pending.received.as_mut_ptr().cast());
        let (len, [lens, places]) = (count(pending.given.len()), &*pending.layout);
        let (lens, places, byte) = (lens.as_ptr(), places.as_ptr(), byte());
        let request = &mut pending.request;
        // SAFETY: the lengths add up to that of `received`; all buffers, those of lengths and places as well, outlive the
        // operation.
        check(unsafe { ffi::MPI_Iallgatherv(given, len, byte, received, lens, places, byte, self.handle, request) })?;
        Ok(pending.begun())
    }

    /// Begins to send a byte to `rank`.
    pub(super) fn tell(self, rank: usize, tag: c_int) -> Result<Pending<u8>, Fault> {
        let mut pending = Pending::new(vec![1], Vec::new(), [Vec::new(), Vec::new()]);
        let (byte, message): (_, *const c_void) = (byte(), pending.given.as_ptr().cast());
        // SAFETY: the buffer holds one byte and outlives the operation.
        check(unsafe { ffi::MPI_Isend(message, 1, byte, count(rank), tag, self.handle, &mut pending.request) })?;
        Ok(pending.begun())
    }

    /// Begins to receive a byte from `rank`.
    pub(super) fn hear(self, rank: usize, tag: c_int) -> Result<Pending<u8>, Fault> {
        let mut pending = Pending::new(Vec::new(), vec![0], [Vec::new(), Vec::new()]);
        let (byte, message): (_, *mut c_void) = (byte(), pending.received.as_mut_ptr().cast());
        // SAFETY: the buffer holds one byte and outlives the operation.
        check(unsafe { ffi::MPI_Irecv(message, 1, byte, count(rank), tag, self.handle, &mut pending.request) })?;
        Ok(pending.begun())
    }

    /// Whether anybody's message with this tag has come.
    pub(super) fn was_told(self, tag: c_int) -> Result<bool, Fault> {
        let mut flag: c_int = 0;
        let mut status = MaybeUninit::uninit();
        // SAFETY: both live through the call; the status is written, and not read.
        check(unsafe { ffi::MPI_Iprobe(ffi::RSMPI_ANY_SOURCE, tag, self.handle, &mut flag, status.as_mut_ptr()) })?;
        Ok(flag != 0)
    }
}

/// The type of a byte.
fn byte() -> ffi::MPI_Datatype {
    // SAFETY: a constant of MPI's.
    unsafe { ffi::RSMPI_UINT8_T }
}

/// What ULFM adds.
#[cfg(ulfm)]
impl Comm {
    /// Ranks that are known to be gone.
    pub(super) fn failed(self) -> Vec<usize> {
        let ranks: Vec<c_int> = (0..self.count()).map(count).collect();
        let mut places = vec![0; ranks.len()];
        // SAFETY: handles are made by MPI before they are used, and both lists have a place for each rank.
        unsafe {
            let (mut failed, mut all) = (ffi::RSMPI_GROUP_EMPTY, ffi::RSMPI_GROUP_EMPTY);
            MPIX_Comm_failure_ack(self.handle);
            if MPIX_Comm_failure_get_acked(self.handle, &mut failed) != ffi::MPI_SUCCESS as c_int {
                return Vec::new();
            }
            ffi::MPI_Comm_group(self.handle, &mut all);
            ffi::MPI_Group_translate_ranks(all, count(ranks.len()), ranks.as_ptr(), failed, places.as_mut_ptr());
            let nowhere = ffi::RSMPI_UNDEFINED;
            (0..ranks.len()).filter(|&rank| places[rank] != nowhere).collect()
        }
    }

    /// Lets everybody's operations here fail, so that all learn of a loss.
    pub(super) fn revoke(self) {
        // SAFETY: a call by value. Who is told already needs no telling.
        unsafe { MPIX_Comm_revoke(self.handle) };
    }

    /// Those who are left, once all of them agree on who that is. Waits for all that are alive.
    pub(super) fn shrink(self) -> Result<Self, Fault> {
        let mut smaller = self;
        let mut flag: c_int = 1;
        // SAFETY: `smaller` and `flag` live through the calls.
        unsafe {
            check(MPIX_Comm_shrink(self.handle, &mut smaller.handle))?;
            smaller.return_errors()?;
            check(MPIX_Comm_agree(smaller.handle, &mut flag))?;
        }
        Ok(smaller)
    }
}

/// An MPI without ULFM ends all processes when one is gone, so that nobody is left to ask.
#[cfg(not(ulfm))]
impl Comm {
    pub(super) fn failed(self) -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn revoke(self) {}

    pub(super) fn shrink(self) -> Result<Self, Fault> {
        Err(Fault::Other("this MPI cannot go on without a process: it was built without ULFM".into()))
    }
}

impl<T> Pending<T> {
    fn new(given: Vec<T>, received: Vec<T>, layout: [Vec<c_int>; 2]) -> Self {
        Self {
            // SAFETY: a constant of MPI's.
            request: unsafe { ffi::RSMPI_REQUEST_NULL },
            done: true,
            given: ManuallyDrop::new(given),
            received: ManuallyDrop::new(received),
            layout: ManuallyDrop::new(layout),
        }
    }

    fn begun(mut self) -> Self {
        self.done = false;
        self
    }

    /// Whether it has come to its end.
    pub(super) fn is_done(&mut self) -> Result<bool, Fault> {
        if !self.done {
            let mut flag: c_int = 0;
            // SAFETY: the request is one that MPI made and has not ended; the flag lives through the call.
            check(unsafe { ffi::MPI_Test(&mut self.request, &mut flag, ffi::RSMPI_STATUS_IGNORE) })?;
            self.done = flag != 0;
        }
        Ok(self.done)
    }

    /// What was received, at the end.
    #[track_caller]
    pub(super) fn result(mut self) -> Vec<T> {
        assert!(self.done, "it is under way");
        std::mem::take(&mut *self.received)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if self.done {
            // SAFETY: MPI has no use for the buffers any more, and nobody can reach them after this.
            unsafe {
                ManuallyDrop::drop(&mut self.given);
                ManuallyDrop::drop(&mut self.received);
                ManuallyDrop::drop(&mut self.layout);
            }
        }
    }
}
