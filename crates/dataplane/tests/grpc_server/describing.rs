//! What clients learn of the server and its models, and how they have it load them: metadata, health, reflection,
//! statistics, the repository.

use super::bench::*;
use bytes::Bytes;
use futures_util::{stream, StreamExt};
use modelport_dataplane::codec::grpc::proto;
use modelport_dataplane::listen::grpc::health::proto::health_check_response::ServingStatus;
use modelport_dataplane::listen::grpc::health::proto::health_client::HealthClient;
use modelport_dataplane::listen::grpc::health::proto::HealthCheckRequest;
use modelport_dataplane::listen::grpc::EXTENSIONS;
use tonic::{Code, Status};

#[test]
fn the_server_describes_itself() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        assert!(client.server_live(proto::ServerLiveRequest {}).await.unwrap().into_inner().live);
        let ready = client.server_ready(proto::ServerReadyRequest {}).await.unwrap().into_inner();
        assert!(!ready.ready, "the model asleep is not ready");
        bench.server.registry.remove("asleep");
        let ready = client.server_ready(proto::ServerReadyRequest {}).await.unwrap().into_inner();
        assert!(ready.ready);
        let metadata = client.server_metadata(proto::ServerMetadataRequest {}).await.unwrap().into_inner();
        assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("bench", "0.1"));
        assert_eq!(metadata.extensions, EXTENSIONS);
    });
}

#[test]
fn models_describe_themselves() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let ready = |name: &str, version: &str| proto::ModelReadyRequest {
            name: name.into(),
            version: version.into(),
        };
        assert!(client.model_ready(ready("echo", "")).await.unwrap().into_inner().ready);
        assert!(client.model_ready(ready("echo", "1")).await.unwrap().into_inner().ready);
        assert!(!client.model_ready(ready("asleep", "")).await.unwrap().into_inner().ready);
        assert_eq!(client.model_ready(ready("none", "")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(client.model_ready(ready("echo", "3")).await.unwrap_err().code(), Code::NotFound);

        let asked = proto::ModelMetadataRequest { name: "echo".into(), version: String::new() };
        let metadata = client.model_metadata(asked).await.unwrap().into_inner();
        assert_eq!(metadata.versions, ["1", "2"]);
        assert_eq!(metadata.platform, "echo_echo");
        assert_eq!(metadata.inputs[0].datatype, "FP32");
        assert_eq!(metadata.outputs[0].shape, [-1, 4]);

        let asked = proto::ModelConfigRequest { name: "echo".into(), version: String::new() };
        let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
        assert_eq!((config.max_batch_size, config.input[0].dims.as_slice()), (256, &[4][..]));
        assert_eq!(config.output[0].data_type(), proto::DataType::TypeString);
        let asked = proto::ModelConfigRequest { name: "full".into(), version: String::new() };
        let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
        assert_eq!((config.max_batch_size, config.input[0].dims.as_slice()), (0, &[-1, 4][..]));
    });
}

#[test]
fn statistics_count_requests() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        client.model_infer(one_float("echo", 1.0)).await.unwrap();
        client.model_infer(doing("fail")).await.unwrap_err();
        let asked = |name: &str, version: &str| proto::ModelStatisticsRequest {
            name: name.into(),
            version: version.into(),
        };
        let all = client.model_statistics(asked("", "")).await.unwrap().into_inner().model_stats;
        assert_eq!(all.len(), 5);
        let versions = client.model_statistics(asked("echo", "")).await.unwrap().into_inner().model_stats;
        assert_eq!(versions.len(), 2);
        let one = client.model_statistics(asked("echo", "2")).await.unwrap().into_inner().model_stats;
        assert_eq!((one.len(), one[0].inference_count, one[0].execution_count), (1, 2, 2));
        let times = one[0].inference_stats.as_ref().unwrap();
        let counts = [&times.success, &times.fail, &times.queue, &times.compute_input, &times.compute_output]
            .map(|total| total.as_ref().unwrap().count);
        assert_eq!(counts, [1, 1, 2, 2, 1]);
        let error = client.model_statistics(asked("none", "")).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        bench
            .until_metrics_say(
                "modelport_requests_total{model_name=\"echo\",version=\"2\",protocol=\"grpc\",code=\"200\"} 1",
            )
            .await;
    });
}

