//! Predictions, their failures, and the headers that travel with them.

use super::bench::*;
use futures_util::{stream, StreamExt};
use modelport_dataplane::codec::grpc::proto;
use modelport_dataplane::codec::grpc::proto::model_infer_request::InferRequestedOutputTensor;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request};

#[test]
fn predictions_come_back_as_they_were_sent() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let answer = client.model_infer(with_id("7", one_float("echo", 1.5))).await.unwrap().into_inner();
        assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("echo", "2"));
        assert_eq!((answer.id.as_str(), answer.outputs.len()), ("7", 1));
        assert_eq!(answer.raw_output_contents, [1.5_f32.to_le_bytes().as_slice()]);

        let mut typed = one_float("echo", 0.0);
        typed.model_version = "1".into();
        typed.raw_input_contents.clear();
        typed.inputs[0].contents =
            Some(proto::InferTensorContents { fp32_contents: vec![2.5], ..Default::default() });
        let answer = client.model_infer(typed).await.unwrap().into_inner();
        assert_eq!(answer.model_version, "1");
        assert!(answer.raw_output_contents.is_empty());
        assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32_contents, [2.5]);
        assert_eq!(answer.id.len(), 36, "an id of ours: {:?}", answer.id);
    });
}

#[test]
fn mistakes_and_failures_have_their_codes() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut short = one_float("echo", 1.0);
        short.inputs[0].shape = vec![2];
        let mut unwanted = one_float("echo", 1.0);
        unwanted.outputs = vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }];
        let mut old = one_float("echo", 1.0);
        old.model_version = "3".into();
        for (request, code, message) in [
            (
                short,
                Code::InvalidArgument,
                "inputs[0] (\"x\"): its shape and FP32 need 8 bytes of raw contents, got 4.",
            ),
            (
                unwanted,
                Code::InvalidArgument,
                "outputs[0].name: the model has no output \"y\". It has \"x\".",
            ),
            (old, Code::NotFound, "Model with name echo has no version 3. Its versions: 1, 2."),
            (one_float("none", 1.0), Code::NotFound, "Model with name none does not exist."),
            (one_float("asleep", 1.0), Code::Unavailable, "Model with name asleep is not ready."),
            (
                one_float("full", 1.0),
                Code::ResourceExhausted,
                "The queue of model full is full (0 requests wait). Retry later.",
            ),
            (doing("fail"), Code::Internal, "ValueError: no such flower"),
            (doing("status"), Code::ResourceExhausted, "too many flowers"),
            (doing("raw"), Code::Internal, "model answered with a body that gRPC cannot carry"),
            (doing("raw-error"), Code::PermissionDenied, "no"),
            (
                doing("stream"),
                Code::Unimplemented,
                "Model echo answers with a stream, which gRPC does not carry here. Ask it over HTTP.",
            ),
        ] {
            let error = client.model_infer(request).await.unwrap_err();
            assert_eq!((error.code(), error.message()), (code, message));
        }
        let long = client.model_infer(doing("long")).await.unwrap_err();
        assert!(long.message().len() < 2000 && long.message().ends_with('…'));
        bench
            .until_metrics_say("modelport_rejected_total{model_name=\"full\",reason=\"queue_full\"} 1")
            .await;
    });
}

#[test]
fn a_deadline_ends_the_wait() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        for timeout in ["0n", "1m"] {
            let mut request = Request::new(doing("hold"));
            request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
            let error = client.model_infer(request).await.unwrap_err();
            assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
        }
        let mut request = Request::new(doing("echo"));
        request.metadata_mut().insert("grpc-timeout", "99999999H".parse().unwrap());
        client.model_infer(request).await.unwrap();
        let mut request = Request::new(doing("echo"));
        request.metadata_mut().insert("grpc-timeout", "1 minute".parse().unwrap());
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        bench
            .until_metrics_say(
                "modelport_rejected_total{model_name=\"echo\",version=\"2\",reason=\"deadline\"} 2",
            )
            .await;
    });
}

#[test]
fn a_client_that_goes_away_is_counted_as_cancelled() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let waiting = tokio::spawn(async move { client.model_infer(doing("hold")).await });
        let flying = "modelport_in_flight_requests{model_name=\"echo\",version=\"2\"}";
        bench.until_metrics_say(&format!("{flying} 1")).await;
        waiting.abort();
        bench.until_metrics_say(&format!("{flying} 0")).await;
        bench
            .until_metrics_say(
                "modelport_rejected_total{model_name=\"echo\",version=\"2\",reason=\"cancelled\"} 1",
            )
            .await;
    });
}

