//! Waiting for an endpoint: while there is none, or all refuse, a request is held instead of failed.

use super::cluster::{Choice, Cluster, Endpoint};
use super::refusal::Refusal;
use super::run::{Gateway, Stage};
use http::StatusCode;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep_until, Instant};

/// How waiting ended without an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoEndpoint {
    /// None came in time, or too many wait.
    Refused(Refusal),
    /// The cluster left the table: look for the request's rule again.
    Gone,
}

/// The time that one request has waited, over all its attempts.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// So long it has waited.
    pub(super) held: Duration,
}

impl Patience {
    /// An endpoint, waited for if need be.
    pub(super) async fn endpoint(
        &mut self,
        cluster: &Arc<Cluster>,
        avoid: Option<std::net::SocketAddr>,
        gateway: &Gateway,
    ) -> Result<Arc<Endpoint>, NoEndpoint> {
        match cluster.choose(avoid) {
            Choice::Endpoint(endpoint) => Ok(endpoint),
            Choice::Gone => Err(NoEndpoint::Gone),
            // Apart: what seldom happens is no part of every request's memory.
            Choice::Nobody(_) => Box::pin(self.wait(cluster, gateway)).await,
        }
    }

    async fn wait(&mut self, cluster: &Arc<Cluster>, gateway: &Gateway) -> Result<Arc<Endpoint>, NoEndpoint> {
        let settings = cluster.settings();
        let refuse = |words: String| {
            cluster.counts.refused.fetch_add(1, Relaxed);
            Err(NoEndpoint::Refused(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words)))
        };
        let Some(_held) = cluster.hold(settings.hold_limit) else {
            let (name, limit) = (&cluster.name, settings.hold_limit);
            return refuse(format!(
                "No endpoint of {name} is ready, and {limit} requests wait for one already."
            ));
        };
        // Only the first of those who wait is news to whoever starts endpoints.
        if cluster.counts.held.load(Relaxed) == 1 {
            gateway.news.send_modify(|count| *count += 1);
        }
        let mut stages = gateway.stages();
        let mut closing = pin!(stages.wait_for(|stage| *stage == Stage::Closing));
        let since = Instant::now();
        let deadline = since + settings.hold.saturating_sub(self.held);
        let outcome = loop {
            // Made first, so that a change between the look and the wait is not missed.
            let changed = cluster.changed();
            let again = match cluster.choose(None) {
                Choice::Endpoint(endpoint) => break Ok(endpoint),
                Choice::Gone => break Err(NoEndpoint::Gone),
                Choice::Nobody(again) => again,
            };
            if Instant::now() >= deadline {
                let (name, hold) = (&cluster.name, settings.hold.as_secs_f64());
                break refuse(format!("No endpoint of {name} became ready within {hold} s."));
            }
            let until = again.map_or(deadline, |again| again.min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
                _ = closing.as_mut() => {
                    break refuse(format!("No endpoint of {} is ready, and the gateway ends.", cluster.name));
                }
            }
        };
        self.held += since.elapsed();
        outcome
    }
}
