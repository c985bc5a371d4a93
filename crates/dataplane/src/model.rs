//! Models as the data plane knows them: what they say of themselves, their queue, and where they are
//! found by name and version.

use crate::batch::{Batching, Completions, Outcome, Parking, Queue, Refused};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::limits::Limits;
use crate::message::{Answer, Call, Verb};
use crate::metrics::{ModelMetrics, Refusal, ServerMetrics, Stage};
use crate::tensor::Params;
use crate::trace::{Active, Tracer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One input or output in a model's signature.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TensorSpec {
    /// Name of the tensor or column.
    pub name: String,
    /// Datatype in the protocol's spelling, such as `FP64`.
    pub datatype: String,
    /// Shape; -1 for an axis of any length.
    pub shape: Vec<i64>,
    /// A column that takes text and integers, whichever of them `datatype` names; the protocol has no word
    /// for it.
    #[serde(default, skip_serializing)]
    pub text_or_integers: bool,
    /// A column that may be left out and be of any datatype: the model does not use it.
    #[serde(default, skip_serializing)]
    pub optional: bool,
}

/// What a model says of itself (V2 model metadata, and what `/docs` shows).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Metadata {
    /// The name that it is served under.
    pub name: String,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// Framework and form, such as `sklearn` or `onnxruntime_onnx`.
    pub platform: String,
    /// Inputs that it takes; empty when it does not say.
    pub inputs: Vec<TensorSpec>,
    /// Outputs that it gives; empty when it does not say.
    pub outputs: Vec<TensorSpec>,
    /// A sentence about it, such as `Pipeline, 7 columns, 2 classes`.
    pub description: String,
    /// A V1 body that it answers, if one is known.
    pub example_v1: Option<serde_json::Value>,
    /// A V2 body that it answers, if one is known.
    pub example_v2: Option<serde_json::Value>,
}

/// How a model is called.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How its queue forms batches.
    pub batching: Batching,
    /// Longest time that one call of the model may take; then 504 and a new worker process.
    pub predict_timeout: Option<Duration>,
    /// It reads V1 bodies itself: they reach it as they came.
    pub raw_v1: bool,
    /// It has an explainer: `:explain` reaches it, always as a raw V1 body. Otherwise 501.
    pub explains: bool,
    /// It wants the request's headers.
    pub wants_headers: bool,
}

/// A model that is served.
#[derive(Debug)]
pub struct Model {
    /// What it says of itself.
    pub metadata: Metadata,
    /// How it is called.
    pub options: Options,
    /// Its counters.
    pub metrics: Arc<ModelMetrics>,
    /// Its queue.
    pub queue: Arc<Queue>,
    ready: AtomicBool,
    successor: OnceLock<Arc<Model>>,
}

impl Model {
    /// A model that is not ready yet.
    pub fn new(
        metadata: Metadata,
        options: Options,
        metrics: Arc<ModelMetrics>,
        completions: &Arc<Completions>,
        parking: &Arc<Parking>,
    ) -> Arc<Self> {
        let queue = Queue::new(options.batching.clone(), Arc::clone(completions), Arc::clone(parking));
        Arc::new(Self {
            metadata,
            options,
            metrics,
            queue,
            ready: AtomicBool::new(false),
            successor: OnceLock::new(),
        })
    }

    /// Whether it serves.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Says whether it serves.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Ends this model in favour of another: no request is lost in between, what waits is still served.
    pub fn retire(&self, successor: Option<Arc<Self>>) {
        if let Some(successor) = successor {
            let _ = self.successor.set(successor); // a model is retired once
        }
        self.queue.close();
    }

    fn push(&self, call: Call, now: Instant) -> Result<oneshot::Receiver<Outcome>> {
        match self.queue.push(call, now) {
            Ok(answer) => Ok(answer),
            Err(Refused::Full { waiting }) => Err(Error::new(
                Kind::Overloaded,
                format!(
                    "The queue of model {} is full ({waiting} requests wait). Retry later.",
                    self.metadata.name
                ),
            )),
            Err(Refused::Closed(call)) => match self.successor.get() {
                Some(successor) => successor.push(*call, now),
                None => Err(Error::model_not_ready(&self.metadata.name)),
            },
        }
    }

    /// Asks the model, and records how long queue and prediction took. Dropping the future cancels the
    /// request if it still waits.
    pub async fn call(&self, call: Call, trace: Option<&mut Active>) -> Result<Answer> {
        if !self.is_ready() {
            return Err(Error::model_not_ready(&self.metadata.name));
        }
        let queued_at = Instant::now();
        let deadline = call.deadline;
        let stage = match call.verb {
            Verb::Predict => Stage::Predict,
            Verb::Explain => Stage::Explain,
        };
        let answer = self.push(call, queued_at).inspect_err(|error| {
            if error.kind == Kind::Overloaded {
                self.metrics.refused(Refusal::QueueFull);
            }
        })?;
        let outcome = match deadline {
            None => answer.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), answer).await.map_err(|_| {
                self.metrics.refused(Refusal::Deadline);
                Error::new(Kind::Timeout, "The request's deadline passed before the model answered.")
            })?,
        };
        let outcome = outcome.map_err(|_| {
            Error::new(
                Kind::Internal,
                format!("Model {} dropped the request unanswered.", self.metadata.name),
            )
        })?;
        self.metrics.stage(Stage::Queue, outcome.taken_at.saturating_duration_since(queued_at));
        let timed_out = outcome.answer.as_ref().is_err_and(|error| error.kind == Kind::Timeout);
        if timed_out && deadline.is_some_and(|deadline| deadline <= outcome.taken_at) {
            self.metrics.refused(Refusal::Deadline); // it never reached the model
            if let Some(trace) = trace {
                trace.stage(Stage::Queue, queued_at, outcome.taken_at);
            }
            return outcome.answer;
        }
        if timed_out {
            self.metrics.refused(Refusal::PredictTimeout);
        }
        self.metrics.stage(stage, outcome.done_at.saturating_duration_since(outcome.taken_at));
        if let Some(trace) = trace {
            trace.stage(Stage::Queue, queued_at, outcome.taken_at);
            trace.predict(stage, outcome.taken_at, outcome.done_at, outcome.batch);
        }
        outcome.answer
    }
}

