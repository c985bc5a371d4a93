//! What the loaded models take and give, for programs: `/openapi.json`.

use super::docs::{example_v1, example_v2, explain_path, segment, v1_path, v2_path};
use super::reply::{self, Reply};
use crate::model::{Model, Server, TensorSpec};
use http::Response;
use serde_json::{json, Map, Value};

const TEXT_OR_INTEGERS: [&str; 10] =
    ["BYTES", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"];

/// `GET /openapi.json`
pub(super) fn openapi(server: &Server) -> Response<Reply> {
    let mut paths = Map::new();
    write_server(&mut paths);
    for model in server.registry.all() {
        write_model(&mut paths, &model);
    }
    reply::json(&json!({
        "openapi": "3.1.0",
        "info": {"title": server.name, "version": server.version},
        "paths": paths,
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}
        }}},
    }))
}

fn write_server(paths: &mut Map<String, Value>) {
    let flag = |name: &str| object(&[(name, json!({"type": "boolean"}))]);
    let names = object(&[("models", json!({"type": "array", "items": {"type": "string"}}))]);
    for (path, summary, answer) in [
        ("/v2/health/live", "Whether the process answers", flag("live")),
        ("/v2/health/ready", "Whether the server and all its models serve", flag("ready")),
        ("/v2", "About the server", json!({"type": "object"})),
        ("/v2/models", "Names of the models", names.clone()),
        ("/v1/models", "Names of the models", names),
    ] {
        paths.insert(path.to_owned(), json!({"get": operation(summary, "server", &answer)}));
    }
    let mut metrics = operation("Prometheus metrics", "server", &json!({}));
    metrics["responses"]["200"]["content"] = json!({"text/plain": {"schema": {"type": "string"}}});
    paths.insert("/metrics".to_owned(), json!({"get": metrics}));
    let rows = json!({"type": "array", "items": {"type": "object"}});
    let mut index = operation("What the repository holds", "repository", &rows);
    let only_ready = json!({"type": "object", "properties": {"ready": {"type": "boolean"}}});
    index["requestBody"] = json!({"content": {"application/json": {"schema": only_ready}}});
    paths.insert("/v2/repository/index".to_owned(), json!({"post": index}));
    for (verb, summary) in [("load", "Load a model, or load it anew"), ("unload", "Stop serving a model")] {
        let mut change = operation(summary, "repository", &json!({"type": "object"}));
        change["parameters"] =
            json!([{"name": "model", "in": "path", "required": true, "schema": {"type": "string"}}]);
        paths.insert(format!("/v2/repository/models/{{model}}/{verb}"), json!({"post": change}));
    }
}

fn write_model(paths: &mut Map<String, Value>, model: &Model) {
    let name = &model.metadata.name;
    let base = segment(name);
    let mut rows = json!({"type": "object", "properties": {"instances": {"type": "array"}}});
    if !model.options.raw_v1 {
        rows["required"] = json!(["instances"]);
    }
    // A model that reads V1 bodies itself answers as it likes.
    let predictions =
        if model.options.raw_v1 { json!({}) } else { object(&[("predictions", json!({"type": "array"}))]) };
    let predict = operation(&format!("Predict with {name}, protocol V1"), name, &predictions);
    paths.insert(v1_path(model), json!({"post": with_body(predict, &rows, &example_v1(model))}));
    if model.options.explains {
        let explain = operation(&format!("Explain a prediction of {name}"), name, &json!({}));
        paths.insert(explain_path(model), json!({"post": with_body(explain, &rows, &example_v1(model))}));
    }
    let infer = operation(&format!("Predict with {name}, protocol V2"), name, &response_schema(model));
    let infer = with_body(infer, &request_schema(model), &example_v2(model));
    paths.insert(v2_path(model), json!({"post": infer}));
    let any = json!({"type": "object"});
    let ready = object(&[("name", json!({"type": "string"})), ("ready", json!({"type": "boolean"}))]);
    for (path, summary, answer) in [
        (format!("/v1/models/{base}"), "Whether it serves", &ready),
        (format!("/v2/models/{base}"), "What it takes and gives", &any),
        (format!("/v2/models/{base}/ready"), "Whether it serves", &ready),
        (format!("/v2/models/{base}/config"), "Triton's model configuration", &any),
        (format!("/v2/models/{base}/stats"), "Triton's statistics", &any),
    ] {
        paths.insert(path, json!({"get": operation(summary, name, answer)}));
    }
}

fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn operation(summary: &str, tag: &str, answer: &Value) -> Value {
    let error = json!({"description": "What is wrong and what to do", "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
    }});
    json!({
        "summary": summary,
        "tags": [tag],
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
            "default": error,
        },
    })
}

fn with_body(mut operation: Value, schema: &Value, example: &Value) -> Value {
    let content = json!({"application/json": {"schema": schema, "example": example}});
    operation["requestBody"] = json!({"required": true, "content": content});
    operation
}

fn request_schema(model: &Model) -> Value {
    let mut inputs = tensors_schema(&model.metadata.inputs);
    inputs["minItems"] = json!(1);
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": inputs},
    })
}

fn response_schema(model: &Model) -> Value {
    json!({
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"const": model.metadata.name},
            "id": {"type": "string"},
            "outputs": tensors_schema(&model.metadata.outputs),
        },
    })
}

/// Tensors as JSON; with the binary extension `data` is elsewhere.
fn tensors_schema(specs: &[TensorSpec]) -> Value {
    let tensor = |name: Value, datatype: Value, shape: Value| {
        json!({
            "type": "object",
            "required": ["name", "shape", "datatype", "data"],
            "properties": {"name": name, "datatype": datatype, "shape": shape, "data": {"type": "array"}},
        })
    };
    let axis = json!({"type": "integer", "minimum": 0});
    if specs.is_empty() {
        let text = json!({"type": "string"});
        let any = tensor(text.clone(), text, json!({"type": "array", "items": axis}));
        return json!({"type": "array", "items": any});
    }
    let tensors: Vec<Value> = specs
        .iter()
        .map(|spec| {
            let axes = spec.shape.len();
            // What each axis must be is in words: tools stumble over `prefixItems`.
            let shape = json!({
                "type": "array",
                "items": axis,
                "minItems": axes,
                "maxItems": axes,
                "description": format!("{:?}, where -1 is any length", spec.shape),
            });
            let datatype = if spec.optional {
                json!({"type": "string"})
            } else if spec.text_or_integers {
                json!({"enum": TEXT_OR_INTEGERS})
            } else {
                json!({"const": spec.datatype})
            };
            let mut known = tensor(json!({"const": spec.name}), datatype, shape);
            if spec.optional {
                known["description"] = json!("May be left out: the model does not use it");
            }
            known
        })
        .collect();
    json!({"type": "array", "items": {"anyOf": tensors}})
}
