//! V1 rows in the two forms that pandas and KServe's servers make a data frame of, beside plain objects:
//! rows in lists, `[[{"a": 1}, {"a": 2}]]`, and columns by label, `[{"a": {"0": 1, "1": 2}}]`.
//!
//! A cell that is not there is missing, as a null is, and so is a column of the model that no row names.
//! So a few bytes may stand for many cells, and their number is bounded by the length of the text.

use super::column::Column;
use super::fault::{quote, Fault, Parse, Within as _};
use super::json::Cursor;
use super::param;
use crate::limits::Limits;
use crate::model::TensorSpec;
use crate::tensor::Tensor;
use std::borrow::Cow;
use std::collections::HashMap;

/// Missing cells that any request may have.
const FREE: usize = 1 << 16;
/// Missing cells beyond them: so many a byte of the text.
const A_BYTE: usize = 2;

/// Columns that are filled row by row, with gaps.
struct Table<'l> {
    limits: &'l Limits,
    specs: &'l [TensorSpec],
    columns: Vec<(String, Column)>,
    by_name: HashMap<String, usize>,
    /// Missing cells that may still come.
    left: usize,
}

impl<'l> Table<'l> {
    fn new(cursor: &Cursor<'_>, limits: &'l Limits, specs: &'l [TensorSpec]) -> Self {
        let left = FREE + A_BYTE * cursor.remaining();
        Self { limits, specs, columns: Vec::new(), by_name: HashMap::new(), left }
    }

    /// The place of a column; `next` is where it mostly is.
    fn place(&mut self, cursor: &Cursor<'_>, name: &str, next: usize) -> Parse<usize> {
        if self.columns.get(next).is_some_and(|(known, _)| known == name) {
            return Ok(next);
        }
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        let index = self.columns.len();
        if index >= self.limits.tensors {
            let what = format!("has more than {} columns, the limit of this server", self.limits.tensors);
            return Err(Fault::value(cursor.position(), what));
        }
        self.by_name.insert(name.to_owned(), index);
        self.columns.push((name.to_owned(), Column::new()));
        Ok(index)
    }

    /// Reads a scalar into a column's row; those between its last one and this are missing.
    fn cell(&mut self, cursor: &mut Cursor<'_>, index: usize, row: usize) -> Parse<()> {
        if let Some(what @ (b'[' | b'{')) = cursor.peek() {
            let what = if what == b'[' { "an array" } else { "an object" };
            return Err(Fault::value(cursor.position(), format!("expected one value, got {what}")));
        }
        let Some((_, column)) = self.columns.get_mut(index) else { return Ok(()) };
        if column.len() > row {
            return Err(Fault::value(cursor.position(), "given twice"));
        }
        miss(&mut self.left, column, row, cursor.position())?;
        column.read(cursor)
    }

    fn finish(mut self, cursor: &Cursor<'_>, rows: usize) -> Parse<Vec<Tensor>> {
        if self.columns.is_empty() {
            return Err(Fault::value(cursor.position(), "has no columns"));
        }
        let takes = |spec: &&TensorSpec| is_column(spec);
        let known =
            self.specs.iter().filter(takes).filter(|spec| self.by_name.contains_key(&spec.name)).count();
        if known == self.columns.len() {
            for spec in self.specs.iter().filter(takes) {
                if !self.by_name.contains_key(&spec.name) {
                    self.columns.push((spec.name.clone(), Column::of(&spec.datatype)));
                }
            }
        }
        for (_, column) in &mut self.columns {
            miss(&mut self.left, column, rows, cursor.position())?;
        }
        Ok(self.columns.into_iter().map(|(name, column)| column.finish(name, Some(rows))).collect())
    }
}

/// Whether it is one value a row.
fn is_column(spec: &TensorSpec) -> bool {
    matches!(spec.shape.as_slice(), [_] | [_, 1])
}

fn miss(left: &mut usize, column: &mut Column, until: usize, at: usize) -> Parse<()> {
    let gap = until.saturating_sub(column.len());
    *left = left.checked_sub(gap).ok_or_else(|| {
        Fault::value(at, "names few of the cells of its table. Send rows that have all columns, or nulls")
    })?;
    column.miss(gap);
    Ok(())
}

/// `[[{"a": 1}, {"a": 2}], [{"a": 3}]]`: lists of rows.
pub(super) fn nested(cursor: &mut Cursor<'_>, limits: &Limits, specs: &[TensorSpec]) -> Parse<Vec<Tensor>> {
    let mut table = Table::new(cursor, limits, specs);
    let mut row = 0;
    let mut outer = 0;
    let mut first = cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        let mut inner = 0;
        let mut first_row = cursor.enter_array().index(outer)?;
        while cursor.next_element(&mut first_row).index(outer)? {
            record(&mut table, cursor, row).index(inner).index(outer)?;
            inner += 1;
            row += 1;
        }
        outer += 1;
    }
    table.finish(cursor, row)
}

