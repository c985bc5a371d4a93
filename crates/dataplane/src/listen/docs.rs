//! What the loaded models take and give, for people (`/docs`) and for programs (`/openapi.json`).

use super::reply::{self, Reply};
use crate::model::{Model, Server, TensorSpec};
use http::{header::HeaderValue, Response};
use serde_json::{json, Map, Value};
use std::fmt::Write as _;

/// The page around the models; `{{…}}` is filled in.
const PAGE: &str = include_str!("docs.html");

/// `GET /docs`: one page that needs nothing from elsewhere, readable without JavaScript.
pub(super) fn page(server: &Server) -> Response<Reply> {
    let models = server.registry.all();
    let mut html = String::new();
    if models.is_empty() {
        html.push_str("<p>No model is loaded.</p>");
    }
    for model in &models {
        write_model(&mut html, model);
    }
    let page = PAGE
        .replace("{{name}}", &escape(&server.name))
        .replace("{{version}}", &escape(&server.version))
        .replace("{{models}}", &html);
    let mut response = reply::full(200, HeaderValue::from_static("text/html; charset=utf-8"), page.into());
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(http::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn write_model(html: &mut String, model: &Model) {
    let metadata = &model.metadata;
    let state = if model.is_ready() { ("ready", "ready") } else { ("not", "not ready") };
    let version = metadata.version.as_ref().map_or(String::new(), |version| {
        format!(" <span class=\"quiet\">version {}</span>", escape(version))
    });
    let _ = write!(
        html,
        "<section><h2>{}{version} <span class=\"state {}\">{}</span></h2>",
        escape(&metadata.name),
        state.0,
        state.1
    );
    let about: Vec<String> = [&metadata.description, &metadata.platform]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| escape(text))
        .collect();
    if !about.is_empty() {
        let _ = write!(html, "<p>{}</p>", about.join(" · "));
    }
    html.push_str("<div class=\"signature\">");
    write_specs(html, "Inputs", &metadata.inputs);
    write_specs(html, "Outputs", &metadata.outputs);
    html.push_str("</div>");
    write_call(html, "V2", &v2_path(model), &example_v2(model));
    write_call(html, "V1", &v1_path(model), &example_v1(model));
    html.push_str("</section>");
}

fn write_specs(html: &mut String, title: &str, specs: &[TensorSpec]) {
    let _ = write!(html, "<table><caption>{title}</caption>");
    if specs.is_empty() {
        html.push_str("<tr><td class=\"quiet\">The model does not say.</td></tr>");
    }
    for spec in specs {
        let axes: Vec<String> = spec
            .shape
            .iter()
            .map(|axis| if *axis < 0 { "any".to_owned() } else { axis.to_string() })
            .collect();
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>[{}]</td></tr>",
            escape(&spec.name),
            escape(&spec.datatype),
            axes.join(", ")
        );
    }
    html.push_str("</table>");
}

