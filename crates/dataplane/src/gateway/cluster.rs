//! A cluster: its endpoints, who of them may be asked, and how many requests are under way or held.
//!
//! A cluster outlives the tables that name it, so that requests that are held see the endpoints that come.

use super::budget::Budget;
pub(super) use super::counts::{Counts, Held, UnderWay};
pub(super) use super::endpoint::{Endpoint, Load};
use super::outlier;
use super::table::{self, Outlier, Speech};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A Service's port.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: String,
    settings: RwLock<Arc<Settings>>,
    /// Rings when there may be an endpoint for those who wait.
    changed: Notify,
    gone: AtomicBool,
    pub(super) budget: Budget,
    pub(super) counts: Counts,
}

/// What the table says of a cluster.
#[derive(Debug)]
pub(super) struct Settings {
    endpoints: Vec<Arc<Endpoint>>,
    pub(super) speech: Speech,
    pub(super) hold: Duration,
    pub(super) hold_limit: usize,
    outlier: Option<Outlier>,
}

/// Whom to ask.
#[derive(Debug)]
pub(super) enum Choice {
    /// This one.
    Endpoint(Arc<Endpoint>),
    /// Nobody now; perhaps then, or when `changed` rings.
    Nobody(Option<Instant>),
    /// The table has no such cluster any more.
    Gone,
}

impl Cluster {
    pub(super) fn new(name: &str) -> Self {
        let settings = Settings {
            endpoints: Vec::new(),
            speech: Speech::Auto,
            hold: Duration::ZERO,
            hold_limit: 0,
            outlier: None,
        };
        Self {
            name: name.to_owned(),
            settings: RwLock::new(Arc::new(settings)),
            changed: Notify::new(),
            gone: AtomicBool::new(false),
            budget: Budget::new(),
            counts: Counts::default(),
        }
    }

    /// What the table says of it now.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what the table says; endpoints that left lose their idle connections at once.
    pub(super) fn update(&self, told: &table::Cluster, addresses: &[SocketAddr]) {
        let old = self.settings();
        let known = |address: &SocketAddr| old.endpoints.iter().find(|one| one.address == *address);
        let endpoints: Vec<_> = addresses
            .iter()
            .map(|address| known(address).map_or_else(|| Arc::new(Endpoint::new(*address)), Arc::clone))
            .collect();
        let settings = Arc::new(Settings {
            endpoints,
            speech: told.protocol,
            hold: Duration::from_millis(told.hold_ms),
            hold_limit: told.hold_limit,
            outlier: told.outlier,
        });
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
        self.gone.store(false, Relaxed);
        for endpoint in &old.endpoints {
            if !settings.endpoints.iter().any(|one| Arc::ptr_eq(one, endpoint)) {
                endpoint.pool.retire();
            }
        }
        self.changed.notify_waiters();
    }

    /// The table has no such cluster any more: those who wait look for another.
    pub(super) fn remove(&self) {
        self.gone.store(true, Relaxed);
        let settings = self.settings();
        for endpoint in &settings.endpoints {
            endpoint.pool.retire();
        }
        self.changed.notify_waiters();
    }

