//! The elements of one tensor, raw or typed.

use super::proto::InferTensorContents;
use crate::batch::merge::AlignedVec;
use crate::error::{Error, Kind, Result};
use crate::tensor::{Data, Datatype, Strings};
use bytemuck::NoUninit;
use bytes::Bytes;

/// A tensor whose elements are wanted, and where it stands in the message.
pub(super) struct Place<'a> {
    pub(super) at: &'a str,
    pub(super) name: &'a str,
    pub(super) datatype: Datatype,
    /// How many elements its shape has.
    pub(super) count: usize,
}

impl Place<'_> {
    /// The elements from raw contents.
    pub(super) fn raw(&self, raw: Bytes) -> Result<Data> {
        let Some(size) = self.datatype.size() else { return self.raw_strings(&raw) };
        if self.count.checked_mul(size) != Some(raw.len()) {
            return Err(self.invalid(format!(
                "its shape and {} need {} bytes of raw contents, got {}",
                self.datatype,
                self.count.checked_mul(size).map_or_else(|| "too many".to_owned(), |need| need.to_string()),
                raw.len()
            )));
        }
        if self.datatype == Datatype::Bool {
            if let Some(position) = raw.iter().position(|&byte| byte > 1) {
                let got = raw.get(position).copied().unwrap_or_default();
                return Err(self.invalid(format!("element {position} of BOOL must be 0 or 1, got {got}")));
            }
        }
        Ok(Data::Fixed(aligned(raw, size)))
    }

    /// Elements that each follow their length, four bytes, little endian.
    fn raw_strings(&self, mut raw: &[u8]) -> Result<Data> {
        // Each element takes four bytes at least, so the count cannot make us reserve more than came.
        let count = self.count.min(raw.len() / 4);
        let mut strings = Strings::with_capacity(count, raw.len() - 4 * count);
        while let Some((length, rest)) = raw.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((element, rest)) = rest.split_at_checked(length) else {
                return Err(self.invalid(format!(
                    "element {} of BYTES is said to have {length} bytes, but {} are left",
                    strings.len(),
                    rest.len()
                )));
            };
            if strings.len() == self.count {
                return Err(self.invalid(format!(
                    "its shape has {} elements, but the raw contents have more",
                    self.count
                )));
            }
            strings.push(element);
            raw = rest;
        }
        if !raw.is_empty() {
            return Err(self.invalid(format!(
                "raw contents of BYTES end in the middle of a length: {} bytes are left after element {}",
                raw.len(),
                strings.len()
            )));
        }
        self.counted(strings.len())?;
        Ok(Data::Strings(strings))
    }

    /// The elements from the one typed field that the datatype belongs to.
    pub(super) fn typed(&self, typed: InferTensorContents) -> Result<Data> {
        let lengths = [
            ("bool_contents", typed.bool_contents.len()),
            ("int_contents", typed.int_contents.len()),
            ("int64_contents", typed.int64_contents.len()),
            ("uint_contents", typed.uint_contents.len()),
            ("uint64_contents", typed.uint64_contents.len()),
            ("fp32_contents", typed.fp32_contents.len()),
            ("fp64_contents", typed.fp64_contents.len()),
            ("bytes_contents", typed.bytes_contents.len()),
        ];
        let field = field(self.datatype);
        if let Some((wrong, _)) = lengths.iter().find(|(name, length)| *length > 0 && *name != field) {
            return Err(self.invalid(format!("{} elements belong in {field}, got {wrong}", self.datatype)));
        }
        let got = lengths.iter().find(|(name, _)| *name == field).map_or(0, |(_, length)| *length);
        if got == 0 && self.count > 0 && field == RAW {
            return Err(self.invalid(format!("{} elements belong in {field}, got none", self.datatype)));
        }
        self.counted(got)?;
        Ok(match self.datatype {
            Datatype::Bool => fixed(typed.bool_contents.into_iter().map(u8::from).collect()),
            Datatype::Uint8 => fixed(self.narrow::<u32, u8>(&typed.uint_contents)?),
            Datatype::Uint16 => fixed(self.narrow::<u32, u16>(&typed.uint_contents)?),
            Datatype::Uint32 => fixed(typed.uint_contents),
            Datatype::Uint64 => fixed(typed.uint64_contents),
            Datatype::Int8 => fixed(self.narrow::<i32, i8>(&typed.int_contents)?),
            Datatype::Int16 => fixed(self.narrow::<i32, i16>(&typed.int_contents)?),
            Datatype::Int32 => fixed(typed.int_contents),
            Datatype::Int64 => fixed(typed.int64_contents),
            Datatype::Fp32 => fixed(typed.fp32_contents),
            Datatype::Fp64 => fixed(typed.fp64_contents),
            Datatype::Fp16 | Datatype::Bf16 => Data::Fixed(Bytes::new()), // the count is 0 here
            Datatype::Bytes => {
                let length = typed.bytes_contents.iter().map(Bytes::len).sum();
                let mut strings = Strings::with_capacity(got, length);
                for element in &typed.bytes_contents {
                    strings.push(element);
                }
                Data::Strings(strings)
            }
        })
    }

    fn narrow<Wide, Narrow>(&self, wide: &[Wide]) -> Result<Vec<Narrow>>
    where
        Wide: Copy + std::fmt::Display,
        Narrow: TryFrom<Wide>,
    {
        wide.iter()
            .enumerate()
            .map(|(index, &value)| {
                Narrow::try_from(value).map_err(|_| {
                    self.invalid(format!("element {index} does not fit {}, got {value}", self.datatype))
                })
            })
            .collect()
    }

    fn counted(&self, got: usize) -> Result<()> {
        if got == self.count {
            return Ok(());
        }
        Err(self.invalid(format!("its shape has {} elements, got {got}", self.count)))
    }

    fn invalid(&self, problem: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{} ({:?}): {problem}.", self.at, self.name))
    }
}

