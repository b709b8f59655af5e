//! The `.safetensors` format, as far as model files need it: a header that says in JSON where tensors lie, then their
//! numbers. Files of other programs are read by the crate `safetensors`; this is what browsers can afford.

use crate::json::Value;

/// Bytes of the number that says how long the header is.
const PREFIX: usize = 8;

/// Longest header read, as in the format's own library.
const LONGEST: usize = 100_000_000;

/// The key of the metadata.
const METADATA: &str = "__metadata__";

/// A tensor of a file.
#[derive(Debug)]
pub(super) struct Entry<'f> {
    pub(super) name: String,
    /// Name of its type, such as `F32`.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) data: &'f [u8],
}

/// A file's metadata.
pub(super) type Metadata = Vec<(String, String)>;

/// The metadata alone.
#[cfg(feature = "cli")]
pub(super) fn metadata(bytes: &[u8]) -> Result<Metadata, String> {
    let (header, _) = header(bytes)?;
    Ok(metadata_of(&header))
}

fn metadata_of(header: &Value) -> Metadata {
    let entries = header.get(METADATA).and_then(Value::as_object).unwrap_or_default();
    entries.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The header, and what follows it.
fn header(bytes: &[u8]) -> Result<(Value, &[u8]), String> {
    let too_short = || String::from("it is shorter than its header");
    let (prefix, rest) = bytes.split_at_checked(PREFIX).ok_or_else(too_short)?;
    let len = u64::from_le_bytes(prefix.try_into().expect("eight bytes"));
    let len = usize::try_from(len).ok().filter(|len| *len <= LONGEST).ok_or("its header is too long")?;
    let (text, data) = rest.split_at_checked(len).ok_or_else(too_short)?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
    Ok((Value::parse(text)?, data))
}

/// Metadata and tensors of a file's bytes. The tensors cover the file without gaps.
pub(super) fn read(bytes: &[u8]) -> Result<(Metadata, Vec<Entry<'_>>), String> {
    let (header, data) = header(bytes)?;
    let entries = header.as_object().ok_or("its header is no table")?;
    let mut found = Vec::with_capacity(entries.len());
    for (name, about) in entries.iter().filter(|(name, _)| name != METADATA) {
        found.push(entry(name, about, data).ok_or_else(|| format!("its header is wrong about {name:?}"))?);
    }
    found.sort_by_key(|(begin, _)| *begin);
    let mut end = 0;
    for (begin, entry) in &found {
        if *begin != end {
            return Err(format!("tensor {:?} does not begin where the one before it ends", entry.name));
        }
        end += entry.data.len();
    }
    if end != data.len() {
        return Err(format!("it has {} bytes of numbers, its header speaks of {end}", data.len()));
    }
    Ok((metadata_of(&header), found.into_iter().map(|(_, entry)| entry).collect()))
}

/// Where a tensor begins, and the tensor.
fn entry<'f>(name: &str, about: &Value, data: &'f [u8]) -> Option<(usize, Entry<'f>)> {
    let dtype = about.get("dtype")?.as_str()?.to_owned();
    let sizes = |key: &str| -> Option<Vec<usize>> {
        let list = about.get(key)?.as_list()?;
        list.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect()
    };
    let shape = sizes("shape")?;
    let &[begin, end] = sizes("data_offsets")?.as_slice() else { return None };
    let bytes = match dtype.as_str() {
        "F32" | "I32" | "U32" => Some(4),
        "F64" | "I64" | "U64" => Some(8),
        "F16" | "BF16" | "I16" | "U16" => Some(2),
        "I8" | "U8" | "BOOL" => Some(1),
        // Told by whoever wants to use it.
        _ => None,
    };
    let len = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
    let data = data.get(begin..end)?;
    let fits = bytes.is_none_or(|bytes: usize| len.checked_mul(bytes) == Some(data.len()));
    fits.then(|| (begin, Entry { name: name.to_owned(), dtype, shape, data }))
}

/// A file of f32 tensors (name, shape, bytes), in the order of their names as the format's own library writes them.
pub(super) fn write(mut tensors: Vec<(&str, &[usize], &[u8])>, metadata: &[(&str, String)]) -> Vec<u8> {
    tensors.sort_by(|a, b| a.0.cmp(b.0));
    let texts = metadata.iter().map(|(key, text)| ((*key).to_owned(), Value::Text(text.clone())));
    let mut header = vec![(METADATA.to_owned(), Value::Object(texts.collect()))];
    let number = |size: usize| Value::Number(size.to_string());
    let mut at = 0;
    for (name, shape, data) in &tensors {
        let about = [
            ("dtype", Value::Text("F32".into())),
            ("shape", Value::List(shape.iter().map(|&extent| number(extent)).collect())),
            ("data_offsets", Value::List(vec![number(at), number(at + data.len())])),
        ];
        let about = about.map(|(key, value)| (key.to_owned(), value));
        header.push(((*name).to_owned(), Value::Object(about.into())));
        at += data.len();
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(PREFIX), b' ');
    let mut bytes = Vec::with_capacity(PREFIX + header.len() + at);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, _, data) in tensors {
        bytes.extend(data);
    }
    bytes
}
