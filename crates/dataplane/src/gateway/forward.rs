//! A request's path through the gateway, a step a line in `respond`.

use super::access::Record;
use super::alarm::Alarm;
use super::arriving::Arriving;
use super::auth;
use super::cluster::{Load, UnderWay};
use super::exchange::Exchange;
use super::headers::{self, From};
use super::hold::Patience;
use super::http1::Answer;
use super::limit::Asker;
use super::live::Live;
use super::message::{too_large, Message, Unsent};
use super::metrics::Protocol;
use super::mirror::Copies;
use super::refusal::Refusal;
use super::relay::Stop;
use super::repeatable::is_repeatable;
use super::reply::{self, Limit, Reply, Source};
use super::request_id::{self, RequestId};
use super::route::{Asked, Backend, Found, Rule, Side};
use super::run::Gateway;
use super::sticky;
use super::target::{self, LastHost};
use super::tunnel::{self, Tunnel};
use super::watch::Waiting;
use super::way::Way;
use bytes::Bytes;
use http::header::{HeaderValue, CONNECTION, CONTENT_TYPE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

/// An endpoint gets so many at most, and the length of the body: many servers take 100.
const MOST_HEADERS: usize = 99;

/// The connection that a request came by.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) side: Side,
    pub(super) from: From,
    /// For the deadlines of its requests.
    pub(super) alarm: Alarm,
    /// The host of its last request: mostly that of the next one too.
    pub(super) host: LastHost,
    /// What the connection became, when its client and an endpoint switched to a websocket.
    pub(super) tunnel: Mutex<Option<Tunnel>>,
}

