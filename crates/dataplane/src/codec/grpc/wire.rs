//! Protobuf on the wire, with a bound on what a small message may cost.

use bytes::Buf;
use prost::encoding::{decode_key, decode_varint, WireType};
use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::Status;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Most tensors, parameters and other fields that a message may have: an empty tensor takes two bytes on the
/// wire and three hundred in memory. Far beyond any limit on tensors.
const MOST_FIELDS: usize = 1 << 16;
/// Most elements of `bytes_contents`, which take two bytes on the wire and forty in memory. Raw contents have
/// no such limit.
const MOST_STRINGS: usize = 1 << 22;
/// Most bytes of one tensor's `shape`.
const LONGEST_SHAPE: usize = 1 << 10;

/// Protobuf by prost; messages of very many fields are refused before they are unpacked.
#[derive(Debug)]
pub struct WireCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for WireCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for WireCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = WireDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        WireDecoder(ProstDecoder::default())
    }
}

/// The decoding half of `WireCodec`.
#[derive(Debug)]
pub struct WireDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for WireDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let mut budget = Budget { fields: MOST_FIELDS, strings: MOST_STRINGS };
        if let Err(Excess(what)) = budget.message(buf.chunk()) {
            return Err(Status::resource_exhausted(what));
        }
        self.0.decode(buf)
    }
}

/// What is left of what a message may hold.
struct Budget {
    fields: usize,
    strings: usize,
}

/// There is more of it than a message may hold: a sentence.
#[derive(Debug)]
struct Excess(String);

impl Budget {
    /// Counts what prost would make of a message. Only a request for inference has tensors; what looks like
    /// one elsewhere is counted too, where so many are no less wrong.
    fn message(&mut self, message: &[u8]) -> Result<(), Excess> {
        walk(message, |number, field| {
            self.field()?;
            match number {
                INPUTS => self.input(field),
                PARAMETERS | OUTPUTS => walk(field, |_, _| self.field()),
                _ => Ok(()),
            }
        })
    }

    fn input(&mut self, input: &[u8]) -> Result<(), Excess> {
        walk(input, |number, field| {
            self.field()?;
            match number {
                SHAPE if field.len() > LONGEST_SHAPE => {
                    Err(Excess(format!("A tensor's shape has more than {LONGEST_SHAPE} bytes.")))
                }
                CONTENTS => walk(field, |number, _| if number == STRINGS { self.string() } else { Ok(()) }),
                _ => Ok(()),
            }
        })
    }

    fn field(&mut self) -> Result<(), Excess> {
        let left = self.fields.checked_sub(1);
        self.fields = left.ok_or_else(|| {
            Excess(format!("The message has more than {MOST_FIELDS} tensors and parameters."))
        })?;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Excess> {
        let left = self.strings.checked_sub(1);
        self.strings = left.ok_or_else(|| {
            Excess(format!(
                "The message has more than {MOST_STRINGS} elements in bytes_contents. Send them as raw contents."
            ))
        })?;
        Ok(())
    }
}

// Of ModelInferRequest, InferInputTensor and InferTensorContents.
const PARAMETERS: u32 = 4;
const INPUTS: u32 = 5;
const OUTPUTS: u32 = 6;
const SHAPE: u32 = 3;
const CONTENTS: u32 = 5;
const STRINGS: u32 = 8;

/// Shows each field of a message: its number, and its bytes where it has a length. Bytes that are no message
/// are not our business: prost will say so.
fn walk(mut message: &[u8], mut see: impl FnMut(u32, &[u8]) -> Result<(), Excess>) -> Result<(), Excess> {
    while message.has_remaining() {
        let Ok((number, wire_type)) = decode_key(&mut message) else { return Ok(()) };
        let length = match wire_type {
            WireType::Varint => match decode_varint(&mut message) {
                Ok(_) => 0,
                Err(_) => return Ok(()),
            },
            WireType::LengthDelimited => match decode_varint(&mut message) {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(_) => return Ok(()),
            },
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        let Some((field, rest)) = message.split_at_checked(length) else { return Ok(()) };
        see(number, field)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn check(message: &[u8]) -> Result<(), String> {
        Budget { fields: MOST_FIELDS, strings: MOST_STRINGS }.message(message).map_err(|Excess(what)| what)
    }

    /// `bytes` as a field of this number.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend(bytes);
        field
    }

    #[test]
    fn the_limit_is_exact() {
        let empty_input = [0x2a, 0x00];
        assert_eq!(check(&empty_input.repeat(MOST_FIELDS)), Ok(()));
        assert!(check(&empty_input.repeat(MOST_FIELDS + 1)).unwrap_err().contains("65536 tensors"));
    }

    /// A map entry of two bytes takes a hundred in memory, wherever it stands.
    #[test]
    fn fields_within_tensors_count() {
        let parameters = [0x22, 0x00].repeat(MOST_FIELDS);
        assert!(check(&field(5, &parameters)).is_err());
        assert!(check(&field(6, &[0x12, 0x00].repeat(MOST_FIELDS))).is_err());
        assert_eq!(check(&field(5, &[0x22, 0x00].repeat(1000))), Ok(()));
        // Spread over tensors it is the same.
        assert!(check(&field(5, &[0x22, 0x00].repeat(1000)).repeat(66)).is_err());
    }

    #[test]
    fn shapes_and_strings_are_bounded() {
        assert_eq!(check(&field(5, &field(3, &[1; LONGEST_SHAPE]))), Ok(()));
        assert!(check(&field(5, &field(3, &[1; LONGEST_SHAPE + 1]))).unwrap_err().contains("shape"));
        let strings = |count: usize| field(5, &field(5, &[0x42, 0x00].repeat(count)));
        assert_eq!(check(&strings(MOST_STRINGS)), Ok(()));
        assert!(check(&strings(MOST_STRINGS + 1)).unwrap_err().contains("raw contents"));
        // Numbers are packed, or no larger in memory than four times what came.
        assert_eq!(check(&field(5, &field(5, &field(6, &vec![0; 1 << 20])))), Ok(()));
    }

    #[test]
    fn long_fields_are_skipped_and_nonsense_is_left_to_prost() {
        let mut message = vec![0x3a, 0x04];
        message.extend([0x2a; 4]);
        assert_eq!(check(&message), Ok(()));
        assert_eq!(check(&[0x3a, 0xff]), Ok(()));
        assert_eq!(check(&[0x0f]), Ok(()));
        assert_eq!(check(&field(5, &[0x0f])), Ok(()));
    }
}
