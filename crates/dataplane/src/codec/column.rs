//! JSON values into one tensor whose datatype and shape show only as they are read (V1).
//!
//! All bools give BOOL, all whole numbers INT64, any other numbers FP64, all strings BYTES. A null
//! is NaN among numbers and bools, and empty among strings. A column starts narrow and widens, so
//! that every value is read once.

use super::element;
use super::fault::{Fault, Parse, Problem, Within as _};
use super::json::Cursor;
use crate::tensor::{Data, Datatype, Params, Strings, Tensor};

#[derive(Debug)]
enum Cells {
    /// Only nulls so far.
    Unknown,
    Bool(Vec<u8>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Text(Strings),
}

/// The elements of one tensor, and the shape of the values that were read.
#[derive(Debug)]
pub(super) struct Column {
    cells: Cells,
    nulls: Vec<usize>,
    len: usize,
    /// Lengths of the arrays of each level, as far as known.
    axes: Vec<Option<usize>>,
    /// The level of the scalars.
    leaf: Option<usize>,
    /// The arrays that are open: the flag of `next_element`, and elements finished.
    open: Vec<(bool, usize)>,
}

impl Column {
    pub(super) fn new() -> Self {
        Self {
            cells: Cells::Unknown,
            nulls: Vec::new(),
            len: 0,
            axes: Vec::new(),
            leaf: None,
            open: Vec::new(),
        }
    }

    /// Values so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// So many nulls, in a column of scalars.
    pub(super) fn miss(&mut self, count: usize) {
        self.leaf.get_or_insert(0);
        for _ in 0..count {
            self.null();
            self.len += 1;
        }
    }

    fn null(&mut self) {
        self.nulls.push(self.len);
        match &mut self.cells {
            Cells::Unknown => {}
            Cells::Text(strings) => strings.push(b""),
            _ => self.float(f64::NAN),
        }
    }

    /// A column of a known datatype, before its first value.
    pub(super) fn of(datatype: &str) -> Self {
        let cells = if datatype == "BYTES" { Cells::Text(Strings::default()) } else { Cells::Unknown };
        Self { cells, ..Self::new() }
    }

    /// The level of the scalars that were read: 2 for a list of lists of them.
    pub(super) fn leaf(&self) -> Option<usize> {
        self.leaf
    }

    /// Reads one value: a scalar, or arrays nested evenly. All values of a column look alike.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        self.open.clear();
        self.value(cursor).map_err(|fault| {
            let mut fault: Parse<()> = Err(fault);
            for (_, index) in self.open.iter().rev() {
                fault = fault.index(*index);
            }
            fault.err().unwrap_or_else(|| Fault::value(0, ""))
        })
    }

    fn value(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        loop {
            if cursor.peek() == Some(b'[') {
                self.enter(cursor)?;
            } else {
                self.at_leaf(cursor)?;
                self.scalar(cursor)?;
                if let Some((_, index)) = self.open.last_mut() {
                    *index += 1;
                }
                self.run(cursor);
            }
            loop {
                let Some((first, index)) = self.open.last_mut() else { return Ok(()) };
                if cursor.next_element(first)? {
                    break;
                }
                let length = *index;
                self.close(cursor, length)?;
            }
        }
    }

    /// More numbers after a number: the commonest case, without the questions that it never raises.
    #[inline]
    fn run(&mut self, cursor: &mut Cursor<'_>) {
        let Some((_, index)) = self.open.last_mut() else { return };
        let read = match &mut self.cells {
            Cells::Float(values) => {
                let before = values.len();
                cursor.doubles(values);
                values.len() - before
            }
            Cells::Int(values) => {
                let before = values.len();
                cursor.wholes(values);
                values.len() - before
            }
            _ => return,
        };
        self.len += read;
        *index += read;
    }

    fn enter(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let level = self.open.len();
        if self.leaf.is_some_and(|leaf| level >= leaf) {
            return Err(Fault::value(cursor.position(), "a list where the values before it are scalars"));
        }
        let first = cursor.enter_array()?;
        self.open.push((first, 0));
        if self.axes.len() <= level {
            self.axes.push(None);
        }
        Ok(())
    }

