//! The control plane's side: HTTP over a Unix socket.
//!
//! ```text
//! POST /reload                                read the table now; what of it is left out; 422 with words where it is broken
//! GET  /status[?at_least=N][&timeout_ms=M]    the version in force, once it is N or later; 408 where it is not in time
//! GET  /demand[?after=C][&timeout_ms=M]       what each cluster has to do, once a request has begun to wait since C
//! GET  /unknown-keys[?after=C][&timeout_ms=M]  issuers whose tokens came with unknown keys since C, once there are some
//! GET  /metrics                               Prometheus text
//! ```

use super::run::Gateway;
use super::socket::{is_ours, Socket};
use bytes::Bytes;
use http::header::{HeaderValue, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{json, Map, Value};
use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::time::Duration;

/// So long is waited for what was asked for.
const LONGEST: Duration = Duration::from_secs(60);

type Answer = Response<Full<Bytes>>;

/// Answers until the process ends.
pub(super) async fn serve(socket: Socket, gateway: Arc<Gateway>) {
    loop {
        let stream = match socket.listener.accept().await {
            Ok((stream, _)) if is_ours(&stream) => stream,
            Ok(_) => continue,
            Err(error) => {
                gateway.log.warn(format_args!("admin socket: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(answer(&gateway, &request).await) }
            });
            // A broken connection is the caller's to notice.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(gateway: &Arc<Gateway>, request: &Request<Incoming>) -> Answer {
    let query = Query(request.uri().query().unwrap_or_default());
    let answered = match (request.method(), request.uri().path()) {
        (&Method::POST, "/reload") => Ok(reload(gateway).await),
        (&Method::GET, "/status") => match query.numbers(["at_least", "timeout_ms"]) {
            Ok([at_least, timeout]) => Ok(status(gateway, at_least, timeout).await),
            Err(words) => Err((StatusCode::BAD_REQUEST, words)),
        },
        (&Method::GET, "/demand") => match query.numbers(["after", "timeout_ms"]) {
            Ok([after, timeout]) => Ok(demand(gateway, after, timeout).await),
            Err(words) => Err((StatusCode::BAD_REQUEST, words)),
        },
        (&Method::GET, "/unknown-keys") => match query.numbers(["after", "timeout_ms"]) {
            Ok([after, timeout]) => Ok(unknown_keys(gateway, after, timeout).await),
            Err(words) => Err((StatusCode::BAD_REQUEST, words)),
        },
        (&Method::GET, "/metrics") => Ok(metrics(gateway)),
        (_, "/reload" | "/status" | "/demand" | "/unknown-keys" | "/metrics") => {
            Err((StatusCode::METHOD_NOT_ALLOWED, "POST /reload, GET all else.".to_owned()))
        }
        (_, path) => {
            let words =
                format!("There is no {path}: only /reload, /status, /demand, /unknown-keys and /metrics.");
            Err((StatusCode::NOT_FOUND, words))
        }
    };
    answered.unwrap_or_else(|(status, words)| json_answer(status, &json!({ "error": words })))
}

/// A request's query.
struct Query<'a>(&'a str);

impl Query<'_> {
    /// The numbers with these names, where there are such; or what is wrong with them.
    fn numbers<const N: usize>(&self, names: [&str; N]) -> Result<[Option<u64>; N], String> {
        let mut numbers = [None; N];
        for (number, name) in numbers.iter_mut().zip(names) {
            let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
            if let Some((_, value)) = pairs.find(|(key, _)| *key == name) {
                let parsed = value.parse();
                *number = Some(
                    parsed
                        .map_err(|_| format!("{name}: must be a whole number from 0 on, got {value:?}."))?,
                );
            }
        }
        Ok(numbers)
    }
}

async fn reload(gateway: &Arc<Gateway>) -> Answer {
    match gateway.reload().await {
        Ok(version) => {
            let live = gateway.live();
            let problems: Vec<Value> = (live.routes.problems.iter())
                .map(|problem| json!({ "route": problem.route, "message": problem.message }))
                .collect();
            json_answer(StatusCode::OK, &json!({ "version": version, "problems": problems }))
        }
        Err(problem) => {
            let version = gateway.live().version;
            json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "error": problem, "version": version }))
        }
    }
}

/// The idle connections to endpoints that left are closed with the swap itself, so the version says it all.
async fn status(gateway: &Arc<Gateway>, at_least: Option<u64>, timeout_ms: Option<u64>) -> Answer {
    let wanted = at_least.unwrap_or(0);
    let mut table = gateway.table.subscribe();
    let reached = table.wait_for(|live| live.version >= wanted);
    let reached = tokio::time::timeout(patience(timeout_ms), reached).await.is_ok();
    // Connections that were just dropped close when their tasks have run.
    tokio::task::yield_now().await;
    let live = gateway.live();
    let status = if reached { StatusCode::OK } else { StatusCode::REQUEST_TIMEOUT };
    let body = json!({
        "version": live.version,
        "problem": gateway.problem(),
        "draining": gateway.is_finishing(),
    });
    json_answer(status, &body)
}

async fn demand(gateway: &Arc<Gateway>, after: Option<u64>, timeout_ms: Option<u64>) -> Answer {
    let mut news = gateway.news.subscribe();
    if let Some(after) = after {
        let newer = news.wait_for(|count| *count > after);
        let _ = tokio::time::timeout(patience(timeout_ms), newer).await;
    }
    let cursor = *news.borrow();
    let live = gateway.live();
    let clusters: Map<String, Value> = live
        .clusters
        .iter()
        .map(|cluster| {
            let counts = &cluster.counts;
            let held = counts.held.load(Relaxed);
            let (idle, shared) = cluster
                .endpoints()
                .iter()
                .map(|endpoint| endpoint.pool.sizes())
                .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
            let demand = json!({
                "in_flight": counts.in_flight.load(Relaxed).saturating_sub(held),
                "held": held,
                "requests_total": counts.requests.load(Relaxed),
                "concurrency_seconds_total": counts.concurrency_seconds(gateway.started),
                "idle_connections": idle,
                "http2_connections": shared,
            });
            (cluster.name.clone(), demand)
        })
        .collect();
    json_answer(StatusCode::OK, &json!({"version": live.version, "cursor": cursor, "clusters": clusters}))
}

async fn unknown_keys(gateway: &Arc<Gateway>, after: Option<u64>, timeout_ms: Option<u64>) -> Answer {
    let mut count = gateway.strangers.count();
    if let Some(after) = after {
        let newer = count.wait_for(|count| *count > after);
        let _ = tokio::time::timeout(patience(timeout_ms), newer).await;
    }
    let cursor = *count.borrow();
    let issuers = gateway.strangers.since(after.unwrap_or(cursor));
    json_answer(StatusCode::OK, &json!({ "cursor": cursor, "issuers": issuers }))
}

fn metrics(gateway: &Gateway) -> Answer {
    let live = gateway.live();
    let text = gateway.metrics.render(live.version, &live.clusters);
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    let media = HeaderValue::from_static(crate::metrics::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, media);
    answer
}

fn patience(timeout_ms: Option<u64>) -> Duration {
    timeout_ms.map_or(LONGEST, |ms| Duration::from_millis(ms).min(LONGEST))
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
