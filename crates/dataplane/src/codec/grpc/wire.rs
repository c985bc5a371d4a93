//! Protobuf on the wire, with a bound on what a small message may cost.

use bytes::Buf;
use prost::encoding::{decode_key, decode_varint, WireType};
use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::Status;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Most fields that a message may have at its top, where an empty tensor takes two bytes on the wire
/// and three hundred in memory. Far beyond any limit on tensors.
const MOST_FIELDS: usize = 1 << 16;

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
        if has_too_many_fields(buf.chunk()) {
            return Err(Status::resource_exhausted(format!(
                "The message has more than {MOST_FIELDS} tensors and parameters."
            )));
        }
        self.0.decode(buf)
    }
}

/// Whether there are more than `MOST_FIELDS` fields at the top of a message. Bytes that are no message
/// are not our business: prost will say so.
fn has_too_many_fields(mut message: &[u8]) -> bool {
    let mut fields = 0;
    while message.has_remaining() {
        fields += 1;
        if fields > MOST_FIELDS {
            return true;
        }
        let Ok((_, wire_type)) = decode_key(&mut message) else { return false };
        let length = match wire_type {
            WireType::Varint => match decode_varint(&mut message) {
                Ok(_) => 0,
                Err(_) => return false,
            },
            WireType::LengthDelimited => match decode_varint(&mut message) {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(_) => return false,
            },
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        let Some(rest) = message.get(length..) else { return false };
        message = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_exact() {
        let empty_input = [0x2a, 0x00];
        assert!(!has_too_many_fields(&empty_input.repeat(MOST_FIELDS)));
        assert!(has_too_many_fields(&empty_input.repeat(MOST_FIELDS + 1)));
    }

    #[test]
    fn long_fields_are_skipped_and_nonsense_is_left_to_prost() {
        let mut message = vec![0x3a, 0x04];
        message.extend([0x2a; 4]);
        assert!(!has_too_many_fields(&message));
        assert!(!has_too_many_fields(&[0x3a, 0xff]));
        assert!(!has_too_many_fields(&[0x0f]));
    }
}
