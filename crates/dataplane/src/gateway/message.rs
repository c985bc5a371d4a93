//! A request as it goes to endpoints, perhaps to several, one after the other.

use super::arriving::{Arriving, Failure};
use super::attempt::Failed;
use super::cluster::{Cluster, Endpoint};
use super::http1::NotSent;
use super::mirror::Copies;
use super::outgoing::{Fate, Outgoing};
use super::plain::Asking;
use super::refusal::Refusal;
use super::relay::SMALL;
use super::run::Gateway;
use super::table::Speech;
use super::target::Host;
use super::tunnel;
use super::way::Way;
use bytes::Bytes;
use http::header::{HeaderValue, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body::Body;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the client sent, as far as it was read.
pub(super) enum Unsent {
    Fresh(Arriving),
    Kept(Bytes),
    Part(VecDeque<Bytes>, Arriving),
    /// On its way to an endpoint; it cannot be sent again.
    Spent,
}

/// A request as it goes to an endpoint, but for the endpoint.
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) host: Host,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Unsent,
    pub(super) came: Version,
    pub(super) grpc: bool,
    pub(super) repeatable: bool,
    /// Of the request, which leave when its body is whole.
    pub(super) copies: Option<Arc<Copies>>,
    /// It wants a websocket.
    pub(super) upgrades: bool,
}

impl Message {
    /// It has a body that is small, and says so.
    pub(super) fn is_small(&self) -> bool {
        match &self.body {
            Unsent::Fresh(body) => body.size_hint().exact().is_some_and(|length| length <= SMALL as u64),
            _ => false,
        }
    }

    /// Whether the cluster's endpoint gets it over HTTP/2. `endpoint`: none where it is not one of many.
    pub(super) fn by_http2(&self, cluster: &Cluster, endpoint: Option<&Endpoint>) -> bool {
        match cluster.speech() {
            _ if self.upgrades => false,
            Speech::Auto => self.grpc,
            Speech::Http1 => false,
            Speech::H2c => true,
            Speech::Both => self.grpc || self.may_share() && endpoint.is_some_and(Endpoint::is_crowded),
        }
    }

    /// It is small, and may be sent again where a connection ends under it: it loses nothing by company.
    fn may_share(&self) -> bool {
        self.repeatable && matches!(&self.body, Unsent::Kept(body) if body.len() <= SMALL)
    }

    /// The request as the endpoint is to see it, but for its body.
    pub(super) fn head(&self, way: &Way<'_>, http2: bool) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(way.path(&self.target).unwrap_or_else(|| self.target.clone()));
        if http2 {
            *request.version_mut() = Version::HTTP_2;
            uri.scheme = Some(http::uri::Scheme::HTTP);
            uri.authority = Some(self.host.authority.clone());
            request.headers_mut().remove(HOST);
            if self.grpc {
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            }
        }
        // A path with an authority and a scheme, or alone: both are whole.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        if self.upgrades {
            tunnel::ask(request.headers_mut());
        }
        way.shape(&mut request);
        request
    }

    /// Sends the copies of a request whose body is here.
    pub(super) fn copy_kept(&mut self) {
        if let Unsent::Kept(bytes) = &self.body {
            if let Some(copies) = self.copies.take() {
                copies.send(bytes);
            }
        }
    }

    /// Its head as the endpoint is to see it, where that is another than the client's.
    pub(super) fn shaped(&self, way: &Way<'_>) -> Option<Request<()>> {
        way.changes_requests().then(|| self.head(way, false))
    }

    /// The request for one attempt over HTTP/1.1, without a copy of it, if it is a plain one.
    pub(super) fn lend<'a>(&'a self, shaped: Option<&'a Request<()>>) -> Option<Asking<'a>> {
        let Unsent::Kept(body) = &self.body else { return None };
        if self.upgrades {
            return None;
        }
        match shaped {
            None => Asking::new(&self.method, self.target.as_str(), &self.headers, body),
            Some(head) => {
                let target = head.uri().path_and_query().map_or("/", PathAndQuery::as_str);
                Asking::new(head.method(), target, head.headers(), body)
            }
        }
    }

    /// The request for one attempt. A body that cannot be kept leaves with it.
    pub(super) fn take(
        &mut self,
        way: &Way<'_>,
        gateway: &Gateway,
        http2: bool,
    ) -> Result<(Request<Outgoing>, Option<Arc<Fate>>), Failed> {
        self.copy_kept();
        let limit = gateway.limits.body_bytes;
        let (body, fate) = match std::mem::replace(&mut self.body, Unsent::Spent) {
            Unsent::Kept(bytes) => {
                self.body = Unsent::Kept(bytes.clone());
                (Outgoing::Kept(bytes), None)
            }
            Unsent::Fresh(rest) => {
                let (body, fate) = Outgoing::passed(VecDeque::new(), rest, limit, self.copies.clone());
                (body, Some(fate))
            }
            Unsent::Part(read, rest) => {
                let (body, fate) = Outgoing::passed(read, rest, limit, self.copies.clone());
                (body, Some(fate))
            }
            // Nobody comes here: whoever sends a body that is not kept gives up when that fails.
            Unsent::Spent => {
                let words = "The request's body is gone.";
                return Err(Failed::Refused(Refusal::new(StatusCode::BAD_GATEWAY, words)));
            }
        };
        let mut request = self.head(way, http2).map(|()| body);
        if http2 {
        } else if request.body().size_hint().exact().is_none() {
            // hyper would leave the body of a GET out.
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        } else if request.body().is_end_stream()
            && matches!(self.method, Method::POST | Method::PUT | Method::PATCH)
        {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok((request, fate))
    }

    /// What the failure of an attempt means for the request.
    pub(super) fn failed(&mut self, gateway: &Gateway, failed: NotSent, fate: Option<&Fate>) -> Failed {
        if let Some(body) = failed.unsent {
            if let Outgoing::Passed(passed) = *body {
                if let Some((read, rest)) = passed.untouched() {
                    self.body = Unsent::Part(read, rest);
                }
            }
            return if matches!(self.body, Unsent::Spent) { Failed::Died } else { Failed::NotSent };
        }
        if let Some(why) = failed.garbled {
            return Failed::Garbled(why);
        }
        if let Some(fate) = fate {
            if fate.is_too_large() {
                return Failed::Refused(too_large(gateway));
            }
            if fate.is_broken() {
                return Failed::Refused(broken(None));
            }
        }
        if failed.unprocessed && matches!(self.body, Unsent::Kept(_)) {
            return Failed::NotSent;
        }
        Failed::Died
    }
}

pub(super) fn too_large(gateway: &Gateway) -> Refusal {
    let limit = gateway.limits.body_bytes;
    let words = format!("The request's body is larger than the {limit} bytes that are taken.");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, words)
}

pub(super) fn broken(error: Option<&Failure>) -> Refusal {
    let words = match error {
        Some(error) => format!("The request's body is broken: {error}."),
        None => "The request's body is broken.".to_owned(),
    };
    Refusal::new(StatusCode::BAD_REQUEST, words)
}
