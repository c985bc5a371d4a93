//! Numbers of JSON, straight into the type that is wanted.
//!
//! One pass checks the grammar and gathers the digits. Whole numbers stay exact. Numbers of the common
//! forms, and rows of them, take a shorter way: see `series`.

use super::fault::{clip, Fault, Parse};
use super::json::Cursor;
use super::series::{digits8, quick, SHIFTS};
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
        if self.byte() == Some(b'I') {
            return Fault::syntax(self.pos, format!("expected a number, got {}", self.stray()));
        }
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
