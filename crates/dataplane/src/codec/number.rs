//! Numbers of JSON, straight into the type that is wanted.
//!
//! One pass checks the grammar and gathers the digits. Most numbers are then one multiplication or
//! division away (Clinger's fast path); the rest go to `fast_float2`. Whole numbers stay exact.

#![allow(clippy::inline_always)] // one loop, in which every call would cost a tenth

use super::fault::{clip, Fault, Parse};
use super::json::Cursor;
use crate::tensor::Datatype;
use std::borrow::Cow;

/// A number as it is written: `mantissa` × 10^`exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    mantissa: u64,
    exponent: i64,
    negative: bool,
    /// Whether `mantissa` holds all digits.
    exact: bool,
    /// Whether there is neither fraction nor exponent.
    pub(super) plain: bool,
    pub(super) start: usize,
    end: usize,
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
const SHIFTS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The decimal digits that a chunk starts with: their value and how many (Lemire's SWAR digits).
#[inline]
fn digits8(chunk: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(chunk) ^ 0x3030_3030_3030_3030;
    let other = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let count = other.trailing_zeros() / 8;
    // Shift the digits to the end: what comes in front are zeros.
    let word = word.checked_shl(64 - 8 * count).unwrap_or(0);
    let word = word.wrapping_mul(10).wrapping_add(word >> 8);
    let high = (word & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((word >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (high.wrapping_add(low) >> 32, count as usize)
}

impl Cursor<'_> {
    /// Appends the digits at the cursor to `mantissa`; returns how many there were.
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        let start = self.pos;
        while let Some(chunk) = self.bytes.get(self.pos..).and_then(<[u8]>::first_chunk::<8>) {
            let (value, count) = digits8(*chunk);
            let shift = SHIFTS.get(count).copied().unwrap_or(1);
            *mantissa = mantissa.wrapping_mul(shift).wrapping_add(value & 0xffff_ffff);
            self.pos += count;
            if count < 8 {
                return self.pos - start;
            }
        }
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.pos += 1;
        }
        self.pos - start
    }

    /// Reads a number, by the grammar of RFC 8259.
    pub(super) fn decimal(&mut self) -> Parse<Decimal> {
        let next = self.peek();
        let start = self.pos;
        let negative = next == Some(b'-');
        if negative {
            self.pos += 1;
        }
        let mut mantissa = 0_u64;
        let whole_start = self.pos;
        let mut count = 0;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.pos += 1;
            count += 1;
        }
        if count == 0 {
            return Err(if negative { self.digit_missing() } else { self.expected("a number") });
        }
        if count > 1 && self.bytes.get(whole_start) == Some(&b'0') {
            return Err(Fault::syntax(whole_start, "a number must not start with 0"));
        }
        let mut exponent = 0_i64;
        let mut plain = true;
        if self.byte() == Some(b'.') {
            plain = false;
            self.pos += 1;
            let fraction = self.digits(&mut mantissa);
            if fraction == 0 {
                return Err(self.digit_missing());
            }
            count += fraction;
            exponent = -(fraction as i64);
        }
        if let Some(b'e' | b'E') = self.byte() {
            plain = false;
            self.pos += 1;
            exponent = exponent.saturating_add(self.exponent()?);
        }
        Ok(Decimal { mantissa, exponent, negative, exact: count <= 19, plain, start, end: self.pos })
    }

    fn exponent(&mut self) -> Parse<i64> {
        let negative = self.byte() == Some(b'-');
        if let Some(b'-' | b'+') = self.byte() {
            self.pos += 1;
        }
        let mut value = 0_i64;
        let start = self.pos;
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.pos += 1;
        }
        if self.pos == start {
            return Err(self.digit_missing());
        }
        Ok(if negative { -value } else { value })
    }

    #[cold]
    fn digit_missing(&self) -> Box<Fault> {
        Fault::syntax(self.pos, "expected a digit in a number")
    }

    /// Reads a number as an `f64`; one beyond its range is a fault.
    #[inline]
    pub(super) fn double(&mut self) -> Parse<f64> {
        self.peek();
        match quick(self.bytes, self.pos).and_then(|number| Some((number.double(self.bytes)?, number.end))) {
            Some((value, end)) => {
                self.pos = end;
                Ok(value)
            }
            None => self.double_slow(),
        }
    }

    /// Reads the `f64` that follow commas, as far as that goes the quick way: maybe not at all.
    #[inline]
    pub(super) fn doubles(&mut self, values: &mut Vec<f64>) {
        let bytes = self.bytes;
        self.series(values, |number| number.double(bytes));
    }

    /// The same for `f32`.
    #[inline]
    pub(super) fn singles(&mut self, values: &mut Vec<f32>) {
        self.series(values, |number| nearest(number.quotient()?));
    }

    /// The same for whole numbers.
    #[inline]
    pub(super) fn wholes<T: TryFrom<i64>>(&mut self, values: &mut Vec<T>) {
        self.series(values, |number| T::try_from(number.whole()?).ok());
    }

    #[inline(always)]
    fn series<T>(&mut self, values: &mut Vec<T>, convert: impl Fn(Quick) -> Option<T>) {
        // Writers put a space behind every comma or behind none. With a step of fixed width the
        // processor starts on a number before it has seen what stands between.
        match self.bytes.get(self.pos + 1) {
            Some(b' ') => self.series_after(*b", ", values, convert),
            _ => self.series_after(*b",", values, convert),
        }
    }

    #[inline(always)]
    fn series_after<T, const N: usize>(
        &mut self,
        separator: [u8; N],
        values: &mut Vec<T>,
        convert: impl Fn(Quick) -> Option<T>,
    ) {
        let mut pos = self.pos;
        while self.bytes.get(pos..).and_then(<[u8]>::first_chunk) == Some(&separator) {
            let Some(number) = quick(self.bytes, pos + N) else { break };
            let Some(value) = convert(number) else { break };
            values.push(value);
            pos = number.end;
        }
        self.pos = pos;
    }

    #[inline(never)]
    fn double_slow(&mut self) -> Parse<f64> {
        let number = self.decimal()?;
        number.to_f64(self.bytes).ok_or_else(|| number.misfit(self.bytes, "FP64"))
    }

    /// Reads a number as an `f32`; `datatype` names what it is for.
    pub(super) fn single(&mut self, datatype: Datatype) -> Parse<f32> {
        let number = self.decimal()?;
        number.to_f32(self.bytes).ok_or_else(|| number.misfit(self.bytes, datatype.name()))
    }

    /// Reads a whole number of type `T`; `datatype` names it.
    pub(super) fn whole<T: TryFrom<i128>>(&mut self, datatype: Datatype) -> Parse<T> {
        let number = self.decimal()?;
        let misfit = || number.misfit(self.bytes, datatype.name());
        match number.to_int(self.bytes) {
            Ok(value) => T::try_from(value).map_err(|_| misfit()),
            Err(true) => Err(misfit()),
            Err(false) => {
                let what =
                    format!("{} is not a whole number, which {datatype} needs", number.text(self.bytes));
                Err(Fault::value(number.start, what))
            }
        }
    }
}

