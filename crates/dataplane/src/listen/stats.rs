//! Triton's statistics extension, as its clients read it.

use crate::metrics;
use crate::model::Model;
use serde_json::{json, Value};
use std::sync::Arc;

/// The statistics of these models.
pub(super) fn of(models: &[Arc<Model>]) -> Value {
    let rows: Vec<metrics::Statistics> = models.iter().map(|model| metrics::snapshot(model)).collect();
    json!({"model_stats": rows})
}
