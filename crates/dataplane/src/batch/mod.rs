//! The queue between the connections and a model: take what is there when the model is free, join it,
//! part the answers. Nothing here waits on purpose unless a delay is configured.

mod apart;
mod completion;
mod here;
pub mod merge;
mod pace;
mod park;
mod queue;

pub use apart::Detached;
pub use completion::{Completions, Outcome};
pub use here::{Caller, Here};
pub(crate) use park::CallHere;
pub use park::Parking;
pub use queue::{Batching, Queue, Refused, Work};