/// A number of 19 digits at most and without an exponent.
#[derive(Clone, Copy)]
struct Quick {
    mantissa: u64,
    /// Digits behind the point.
    fraction: usize,
    negative: bool,
    start: usize,
    end: usize,
}

/// Reads such a number; `None` says to go the long way, which also words the errors.
#[inline(always)]
fn quick(bytes: &[u8], start: usize) -> Option<Quick> {
    let negative = *bytes.get(start)? == b'-';
    let mut pos = start + usize::from(negative);
    let digit = |pos: usize| Some(bytes.get(pos)?.wrapping_sub(b'0'));
    let mut mantissa = u64::from(digit(pos)?);
    if mantissa > 9 {
        return None;
    }
    pos += 1;
    let mut count = 0;
    if mantissa > 0 {
        count = 1;
        while let Some(next @ 0..=9) = digit(pos) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(next));
            pos += 1;
            count += 1;
        }
    }
    let mut fraction = 0;
    if *bytes.get(pos)? == b'.' {
        pos += 1;
        loop {
            let (value, more) = digits8(*bytes.get(pos..)?.first_chunk::<8>()?);
            if more < 8 {
                mantissa = mantissa.wrapping_mul(*SHIFTS.get(more)?).wrapping_add(value);
                pos += more;
                fraction += more;
                break;
            }
            // Constants here: the next step need not wait for this one's count.
            mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(value);
            pos += 8;
            fraction += 8;
        }
        if fraction == 0 {
            return None;
        }
    }
    if count + fraction > 19 || matches!(*bytes.get(pos)?, b'0'..=b'9' | b'.' | b'e' | b'E') {
        return None;
    }
    Some(Quick { mantissa, fraction, negative, start, end: pos })
}

