//! Which traces are recorded.

use super::context::Context;

/// `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// `parentbased_*`: do as the caller did; `root` decides where there is none.
    pub parent_based: bool,
    /// What decides otherwise.
    pub root: Root,
}

/// A sampler that asks nobody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Root {
    /// `always_on`
    AlwaysOn,
    /// `always_off`
    AlwaysOff,
    /// `traceidratio`: this part of all traces, from 0 to 1.
    Ratio(f64),
}

impl Default for Sampler {
    fn default() -> Self {
        Self { parent_based: true, root: Root::AlwaysOn }
    }
}

impl Sampler {
    /// The sampler of this name; `ratio` is `OTEL_TRACES_SAMPLER_ARG`.
    pub(super) fn named(name: &str, ratio: f64) -> Option<Self> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Root::AlwaysOn,
            "always_off" => Root::AlwaysOff,
            "traceidratio" => Root::Ratio(ratio),
            _ => return None,
        };
        Some(Self { parent_based, root })
    }

    /// Whether a request is recorded.
    pub fn samples(&self, parent: Option<Context>, trace_id: u128) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled(),
            _ => match self.root {
                Root::AlwaysOn => true,
                Root::AlwaysOff => false,
                Root::Ratio(ratio) => within(trace_id, ratio),
            },
        }
    }
}

/// The specification asks for a deterministic function of the trace id that samples, at a higher ratio,
/// all that it samples at a lower one. This is the function of the Python and Go SDKs, so that services
/// with the same ratio record the same traces: the lower 8 bytes of the id, as a number, are below
/// ratio · 2⁶⁴.
fn within(trace_id: u128, ratio: f64) -> bool {
    let bound = (ratio * 18_446_744_073_709_551_616.0).round_ties_even() as u128;
    (trace_id & u128::from(u64::MAX)) < bound
}
