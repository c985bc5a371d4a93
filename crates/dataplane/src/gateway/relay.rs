//! Brings a request to an endpoint, waits for one where there is none, and goes to another where that one fails.

use super::attempt::{died, garbled, Failed};
use super::cluster::{Cluster, Endpoint, Load, UnderWay};
use super::forward::Call;
use super::hold::NoEndpoint;
use super::http1::Answer;
use super::message::{broken, Message, Unsent};
use super::outgoing::{self, Taken};
use super::refusal::Refusal;
use super::reply::Source;
use super::route::Rule;
use super::way::Way;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A body of so many bytes is read before an endpoint is looked for: it mostly came with the head, and a client that
/// goes away while it is held is noticed only when its body has been read.
pub(super) const SMALL: usize = 64 << 10;

/// So often may kept connections turn out to be dead under one request, one after the other.
const MOST_ATTEMPTS: u32 = 100;

/// So long a request that its only endpoint dropped waits before it goes there again.
const SETTLE: Duration = Duration::from_millis(150);

/// What an endpoint answered, by which connection, and what of the body is here already.
pub(super) type Relayed = (Response<Answer>, Source, Load, UnderWay, Option<Bytes>);

/// Why a request gets no answer from a cluster.
pub(super) enum Stop {
    Refused(Refusal),
    /// The cluster left the table.
    Gone,
}

impl std::convert::From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::convert::From<NoEndpoint> for Stop {
    fn from(none: NoEndpoint) -> Self {
        match none {
            NoEndpoint::Refused(refusal) => Self::Refused(refusal),
            NoEndpoint::Gone => Self::Gone,
        }
    }
}

impl Call<'_> {
    /// When the answer must be there; the time of waiting for an endpoint does not count.
    pub(super) fn deadline(&self, rule: &Rule) -> Option<Instant> {
        rule.timeout.map(|timeout| self.begun + timeout + self.patience.held)
    }

    /// Brings the request to an endpoint of the cluster, and to another where that one fails.
    pub(super) async fn relay(
        &mut self,
        message: &mut Message,
        way: &Way<'_>,
        cluster: &Arc<Cluster>,
        mut kept: Option<Arc<Endpoint>>,
    ) -> Result<Relayed, Stop> {
        let rule = way.rule;
        let gateway = self.gateway;
        let under_way = UnderWay::begin(cluster, gateway.started, self.begun);
        if message.is_small() {
            self.read(message, rule, SMALL).await?;
        }
        let mut avoid = None;
        let mut deaths = 0;
        let mut asked_again = 0;
        for _ in 0..MOST_ATTEMPTS {
            let stays = kept.take().filter(|endpoint| !endpoint.pool.is_retired());
            let endpoint = if let Some(endpoint) = stays {
                endpoint
            } else {
                let endpoint = self.patience.endpoint(cluster, avoid, gateway).await;
                self.exchange.held(self.patience.held);
                endpoint?
            };
            if message.repeatable && rule.retry {
                self.read(message, rule, gateway.limits.retry_body_bytes).await?;
            }
            self.exchange.note(|record| record.endpoint = Some(endpoint.address));
            let load = endpoint.enter();
            let until = earliest(self.deadline(rule), rule.attempt_timeout.map(|most| Instant::now() + most));
            let sent = {
                let mut attempt = pin!(self.attempt(message, way, cluster, &endpoint));
                match until {
                    None => attempt.as_mut().await,
                    Some(until) => match self.origin.alarm.within(until, attempt.as_mut()).await {
                        Ok(sent) => sent,
                        Err(_) => Err(Failed::TooSlow),
                    },
                }
            };
            let status = match &sent {
                Ok((response, _, _)) => Some(response.status()),
                Err(Failed::TooSlow) => Some(StatusCode::GATEWAY_TIMEOUT),
                Err(Failed::Died | Failed::Garbled(_)) => Some(StatusCode::BAD_GATEWAY),
                Err(_) => None,
            };
            if let Some(status) = status {
                cluster.heard(&endpoint, status);
                let dead = matches!(sent, Err(Failed::Died));
                if let Some(pause) = self.again(message, rule, status, asked_again).filter(|_| !dead) {
                    if cluster.counts.may_retry(&cluster.budget) {
                        drop(sent);
                        asked_again += 1;
                        cluster.counts.retries.fetch_add(1, Relaxed);
                        self.exchange.note(|record| record.retries += 1);
                        avoid = Some(endpoint.address);
                        Box::pin(tokio::time::sleep(pause)).await;
                        continue;
                    }
                }
            }
            match sent {
                Ok((response, source, first)) => return Ok((response, source, load, under_way, first)),
                Err(Failed::NotSent) => {}
                Err(Failed::TooSlow) => return Err(too_slow(cluster).into()),
                Err(Failed::Died) => {
                    deaths += 1;
                    let again = deaths == 1
                        && rule.retry
                        && message.repeatable
                        && matches!(message.body, Unsent::Kept(_))
                        && cluster.counts.may_retry(&cluster.budget);
                    if !again {
                        return Err(died(cluster, deaths).into());
                    }
                    cluster.counts.retries.fetch_add(1, Relaxed);
                    self.exchange.note(|record| record.retries += 1);
                    avoid = Some(endpoint.address);
                    if cluster.endpoints().len() < 2 {
                        // What is left of a process that was killed may still accept: not the same death twice.
                        Box::pin(tokio::time::sleep(SETTLE)).await;
                    }
                }
                Err(Failed::Garbled(why)) => return Err(garbled(cluster, &why).into()),
                Err(Failed::Refused(refusal)) => return Err(refusal.into()),
            }
        }
        Err(died(cluster, deaths).into())
    }

    /// After how long a request that was answered so is asked again, if the rule wants that and time is left.
    fn again(&self, message: &Message, rule: &Rule, status: StatusCode, asked: u32) -> Option<Duration> {
        let again = rule.again.as_ref().filter(|again| again.wants(status) && asked < again.attempts)?;
        let may = rule.retry && message.repeatable && matches!(message.body, Unsent::Kept(_));
        let in_time = |until: Instant| Instant::now() + again.backoff < until;
        (may && self.deadline(rule).is_none_or(in_time)).then_some(again.backoff)
    }

    /// Reads the body, as much of it as may be kept.
    async fn read(&self, message: &mut Message, rule: &Rule, limit: usize) -> Result<(), Stop> {
        let gateway = self.gateway;
        let Unsent::Fresh(body) = &message.body else { return Ok(()) };
        if body.size_hint().lower() > limit as u64 {
            return Ok(());
        }
        let Unsent::Fresh(body) = std::mem::replace(&mut message.body, Unsent::Spent) else { return Ok(()) };
        if body.is_end_stream() {
            message.body = Unsent::Kept(Bytes::new());
            return Ok(());
        }
        let until = earliest(self.deadline(rule), Some(Instant::now() + gateway.limits.body_timeout));
        let taken = {
            let mut taking = pin!(outgoing::take(body, limit));
            match until {
                Some(until) => self.origin.alarm.within(until, taking.as_mut()).await,
                None => Ok(taking.as_mut().await),
            }
        };
        message.body = match taken {
            Ok(Taken::Whole(bytes)) => Unsent::Kept(bytes),
            Ok(Taken::Part(read, rest)) => Unsent::Part(read, rest),
            Ok(Taken::Broken(error)) => return Err(broken(Some(&error)).into()),
            Err(_) => {
                let words = "The request's body did not come in time.";
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, words).into());
            }
        };
        Ok(())
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn too_slow(cluster: &Cluster) -> Refusal {
    let words = format!("{} did not answer in time.", cluster.name);
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, words)
}
