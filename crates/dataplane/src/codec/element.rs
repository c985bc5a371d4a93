//! JSON arrays into buffers of a datatype that is known beforehand (V2).

use super::fault::{Fault, Parse, Problem, Within};
use super::json::Cursor;
use crate::tensor::{Data, Datatype, Strings};
use bytes::Bytes;
use half::{bf16, f16};
use zerocopy::{Immutable, IntoBytes};

// Buffers are handed on as they lie in memory, and the protocol is little endian.
#[cfg(target_endian = "big")]
compile_error!("modelport-dataplane supports little-endian targets only");

/// Bytes that own a vector of elements, so that they are aligned for the element type.
struct Typed<T>(Vec<T>);

impl<T: IntoBytes + Immutable> AsRef<[u8]> for Typed<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice().as_bytes()
    }
}

/// The bytes of a vector, without a copy and aligned as the vector was.
pub(super) fn bytes<T: IntoBytes + Immutable + Send + 'static>(values: Vec<T>) -> Bytes {
    if values.is_empty() {
        return Bytes::new();
    }
    Bytes::from_owner(Typed(values))
}

/// What reads the elements of one array.
trait Sink {
    /// Reads one element from the cursor.
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Parse<()>;
    /// Reads the elements that follow commas, as far as that goes quickly: maybe not at all.
    fn more(&mut self, _cursor: &mut Cursor<'_>) {}
    /// Elements read so far.
    fn len(&self) -> usize;
}

/// Elements of a fixed size.
struct Numbers<'n, T, F, M> {
    values: Vec<T>,
    nulls: Vec<usize>,
    /// What stands for `null`, in datatypes that can say it.
    null: Option<T>,
    read: F,
    more: M,
    datatype: Datatype,
    input: &'n str,
}

impl<T: Copy, F, M> Sink for Numbers<'_, T, F, M>
where
    F: Fn(&mut Cursor<'_>) -> Parse<T>,
    M: Fn(&mut Cursor<'_>, &mut Vec<T>),
{
    #[inline]
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if cursor.peek() == Some(b'n') {
            return self.null(cursor);
        }
        match (self.read)(cursor) {
            Ok(value) => self.values.push(value),
            Err(fault) => return Err(self.explain(fault)),
        }
        Ok(())
    }

    #[inline]
    fn more(&mut self, cursor: &mut Cursor<'_>) {
        (self.more)(cursor, &mut self.values);
    }

    #[inline]
    fn len(&self) -> usize {
        self.values.len()
    }
}

impl<T: Copy, F, M> Numbers<'_, T, F, M> {
    fn null(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let at = cursor.position();
        if !cursor.literal("null") {
            return Err(cursor.expected("a number"));
        }
        let Some(null) = self.null else {
            let what = format!("null, which {} cannot hold (input '{}')", self.datatype, self.input);
            return Err(Fault::value(at, what));
        };
        self.nulls.push(self.values.len());
        self.values.push(null);
        Ok(())
    }

    #[cold]
    fn explain(&self, mut fault: Box<Fault>) -> Box<Fault> {
        if fault.problem == Problem::Value && fault.what.starts_with("expected a number,") {
            fault.what.insert_str("expected a number".len(), &format!(" for {}", self.datatype));
        }
        fault
    }
}

struct Texts<'n> {
    strings: Strings,
    nulls: Vec<usize>,
    input: &'n str,
}

impl Sink for Texts<'_> {
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if cursor.peek() == Some(b'"') {
            self.strings.push(cursor.string()?.as_bytes());
        } else if cursor.literal("null") {
            self.nulls.push(self.strings.len());
            self.strings.push(b"");
        } else {
            let wanted = format!("a string for BYTES (input '{}')", self.input);
            return Err(cursor.expected(&wanted));
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.strings.len()
    }
}

fn boolean(cursor: &mut Cursor<'_>) -> Parse<u8> {
    match cursor.peek() {
        Some(b'-' | b'0'..=b'9') => {
            let number = cursor.decimal()?;
            match number.to_int(cursor.bytes) {
                Ok(0) => Ok(0),
                Ok(1) => Ok(1),
                _ => Err(number.misfit(cursor.bytes, "BOOL")),
            }
        }
        Some(b't' | b'f') => cursor.boolean().map(u8::from),
        _ => Err(cursor.expected("true or false for BOOL")),
    }
}

/// FP16 and BF16 go through f32; what becomes infinite on the way did not fit.
fn narrow(cursor: &mut Cursor<'_>, datatype: Datatype, to: fn(f32) -> (u16, bool)) -> Parse<u16> {
    cursor.peek();
    let start = *cursor;
    match to(cursor.single(datatype)?) {
        (bits, true) => Ok(bits),
        _ => Err(start.at(start.pos).decimal()?.misfit(cursor.bytes, datatype.name())),
    }
}