/// The models by name and version.
#[derive(Debug, Default)]
pub struct Registry {
    models: RwLock<BTreeMap<String, Vec<Arc<Model>>>>,
}

impl Registry {
    /// Adds a model, in place of the one with the same name and version, which is returned.
    pub fn put(&self, model: Arc<Model>) -> Option<Arc<Model>> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.entry(model.metadata.name.clone()).or_default();
        let same = versions.iter().position(|other| other.metadata.version == model.metadata.version);
        let old = same.map(|position| versions.remove(position));
        versions.push(model);
        versions.sort_by_key(|model| version_order(model.metadata.version.as_deref()));
        old
    }

    /// Removes all versions of a model.
    pub fn remove(&self, name: &str) -> Vec<Arc<Model>> {
        self.models.write().unwrap_or_else(PoisonError::into_inner).remove(name).unwrap_or_default()
    }

    /// Removes one version of a model.
    pub fn remove_version(&self, name: &str, version: Option<&str>) -> Option<Arc<Model>> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.get_mut(name)?;
        let position = versions.iter().position(|model| model.metadata.version.as_deref() == version)?;
        let removed = versions.remove(position);
        if versions.is_empty() {
            models.remove(name);
        }
        Some(removed)
    }

    /// The model with this name, ready or not; the newest version where none is named.
    pub fn get(&self, name: &str, version: Option<&str>) -> Result<Arc<Model>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let versions = models.get(name).ok_or_else(|| Error::model_not_found(name))?;
        let found = match version {
            None => versions.last(),
            Some(version) => versions.iter().find(|model| model.metadata.version.as_deref() == Some(version)),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> =
                versions.iter().filter_map(|model| model.metadata.version.as_deref()).collect();
            let hint = if known.is_empty() {
                "It has no versions: leave the version out.".to_owned()
            } else {
                format!("Its versions: {}.", known.join(", "))
            };
            Error::new(
                Kind::NotFound,
                format!("Model with name {name} has no version {}. {hint}", version.unwrap_or_default()),
            )
        })
    }

    /// All versions of the model with this name, oldest first; empty if there is none.
    pub fn versions(&self, name: &str) -> Vec<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Every model in every version, by name.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect()
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// Numbers by value, then other names by spelling.
fn version_order(version: Option<&str>) -> (u64, String) {
    let version = version.unwrap_or_default();
    version.parse().map_or_else(|_| (u64::MAX, version.to_owned()), |number| (number, String::new()))
}

/// A row of the repository index.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct IndexEntry {
    /// Name of the model.
    pub name: String,
    /// Its version, or empty.
    pub version: String,
    /// `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`, as Triton spells them.
    pub state: String,
    /// Why it is not ready; empty where it is.
    pub reason: String,
}

/// A parameter of an order between sibling processes: when it was given. From a client it would stand for all
/// orders to come.
const OWN_PARAMETER: &str = "modelport_local";

/// Refuses what only the server's own processes say to each other.
pub(crate) fn check_parameters(parameters: &Params) -> Result<()> {
    if parameters.iter().any(|(name, _)| name == OWN_PARAMETER) {
        let what = format!("parameters.{OWN_PARAMETER}: is for the server's own processes. Leave it out.");
        return Err(Error::invalid(what));
    }
    Ok(())
}

/// What loading and unloading return.
pub type Operation = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The model repository behind the server: what can be loaded, and loading itself.
pub trait Repository: Send + Sync {
    /// What there is, loaded or not.
    fn index(&self) -> Vec<IndexEntry>;
    /// Loads a model, or loads it anew; resolves when it serves in every worker process.
    fn load(&self, name: String, parameters: Params) -> Operation;
    /// Unloads a model; resolves when no worker process serves it.
    fn unload(&self, name: String, parameters: Params) -> Operation;
}

/// Everything that the listeners serve from.
pub struct Server {
    /// Reported as the server's name in V2 server metadata.
    pub name: String,
    /// Reported as the server's version.
    pub version: String,
    /// The models.
    pub registry: Registry,
    /// The repository.
    pub repository: Box<dyn Repository>,
    /// Bounds on requests.
    pub limits: Limits,
    /// Memory for the bodies of its requests.
    pub bodies: Arc<Budget>,
    /// Counters that belong to no model.
    pub metrics: ServerMetrics,
    /// Traces its requests; empty where tracing is off.
    pub tracer: OnceLock<Tracer>,
    /// Other worker processes on the same ports: their private Unix sockets, which speak the same HTTP
    /// API. `/metrics` adds up what they say; see `Server::local_only`.
    pub peers: RwLock<Vec<std::path::PathBuf>>,
    draining: AtomicBool,
}

impl Server {
    /// A server without models.
    pub fn new(name: String, version: String, repository: Box<dyn Repository>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            name,
            version,
            registry: Registry::default(),
            repository,
            bodies: Budget::new(limits.bodies_bytes.max(limits.body_bytes)),
            limits,
            metrics: ServerMetrics::default(),
            tracer: OnceLock::new(),
            peers: RwLock::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// Ready: not shutting down, and every model ready.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.registry.all().iter().all(|model| model.is_ready())
    }

    /// Whether the server finishes what it has and takes no more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Begins to drain: readiness turns off, requests are still served.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}
