//! gRPC's health checking protocol: the server, and each model by its name.

use self::proto::health_check_response::ServingStatus;
use self::proto::health_server;
use self::proto::{HealthCheckRequest, HealthCheckResponse};
use super::SERVICE_NAME;
use crate::model::Server;
use futures_util::stream;
use std::sync::Arc;
use std::time::Duration;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

/// The protocol's messages, client and server.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
pub mod proto {
    include!("../../../generated/grpc.health.v1.rs");
}

/// How often a watched state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The health service of a server.
#[derive(Debug)]
pub(super) struct Health {
    server: Arc<Server>,
}

impl Health {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match look(&self.server, &service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found(format!(
                "There is no service and no model {service:?} here. Leave the name empty to ask for the server."
            ))),
            status => Ok(Response::new(answer(status))),
        }
    }

    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        struct Watch {
            server: Arc<Server>,
            service: String,
            told: Option<ServingStatus>,
        }
        let watch =
            Watch { server: Arc::clone(&self.server), service: request.into_inner().service, told: None };
        let states = stream::unfold(watch, |mut watch| async move {
            loop {
                let now = look(&watch.server, &watch.service);
                if watch.told != Some(now) {
                    watch.told = Some(now);
                    return Some((Ok(answer(now)), watch));
                }
                if watch.server.is_draining() {
                    return None; // a watcher must not keep a connection from ending
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Ok(Response::new(Box::pin(states)))
    }
}

fn look(server: &Server, service: &str) -> ServingStatus {
    let serving = match service {
        "" | SERVICE_NAME => server.is_ready(),
        model => match server.registry.get(model, None) {
            Ok(model) => model.is_ready() && !server.is_draining(),
            Err(_) => return ServingStatus::ServiceUnknown,
        },
    };
    if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
