//! The host's copy of everything a run is made of.

use crate::error::Result;
use crate::gpu::Read;
use crate::network::{PARAMS, STATE};
use crate::train::Learner;

/// All numbers of a run as of its last finished step, laid out as devices hold them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirror {
    /// Parameters.
    pub params: Vec<f32>,
    /// Power-iteration vectors and running statistics.
    pub state: Vec<f32>,
    /// The optimizer's state tensors, in its order.
    pub optimizer: Vec<Vec<f32>>,
}

impl Mirror {
    /// Reads everything from a device.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::error::Error::Gpu) if the device failed.
    pub async fn of(learner: &Learner) -> Result<Self> {
        let memory = learner.network().memory();
        let params = memory.start_read(PARAMS);
        let state = memory.contains(STATE).then(|| memory.start_read(STATE));
        let optimizer: Vec<Read> = learner.optimizer().iter().map(|name| memory.start_read(name)).collect();
        let mut mirror = Self { params: params.await?, ..Self::default() };
        if let Some(state) = state {
            mirror.state = state.await?;
        }
        for read in optimizer {
            mirror.optimizer.push(read.await?);
        }
        Ok(mirror)
    }

    /// Brings parameters and state to a device.
    pub fn write_model(&self, learner: &Learner) {
        let memory = learner.network().memory();
        memory.write(PARAMS, &self.params);
        if memory.contains(STATE) {
            memory.write(STATE, &self.state);
        }
    }

    /// BLAKE3 over all numbers.
    pub(super) fn hash(&self) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        for numbers in [&self.params, &self.state].into_iter().chain(&self.optimizer) {
            hasher.update(&(numbers.len() as u64).to_le_bytes());
            hasher.update(bytemuck::cast_slice(numbers));
        }
        hasher.finalize().as_bytes().to_vec()
    }

    /// Brings everything to a device.
    pub fn write(&self, learner: &Learner) {
        self.write_model(learner);
        for (name, data) in learner.optimizer().iter().zip(&self.optimizer) {
            learner.network().memory().write(name, data);
        }
    }
}
