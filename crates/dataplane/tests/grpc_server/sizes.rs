//! How large messages may be, compressed or not, one and all together.

use super::bench::*;
use bytes::Bytes;
use futures_util::{stream, StreamExt};
use modelport_dataplane::budget::Share;
use modelport_dataplane::codec::grpc::proto;
use modelport_dataplane::codec::grpc::proto::model_infer_request::InferInputTensor;
use std::sync::Arc;
use tonic::codegen::CompressionEncoding;
use tonic::Code;

#[test]
fn large_tensors_pass_both_ways() {
    Bench::run(8 * MIB, |bench| async move {
        let mut client = bench.client().await;
        let elements = 5 * MIB / 4;
        let content: Bytes = (0..elements).flat_map(|index| (index as f32).to_le_bytes()).collect();
        let mut request = one_float("echo", 0.0);
        request.inputs[0].shape = vec![1, elements as i64];
        request.raw_input_contents = vec![content.clone()];
        let answer = client.model_infer(request).await.unwrap().into_inner();
        assert!(answer.raw_output_contents == [content]);
    });
}

#[test]
fn the_limit_on_messages_is_exact() {
    use prost::Message as _;
    // A model without a version, so that the answer is as long as the request.
    let request = with_id(&"i".repeat(1000), one_float("listener", 1.0));
    let size = request.encoded_len();
    for (limit, passes) in [(size, true), (size - 1, false)] {
        let request = request.clone();
        Bench::run(limit, |bench| async move {
            let mut client = bench.client().await;
            match client.model_infer(request).await {
                Ok(answer) => {
                    assert!(passes);
                    assert_eq!(answer.get_ref().encoded_len(), size);
                }
                Err(error) if passes => panic!("{error:?}"),
                Err(error) => {
                    assert_eq!(error.code(), Code::ResourceExhausted);
                    assert_eq!(
                        error.message(),
                        format!("The message is larger than the limit of {limit} bytes. Send fewer rows at a time, or raise the limit.")
                    );
                    bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"too_large\"} 1").await;
                }
            }
        });
    }
}

#[test]
fn answers_are_compressed_for_clients_that_compress() {
    Bench::run(MIB, |bench| async move {
        let encoding = |response: &tonic::Response<_>| {
            let _: &tonic::Response<proto::ModelInferResponse> = response;
            response.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned())
        };
        for (compression, name) in
            [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Deflate, "deflate")]
        {
            let mut client = bench.client().await.accept_compressed(compression).send_compressed(compression);
            let answer = client.model_infer(one_float("echo", 3.0)).await.unwrap();
            assert_eq!(encoding(&answer).as_deref(), Some(name));
            assert_eq!(answer.into_inner().raw_output_contents, [3.0_f32.to_le_bytes().as_slice()]);
        }
        // Accepting alone is not asking.
        let mut client = bench.client().await.accept_compressed(CompressionEncoding::Gzip);
        let answer = client.model_infer(one_float("echo", 3.0)).await.unwrap();
        assert_eq!(encoding(&answer), None);
    });
}

#[test]
fn a_compressed_message_may_not_unpack_beyond_the_limit() {
    Bench::run(MIB, |bench| async move {
        let gzip = CompressionEncoding::Gzip;
        let mut client = bench.client().await.send_compressed(gzip).accept_compressed(gzip);
        let mut request = one_float("echo", 0.0);
        request.inputs[0].shape = vec![MIB as i64];
        request.raw_input_contents = vec![vec![0; 4 * MIB].into()];
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
        bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"too_large\"} 1").await;
    });
}

#[test]
fn very_many_empty_tensors_are_refused_unpacked() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut request = one_float("echo", 0.0);
        request.inputs = vec![InferInputTensor::default(); 1 << 17];
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
    });
}

#[test]
fn a_stream_ends_with_a_message_beyond_the_limit() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let requests = [one_float("echo", 1.0), with_id(&"i".repeat(MIB), one_float("echo", 1.0))];
        let answers = client.model_stream_infer(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.collect().await;
        let last = answers.last().unwrap().as_ref().unwrap_err();
        assert_eq!(last.code(), Code::ResourceExhausted, "{last:?}");
    });
}

/// Many messages that each keep to the limit must not take all of the machine's memory.
#[test]
fn all_messages_together_have_a_bound() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let bodies = Arc::clone(&bench.server.bodies);
        let other = Share::of(&bodies);
        other.more(2 * MIB - 10_000).unwrap();
        let large = || {
            let mut request = one_float("echo", 0.0);
            request.inputs[0].shape = vec![1, (MIB / 8) as i64];
            request.raw_input_contents = vec![vec![0; MIB / 2].into()];
            request
        };
        let refused = client.model_infer(large()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().starts_with("There is no room for a body of "), "{refused:?}");
        bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"no_room\"} 1").await;
        assert!(client.model_infer(one_float("echo", 1.0)).await.is_ok());
        let gzip = CompressionEncoding::Gzip;
        let mut packing = client.clone().send_compressed(gzip).accept_compressed(gzip);
        let refused = packing.model_infer(large()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        drop(other);
        packing.model_infer(large()).await.unwrap();

        // A long stream holds what is under way, not all that it ever brought.
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let requests = stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)));
        send.send(large()).await.unwrap();
        let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
        for _ in 0..20 {
            let answer = answers.next().await.unwrap().unwrap();
            assert_eq!(answer.error_message, "");
            send.send(large()).await.unwrap();
        }
        drop(send);
        while answers.next().await.is_some() {}
        drop((client, packing));
        bench.until_metrics_say("modelport_request_body_bytes 0").await;
    });
}