/// Answers one request, whatever it is.
pub(super) async fn answer(
    gateway: Arc<Gateway>,
    origin: Arc<Origin>,
    request: Request<Arriving>,
    upgrade: Option<OnUpgrade>,
    waiting: Waiting,
) -> Response<Reply> {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let id = RequestId::of(&head.headers);
    let version = head.version;
    let grpc = is_grpc(&head.headers);
    let protocol = match version {
        _ if grpc => Protocol::Grpc,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let log = gateway
        .access
        .as_ref()
        .map(|log| (log.clone(), Record::of(&head, &origin.from.client, protocol, &id)));
    let mut call = Call {
        gateway: &gateway,
        origin: &origin,
        grpc,
        id,
        begun,
        exchange: Exchange::begin(begun, protocol, log),
        patience: Patience::default(),
        upgrade,
    };
    let mut response = match call.respond(head, body).await {
        Ok(answered) => call.finish(answered, waiting).await,
        Err(refusal) => {
            call.exchange.answered(refusal.status.as_u16());
            call.exchange.end();
            refusal.answer(&call.id, grpc && version == Version::HTTP_2)
        }
    };
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if version < Version::HTTP_2 && gateway.is_finishing() && !switched {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request while it is being answered.
pub(super) struct Call<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) origin: &'a Origin,
    pub(super) grpc: bool,
    pub(super) id: RequestId,
    pub(super) begun: Instant,
    pub(super) exchange: Exchange,
    pub(super) patience: Patience,
    /// What a websocket would be spoken over.
    pub(super) upgrade: Option<OnUpgrade>,
}

/// An endpoint's answer.
struct Answered {
    response: Response<Answer>,
    source: Source,
    load: Load,
    under_way: UnderWay,
    limit: Limit,
    first: Option<Bytes>,
}

impl Call<'_> {
    async fn respond(&mut self, head: Parts, body: Arriving) -> Result<Answered, Refusal> {
        let gateway = self.gateway;
        if self.grpc && head.version < Version::HTTP_2 {
            return Err(Refusal::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2."));
        }
        let bad = |problem: target::BadTarget| Refusal::new(StatusCode::BAD_REQUEST, problem.to_string());
        let host = self.origin.host.of(&head).map_err(bad)?;
        let target = target::path(&head).map_err(bad)?;
        if body.size_hint().lower() > gateway.limits.body_bytes {
            return Err(too_large(gateway));
        }
        if body.size_hint().exact().is_none() && is_coded(&head.headers) {
            let words = "Transfer-Encoding: chunked alone is taken, and once.";
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, words));
        }
        let mut message = Message {
            repeatable: false,
            copies: None,
            upgrades: self.upgrade.is_some(),
            came: head.version,
            grpc: self.grpc,
            method: head.method,
            headers: head.headers,
            host,
            target,
            body: Unsent::Fresh(body),
        };
        let mut prepared = false;
        let mut credentials = None;
        loop {
            let live = gateway.live();
            let asked = Asked {
                side: self.origin.side,
                host: &message.host.name,
                port: message.host.port,
                path: message.target.path(),
                query: message.target.query(),
                method: &message.method,
                headers: &message.headers,
            };
            let found = live.routes.find(&asked).ok_or_else(|| nowhere(&live, &message))?;
            let rule = found.rule;
            let service = live.services.get(found.route).ok_or_else(|| nowhere(&live, &message))?;
            self.exchange.service(service);
            if let Some(redirect) = self.redirect(&found, &message) {
                return Err(redirect);
            }
            let shown = rule.sticky.as_ref().and_then(|sticky| sticky.shown(&message.headers));
            let shown = shown.map(str::to_owned);
            let kept = shown.as_deref().and_then(|shown| sticky::back(rule, &live.clusters, shown));
            let drawn = kept
                .as_ref()
                .map(|(drawn, _)| *drawn)
                .or_else(|| rule.draw(rule.sticky.as_ref().and_then(|sticky| sticky.key(&message.headers))));
            let way = Way::new(&found, drawn.and_then(|drawn| drawn.filters));
            // The endpoint's own path says what is asked of it.
            let path = way.path(&message.target);
            let path = path.as_ref().unwrap_or(&message.target).path();
            message.repeatable = is_repeatable(&message.method, path, self.grpc);
            let route = live.routes.all.get(found.route);
            let mut known = None;
            if let Some(auth) = live.auth.as_ref().filter(|_| !route.is_some_and(|route| route.internal)) {
                let shown = credentials.get_or_insert_with(|| auth::take(&mut message.headers)).as_deref();
                let verb = auth::verb_of(&message.method, path);
                let stranger = |issuer: &str| gateway.strangers.came(issuer);
                known = auth.admit(shown, &service.name, verb, SystemTime::now(), &stranger)?;
                self.exchange.note(|record| record.caller = known.as_ref().map(|caller| caller.id.clone()));
            }
            if let Some(limiter) = route.and_then(|route| route.limiter.as_ref()).filter(|_| !prepared) {
                let asker = Asker {
                    client: self.origin.from.client.as_bytes(),
                    caller: known.as_ref().map(|caller| caller.id.as_str()),
                    headers: &message.headers,
                };
                limiter.admit(&asker, self.begun)?;
            }
            if !prepared {
                prepared = true;
                self.prepare(&mut message);
                if message.headers.len() > MOST_HEADERS {
                    let words = format!(
                        "The request has more headers than the {MOST_HEADERS}, with ours, that are taken."
                    );
                    return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, words));
                }
            }
            let cluster = match drawn.map(|drawn| drawn.backend) {
                Some(Backend::Cluster(number)) => live.clusters.get(number),
                Some(Backend::Failure(words)) => {
                    return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words))
                }
                None => None,
            };
            let Some(cluster) = cluster else {
                return Err(Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("The route of {} has no backend with a weight.", service.name),
                ));
            };
            self.copy(&mut message, &way, &live);
            self.exchange.note(|record| record.cluster.clone_from(&cluster.name));
            let kept = kept.map(|(_, endpoint)| endpoint);
            match self.relay(&mut message, &way, cluster, kept).await {
                Ok((response, source, load, under_way, first)) => {
                    let limit = limit(&response, rule, self.deadline(rule));
                    let mut response = response;
                    headers::strip_response(response.headers_mut());
                    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                        tunnel::ask(response.headers_mut());
                    }
                    way.answer(response.headers_mut());
                    if let Some(sticky) = &rule.sticky {
                        sticky.tell(shown.as_deref(), cluster, &load.0, response.headers_mut());
                    }
                    return Ok(Answered { response, source, load, under_way, limit, first });
                }
                Err(Stop::Refused(refusal)) => return Err(refusal),
                // The table that came meanwhile says where it belongs now.
                Err(Stop::Gone) => {}
            }
        }
    }

    /// Where the client should go instead, if the rule sends it away.
    fn redirect(&self, found: &Found<'_>, message: &Message) -> Option<Refusal> {
        let redirect = found.rule.filters.redirect.as_ref()?;
        let scheme = self.origin.from.scheme.to_str().unwrap_or("http");
        let location = redirect.location(scheme, &message.host, &message.target, found.prefix);
        let mut answer = Refusal::new(redirect.status, "");
        answer.location = Some(location);
        Some(answer)
    }

    /// Draws who gets a copy of the request.
    fn copy(&self, message: &mut Message, way: &Way<'_>, live: &Live) {
        if message.upgrades {
            return; // nobody can speak for two
        }
        let mirrors = way.filters().flat_map(|filters| &filters.mirrors).filter(|mirror| mirror.draw());
        let goals: Vec<_> = mirrors
            .filter_map(|mirror| live.clusters.get(mirror.cluster))
            .map(|cluster| (Arc::clone(cluster), message.by_http2(cluster, None)))
            .collect();
        message.copies = if goals.is_empty() {
            None
        } else {
            Copies::begin(self.gateway, goals, |http2| message.head(way, http2))
        };
    }

    /// Makes the headers those of the next hop.
    fn prepare(&self, message: &mut Message) {
        headers::strip_request(&mut message.headers);
        headers::join_cookies(&mut message.headers, message.came);
        headers::forward(&mut message.headers, &self.origin.from, &message.host);
        message.headers.insert(request_id::NAME, self.id.clone().into_header());
    }

    /// Makes the client's answer of the endpoint's.
    async fn finish(mut self, answered: Answered, waiting: Waiting) -> Response<Reply> {
        let Answered { response, mut source, load, under_way, limit, first } = answered;
        let (mut parts, body) = response.into_parts();
        self.exchange.answered(parts.status.as_u16());
        if self.grpc {
            if let Some(status) = reply::grpc_status(&parts.headers) {
                self.exchange.grpc_outcome(status);
            }
        }
        parts.version = Version::HTTP_11; // hyper speaks the client's
        parts.extensions = http::Extensions::new();
        parts.headers.insert(request_id::NAME, self.id.into_header());
        if let (StatusCode::SWITCHING_PROTOCOLS, Source::Http1(connection)) = (parts.status, &mut source) {
            if let (Some(client), Some(connection)) = (self.upgrade.take(), connection.take()) {
                let Some((endpoint, read)) = Box::pin(connection.switched()).await else {
                    self.exchange.fail(502);
                    return Response::from_parts(parts, Reply::whole(Bytes::new()));
                };
                let idle = self.gateway.limits.idle_timeout;
                let guards = (load, under_way);
                let tunnel = Tunnel { client, endpoint, read, exchange: self.exchange, idle, guards };
                *self.origin.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
                return Response::from_parts(parts, Reply::whole(Bytes::new()));
            }
        }
        if let Source::Whole(trailers) = source {
            // All of it is here, and its connection serves somebody else.
            let bytes = first.unwrap_or_default();
            self.exchange.sent(bytes.len());
            if let Some(status) = trailers.as_deref().and_then(reply::grpc_status) {
                self.exchange.grpc_outcome(status);
            }
            self.exchange.end();
            return Response::from_parts(parts, Reply::Whole(bytes, trailers));
        }
        let first = first.map(http_body::Frame::data);
        Response::from_parts(
            parts,
            Reply::passed(first, body, source, load, self.exchange, limit, under_way, waiting),
        )
    }
}

