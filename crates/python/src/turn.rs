//! The interpreter's lock, which models that have requests in hand get before one that is loaded.

use modelport_dataplane::turn::{Courtesy, Turns, PATIENCE};
use pyo3::prelude::*;
use std::cell::Cell;

/// Of this process.
pub(crate) static TURNS: Turns = Turns::new();

thread_local! {
    static COURTESY: Cell<Courtesy> = Cell::default();
}

/// Lets others go first where it is due: see `_dataplane.pyi`.
#[pyfunction]
pub(crate) fn let_pass(py: Python<'_>) {
    let mut courtesy = COURTESY.get();
    courtesy.step(&TURNS, PATIENCE, |wait| py.detach(wait));
    COURTESY.set(courtesy);
}