fn record(table: &mut Table<'_>, cursor: &mut Cursor<'_>, row: usize) -> Parse<()> {
    let mut next = 0;
    let mut first = cursor.enter_object()?;
    while let Some(key) = cursor.next_key(&mut first)? {
        let index = table.place(cursor, &key, next)?;
        next = index + 1;
        table.cell(cursor, index, row).key(&key)?;
    }
    Ok(())
}

/// `[{"a": {"0": 1, "1": 2}, "b": {"0": 3, "1": 4}}]`: objects of columns, which have the same labels.
pub(super) fn labelled(cursor: &mut Cursor<'_>, limits: &Limits, specs: &[TensorSpec]) -> Parse<Vec<Tensor>> {
    let mut table = Table::new(cursor, limits, specs);
    let mut rows = 0;
    let mut outer = 0;
    let mut first = cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        rows += block(&mut table, cursor, rows).index(outer)?;
        outer += 1;
    }
    table.finish(cursor, rows)
}

/// Reads one such object, which begins at a row; its number of rows.
fn block(table: &mut Table<'_>, cursor: &mut Cursor<'_>, start: usize) -> Parse<usize> {
    let mut labels: Option<Vec<Cow<'_, str>>> = None;
    let mut next = 0;
    let mut first = cursor.enter_object()?;
    while let Some(key) = cursor.next_key(&mut first)? {
        let index = table.place(cursor, &key, next)?;
        next = index + 1;
        let mut seen = Vec::new();
        let mut count = 0;
        let mut first_cell = cursor.enter_object().key(&key)?;
        while let Some(label) = cursor.next_key(&mut first_cell).key(&key)? {
            match &labels {
                None => seen.push(label.clone()),
                Some(labels) if labels.get(count) == Some(&label) => {}
                Some(_) => return Err(relabelled(cursor)).key(&key),
            }
            table.cell(cursor, index, start + count).key(&label).key(&key)?;
            count += 1;
        }
        match &labels {
            None => {
                if let Some(index) = param::repeated(seen.iter().map(AsRef::as_ref)) {
                    let label = quote(seen.get(index).map(AsRef::as_ref).unwrap_or_default());
                    let what = format!("label {label} is given twice");
                    return Err(Fault::value(cursor.position(), what)).key(&key);
                }
                labels = Some(seen);
            }
            Some(labels) if labels.len() == count => {}
            Some(_) => return Err(relabelled(cursor)).key(&key),
        }
    }
    Ok(labels.map_or(0, |labels| labels.len()))
}

fn relabelled(cursor: &Cursor<'_>) -> Box<Fault> {
    let what =
        "has other labels than the columns before it. Give all columns the same ones, in the same order";
    Fault::value(cursor.position(), what)
}

/// Columns with several values an instance, `[{"a": [1, 2], "b": [3, 4]}]`, as rows, where the model takes
/// columns: pandas makes two rows of these. Anything else is left as it is.
pub(super) fn unfold(inputs: &mut [Tensor], specs: &[TensorSpec]) {
    let Some([instances, values]) =
        inputs.first().and_then(|first| <[usize; 2]>::try_from(first.shape.as_slice()).ok())
    else {
        return;
    };
    let known = |input: &Tensor| specs.iter().find(|spec| spec.name == input.name);
    let takes_columns = match specs {
        // A model that knows no names takes a matrix, and columns as they come.
        [TensorSpec { shape, .. }] if matches!(shape.as_slice(), [_, width] if *width > 0 && *width as usize == inputs.len()) => {
            true
        }
        _ => inputs.iter().all(|input| known(input).is_some_and(is_column)),
    };
    let alike = inputs.iter().all(|input| input.shape == [instances, values]);
    if values != 1 && alike && takes_columns {
        for input in inputs {
            input.shape = vec![instances * values];
        }
    }
}

/// Which of these forms a list of rows has, if one of them: looks at its first values alone.
pub(super) fn form(cursor: &Cursor<'_>) -> Option<Form> {
    let mut peek = *cursor;
    peek.enter_array().ok()?;
    match peek.peek()? {
        b'[' => {
            peek.enter_array().ok()?;
            (peek.peek()? == b'{').then_some(Form::Nested)
        }
        b'{' => {
            let mut first = peek.enter_object().ok()?;
            peek.next_key(&mut first).ok()??;
            (peek.peek()? == b'{').then_some(Form::Labelled)
        }
        _ => None,
    }
}

/// A form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lists of objects.
    Nested,
    /// Objects of objects.
    Labelled,
}