    /// How its endpoints are spoken to.
    pub(super) fn speech(&self) -> Speech {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).speech
    }

    /// Rings when it is worth choosing again. To be made before choosing, or the bell is missed.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// The less busy of two endpoints, out of those that do not refuse; `avoid` only where there is no other.
    pub(super) fn choose(&self, avoid: Option<SocketAddr>) -> Choice {
        if self.gone.load(Relaxed) {
            return Choice::Gone;
        }
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let endpoints = &settings.endpoints;
        let healthy = |endpoint: &&Arc<Endpoint>| !endpoint.refuses() && !endpoint.record.is_out();
        let wanted = |endpoint: &&Arc<Endpoint>| healthy(endpoint) && Some(endpoint.address) != avoid;
        let chosen = match endpoints.as_slice() {
            [] => return Choice::Nobody(None),
            [only] => (!only.refuses()).then_some(only),
            all => {
                let first = fastrand::usize(..all.len());
                let second = (first + 1 + fastrand::usize(..all.len() - 1)) % all.len();
                let two = || [all.get(first), all.get(second)].into_iter().flatten();
                // One that refused is tried again while the others do its work: nobody waits for that.
                two()
                    .find(|endpoint| endpoint.refuses() && endpoint.probe(Instant::now()))
                    .or_else(|| two().filter(wanted).min_by_key(|endpoint| endpoint.load()))
                    .or_else(|| all.iter().filter(wanted).min_by_key(|endpoint| endpoint.load()))
                    .or_else(|| all.iter().find(healthy))
                    .or_else(|| all.iter().find(|endpoint| !endpoint.refuses()))
            }
        };
        if let Some(endpoint) = chosen {
            return Choice::Endpoint(Arc::clone(endpoint));
        }
        let now = Instant::now();
        if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.probe(now)) {
            return Choice::Endpoint(Arc::clone(endpoint));
        }
        Choice::Nobody(endpoints.iter().filter_map(|endpoint| endpoint.again_at()).min())
    }

    /// Takes a place among those who wait; none where there are too many.
    pub(super) fn hold(&self, limit: usize) -> Option<Held<'_>> {
        let held = &self.counts.held;
        held.fetch_update(Relaxed, Relaxed, |held| (held < limit).then_some(held + 1)).ok()?;
        self.counts.held_ever.fetch_add(1, Relaxed);
        Some(Held::new(&self.counts))
    }

    /// An endpoint has answered with this status, or is to blame for it.
    pub(super) fn heard(&self, endpoint: &Endpoint, status: http::StatusCode) {
        if !outlier::is_failure(status) {
            return endpoint.record.answered();
        }
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        let Some(outlier) = settings.outlier else { return };
        if !endpoint.record.failed(outlier.failures) || endpoint.record.is_out() {
            return;
        }
        // At least half of them go on.
        let out = settings.endpoints.iter().filter(|one| one.record.is_out()).count();
        if (out + 1) * 2 <= settings.endpoints.len() {
            endpoint.record.eject(Duration::from_millis(outlier.eject_ms));
            self.counts.ejections.fetch_add(1, Relaxed);
        }
    }

    /// An endpoint took a connection.
    pub(super) fn connected(&self, endpoint: &Endpoint) {
        self.counts.connects.fetch_add(1, Relaxed);
        if endpoint.recover() {
            self.changed.notify_waiters();
        }
    }

    /// An endpoint refused a connection.
    pub(super) fn refused(&self, endpoint: &Endpoint) {
        self.counts.connects.fetch_add(1, Relaxed);
        self.counts.connects_failed.fetch_add(1, Relaxed);
        endpoint.refuse();
    }

    /// Its endpoints now.
    pub(super) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.settings().endpoints.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn cluster(ports: &[u16]) -> Cluster {
        let cluster = Cluster::new("c");
        update(&cluster, ports);
        cluster
    }

    fn update(cluster: &Cluster, ports: &[u16]) {
        let addresses: Vec<SocketAddr> = ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect();
        cluster.update(&serde_json::from_str("{}").unwrap(), &addresses);
    }

    fn chosen(cluster: &Cluster) -> Arc<Endpoint> {
        match cluster.choose(None) {
            Choice::Endpoint(endpoint) => endpoint,
            other => panic!("{other:?}"),
        }
    }

    fn nobody(cluster: &Cluster) -> Option<Instant> {
        match cluster.choose(None) {
            Choice::Nobody(until) => until,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_less_busy_of_two_is_asked() {
        let cluster = cluster(&[1, 2]);
        let busy = chosen(&cluster);
        let _load = busy.enter();
        for _ in 0..100 {
            assert_ne!(chosen(&cluster).address, busy.address);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_just_failed_is_asked_again_only_where_there_is_no_other() {
        let cluster = cluster(&[1, 2]);
        let first = chosen(&cluster);
        for _ in 0..100 {
            let Choice::Endpoint(other) = cluster.choose(Some(first.address)) else { panic!() };
            assert_ne!(other.address, first.address);
        }
        update(&cluster, &[first.address.port()]);
        assert!(matches!(cluster.choose(Some(first.address)), Choice::Endpoint(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_again_and_again_is_left_alone_for_longer_each_time() {
        let cluster = Cluster::new("c");
        let addresses: Vec<SocketAddr> = [1, 2, 3].map(|port| ([127, 0, 0, 1], port).into()).to_vec();
        let told = serde_json::json!({"outlier": {"failures": 3, "eject_ms": 10_000}});
        cluster.update(&serde_json::from_value(told).unwrap(), &addresses);
        let [bad, other, good] = <[Arc<Endpoint>; 3]>::try_from(cluster.endpoints()).unwrap();
        let failing = |endpoint: &Endpoint, times| {
            for _ in 0..times {
                cluster.heard(endpoint, http::StatusCode::BAD_GATEWAY);
            }
        };
        let is_asked = |endpoint: &Endpoint| (0..200).any(|_| chosen(&cluster).address == endpoint.address);
        failing(&bad, 2);
        cluster.heard(&bad, http::StatusCode::INTERNAL_SERVER_ERROR);
        failing(&bad, 2);
        assert!(is_asked(&bad));
        for seconds in [10, 20, 30] {
            failing(&bad, 3);
            assert!(!is_asked(&bad));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - 1)).await;
            assert!(!is_asked(&bad), "{seconds}");
            tokio::time::advance(Duration::from_millis(2)).await;
            assert!(is_asked(&bad), "{seconds}");
        }
        // Of three, one may be out and no more.
        failing(&bad, 3);
        failing(&other, 30);
        assert!(!is_asked(&bad) && is_asked(&other) && is_asked(&good));
        assert_eq!(cluster.counts.ejections.load(Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn load_is_spread_over_all() {
        let cluster = cluster(&[1, 2, 3, 4, 5]);
        let loads: Vec<_> = (0..1000).map(|_| chosen(&cluster).enter()).collect();
        for endpoint in cluster.endpoints() {
            assert!((180..220).contains(&endpoint.load()), "{}", endpoint.load());
        }
        drop(loads);
        assert!(cluster.endpoints().iter().all(|endpoint| endpoint.load() == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_is_left_alone_and_then_asked_by_one() {
        let cluster = cluster(&[1, 2]);
        let dead = chosen(&cluster);
        cluster.refused(&dead);
        for _ in 0..100 {
            assert_ne!(chosen(&cluster).address, dead.address);
        }
        tokio::time::advance(Duration::from_millis(10)).await;
        // Now it is tried once, and then left alone again.
        let tried = (0..100).filter(|_| chosen(&cluster).address == dead.address).count();
        assert_eq!(tried, 1);
        cluster.connected(&dead);
        cluster.refused(&dead);
        let other = chosen(&cluster);
        cluster.refused(&other);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let now = Instant::now();
            let until = nobody(&cluster).unwrap();
            pauses.push((until - now).as_millis());
            tokio::time::advance(until - now).await;
            // Both are due, each for one prober; all others wait.
            let probed = [chosen(&cluster), chosen(&cluster)];
            assert_ne!(probed[0].address, probed[1].address);
            nobody(&cluster).unwrap();
            cluster.refused(&probed[0]);
            cluster.refused(&probed[1]);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 200, 200, 200]);
        cluster.connected(&dead);
        assert_eq!(chosen(&cluster).address, dead.address);
        // Recovered, it begins with a short pause again.
        cluster.refused(&dead);
        assert_eq!((nobody(&cluster).unwrap() - Instant::now()).as_millis(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_hear_of_a_new_endpoint() {
        let cluster = cluster(&[]);
        let bell = cluster.changed();
        assert!(nobody(&cluster).is_none());
        update(&cluster, &[1]);
        bell.await;
        assert_eq!(chosen(&cluster).address.port(), 1);
        let bell = cluster.changed();
        cluster.remove();
        bell.await;
        assert!(matches!(cluster.choose(None), Choice::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_stays_keeps_its_connections() {
        let cluster = cluster(&[1, 2]);
        let before = cluster.endpoints();
        update(&cluster, &[2, 3]);
        let after = cluster.endpoints();
        assert!(Arc::ptr_eq(&before[1], &after[0]));
        assert!(before[0].pool.is_retired() && !before[1].pool.is_retired());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_held() {
        let cluster = cluster(&[]);
        let first = cluster.hold(2).unwrap();
        let second = cluster.hold(2).unwrap();
        assert!(cluster.hold(2).is_none());
        drop(first);
        assert!(cluster.hold(2).is_some());
        drop(second);
        assert_eq!(cluster.counts.held.load(Relaxed), 0);
        assert_eq!(cluster.counts.held_ever.load(Relaxed), 3);
    }
}