#[test]
fn health_is_checked_and_watched() {
    Bench::run(MIB, |bench| async move {
        let mut client = HealthClient::with_origin(bench.channel().await, ORIGIN.parse().unwrap());
        let of = |service: &str| HealthCheckRequest { service: service.into() };
        let mut check = async |service: &str| -> Result<ServingStatus, Status> {
            Ok(client.check(of(service)).await?.into_inner().status())
        };
        assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
        assert_eq!(check("echo").await.unwrap(), ServingStatus::Serving);
        assert_eq!(check("asleep").await.unwrap(), ServingStatus::NotServing);
        assert_eq!(check("none").await.unwrap_err().code(), Code::NotFound);
        let asleep = bench.server.registry.get("asleep", None).unwrap();
        let mut unknown = client.clone().watch(of("none")).await.unwrap().into_inner();
        let mut states = client.watch(of("asleep")).await.unwrap().into_inner();
        let mut next = async || states.message().await.unwrap().map(|answer| answer.status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        asleep.set_ready(true);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        let server = client.check(of("inference.GRPCInferenceService")).await.unwrap();
        assert_eq!(server.into_inner().status(), ServingStatus::Serving);
        bench.server.drain();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None, "watching does not keep a draining server alive");
        let told = unknown.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::ServiceUnknown);
    });
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[test]
        fn $name() {
            use tonic_reflection::pb::$version as pb;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            Bench::run(MIB, |bench| async move {
                let mut client =
                    ServerReflectionClient::with_origin(bench.channel().await, ORIGIN.parse().unwrap());
                let ask = |message| pb::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(message),
                };
                let questions = [
                    ask(MessageRequest::ListServices(String::new())),
                    ask(MessageRequest::FileContainingSymbol("inference.ModelInferRequest".into())),
                    ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".into())),
                ];
                let answers = client.server_reflection_info(stream::iter(questions)).await.unwrap();
                let answers: Vec<_> = answers
                    .into_inner()
                    .map(|answer| answer.unwrap().message_response.unwrap())
                    .collect()
                    .await;
                let MessageResponse::ListServicesResponse(list) = &answers[0] else {
                    panic!("{:?}", answers[0]);
                };
                let mut names: Vec<&str> = list.service.iter().map(|one| one.name.as_str()).collect();
                names.sort_unstable();
                let expected = [
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection",
                    "inference.GRPCInferenceService",
                ];
                assert_eq!(names, expected);
                for answer in &answers[1..] {
                    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
                }
            });
        }
    };
}

reflection_test!(reflection_v1_lists_the_services, v1);
reflection_test!(reflection_v1alpha_lists_the_services, v1alpha);

#[test]
fn the_repository_answers_in_both_forms() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let asked = proto::RepositoryIndexRequest::default();
        let index = client.repository_index(asked.clone()).await.unwrap().into_inner().models;
        assert_eq!(index.len(), 2);
        assert_eq!((index[1].state.as_str(), index[1].reason.as_str()), ("UNAVAILABLE", "not loaded"));
        let asked = proto::RepositoryIndexRequest { ready: true, ..asked };
        let index = client.repository_index(asked).await.unwrap().into_inner().models;
        assert_eq!((index.len(), index[0].name.as_str()), (1, "echo"));

        let kserve = proto::RepositoryModelLoadRequest { model_name: "iris".into(), ..Default::default() };
        let loaded = client.repository_model_load(kserve).await.unwrap().into_inner();
        assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("iris", true));
        let choice = proto::model_repository_parameter::ParameterChoice::StringParam("{}".into());
        let triton = proto::RepositoryModelLoadRequest {
            model_name: "the repository".into(),
            triton_model_name: "rose".into(),
            parameters: [(
                "config".into(),
                proto::ModelRepositoryParameter { parameter_choice: Some(choice) },
            )]
            .into(),
        };
        let loaded = client.repository_model_load(triton).await.unwrap().into_inner();
        assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("rose", true));
        let missing =
            proto::RepositoryModelLoadRequest { model_name: "missing".into(), ..Default::default() };
        assert_eq!(client.repository_model_load(missing).await.unwrap_err().code(), Code::NotFound);
        let nameless = proto::RepositoryModelLoadRequest::default();
        assert_eq!(client.repository_model_load(nameless).await.unwrap_err().code(), Code::InvalidArgument);
        let choice = proto::model_repository_parameter::ParameterChoice::BytesParam(Bytes::new());
        let files = proto::RepositoryModelLoadRequest {
            model_name: "iris".into(),
            parameters: [(
                "file:1/model".into(),
                proto::ModelRepositoryParameter { parameter_choice: Some(choice) },
            )]
            .into(),
            ..Default::default()
        };
        assert_eq!(client.repository_model_load(files).await.unwrap_err().code(), Code::InvalidArgument);

        let triton =
            proto::RepositoryModelUnloadRequest { triton_model_name: "rose".into(), ..Default::default() };
        let unloaded = client.repository_model_unload(triton).await.unwrap().into_inner();
        assert_eq!((unloaded.model_name.as_str(), unloaded.is_unloaded), ("rose", true));
        assert_eq!(
            *bench.log.lock().unwrap(),
            ["load iris []", "load rose [(\"config\", Str(\"{}\"))]", "load missing []", "unload rose"]
        );
    });
}
