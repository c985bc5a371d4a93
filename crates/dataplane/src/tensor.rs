//! The vocabulary of what travels: datatypes, tensors and parameters.
//!
//! Names and layouts follow the Open Inference Protocol, v2 (its REST, gRPC and binary forms share
//! them): row-major, little endian, `BYTES` elements of any length.

use bytes::Bytes;
use std::fmt;

/// Most axes of a tensor: NumPy has no more.
pub const MAX_AXES: usize = 64;

/// An element type of the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the specification's own
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl Datatype {
    /// Every datatype, in the specification's order.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The protocol's spelling, such as `FP32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The datatype with this exact spelling.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|datatype| datatype.name() == name)
    }

    /// Bytes an element; `None` for `BYTES`, whose elements vary.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The elements of a `BYTES` tensor: one blob and where each element ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    ends: Vec<usize>,
    blob: Vec<u8>,
}

impl Strings {
    /// Room for `count` elements of `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { ends: Vec::with_capacity(count), blob: Vec::with_capacity(bytes) }
    }

    /// Appends one element.
    pub fn push(&mut self, element: &[u8]) {
        self.blob.extend_from_slice(element);
        self.ends.push(self.blob.len());
    }

    /// Appends all elements of another column.
    pub fn extend(&mut self, other: &Self) {
        let base = self.blob.len();
        self.blob.extend_from_slice(&other.blob);
        self.ends.extend(other.ends.iter().map(|end| end + base));
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Total length of all elements, in bytes.
    pub fn blob_len(&self) -> usize {
        self.blob.len()
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.blob.get(start..end)
    }

    /// All elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let element = self.blob.get(start..end).unwrap_or_default();
            start = end;
            element
        })
    }

    /// The elements `from..to`, copied.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let mut part = Self::default();
        for element in (from..to).filter_map(|index| self.get(index)) {
            part.push(element);
        }
        part
    }
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Fixed-size elements: row-major, little endian, tightly packed.
    Fixed(Bytes),
    /// Elements of any length (`BYTES`).
    Strings(Strings),
}

impl Data {
    /// Length on the wire without the length prefixes of `BYTES`, in bytes.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes.len(),
            Self::Strings(strings) => strings.blob_len(),
        }
    }
}

/// A parameter's value (Open Inference Protocol, `$parameters`).
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A JSON or protobuf boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number. Over gRPC it travels in Triton's `double_param`: KServe's form has none.
    Double(f64),
    /// A string.
    Str(String),
}

/// Named parameters, in the order in which they came.
pub type Params = Vec<(String, Param)>;

/// A named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Name; unique within a request or response.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Elements along each axis. `product(shape)` elements are in `data`: decoders guarantee it.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Data,
    /// Flat indices of elements that were `null` in JSON, ascending. Such an element is NaN in a
    /// floating-point tensor and empty in a `BYTES` tensor; no other datatype has any.
    pub nulls: Vec<usize>,
    /// The tensor's own parameters, without those of the binary extension.
    pub parameters: Params,
}

impl Tensor {
    /// The number of elements that a shape has; `None` where no array can have it.
    pub fn count(shape: &[usize]) -> Option<usize> {
        let times = |product: usize, axis: &usize| product.checked_mul(*axis);
        if !shape.contains(&0) {
            return shape.iter().try_fold(1, times);
        }
        // No element, but NumPy raises where the other axes would need more bytes than an address space has.
        let bytes = shape.iter().filter(|axis| **axis != 0).try_fold(8, times)?;
        isize::try_from(bytes).is_ok().then_some(0)
    }

    /// Rows, that is the length of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}
