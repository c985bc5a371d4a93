//! What is recorded of a request: its span, with its stages below it.

use crate::collector::{attributes, counted, error_code, hex, Collector, DROPPED, EXPORTED};
use crate::served::{call_grpc, post, server, BODY, PARENT, TRACE};
use crate::support::{numbers, row, tensor, wait_for};
use modelport_dataplane::batch::{Batching, Completions, Parking, Queue};
use modelport_dataplane::message::{Call, InferRequest, Payload, Protocol, Verb};
use modelport_dataplane::trace::BatchSize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn a_request_is_a_span_with_its_stages_below_it() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[
        ("OTEL_SERVICE_NAME", "flowers"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,team=a%20b,service.name=lost"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20secret,x-scope=1"),
    ])));
    let headers = [("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("x-request-id", "mine")];
    assert_eq!(post(&running, "/v2/models/sum/infer?q=secret", &headers, &row([1.0; 4])).status, 200);

    let (span, children) = collector.only();
    assert_eq!(span.name, "POST /v2/models/{model}/infer");
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_ne!(hex(&span.span_id), "b7ad6b7169203331");
    assert_eq!((span.flags, error_code(&span)), (0x301, 0));
    assert_eq!(span.trace_state, "a=1,b=2");
    let expected = BTreeMap::from([
        ("http.request.method", "POST".to_owned()),
        ("http.response.status_code", "200".to_owned()),
        ("http.route", "/v2/models/{model}/infer".to_owned()),
        ("modelport.model.name", "sum".to_owned()),
        ("modelport.protocol", "v2".to_owned()),
        ("modelport.request.id", "mine".to_owned()),
        ("url.path", "/v2/models/sum/infer".to_owned()),
    ]);
    assert_eq!(attributes(&span.attributes), expected);

    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["decode", "queue", "predict", "encode"]);
    let mut ids = vec![span.span_id.clone()];
    let mut last = span.start_time_unix_nano;
    for child in &children {
        assert_eq!((&child.trace_id, &child.parent_span_id), (&span.trace_id, &span.span_id));
        assert_eq!((child.kind, child.flags, child.trace_state.as_str()), (1, 0x101, "a=1,b=2"));
        assert!(last <= child.start_time_unix_nano && child.start_time_unix_nano <= child.end_time_unix_nano);
        last = child.start_time_unix_nano;
        assert!(child.end_time_unix_nano <= span.end_time_unix_nano);
        ids.push(child.span_id.clone());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    let batch = BTreeMap::from([
        ("modelport.batch.requests", "1".to_owned()),
        ("modelport.batch.rows", "1".to_owned()),
    ]);
    assert_eq!(attributes(&children[2].attributes), batch);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(now.abs_diff(u128::from(span.start_time_unix_nano)) < 60_000_000_000);

    wait_for("the count", || counted(&running.server, EXPORTED) == 5);
    let got = collector.got.lock().unwrap();
    let (headers, request) = &got[0];
    assert_eq!(
        (&headers["authorization"], &headers["x-scope"]),
        (&"Bearer secret".parse().unwrap(), &"1".parse().unwrap())
    );
    let resource = attributes(&request.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("flowers", "a b"));
    assert_eq!(resource["service.version"], "1.2.3");
    assert_eq!(resource["deployment.environment"], "test");
    assert!(resource.contains_key("service.instance.id"));
}

#[test]
fn names_are_routes_and_failures_of_ours_are_errors() {
    for (path, body, name, status, message) in [
        (
            "/v1/models/sum:predict",
            r#"{"instances": [[1, 2, 3, 4]]}"#,
            "POST /v1/models/{model}:predict",
            200,
            None,
        ),
        ("/v1/models/sum:explain", "{}", "POST /v1/models/{model}:explain", 501, Some("no explainer")),
        ("/v2/models/sum/infer", "{}", "POST /v2/models/{model}/infer", 400, None),
        ("/v2/models/none/infer", "{}", "POST /v2/models/{model}/infer", 404, None),
        (
            "/v2/models/sum/versions/3/infer",
            "{}",
            "POST /v2/models/{model}/versions/{version}/infer",
            404,
            None,
        ),
        ("/v2/models/fails/infer", BODY, "POST /v2/models/{model}/infer", 500, Some("no such flower")),
    ] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        assert_eq!(post(&running, path, &[], body).status, status, "{path}");
        let (span, _) = collector.only();
        assert_eq!(span.name, name);
        assert!(span.parent_span_id.is_empty(), "{path}");
        assert_eq!(span.flags, 0x101);
        let given = attributes(&span.attributes);
        assert_eq!(given["http.response.status_code"], status.to_string());
        assert_eq!(given.get("error.type").cloned(), message.map(|_| status.to_string()), "{path}");
        assert_eq!(error_code(&span), if message.is_some() { 2 } else { 0 }, "{path}");
        if let Some(message) = message {
            assert!(span.status.unwrap().message.contains(message), "{path}");
        }
    }
}

#[test]
fn health_metadata_and_metrics_are_not_traced() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    for path in [
        "/",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
        "/v2/models/sum",
        "/v1/models/sum",
        "/nothing",
    ] {
        running.client().request("GET", path, &[("traceparent", PARENT)], b"");
    }
    call_grpc(running.address, "/inference.GRPCInferenceService/ServerLive", &[("traceparent", PARENT)], b"");
    let server = Arc::clone(&running.server);
    drop(running);
    assert_eq!((collector.asked(), counted(&server, DROPPED), counted(&server, EXPORTED)), (0, 0, 0));
}

#[test]
fn requests_of_one_batch_share_its_size_and_interval() {
    let completions = Arc::new(Completions::default());
    let queue = Queue::new(Batching::default(), Arc::clone(&completions), Arc::<Parking>::default());
    let push = |rows: usize| {
        let mut x = tensor("x", &vec![1.0; rows]);
        x.shape = vec![rows];
        let request = InferRequest { inputs: vec![x], ..InferRequest::default() };
        let call = Call {
            request_id: String::new(),
            verb: Verb::Predict,
            protocol: Protocol::V2,
            headers: Vec::new(),
            payload: Payload::Tensors(request),
            deadline: None,
        };
        queue.push(call, Instant::now()).unwrap()
    };
    let answers = [push(2), push(3), push(4)];
    let work = queue.take().unwrap();
    queue.complete(work.ticket, [(0, Ok(numbers(&[]))), (1, Ok(numbers(&[])))]);
    queue.complete(work.ticket, [(2, Ok(numbers(&[])))]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [one, two, alone] = runtime.block_on(async {
        tokio::spawn(async move { completions.deliver().await });
        let mut outcomes = Vec::new();
        for answer in answers {
            outcomes.push(answer.await.unwrap());
        }
        outcomes.try_into().unwrap()
    });
    assert_eq!((one.batch, two.batch), (BatchSize { requests: 2, rows: 5 }, one.batch));
    assert_eq!((one.taken_at, one.done_at), (two.taken_at, two.done_at));
    assert_eq!(alone.batch, BatchSize { requests: 1, rows: 4 });
}
