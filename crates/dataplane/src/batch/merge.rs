//! Which requests share a batch, and how they are joined and parted again. Pure.

use crate::error::{Error, Kind, Result};
use crate::message::{Call, InferRequest, InferResponse, Payload};
use crate::tensor::{Data, Strings, Tensor};
use bytes::Bytes;

/// Indices of calls that go to the model together; each call is in exactly one group.
///
/// Two calls share a group if they want the same with the same parameters, and if their tensors agree
/// in names, datatypes and all axes but the first. A call without a common first axis stays alone.
pub fn group(calls: &[Call], max_rows: usize) -> Vec<Vec<usize>> {
    struct Open<'a> {
        first: &'a Call,
        request: &'a InferRequest,
        rows: usize,
        members: usize,
    }
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open: Vec<Open<'_>> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let Some((request, rows)) = joinable(call) else {
            groups.push(vec![index]);
            continue;
        };
        let found = open.iter_mut().find(|candidate| {
            candidate.rows + rows <= max_rows
                && candidate.first.verb == call.verb
                && same_form(candidate.request, request)
        });
        if let Some(candidate) = found {
            candidate.rows += rows;
            if let Some(members) = groups.get_mut(candidate.members) {
                members.push(index);
            }
        } else {
            open.push(Open { first: call, request, rows, members: groups.len() });
            groups.push(vec![index]);
        }
    }
    groups
}

fn joinable(call: &Call) -> Option<(&InferRequest, usize)> {
    let Payload::Tensors(request) = &call.payload else { return None };
    let rows = *request.inputs.first()?.shape.first()?;
    request.inputs.iter().all(|tensor| tensor.shape.first() == Some(&rows)).then_some((request, rows))
}

fn same_form(one: &InferRequest, other: &InferRequest) -> bool {
    one.parameters == other.parameters
        && one.inputs.len() == other.inputs.len()
        && one.inputs.iter().zip(&other.inputs).all(|(left, right)| {
            left.name == right.name
                && left.datatype == right.datatype
                && left.shape.get(1..) == right.shape.get(1..)
                && left.parameters == right.parameters
        })
}

/// The inputs of several requests of the same form, joined along the first axis.
pub fn join(requests: &[&InferRequest]) -> Vec<Tensor> {
    let Some(first) = requests.first() else { return Vec::new() };
    (0..first.inputs.len())
        .map(|position| {
            let parts: Vec<&Tensor> =
                requests.iter().filter_map(|request| request.inputs.get(position)).collect();
            join_tensors(&parts)
        })
        .collect()
}

fn join_tensors(parts: &[&Tensor]) -> Tensor {
    let mut joined = match parts.first() {
        Some(first) => Tensor { data: Data::Fixed(Bytes::new()), nulls: Vec::new(), ..(*first).clone() },
        None => unreachable!("a group has at least one member"),
    };
    let mut nulls = Vec::new();
    let mut elements = 0;
    for part in parts {
        nulls.extend(part.nulls.iter().map(|null| null + elements));
        elements += Tensor::count(&part.shape).unwrap_or(0);
    }
    joined.nulls = nulls;
    if let Some(axis) = joined.shape.first_mut() {
        *axis = parts.iter().map(|part| part.rows()).sum();
    }
    joined.data = if joined.datatype.size().is_some() {
        let mut buffer = AlignedVec::with_capacity(parts.iter().map(|part| part.data.byte_len()).sum());
        for part in parts {
            if let Data::Fixed(bytes) = &part.data {
                buffer.extend(bytes);
            }
        }
        Data::Fixed(buffer.into_bytes())
    } else {
        let mut strings =
            Strings::with_capacity(elements, parts.iter().map(|part| part.data.byte_len()).sum());
        for part in parts {
            if let Data::Strings(more) = &part.data {
                strings.extend(more);
            }
        }
        Data::Strings(strings)
    };
    joined
}

/// NumPy and most vector code are happy with this.
const BOUNDARY: usize = 64;

/// A byte buffer that begins on a boundary that suits every element type.
pub struct AlignedVec {
    bytes: Vec<u8>,
    padding: usize,
}

impl AlignedVec {
    /// Room for `bytes` bytes. They are not cleared first: a big tensor is written once.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut room: Vec<u8> = Vec::with_capacity(bytes + BOUNDARY);
        let padding = (BOUNDARY - room.as_ptr().addr() % BOUNDARY) % BOUNDARY;
        room.resize(padding, 0);
        Self { bytes: room, padding }
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes, without a copy unless more came than there was room for.
    pub fn into_bytes(self) -> Bytes {
        if !(self.bytes.as_ptr().addr() + self.padding).is_multiple_of(BOUNDARY) {
            let mut placed = Self::with_capacity(self.bytes.len() - self.padding);
            placed.extend(self.bytes.get(self.padding..).unwrap_or_default());
            return placed.into_bytes();
        }
        Bytes::from(self.bytes).slice(self.padding..)
    }
}

/// Parts a joined response into one a request; `rows[i]` rows belong to request `i`.
pub fn part(response: &InferResponse, rows: &[usize]) -> Result<Vec<InferResponse>> {
    let total: usize = rows.iter().sum();
    if let Some(odd) = response.outputs.iter().find(|output| output.shape.first() != Some(&total)) {
        return Err(Error::new(
            Kind::Model,
            format!(
                "output {:?} has shape {:?}, but a batch of {total} rows needs {total} on its first axis",
                odd.name, odd.shape
            ),
        ));
    }
    let mut parts: Vec<InferResponse> = rows
        .iter()
        .map(|_| InferResponse {
            outputs: Vec::with_capacity(response.outputs.len()),
            parameters: response.parameters.clone(),
            headers: response.headers.clone(),
        })
        .collect();
    for output in &response.outputs {
        let elements = Tensor::count(&output.shape).unwrap_or(0);
        let per_row = elements.checked_div(total).unwrap_or(0);
        let mut start = 0;
        for (part, &count) in parts.iter_mut().zip(rows) {
            let end = start + count;
            part.outputs.push(rows_of(output, start, end, per_row));
            start = end;
        }
    }
    Ok(parts)
}

fn rows_of(tensor: &Tensor, start: usize, end: usize, per_row: usize) -> Tensor {
    let (from, to) = (start * per_row, end * per_row);
    let data = match (&tensor.data, tensor.datatype.size()) {
        (Data::Fixed(bytes), Some(size)) => Data::Fixed(bytes.slice(from * size..to * size)),
        (Data::Strings(strings), _) => Data::Strings(strings.slice(from, to)),
        (Data::Fixed(bytes), None) => Data::Fixed(bytes.clone()),
    };
    let mut shape = tensor.shape.clone();
    if let Some(axis) = shape.first_mut() {
        *axis = end - start;
    }
    Tensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype,
        shape,
        data,
        nulls: tensor
            .nulls
            .iter()
            .filter(|&&null| null >= from && null < to)
            .map(|null| null - from)
            .collect(),
        parameters: tensor.parameters.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_even_if_more_come_than_were_announced() {
        for (announced, parts) in [(0, vec![]), (5, vec![5]), (10, vec![3, 7]), (1, vec![100_000, 33])] {
            let mut buffer = AlignedVec::with_capacity(announced);
            let mut expected = Vec::new();
            for (value, length) in parts.into_iter().enumerate() {
                buffer.extend(&vec![value as u8; length]);
                expected.resize(expected.len() + length, value as u8);
            }
            let bytes = buffer.into_bytes();
            assert_eq!(bytes, expected);
            assert!(bytes.is_empty() || bytes.as_ptr().addr().is_multiple_of(BOUNDARY));
        }
    }
}
