//! Spans of gRPC calls.

use crate::collector::{attributes, error_code, hex, Collector};
use crate::served::{call_grpc, grpc_row, server, INFER, PARENT, TRACE};
use modelport_dataplane::codec::grpc::proto::ModelStreamInferResponse;
use prost::Message;
use std::collections::BTreeMap;

#[test]
fn a_grpc_call_is_a_span_too() {
    for (model, code, http) in [("sum", "0", 200), ("none", "5", 404), ("fails", "13", 500)] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        let sent = [("traceparent", PARENT), ("x-request-id", "of-the-call")];
        let (headers, _) = call_grpc(running.address, INFER, &sent, &grpc_row(model));
        assert_eq!(headers["grpc-status"], code);
        assert_eq!(headers["x-request-id"], "of-the-call");
        let (span, children) = collector.only();
        assert_eq!(span.name, "inference.GRPCInferenceService/ModelInfer");
        assert_eq!(
            (hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()),
            (TRACE, "b7ad6b7169203331")
        );
        let mut expected = BTreeMap::from([
            ("modelport.model.name", model.to_owned()),
            ("modelport.protocol", "grpc".to_owned()),
            ("modelport.request.id", "of-the-call".to_owned()),
            ("rpc.grpc.status_code", code.to_owned()),
            ("rpc.method", "ModelInfer".to_owned()),
            ("rpc.service", "inference.GRPCInferenceService".to_owned()),
            ("rpc.system", "grpc".to_owned()),
        ]);
        if http == 500 {
            expected.insert("error.type", code.to_owned());
        }
        assert_eq!(attributes(&span.attributes), expected);
        assert_eq!(error_code(&span), if http == 500 { 2 } else { 0 });
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        let all = ["decode", "queue", "predict", "encode"];
        assert_eq!(
            names,
            &all[..match http {
                200 => 4,
                500 => 3,
                _ => 0,
            }],
            "{model}"
        );
    }
}

#[test]
fn a_grpc_call_that_no_handler_sees_has_its_span() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    let (headers, _) = call_grpc(running.address, INFER, &[], b"\xff\xff\xff");
    assert_ne!(headers["grpc-status"], "0");
    let (span, children) = collector.only();
    assert_eq!(
        attributes(&span.attributes)["rpc.grpc.status_code"],
        headers["grpc-status"].to_str().unwrap()
    );
    assert!(children.is_empty());
}

#[test]
fn each_request_of_a_grpc_stream_is_a_span() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let (_, answer) = call_grpc(running.address, path, &[("traceparent", PARENT)], &grpc_row("sum"));
    assert_eq!(ModelStreamInferResponse::decode(answer).unwrap().error_message, "");
    let (span, children) = collector.only();
    assert_eq!(span.name, "inference.GRPCInferenceService/ModelStreamInfer");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(children.len(), 4);
}