#[test]
fn metadata_reaches_models_that_want_it_and_comes_back() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut ask = async |model: &str| {
            let mut request = Request::new(with_id("of-the-message", one_float(model, 1.0)));
            let metadata = request.metadata_mut();
            metadata.insert("x-colour", "blue".parse().unwrap());
            metadata.insert_bin("x-data-bin", tonic::metadata::MetadataValue::from_bytes(b"\0"));
            metadata.insert("x-request-id", "of-the-call".parse().unwrap());
            client.model_infer(request).await.unwrap()
        };
        let answer = ask("listener").await;
        let saw = |name: &str| answer.metadata().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(saw("saw-x-colour"), Some("blue"));
        assert_eq!(saw("saw-x-request-id"), Some("of-the-call"));
        for hidden in ["saw-x-data-bin", "saw-te", "saw-content-type", "content-length", "bad-value"] {
            assert_eq!(saw(hidden), None, "{hidden}");
        }
        assert_eq!(saw("saw-id"), Some("of-the-call"));
        assert_eq!(answer.get_ref().id, "of-the-message");

        let answer = ask("echo").await;
        assert!(answer.metadata().get("saw-x-colour").is_none(), "it does not want headers");
    });
}

/// Without it nobody finds a client's call in the server's logs and traces.
#[test]
fn every_answer_has_the_id_of_its_call() {
    fn of(metadata: &MetadataMap) -> Vec<&str> {
        metadata.get_all("x-request-id").iter().map(|id| id.to_str().unwrap()).collect()
    }
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut ask = async |model: &str, id: Option<&str>| {
            let mut request = Request::new(with_id("of-the-message", one_float(model, 1.0)));
            if let Some(id) = id {
                request.metadata_mut().insert("x-request-id", id.parse().unwrap());
            }
            client.model_infer(request).await
        };
        let answer = ask("echo", Some("mine")).await.unwrap();
        assert_eq!(of(answer.metadata()), ["mine"]);
        let refused = ask("none", Some("mine")).await.unwrap_err();
        assert_eq!(of(refused.metadata()), ["mine"]);

        let long = "x".repeat(257);
        for id in [None, Some(""), Some(&*long)] {
            let answer = ask("echo", id).await.unwrap();
            let [ours] = of(answer.metadata())[..] else { panic!("{:?}", answer.metadata()) };
            assert_eq!(ours.len(), 36, "{id:?}");
            assert_eq!(answer.metadata().get("saw-id").unwrap(), ours, "the model hears of it too");
            assert_eq!(answer.get_ref().id, "of-the-message");
        }

        // What never comes to a handler.
        for (path, timeout) in
            [("/inference.GRPCInferenceService/Dream", "1S"), ("/no.Such/Thing", "1S"), ("/", "no")]
        {
            let request = http::Request::post(format!("{ORIGIN}{path}"))
                .header("content-type", "application/grpc")
                .header("grpc-timeout", timeout)
                .header("x-request-id", "mine")
                .body(Body::empty())
                .unwrap();
            let response = bench.channel().await.call(request).await.unwrap();
            assert_eq!(response.headers()["x-request-id"], "mine", "{path}");
        }

        let stream = client.model_stream_infer(stream::iter([one_float("echo", 1.0)])).await.unwrap();
        assert_eq!(of(stream.metadata())[0].len(), 36);
    });
}

#[test]
fn unknown_services_and_methods_are_unimplemented() {
    Bench::run(MIB, |bench| async move {
        for path in ["/inference.GRPCInferenceService/Dream", "/no.Such/Thing", "/"] {
            let request = http::Request::post(format!("{ORIGIN}{path}"))
                .header("content-type", "application/grpc")
                .body(Body::empty())
                .unwrap();
            let response = bench.channel().await.call(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], "12", "{path}");
            assert_eq!(response.headers()["content-type"], "application/grpc", "{path}");
            let name = path.rsplit('/').next().unwrap_or_default();
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(path.contains(".Such") || message.contains(name), "{path}: {message}");
        }
    });
}

#[test]
fn streams_answer_as_they_are_ready_and_outlive_errors() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut wrong = one_float("echo", 1.0);
        wrong.inputs[0].datatype = "FLOAT".into();
        let requests = [
            with_id("held", doing("hold")),
            with_id("wrong", wrong),
            with_id("missing", one_float("none", 1.0)),
            with_id("release", doing("release")),
        ];
        let answers = client.model_stream_infer(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        let of = |id: &str| {
            let found = answers.iter().position(|one| one.infer_response.as_ref().unwrap().id == id);
            let position = found.unwrap_or_else(|| panic!("no answer to {id}: {answers:?}"));
            (position, answers[position].error_message.as_str())
        };
        assert_eq!(answers.len(), 4);
        assert_eq!((of("held").1, of("release").1), ("", ""));
        assert!(of("wrong").1.starts_with("inputs[0].datatype"), "{answers:?}");
        assert_eq!(of("missing").1, "Model with name none does not exist.");
        assert!(of("wrong").0 < of("held").0, "{answers:?}");
    });
}
