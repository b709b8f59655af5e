//! `.safetensors`.

use std::collections::HashMap;

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Array, Element};

/// A whole file with its table of arrays.
#[derive(Debug)]
pub(super) struct File {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Where its elements begin and end in the file.
    place: std::ops::Range<usize>,
}

impl File {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let entries = {
            // Also checks that the table covers the file, without gaps, overlaps or more than it holds.
            let (header, table) = SafeTensors::read_metadata(&bytes).map_err(|error| {
                format!(
                    "not a whole .safetensors file ({error}); {} bytes: truncated, or of another format?",
                    bytes.len()
                )
            })?;
            let data = header + size_of::<u64>();
            let entry = |(name, info): (String, &::safetensors::tensor::TensorInfo)| Entry {
                name,
                dtype: info.dtype,
                shape: info.shape.clone(),
                place: data + info.data_offsets.0..data + info.data_offsets.1,
            };
            table.tensors().into_iter().map(entry).collect()
        };
        Ok(Self { bytes, entries })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    pub(super) fn read(&self, name: &str) -> Result<Array, String> {
        let entry = self.entries.iter().find(|entry| entry.name == name).expect("asked for by one of the names");
        let element = element(entry.dtype).ok_or_else(|| {
            format!("has elements of type {:?}, which are not supported; convert it to F32", entry.dtype)
        })?;
        let elements = element.decode(&self.bytes[entry.place.clone()], false)?;
        Ok(Array::new(entry.shape.clone(), elements))
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::I32 => Element::I32,
        Dtype::I64 => Element::I64,
        Dtype::U8 => Element::U8,
        Dtype::U16 => Element::U16,
        Dtype::U32 => Element::U32,
        Dtype::U64 => Element::U64,
        Dtype::BOOL => Element::Bool,
        _ => return None,
    })
}

fn dtype(element: Element) -> Dtype {
    match element {
        Element::F32 => Dtype::F32,
        Element::F64 => Dtype::F64,
        Element::I64 => Dtype::I64,
        Element::Bool => Dtype::BOOL,
        narrow => panic!("arrays in memory are not {narrow:?}"),
    }
}

/// A file of these arrays.
pub(super) fn to_bytes(arrays: &[(&str, Array)], metadata: Option<HashMap<String, String>>) -> Vec<u8> {
    let data: Vec<Vec<u8>> = arrays.iter().map(|(_, array)| array.elements.to_bytes()).collect();
    let views = arrays.iter().zip(&data).map(|((name, array), bytes)| {
        let view = TensorView::new(dtype(array.elements.element()), array.shape.extents().to_vec(), bytes);
        (*name, view.expect("an array's elements fit its shape"))
    });
    ::safetensors::serialize(views, metadata).expect("few short names fit into a header")
}
