//! Models made of Rust functions, and a repository that remembers.

use bytes::Bytes;
use modelport_dataplane::batch::{merge, Queue, Work};
use modelport_dataplane::error::{Error, Kind, Result};
use modelport_dataplane::message::{Answer, Call, InferRequest, InferResponse, Payload};
use modelport_dataplane::model::{IndexEntry, Operation, Repository};
use modelport_dataplane::tensor::{Data, Datatype, Params, Tensor};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub type Behaviour = Arc<dyn Fn(&Call) -> Result<Answer> + Send + Sync>;

/// A repository that remembers what it was asked, and knows no model called `missing`.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Vec<String>>>);

impl Repository for Memory {
    fn index(&self) -> Vec<IndexEntry> {
        [("sum", "READY", ""), ("later", "UNAVAILABLE", "unloaded")]
            .map(|(name, state, reason)| IndexEntry {
                name: name.to_owned(),
                version: String::new(),
                state: state.to_owned(),
                reason: reason.to_owned(),
            })
            .to_vec()
    }

    fn load(&self, name: String, parameters: Params) -> Operation {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            if name == "missing" {
                return Err(Error::new(Kind::NotReady, "Model missing has no files."));
            }
            seen.lock().unwrap().push(format!("load {name} {parameters:?}"));
            Ok(())
        })
    }

    fn unload(&self, name: String, parameters: Params) -> Operation {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            if name == "missing" {
                return Err(Error::model_not_found(&name));
            }
            seen.lock().unwrap().push(format!("unload {name} {parameters:?}"));
            Ok(())
        })
    }
}

/// Answers work request by request, and says how long that took, as the executors of real models do.
pub(super) fn serve(queue: &Queue, work: &Work, behaviour: &Behaviour) {
    let begun = Instant::now();
    for (index, call) in work.calls.iter().enumerate() {
        let answer = behaviour(call);
        queue.complete(work.ticket, [(index, answer)]);
    }
    queue.predicted(work.calls.len(), begun.elapsed());
}

pub(super) fn sum_group(calls: &[Call], members: &[usize]) -> Vec<(usize, Result<Answer>)> {
    let requests: Vec<&InferRequest> = members
        .iter()
        .map(|&index| match &calls[index].payload {
            Payload::Tensors(request) => request,
            Payload::Raw(_) => panic!("tensors only"),
        })
        .collect();
    let joined = merge::join(&requests);
    let rows: Vec<usize> = requests.iter().map(|request| request.inputs[0].rows()).collect();
    let sums = match sums(&joined[0]) {
        Ok(sums) => sums,
        Err(error) => return members.iter().map(|&index| (index, Err(error.clone()))).collect(),
    };
    let response = InferResponse { outputs: vec![tensor("sum", &sums)], ..InferResponse::default() };
    let parts = merge::part(&response, &rows).unwrap();
    members.iter().zip(parts).map(|(&index, part)| (index, Ok(Answer::Tensors(part)))).collect()
}

fn sums(input: &Tensor) -> Result<Vec<f64>> {
    let Data::Fixed(bytes) = &input.data else { return Err(Error::invalid("inputs[0]: numbers wanted")) };
    let values: Vec<f64> = match input.datatype {
        Datatype::Fp64 => {
            bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
        }
        Datatype::Int64 => {
            bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()) as f64).collect()
        }
        Datatype::Fp32 => bytes
            .chunks_exact(4)
            .map(|chunk| f64::from(f32::from_le_bytes(chunk.try_into().unwrap())))
            .collect(),
        other => return Err(Error::invalid(format!("inputs[0].datatype: {other} is not supported"))),
    };
    let width = values.len() / input.rows().max(1);
    Ok(values.chunks(width.max(1)).map(|row| row.iter().sum()).collect())
}

pub fn tensor(name: &str, values: &[f64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor {
        name: name.to_owned(),
        datatype: Datatype::Fp64,
        shape: vec![values.len()],
        data: Data::Fixed(Bytes::from(bytes)),
        nulls: Vec::new(),
        parameters: Params::new(),
    }
}

pub fn numbers(values: &[f64]) -> Answer {
    Answer::Tensors(InferResponse { outputs: vec![tensor("y", values)], ..InferResponse::default() })
}
