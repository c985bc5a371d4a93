//! The calls of the inference service.

use super::context::Arrival;
use super::infer::{infer, refuse_too_large, Answered, Context};
use super::{explain_garbage, is_too_large, EXTENSIONS};
use crate::budget::Share;
use crate::codec::grpc::proto::grpc_inference_service_server::GrpcInferenceService;
use crate::codec::grpc::proto::model_metadata_response::TensorMetadata;
use crate::codec::grpc::proto::model_repository_parameter::ParameterChoice;
use crate::codec::grpc::proto::repository_index_response::ModelIndex;
use crate::codec::grpc::proto::{
    DataType, InferStatistics, ModelConfig, ModelConfigRequest, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelInput, ModelMetadataRequest, ModelMetadataResponse, ModelOutput,
    ModelReadyRequest, ModelReadyResponse, ModelRepositoryParameter, ModelStatistics, ModelStatisticsRequest,
    ModelStatisticsResponse, ModelStreamInferResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse, StatisticDuration,
};
use crate::error::Error;
use crate::listen::access::Named;
use crate::listen::request_id::RequestId;
use crate::metrics::{snapshot, Total};
use crate::model::{self, Model, Server, TensorSpec};
use crate::tensor::{Datatype, Param, Params};
use crate::trace::{Operation, Slot};
use futures_util::StreamExt;
use prost::Message as _;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tonic::codegen::BoxStream;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

/// Most requests of one stream that are under way at a time; the next is read when one is answered.
const MOST_OF_A_STREAM: usize = 256;

/// What stands before each message: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

type Answer<T> = Result<Response<T>, Status>;

/// The inference service of a server.
#[derive(Debug)]
pub(super) struct Inference {
    server: Arc<Server>,
}

