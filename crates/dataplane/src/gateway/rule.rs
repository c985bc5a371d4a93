//! A rule: which requests it is for, what it changes about them, and where they go.

use super::filter::Filters;
use super::fit::{Asked, Match};
use super::sticky::Sticky;
use super::table;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a rule without matches is for.
static ANYTHING: Match = Match::anything();

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    matches: Vec<Match>,
    /// Its matches are none that anything could fit.
    nothing_fits: bool,
    /// What is changed about requests and answers.
    pub(super) filters: Filters,
    backends: Backends,
    /// From arrival to the end of the answer.
    pub(super) timeout: Option<Duration>,
    /// Of one attempt.
    pub(super) attempt_timeout: Option<Duration>,
    /// May be sent again after its endpoint died.
    pub(super) retry: bool,
    /// Answers that are asked for again.
    pub(super) again: Option<Again>,
    /// How clients stay where they were.
    pub(super) sticky: Option<Sticky>,
}

/// Which answers are asked for again, how often, after how long.
#[derive(Debug)]
pub(super) struct Again {
    codes: Vec<u16>,
    pub(super) attempts: u32,
    pub(super) backoff: Duration,
}

impl Again {
    /// Whether an answer with this status is worth another try.
    pub(super) fn wants(&self, status: http::StatusCode) -> bool {
        self.codes.contains(&status.as_u16())
    }
}

/// Where a request goes, and what is changed about it for there alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn<'a> {
    pub(super) backend: Backend<'a>,
    pub(super) filters: Option<&'a Filters>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend<'a> {
    /// To the cluster with this number.
    Cluster(usize),
    /// Nowhere, for this reason.
    Failure(&'a str),
}

/// The backends that have a weight.
#[derive(Debug, Default)]
struct Backends {
    shares: Vec<Share>,
    total: u64,
}

#[derive(Debug)]
struct Share {
    /// The sum of the weights up to it.
    up_to: u64,
    goal: Goal,
    filters: Option<Box<Filters>>,
}

#[derive(Debug)]
enum Goal {
    Cluster(usize),
    Failure(String),
}

impl Rule {
    /// A rule that cannot be carried out as written answers 500, rather than let its requests fall through to
    /// another rule, or have all other routes refused; what is wrong is said beside it.
    pub(super) fn compile(
        rule: table::Rule,
        clusters: &BTreeMap<&str, usize>,
        at: &str,
    ) -> (Self, Option<String>) {
        let mut problems = Vec::new();
        let mut matches = Vec::with_capacity(rule.matches.len());
        for (index, wanted) in rule.matches.into_iter().enumerate() {
            // One that is none fits nothing.
            match Match::compile(wanted, &format!("{at}.matches[{index}]")) {
                Ok(compiled) => matches.push(compiled),
                Err(problem) => problems.push(problem),
            }
        }
        let nothing_fits = matches.is_empty() && !problems.is_empty();
        let mut noted = |problem| problems.push(problem);
        let filters = Filters::compile(rule.filters, clusters, at).map_err(&mut noted).unwrap_or_default();
        let backends = Backends::compile(rule.backends, clusters, at).map_err(&mut noted).unwrap_or_default();
        let sticky = rule.sticky.map(|sticky| Sticky::compile(sticky, at)).transpose();
        let sticky = sticky.map_err(&mut noted).unwrap_or_default();
        let mut compiled = Self {
            matches,
            nothing_fits,
            filters,
            backends,
            timeout: rule.timeout_ms.filter(|&ms| ms > 0).map(Duration::from_millis),
            attempt_timeout: rule.backend_timeout_ms.filter(|&ms| ms > 0).map(Duration::from_millis),
            retry: rule.retry,
            again: rule.again.map(|again| Again {
                codes: again.codes,
                attempts: again.attempts,
                backoff: Duration::from_millis(again.backoff_ms),
            }),
            sticky,
        };
        if problems.is_empty() {
            return (compiled, None);
        }
        let words = problems.join(" ");
        compiled.filters = Filters::default();
        compiled.backends = Backends {
            shares: vec![Share { up_to: 1, goal: Goal::Failure(words.clone()), filters: None }],
            total: 1,
        };
        (compiled, Some(words))
    }

    /// Which of its matches is for this request, if any.
    pub(super) fn fits(&self, asked: &Asked<'_>) -> Option<&Match> {
        if self.matches.is_empty() && !self.nothing_fits {
            return Some(&ANYTHING);
        }
        self.matches.iter().find(|wanted| wanted.fits(asked))
    }

    /// Draws a backend by weight, by chance or by a key; nothing where none has any.
    pub(super) fn draw(&self, key: Option<u64>) -> Option<Drawn<'_>> {
        let share = match self.backends.shares.as_slice() {
            [] => return None,
            [only] => only,
            shares => {
                let total = self.backends.total;
                let drawn = key.map_or_else(|| fastrand::u64(..total), |key| key % total);
                shares.get(shares.partition_point(|share| share.up_to <= drawn))?
            }
        };
        Some(share.drawn())
    }

    /// All its backends that have a weight.
    pub(super) fn shares(&self) -> impl Iterator<Item = Drawn<'_>> {
        self.backends.shares.iter().map(Share::drawn)
    }
}

impl Share {
    fn drawn(&self) -> Drawn<'_> {
        let backend = match &self.goal {
            Goal::Cluster(number) => Backend::Cluster(*number),
            Goal::Failure(words) => Backend::Failure(words),
        };
        Drawn { backend, filters: self.filters.as_deref() }
    }
}

impl Backends {
    fn compile(
        told: Vec<table::Backend>,
        clusters: &BTreeMap<&str, usize>,
        at: &str,
    ) -> Result<Self, String> {
        let mut backends = Self::default();
        for (index, backend) in told.into_iter().enumerate() {
            let at = format!("{at}.backends[{index}]");
            let goal = match (backend.cluster, backend.failure) {
                (Some(name), None) => match clusters.get(name.as_str()) {
                    Some(number) => Goal::Cluster(*number),
                    None => return Err(format!("{at}.cluster: there is no cluster {name:?}.")),
                },
                (None, Some(words)) => Goal::Failure(words),
                _ => return Err(format!("{at}: must have either cluster or failure.")),
            };
            let filters = backend.filters.map(|filters| Filters::compile(filters, clusters, &at));
            let filters = filters.transpose()?.map(Box::new);
            if backend.weight > 0 {
                backends.total += u64::from(backend.weight);
                backends.shares.push(Share { up_to: backends.total, goal, filters });
            }
        }
        Ok(backends)
    }
}
