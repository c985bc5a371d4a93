//! `/metrics`: of this process, or of all the processes that share a port.

use super::reply::{self, Reply};
use crate::metrics;
use crate::model::Server;
use futures_util::future::join_all;
use http::{header::HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::net::UnixStream;

type Failure = Box<dyn Error + Send + Sync>;

/// A sibling that takes longer is left out: a scrape must not hang on a stuck process.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /metrics`; `local` leaves the siblings out.
pub(super) async fn metrics(server: &Server, local: bool) -> Response<Reply> {
    let own = metrics::render(server);
    let peers: Vec<PathBuf> =
        if local { Vec::new() } else { server.peers.read().unwrap_or_else(PoisonError::into_inner).clone() };
    let text = if peers.is_empty() {
        own
    } else {
        let theirs = join_all(peers.iter().map(|path| tokio::time::timeout(PATIENCE, ask(path)))).await;
        let mut all = vec![own];
        all.extend(theirs.into_iter().filter_map(|text| text.ok()?.ok()));
        metrics::merge(&all)
    };
    reply::full(200, HeaderValue::from_static(metrics::CONTENT_TYPE), text.into())
}

async fn ask(path: &Path) -> Result<String, Failure> {
    let stream = UnixStream::connect(path).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let request = Request::get("/metrics").header("host", "peer").body(Empty::<bytes::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()).into());
        }
        Ok::<_, Failure>(response.into_body().collect().await?.to_bytes())
    };
    // Dropped with this future, so that a slow sibling leaves nothing behind.
    let body = tokio::select! {
        body = exchange => body?,
        ended = connection => { ended?; return Err("the connection ended".into()) }
    };
    Ok(String::from_utf8(body.to_vec())?)
}