/// Whether this is gRPC (not gRPC-Web, which is a matter of HTTP/1.1 servers).
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(media) = headers.get(CONTENT_TYPE) else { return false };
    media
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.first().is_none_or(|byte| b"+; ".contains(byte)))
}

/// Whether a body comes in another way than in chunks: nobody here undoes that (RFC 9112, 6.1).
fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|one| one.as_bytes().eq_ignore_ascii_case(b"chunked"));
    !chunked || codings.next().is_some()
}

/// How long the rest of an answer may take: a stream as long as it says something, all else until the deadline.
fn limit(response: &Response<Answer>, rule: &Rule, deadline: Option<Instant>) -> Limit {
    let media = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_stream = [&b"text/event-stream"[..], b"application/grpc", b"application/x-ndjson"]
        .iter()
        .any(|stream| media.starts_with(stream));
    match (rule.timeout, deadline) {
        (Some(timeout), _) if is_stream => Limit::Silence(timeout),
        (_, Some(deadline)) => Limit::Until(deadline),
        _ => Limit::None,
    }
}

fn nowhere(live: &Live, message: &Message) -> Refusal {
    if !live.told {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The gateway has no route table yet.");
    }
    let (host, path) = (&message.host.name, message.target.path());
    Refusal::new(StatusCode::NOT_FOUND, format!("No route for {} {path} on host {host}.", message.method))
}
