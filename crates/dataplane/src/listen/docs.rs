//! What the loaded models take and give, for people: the page at `/docs`.

use super::reply::{self, Reply};
use crate::model::{Model, Server, TensorSpec};
use http::{header::HeaderValue, Response};
use serde_json::{json, Map, Value};
use std::fmt::Write as _;
use std::sync::Arc;

/// The page around the models; `{{…}}` is filled in.
const PAGE: &str = include_str!("docs.html");

/// `GET /docs`: one page that needs nothing from elsewhere, readable without JavaScript.
pub(super) fn page(server: &Server) -> Response<Reply> {
    let models = server.registry.all();
    let mut html = String::new();
    if models.is_empty() {
        html.push_str("<p>No model is loaded.</p>");
    }
    if models.len() > 3 {
        write_contents(&mut html, &models);
    }
    for (index, model) in models.iter().enumerate() {
        write_model(&mut html, model, index == 0);
    }
    let page = PAGE
        .replace("{{name}}", &escape(&server.name))
        .replace("{{version}}", &escape(&server.version))
        .replace("{{models}}", &html);
    let mut response = reply::full(200, HeaderValue::from_static("text/html; charset=utf-8"), page.into());
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    response.headers_mut().insert(http::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn write_contents(html: &mut String, models: &[Arc<Model>]) {
    html.push_str("<nav aria-label=\"Models\">");
    for model in models {
        let name = &model.metadata.name;
        let _ = write!(html, "<a href=\"#{}\">{}</a> ", escape(&anchor(model)), escape(name));
    }
    html.push_str("</nav>");
}

/// Where a model is on the page.
fn anchor(model: &Model) -> String {
    let name = segment(&model.metadata.name);
    match &model.metadata.version {
        None => format!("model-{name}"),
        Some(version) => format!("model-{name}-{}", segment(version)),
    }
}

/// A model with its signature and its requests; of the first model one is unfolded.
fn write_model(html: &mut String, model: &Model, first: bool) {
    let metadata = &model.metadata;
    let state = if model.is_ready() { ("ready", "ready") } else { ("not", "not ready") };
    let version = metadata.version.as_ref().map_or(String::new(), |version| {
        format!(" <span class=\"quiet\">version {}</span>", escape(version))
    });
    let _ = write!(
        html,
        "<section id=\"{}\"><h2>{}{version} <span class=\"state {}\">{}</span></h2>",
        escape(&anchor(model)),
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
    write_call(html, "Predict", "V1", &v1_path(model), &example_v1(model), first);
    write_call(html, "Predict", "Open Inference, V2", &v2_path(model), &example_v2(model), false);
    if model.options.explains {
        write_call(html, "Explain", "V1", &explain_path(model), &example_v1(model), false);
    }
    html.push_str("</section>");
}

fn write_specs(html: &mut String, title: &str, specs: &[TensorSpec]) {
    let _ = write!(html, "<div><table><caption>{title}</caption>");
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
            "<tr><th scope=\"row\">{}</th><td>{}{}</td><td>[{}]</td></tr>",
            escape(&spec.name),
            escape(&spec.datatype),
            match (spec.optional, spec.text_or_integers) {
                (true, _) => ", may be left out",
                (false, true) if spec.datatype == "BYTES" => " or integers",
                (false, true) => " or text",
                (false, false) => "",
            },
            axes.join(", ")
        );
    }
    html.push_str("</table></div>");
}

fn write_call(html: &mut String, verb: &str, protocol: &str, path: &str, example: &Value, open: bool) {
    let body = pretty(example);
    let _ = write!(
        html,
        "<details{open}><summary>{verb} <span class=\"quiet\">{protocol}</span> <code>POST {path}</code></summary>\
         <form class=\"call\" data-path=\"{path}\">\
         <textarea rows=\"{rows}\" spellcheck=\"false\" aria-label=\"Request body\">{body}</textarea>\
         <p class=\"act\"><button type=\"submit\" hidden>Send</button> <output></output></p>\
         <div class=\"shell\"><pre class=\"curl\">curl \"$SERVER{path}\" -d '{line}'</pre>\
         <button type=\"button\" class=\"copy\" hidden>Copy</button></div></form></details>",
        open = if open { " open" } else { "" },
        path = escape(path),
        rows = body.lines().count().clamp(3, 24),
        body = escape(&body),
        line = escape(&example.to_string().replace('\'', r"'\''")),
    );
}

/// JSON for reading: as `serde_json` indents it, but with lists of scalars on one line.
fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write_pretty(&mut text, value, 0);
    text
}

fn write_pretty(text: &mut String, value: &Value, depth: usize) {
    let inner = |text: &mut String, depth: usize| {
        let _ = write!(text, "\n{:1$}", "", depth * 2);
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                inner(text, depth + 1);
                let _ = write!(text, "{}: ", Value::from(name.as_str()));
                write_pretty(text, member, depth + 1);
            }
            inner(text, depth);
            text.push('}');
        }
        Value::Array(elements) if elements.iter().any(|one| one.is_object() || one.is_array()) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                inner(text, depth + 1);
                write_pretty(text, element, depth + 1);
            }
            inner(text, depth);
            text.push(']');
        }
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(Value::to_string).collect();
            let _ = write!(text, "[{}]", elements.join(", "));
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
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
pub(super) fn segment(text: &str) -> String {
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

pub(super) fn v1_path(model: &Model) -> String {
    format!("/v1/models/{}:predict", segment(&model.metadata.name))
}

pub(super) fn explain_path(model: &Model) -> String {
    format!("/v1/models/{}:explain", segment(&model.metadata.name))
}

pub(super) fn v2_path(model: &Model) -> String {
    let name = segment(&model.metadata.name);
    match &model.metadata.version {
        None => format!("/v2/models/{name}/infer"),
        Some(version) => format!("/v2/models/{name}/versions/{}/infer", segment(version)),
    }
}

pub(super) fn example_v2(model: &Model) -> Value {
    if let Some(example) = &model.metadata.example_v2 {
        return example.clone();
    }
    if model.metadata.inputs.is_empty() {
        // It does not say what it takes; this much has the right form.
        return json!({"inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 0.5]}]});
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

pub(super) fn example_v1(model: &Model) -> Value {
    if let Some(example) = &model.metadata.example_v1 {
        return example.clone();
    }
    let row = match model.metadata.inputs.as_slice() {
        [] => json!([0.5, 0.5]),
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

    #[test]
    fn a_column_that_nobody_uses_is_not_asked_for() {
        let spec = TensorSpec {
            name: "note".into(),
            datatype: "FP64".into(),
            shape: vec![-1],
            optional: true,
            ..Default::default()
        };
        let mut html = String::new();
        write_specs(&mut html, "Inputs", &[spec]);
        assert!(html.contains("<td>FP64, may be left out</td>"), "{html}");
    }

    #[test]
    fn examples_are_short_to_read() {
        let example = json!({"instances": [[1, 2.5], ["a\"b", null]], "empty": {}, "none": []});
        let text = pretty(&example);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), example);
        assert!(text.contains("\n    [1, 2.5],\n    [\"a\\\"b\", null]\n  ]"), "{text}");
    }
}
