//! numpy's `.npy`: a magic word, a version, a Python dictionary as text, the elements.
//!
//! Read here and not by a crate: those there are take sizes on trust (they allocate what a header claims, overflow on the
//! product of its extents, or parse nested brackets until the stack ends), and the format is small.

use std::io::Read;

use super::{Array, Element};
use crate::shape::Shape;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read. numpy refuses more than 10,000 as well.
const LONGEST_HEADER: usize = 10_000;
/// Most axes, as in numpy.
const MOST_AXES: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq)]
struct Header {
    element: Element,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads an array from the beginning of `reader`, which has `len` bytes in all where that is known.
pub(super) fn read(mut reader: impl Read, len: Option<u64>) -> Result<Array, String> {
    let mut start = [0; 8];
    read_exact(&mut reader, &mut start)?;
    if &start[..6] != MAGIC {
        return Err("is not in .npy format: it does not begin with \\x93NUMPY".into());
    }
    let (header_len, before) = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            read_exact(&mut reader, &mut bytes)?;
            (u16::from_le_bytes(bytes) as usize, 10)
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            read_exact(&mut reader, &mut bytes)?;
            (u32::from_le_bytes(bytes) as usize, 12)
        }
        version => return Err(format!("is in version {version} of the .npy format; versions 1 to 3 are known")),
    };
    if header_len > LONGEST_HEADER {
        return Err(format!("claims a header of {header_len} bytes, more than {LONGEST_HEADER}; is it damaged?"));
    }
    let mut text = vec![0; header_len];
    read_exact(&mut reader, &mut text)?;
    let text = String::from_utf8(text).map_err(|_| "has a header that is not text; is it damaged?".to_string())?;
    let header = parse(&text)?;

    let size = header.element.size();
    let bytes = header.shape.iter().try_fold(size, |product, &extent| product.checked_mul(extent));
    let shape = Shape::from(header.shape);
    let bytes = bytes.ok_or_else(|| format!("claims the shape {shape}, more than a memory can hold"))?;
    let there = len.map(|len| len.saturating_sub(before + header_len as u64));
    if there.is_some_and(|there| there != bytes as u64) {
        let there = there.unwrap_or_default();
        return Err(format!("of shape {shape} needs {bytes} bytes of elements, {there} are there; was it truncated?"));
    }
    let mut data = Vec::new();
    data.try_reserve_exact(bytes)
        .map_err(|_| format!("of shape {shape} needs {bytes} bytes, more than there is memory"))?;
    // One byte more than wanted, so that a longer stream is noticed.
    reader.take(bytes as u64 + 1).read_to_end(&mut data).map_err(|error| format!("cannot be read: {error}"))?;
    if data.len() != bytes {
        return Err(format!(
            "of shape {shape} needs {bytes} bytes of elements, it has more or fewer; was it truncated?"
        ));
    }
    let elements = header.element.decode(&data, header.big_endian)?;
    if header.fortran_order && shape.rank() > 1 {
        let elements = elements.gather(fortran_positions(&shape));
        return Ok(Array::new(shape, elements));
    }
    Ok(Array::new(shape, elements))
}

fn read_exact(reader: &mut impl Read, bytes: &mut [u8]) -> Result<(), String> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "ends within its header; was it truncated?".into(),
        _ => format!("cannot be read: {error}"),
    })
}

/// For each element in row-major order, where it lies in a column-major file.
fn fortran_positions(shape: &Shape) -> impl Iterator<Item = usize> {
    let rows = shape.strides();
    let extents = shape.extents().to_vec();
    let columns: Vec<usize> = (0..extents.len()).map(|axis| extents[..axis].iter().product()).collect();
    (0..shape.len()).map(move |at| (0..extents.len()).map(|axis| at / rows[axis] % extents[axis] * columns[axis]).sum())
}

/// The dictionary: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(text: &str) -> Result<Header, String> {
    let fail = |what: &str| format!("has a header that is not numpy's ({what}); is it damaged?");
    let mut rest = Cursor(text);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.expect("{").map_err(|what| fail(&what))?;
    while !rest.accept("}") {
        let key = rest.string().map_err(|what| fail(&what))?;
        rest.expect(":").map_err(|what| fail(&what))?;
        match key {
            "descr" if rest.0.trim_start().starts_with('[') => {
                return Err("has records as elements; write each field as an array of its own".into());
            }
            "descr" => descr = Some(rest.string().map_err(|what| fail(&what))?),
            "fortran_order" => fortran_order = Some(rest.boolean().map_err(|what| fail(&what))?),
            "shape" => shape = Some(rest.tuple().map_err(|what| fail(&what))?),
            other => return Err(fail(&format!("an entry {other:?}"))),
        }
        if !rest.accept(",") {
            rest.expect("}").map_err(|what| fail(&what))?;
            break;
        }
    }
    let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
        return Err(fail("descr, fortran_order or shape is missing"));
    };
    let (element, big_endian) = element(descr).ok_or_else(|| {
        format!("has elements of numpy's type {descr:?}, which are no real numbers; convert it to float32")
    })?;
    Ok(Header { element, big_endian, fortran_order, shape })
}

/// The element and whether its bytes are in big-endian order.
fn element(descr: &str) -> Option<(Element, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" => false,
        "=" => cfg!(target_endian = "big"),
        ">" => true,
        _ => return None,
    };
    let element = match kind {
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        "i1" => Element::I8,
        "i2" => Element::I16,
        "i4" => Element::I32,
        "i8" => Element::I64,
        "u1" => Element::U8,
        "u2" => Element::U16,
        "u4" => Element::U32,
        "u8" => Element::U64,
        "b1" => Element::Bool,
        _ => return None,
    };
    Some((element, big_endian))
}

/// What is left of a header's text.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn accept(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(format!("no {token:?} where one belongs")) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.accept("'") { '\'' } else { '"' };
        if quote == '"' {
            self.expect("\"")?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or("a text without end")?;
        self.0 = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        if self.accept("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut values = Vec::new();
        while !self.accept(")") {
            if values.len() == MOST_AXES {
                return Err(format!("more than {MOST_AXES} axes"));
            }
            self.0 = self.0.trim_start();
            let digits = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (number, rest) = self.0.split_at(digits);
            values.push(number.parse().map_err(|_| format!("{number:?} as an extent"))?);
            // Python 2 wrote long integers with an L.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.accept(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(values)
    }
}

/// The array as a file in version 1 of the format.
pub(super) fn to_bytes(array: &Array) -> Vec<u8> {
    let descr = match array.elements.element() {
        Element::F32 => "<f4",
        Element::F64 => "<f8",
        Element::I64 => "<i8",
        Element::Bool => "|b1",
        narrow => panic!("arrays in memory are not {narrow:?}"),
    };
    // As numpy spells it, so that equal arrays give equal bytes.
    let extents: Vec<String> = array.shape.extents().iter().map(usize::to_string).collect();
    let comma = if extents.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    // The elements begin at a multiple of 64 bytes, and a line end stands before them.
    let padded = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    let spaces = padded - MAGIC.len() - 4 - 1 - header.len();
    header.extend(std::iter::repeat_n(' ', spaces));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(u16::try_from(header.len()).expect("a header of a few axes").to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(array.elements.to_bytes());
    bytes
}
