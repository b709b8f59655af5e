//! Fixtures of the published code, graphs run by name in the interpreter, relative errors.

use std::collections::HashMap;
use std::path::Path;

use iresnet::graph::Graph;
use iresnet::interpret::{self, Array};
use safetensors::{Dtype, SafeTensors};

/// Tensors by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tensors(pub(crate) HashMap<String, Array>);

/// The fixture file `NAME.safetensors` and its settings.
pub(crate) fn load(name: &str) -> (Tensors, serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let config = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, view)| {
        let data = match view.dtype() {
            Dtype::F32 => {
                view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
            }
            Dtype::I64 => {
                view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (name.to_owned(), Array::new(view.shape(), data))
    });
    (Tensors(tensors.collect()), config)
}

impl Tensors {
    /// The tensor called `name`.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &Array {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name:?}"))
    }

    /// Tensors whose names begin with `prefix`, without it.
    pub(crate) fn under(&self, prefix: &str) -> Self {
        let with =
            self.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone())));
        Self(with.collect())
    }

    /// With one more tensor.
    pub(crate) fn with(mut self, name: &str, value: Array) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Replaces those tensors that `other` has as well.
    pub(crate) fn update(&mut self, other: &Self) {
        for (name, value) in &mut self.0 {
            if let Some(new) = other.0.get(name) {
                *value = new.clone();
            }
        }
    }
}

/// Rows `from..to` of the outermost axis.
pub(crate) fn rows(array: &Array, from: usize, to: usize) -> Array {
    let mut shape = array.shape().extents().to_vec();
    let width = array.shape().len() / shape[0];
    shape[0] = to - from;
    Array::new(shape, array.data()[from * width..to * width].to_vec())
}

/// Part `index` of the outermost axis, that axis dropped.
pub(crate) fn part(array: &Array, index: usize) -> Array {
    let row = rows(array, index, index + 1);
    reshaped(&row, &array.shape().extents()[1..])
}

/// The same elements under another shape.
pub(crate) fn reshaped(array: &Array, shape: &[usize]) -> Array {
    Array::new(shape, array.data().to_vec())
}

/// Outputs by name for inputs by name; inputs the graph does not have are passed over.
#[track_caller]
pub(crate) fn run(graph: &Graph, inputs: &Tensors) -> Tensors {
    graph.check().unwrap();
    let values = graph
        .inputs()
        .iter()
        .map(|(name, id)| {
            let value = inputs.get(name);
            assert_eq!(value.shape(), graph.shape(*id), "input {name:?}");
            value.clone()
        })
        .collect();
    let names = graph.outputs().iter().map(|(name, _)| name.clone());
    Tensors(names.zip(interpret::run(graph, values)).collect())
}

/// ‖ours − theirs‖ / ‖theirs‖.
#[track_caller]
pub(crate) fn relative_error(ours: &Array, theirs: &Array) -> f64 {
    assert_eq!(ours.shape().len(), theirs.shape().len(), "different numbers of elements");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut ours.data().iter().zip(theirs.data()).map(|(a, b)| a - b));
    difference / norm(&mut theirs.data().iter().copied()).max(f64::MIN_POSITIVE)
}

/// Asserts that the relative error is at most `tolerance`.
#[track_caller]
pub(crate) fn assert_close(what: &str, ours: &Array, theirs: &Array, tolerance: f64) {
    let error = relative_error(ours, theirs);
    assert!(error <= tolerance, "{what}: relative error {error:.2e} exceeds {tolerance:.0e}");
}
