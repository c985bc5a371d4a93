//! The ceiling: a server that reads a request's body and answers a constant.
//!
//! It speaks HTTP/1.1 and h2c on one port: a V2 JSON answer for REST, an empty message with
//! `grpc-status: 0` for gRPC. No server that also decodes, predicts and encodes can be faster.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{combinators::BoxBody, BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

const JSON: &[u8] =
    br#"{"model_name":"sink","outputs":[{"name":"output-0","datatype":"FP32","shape":[1],"data":[0.0]}]}"#;
/// The prefix of a message of no bytes: all fields at their defaults.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// Serves until the process ends.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().pipeline_flush(true);
    builder
        .http2()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let builder = builder.clone();
        tokio::spawn(async move {
            // A client that breaks off is its own business.
            let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

/// Binds `address`, for a message that names it when that fails.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    let mut response = if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Frame::data(Bytes::from_static(EMPTY_MESSAGE)), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok));
        Response::new(BodyExt::boxed(http_body_util::StreamBody::new(frames)))
    } else {
        Response::new(BodyExt::boxed(Full::new(Bytes::from_static(JSON))))
    };
    let kind = if grpc { "application/grpc" } else { "application/json" };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}
