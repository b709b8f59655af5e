//! One training run on several devices at once, of whatever make.
//!
//! wgpu shares nothing between devices, so everything passes through the host. A step is
//!
//! ```text
//! every device    the forward pass of its shard of the batch          (a thread each)
//! the lead        the head over the activations of all shards         (models with classes)
//! every device    the backward pass of its shard                      (a thread each)
//! the host        gradients added up in f64, in the order of the batch
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
//! # Deliberately not done
//! No exchange of gradients while the backward pass still runs: parameters of invertible networks are small beside their
//! activations, and reading them back took less than a hundredth of a step wherever it was measured.

mod crew;
mod evaluate;
mod mirror;
mod replicas;
mod shares;
mod worker;

pub use mirror::Mirror;
pub use replicas::{Patience, Replicas};
pub use shares::{divide, granule};
