//! Types of elements: what files store, and what they become in memory.

use half::{bf16, f16};

/// How a file stores an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Half precision.
    F16,
    /// Half precision with the range of f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// One byte, 0 or 1.
    Bool,
}

/// Elements in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// f32 and everything narrower.
    F32(Vec<f32>),
    /// f64.
    F64(Vec<f64>),
    /// Integers of every width.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The elements that `bytes` hold, whole ones, in this byte order. An unsigned number beyond i64 is an error.
    pub(super) fn decode(self, bytes: &[u8], big_endian: bool) -> Result<Elements, String> {
        macro_rules! each {
            ($type:ty) => {
                bytes.chunks_exact(size_of::<$type>()).map(|bytes| {
                    let bytes = bytes.try_into().expect("a chunk has the size asked for");
                    if big_endian { <$type>::from_be_bytes(bytes) } else { <$type>::from_le_bytes(bytes) }
                })
            };
        }
        Ok(match self {
            Self::F16 => Elements::F32(each!(f16).map(f32::from).collect()),
            Self::Bf16 => Elements::F32(each!(bf16).map(f32::from).collect()),
            Self::F32 => Elements::F32(each!(f32).collect()),
            Self::F64 => Elements::F64(each!(f64).collect()),
            Self::I8 => Elements::I64(each!(i8).map(i64::from).collect()),
            Self::I16 => Elements::I64(each!(i16).map(i64::from).collect()),
            Self::I32 => Elements::I64(each!(i32).map(i64::from).collect()),
            Self::I64 => Elements::I64(each!(i64).collect()),
            Self::U8 => Elements::I64(each!(u8).map(i64::from).collect()),
            Self::U16 => Elements::I64(each!(u16).map(i64::from).collect()),
            Self::U32 => Elements::I64(each!(u32).map(i64::from).collect()),
            Self::U64 => {
                let whole: Result<Vec<i64>, _> = each!(u64).map(i64::try_from).collect();
                Elements::I64(whole.map_err(|_| "holds a number above 2^63 - 1".to_string())?)
            }
            Self::Bool => Elements::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
        })
    }
}

impl Elements {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::F64(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::Bool(data) => data.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `at` as a number.
    #[track_caller]
    pub fn number(&self, at: usize) -> f64 {
        match self {
            Self::F32(data) => f64::from(data[at]),
            Self::F64(data) => data[at],
            Self::I64(data) => data[at] as f64,
            Self::Bool(data) => f64::from(u8::from(data[at])),
        }
    }

    /// What they are, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::F32(_) | Self::F64(_) => "floating-point numbers",
            Self::I64(_) => "integers",
            Self::Bool(_) => "truth values",
        }
    }

    /// The same elements taken from these positions.
    pub(super) fn gather(&self, from: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::F32(data) => Self::F32(from.map(|at| data[at]).collect()),
            Self::F64(data) => Self::F64(from.map(|at| data[at]).collect()),
            Self::I64(data) => Self::I64(from.map(|at| data[at]).collect()),
            Self::Bool(data) => Self::Bool(from.map(|at| data[at]).collect()),
        }
    }

    /// How they are stored.
    pub(super) fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::F64(_) => Element::F64,
            Self::I64(_) => Element::I64,
            Self::Bool(_) => Element::Bool,
        }
    }

    /// Their bytes, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::I64(data) => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bool(data) => data.iter().map(|&x| u8::from(x)).collect(),
        }
    }
}