    #[inline]
    fn at_leaf(&mut self, cursor: &Cursor<'_>) -> Parse<()> {
        let level = self.open.len();
        if self.leaf == Some(level) {
            return Ok(());
        }
        if self.leaf.is_some() || self.axes.len() > level {
            let what = format!("{} where the values before it are lists", cursor.describe());
            return Err(match cursor.byte() {
                Some(b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Fault::value(cursor.position(), what),
                _ => cursor.expected("a list"),
            });
        }
        self.leaf = Some(level);
        Ok(())
    }

    fn close(&mut self, cursor: &Cursor<'_>, length: usize) -> Parse<()> {
        self.open.pop();
        let level = self.open.len();
        if let Some(axis) = self.axes.get_mut(level) {
            match *axis {
                None => *axis = Some(length),
                Some(before) if before == length => {}
                Some(before) => {
                    let what = format!("has length {length}, but those before it have length {before}");
                    return Err(Fault::value(cursor.position(), what));
                }
            }
        }
        if let Some((_, index)) = self.open.last_mut() {
            *index += 1;
        }
        Ok(())
    }

    fn scalar(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(cursor)?,
            Some(b'"') => {
                let strings = self.text(cursor)?;
                strings.push(cursor.string()?.as_bytes());
            }
            Some(b't' | b'f') => {
                let value = cursor.boolean()?;
                match &mut self.cells {
                    Cells::Unknown if self.len == 0 => self.cells = Cells::Bool(vec![u8::from(value)]),
                    Cells::Bool(values) => values.push(u8::from(value)),
                    Cells::Int(values) => values.push(i64::from(value)),
                    Cells::Float(values) => values.push(f64::from(u8::from(value))),
                    Cells::Unknown => self.float(f64::from(u8::from(value))),
                    Cells::Text(_) => return Err(mixed(cursor, "a bool", "strings")),
                }
            }
            Some(b'n') => {
                if !cursor.literal("null") {
                    return Err(cursor.expected("a value"));
                }
                self.null();
            }
            _ => return Err(cursor.expected("a number, a bool, a string or null")),
        }
        self.len += 1;
        Ok(())
    }

    fn number(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        if let Cells::Text(_) = self.cells {
            return Err(mixed(cursor, "a number", "strings"));
        }
        if let Cells::Float(values) = &mut self.cells {
            values.push(cursor.double()?);
            return Ok(());
        }
        let number = cursor.decimal()?;
        if number.plain && self.nulls.is_empty() {
            let value = number.to_int(cursor.bytes).ok().and_then(|value| i64::try_from(value).ok());
            if let Some(value) = value {
                match &mut self.cells {
                    Cells::Int(values) => values.push(value),
                    Cells::Bool(values) => {
                        let mut wide: Vec<i64> = values.iter().map(|bit| i64::from(*bit)).collect();
                        wide.push(value);
                        self.cells = Cells::Int(wide);
                    }
                    _ => self.cells = Cells::Int(vec![value]),
                }
                return Ok(());
            }
        }
        let value = number.to_f64(cursor.bytes).ok_or_else(|| number.misfit(cursor.bytes, "FP64"))?;
        self.float(value);
        Ok(())
    }

    /// Appends a float; what came before is widened.
    fn float(&mut self, value: f64) {
        let mut wide = match &mut self.cells {
            Cells::Float(values) => return values.push(value),
            Cells::Int(values) => values.iter().map(|value| *value as f64).collect(),
            Cells::Bool(values) => values.iter().map(|bit| f64::from(*bit)).collect(),
            // Strings never come here: a number or bool among them is a fault before.
            Cells::Unknown | Cells::Text(_) => vec![f64::NAN; self.len],
        };
        wide.push(value);
        self.cells = Cells::Float(wide);
    }

    /// The cells as strings, if nothing but strings and nulls came.
    fn text(&mut self, cursor: &Cursor<'_>) -> Parse<&mut Strings> {
        if let Cells::Unknown = self.cells {
            let mut strings = Strings::default();
            (0..self.len).for_each(|_| strings.push(b""));
            self.cells = Cells::Text(strings);
        }
        match &mut self.cells {
            Cells::Text(strings) => Ok(strings),
            Cells::Bool(_) => Err(mixed(cursor, "a string", "bools")),
            _ => Err(mixed(cursor, "a string", "numbers")),
        }
    }

    /// The tensor: one axis of `rows` in front, if given, then the axes of the values.
    pub(super) fn finish(self, name: String, rows: Option<usize>) -> Tensor {
        let axes = self.axes.iter().map(|axis| axis.unwrap_or(0));
        let shape: Vec<usize> = rows.into_iter().chain(axes).collect();
        let (datatype, data) = match self.cells {
            Cells::Unknown => (Datatype::Fp64, Data::Fixed(element::bytes(vec![f64::NAN; self.len]))),
            Cells::Bool(values) => (Datatype::Bool, Data::Fixed(element::bytes(values))),
            Cells::Int(values) => (Datatype::Int64, Data::Fixed(element::bytes(values))),
            Cells::Float(values) => (Datatype::Fp64, Data::Fixed(element::bytes(values))),
            Cells::Text(strings) => (Datatype::Bytes, Data::Strings(strings)),
        };
        Tensor { name, datatype, shape, data, nulls: self.nulls, parameters: Params::new() }
    }
}

#[cold]
fn mixed(cursor: &Cursor<'_>, what: &str, among: &str) -> Box<Fault> {
    let mut fault = Fault::value(cursor.position(), format!("{what} where the values before it are {among}"));
    fault.problem = Problem::Mixed;
    fault
}
