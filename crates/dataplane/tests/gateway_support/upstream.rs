//! Upstream servers that do as they are told.

use super::PATIENCE;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::Semaphore;

pub type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An HTTP server (HTTP/1.1 and h2c) in a thread, with a function for its requests.
pub struct Upstream {
    pub address: SocketAddr,
    /// Requests that came, connections that were opened, and those that are open.
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    pub open: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Closing(Arc<AtomicUsize>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream {
    pub fn start<F, A>(function: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), function)
    }

    /// Answers every request with this text.
    pub fn saying(text: &str) -> Self {
        let text = Bytes::from(text.to_owned());
        Self::start(move |_| {
            let text = text.clone();
            async move { Response::new(full(text)) }
        })
    }

    pub fn on<F, A>(listener: TcpListener, function: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = listener.local_addr().unwrap();
        let [requests, connections, open] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&open));
        runtime.spawn(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (requests, connections, open) = counts;
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let closing = Closing(Arc::clone(&open));
                let (function, requests) = (function.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let _closing = closing;
                    let service = service_fn(move |request| {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let answer = function(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests, connections, open, runtime: Some(runtime) }
    }

    pub fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Dies as by kill -9: everything it has is closed at once.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tests may be inside another runtime, where this may not block.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join().unwrap();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server that answers with what it read: the head as text, then the body.
pub fn echo() -> Upstream {
    Upstream::start(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        match body.collect().await {
            Ok(body) => bytes.extend_from_slice(&body.to_bytes()),
            Err(error) => bytes.extend_from_slice(format!("broken: {error}").as_bytes()),
        }
        Response::new(full(bytes))
    })
}

/// Answers once for each permit.
pub fn gated(gate: &Arc<Semaphore>) -> Upstream {
    let gate = Arc::clone(gate);
    Upstream::start(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("late"))
        }
    })
}