impl Inference {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    fn model(&self, name: &str, version: &str) -> Result<Arc<Model>, Error> {
        let version = (!version.is_empty()).then_some(version);
        self.server.registry.get(name, version)
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.server.is_ready() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let asked = asked(request, |asked| &asked.name);
        let model = self.model(&asked.name, &asked.version)?;
        Ok(Response::new(ModelReadyResponse { ready: model.is_ready() }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: self.server.name.clone(),
            version: self.server.version.clone(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        let asked = asked(request, |asked| &asked.name);
        let model = self.model(&asked.name, &asked.version)?;
        let versions = self.server.registry.versions(&asked.name);
        let metadata = &model.metadata;
        Ok(Response::new(ModelMetadataResponse {
            name: metadata.name.clone(),
            versions: versions.iter().filter_map(|version| version.metadata.version.clone()).collect(),
            platform: metadata.platform.clone(),
            inputs: metadata.inputs.iter().map(tensor_metadata).collect(),
            outputs: metadata.outputs.iter().map(tensor_metadata).collect(),
        }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let (metadata, extensions, message) = request.into_parts();
        Named::note(&extensions, &message.model_name);
        let arrival = extensions.get::<Arrival>().copied().unwrap_or_default();
        hold_unpacked(extensions.get::<Arc<Share>>().map(AsRef::as_ref), &metadata, &message)?;
        let call_id = extensions.get::<RequestId>().cloned();
        let trace = extensions.get::<Slot>().and_then(Slot::take);
        let context = Context { arrival, metadata: &metadata, call_id, trace };
        let Answered { message, headers } = infer(&self.server, message, context).await?;
        let mut response = Response::new(message);
        set_metadata(response.metadata_mut(), headers);
        Ok(response)
    }

    type ModelStreamInferStream = BoxStream<ModelStreamInferResponse>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let (metadata, extensions, messages) = request.into_parts();
        let deadline = extensions.get::<Arrival>().and_then(|arrival| arrival.deadline);
        let share = extensions.get::<Arc<Share>>().cloned();
        let metadata = Arc::new(metadata);
        let server = Arc::clone(&self.server);
        let answers = messages.map(move |message| {
            let (server, metadata, share) = (Arc::clone(&server), Arc::clone(&metadata), share.clone());
            async move {
                let message = message.map_err(|error| explain_limit(error, &server))?;
                hold_unpacked(share.as_deref(), &metadata, &message)?;
                let size = message.encoded_len() + FRAME_BYTES;
                let arrival = Arrival { at: Instant::now(), deadline };
                let answer = infer_streamed(&server, message, arrival, &metadata).await;
                if let Some(share) = share {
                    share.less(size);
                }
                Ok(answer)
            }
        });
        Ok(Response::new(Box::pin(answers.buffer_unordered(MOST_OF_A_STREAM))))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let (_, extensions, asked) = request.into_parts();
        let name = named(asked.model_name, asked.triton_model_name)?;
        Named::note(&extensions, &name);
        let parameters = repository_parameters(asked.parameters)?;
        self.server.repository.load(name.clone(), parameters).await?;
        Ok(Response::new(RepositoryModelLoadResponse { model_name: name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let (_, extensions, asked) = request.into_parts();
        let name = named(asked.model_name, asked.triton_model_name)?;
        Named::note(&extensions, &name);
        let parameters = repository_parameters(asked.parameters)?;
        self.server.repository.unload(name.clone(), parameters).await?;
        Ok(Response::new(RepositoryModelUnloadResponse { model_name: name, is_unloaded: true }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let only_ready = request.into_inner().ready;
        let entries = self.server.repository.index().into_iter();
        let models = entries
            .filter(|entry| !only_ready || entry.state == "READY")
            .map(|entry| ModelIndex {
                name: entry.name,
                version: entry.version,
                state: entry.state,
                reason: entry.reason,
            })
            .collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let asked = asked(request, |asked| &asked.name);
        let model = self.model(&asked.name, &asked.version)?;
        Ok(Response::new(ModelConfigResponse { config: Some(config(&model)) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let asked = asked(request, |asked| &asked.name);
        let registry = &self.server.registry;
        let models = match (asked.name.as_str(), asked.version.as_str()) {
            ("", _) => registry.all(),
            (name, "") => match registry.versions(name) {
                none if none.is_empty() => return Err(Error::model_not_found(name).into()),
                versions => versions,
            },
            (name, version) => vec![self.model(name, version)?],
        };
        let model_stats = models.iter().map(|model| statistics(model)).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }
}

/// A call's message. The model that it names is kept for the access log.
fn asked<T>(request: Request<T>, model: fn(&T) -> &str) -> T {
    Named::note(request.extensions(), model(request.get_ref()));
    request.into_inner()
}

/// What came of a message that was compressed is less than it takes.
fn hold_unpacked(
    share: Option<&Share>,
    metadata: &MetadataMap,
    message: &ModelInferRequest,
) -> Result<(), Status> {
    match share.filter(|_| metadata.contains_key("grpc-encoding")) {
        Some(share) => Ok(share.more(message.encoded_len())?),
        None => Ok(()),
    }
}

/// One request of a stream: its errors are answers, so that the stream goes on.
async fn infer_streamed(
    server: &Server,
    message: ModelInferRequest,
    arrival: Arrival,
    metadata: &MetadataMap,
) -> ModelStreamInferResponse {
    let of = ModelInferResponse {
        model_name: message.model_name.clone(),
        id: message.id.clone(),
        ..ModelInferResponse::default()
    };
    let tracer = server.tracer.get();
    let trace = tracer.map(|tracer| tracer.begin(Operation::GrpcStreamInfer, metadata.as_ref(), arrival.at));
    match infer(server, message, Context { arrival, metadata, call_id: None, trace }).await {
        Ok(answered) => {
            ModelStreamInferResponse { error_message: String::new(), infer_response: Some(answered.message) }
        }
        Err(error) => ModelStreamInferResponse { error_message: error.message, infer_response: Some(of) },
    }
}

/// A stream's message beyond the limit ends the stream, with the code that one request would get.
fn explain_limit(error: Status, server: &Server) -> Status {
    if is_too_large(&error) {
        refuse_too_large(server)
    } else {
        explain_garbage(&error).unwrap_or(error)
    }
}

fn tensor_metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata { name: spec.name.clone(), datatype: spec.datatype.clone(), shape: spec.shape.clone() }
}

/// The model that a load or unload names, in KServe's form or in Triton's.
fn named(kserve: String, triton: String) -> Result<String, Error> {
    let name = if triton.is_empty() { kserve } else { triton };
    if name.is_empty() {
        return Err(Error::invalid("model_name: must not be empty. Name the model."));
    }
    Ok(name)
}

fn repository_parameters(parameters: HashMap<String, ModelRepositoryParameter>) -> Result<Params, Error> {
    let mut decoded = Params::with_capacity(parameters.len());
    for (name, parameter) in parameters {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Param::Bool(value),
            Some(ParameterChoice::Int64Param(value)) => Param::Int(value),
            Some(ParameterChoice::StringParam(value)) => Param::Str(value),
            Some(ParameterChoice::BytesParam(_)) | None => {
                return Err(Error::invalid(format!(
                    "parameters[{name:?}]: must be a bool, an int64 or a string. Models are loaded from the repository, not from the request."
                )));
            }
        };
        decoded.push((name, value));
    }
    decoded.sort_by(|(one, _), (other, _)| one.cmp(other));
    model::check_parameters(&decoded)?;
    Ok(decoded)
}

/// The model's signature in the form of Triton's configuration. A model whose tensors all begin with
/// an axis of any length is batched; Triton leaves that axis out.
fn config(model: &Model) -> ModelConfig {
    let metadata = &model.metadata;
    let most = model.options.batching.max_rows;
    let mut specs = metadata.inputs.iter().chain(&metadata.outputs);
    let batched =
        most > 1 && !metadata.inputs.is_empty() && specs.all(|spec| spec.shape.first() == Some(&-1));
    let dims = |spec: &TensorSpec| spec.shape.get(usize::from(batched)..).unwrap_or_default().to_vec();
    ModelConfig {
        name: metadata.name.clone(),
        platform: metadata.platform.clone(),
        max_batch_size: if batched { i32::try_from(most).unwrap_or(i32::MAX) } else { 0 },
        input: metadata
            .inputs
            .iter()
            .map(|spec| ModelInput {
                name: spec.name.clone(),
                data_type: data_type(spec).into(),
                dims: dims(spec),
            })
            .collect(),
        output: metadata
            .outputs
            .iter()
            .map(|spec| ModelOutput {
                name: spec.name.clone(),
                data_type: data_type(spec).into(),
                dims: dims(spec),
            })
            .collect(),
        backend: metadata.platform.clone(),
    }
}

fn data_type(spec: &TensorSpec) -> DataType {
    match Datatype::parse(&spec.datatype) {
        None => DataType::TypeInvalid,
        Some(Datatype::Bool) => DataType::TypeBool,
        Some(Datatype::Uint8) => DataType::TypeUint8,
        Some(Datatype::Uint16) => DataType::TypeUint16,
        Some(Datatype::Uint32) => DataType::TypeUint32,
        Some(Datatype::Uint64) => DataType::TypeUint64,
        Some(Datatype::Int8) => DataType::TypeInt8,
        Some(Datatype::Int16) => DataType::TypeInt16,
        Some(Datatype::Int32) => DataType::TypeInt32,
        Some(Datatype::Int64) => DataType::TypeInt64,
        Some(Datatype::Fp16) => DataType::TypeFp16,
        Some(Datatype::Bf16) => DataType::TypeBf16,
        Some(Datatype::Fp32) => DataType::TypeFp32,
        Some(Datatype::Fp64) => DataType::TypeFp64,
        Some(Datatype::Bytes) => DataType::TypeString,
    }
}

fn statistics(model: &Model) -> ModelStatistics {
    let total = |total: Total| Some(StatisticDuration { count: total.count, ns: total.ns });
    let counted = snapshot(model);
    let times = counted.inference_stats;
    ModelStatistics {
        name: counted.name,
        version: counted.version,
        last_inference: counted.last_inference,
        inference_count: counted.inference_count,
        execution_count: counted.execution_count,
        inference_stats: Some(InferStatistics {
            success: total(times.success),
            fail: total(times.fail),
            queue: total(times.queue),
            compute_input: total(times.compute_input),
            compute_infer: total(times.compute_infer),
            compute_output: total(times.compute_output),
        }),
    }
}

/// Headers that a model sets become metadata of the answer; what gRPC cannot carry or keeps for itself
/// is left out.
fn set_metadata(metadata: &mut MetadataMap, headers: Vec<(String, String)>) {
    const OURS: [&str; 5] = ["connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"];
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if name.starts_with("grpc-") || OURS.contains(&name.as_str()) {
            continue;
        }
        let key = AsciiMetadataKey::from_bytes(name.as_bytes());
        if let (Ok(key), Ok(value)) = (key, AsciiMetadataValue::try_from(value)) {
            metadata.append(key, value);
        }
    }
}