impl Quick {
    /// Correctly rounded while the mantissa is at most 2^53, for then both operands are exact;
    /// otherwise at most 2 ulp off.
    #[inline(always)]
    fn quotient(self) -> Option<f64> {
        let value = self.mantissa as f64 / POWERS.get(self.fraction)?;
        Some(if self.negative { -value } else { value })
    }

    #[inline(always)]
    fn double(self, bytes: &[u8]) -> Option<f64> {
        if self.mantissa <= 1 << 53 {
            return self.quotient();
        }
        fast_float2::parse(bytes.get(self.start..self.end)?).ok()
    }

    #[inline(always)]
    fn whole(self) -> Option<i64> {
        let value = i64::try_from(self.mantissa).ok().filter(|_| self.fraction == 0)?;
        Some(if self.negative { -value } else { value })
    }
}

/// The `f32` nearest to a number of which `value` is at most 2 ulp off, where that can be told:
/// not beside the midpoint between two normal `f32` (the 29 low bits are 1000…), nor out of range.
#[inline(always)]
fn nearest(value: f64) -> Option<f32> {
    let low = (value.to_bits() & 0x1fff_ffff) as i64;
    let normal = (f64::from(f32::MIN_POSITIVE)..1e38).contains(&value.abs());
    ((normal && (low - 0x1000_0000).abs() > 8) || value == 0.0).then_some(value as f32)
}

impl Decimal {
    /// The number as it is written, clipped for messages.
    pub(super) fn text<'a>(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        clip(std::str::from_utf8(self.slice(bytes)).unwrap_or_default())
    }

    fn slice<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The fault for a number that a type cannot hold.
    #[cold]
    pub(super) fn misfit(&self, bytes: &[u8], datatype: &str) -> Box<Fault> {
        Fault::value(self.start, format!("{} does not fit {datatype}", self.text(bytes)))
    }

    /// The nearest `f64`; `None` beyond its range.
    pub(super) fn to_f64(self, bytes: &[u8]) -> Option<f64> {
        fast_float2::parse(self.slice(bytes)).ok().filter(|value: &f64| value.is_finite())
    }

    /// The nearest `f32`; `None` beyond its range.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Option<f32> {
        fast_float2::parse(self.slice(bytes)).ok().filter(|value: &f32| value.is_finite())
    }

    /// The whole number, also one written as `3.0` or `3e2`.
    /// `Err` says whether it is whole at all (and then too large).
    pub(super) fn to_int(self, bytes: &[u8]) -> std::result::Result<i128, bool> {
        if self.plain && self.exact {
            let value = i128::from(self.mantissa);
            return Ok(if self.negative { -value } else { value });
        }
        self.to_int_slow(bytes)
    }

    #[cold]
    fn to_int_slow(self, bytes: &[u8]) -> std::result::Result<i128, bool> {
        let mut digits: Vec<u8> = Vec::new();
        for byte in self.slice(bytes) {
            match byte {
                b'0'..=b'9' => digits.push(byte - b'0'),
                b'e' | b'E' => break,
                _ => {}
            }
        }
        let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
        digits.truncate(digits.len() - zeros);
        if digits.is_empty() {
            return Ok(0);
        }
        let exponent = self.exponent.saturating_add(zeros as i64);
        if exponent < 0 {
            return Err(false);
        }
        let scale = u32::try_from(exponent).ok().and_then(|power| 10_i128.checked_pow(power)).ok_or(true)?;
        let mut value = 0_i128;
        for digit in digits {
            value =
                value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit))).ok_or(true)?;
        }
        let value = value.checked_mul(scale).ok_or(true)?;
        Ok(if self.negative { -value } else { value })
    }
}
