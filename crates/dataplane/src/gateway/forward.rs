//! A request's path through the gateway, a step a line in `respond`.

use super::alarm::Alarm;
use super::auth;
use super::cluster::{Cluster, Endpoint, Load, UnderWay};
use super::exchange::Exchange;
use super::headers::{self, From};
use super::hold::{NoEndpoint, Patience};
use super::http1::{Http1, NotSent};
use super::http2::{self, Http2};
use super::limit::Asker;
use super::live::Live;
use super::metrics::Protocol;
use super::mirror::Copies;
use super::outgoing::{self, Fate, Outgoing, Taken};
use super::pool::IDLE;
use super::refusal::Refusal;
use super::repeatable::is_repeatable;
use super::reply::{self, Limit, Reply, Source, StreamGuard};
use super::request_id::RequestId;
use super::route::{Asked, Backend, Found, Rule, Side};
use super::run::Gateway;
use super::sticky;
use super::table::Speech;
use super::target::{self, Host, LastHost};
use super::tunnel::{self, Tunnel};
use super::watch::Waiting;
use super::way::Way;
use super::{access, request_id};
use bytes::Bytes;
use http::header::{HeaderValue, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use socket2::{SockRef, TcpKeepalive};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{timeout, Instant};

/// A body of so many bytes is read before an endpoint is looked for: it mostly came with the head, and a client that
/// goes away while it is held is noticed only when its body has been read.
const SMALL: usize = 64 << 10;

/// An answer of so many bytes is taken at once where it is there, so that its connection is free before the
/// client has read it.
const SMALL_ANSWER: u64 = 64 << 10;

/// A request that may not be sent twice takes a kept connection only if it was used within this time: the peer
/// may close it just when the request is under way.
const FRESH: Duration = Duration::from_secs(1);

/// So often may kept connections turn out to be dead under one request, one after the other.
const MOST_ATTEMPTS: u32 = 100;

/// So long a request that its only endpoint dropped waits before it goes there again.
const SETTLE: Duration = Duration::from_millis(150);

/// Endpoints are looked after when they have been silent for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

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
    request: Request<Incoming>,
    waiting: Waiting,
) -> Result<Response<Reply>, Infallible> {
    let begun = Instant::now();
    let mut request = request;
    let upgrade = tunnel::asked(&mut request);
    let (head, body) = request.into_parts();
    let id = RequestId::of(&head.headers);
    let version = head.version;
    let grpc = is_grpc(&head.headers);
    let protocol = match version {
        _ if grpc => Protocol::Grpc,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let log = gateway.access.as_ref().map(|log| (log.clone(), record(&head, &origin, protocol, &id)));
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
    Ok(response)
}

/// A request while it is being answered.
struct Call<'a> {
    gateway: &'a Arc<Gateway>,
    origin: &'a Origin,
    grpc: bool,
    id: RequestId,
    begun: Instant,
    exchange: Exchange,
    patience: Patience,
    /// What a websocket would be spoken over.
    upgrade: Option<OnUpgrade>,
}

/// What the client sent, as far as it was read.
enum Unsent {
    Fresh(Incoming),
    Kept(Bytes),
    Part(VecDeque<Bytes>, Incoming),
    /// On its way to an endpoint; it cannot be sent again.
    Spent,
}

/// A request as it goes to an endpoint, but for the endpoint.
struct Message {
    method: Method,
    host: Host,
    target: PathAndQuery,
    headers: HeaderMap,
    body: Unsent,
    came: Version,
    grpc: bool,
    repeatable: bool,
    /// Of the request, which leave when its body is whole.
    copies: Option<Arc<Copies>>,
    /// It wants a websocket.
    upgrades: bool,
}

/// An endpoint's answer.
struct Answered {
    response: Response<Incoming>,
    source: Source,
    load: Load,
    under_way: UnderWay,
    limit: Limit,
    first: Option<Bytes>,
}

/// What an endpoint answered, by which connection, and what of the body is here already.
type Relayed = (Response<Incoming>, Source, Load, UnderWay, Option<Bytes>);

/// Why a request gets no answer from a cluster.
enum Stop {
    Refused(Refusal),
    /// The cluster left the table.
    Gone,
}

