//! One request, from its head to the end of its answer, as metrics and the access log see it.

use super::access::{AccessLog, Record};
use super::metrics::{Protocol, Service};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The status of a request whose client went away.
const GONE: u16 = 499;

/// A request under way. Dropped before its end, its client has gone away.
#[derive(Debug)]
pub(super) struct Exchange {
    begun: Instant,
    protocol: Protocol,
    service: Option<Arc<Service>>,
    status: u16,
    ended: bool,
    log: Option<Box<(AccessLog, Record)>>,
}

impl Exchange {
    pub(super) fn begin(begun: Instant, protocol: Protocol, log: Option<(AccessLog, Record)>) -> Self {
        Self { begun, protocol, service: None, status: GONE, ended: false, log: log.map(Box::new) }
    }

    /// It is for this service.
    pub(super) fn service(&mut self, service: &Arc<Service>) {
        self.service = Some(Arc::clone(service));
        self.note(|record| record.service.clone_from(&service.name));
    }

    /// Notes something for the access log, where there is one.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(log) = &mut self.log {
            note(&mut log.1);
        }
    }

    /// The head of the answer has this status.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// The trailers of a gRPC call say how it went.
    pub(super) fn grpc_outcome(&mut self, status: u16) {
        self.status = status;
    }

    /// So many bytes of the answer go out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.note(|record| record.sent_bytes += bytes as u64);
    }

    /// So long it has waited for an endpoint, in all.
    pub(super) fn held(&mut self, time: Duration) {
        self.note(|record| record.held = time);
    }

    /// The answer broke off.
    pub(super) fn fail(&mut self, status: u16) {
        self.status = status;
        self.end();
    }

    /// All of the answer is out.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let status = if self.ended { self.status } else { GONE };
        if let Some(service) = &self.service {
            service.ended(self.protocol, status, took.as_nanos() as u64);
        }
        if let Some(log) = self.log.take() {
            let (log, mut record) = *log;
            record.status = status;
            record.took = took;
            log.record(Box::new(record));
        }
    }
}
