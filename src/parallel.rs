//! One training run on several devices at once, of whatever make.
//!
//! wgpu shares nothing between devices, so everything passes through the host. A step is
//!
//! ```text
//! every device    the forward pass of its shard of the batch          (a thread each)
//! the lead        the head over the activations of all shards         (models with classes)
//! every device    the backward pass of its shard                      (a thread each)
//! the host        meanwhile, gradients added up in f64, in the order of the batch, bucket by bucket
//! the lead        the optimizer's update, then everything it changed is read back
//! every device    gets the new parameters and power-iteration vectors before its next step
//! ```
//!
//! There is one update, so devices that round differently do not drift apart; sums have a fixed order, so that it does
//! not matter who is done first; and random numbers are those of the sample's place in the whole batch
//! ([`network::keys_from`](crate::network::keys_from)), so that neither does who computes what. A step gives what one
//! device would give with the same batch, up to rounding.
//!
//! Since the host has a copy of everything after each step (the [`Mirror`]), a device can vanish at any moment: the step is
//! done again by the others, from the same numbers. It is asked to come back later, at growing intervals.
//!
//! A device whose memory does not suffice for its share computes it in pieces, one after the other: *gradient
//! accumulation*, by the same rules. With a head that takes a second forward pass, as only the activations which the head
//! looks at are kept in between.
//!
//! Other processes, on this machine or another, sum with this one ([`Peers`]): each computes its [rows] of every batch, and a
//! step is the same with "every device" read as every device of every process, and "the lead" as that of rank 0. Four things
//! are exchanged, in this order: activations for the head, its verdict, sums of gradients, and what the update made. A device
//! that fails is its own process's matter: what was exchanged already stays as it is, and the rest is done again.
//!
//! # Buckets
//! Gradients are cut into buckets, in the order in which the backward pass finishes them; small models have one. Each is read
//! back as soon as its last number is there, and added up while the device goes on: the plan says behind which command that
//! is, and moves what leads there up. Other processes are given a bucket as soon as it is whole here. Each number is a sum in
//! the same order whatever the buckets are, so they change no bit. What a device that is lost in mid-step has contributed is
//! thrown away, except for buckets that other processes were given: those stay as they are.

mod buckets;
mod crew;
mod evaluate;
mod message;
mod mirror;
#[cfg(feature = "mpi")]
mod mpi;
mod peers;
mod replicas;
mod shares;
mod step;
mod team;
mod worker;

pub use mirror::Mirror;
#[cfg(feature = "mpi")]
pub use mpi::{Mpi, leave};
pub use peers::{Alone, Peers, rows};
pub use replicas::{Patience, Replicas};
pub use shares::{divide, granule};
pub use team::Team;
pub use worker::Overlap;