impl std::convert::From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl std::convert::From<NoEndpoint> for Stop {
    fn from(none: NoEndpoint) -> Self {
        match none {
            NoEndpoint::Refused(refusal) => Self::Refused(refusal),
            NoEndpoint::Gone => Self::Gone,
        }
    }
}

/// Why an attempt failed.
enum Failed {
    /// Nothing was sent: it may be tried as often as it takes.
    NotSent,
    /// The endpoint went away with the request.
    Died,
    /// No answer came in time.
    TooSlow,
    /// There is no use in trying again.
    Refused(Refusal),
}

impl Call<'_> {
    async fn respond(&mut self, head: Parts, body: Incoming) -> Result<Answered, Refusal> {
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
                known = auth.admit(shown, &service.name, verb, SystemTime::now())?;
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
            .map(|cluster| (Arc::clone(cluster), message.by_http2(cluster)))
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

    /// When the answer must be there; the time of waiting for an endpoint does not count.
    fn deadline(&self, rule: &Rule) -> Option<Instant> {
        rule.timeout.map(|timeout| self.begun + timeout + self.patience.held)
    }

    /// Brings the request to an endpoint of the cluster, and to another where that one fails.
    async fn relay(
        &mut self,
        message: &mut Message,
        way: &Way<'_>,
        cluster: &Arc<Cluster>,
        mut kept: Option<Arc<Endpoint>>,
    ) -> Result<Relayed, Stop> {
        let rule = way.rule;
        let gateway = self.gateway;
        let under_way = UnderWay::begin(cluster, gateway.started, self.begun);
        if message.is_small() {
            self.read(message, rule, SMALL).await?;
        }
        let mut avoid = None;
        let mut deaths = 0;
        let mut asked_again = 0;
        for _ in 0..MOST_ATTEMPTS {
            let stays = kept.take().filter(|endpoint| !endpoint.pool.is_retired());
            let endpoint = if let Some(endpoint) = stays {
                endpoint
            } else {
                let endpoint = self.patience.endpoint(cluster, avoid, gateway).await;
                self.exchange.held(self.patience.held);
                endpoint?
            };
            if message.repeatable && rule.retry {
                self.read(message, rule, gateway.limits.retry_body_bytes).await?;
            }
            self.exchange.note(|record| record.endpoint = Some(endpoint.address));
            let load = endpoint.enter();
            let attempt = self.attempt(message, way, cluster, &endpoint);
            let until = earliest(self.deadline(rule), rule.attempt_timeout.map(|most| Instant::now() + most));
            let sent = match until {
                None => attempt.await,
                Some(until) => match self.origin.alarm.within(until, attempt).await {
                    Ok(sent) => sent,
                    Err(_) => Err(Failed::TooSlow),
                },
            };
            let status = match &sent {
                Ok((response, _, _)) => Some(response.status()),
                Err(Failed::TooSlow) => Some(StatusCode::GATEWAY_TIMEOUT),
                Err(Failed::Died) => Some(StatusCode::BAD_GATEWAY),
                Err(_) => None,
            };
            if let Some(status) = status {
                cluster.heard(&endpoint, status);
                let dead = matches!(sent, Err(Failed::Died));
                if let Some(pause) = self.again(message, rule, status, asked_again).filter(|_| !dead) {
                    if cluster.counts.may_retry(&cluster.budget) {
                        drop(sent);
                        asked_again += 1;
                        cluster.counts.retries.fetch_add(1, Relaxed);
                        self.exchange.note(|record| record.retries += 1);
                        avoid = Some(endpoint.address);
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                }
            }
            match sent {
                Ok((response, source, first)) => return Ok((response, source, load, under_way, first)),
                Err(Failed::NotSent) => {}
                Err(Failed::TooSlow) => return Err(too_slow(cluster).into()),
                Err(Failed::Died) => {
                    deaths += 1;
                    let again = deaths == 1
                        && rule.retry
                        && message.repeatable
                        && matches!(message.body, Unsent::Kept(_))
                        && cluster.counts.may_retry(&cluster.budget);
                    if !again {
                        return Err(died(cluster, deaths).into());
                    }
                    cluster.counts.retries.fetch_add(1, Relaxed);
                    self.exchange.note(|record| record.retries += 1);
                    avoid = Some(endpoint.address);
                    if cluster.endpoints().len() < 2 {
                        // What is left of a process that was killed may still accept: not the same death twice.
                        tokio::time::sleep(SETTLE).await;
                    }
                }
                Err(Failed::Refused(refusal)) => return Err(refusal.into()),
            }
        }
        Err(died(cluster, deaths).into())
    }

    /// After how long a request that was answered so is asked again, if the rule wants that and time is left.
    fn again(&self, message: &Message, rule: &Rule, status: StatusCode, asked: u32) -> Option<Duration> {
        let again = rule.again.as_ref().filter(|again| again.wants(status) && asked < again.attempts)?;
        let may = rule.retry && message.repeatable && matches!(message.body, Unsent::Kept(_));
        let in_time = |until: Instant| Instant::now() + again.backoff < until;
        (may && self.deadline(rule).is_none_or(in_time)).then_some(again.backoff)
    }

    /// Reads the body, as much of it as may be kept.
    async fn read(&self, message: &mut Message, rule: &Rule, limit: usize) -> Result<(), Stop> {
        let gateway = self.gateway;
        let Unsent::Fresh(body) = &message.body else { return Ok(()) };
        if body.size_hint().lower() > limit as u64 {
            return Ok(());
        }
        let Unsent::Fresh(body) = std::mem::replace(&mut message.body, Unsent::Spent) else { return Ok(()) };
        if body.is_end_stream() {
            message.body = Unsent::Kept(Bytes::new());
            return Ok(());
        }
        let until = earliest(self.deadline(rule), Some(Instant::now() + gateway.limits.body_timeout));
        let taking = outgoing::take(body, limit);
        let taken = match until {
            Some(until) => self.origin.alarm.within(until, taking).await,
            None => Ok(taking.await),
        };
        message.body = match taken {
            Ok(Taken::Whole(bytes)) => Unsent::Kept(bytes),
            Ok(Taken::Part(read, rest)) => Unsent::Part(read, rest),
            Ok(Taken::Broken(error)) => return Err(broken(Some(&error)).into()),
            Err(_) => {
                let words = "The request's body did not come in time.";
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, words).into());
            }
        };
        Ok(())
    }

    /// Sends the request to one endpoint and waits for the head of its answer.
    async fn attempt(
        &self,
        message: &mut Message,
        way: &Way<'_>,
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Response<Incoming>, Source, Option<Bytes>), Failed> {
        if message.by_http2(cluster) {
            let mut connection = self.http2(cluster, endpoint).await?;
            // It may have left the table while the connection was opened.
            if endpoint.pool.is_retired() {
                return Err(Failed::NotSent);
            }
            let stream = connection.enter();
            let (request, fate) = message.take(way, self.gateway, true)?;
            match connection.send(request).await {
                Ok(response) => Ok((response, Source::Http2(StreamGuard(stream)), None)),
                Err(failed) => {
                    endpoint.pool.drop_shared(&connection);
                    Err(message.failed(self.gateway, failed, fate.as_deref()))
                }
            }
        } else {
            let (mut connection, new) = self.http1(message, cluster, endpoint).await?;
            if endpoint.pool.is_retired() {
                return Err(Failed::NotSent);
            }
            let (request, fate) = message.take(way, self.gateway, false)?;
            match connection.send(request).await {
                // Without a wish for it, it would be an answer that never ends.
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    if !message.upgrades {
                        return Err(Failed::Refused(died(cluster, 1)));
                    }
                    Ok((response, Source::Http1(Some(connection)), None))
                }
                Ok(mut response) => match small_answer(&mut connection, &mut response).await {
                    Small::Whole(bytes, reusable) => {
                        if reusable {
                            endpoint.pool.put(connection);
                        }
                        Ok((response, Source::Http1(None), Some(bytes)))
                    }
                    Small::Part(first) => Ok((response, Source::Http1(Some(connection)), first)),
                    Small::Broken => Err(Failed::Refused(died(cluster, 1))),
                },
                Err(failed) => {
                    let failed = message.failed(self.gateway, failed, fate.as_deref());
                    if new && matches!(failed, Failed::NotSent) {
                        // It takes connections and closes them: as good as refusing.
                        cluster.refused(endpoint);
                    }
                    Err(failed)
                }
            }
        }
    }

    async fn http1(
        &self,
        message: &Message,
        cluster: &Cluster,
        endpoint: &Endpoint,
    ) -> Result<(Http1, bool), Failed> {
        let within = if message.repeatable && matches!(message.body, Unsent::Kept(_)) { IDLE } else { FRESH };
        if !message.upgrades {
            if let Some(kept) = endpoint.pool.take(within).await {
                return Ok((kept, false));
            }
        }
        let stream = self.connect(cluster, endpoint).await?;
        Ok((Http1::open(stream).await.map_err(|_| Failed::NotSent)?, true))
    }

    async fn http2(&self, cluster: &Cluster, endpoint: &Endpoint) -> Result<Http2, Failed> {
        if let Some(shared) = endpoint.pool.share() {
            return Ok(shared);
        }
        let _opening = endpoint.pool.opening.lock().await;
        // Somebody else may have opened one meanwhile, or found out that there is nobody.
        if let Some(shared) = endpoint.pool.share() {
            return Ok(shared);
        }
        if endpoint.refuses_now() {
            return Err(Failed::NotSent);
        }
        let stream = self.connect(cluster, endpoint).await?;
        let opened = Http2::open(stream).await.map_err(|_| Failed::NotSent)?;
        endpoint.pool.put_shared(&opened);
        Ok(opened)
    }

    async fn connect(&self, cluster: &Cluster, endpoint: &Endpoint) -> Result<TcpStream, Failed> {
        let connecting = TcpStream::connect(endpoint.address);
        let Ok(Ok(stream)) = timeout(self.gateway.limits.connect_timeout, connecting).await else {
            cluster.refused(endpoint);
            return Err(Failed::NotSent);
        };
        // Without it a request may wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        // A machine that is gone without a word would hold its requests for ever.
        let keepalive =
            TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        cluster.connected(endpoint);
        Ok(stream)
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
                let Some((endpoint, read)) = connection.switched().await else {
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
        if let Source::Http1(None) = source {
            // All of it is here, and its connection serves somebody else.
            let bytes = first.unwrap_or_default();
            self.exchange.sent(bytes.len());
            self.exchange.end();
            return Response::from_parts(parts, Reply::whole(bytes));
        }
        let first = first.map(http_body::Frame::data);
        Response::from_parts(
            parts,
            Reply::passed(first, body, source, load, self.exchange, limit, under_way, waiting),
        )
    }
}

