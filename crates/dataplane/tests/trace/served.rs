//! The server under test, and how it is asked.

use crate::support;
use crate::support::{Running, Setup};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use modelport_dataplane::codec::grpc::proto::model_infer_request::InferInputTensor;
use modelport_dataplane::codec::grpc::proto::ModelInferRequest;
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::message::{Answer, Protocol};
use modelport_dataplane::model::Options;
use modelport_dataplane::trace::Settings;
use prost::Message;
use std::net::SocketAddr;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub(crate) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
pub(crate) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
pub(crate) const BODY: &str = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}"#;

/// `sum`; `listener`, which answers with what it saw of the trace; `fails`.
pub(crate) fn server(tracing: Option<Settings>) -> Running {
    let mut setup = Setup::new();
    setup.sum(None);
    let listening = Options { wants_headers: true, ..Options::default() };
    setup.function("listener", listening, |call| {
        let saw = |name: &str| {
            let mut values =
                call.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
            let value = values.next();
            assert_eq!(values.next(), None, "{name} comes twice");
            value
        };
        let body = serde_json::json!([saw("traceparent"), saw("tracestate")]).to_string();
        if call.protocol == Protocol::Grpc {
            return Err(Error::new(Kind::Status(409), body));
        }
        let content_type = "application/json".to_owned();
        Ok(Answer::Raw { status: 200, content_type, headers: Vec::new(), body: body.into() })
    });
    setup.function("fails", Options::default(), |_| {
        Err(Error::new(Kind::Model, "ValueError: no such flower"))
    });
    setup.config.tracing = tracing;
    setup.start()
}

pub(crate) fn post(running: &Running, path: &str, headers: &[(&str, &str)], body: &str) -> support::Reply {
    running.client().request("POST", path, headers, body.as_bytes())
}

/// A call over HTTP/2: its headers and trailers, and its message.
pub(crate) fn call_grpc(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> (http::HeaderMap, Bytes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            sender.send_request(request.body(Full::new(Bytes::from(framed))).unwrap()).await.unwrap();
        let mut headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        headers.extend(body.trailers().cloned().unwrap_or_default());
        let body = body.to_bytes();
        (headers, if body.len() > 5 { body.slice(5..) } else { Bytes::new() })
    })
}

pub(crate) fn grpc_row(model: &str) -> Vec<u8> {
    let x = InferInputTensor {
        name: "x".into(),
        datatype: "FP64".into(),
        shape: vec![1, 4],
        ..InferInputTensor::default()
    };
    let values: Vec<u8> = [1.0f64; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    ModelInferRequest {
        model_name: model.into(),
        id: "mine".into(),
        inputs: vec![x],
        raw_input_contents: vec![values.into()],
        ..ModelInferRequest::default()
    }
    .encode_to_vec()
}
