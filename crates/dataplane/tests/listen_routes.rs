//! Every REST route: answers, errors and headers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::message::{Answer, InferResponse, Payload, Verb};
use modelport_dataplane::model::Options;
use serde_json::json;
use std::sync::{Arc, Mutex};
use support::{numbers, row, tensor, Setup};

#[test]
fn the_server_and_its_models_describe_themselves() {
    let setup = Setup::new();
    setup.sum(None);
    let odd = setup.function("odd name/ü", Options::default(), |_| Ok(numbers(&[1.0])));
    let running = setup.start();
    for (path, wanted) in [
        ("/", json!({"status": "alive"})),
        ("/v1/models", json!({"models": ["odd name/ü", "sum"]})),
        ("/v1/models/sum", json!({"name": "sum", "ready": true})),
        ("/v2/health/live", json!({"live": true})),
        ("/v2/health/ready", json!({"ready": true})),
        ("/v2/models", json!({"models": ["odd name/ü", "sum"]})),
        ("/v2/models/", json!({"models": ["odd name/ü", "sum"]})),
        ("/v2/models/sum/ready", json!({"name": "sum", "ready": true})),
        ("/v2/models/odd%20name%2F%C3%BC/ready", json!({"name": "odd name/ü", "ready": true})),
        (
            "/v2/models/sum",
            json!({"name": "sum", "versions": null, "platform": "rust",
                "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 4]}],
                "outputs": [{"name": "sum", "datatype": "FP64", "shape": [-1]}]}),
        ),
        (
            "/v2/models/sum/config",
            json!({"name": "sum", "platform": "rust", "max_batch_size": 256,
                "input": [{"name": "x", "data_type": "TYPE_FP64", "dims": [4]}],
                "output": [{"name": "sum", "data_type": "TYPE_FP64", "dims": []}]}),
        ),
    ] {
        let reply = running.get(path);
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        assert_eq!(reply.json(), wanted, "{path}");
        let head = running.client().request("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let about = running.get("/v2").json();
    assert_eq!((&about["name"], &about["version"]), (&json!("modelport"), &json!("1.2.3")));
    assert!(about["extensions"].as_array().unwrap().contains(&json!("binary_tensor_data")));

    odd.set_ready(false);
    let words = "Model with name odd name/ü is not ready.";
    assert_eq!(running.get("/v1/models/odd%20name%2F%C3%BC").error(503), words);
    assert_eq!(running.get("/v2/models/odd%20name%2F%C3%BC/ready").error(503), words);
    assert_eq!(running.get("/v2/health/ready").error(503), "Server is not ready.");
    assert_eq!(running.get("/v2/health/live").status, 200);
    let early = running.client().request(
        "POST",
        "/v2/models/odd%20name%2F%C3%BC/infer",
        &[("content-length", "100000")], // which never comes: the answer must not wait for it
        b"",
    );
    assert_eq!(early.error(503), words);
}

#[test]
fn v2_infers_with_ids_versions_and_statistics() {
    let setup = Setup::new();
    setup.sum(Some("1"));
    setup.sum(Some("2"));
    let running = setup.start();
    let reply = running.post("/v2/models/sum/infer", &row([1.0, 2.0, 3.0, 4.5]));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = reply.header("x-request-id").unwrap().to_owned();
    assert_eq!(
        reply.json(),
        json!({"model_name": "sum", "model_version": "2", "id": id,
            "outputs": [{"name": "sum", "shape": [1], "datatype": "FP64", "data": [10.5]}]})
    );
    let body = row([1.0; 4]).replacen('{', r#"{"id":"mine","#, 1);
    let reply = running.client().request(
        "POST",
        "/v2/models/sum/versions/1/infer",
        // What `curl -d` says.
        &[("content-type", "application/x-www-form-urlencoded"), ("x-request-id", "r-1")],
        body.as_bytes(),
    );
    assert_eq!(reply.header("x-request-id"), Some("r-1"));
    assert_eq!((&reply.json()["id"], &reply.json()["model_version"]), (&json!("mine"), &json!("1")));
    assert_eq!(running.get("/v2/models/sum").json()["versions"], json!(["1", "2"]));
    assert_eq!(running.get("/v2/models/sum/versions/1/ready").status, 200);
    let unknown = running.post("/v2/models/sum/versions/9/infer", &row([1.0; 4])).error(404);
    assert_eq!(unknown, "Model with name sum has no version 9. Its versions: 1, 2.");
    for (path, rows) in
        [("/v2/models/sum/stats", 2), ("/v2/models/sum/versions/2/stats", 1), ("/v2/models/stats", 2)]
    {
        let stats = running.get(path).json();
        let models = stats["model_stats"].as_array().unwrap().clone();
        assert_eq!(models.len(), rows, "{path}");
        assert_eq!(models[rows - 1]["inference_stats"]["success"]["count"], json!(1), "{path}");
    }
}

#[test]
fn v2_takes_and_gives_binary_tensors() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let json = json!({
        "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "parameters": {"binary_data_size": 64}}],
        "outputs": [{"name": "sum", "parameters": {"binary_data": true}}],
    })
    .to_string();
    let mut body = json.clone().into_bytes();
    body.extend((0..8).flat_map(|value| f64::from(value).to_le_bytes()));
    let length = json.len().to_string();
    let reply = running.client().request(
        "POST",
        "/v2/models/sum/infer",
        &[("inference-header-content-length", &length), ("content-type", "application/octet-stream")],
        &body,
    );
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let split: usize = reply.header("inference-header-content-length").unwrap().parse().unwrap();
    let sums: Vec<f64> = reply.body[split..]
        .chunks_exact(8)
        .map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    assert_eq!(sums, [6.0, 22.0]);
    let bad = running.client().request(
        "POST",
        "/v2/models/sum/infer",
        &[("inference-header-content-length", "many")],
        &body,
    );
    assert!(bad.error(400).contains("\"many\""));
}

#[test]
fn v1_predicts_and_explains() {
    let setup = Setup::new();
    setup.sum(None);
    let explains = Options { explains: true, raw_v1: true, ..Options::default() };
    setup.function("raw", explains, |call| {
        let Payload::Raw(body) = &call.payload else { return Err(Error::invalid("raw wanted")) };
        let word = if call.verb == Verb::Explain { "explained " } else { "" };
        Ok(Answer::Raw {
            status: 202,
            content_type: "text/plain".to_owned(),
            headers: [
                ("x-model", "yes"),
                ("content-length", "7"),
                ("transfer-encoding", "chunked"),
                ("bad name", "x"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: Bytes::from([word.as_bytes(), body].concat()),
        })
    });
    let running = setup.start();
    let reply = running.post("/v1/models/sum:predict", r#"{"instances": [[1, 2, 3, 4], [5, 6, 7, 8.5]]}"#);
    assert_eq!((reply.status, reply.json()), (200, json!({"predictions": [10.0, 26.5]})));
    let reply = running.post("/v1/models/raw:predict", "anything at all");
    assert_eq!((reply.status, reply.text().as_str()), (202, "anything at all"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.header("x-model"), Some("yes"));
    assert_eq!(running.post("/v1/models/raw:explain", "why").text(), "explained why");
    assert_eq!(running.post("/v1/models/sum:explain", "{}").error(501), "Model sum has no explainer.");
    running.post("/v1/models/sum:predict", "{nonsense").error(400);
}

#[test]
fn errors_have_one_shape() {
    let setup = Setup::new();
    setup.sum(None);
    setup.function("fails", Options::default(), |_| Err(Error::new(Kind::Model, "It broke.")));
    setup.function("teapot", Options::default(), |_| Err(Error::new(Kind::Status(418), "Short and stout.")));
    let full = Options::default();
    let full = Options {
        batching: modelport_dataplane::batch::Batching { queue_limit: 0, ..full.batching },
        ..full
    };
    setup.function("full", full, |_| Ok(numbers(&[])));
    let running = setup.start();
    let body = row([1.0; 4]);
    let unknown = "Model with name nobody does not exist.";
    assert_eq!(running.post("/v2/models/nobody/infer", &body).error(404), unknown);
    assert_eq!(running.post("/v1/models/nobody:predict", &body).error(404), unknown);
    assert_eq!(running.get("/v1/models/nobody").error(404), unknown);
    assert_eq!(running.get("/v2/models/nobody").error(404), unknown);
    assert_eq!(running.get("/v2/models/nobody/ready").error(404), unknown);
    assert_eq!(running.post("/v2/models/fails/infer", &body).error(500), "It broke.");
    assert_eq!(running.post("/v2/models/teapot/infer", &body).error(418), "Short and stout.");
    assert!(running.post("/v2/models/full/infer", &body).error(429).contains("model full is full"));
    assert!(running.post("/v2/models/sum/infer", "{").error(400).len() > 10);
    assert!(running.post("/v2/model/sum/infer", &body).error(404).contains("POST /v2/models/{model}/infer"));
    assert!(running.get("/v2/models/%zz").error(400).contains("percent-escape"));
    let wrong = running.get("/v2/models/sum/infer");
    assert!(wrong.error(405).contains("only POST"));
    assert_eq!(wrong.header("allow"), Some("POST"));
    let wrong = running.client().request("DELETE", "/v2", &[], b"");
    wrong.error(405);
    assert_eq!(wrong.header("allow"), Some("GET, HEAD"));
    for (header, value) in [
        ("x-request-timeout", "soon"),
        ("x-request-timeout", "-1"),
        ("x-request-timeout", "nan"),
        ("x-envoy-expected-rq-timeout-ms", "1s"),
    ] {
        let reply =
            running.client().request("POST", "/v2/models/sum/infer", &[(header, value)], body.as_bytes());
        assert!(reply.error(400).contains(header), "{header}");
    }
    for (header, value) in [("x-request-timeout", "59.5"), ("x-envoy-expected-rq-timeout-ms", "59000")] {
        let reply =
            running.client().request("POST", "/v2/models/sum/infer", &[(header, value)], body.as_bytes());
        assert_eq!(reply.status, 200, "{header}");
    }
}

#[test]
fn models_that_ask_see_headers_and_may_set_some() {
    let setup = Setup::new();
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let record = Arc::clone(&seen);
    setup.function("asks", Options { wants_headers: true, ..Options::default() }, move |call| {
        record.lock().unwrap().clone_from(&call.headers);
        Ok(Answer::Tensors(InferResponse {
            outputs: vec![tensor("y", &[1.0])],
            headers: vec![
                ("X-Latency".to_owned(), "3".to_owned()),
                ("Connection".to_owned(), "close".to_owned()),
            ],
            ..InferResponse::default()
        }))
    });
    let running = setup.start();
    let mut client = running.client();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for path in ["/v2/models/asks/infer", "/v1/models/asks:predict"] {
        let body = if path.starts_with("/v2") { row([1.0; 4]) } else { r#"{"instances": [1]}"#.to_owned() };
        let reply = client.request("POST", path, &[("TraceParent", trace)], body.as_bytes());
        assert_eq!((reply.status, reply.header("x-latency")), (200, Some("3")), "{}", reply.text());
        assert_eq!(reply.header("connection"), None);
        assert!(seen.lock().unwrap().contains(&("traceparent".to_owned(), trace.to_owned())));
    }
}

#[test]
fn the_repository_is_reached() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let index = running.post("/v2/repository/index", "").json();
    assert_eq!(
        index[1],
        json!({"name": "later", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"})
    );
    let ready = running.post("/v2/repository/index", r#"{"ready": true}"#).json();
    assert_eq!(ready.as_array().unwrap().len(), 1);
    let loaded = running.post("/v2/repository/models/a%2Fb/load", r#"{"parameters": {"n": 1, "s": "t"}}"#);
    assert_eq!(loaded.json(), json!({"name": "a/b", "load": true}));
    let unloaded =
        running.post("/v2/repository/models/sum/unload", r#"{"parameters": {"unload_dependents": true}}"#);
    assert_eq!(unloaded.json(), json!({"name": "sum", "unload": true}));
    assert_eq!(
        *running.repository.0.lock().unwrap(),
        [r#"load a/b [("n", Int(1)), ("s", Str("t"))]"#, r#"unload sum [("unload_dependents", Bool(true))]"#]
    );
    running.post("/v2/repository/models/missing/load", "").error(503);
    running.post("/v2/repository/models/missing/unload", "").error(404);
    assert!(running.post("/v2/repository/models/x/load", "[1").error(400).contains("JSON object"));
    let nested = running.post("/v2/repository/models/x/load", r#"{"parameters": {"deep": []}}"#);
    assert!(nested.error(400).contains("parameters.deep"));
    for verb in ["models/x/load", "models/x/unload", "index"] {
        let list = running.post(&format!("/v2/repository/{verb}"), " [{}]");
        assert!(list.error(400).contains("must be a JSON object"), "{verb}");
    }
    for verb in ["load", "unload"] {
        let own = r#"{"parameters": {"modelport_local": 9000000000000000000}}"#;
        let told = running.post(&format!("/v2/repository/models/x/{verb}"), own).error(400);
        assert!(told.contains("parameters.modelport_local: is for the server's own processes"), "{told}");
    }
}

#[test]
fn documentation_is_complete_and_escaped() {
    let setup = Setup::new();
    setup.sum(None);
    setup.function("<script>alert(1)</script>", Options::default(), |_| Ok(numbers(&[])));
    let running = setup.start();
    let page = running.get("/docs");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let html = page.text();
    assert!(!html.contains("<script>alert"), "a name was not escaped");
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("Adds up &lt;rows&gt;"));
    assert!(html.contains("data-path=\"/v2/models/sum/infer\"") && !html.contains("{{"));
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing from elsewhere");
    let openapi = running.get("/openapi.json").json();
    assert_eq!(openapi["openapi"], json!("3.1.0"));
    let infer = &openapi["paths"]["/v2/models/sum/infer"]["post"];
    let example = &infer["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(running.post("/v2/models/sum/infer", &example.to_string()).status, 200, "{example}");
    let predict = &openapi["paths"]["/v1/models/sum:predict"]["post"];
    let example = &predict["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(running.post("/v1/models/sum:predict", &example.to_string()).status, 200, "{example}");
    let metrics = &openapi["paths"]["/metrics"]["get"]["responses"]["200"]["content"];
    assert!(metrics.get("text/plain").is_some(), "{metrics}");
    assert!(openapi["paths"].get("/v1/models/sum:explain").is_none(), "it has no explainer");

    let mut setup = Setup::new();
    setup.config.docs = false;
    let running = setup.start();
    running.get("/docs").error(404);
    running.get("/openapi.json").error(404);
}

#[test]
fn metrics_are_prometheus_text() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    running.post("/v2/models/sum/infer", &row([1.0; 4]));
    let reply = running.get("/metrics");
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(reply.text().contains("sum"), "{}", reply.text());
}

#[test]
fn cloud_events_are_answered_with_cloud_events() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let mut client = running.client();
    let data = r#"{"instances": [[1, 2, 3, 4]]}"#;
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/test"),
        ("ce-type", "test.request"),
        ("content-type", "application/json"),
        ("x-request-id", "r-7"),
    ];
    let reply = client.request("POST", "/v1/models/sum:predict", &binary, data.as_bytes());
    assert_eq!((reply.status, reply.json()), (200, json!({"predictions": [10.0]})));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("ce-type"), Some("io.kserve.inference.response"));
    assert_eq!(reply.header("ce-source"), Some("io.kserve.inference.sum"));
    assert_eq!(reply.header("ce-id"), Some("r-7"));

    let event = json!({"specversion": "1.0", "id": "e-2", "source": "/test", "type": "t",
        "data": {"instances": [[5, 6, 7, 8]]}});
    let structured = [("content-type", "application/cloudevents+json")];
    let reply = client.request("POST", "/v1/models/sum:predict", &structured, event.to_string().as_bytes());
    assert_eq!((reply.status, &reply.json()["data"]), (200, &json!({"predictions": [26.0]})));
    assert_eq!(reply.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(reply.header("content-length").unwrap(), reply.body.len().to_string());

    let lame = client.request("POST", "/v1/models/sum:predict", &binary[..1], data.as_bytes());
    assert!(lame.error(400).starts_with("Cloud Event Exceptions"));
}
