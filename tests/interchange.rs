//! State dicts of the published code through the program: import, encode, decode, train, export.

#[path = "interchange/arrays.rs"]
mod arrays;
#[path = "interchange/bad_states.rs"]
mod bad_states;
#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "shared with the reference tests, which use more of it")]
mod fixture;
#[path = "interchange/networks.rs"]
mod networks;
#[path = "common/program.rs"]
#[allow(dead_code, reason = "shared with the tests of the program, which use more of it")]
mod program;
#[path = "interchange/published.rs"]
mod published;
#[path = "interchange/python.rs"]
mod python;
#[path = "common/state_file.rs"]
mod state_file;

use state_file::{load, save};

/// The network of the classifier fixture.
const CLASSIFIER: &str = r#"
[model]
kind = "classifier"
input = [3, 16, 16]
blocks = [2, 2, 2]
strides = [1, 2, 2]
channels = [8, 8, 16]
injective_padding = 5
[data]
name = "arrays:batches.safetensors"
batch = 8
shuffle = false
[optimizer]
name = "sgd"
lr = 0.1
weight_decay = 5e-4
[train]
epochs = 1
"#;

/// The network of the density fixture.
const DENSITY: &str = r#"
[model]
kind = "density"
input = [3, 16, 16]
blocks = [2, 2, 2]
strides = [1, 2, 2]
channels = [16, 16, 16]
initial_squeeze = true
injective_padding = 0
power_iterations = 5
[log_det]
terms = 5
[data]
batch = 4
"#;