const RAW: &str = "raw_input_contents";

/// Where the protocol wants the elements of a datatype.
const fn field(datatype: Datatype) -> &'static str {
    match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => RAW,
    }
}

/// The same bytes, copied only if they do not begin on a boundary of their elements.
fn aligned(bytes: Bytes, size: usize) -> Bytes {
    if bytes.as_ptr().align_offset(size) == 0 {
        return bytes;
    }
    let mut copy = AlignedVec::with_capacity(bytes.len());
    copy.extend(&bytes);
    copy.into_bytes()
}

#[cfg(target_endian = "big")]
compile_error!("typed contents are taken over as they lie in memory, which must be little endian");

/// The elements of a typed field, taken over without a copy.
fn fixed<T: NoUninit + Send + 'static>(elements: Vec<T>) -> Data {
    struct Owner<T>(Vec<T>);
    impl<T: NoUninit> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Data::Fixed(Bytes::from_owner(Owner(elements)))
}

/// Elements as raw contents.
pub(super) fn raw_of(name: &str, data: Data) -> Result<Bytes> {
    let strings = match data {
        Data::Fixed(bytes) => return Ok(bytes),
        Data::Strings(strings) => strings,
    };
    let mut raw = Vec::with_capacity(strings.blob_len() + 4 * strings.len());
    for element in strings.iter() {
        let length = u32::try_from(element.len()).map_err(|_| {
            Error::new(
                Kind::Model,
                format!("output {name:?} has an element of {} bytes; BYTES takes 4 GiB.", element.len()),
            )
        })?;
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(element);
    }
    Ok(raw.into())
}

/// Elements in the typed field of their datatype. FP16 and BF16 have none.
pub(super) fn typed_of(datatype: Datatype, data: Data) -> InferTensorContents {
    let mut typed = InferTensorContents::default();
    let bytes = match data {
        Data::Fixed(bytes) => bytes,
        Data::Strings(strings) => {
            typed.bytes_contents = strings.iter().map(Bytes::copy_from_slice).collect();
            return typed;
        }
    };
    match datatype {
        Datatype::Bool => typed.bool_contents = bytes.iter().map(|&byte| byte != 0).collect(),
        Datatype::Uint8 => typed.uint_contents = bytes.iter().map(|&byte| byte.into()).collect(),
        Datatype::Uint16 => typed.uint_contents = elements(&bytes, |two| u16::from_le_bytes(two).into()),
        Datatype::Uint32 => typed.uint_contents = elements(&bytes, u32::from_le_bytes),
        Datatype::Uint64 => typed.uint64_contents = elements(&bytes, u64::from_le_bytes),
        Datatype::Int8 => typed.int_contents = elements(&bytes, |one| i8::from_le_bytes(one).into()),
        Datatype::Int16 => typed.int_contents = elements(&bytes, |two| i16::from_le_bytes(two).into()),
        Datatype::Int32 => typed.int_contents = elements(&bytes, i32::from_le_bytes),
        Datatype::Int64 => typed.int64_contents = elements(&bytes, i64::from_le_bytes),
        Datatype::Fp32 => typed.fp32_contents = elements(&bytes, f32::from_le_bytes),
        Datatype::Fp64 => typed.fp64_contents = elements(&bytes, f64::from_le_bytes),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => {}
    }
    typed
}

fn elements<const SIZE: usize, T>(bytes: &[u8], element: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<SIZE>();
    chunks.iter().map(|&chunk| element(chunk)).collect()
}
