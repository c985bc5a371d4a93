//! Rows of numbers, the commonest content of a request.
//!
//! Read digit by digit, a number's end would be known only after its digits, and the processor could not begin
//! the next one before. So the commas of 64 bytes are found first, and the numbers between them are independent of
//! each other. Most are then one division away (Clinger's fast path); the rest go to `fast_float2`.

#![allow(clippy::inline_always)] // one loop, in which every call would cost a tenth

use super::json::Cursor;

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Powers of ten, as far as digits are read in one step.
#[allow(clippy::indexing_slicing)] // the compiler runs it
pub(super) const SHIFTS: [u64; 17] = {
    let mut shifts = [1; 17];
    let mut power = 1;
    while power < shifts.len() {
        shifts[power] = shifts[power - 1] * 10;
        power += 1;
    }
    shifts
};
/// What is left of sixteen bytes, as two words, when only so many at their end count.
#[allow(clippy::indexing_slicing)]
const TAILS: [(u64, u64); 17] = {
    let mut tails = [(0, 0); 17];
    let mut count = 1;
    while count < tails.len() {
        let tail = u128::MAX << (128 - 8 * count);
        tails[count] = (tail as u64, (tail >> 64) as u64);
        count += 1;
    }
    tails
};
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The bytes that are no decimal digit, by their highest bits; right up to the first of them. The digits are given
/// without their `ZEROS`.
#[inline(always)]
fn others(word: u64) -> u64 {
    (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080
}

/// What eight digits are worth (Lemire's SWAR digits), given without their `ZEROS`.
#[inline(always)]
fn worth(word: u64) -> u64 {
    let word = word.wrapping_mul(10).wrapping_add(word >> 8);
    let high = (word & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((word >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// The decimal digits that a chunk starts with: their value and how many.
#[inline]
pub(super) fn digits8(chunk: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(chunk) ^ ZEROS;
    let count = others(word).trailing_zeros() / 8;
    // Shift the digits to the end: what comes in front are zeros.
    let word = word.checked_shl(64 - 8 * count).unwrap_or(0);
    (worth(word), count as usize)
}

/// Where commas stand in 64 bytes, a bit each; none at the end of the text, where fewer are left.
#[inline(always)]
fn commas(bytes: &[u8], start: usize) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let Some(chunk) = bytes.get(start..).and_then(<[u8]>::first_chunk::<64>) else { return 0 };
    let (words, _) = chunk.as_chunks::<8>();
    let mut found = 0;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word) ^ 0x2c2c_2c2c_2c2c_2c2c;
        let zero = !(((word & LOW) + LOW) | word | LOW) >> 7;
        // The product gathers the bits in its highest byte, in order.
        found |= (zero.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * index);
    }
    found
}

/// A number of 19 digits at most and without an exponent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quick {
    mantissa: u64,
    /// Digits behind the point.
    fraction: usize,
    negative: bool,
    start: usize,
    pub(super) end: usize,
}

/// Reads such a number; `None` says to go the long way, which also words the errors.
#[inline(always)]
pub(super) fn quick(bytes: &[u8], start: usize) -> Option<Quick> {
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
            mantissa = mantissa.wrapping_mul(*SHIFTS.get(more)?).wrapping_add(value);
            pos += more;
            fraction += more;
            if more < 8 {
                break;
            }
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

/// Reads one of the form `-0.123`, with one digit before the point and sixteen behind it at most, of which the end
/// is known; anything else is `None`.
#[inline(always)]
fn fixed(bytes: &[u8], start: usize, end: usize) -> Option<Quick> {
    let &[first, second, third] = bytes.get(start..)?.first_chunk::<3>()?;
    let negative = first == b'-';
    let (whole, point) = if negative { (second, third) } else { (first, second) };
    let whole = whole.wrapping_sub(b'0');
    let fraction = end.wrapping_sub(start + 2 + usize::from(negative));
    if whole > 9 || point != b'.' || !(1..=16).contains(&fraction) {
        return None;
    }
    let chunk = u128::from_le_bytes(*bytes.get(end.checked_sub(16)?..)?.first_chunk::<16>()?);
    let (low, high) = *TAILS.get(fraction)?;
    let (low, high) = ((chunk as u64 ^ ZEROS) & low, ((chunk >> 64) as u64 ^ ZEROS) & high);
    if others(low) | others(high) != 0 {
        return None;
    }
    // 17 digits at most: it cannot overflow.
    let mantissa = u64::from(whole) * SHIFTS.get(fraction)? + worth(low) * 100_000_000 + worth(high);
    Some(Quick { mantissa, fraction, negative, start, end })
}

impl Quick {
    /// Correctly rounded while the mantissa is at most 2^53, for then both operands are exact;
    /// otherwise at most 2 ulp off.
    #[inline(always)]
    fn quotient(self) -> Option<f64> {
        // The processor has an instruction for signed ones only.
        let mantissa = match i64::try_from(self.mantissa) {
            Ok(mantissa) => mantissa as f64,
            Err(_) => self.mantissa as f64,
        };
        let value = mantissa / POWERS.get(self.fraction)?;
        Some(if self.negative { -value } else { value })
    }

    #[inline(always)]
    pub(super) fn double(self, bytes: &[u8]) -> Option<f64> {
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
    let bits = value.to_bits();
    let low = (bits & 0x1fff_ffff) as i64;
    // 2^-126 up to 2^126: what an `f32` holds with all its digits.
    let normal = (1023 - 126..1023 + 126).contains(&(bits >> 52 & 0x7ff));
    ((normal && (low - 0x1000_0000).abs() > 8) || value == 0.0).then_some(value as f32)
}

impl Cursor<'_> {
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
        // Writers put a space behind every comma or behind none.
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
        let bytes = self.bytes;
        let at_separator = |pos: usize| bytes.get(pos..).and_then(<[u8]>::first_chunk) == Some(&separator);
        while at_separator(self.pos) {
            let base = self.pos + 1;
            let mut commas = commas(bytes, base);
            loop {
                let start = self.pos + N;
                let end = base + commas.trailing_zeros() as usize;
                let number = if commas == 0 { None } else { fixed(bytes, start, end) };
                let Some(number) = number.or_else(|| quick(bytes, start)) else { return };
                let Some(value) = convert(number) else { return };
                values.push(value);
                self.pos = number.end;
                commas &= commas.wrapping_sub(1);
                if number.end != end || commas == 0 || !at_separator(end) {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_found_wherever_they_stand() {
        for _ in 0..2000 {
            let bytes: [u8; 64] =
                std::array::from_fn(|_| fastrand::choice(*b",,-+\x2b\xac\x00\xff7").unwrap_or(0));
            let expected = bytes
                .iter()
                .enumerate()
                .fold(0, |bits, (index, byte)| bits | u64::from(*byte == b',') << index);
            assert_eq!(commas(&bytes, 0), expected, "{bytes:?}");
            assert_eq!(commas(&bytes, 1), 0);
        }
    }

    fn number() -> String {
        let sign = fastrand::choice(["", "", "-"]).unwrap_or_default();
        let whole = match fastrand::u8(..4) {
            0 => fastrand::u64(..).to_string(),
            1 => fastrand::u32(..1000).to_string(),
            _ => fastrand::u8(..10).to_string(),
        };
        let digits = fastrand::usize(..22);
        let fraction: String = (0..digits).map(|_| fastrand::digit(10)).collect();
        let exponent = fastrand::choice(["", "", "", "", "", "e-3", "E2"]).unwrap_or_default();
        let point = if digits == 0 { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}{exponent}")
    }

    /// A row read the quick way holds what the standard library reads, and stops before what it did not read.
    #[test]
    fn rows_hold_what_is_written() {
        let mut read = 0;
        for round in 0..3000 {
            let separator = fastrand::choice([",", ", "]).unwrap_or_default();
            let numbers: Vec<String> = (0..fastrand::usize(1..40)).map(|_| number()).collect();
            let end = fastrand::choice(["]", " ]", "],[1.5,2.5]", "", ",x", ", ", ",0.5.5,1", ",0x1.5,1"]);
            let text = format!("[0{separator}{}{}", numbers.join(separator), end.unwrap_or_default());
            let mut doubles = Vec::new();
            let mut cursor = Cursor::new(text.as_bytes(), 8).at(2);
            cursor.doubles(&mut doubles);
            let taken = text.get(2..cursor.position()).expect("ASCII");
            let texts: Vec<&str> = taken.split(',').skip(1).map(str::trim_start).collect();
            let expected: Vec<f64> = texts.iter().map(|text| text.parse().expect("a number")).collect();
            assert_eq!(doubles, expected, "round {round}: {text}");
            read += doubles.len();
            let mut singles = Vec::new();
            let mut cursor = Cursor::new(text.as_bytes(), 8).at(2);
            cursor.singles(&mut singles);
            let taken = text.get(2..cursor.position()).expect("ASCII");
            let texts: Vec<&str> = taken.split(',').skip(1).map(str::trim_start).collect();
            let expected: Vec<f32> = texts.iter().map(|text| text.parse().expect("a number")).collect();
            assert_eq!(singles, expected, "round {round}: {text}");
            let mut wholes: Vec<u8> = Vec::new();
            let mut cursor = Cursor::new(text.as_bytes(), 8).at(2);
            cursor.wholes(&mut wholes);
            let taken = text.get(2..cursor.position()).expect("ASCII");
            let texts: Vec<&str> = taken.split(',').skip(1).map(str::trim_start).collect();
            let whole = |text: &str| text.parse::<i64>().ok().and_then(|value| u8::try_from(value).ok());
            let expected: Vec<u8> = texts.iter().map(|text| whole(text).expect("fits")).collect();
            assert_eq!(wholes, expected, "round {round}: {text}");
        }
        assert!(read > 1000, "hardly anything went the quick way: {read}");
    }
}