fn write_call(html: &mut String, protocol: &str, path: &str, example: &Value) {
    let body = serde_json::to_string_pretty(example).unwrap_or_default();
    let _ = write!(
        html,
        "<details><summary>{protocol}: <code>POST {path}</code></summary>\
         <form class=\"call\" data-path=\"{path}\">\
         <textarea rows=\"{rows}\" spellcheck=\"false\" aria-label=\"Request body\">{body}</textarea>\
         <pre class=\"curl\">curl -s \"$SERVER{path}\" -d '{line}'</pre>\
         <button type=\"submit\" hidden>Send</button> <output></output></form></details>",
        path = escape(path),
        rows = body.lines().count().clamp(3, 24),
        body = escape(&body),
        line = escape(&example.to_string().replace('\'', r"'\''")),
    );
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // The page's own placeholders must not appear in what is filled in.
            '{' => escaped.push_str("&#123;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A path segment with everything escaped that could mean something else there.
fn segment(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

fn v1_path(model: &Model) -> String {
    format!("/v1/models/{}:predict", segment(&model.metadata.name))
}

fn v2_path(model: &Model) -> String {
    let name = segment(&model.metadata.name);
    match &model.metadata.version {
        None => format!("/v2/models/{name}/infer"),
        Some(version) => format!("/v2/models/{name}/versions/{}/infer", segment(version)),
    }
}

fn example_v2(model: &Model) -> Value {
    if let Some(example) = &model.metadata.example_v2 {
        return example.clone();
    }
    let inputs: Vec<Value> = model
        .metadata
        .inputs
        .iter()
        .map(|spec| {
            let shape: Vec<i64> = spec.shape.iter().map(|axis| (*axis).max(1)).collect();
            let count = shape.iter().fold(1_i64, |product, axis| product.saturating_mul(*axis));
            let data = vec![example_element(&spec.datatype); count.clamp(0, 64) as usize];
            json!({"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": data})
        })
        .collect();
    json!({"inputs": inputs})
}

fn example_v1(model: &Model) -> Value {
    if let Some(example) = &model.metadata.example_v1 {
        return example.clone();
    }
    let row = match model.metadata.inputs.as_slice() {
        [] => json!([]),
        [spec] => nest(spec.shape.get(1..).unwrap_or_default(), &spec.datatype),
        specs => {
            let columns: Map<String, Value> = specs
                .iter()
                .map(|spec| {
                    (spec.name.clone(), nest(spec.shape.get(1..).unwrap_or_default(), &spec.datatype))
                })
                .collect();
            Value::Object(columns)
        }
    };
    json!({"instances": [row]})
}

fn nest(shape: &[i64], datatype: &str) -> Value {
    match shape.split_first() {
        None => example_element(datatype),
        Some((axis, rest)) => Value::Array(vec![nest(rest, datatype); (*axis).clamp(1, 16) as usize]),
    }
}

fn example_element(datatype: &str) -> Value {
    match datatype {
        "BOOL" => json!(true),
        "BYTES" => json!("text"),
        "FP16" | "FP32" | "FP64" | "BF16" => json!(0.5),
        _ => json!(1),
    }
}

/// `GET /openapi.json`
pub(super) fn openapi(server: &Server) -> Response<Reply> {
    let mut paths = Map::new();
    for (path, summary) in [
        ("/v2/health/live", "Whether the process answers"),
        ("/v2/health/ready", "Whether the server and all its models serve"),
        ("/v2", "About the server"),
        ("/v2/models", "Names of the models"),
        ("/v1/models", "Names of the models"),
        ("/metrics", "Prometheus metrics"),
    ] {
        paths.insert(path.to_owned(), json!({"get": operation(summary, "server", &json!({}))}));
    }
    let index = operation("What the repository holds", "repository", &json!({}));
    paths.insert("/v2/repository/index".to_owned(), json!({"post": index}));
    for model in server.registry.all() {
        let name = &model.metadata.name;
        let base = segment(name);
        let predict = with_body(
            operation(&format!("Predict with {name}, protocol V1"), name, &json!({"type": "object"})),
            &json!({"type": "object", "properties": {"instances": {"type": "array"}}}),
            &example_v1(&model),
        );
        let infer = with_body(
            operation(&format!("Predict with {name}, protocol V2"), name, &response_schema(&model)),
            &request_schema(&model),
            &example_v2(&model),
        );
        paths.insert(v1_path(&model), json!({"post": predict}));
        paths.insert(v2_path(&model), json!({"post": infer}));
        let metadata = operation(&format!("What {name} takes and gives"), name, &json!({"type": "object"}));
        paths.insert(format!("/v2/models/{base}"), json!({"get": metadata}));
        let ready = operation(&format!("Whether {name} serves"), name, &json!({"type": "object"}));
        paths.insert(format!("/v2/models/{base}/ready"), json!({"get": ready}));
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
    if let Some(fields) = operation.as_object_mut() {
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    operation
}

fn request_schema(model: &Model) -> Value {
    json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": tensors_schema(&model.metadata.inputs)},
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

fn tensors_schema(specs: &[TensorSpec]) -> Value {
    if specs.is_empty() {
        return json!({"type": "array", "items": {"type": "object"}});
    }
    let items: Vec<Value> = specs
        .iter()
        .map(|spec| {
            let axes: Vec<Value> = spec
                .shape
                .iter()
                .map(|axis| {
                    if *axis < 0 {
                        json!({"type": "integer", "minimum": 0})
                    } else {
                        json!({"const": axis})
                    }
                })
                .collect();
            json!({
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": {"const": spec.name},
                    "datatype": {"const": spec.datatype},
                    "shape": {"type": "array", "prefixItems": axes, "items": false},
                    "data": {"type": "array"},
                },
            })
        })
        .collect();
    json!({"type": "array", "items": {"anyOf": items}})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(
            escape("<b a='1' c=\"2\">&{{x}}"),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;&#123;&#123;x}}"
        );
        assert_eq!(segment("a/b c:é"), "a%2Fb%20c%3A%C3%A9");
    }
}
