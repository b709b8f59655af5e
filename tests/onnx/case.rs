//! The cases: what the fixture says of them, and their numbers.

use std::collections::HashMap;
use std::path::PathBuf;

use iresnet::interpret::Array;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

/// A test of one operator, or of several.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) operators: Vec<String>,
    #[serde(default)]
    pub(crate) attributes: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub(crate) inputs: Vec<Option<Tensor>>,
    #[serde(default)]
    pub(crate) outputs: Vec<Option<Tensor>>,
    #[serde(default)]
    rtol: f64,
    #[serde(default)]
    atol: f64,
}

/// One of its tensors.
#[derive(Deserialize)]
pub(crate) struct Tensor {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) shape: Option<Vec<usize>>,
    data: Option<String>,
}

/// All cases.
pub(crate) struct Fixture {
    tensors: HashMap<String, Array>,
    pub(crate) cases: Vec<Case>,
}

impl Fixture {
    pub(crate) fn load() -> Self {
        let path = folder().join("cases.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a file of tensors");
        let described = metadata.metadata().as_ref().expect("metadata");
        let cases = serde_json::from_str(&described["cases"]).expect("a list of cases");
        let file = SafeTensors::deserialize(&bytes).expect("a file of tensors");
        let tensors = file.iter().map(|(name, view)| (name.to_string(), array(&view))).collect();
        Self { tensors, cases }
    }

    /// The numbers of a tensor; `None` where the fixture has none.
    pub(crate) fn array(&self, tensor: &Tensor) -> Option<Array> {
        let array = &self.tensors[tensor.data.as_ref()?];
        // A single number is kept as a vector of one.
        Some(Array::new(tensor.shape.clone()?, array.data().to_vec()))
    }
}

fn array(view: &TensorView<'_>) -> Array {
    let bytes = view.data();
    let numbers: Vec<f64> = match view.dtype() {
        Dtype::F32 => bytes.chunks_exact(4).map(|x| f64::from(f32::from_le_bytes([x[0], x[1], x[2], x[3]]))).collect(),
        Dtype::I64 => bytes
            .chunks_exact(8)
            .map(|x| i64::from_le_bytes([x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]]) as f64)
            .collect(),
        Dtype::U8 => bytes.iter().map(|&x| f64::from(x)).collect(),
        other => panic!("numbers of type {other:?}"),
    };
    Array::new(view.shape(), numbers)
}

/// Where the fixture and its companions lie.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

impl Case {
    /// Compares outputs as the standard's own runner does: |found - wanted| ≤ atol + rtol · |wanted|.
    pub(crate) fn judge(&self, fixture: &Fixture, found: &[Vec<f64>]) -> Result<(), String> {
        for (number, (tensor, found)) in self.outputs.iter().zip(found).enumerate() {
            let Some(tensor) = tensor else { continue };
            let wanted = fixture.array(tensor).ok_or("the fixture has no numbers for it")?;
            if wanted.data().len() != found.len() {
                return Err(format!("output {number} has {} elements, not {}", found.len(), wanted.data().len()));
            }
            for (index, (&wanted, &found)) in wanted.data().iter().zip(found).enumerate() {
                let near = (wanted - found).abs() <= self.atol + self.rtol * wanted.abs();
                if !(near || wanted == found || wanted.is_nan() && found.is_nan()) {
                    return Err(format!("output {number}[{index}] is {found}, expected {wanted}"));
                }
            }
        }
        if found.len() == self.outputs.len() { Ok(()) } else { Err(format!("{} outputs", found.len())) }
    }
}
