//! Connections to one endpoint that wait for their next request.
//!
//! An HTTP/1.1 connection has no task of its own: whoever uses it drives it (`http1`), so a request costs no
//! switch between tasks. HTTP/2 connections are shared and have tasks.

use super::http1::Http1;
use super::http2::Http2;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// So many idle HTTP/1.1 connections are kept.
const LARGEST: usize = 1024;

/// An idle connection is closed after so long. Servers close theirs too (uvicorn after 5 s), and a request that
/// is sent just then may be lost.
pub(super) const IDLE: Duration = Duration::from_secs(4);

/// One HTTP/2 connection is used for so many requests at once before another is opened: servers with several
/// processes give a connection to one of them.
pub(super) const STREAMS: usize = 32;

/// At most so many HTTP/2 connections; beyond, they take more requests each.
const SHARED: usize = 8;

/// So many requests have room on shared connections before these take more than they should.
pub(super) const ROOM: usize = STREAMS * SHARED;

/// Idle connections, and those that are shared.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// Held by whoever opens an HTTP/2 connection, so that a burst opens one.
    pub(super) opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    retired: bool,
    idle: Vec<(Http1, Instant)>,
    shared: Vec<Http2>,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that was used within `within`; dead ones are thrown away.
    pub(super) async fn take(&self, within: Duration) -> Option<Http1> {
        let now = Instant::now();
        poll_fn(|task| {
            loop {
                let (mut connection, since) = {
                    let mut state = self.state();
                    let Some(last) = state.idle.pop() else { return Poll::Ready(None) };
                    if now.saturating_duration_since(last.1) > within {
                        // The others wait even longer, but perhaps for somebody who minds less.
                        state.idle.push(last);
                        return Poll::Ready(None);
                    }
                    last
                };
                if now.saturating_duration_since(since) <= IDLE && connection.is_usable(task) {
                    return Poll::Ready(Some(connection));
                }
            }
        })
        .await
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, connection: Http1) {
        let Some(connection) = connection.rest() else { return };
        let mut state = self.state();
        if !state.retired && state.idle.len() < LARGEST {
            state.idle.push((connection, Instant::now()));
        }
    }

    /// The HTTP/2 connection with the fewest requests, unless another should be opened; `together`: the first that has
    /// room, so that those at once are written at once, however many connections a rush has left.
    pub(super) fn share(&self, together: bool) -> Option<Http2> {
        let mut state = self.state();
        state.shared.retain(Http2::is_open);
        if together {
            if let Some(first) = state.shared.iter().find(|connection| connection.streams() < STREAMS) {
                return Some(first.clone());
            }
        }
        let best = state.shared.iter().min_by_key(|connection| connection.streams())?;
        (best.streams() < STREAMS || state.shared.len() >= SHARED).then(|| best.clone())
    }

    /// Keeps a new HTTP/2 connection.
    pub(super) fn put_shared(&self, connection: &Http2) {
        let mut state = self.state();
        if !state.retired {
            state.shared.push(connection.clone());
        }
    }

    /// Forgets an HTTP/2 connection that takes no more requests.
    pub(super) fn drop_shared(&self, connection: &Http2) {
        self.state().shared.retain(|one| !one.is(connection));
    }

    /// Closes all that is idle, now and from now on.
    pub(super) fn retire(&self) {
        let (idle, shared) = {
            let mut state = self.state();
            state.retired = true;
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.shared))
        };
        drop((idle, shared));
    }

    /// Whether its endpoint has left the table.
    pub(super) fn is_retired(&self) -> bool {
        self.state().retired
    }

    /// Throws away what is dead or has been idle for too long.
    pub(super) fn sweep(&self) {
        let mut task = Context::from_waker(Waker::noop());
        let now = Instant::now();
        let mut dead = Vec::new();
        let mut state = self.state();
        let idle = std::mem::take(&mut state.idle);
        for (mut connection, since) in idle {
            if now.saturating_duration_since(since) <= IDLE && connection.is_usable(&mut task) {
                state.idle.push((connection, since));
            } else {
                dead.push(connection);
            }
        }
        state.shared.retain(|connection| connection.is_open() && !connection.is_idle_since(now));
        drop(state);
    }

    /// How many HTTP/1.1 connections are idle and how many HTTP/2 connections there are.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let state = self.state();
        (state.idle.len(), state.shared.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn requests_are_spread_over_connections_or_kept_together_up_to_their_room() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = Pool::default();
        for _ in 0..2 {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            pool.put_shared(&Http2::open(stream).await.unwrap());
        }
        let first = pool.share(true).unwrap();
        let mut entered = vec![first.enter()];
        assert!(!pool.share(false).unwrap().is(&first));
        while entered.len() < STREAMS {
            let next = pool.share(true).unwrap();
            assert!(next.is(&first));
            entered.push(next.enter());
        }
        assert!(!pool.share(true).unwrap().is(&first));
    }
}