impl Message {
    /// It has a body that is small, and says so.
    fn is_small(&self) -> bool {
        match &self.body {
            Unsent::Fresh(body) => body.size_hint().exact().is_some_and(|length| length <= SMALL as u64),
            _ => false,
        }
    }

    /// Whether the cluster's endpoints get it over HTTP/2.
    fn by_http2(&self, cluster: &Cluster) -> bool {
        match cluster.speech() {
            _ if self.upgrades => false,
            Speech::Auto => self.grpc,
            Speech::Http1 => false,
            Speech::H2c => true,
        }
    }

    /// The request as the endpoint is to see it, but for its body.
    fn head(&self, way: &Way<'_>, http2: bool) -> Request<()> {
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

    /// The request for one attempt. A body that cannot be kept leaves with it.
    fn take(
        &mut self,
        way: &Way<'_>,
        gateway: &Gateway,
        http2: bool,
    ) -> Result<(Request<Outgoing>, Option<Arc<Fate>>), Failed> {
        let limit = gateway.limits.body_bytes;
        let (body, fate) = match std::mem::replace(&mut self.body, Unsent::Spent) {
            Unsent::Kept(bytes) => {
                if let Some(copies) = self.copies.take() {
                    copies.send(&bytes);
                }
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
    fn failed(&mut self, gateway: &Gateway, failed: NotSent, fate: Option<&Fate>) -> Failed {
        if let Some(request) = failed.unsent {
            if let Outgoing::Passed(passed) = request.into_body() {
                if let Some((read, rest)) = passed.untouched() {
                    self.body = Unsent::Part(read, rest);
                }
            }
            return if matches!(self.body, Unsent::Spent) { Failed::Died } else { Failed::NotSent };
        }
        if let Some(fate) = fate {
            if fate.is_too_large() {
                return Failed::Refused(too_large(gateway));
            }
            if fate.is_broken() {
                return Failed::Refused(broken(None));
            }
        }
        if http2::is_unprocessed(&failed.error) && matches!(self.body, Unsent::Kept(_)) {
            return Failed::NotSent;
        }
        Failed::Died
    }
}

/// What is there of an answer's body right behind its head.
enum Small {
    /// All of it; and whether the connection may be used again.
    Whole(Bytes, bool),
    /// So much, or nothing yet.
    Part(Option<Bytes>),
    /// It broke off.
    Broken,
}

async fn small_answer(connection: &mut Http1, response: &mut Response<Incoming>) -> Small {
    let body = response.body_mut();
    let length = body.size_hint().exact();
    if length.is_none_or(|length| length > SMALL_ANSWER) {
        return Small::Part(None);
    }
    poll_fn(|task| {
        let part = if body.is_end_stream() { Poll::Ready(None) } else { connection.poll_frame(body, task) };
        Poll::Ready(match part {
            Poll::Pending => Small::Part(None),
            Poll::Ready(Some(Err(_))) => Small::Broken,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) if body.is_end_stream() => Small::Whole(bytes, connection.is_usable(task)),
                Ok(bytes) => Small::Part(Some(bytes)),
                // An answer that says its length has no trailers.
                Err(_) => Small::Broken,
            },
            Poll::Ready(None) => Small::Whole(Bytes::new(), connection.is_usable(task)),
        })
    })
    .await
}

/// Whether this is gRPC (not gRPC-Web, which is a matter of HTTP/1.1 servers).
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(media) = headers.get(CONTENT_TYPE) else { return false };
    media
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.first().is_none_or(|byte| b"+; ".contains(byte)))
}

