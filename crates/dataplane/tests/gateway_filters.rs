//! What rules change about requests: redirects, rewrites, mirrors, per backend; limits, retries, sticky clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod gateway_support;

use gateway_support::{echo, full, nobody, wait_for, Setup, Upstream};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{json, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const PREDICT: &str = "/v1/models/m:predict";

/// An upstream that answers with these statuses, one after the other, then 200.
fn answering(statuses: &'static [u16]) -> Upstream {
    let next = Arc::new(AtomicUsize::new(0));
    Upstream::start(move |_| {
        let status = statuses.get(next.fetch_add(1, SeqCst)).copied().unwrap_or(200);
        async move {
            let mut response = Response::new(full(status.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }
    })
}

fn table(rules: Value, clusters: &[(&str, &[std::net::SocketAddr])]) -> Value {
    let clusters: serde_json::Map<String, Value> = clusters
        .iter()
        .map(|(name, addresses)| {
            let endpoints: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            ((*name).to_owned(), json!({ "endpoints": endpoints }))
        })
        .collect();
    json!({"routes": [{"name": "n/r", "service": "n/s", "hosts": ["*"], "rules": rules}], "clusters": clusters})
}

#[test]
fn a_redirect_asks_nobody() {
    let upstream = echo();
    let running = Setup::new().start();
    let redirect = json!({"scheme": "https", "path": {"type": "prefix", "value": "/new"}, "status": 308});
    let rule = json!({"matches": [{"path": {"value": "/old"}}], "filters": {"redirect": redirect},
        "backends": [{"cluster": "a"}]});
    running.tell(table(json!([rule]), &[("a", &[upstream.address])]));
    let reply = running.client().request("POST", "/old/x?q=%20", &[("host", "H.org:99")], b"{}");
    assert_eq!((reply.status, reply.header("location")), (308, Some("https://H.org/new/x?q=%20")));
    assert!(reply.body.is_empty() && upstream.seen() == 0);
}

#[test]
fn the_endpoint_sees_the_rewritten_url_and_each_backend_its_own_headers() {
    let upstream = echo();
    let running = Setup::new().start();
    let edit = |value: &str| json!({"set": [["x-backend", value]], "remove": ["x-secret"]});
    let rule = json!({
        "matches": [{"path": {"value": "/iris"}}],
        "filters": {"rewrite": {"hostname": "in.example.org", "path": {"type": "prefix", "value": "/v1/models/iris"}}},
        "backends": [{"cluster": "a", "filters": {"request_headers": edit("a"), "response_headers": edit("a")}}],
    });
    running.tell(table(json!([rule]), &[("a", &[upstream.address])]));
    let reply = running.client().request("POST", "/iris/x?q=1", &[("x-secret", "1")], b"{}");
    let text = reply.text();
    assert!(text.starts_with("POST /v1/models/iris/x?q=1 HTTP/1.1\n"), "{text}");
    for line in ["host: in.example.org", "x-forwarded-host: h.example.com", "x-backend: a"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    assert!(!text.contains("x-secret"));
    assert_eq!(reply.header("x-backend"), Some("a"));
}

#[test]
fn a_rewritten_path_needs_the_permission_of_what_it_becomes() {
    let upstream = echo();
    let running = Setup::new().start();
    let rule = json!({
        "matches": [{"path": {"value": "/harmless"}}],
        "filters": {"rewrite": {"path": {"type": "prefix", "value": "/v2/repository"}}},
        "backends": [{"cluster": "a"}],
    });
    let mut told = table(json!([rule]), &[("a", &[upstream.address])]);
    told["auth"] = json!({"anonymous": [{"service": "n/s", "verbs": ["predict"]}]});
    running.tell(told);
    running.post("/harmless/models/m/unload", b"").error(401);
    assert_eq!(running.post("/harmless/index", b"").status, 200);
}

#[test]
fn a_mirror_gets_every_body_and_nobody_waits_for_it() {
    type Heard = Arc<Mutex<Vec<(String, usize)>>>;
    let (upstream, heard) = (echo(), Heard::default());
    let copies = Arc::clone(&heard);
    let mirror = Upstream::start(move |request| {
        let copies = Arc::clone(&copies);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let host = head.headers["host"].to_str().unwrap().to_owned();
            copies.lock().unwrap().push((format!("{} {} {host}", head.method, head.uri), body.len()));
            // It never answers.
            std::future::pending::<()>().await;
            Response::new(full(""))
        }
    });
    let running = Setup::new().start();
    let rule = |share: u32| {
        json!({"backends": [{"cluster": "a"}],
        "filters": {"mirrors": [{"cluster": "m", "numerator": share}, {"cluster": "dead"}, {"cluster": "none"}]}})
    };
    let clusters: &[(&str, &[_])] =
        &[("a", &[upstream.address]), ("m", &[mirror.address]), ("dead", &[nobody()]), ("none", &[])];
    running.tell(table(json!([rule(100)]), clusters));
    let large = vec![b'x'; 300_000];
    for (path, body) in [("/get", &b""[..]), (PREDICT, b"{}"), ("/large", &large)] {
        assert_eq!(running.post(path, body).status, 200);
    }
    let mut client = running.client();
    client.send(b"POST /chunked HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send(b"2\r\nde\r\n0\r\n\r\n");
    assert!(client.read("POST").unwrap().text().ends_with("\n\nabcde"));
    wait_for("the copies", || heard.lock().unwrap().len() == 4);
    let mut seen = heard.lock().unwrap().clone();
    seen.sort();
    let expected = [
        ("POST /chunked h", 5),
        ("POST /get h.example.com", 0),
        ("POST /large h.example.com", 300_000),
        ("POST /v1/models/m:predict h.example.com", 2),
    ];
    assert_eq!(seen, expected.map(|(line, length)| (line.to_owned(), length)));
    wait_for("the failed copies", || running.metric("modelport_gateway_mirror_failures_total") == 8.0);
    assert_eq!(running.metric("modelport_gateway_mirrored_total"), 12.0);
    // More than a copy may have.
    assert_eq!(running.post("/larger", &vec![b'x'; 2 << 20]).status, 200);
    wait_for("the dropped copies", || running.metric("modelport_gateway_mirrors_dropped_total") == 3.0);
    running.tell(table(json!([rule(0)]), clusters));
    assert_eq!(running.post("/not", b"").status, 200);
    assert!(!heard.lock().unwrap().iter().any(|(line, _)| line.contains("/not")));
}

#[test]
fn answers_that_the_rule_names_are_asked_for_again_where_that_is_safe() {
    let rule = |again: Value| json!([{"backends": [{"cluster": "a"}], "again": again}]);
    let twice = || rule(json!({"codes": [503, 429], "attempts": 2, "backoff_ms": 1}));
    for (told, path, statuses, expected) in [
        (twice(), PREDICT, &[503, 429][..], 200),
        (twice(), PREDICT, &[503, 503, 503], 503),
        (twice(), PREDICT, &[500], 500),
        (twice(), "/anything", &[503], 503),
        (rule(json!({"codes": [503], "attempts": 1})), PREDICT, &[503, 503], 503),
        (json!([{"backends": [{"cluster": "a"}]}]), PREDICT, &[503], 503),
    ] {
        let upstream = answering(statuses);
        let running = Setup::new().start();
        running.tell(table(told.clone(), &[("a", &[upstream.address])]));
        let reply = running.post(path, b"{}");
        assert_eq!(reply.status, expected, "{told} {path} {statuses:?}");
        assert_eq!(reply.text(), expected.to_string());
    }
}

#[test]
fn an_attempt_that_takes_too_long_goes_elsewhere_if_the_rule_wants_that() {
    let slow = Upstream::start(|_| async {
        std::future::pending::<()>().await;
        Response::new(full(""))
    });
    let fine = Upstream::saying("fine");
    let running = Setup::new().start();
    let rule = json!([{"backends": [{"cluster": "a"}], "backend_timeout_ms": 300,
        "again": {"codes": [504], "attempts": 1}}]);
    running.tell(table(rule, &[("a", &[slow.address, fine.address])]));
    wait_for("a request at the slow one", || {
        assert_eq!(running.post(PREDICT, b"{}").text(), "fine");
        slow.seen() > 0
    });
}

#[test]
fn a_client_stays_with_its_endpoint_by_cookie() {
    let upstreams: Vec<_> = ["1", "2", "3", "4"].map(Upstream::saying).into();
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    let running = Setup::new().start();
    let rule = |weights: [u32; 2]| {
        json!([{"sticky": {"by": "cookie", "name": "s", "max_age_s": 60},
        "backends": [{"cluster": "a", "weight": weights[0]}, {"cluster": "b", "weight": weights[1]}]}])
    };
    let clusters: &[(&str, &[_])] = &[("a", &addresses[..2]), ("b", &addresses[2..])];
    running.tell(table(rule([1, 1]), clusters));
    let mut seen = HashSet::new();
    wait_for("all endpoints", || {
        let first = running.get("/");
        let cookie = first.header("set-cookie").unwrap().to_owned();
        assert!(cookie.ends_with("; Max-Age=60"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        for _ in 0..8 {
            let again = running.client().request("GET", "/", &[("cookie", pair)], b"");
            assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
        }
        seen.insert((first.text(), pair.to_owned()));
        seen.len() == 4
    });
    // A backend that has no weight any more keeps nobody.
    running.tell(table(rule([1, 0]), clusters));
    for (was, pair) in &seen {
        let now = running.client().request("GET", "/", &[("cookie", pair)], b"");
        assert!(["1", "2"].contains(&now.text().as_str()));
        assert_eq!(now.header("set-cookie").is_none(), ["1", "2"].contains(&was.as_str()));
    }
}

#[test]
fn too_many_requests_are_told_when_to_come_again() {
    let upstream = echo();
    let running = Setup::new().start();
    let mut told = table(json!([{"backends": [{"cluster": "a"}]}]), &[("a", &[upstream.address])]);
    told["routes"][0]["limit"] =
        json!({"requests": 2, "per_ms": 3_600_000, "burst": 2, "by": "header", "header": "x-tenant"});
    running.tell(told.clone());
    let ask = |tenant: &str| running.client().request("GET", "/", &[("x-tenant", tenant)], b"");
    assert_eq!([ask("a").status, ask("a").status, ask("b").status], [200; 3]);
    let reply = ask("a");
    assert!(reply.error(429).contains("takes 2 in 3600 seconds"));
    let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&wait), "{wait}");
    // A new table does not make it forget.
    running.tell(told);
    assert_eq!((ask("a").status, ask("b").status, ask("b").status), (429, 200, 429));
}

#[test]
fn a_broken_rule_takes_no_other_route_away_and_is_told() {
    let upstream = echo();
    let running = Setup::new().start();
    let mut told = table(
        json!([{"matches": [{"path": {"type": "regex", "value": "("}}, {"path": {"value": "/x"}}],
            "backends": [{"cluster": "a"}]}, {"backends": [{"cluster": "a"}]}]),
        &[("a", &[upstream.address])],
    );
    told["version"] = 1.into();
    running.write(1, told);
    let answer = running.ask("POST", "/reload").json();
    assert_eq!((&answer["version"], &answer["problems"][0]["route"]), (&json!(1), &json!("n/r")));
    let words = running.get("/x").error(500);
    assert!(words.contains("rules[0].matches[0].path"), "{words}");
    assert_eq!(answer["problems"][0]["message"], words);
    assert_eq!(running.get("/y").status, 200);
}