/// The array at the cursor, flat or nested as `shape` says, as `count` (the product of `shape`)
/// elements of `datatype`; and the indices of its nulls. Allocates no more than the text can fill.
pub(super) fn array(
    cursor: &mut Cursor<'_>,
    datatype: Datatype,
    shape: &[usize],
    count: usize,
    input: &str,
) -> Parse<(Data, Vec<usize>)> {
    // An element and its comma are two bytes at least.
    let capacity = count.min(cursor.remaining() / 2 + 1);
    macro_rules! fixed {
        ($type:ty, $null:expr, $read:expr) => {
            fixed!($type, $null, $read, |_: &mut Cursor<'_>, _: &mut Vec<$type>| {})
        };
        ($type:ty, $null:expr, $read:expr, $more:expr) => {{
            let values: Vec<$type> = Vec::with_capacity(capacity);
            let mut sink =
                Numbers { values, nulls: Vec::new(), null: $null, read: $read, more: $more, datatype, input };
            fill(cursor, shape, count, &mut sink)?;
            (Data::Fixed(bytes(sink.values)), sink.nulls)
        }};
    }
    macro_rules! whole {
        ($type:ty) => {
            fixed!(
                $type,
                None,
                |c: &mut Cursor<'_>| c.whole::<$type>(datatype),
                |c: &mut Cursor<'_>, values: &mut Vec<$type>| c.wholes(values)
            )
        };
    }
    Ok(match datatype {
        Datatype::Bool => fixed!(u8, None, boolean),
        Datatype::Uint8 => whole!(u8),
        Datatype::Uint16 => whole!(u16),
        Datatype::Uint32 => whole!(u32),
        Datatype::Uint64 => whole!(u64),
        Datatype::Int8 => whole!(i8),
        Datatype::Int16 => whole!(i16),
        Datatype::Int32 => whole!(i32),
        Datatype::Int64 => whole!(i64),
        Datatype::Fp16 => fixed!(u16, Some(f16::NAN.to_bits()), |c: &mut Cursor<'_>| {
            narrow(c, datatype, |value| {
                let half = f16::from_f32(value);
                (half.to_bits(), half.is_finite())
            })
        }),
        Datatype::Bf16 => fixed!(u16, Some(bf16::NAN.to_bits()), |c: &mut Cursor<'_>| {
            narrow(c, datatype, |value| {
                let half = bf16::from_f32(value);
                (half.to_bits(), half.is_finite())
            })
        }),
        Datatype::Fp32 => fixed!(
            f32,
            Some(f32::NAN),
            |c: &mut Cursor<'_>| c.single(datatype),
            |c: &mut Cursor<'_>, values: &mut Vec<f32>| c.singles(values)
        ),
        Datatype::Fp64 => fixed!(f64, Some(f64::NAN), |c: &mut Cursor<'_>| c.double(), |c: &mut Cursor<
            '_,
        >,
                                                                                        values: &mut Vec<
            f64,
        >| c
            .doubles(values)),
        Datatype::Bytes => {
            let strings = Strings::with_capacity(capacity, 0);
            let mut sink = Texts { strings, nulls: Vec::new(), input };
            fill(cursor, shape, count, &mut sink)?;
            (Data::Strings(sink.strings), sink.nulls)
        }
    })
}

fn fill<S: Sink>(cursor: &mut Cursor<'_>, shape: &[usize], count: usize, sink: &mut S) -> Parse<()> {
    let start = cursor.position();
    let first = cursor.enter_array()?;
    if cursor.peek() == Some(b'[') {
        nested(cursor, shape, first, sink)?;
    } else {
        flat(cursor, first, sink)?;
    }
    if sink.len() == count {
        return Ok(());
    }
    let held = sink.len();
    let s = if held == 1 { "" } else { "s" };
    Err(Fault::value(start, format!("has {held} element{s}, but shape {shape:?} needs {count}")))
}

fn flat<S: Sink>(cursor: &mut Cursor<'_>, mut first: bool, sink: &mut S) -> Parse<()> {
    while cursor.next_element(&mut first).index(sink.len())? {
        sink.element(cursor).index(sink.len())?;
        sink.more(cursor);
    }
    Ok(())
}

/// Arrays in arrays: every one must be as long as its axis of the shape.
fn nested<S: Sink>(cursor: &mut Cursor<'_>, shape: &[usize], first: bool, sink: &mut S) -> Parse<()> {
    // The open arrays: the flag of `next_element`, and elements finished.
    let mut open = vec![(first, 0_usize)];
    loop {
        let level = open.len() - 1;
        let Some((first, index)) = open.last_mut() else { return Ok(()) };
        let step = match cursor.next_element(first) {
            Ok(false) => {
                let (held, axis) = (*index, shape.get(level).copied());
                open.pop();
                if axis != Some(held) {
                    let axis = axis.unwrap_or_default();
                    let what = format!("has length {held}, but axis {level} of shape {shape:?} is {axis}");
                    return Err(trail(Fault::value(cursor.position(), what), &open));
                }
                match open.last_mut() {
                    Some((_, index)) => *index += 1,
                    None => return Ok(()),
                }
                continue;
            }
            Ok(true) if level + 1 < shape.len() => cursor.enter_array().map(|first| open.push((first, 0))),
            Ok(true) => {
                let before = sink.len();
                let read = sink.element(cursor);
                sink.more(cursor);
                *index += sink.len() - before;
                read
            }
            Err(fault) => Err(fault),
        };
        step.map_err(|fault| trail(fault, &open))?;
    }
}

#[cold]
fn trail(fault: Box<Fault>, open: &[(bool, usize)]) -> Box<Fault> {
    let mut fault: Parse<()> = Err(fault);
    for (_, index) in open.iter().rev() {
        fault = fault.index(*index);
    }
    fault.err().unwrap_or_else(|| Fault::value(0, ""))
}