/// How long the rest of an answer may take: a stream as long as it says something, all else until the deadline.
fn limit(response: &Response<Incoming>, rule: &Rule, deadline: Option<Instant>) -> Limit {
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

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn nowhere(live: &Live, message: &Message) -> Refusal {
    if !live.told {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The gateway has no route table yet.");
    }
    let (host, path) = (&message.host.name, message.target.path());
    Refusal::new(StatusCode::NOT_FOUND, format!("No route for {} {path} on host {host}.", message.method))
}

fn too_large(gateway: &Gateway) -> Refusal {
    let limit = gateway.limits.body_bytes;
    let words = format!("The request's body is larger than the {limit} bytes that are taken.");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, words)
}

fn too_slow(cluster: &Cluster) -> Refusal {
    let words = format!("{} did not answer in time.", cluster.name);
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, words)
}

fn died(cluster: &Cluster, deaths: u32) -> Refusal {
    let name = &cluster.name;
    let words = if deaths > 1 {
        format!("Two endpoints of {name} closed the connection on this request, one after the other.")
    } else {
        format!("The endpoint of {name} closed the connection before it answered.")
    };
    Refusal::new(StatusCode::BAD_GATEWAY, words)
}

fn broken(error: Option<&hyper::Error>) -> Refusal {
    let words = match error {
        Some(error) => format!("The request's body is broken: {error}."),
        None => "The request's body is broken.".to_owned(),
    };
    Refusal::new(StatusCode::BAD_REQUEST, words)
}

fn record(head: &Parts, origin: &Origin, protocol: Protocol, id: &RequestId) -> access::Record {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let host = head.uri.authority().map(ToString::to_string).or_else(|| text("host"));
    access::Record {
        at: SystemTime::now(),
        method: head.method.clone(),
        host: host.unwrap_or_default(),
        path: head.uri.path().to_owned(),
        protocol: protocol.name(),
        service: String::new(),
        cluster: String::new(),
        endpoint: None,
        caller: None,
        client: origin.from.client.to_str().unwrap_or_default().to_owned(),
        request_id: id.clone(),
        traceparent: text("traceparent"),
        status: 0,
        sent_bytes: 0,
        took: Duration::ZERO,
        held: Duration::ZERO,
        retries: 0,
    }
}
